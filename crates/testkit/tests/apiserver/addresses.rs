//! ServiceCIDRs and IPAddresses, and Services of both families.

use serde_json::{Value, json};
use testkit::{ApiServer, Error, send, send_json};

use crate::{Outcome, expect};

const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const SERVICES: &str = "/api/v1/namespaces/default/services";

async fn with_range(range: &str) -> Result<ApiServer, Error> {
    ApiServer::start_on(([127, 0, 0, 1], 0).into(), |config| {
        range.clone_into(&mut config.service_cluster_ip_range);
    })
    .await
}

async fn dual_stack() -> Result<ApiServer, Error> {
    with_range("10.96.0.0/16,fd00:10:96::/112").await
}

async fn get(client: &kube::Client, path: &str) -> Result<Value, Error> {
    Ok(expect(&send_json(client, "GET", path, &Value::Null).await?, 200))
}

#[tokio::test]
async fn the_default_range_and_the_first_address_are_objects() -> Outcome {
    let server = dual_stack().await?;
    let client = server.client()?;
    let cidr = get(&client, &format!("{CIDRS}/kubernetes")).await?;
    assert_eq!(cidr["spec"], json!({"cidrs": ["10.96.0.0/16", "fd00:10:96::/112"]}));
    let ready = &cidr["status"]["conditions"][0];
    assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(ready["message"], "Kubernetes default Service CIDR is ready");
    let address = get(&client, &format!("{ADDRESSES}/10.96.0.1")).await?;
    assert_eq!(
        address["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "kubernetes"})
    );
    Ok(())
}

#[tokio::test]
async fn services_gain_and_lose_their_second_address() -> Outcome {
    let server = dual_stack().await?;
    let client = server.client()?;
    let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    let one = expect(&send_json(&client, "POST", SERVICES, &service).await?, 201);
    assert_eq!(one["spec"]["ipFamilyPolicy"], "SingleStack");
    let patched = |policy: &'static str| {
        let client = client.clone();
        async move {
            let headers = [("content-type", "application/merge-patch+json")];
            let patch = json!({"spec": {"ipFamilyPolicy": policy}}).to_string().into_bytes();
            let answer = send(&client, "PATCH", &format!("{SERVICES}/s"), &headers, patch).await?;
            Ok::<Value, Error>(expect(&answer, 200))
        }
    };
    let two = patched("RequireDualStack").await?;
    assert_eq!(two["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]), "{two}");
    assert_eq!(two["spec"]["clusterIPs"][0], one["spec"]["clusterIP"]);
    let second = two["spec"]["clusterIPs"][1].as_str().unwrap().to_owned();
    assert!(second.starts_with("fd00:10:96::"), "{second}");
    let address = format!("{ADDRESSES}/{second}");
    let found = get(&client, &address).await?;
    assert_eq!(found["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv6");

    let back = patched("SingleStack").await?;
    assert_eq!(back["spec"]["clusterIPs"], one["spec"]["clusterIPs"], "{back}");
    expect(&send_json(&client, "GET", &address, &Value::Null).await?, 404);
    Ok(())
}

#[tokio::test]
async fn a_full_range_is_widened_by_another() -> Outcome {
    let server = with_range("10.96.0.0/30").await?;
    let client = server.client()?;
    let service = |name: &str| {
        json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"ports": [{"port": 80}]}})
    };
    let create = |name: &'static str| {
        let client = client.clone();
        async move { send_json(&client, "POST", SERVICES, &service(name)).await }
    };
    assert_eq!(create("a").await?.json()["spec"]["clusterIP"], "10.96.0.2");
    let full = create("b").await?;
    let text = "Internal error occurred: failed to allocate a serviceIP: range is full";
    assert_eq!(expect(&full, 500)["message"], text);
    let range = json!({"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/30"]}});
    expect(&send_json(&client, "POST", CIDRS, &range).await?, 201);
    let more = create("b").await?.json();
    assert!(more["spec"]["clusterIP"].as_str().unwrap().starts_with("10.97.0."), "{more}");
    Ok(())
}

#[tokio::test]
async fn addresses_survive_a_restart() -> Outcome {
    let mut server = ApiServer::start().await?;
    let client = server.client()?;
    let service = |name: &str| {
        json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name},
            "spec": {"type": "NodePort", "clusterIP": "10.96.3.3",
                "ports": [{"port": 80, "nodePort": 30100}]}})
    };
    expect(&send_json(&client, "POST", SERVICES, &service("a")).await?, 201);
    server.restart().await?;
    let client = server.client()?;
    let again = send_json(&client, "POST", SERVICES, &service("b")).await?;
    assert_eq!(
        expect(&again, 422)["message"],
        "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.3.3\"]: \
         failed to allocate IP 10.96.3.3: provided IP is already allocated"
    );
    Ok(())
}
