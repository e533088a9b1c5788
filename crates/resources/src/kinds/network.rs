//! Ingresses, NetworkPolicies and the addresses of Services.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use super::pod::scheduling;
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
        let spec = At::root(ingress).get("spec");
        let (rules, default) = (spec.get("rules"), spec.get("defaultBackend"));
        if rules.is_empty() && !default.is_set() {
            let detail = "either `defaultBackend` or `rules` must be specified";
            errors.push(Error::invalid(&spec.path, rules.value.clone(), detail));
        }
        if default.is_set() {
            backend(&default, &mut errors);
        }
        for rule in rules.list() {
            host(&rule.get("host"), &mut errors);
            let http = rule.get("http");
            if !http.is_set() {
                continue;
            }
            let paths = http.get("paths");
            paths.must(&mut errors);
            for path in paths.list() {
                ingress_path(&path, &mut errors);
            }
        }
        for tls in spec.get("tls").list() {
            for name in tls.get("hosts").list() {
                let rule = if name.str().contains('*') {
                    names::wildcard_dns1123_subdomain
                } else {
                    names::dns1123_subdomain
                };
                name.form(&mut errors, rule);
            }
            tls.get("secretName").may_form(&mut errors, names::dns1123_subdomain);
        }
        spec.get("ingressClassName").may_form(&mut errors, names::dns1123_subdomain);
        errors
    }
}

fn host(host: &At<'_>, errors: &mut ErrorList) {
    if host.is_empty() {
        return;
    }
    if host.str().parse::<std::net::IpAddr>().is_ok() {
        host.invalid(errors, "must be a DNS name, not an IP address");
        return;
    }
    if host.str().contains('*') {
        host.form(errors, names::wildcard_dns1123_subdomain);
    } else {
        host.form(errors, names::dns1123_subdomain);
    }
}

fn ingress_path(path: &At<'_>, errors: &mut ErrorList) {
    let (kind, text) = (path.get("pathType"), path.get("path"));
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
        "" => kind.required(errors, "pathType must be specified"),
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
            backend.required(errors, "resource or service backend is required");
        }
        (false, true) => {
            resource.get("kind").must(errors);
            resource.get("name").must(errors);
        }
        (true, false) => {
            service.get("name").must_form(errors, names::dns1035_label);
            let (name, number) =
                (service.get("port").get("name"), service.get("port").get("number"));
            match (name.is_empty(), number.is_empty()) {
                (false, false) => {
                    let detail = "cannot set both port name & port number";
                    errors.push(Error::invalid(&service.get("port").path, "", detail));
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
        let controller = At::root(class).get("spec").get("controller");
        if controller.must(&mut errors) && !controller.str().contains('/') {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            controller.invalid(&mut errors, detail);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let field = |v| At::root(v).get("spec").get("controller");
        field(new).unchanged(&field(old), &mut errors);
        errors
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
            kind.may_be_one_of(&mut errors, &["Egress", "Ingress"]);
        }
        errors
    }
}

fn policy_port(port: &At<'_>, errors: &mut ErrorList) {
    port.get("protocol").may_be_one_of(errors, &["SCTP", "TCP", "UDP"]);
    let (first, last) = (port.get("port"), port.get("endPort"));
    if first.is_set() {
        super::pod::containers::port(&first, errors);
        if last.is_set() {
            if first.value.is_string() {
                last.invalid(errors, "may not be specified when `port` is non-numeric");
            } else if last.int_or_zero() < first.int_or_zero() {
                last.invalid(errors, "must be greater than or equal to `port`");
            }
        }
    } else if last.is_set() {
        last.required(errors, "may not be specified when `port` is not specified");
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
        if count > 0 {
            let detail = "may not specify both ipBlock and another peer";
            peer.forbidden(errors, detail);
        }
        count += 1;
        block.get("cidr").must_form(errors, names::cidr);
        for except in block.get("except").list() {
            except.form(errors, names::cidr);
        }
    }
    if count == 0 {
        peer.required(errors, "must specify a peer");
    }
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
        let ranges = At::root(cidr).get("spec").get("cidrs");
        if ranges.is_empty() {
            ranges.required(&mut errors, "at least one CIDR required");
        }
        if ranges.len() > 2 {
            let detail = "may only hold up to 2 values";
            ranges.invalid(&mut errors, detail);
        }
        for range in ranges.list() {
            range.form(&mut errors, names::cidr);
        }
        errors
    }
}

/// The rules of IPAddresses, whose names are addresses.
pub(super) struct IpAddress;

impl Strategy for IpAddress {
    fn check_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        names::ip_address(name)
    }

    fn validate(&self, _ctx: &Ctx<'_>, address: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let parent = At::root(address).get("spec").get("parentRef");
        if parent.must(&mut errors) {
            parent.get("resource").must(&mut errors);
            parent.get("name").must(&mut errors);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let field = |v| At::root(v).get("spec").get("parentRef");
        field(new).unchanged(&field(old), &mut errors);
        errors
    }
}
