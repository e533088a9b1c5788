//! Where Services lead: Endpoints and EndpointSlices.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use crate::cursor::{At, items_mut, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

// === Endpoints ===

/// The rules of Endpoints.
pub(super) struct Endpoints;

impl Strategy for Endpoints {
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
            if subset.get("addresses").is_empty() && subset.get("notReadyAddresses").is_empty() {
                subset.required(&mut errors, "must specify `addresses` or `notReadyAddresses`");
            }
            for list in ["addresses", "notReadyAddresses"] {
                for address in subset.get(list).list() {
                    address.get("ip").form(&mut errors, names::ip_address);
                    address.get("hostname").may_form(&mut errors, names::dns1123_label);
                    address.get("nodeName").may_form(&mut errors, names::dns1123_subdomain);
                }
            }
            let several = subset.get("ports").len() > 1;
            for port in subset.get("ports").list() {
                let name = port.get("name");
                if several && name.is_empty() {
                    name.required(&mut errors, "");
                } else {
                    name.may_form(&mut errors, names::dns1123_label);
                }
                let number = port.get("port");
                for message in names::port_number(number.int_or_zero()) {
                    errors.push(Error::invalid(&number.path, number.int_or_zero(), message));
                }
                port.get("protocol").one_of(&mut errors, &PROTOCOLS);
            }
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn warnings(&self, _ctx: &Ctx<'_>, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
}

// === EndpointSlice ===

/// The rules of EndpointSlices.
pub(super) struct EndpointSlice;

impl Strategy for EndpointSlice {
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
        Generation::Content
    }

    fn validate(&self, _ctx: &Ctx<'_>, slice: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let slice = At::root(slice);
        let kind = slice.get("addressType");
        kind.one_of(&mut errors, &["IPv4", "IPv6", "FQDN"]);
        let endpoints = slice.get("endpoints");
        if endpoints.len() > 1000 {
            errors.push(Error::too_many(&endpoints.path, endpoints.len(), 1000));
            return errors;
        }
        for endpoint in endpoints.list() {
            let addresses = endpoint.get("addresses");
            if addresses.is_empty() {
                addresses.required(&mut errors, "must contain at least 1 address");
            } else if addresses.len() > 100 {
                errors.push(Error::too_many(&addresses.path, addresses.len(), 100));
            }
            for address in addresses.list() {
                match kind.str() {
                    "IPv4" | "IPv6" => {
                        let before = errors.len();
                        address.form(&mut errors, names::ip_address);
                        let v6 = address.str().contains(':');
                        if errors.len() == before && v6 != (kind.str() == "IPv6") {
                            let version = kind.str();
                            address.invalid(&mut errors, format!("must be an {version} address"));
                        }
                    }
                    _ => address.form(&mut errors, names::dns1123_subdomain),
                }
            }
            endpoint.get("nodeName").may_form(&mut errors, names::dns1123_subdomain);
            endpoint.get("hostname").may_form(&mut errors, names::dns1123_label);
        }
        let ports = slice.get("ports");
        if ports.len() > 20_000 {
            errors.push(Error::too_many(&ports.path, ports.len(), 20_000));
            return errors;
        }
        let mut taken = std::collections::BTreeSet::new();
        for port in ports.list() {
            let name = port.get("name");
            name.may_form(&mut errors, names::dns1123_label);
            if !taken.insert(name.str()) {
                name.duplicate(&mut errors);
            }
            port.get("protocol").one_of(&mut errors, &PROTOCOLS);
            port.get("appProtocol").may_form(&mut errors, names::qualified_name);
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (kind, before) = (At::root(new).get("addressType"), At::root(old).get("addressType"));
        kind.unchanged(&before, &mut errors);
        errors
    }
}
