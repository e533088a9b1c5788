//! The slices that mirror an Endpoints object which somebody wrote by hand. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::endpointslice::managed::{MANAGED_BY, Plan, SERVICE_NAME};
use crate::object::{Meta, controller_reference};

pub(super) const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Upstream's `--mirroring-max-endpoints-per-subset`.
const CAPACITY: usize = 1000;

/// Whether an Endpoints object is to be mirrored for this Service: nobody else makes its slices.
pub(super) fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let selects =
        service.spec.as_ref().is_some_and(|s| s.selector.as_ref().is_some_and(|m| !m.is_empty()));
    !selects && endpoints.label(SKIP) != Some("true") && endpoints.annotation(LEADER).is_none()
}

/// Plans the mirror; without an object to mirror it goes.
pub(super) fn plan(endpoints: Option<&Endpoints>, present: &[Arc<EndpointSlice>]) -> Plan {
    let mut wanted = endpoints.map(slices).unwrap_or_default();
    let mut plan = Plan::default();
    let mut stale: Vec<&Arc<EndpointSlice>> = Vec::new();
    for slice in present.iter().filter(|s| !s.is_deleting()) {
        match wanted.iter().position(|w| says_the_same(w, slice)) {
            Some(at) => {
                wanted.remove(at);
            }
            None => stale.push(slice),
        }
    }
    for slice in wanted {
        let reusable = stale.iter().position(|s| s.address_type == slice.address_type);
        match reusable {
            None => plan.create.push(slice),
            Some(at) => {
                let mut updated = (**stale.remove(at)).clone();
                updated.metadata.labels = slice.metadata.labels;
                updated.metadata.annotations = slice.metadata.annotations;
                updated.endpoints = slice.endpoints;
                updated.ports = slice.ports;
                plan.update.push(updated);
            }
        }
    }
    plan.delete.extend(stale.into_iter().map(|slice| slice.nm().to_owned()));
    plan
}

fn says_the_same(a: &EndpointSlice, b: &EndpointSlice) -> bool {
    a.address_type == b.address_type
        && a.ports.as_deref().unwrap_or_default() == b.ports.as_deref().unwrap_or_default()
        && a.endpoints.as_deref().unwrap_or_default() == b.endpoints.as_deref().unwrap_or_default()
        && a.metadata.labels == b.metadata.labels
        && a.metadata.annotations.as_ref().filter(|m| !m.is_empty())
            == b.metadata.annotations.as_ref().filter(|m| !m.is_empty())
}

/// One slice for each subset and address family.
fn slices(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.nm().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    let mut slices = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        for (family, members) in by_family(subset) {
            slices.push(EndpointSlice {
                metadata: ObjectMeta {
                    generate_name: Some(format!("{}-", endpoints.nm())),
                    namespace: endpoints.metadata.namespace.clone(),
                    labels: Some(labels.clone()),
                    annotations: (!annotations.is_empty()).then(|| annotations.clone()),
                    owner_references: Some(vec![controller_reference(endpoints)]),
                    ..ObjectMeta::default()
                },
                address_type: family.to_owned(),
                endpoints: Some(members.into_iter().take(CAPACITY).collect()),
                ports: Some(ports(subset)),
            });
        }
    }
    slices
}

fn by_family(subset: &EndpointSubset) -> BTreeMap<&'static str, Vec<Endpoint>> {
    let mut families: BTreeMap<&'static str, Vec<Endpoint>> = BTreeMap::new();
    let sides = [(&subset.addresses, true), (&subset.not_ready_addresses, false)];
    for (addresses, ready) in sides {
        for address in addresses.iter().flatten() {
            let family = if address.ip.contains(':') { "IPv6" } else { "IPv4" };
            families.entry(family).or_default().push(endpoint(address, ready));
        }
    }
    families
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    subset
        .ports
        .iter()
        .flatten()
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(ips: &[&str]) -> Endpoints {
        let mut endpoints = Endpoints::default();
        endpoints.metadata.name = Some("ext".into());
        endpoints.metadata.uid = Some("e".into());
        let address =
            |ip: &&str| EndpointAddress { ip: (*ip).into(), ..EndpointAddress::default() };
        endpoints.subsets = Some(vec![EndpointSubset {
            addresses: Some(ips.iter().map(address).collect()),
            ..EndpointSubset::default()
        }]);
        endpoints
    }

    fn execute(
        endpoints: Option<&Endpoints>,
        mut present: Vec<Arc<EndpointSlice>>,
    ) -> Vec<Arc<EndpointSlice>> {
        let planned = plan(endpoints, &present);
        present.retain(|s| !planned.delete.iter().any(|name| name == s.nm()));
        for slice in planned.update {
            let at = present.iter().position(|s| s.nm() == slice.nm()).unwrap();
            present[at] = Arc::new(slice);
        }
        for mut slice in planned.create {
            slice.metadata.name = Some(format!("ext-{}", slice.address_type));
            present.push(Arc::new(slice));
        }
        assert_eq!(plan(endpoints, &present), Plan::default(), "plan after execute is empty");
        present
    }

    #[test]
    fn the_mirror_follows_and_goes() {
        let mirror = execute(Some(&endpoints(&["192.0.2.1", "2001:db8::1"])), Vec::new());
        assert_eq!(mirror.len(), 2);
        let name = mirror[0].nm().to_owned();
        let mirror = execute(Some(&endpoints(&["192.0.2.9"])), mirror);
        assert_eq!((mirror.len(), mirror[0].nm()), (1, name.as_str()));
        assert_eq!(mirror[0].endpoints.as_ref().unwrap()[0].addresses, ["192.0.2.9"]);
        assert!(execute(None, mirror).is_empty());
    }

    #[test]
    fn only_what_nobody_else_slices_is_mirrored() {
        let mut e = endpoints(&[]);
        let mut service = Service::default();
        assert!(is_mirrored(&e, &service));
        e.metadata.labels = Some([(SKIP.to_owned(), "true".to_owned())].into());
        assert!(!is_mirrored(&e, &service));
        e.metadata.labels = None;
        service.spec.get_or_insert_default().selector =
            Some([("a".to_owned(), "b".to_owned())].into());
        assert!(!is_mirrored(&e, &service));
    }
}
