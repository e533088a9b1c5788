//! Services with their addresses and ports.

use super::*;

#[tokio::test]
async fn services_get_addresses_and_give_them_back() {
    let f = fixture().await;
    let service = |name: &str, ip: Option<&str>| {
        let mut service = json!({"metadata": {"name": name},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
        if let Some(ip) = ip {
            service["spec"]["clusterIP"] = ip.into();
        }
        service
    };
    let created = f.create("services", service("a", None)).await.unwrap();
    let ip = created["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10."), "{ip}");
    let status = f.create("services", service("b", Some(&ip))).await.unwrap_err();
    assert_eq!(
        status.message,
        format!(
            "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{ip}\"]: \
             failed to allocate IP {ip}: provided IP is already allocated"
        )
    );
    f.delete(&f.at("services", "a"), &DeleteOptions::default()).await.unwrap();
    f.create("services", service("b", Some(&ip))).await.unwrap();
}

#[tokio::test]
async fn node_ports_follow_the_type() {
    let f = fixture().await;
    let service = json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort",
        "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    let created = f.create("services", service.clone()).await.unwrap();
    let port = created["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port));
    let target = f.at("services", "a");
    let kept = f.update(&target, service).await.unwrap();
    assert_eq!(kept["spec"], created["spec"], "an update that leaves them out keeps them");
    let other = json!({"metadata": {"name": "b"}, "spec": {"type": "NodePort",
        "ports": [{"port": 80, "nodePort": port}]}});
    let status = f.create("services", other.clone()).await.unwrap_err();
    assert_eq!(
        status.message,
        format!(
            "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: \
             provided port is already allocated"
        )
    );
    let plain = json!({"spec": {"type": "ClusterIP"}});
    let plain = f.patch(&target, PatchType::Merge, plain).await.unwrap();
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
    f.create("services", other).await.unwrap();
}

#[tokio::test]
async fn a_service_and_its_addresses_come_and_go_together() {
    let f = fixture().await;
    let service = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}});
    f.create("services", service).await.unwrap();
    let address = f.at("networking.k8s.io/v1/ipaddresses", "10.96.7.7");
    let found = f.get(&address).await.unwrap();
    assert_eq!(
        found["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "a"})
    );
    assert_eq!(
        found["metadata"]["labels"],
        json!({"ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"})
    );
    let owner = &found["metadata"]["managedFields"][0];
    assert_eq!(
        (&owner["manager"], &owner["operation"]),
        (&json!("kube-apiserver"), &json!("Update"))
    );
    assert!(owner["fieldsV1"]["f:spec"]["f:parentRef"]["f:name"].is_object(), "{owner}");
    f.delete(&f.at("services", "a"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(f.get(&address).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn what_another_server_has_taken_is_not_given_again() {
    let f = fixture().await;
    let other = Registry::open(f.registry.store().clone(), Options::default()).await.unwrap();
    let other = Fixture {
        _folder: tempfile::tempdir().unwrap(),
        registry: other,
        context: Context::internal(),
    };
    let service = |name: &str, port: Option<u16>| {
        let mut service = json!({"metadata": {"name": name},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        if let Some(port) = port {
            service["spec"]["ports"][0]["nodePort"] = port.into();
        }
        service
    };
    f.create("services", service("a", Some(30001))).await.unwrap();
    other.create("services", service("b", Some(30002))).await.unwrap();
    // This server has not seen the record since.
    let refused = f.create("services", service("c", Some(30002))).await.unwrap_err();
    assert_eq!(
        refused.message,
        "Service \"c\" is invalid: spec.ports[0].nodePort: Invalid value: 30002: \
         provided port is already allocated"
    );
    other.delete(&other.at("services", "b"), &DeleteOptions::default()).await.unwrap();
    f.create("services", service("c", Some(30002))).await.unwrap();

    let mut ports = std::collections::HashSet::new();
    for number in 0..20 {
        let server = if number % 2 == 0 { &f } else { &other };
        let made = server.create("services", service(&format!("s{number}"), None)).await.unwrap();
        assert!(ports.insert(made["spec"]["ports"][0]["nodePort"].as_u64().unwrap()));
    }
    other.registry.close().await;
}

#[tokio::test]
async fn services_from_before_are_taken_over() {
    let f = fixture().await;
    let service = json!({"kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "a", "namespace": "default", "uid": "u"},
        "spec": {"type": "NodePort", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
    let key = "/registry/services/specs/default/a";
    let txn = store::Txn::create(key, service.to_string(), None);
    let revision = f.registry.store().txn(txn).await.unwrap().revision;
    f.registry.0.dispatcher.reach(revision).await;
    let mut repair = Repair::new(&f.registry).unwrap();
    repair.once().await.unwrap();
    let address = f.at("networking.k8s.io/v1/ipaddresses", "10.96.7.7");
    assert_eq!(f.get(&address).await.unwrap()["spec"]["parentRef"]["name"], "a");
    let other = json!({"metadata": {"name": "b"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}});
    assert_eq!(f.create("services", other).await.unwrap_err().code, 422);

    // An address that is taken away comes back, and a second look changes nothing.
    f.delete(&address, &DeleteOptions::default()).await.unwrap();
    repair.once().await.unwrap();
    let again = f.get(&address).await.unwrap();
    repair.once().await.unwrap();
    assert_eq!(f.get(&address).await.unwrap(), again);
}
