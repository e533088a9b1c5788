//! Where Services lead: Endpoints and EndpointSlices.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::{meta, names};

use super::{addresses, forms};
use crate::cursor::{At, items_mut, remove, same, set_default, set_default_zero};
use crate::object_meta;
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_ZONE_HINTS: usize = 8;
const MAX_TOPOLOGY: usize = 16;
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

// === Endpoints ===

/// The rules of Endpoints.
pub(super) struct Endpoints;

impl Strategy for Endpoints {
    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        // The controller writes only addresses that are in order.
        if meta::label(new, MANAGED_BY) == Some("endpoint-controller") {
            return Vec::new();
        }
        let mut given = Vec::new();
        for subset in At::root(new).get("subsets").list() {
            for list in ["addresses", "notReadyAddresses"] {
                let addresses = subset.get(list);
                let ips = addresses.list().map(|address| address.get("ip"));
                given.extend(ips.filter_map(|ip| addresses::odd_address(&ip)));
            }
        }
        given
    }

    fn default(&self, endpoints: &mut Value) {
        for subset in items_mut(endpoints, "subsets") {
            for port in items_mut(subset, "ports") {
                set_default_zero(port, "protocol", "TCP");
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, endpoints: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for subset in At::root(endpoints).get("subsets").list() {
            check_subset(&subset, &mut errors);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let (subsets, before) = (At::root(new).get("subsets"), At::root(old).get("subsets"));
        if same(subsets.value, before.value) {
            return ErrorList::new();
        }
        self.validate(ctx, new)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn check_subset(subset: &At<'_>, errors: &mut ErrorList) {
    if subset.get("addresses").is_empty() && subset.get("notReadyAddresses").is_empty() {
        subset.required(errors, "must specify `addresses` or `notReadyAddresses`");
    }
    for list in ["addresses", "notReadyAddresses"] {
        for address in subset.get(list).list() {
            let ip = address.get("ip");
            addresses::address(&ip, &[], errors);
            address.get("hostname").may_form(errors, names::dns1123_label);
            if address.get("nodeName").is_set() {
                address.get("nodeName").form(errors, names::dns1123_subdomain);
            }
            forms::ordinary_address(&ip, errors);
        }
    }
    let several = subset.get("ports").len() > 1;
    for port in subset.get("ports").list() {
        let name = port.get("name");
        if several && name.is_empty() {
            name.required(errors, "");
        } else {
            name.may_form(errors, names::dns1123_label);
        }
        let number = port.get("port");
        for message in names::port_number(number.int_or_zero()) {
            errors.push(Error::invalid(&number.path, number.int_or_zero(), message));
        }
        port.get("protocol").one_of(errors, &PROTOCOLS);
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").form(errors, names::qualified_name);
        }
    }
}

// === EndpointSlice ===

/// The rules of EndpointSlices.
pub(super) struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut given = Vec::new();
        if old.is_none() && At::root(new).get("addressType").str() == "FQDN" {
            given.push("addressType: FQDN endpoints are deprecated".to_owned());
        }
        // The server's own controllers write addresses as they should be.
        let manager = meta::label(new, "endpointslice.kubernetes.io/managed-by");
        if !manager.is_some_and(|manager| CONTROLLERS.contains(&manager)) {
            let endpoints = At::root(new).get("endpoints");
            let addresses = endpoints.list().flat_map(|e| e.get("addresses").list());
            given.extend(addresses.filter_map(|address| addresses::odd_address(&address)));
        }
        given
    }

    fn default(&self, slice: &mut Value) {
        for port in items_mut(slice, "ports") {
            set_default(port, "name", "");
            set_default(port, "protocol", "TCP");
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::ContentAndLabels
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, slice: &mut Value) {
        drop_topology(slice);
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        let changed = !same(
            new.get("endpoints").unwrap_or(&Value::Null),
            old.get("endpoints").unwrap_or(&Value::Null),
        );
        if changed {
            drop_topology(new);
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, slice: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let slice = At::root(slice);
        let kind = slice.get("addressType");
        kind.one_of(&mut errors, &["FQDN", "IPv4", "IPv6"]);
        check_endpoints(&slice.get("endpoints"), kind.str(), &mut errors);
        check_ports(&slice.get("ports"), &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (kind, before) = (At::root(new).get("addressType"), At::root(old).get("addressType"));
        kind.unchanged(&before, &mut errors);
        errors
    }
}

/// This version does not take the field; it shows what an older one left.
fn drop_topology(slice: &mut Value) {
    for endpoint in items_mut(slice, "endpoints") {
        remove(endpoint, "deprecatedTopology");
    }
}

fn check_endpoints(endpoints: &At<'_>, kind: &str, errors: &mut ErrorList) {
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(Error::too_many(&endpoints.path, endpoints.len(), MAX_ENDPOINTS));
        return;
    }
    for endpoint in endpoints.list() {
        let addresses = endpoint.get("addresses");
        if addresses.is_empty() {
            addresses.required(errors, "must contain at least 1 address");
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(Error::too_many(&addresses.path, addresses.len(), MAX_ADDRESSES));
        }
        for address in addresses.list() {
            check_address(&address, kind, errors);
        }
        if endpoint.get("nodeName").is_set() {
            endpoint.get("nodeName").form(errors, names::dns1123_subdomain);
        }
        let topology = endpoint.get("deprecatedTopology");
        if topology.len() > MAX_TOPOLOGY {
            errors.push(Error::too_many(&topology.path, topology.len(), MAX_TOPOLOGY));
        }
        object_meta::labels(&topology, errors);
        if endpoint.get("hostname").is_set() {
            endpoint.get("hostname").form(errors, names::dns1123_label);
        }
        check_hints(&endpoint.get("hints"), errors);
    }
}

fn check_address(address: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let parsed = address.str().parse::<IpAddr>();
    match kind {
        "IPv4" => {
            if !parsed.is_ok_and(|ip| ip.is_ipv4()) {
                address.invalid(errors, "must be a valid IPv4 address");
            }
            forms::ordinary_address(address, errors);
        }
        "IPv6" => {
            if !parsed.is_ok_and(|ip| ip.is_ipv6()) {
                address.invalid(errors, "must be a valid IPv6 address");
            }
            forms::ordinary_address(address, errors);
        }
        "FQDN" => forms::domain(address, 2, errors),
        _ => {}
    }
}

fn check_hints(hints: &At<'_>, errors: &mut ErrorList) {
    for (list, key) in [("forZones", "zone"), ("forNodes", "node")] {
        let entries = hints.get(list);
        if entries.len() > MAX_ZONE_HINTS {
            errors.push(Error::too_many(&entries.path, entries.len(), MAX_ZONE_HINTS));
            return;
        }
        let mut taken = BTreeSet::new();
        for (index, entry) in entries.list().enumerate() {
            let name = At::new(entry.get("name").value, entries.path.index(index).child("name"));
            if !taken.insert(name.str()) {
                name.duplicate(errors);
            }
            let rule = if key == "zone" { names::label_value } else { names::dns1123_subdomain };
            name.form(errors, rule);
        }
    }
}

fn check_ports(ports: &At<'_>, errors: &mut ErrorList) {
    if ports.len() > MAX_PORTS {
        errors.push(Error::too_many(&ports.path, ports.len(), MAX_PORTS));
        return;
    }
    let mut taken = BTreeSet::new();
    for port in ports.list() {
        let name = port.get("name");
        name.may_form(errors, names::dns1123_label);
        if !taken.insert(name.str()) {
            name.duplicate(errors);
        }
        let protocol = port.get("protocol");
        if !PROTOCOLS.contains(&protocol.str()) {
            protocol.unsupported(errors, &PROTOCOLS);
        }
        if port.get("appProtocol").is_set() {
            port.get("appProtocol").form(errors, names::qualified_name);
        }
    }
}
