use serde_json::json;

use super::*;
use crate::registry::allocate::Ranges;

fn service_named(name: &str, ips: &[&str]) -> Value {
    json!({"metadata": {"namespace": "n", "name": name}, "spec": {"type": "ClusterIP", "clusterIPs": ips}})
}

fn ip_address(ip: &str, resource: &str, service: &str) -> Value {
    let labels = json!({FAMILY: family_name(ip.parse().unwrap()), MANAGED_BY: MANAGER});
    json!({
        "metadata": {"name": ip, "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"parentRef": {"resource": resource, "namespace": "n", "name": service}},
    })
}

/// What is found about `service`, and about each address, a minute and a second later.
fn check(services: &[&Value], addresses: &[&Value], about: &Value, want: &[(Option<Step>, &str)]) {
    let networks = [Network::parse("10.0.0.0/24").unwrap(), Network::parse("fd00::/112").unwrap()];
    let view = View {
        networks: &networks,
        address: &|name| addresses.iter().find(|a| meta::name(a) == name).map(|a| (*a).clone()),
        service: &|_, name| services.iter().find(|s| meta::name(s) == name).map(|s| (*s).clone()),
    };
    let later = time::parse("2026-01-01T00:01:01Z").unwrap();
    let found = match about.pointer("/spec/parentRef") {
        Some(_) => address(about, &view, later).into_iter().collect(),
        None => service(about, &view),
    };
    let found: Vec<(Option<Step>, String)> = found
        .into_iter()
        .map(|f| (f.step, f.event.map(|(r, n)| format!("{r}: {n}")).unwrap_or_default()))
        .collect();
    let want: Vec<(Option<Step>, String)> =
        want.iter().map(|(step, text)| (step.clone(), (*text).to_owned())).collect();
    assert_eq!(found, want);
}

#[test]
fn services_have_their_addresses() {
    let ip: IpAddr = "10.0.0.5".parse().unwrap();
    let (a, b) = (service_named("a", &["10.0.0.5"]), service_named("b", &["10.0.0.5"]));
    let owned = ip_address("10.0.0.5", "services", "a");
    check(&[&a], &[&owned], &a, &[]);
    check(&[], &[], &service_named("a", &["None"]), &[]);
    check(
        &[],
        &[],
        &a,
        &[(
            Some(Step::Create(ip)),
            "ClusterIPNotAllocated: Cluster IP [IPv4]: 10.0.0.5 is not allocated; repairing",
        )],
    );
    check(
        &[],
        &[],
        &service_named("a", &["10.1.0.1", "fd01::1"]),
        &[
            (
                None,
                "ClusterIPOutOfRange: Cluster IP [IPv4]: 10.1.0.1 is not within any configured Service CIDR; please recreate service",
            ),
            (
                None,
                "ClusterIPOutOfRange: Cluster IP [IPv6]: fd01::1 is not within any configured Service CIDR; please recreate service",
            ),
        ],
    );
    check(
        &[&a, &b],
        &[&owned],
        &b,
        &[(
            None,
            "ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.0.0.5 was assigned to multiple services; please recreate service",
        )],
    );
    let wrong = (
        Some(Step::Recreate(ip)),
        "ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.0.0.5 for Service n/b has a wrong reference; repairing",
    );
    check(&[&b], &[&owned], &b, std::slice::from_ref(&wrong));
    check(&[&b], &[&ip_address("10.0.0.5", "gateways", "b")], &b, &[wrong]);
    let mut unlabelled = owned;
    unlabelled["metadata"]["labels"] = json!({});
    check(&[&a], &[&unlabelled], &a, &[(Some(Step::Recreate(ip)), "")]);
}

#[test]
fn addresses_have_their_services() {
    let a = service_named("a", &["10.0.0.5"]);
    let address = ip_address("10.0.0.5", "services", "a");
    check(&[&a], &[], &address, &[]);
    let deleted = |text| [(Some(Step::Delete), text)];
    check(
        &[],
        &[],
        &address,
        &deleted(
            "IPAddressNotAllocated: IPAddress: 10.0.0.5 for Service n/a appears to have leaked: cleaning up",
        ),
    );
    check(
        &[&a],
        &[],
        &ip_address("10.0.0.6", "services", "a"),
        &deleted(
            "IPAddressWrongReference: IPAddress: 10.0.0.6 for Service n/a has a wrong reference; cleaning up",
        ),
    );
    let mut young = address.clone();
    young["metadata"]["creationTimestamp"] = "2026-01-01T00:00:30Z".into();
    check(&[], &[], &young, &[]);
    let mut foreign = address;
    foreign["metadata"]["labels"] = json!({MANAGED_BY: "me"});
    check(&[], &[], &foreign, &[]);
}

#[test]
fn ports_are_recorded_and_leaks_found_at_the_third_look() {
    let ranges = Ranges::parse("10.0.0.0/24", "30000-30010").unwrap();
    let service = |ports: Value| json!({"spec": {"ports": ports}});
    let services = [
        service(
            json!([{"nodePort": 30001, "protocol": "TCP"}, {"nodePort": 30001, "protocol": "UDP"}]),
        ),
        service(json!([{"nodePort": 30001, "protocol": "TCP"}])),
        service(json!([{"nodePort": 30002}, {"nodePort": 80}])),
    ];
    let mut leaks = Leaks::new();
    let mut look = |stored: Option<&[u16]>, used: &[u16], events: &[&str]| {
        let stored: Option<BTreeSet<u16>> = stored.map(|ports| ports.iter().copied().collect());
        let (found, said) = ports(stored.as_ref(), &services, ranges.ports(), &mut leaks);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), used);
        let said: Vec<String> = said.into_iter().map(|(i, r, n)| format!("{i} {r}: {n}")).collect();
        assert_eq!(said, events);
    };
    let twice = "1 PortAlreadyAllocated: Port 30001 was assigned to multiple services; please recreate service";
    let outside = "2 PortOutOfRange: Port 80 is not within the port range 30000-30010; please recreate service";
    look(None, &[30001, 30002], &[twice, outside]);
    let missing = "2 PortNotAllocated: Port 30002 is not allocated; repairing";
    look(Some(&[30001]), &[30001, 30002], &[twice, missing, outside]);
    for _ in 0..2 {
        look(Some(&[30001, 30002, 30009]), &[30001, 30002, 30009], &[twice, outside]);
    }
    look(Some(&[30001, 30002, 30009]), &[30001, 30002], &[twice, outside]);
}
