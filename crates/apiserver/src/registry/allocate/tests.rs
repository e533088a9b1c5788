use std::collections::BTreeSet;

use super::*;

/// What is there to choose from in a test.
struct Fixture {
    families: Vec<Family>,
    networks: Vec<Network>,
    used: HashSet<IpAddr>,
    ports: Ranges,
    ports_used: BTreeSet<u16>,
}

fn fixture(networks: &[&str]) -> Fixture {
    let networks: Vec<Network> =
        networks.iter().map(|cidr| Network::parse(cidr).unwrap()).collect();
    let mut families: Vec<Family> = networks.iter().map(Network::family).collect();
    families.dedup();
    Fixture {
        families,
        networks,
        used: HashSet::new(),
        ports: Ranges::parse("10.0.0.0/24", "30000-30003").unwrap(),
        ports_used: BTreeSet::new(),
    }
}

impl Fixture {
    fn allocate(&mut self, mut service: Value) -> Result<Value, String> {
        let used = self.used.clone();
        let mut pending = HashSet::new();
        let mut pools = Pools {
            families: &self.families,
            networks: &self.networks,
            ip_used: &|ip| used.contains(&ip),
            ports: self.ports.ports(),
            ports_used: &self.ports_used,
            pending: &mut pending,
            taken: Vec::new(),
        };
        match service::fill_in(&mut service, None, &mut pools) {
            Err(Problem::Invalid(errors)) => return Err(errors.aggregate()),
            Err(Problem::Exhausted(text)) => return Err(text),
            Ok(()) => {}
        }
        for unit in pools.taken {
            match unit {
                Unit::Ip(ip) => self.used.insert(ip),
                Unit::Port(port) => self.ports_used.insert(port),
            };
        }
        Ok(service)
    }

    fn refused(&mut self, service: Value, expected: &str) {
        assert_eq!(self.allocate(service).unwrap_err(), expected);
    }
}

fn wants(ips: &[&str]) -> Value {
    json!({"spec": {"type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": ips}})
}

#[test]
fn what_is_taken_or_outside_is_refused() {
    let mut f = fixture(&["10.0.0.0/29", "10.9.0.0/24"]);
    for ip in ["10.0.0.1", "10.9.0.254"] {
        assert!(f.allocate(wants(&[ip])).is_ok());
    }
    f.refused(
        wants(&["10.0.0.1"]),
        r#"spec.clusterIPs: Invalid value: ["10.0.0.1"]: failed to allocate IP 10.0.0.1: provided IP is already allocated"#,
    );
    // The network's own address, the broadcast address, and one of no network.
    for ip in ["10.0.0.0", "10.0.0.7", "10.1.0.1"] {
        f.refused(
            wants(&[ip]),
            &format!(
                "spec.clusterIPs: Invalid value: [\"{ip}\"]: failed to allocate IP {ip}: \
                 the provided network does not match the current range"
            ),
        );
    }
}

#[test]
fn each_address_is_given_once() {
    let mut f = fixture(&["10.0.0.0/29"]);
    let mut given = HashSet::new();
    for _ in 0..6 {
        let service = f.allocate(json!({"spec": {"type": "ClusterIP"}})).unwrap();
        assert_eq!(service["spec"]["clusterIPs"], json!([service["spec"]["clusterIP"]]));
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        assert!(given.insert(service["spec"]["clusterIP"].as_str().unwrap().to_owned()));
    }
    let any = json!({"spec": {"type": "ClusterIP"}});
    f.refused(any.clone(), "failed to allocate a serviceIP: range is full");
    f.networks.push(Network::parse("10.9.0.0/30").unwrap());
    let further = f.allocate(any).unwrap();
    assert!(further["spec"]["clusterIP"].as_str().unwrap().starts_with("10.9.0."));
}

#[test]
fn two_families_give_two_addresses() {
    let mut f = fixture(&["10.0.0.0/24", "fd00::/112"]);
    let mut check = |spec: Value, families: Value| {
        let service = f.allocate(json!({ "spec": spec })).unwrap();
        let ips: Vec<IpAddr> = service["spec"]["clusterIPs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ip| ip.as_str().unwrap().parse().unwrap())
            .collect();
        let found: Vec<&str> = ips.iter().map(|ip| family_name(*ip)).collect();
        assert_eq!((json!(found), &service["spec"]["ipFamilies"]), (families.clone(), &families));
        assert_eq!(service["spec"]["clusterIP"], json!(ips[0].to_string()));
    };
    check(json!({"type": "ClusterIP"}), json!(["IPv4"]));
    check(json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}), json!(["IPv6"]));
    for policy in ["PreferDualStack", "RequireDualStack"] {
        check(json!({"type": "ClusterIP", "ipFamilyPolicy": policy}), json!(["IPv4", "IPv6"]));
        check(
            json!({"type": "ClusterIP", "ipFamilyPolicy": policy, "ipFamilies": ["IPv6"]}),
            json!(["IPv6", "IPv4"]),
        );
    }
    check(
        json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00::5",
            "clusterIPs": ["fd00::5"]}),
        json!(["IPv6", "IPv4"]),
    );
    let mut single = fixture(&["10.0.0.0/24"]);
    let prefers = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}});
    assert_eq!(single.allocate(prefers).unwrap()["spec"]["ipFamilies"], json!(["IPv4"]));
    single.refused(
        json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}}),
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured \
         for dual-stack services",
    );
    single.refused(
        json!({"spec": {"type": "ClusterIP", "ipFamilies": ["IPv6"]}}),
        "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
    );
}

#[test]
fn headless_and_external_services_need_none() {
    let mut f = fixture(&["10.0.0.0/29"]);
    let headless = f.allocate(
        json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}}),
    );
    assert_eq!(
        headless.unwrap()["spec"],
        json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}, "clusterIPs": ["None"],
            "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]})
    );
    let external = json!({"spec": {"type": "ExternalName", "externalName": "x.y"}});
    assert_eq!(f.allocate(external.clone()).unwrap(), external);
    assert!(f.used.is_empty());
}

#[test]
fn node_ports_are_shared_between_protocols_only() {
    let mut f = fixture(&["10.0.0.0/24"]);
    let dns = json!({"spec": {"type": "NodePort", "ports": [
        {"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53, "protocol": "TCP"}]}});
    let dns = f.allocate(dns).unwrap();
    let number = dns["spec"]["ports"][0]["nodePort"].clone();
    assert!((30000..=30003).contains(&number.as_u64().unwrap()));
    assert_eq!(dns["spec"]["ports"][1]["nodePort"], number);

    let wants = |port: &Value| json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": port}]}});
    f.refused(
        wants(&number),
        &format!(
            "spec.ports[0].nodePort: Invalid value: {number}: provided port is already allocated"
        ),
    );
    f.refused(
        wants(&json!(80)),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. \
         The range of valid ports is 30000-30003",
    );
    let any = json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP"}]}});
    for _ in 0..3 {
        f.allocate(any.clone()).unwrap();
    }
    f.refused(any, "failed to allocate a nodePort: range is full");
}

#[test]
fn the_lower_band_comes_last() {
    let check = |cidr: &str, first_of_upper: &str, count: usize| {
        let network = Network::parse(cidr).unwrap();
        let order: Vec<IpAddr> = network.candidates(0).take(70_000).collect();
        assert_eq!((order[0].to_string().as_str(), order.len()), (first_of_upper, count), "{cidr}");
        let distinct: HashSet<&IpAddr> = order.iter().collect();
        assert_eq!(distinct.len(), order.len());
        let first = order.iter().min().unwrap();
        if order.len() < 70_000 && order[0] != *first {
            let lower = order.iter().position(|ip| ip == first).unwrap();
            assert!(order[lower..].iter().all(|ip| *ip < order[0]));
        }
        // Another start gives the same addresses.
        assert_eq!(network.candidates(u128::MAX).take(70_000).count(), order.len());
    };
    check("10.0.0.0/30", "10.0.0.1", 2);
    check("10.0.0.0/28", "10.0.0.1", 14);
    check("10.0.0.0/27", "10.0.0.17", 30);
    check("10.0.0.0/24", "10.0.0.17", 254);
    check("10.0.0.0/20", "10.0.1.1", 4094);
    check("10.0.0.0/12", "10.0.1.1", 70_000);
    check("fd00::/112", "fd00::101", 65_535);
    check("fd00::/64", "fd00::101", 70_000);

    let ports = Ranges::parse("10.0.0.0/24", "30000-32767").unwrap();
    let order: Vec<u16> = ports.ports().candidates(0).collect();
    assert_eq!((order[0], order.len(), *order.last().unwrap()), (30086, 2768, 30085));
}

#[test]
fn ranges_come_from_flags() {
    let check = |cidrs: &str, ports: &str, want: Result<&[&str], &str>| {
        let found = Ranges::parse(cidrs, ports).map_err(|error| error.to_string());
        let found = found.map(|r| r.networks().iter().map(ToString::to_string).collect::<Vec<_>>());
        match want {
            Ok(want) => assert_eq!(found.unwrap(), want),
            Err(want) => assert_eq!(found.unwrap_err(), want),
        }
    };
    check("10.96.7.7/12", "1-2", Ok(&["10.96.0.0/12"]));
    check("10.96.0.0/12, fd00::/108", "1-2", Ok(&["10.96.0.0/12", "fd00::/108"]));
    check("fd00::/108,10.96.0.0/12", "1-2", Ok(&["fd00::/108", "10.96.0.0/12"]));
    let bad = |cidrs: &str| format!("{cidrs:?} is not a valid range of cluster IPs");
    for cidrs in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "fd00::/48",
        "10.0.0.0/8,10.0.0.0/8",
        "::/108,10.0.0.0/8,10.0.0.0/9",
    ] {
        check(cidrs, "1-2", Err(&bad(cidrs)));
    }
    for ports in ["", "1", "0-5", "5-4", "1-70000"] {
        check("10.0.0.0/8", ports, Err(&format!("{ports:?} is not a valid port range")));
    }
}

#[test]
fn addresses_come_from_networks_that_are_ready_and_stay() {
    let flags = Ranges::parse("10.0.0.0/24", "30000-30001").unwrap();
    let cidr = |name: &str, range: &str, deleting: bool, ready: Option<&str>| {
        let mut object = json!({"metadata": {"name": name}, "spec": {"cidrs": [range]}});
        if deleting {
            object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        if let Some(ready) = ready {
            object["status"] = json!({"conditions": [{"type": "Ready", "status": ready}]});
        }
        object
    };
    let check = |objects: &[Value], want: &[&str]| {
        let found: Vec<String> = usable(objects, &flags).iter().map(ToString::to_string).collect();
        assert_eq!(found, want);
    };
    check(&[], &["10.0.0.0/24"]);
    let kubernetes = cidr("kubernetes", "10.5.0.0/24", false, Some("True"));
    check(std::slice::from_ref(&kubernetes), &["10.5.0.0/24"]);
    let others = [
        cidr("new", "10.6.0.0/24", false, None),
        cidr("broken", "10.7.0.0/24", false, Some("False")),
        cidr("going", "10.8.0.0/24", true, Some("True")),
        kubernetes,
    ];
    check(&others, &["10.6.0.0/24", "10.5.0.0/24"]);
    check(&others[..3], &["10.0.0.0/24", "10.6.0.0/24"]);
}

#[test]
fn the_record_of_ports_is_upstreams() {
    let ranges = Ranges::parse("10.0.0.0/24", "30000-32767").unwrap();
    let check = |ports: &[u16], data: &str| {
        let record = PortRecord { used: ports.iter().copied().collect() };
        let stored = record.encode(ranges.ports());
        let value: Value = serde_json::from_slice(&stored).unwrap();
        assert_eq!(
            value,
            json!({"kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
                "range": "30000-32767", "data": data})
        );
        assert_eq!(PortRecord::decode(&stored), record);
    };
    check(&[], "");
    check(&[30000], "AQ==");
    // One number, 2^8 + 2^1.
    check(&[30001, 30008], "AQI=");
    assert_eq!(PortRecord::decode(b"nonsense"), PortRecord::default());
}
