use serde_json::json;

use super::*;

fn allocated(pools: &mut Pools, mut service: Value) -> Result<Value, String> {
    let mut errors = ErrorList::new();
    service::fill_in(&mut service, None, pools, &mut errors);
    if errors.is_empty() { Ok(service) } else { Err(errors.aggregate()) }
}

fn pools() -> Pools {
    Pools::new(Ranges::parse("10.0.0.0/29", "30000-30003").unwrap())
}

#[test]
fn refuses_what_is_taken_or_outside() {
    let mut pools = pools();
    let service =
        |ip: &str| json!({"spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip]}});
    assert!(allocated(&mut pools, service("10.0.0.1")).is_ok());
    let mut check = |ip: &str, expected: &str| {
        assert_eq!(allocated(&mut pools, service(ip)).unwrap_err(), expected);
    };
    check(
        "10.0.0.1",
        r#"spec.clusterIPs: Invalid value: ["10.0.0.1"]: failed to allocate IP 10.0.0.1: provided IP is already allocated"#,
    );
    check(
        "10.0.0.7",
        r#"spec.clusterIPs: Invalid value: ["10.0.0.7"]: failed to allocate IP 10.0.0.7: the provided IP (10.0.0.7) is not in the valid range. The range of valid IPs is 10.0.0.0/29"#,
    );
}

#[test]
fn gives_each_address_once() {
    let mut pools = pools();
    let mut given = HashSet::new();
    for _ in 0..6 {
        let service = allocated(&mut pools, json!({"spec": {"type": "ClusterIP"}})).unwrap();
        assert_eq!(service["spec"]["clusterIPs"], json!([service["spec"]["clusterIP"]]));
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        assert!(given.insert(service["spec"]["clusterIP"].as_str().unwrap().to_owned()));
    }
    let error = allocated(&mut pools, json!({"spec": {"type": "ClusterIP"}})).unwrap_err();
    assert!(error.contains("range is full"), "{error}");
}

#[test]
fn headless_and_external_services_need_none() {
    let mut pools = pools();
    let headless = allocated(
        &mut pools,
        json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}}),
    );
    assert_eq!(
        headless.unwrap()["spec"],
        json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}, "clusterIPs": ["None"],
            "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]})
    );
    let external = json!({"spec": {"type": "ExternalName", "externalName": "x.y"}});
    assert_eq!(allocated(&mut pools, external.clone()).unwrap(), external);
    assert!(pools.used.is_empty());
}

#[test]
fn node_ports_are_shared_between_protocols_only() {
    let mut pools = pools();
    let dns = json!({"spec": {"type": "NodePort", "ports": [
        {"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53, "protocol": "TCP"}]}});
    let dns = allocated(&mut pools, dns).unwrap();
    let number = &dns["spec"]["ports"][0]["nodePort"];
    assert!((30000..=30003).contains(&number.as_u64().unwrap()));
    assert_eq!(&dns["spec"]["ports"][1]["nodePort"], number);

    let again = json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": number}]}});
    assert_eq!(
        allocated(&mut pools, again).unwrap_err(),
        format!(
            "spec.ports[0].nodePort: Invalid value: {number}: provided port is already allocated"
        )
    );
    let outside = json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": 80}]}});
    assert_eq!(
        allocated(&mut pools, outside).unwrap_err(),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. \
         The range of valid ports is 30000-30003"
    );
}
