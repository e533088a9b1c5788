//! Ingresses, NetworkPolicies and the addresses of Services.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use machinery::field::{Error, ErrorList, IMMUTABLE, Path};
use machinery::{Value, meta, names};
use serde_json::json;

use super::pod::scheduling;
use super::{addresses, forms};
use crate::cursor::{At, items_mut, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

// === Ingress ===

/// The rules of Ingresses.
pub(super) struct Ingress;

impl Strategy for Ingress {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, ingress: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        ingress_spec(&At::root(ingress).get("spec"), Leniency::default(), &mut errors);
        let class = At::root(ingress).get("spec").get("ingressClassName");
        let older = meta::annotation(ingress, CLASS_ANNOTATION);
        if let Some(older) = older
            && class.is_set()
            && class.str() != older
        {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(Error::invalid(&path, older, detail));
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let lenient = Leniency::of(&At::root(old).get("spec"));
        ingress_spec(&At::root(new).get("spec"), lenient, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for entry in At::root(new).get("status").get("loadBalancer").get("ingress").list() {
            entry.get("ip").may_form(&mut errors, names::ip_address);
            let hostname = entry.get("hostname");
            hostname.may_form(&mut errors, names::dns1123_subdomain);
            if hostname.str().parse::<IpAddr>().is_ok() {
                hostname.invalid(&mut errors, "must be a DNS name, not an IP address");
            }
        }
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let older = meta::annotation(new, CLASS_ANNOTATION).is_some();
        if old.is_none() && older {
            let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
            return vec![text.to_owned()];
        }
        Vec::new()
    }
}

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What is not looked at since it has been wrong before.
#[derive(Clone, Copy, Default)]
struct Leniency {
    secrets: bool,
    wildcard_rules: bool,
}

impl Leniency {
    fn of(old: &At<'_>) -> Self {
        let mut secrets = ErrorList::new();
        for tls in old.get("tls").list() {
            tls.get("secretName").may_form(&mut secrets, names::dns1123_subdomain);
        }
        let mut rules = ErrorList::new();
        for rule in old.get("rules").list().filter(|rule| is_wildcard(&rule.get("host"))) {
            http_rule(&rule.get("http"), &mut rules);
        }
        Self { secrets: !secrets.is_empty(), wildcard_rules: !rules.is_empty() }
    }
}

fn is_wildcard(host: &At<'_>) -> bool {
    host.str().contains('*')
}

fn ingress_spec(spec: &At<'_>, lenient: Leniency, errors: &mut ErrorList) {
    let (rules, default) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(&spec.path, rules.value.clone(), detail));
    }
    if default.is_set() {
        backend(&default, errors);
    }
    for rule in rules.list() {
        host(&rule.get("host"), errors);
        if !(lenient.wildcard_rules && is_wildcard(&rule.get("host"))) {
            http_rule(&rule.get("http"), errors);
        }
    }
    for tls in spec.get("tls").list() {
        for name in tls.get("hosts").list() {
            let rule = if name.str().contains('*') {
                names::wildcard_dns1123_subdomain
            } else {
                names::dns1123_subdomain
            };
            name.form(errors, rule);
        }
        if !lenient.secrets {
            tls.get("secretName").may_form(errors, names::dns1123_subdomain);
        }
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        class.form(errors, names::dns1123_subdomain);
    }
}

fn http_rule(http: &At<'_>, errors: &mut ErrorList) {
    if !http.is_set() {
        return;
    }
    let paths = http.get("paths");
    paths.must(errors);
    for path in paths.list() {
        ingress_path(&path, errors);
    }
}

fn host(host: &At<'_>, errors: &mut ErrorList) {
    if host.is_empty() {
        return;
    }
    if host.str().parse::<IpAddr>().is_ok() {
        host.invalid(errors, "must be a DNS name, not an IP address");
    }
    if host.str().contains('*') {
        host.form(errors, names::wildcard_dns1123_subdomain);
    } else {
        host.form(errors, names::dns1123_subdomain);
    }
}

fn ingress_path(path: &At<'_>, errors: &mut ErrorList) {
    let (kind, text) = (path.get("pathType"), path.get("path"));
    if !kind.is_set() {
        kind.required(errors, "pathType must be specified");
        return;
    }
    match kind.str() {
        "Exact" | "Prefix" => {
            if !text.str().starts_with('/') {
                errors.push(Error::invalid(&text.path, text.str(), "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.str().contains(bad) {
                    text.invalid(errors, format!("must not contain '{bad}'"));
                }
            }
            for bad in ["/..", "/."] {
                if text.str().ends_with(bad) {
                    text.invalid(errors, format!("cannot end with '{bad}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.str().starts_with('/') {
                text.invalid(errors, "must be an absolute path");
            }
        }
        _ => kind.unsupported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&path.get("backend"), errors);
}

fn backend(backend: &At<'_>, errors: &mut ErrorList) {
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => {
            let detail = "cannot set both resource and service backends";
            errors.push(Error::invalid(&backend.path, "", detail));
        }
        (false, false) => {
            let detail = "resource or service backend is required";
            errors.push(Error::invalid(&backend.path, "", detail));
        }
        (false, true) => {
            forms::typed_reference(&resource, errors);
        }
        (true, false) => {
            service.get("name").must_form(errors, names::dns1035_label);
            let (name, number) =
                (service.get("port").get("name"), service.get("port").get("number"));
            match (name.is_empty(), number.is_empty()) {
                (false, false) => {
                    let detail = "cannot set both port name & port number";
                    errors.push(Error::invalid(&backend.path, "", detail));
                }
                (false, true) => name.form(errors, names::port_name),
                (true, false) => number.within(errors, 1, 65535),
                (true, true) => {
                    backend.required(errors, "port name or number is required");
                }
            }
        }
    }
}

// === IngressClass ===

/// The rules of IngressClasses.
pub(super) struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, class: &mut Value) {
        if let Some(parameters) = class.pointer_mut("/spec/parameters").filter(|p| p.is_object()) {
            set_default(parameters, "scope", "Cluster");
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(class).get("spec");
        let controller = spec.get("controller");
        if controller.must(&mut errors) {
            if controller.str().len() > MAX_CONTROLLER {
                errors.push(Error::too_long(&controller.path, MAX_CONTROLLER));
            }
            forms::domain_prefixed_path(&controller, &mut errors);
        }
        let parameters = spec.get("parameters");
        if parameters.is_set() {
            class_parameters(&parameters, &mut errors);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let field = |v| At::root(v).get("spec").get("controller");
        field(new).unchanged(&field(old), &mut errors);
        errors.extend(self.validate(ctx, new));
        errors
    }
}

const MAX_CONTROLLER: usize = 250;

fn class_parameters(parameters: &At<'_>, errors: &mut ErrorList) {
    forms::typed_reference(parameters, errors);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.str() {
        "Namespace" if namespace.is_set() => namespace.form(errors, names::dns1123_label),
        "Namespace" => namespace.required(errors, "`parameters.scope` is set to 'Namespace'"),
        "Cluster" => {
            if namespace.is_set() {
                namespace.forbidden(errors, "`parameters.scope` is set to 'Cluster'");
            }
        }
        _ if !scope.is_set() => scope.required(errors, ""),
        _ => scope.unsupported(errors, &["Cluster", "Namespace"]),
    }
}

// === NetworkPolicy ===

/// The rules of NetworkPolicies.
pub(super) struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, policy: &mut Value) {
        let Some(spec) = policy.get_mut("spec").filter(|s| s.is_object()) else { return };
        for direction in ["ingress", "egress"] {
            for rule in items_mut(spec, direction) {
                for port in items_mut(rule, "ports") {
                    set_default(port, "protocol", "TCP");
                }
            }
        }
        let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
        let types = if egress { vec!["Ingress", "Egress"] } else { vec!["Ingress"] };
        set_default_zero(spec, "policyTypes", types);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, policy: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(policy).get("spec");
        scheduling::label_selector(&spec.get("podSelector"), &mut errors);
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in spec.get(direction).list() {
                for port in rule.get("ports").list() {
                    policy_port(&port, &mut errors);
                }
                for peer in rule.get(peers).list() {
                    policy_peer(&peer, &mut errors);
                }
            }
        }
        let types = spec.get("policyTypes");
        if types.len() > 2 {
            let detail = "may not specify more than two policyTypes";
            types.invalid(&mut errors, detail);
            return errors;
        }
        for kind in types.list() {
            if !matches!(kind.str(), "Ingress" | "Egress") {
                kind.unsupported(&mut errors, &["Ingress", "Egress"]);
            }
        }
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = At::root(new).get("spec");
        let mut given = Vec::new();
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for peer in spec.get(direction).list().flat_map(|rule| rule.get(peers).list()) {
                let block = peer.get("ipBlock");
                let range = block.get("cidr");
                given.extend(addresses::odd_range(&range, range.str()));
                for range in block.get("except").list() {
                    given.extend(addresses::odd_range(&range, range.str()));
                }
            }
        }
        given
    }
}

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

fn policy_port(port: &At<'_>, errors: &mut ErrorList) {
    port.get("protocol").set_to_one_of(errors, &PROTOCOLS);
    let (first, last) = (port.get("port"), port.get("endPort"));
    match first.value {
        Value::Null => {
            if last.is_set() {
                last.invalid(errors, "may not be specified when `port` is not specified");
            }
        }
        Value::String(_) => {
            if last.is_set() {
                last.invalid(errors, "may not be specified when `port` is non-numeric");
            }
            first.form(errors, names::port_name);
        }
        _ => {
            first.within(errors, 1, 65535);
            if last.is_set() {
                if last.int_or_zero() < first.int_or_zero() {
                    // Upstream shows the first port here.
                    let detail = "must be greater than or equal to `port`";
                    errors.push(Error::invalid(&last.path, first.value.clone(), detail));
                }
                last.within(errors, 1, 65535);
            }
        }
    }
}

fn policy_peer(peer: &At<'_>, errors: &mut ErrorList) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        let selector = peer.get(field);
        if selector.is_set() {
            count += 1;
            scheduling::label_selector(&selector, errors);
        }
    }
    let block = peer.get("ipBlock");
    if block.is_set() {
        ip_block(&block, errors);
    }
    if count == 0 && !block.is_set() {
        peer.required(errors, "must specify a peer");
    } else if count > 0 && block.is_set() {
        peer.forbidden(errors, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(block: &At<'_>, errors: &mut ErrorList) {
    let range = block.get("cidr");
    if !range.must(errors) {
        return;
    }
    range.form(errors, names::cidr);
    let Some(whole) = parse_range(range.str()) else { return };
    for except in block.get("except").list() {
        except.form(errors, names::cidr);
        if let Some(part) = parse_range(except.str())
            && !strictly_inside(part, whole)
        {
            except.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}

/// An address as a number of 128 bits, the bits that count from the left, and the family.
#[derive(Clone, Copy)]
struct Range {
    bits: u128,
    length: u32,
    v6: bool,
}

fn parse_range(text: &str) -> Option<Range> {
    let (address, length) = text.split_once('/')?;
    let length = length.parse().ok()?;
    let (bits, v6) = match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, false),
        IpAddr::V6(v6) => (v6.to_bits(), true),
    };
    Some(Range { bits, length, v6 })
}

fn strictly_inside(part: Range, whole: Range) -> bool {
    let mask = u128::MAX.checked_shl(128 - whole.length).unwrap_or(0);
    part.v6 == whole.v6 && part.bits & mask == whole.bits & mask && part.length > whole.length
}

// === ServiceCIDR and IPAddress ===

/// The rules of ServiceCIDRs.
pub(super) struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, cidr: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        service_ranges(&At::root(cidr).get("spec").get("cidrs"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let ranges = |object| At::root(object).get("spec").get("cidrs");
        let (new, old) = (ranges(new), ranges(old));
        let changed = |errors: &mut ErrorList| {
            for (range, before) in new.list().zip(old.items()) {
                if range.value != before {
                    range.invalid(errors, IMMUTABLE);
                }
            }
        };
        match (old.len(), new.len()) {
            (before, now) if before == now => changed(&mut errors),
            // A second family may come later.
            (1, 2) => {
                changed(&mut errors);
                service_ranges(&new, &mut errors);
            }
            _ => new.invalid(&mut errors, IMMUTABLE),
        }
        errors
    }
}

fn service_ranges(ranges: &At<'_>, errors: &mut ErrorList) {
    if ranges.is_empty() {
        ranges.required(errors, "at least one CIDR required");
        return;
    }
    let families: Vec<Option<bool>> =
        ranges.list().map(|range| parse_range(range.str()).map(|range| range.v6)).collect();
    let wrong = match families[..] {
        [_] => "",
        [Some(one), Some(other)] if one != other => "",
        [_, _] => {
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        }
        _ => "may only hold up to 2 values",
    };
    if !wrong.is_empty() {
        // Upstream shows the whole spec.
        errors.push(Error::invalid(&ranges.path, json!({"cidrs": ranges.value}), wrong));
        return;
    }
    for range in ranges.list() {
        range.form(errors, forms::strict_range);
    }
}

/// The rules of IPAddresses, whose names are addresses.
pub(super) struct IpAddress;

impl Strategy for IpAddress {
    fn check_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        forms::strict_address(name)
    }

    fn validate(&self, _ctx: &Ctx<'_>, address: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let parent = At::root(address).get("spec").get("parentRef");
        if !parent.is_set() {
            parent.required(&mut errors, "");
            return errors;
        }
        parent.get("group").may_form(&mut errors, names::dns1123_subdomain);
        parent.get("resource").must_form(&mut errors, names::path_segment);
        parent.get("name").must_form(&mut errors, names::path_segment);
        parent.get("namespace").may_form(&mut errors, names::path_segment);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let field = |v| At::root(v).get("spec").get("parentRef");
        field(new).unchanged(&field(old), &mut errors);
        errors
    }
}
