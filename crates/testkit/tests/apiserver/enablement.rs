//! Versions that are served because that was asked for.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use testkit::{ApiServer, Enablement, send, send_json};

use crate::{Outcome, expect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_a_resource_share_its_objects() -> Outcome {
    let pairs = ["api/beta=true", "resource.k8s.io/v1beta2=false", "batch/v1/cronjobs=false"];
    let enablement = Enablement::parse(&pairs)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = ApiServer::start_on(any, |config| config.enablement = enablement).await?;
    let client = server.client()?;
    let get = async |path: &str| send_json(&client, "GET", path, &Value::Null).await;
    expect(&get("/apis/resource.k8s.io/v1beta1").await?, 200);
    assert_eq!(get("/apis/resource.k8s.io/v1beta2").await?.code, 404);
    assert_eq!(get("/apis/batch/v1/namespaces/default/cronjobs").await?.code, 404);
    expect(&get("/apis/batch/v1/namespaces/default/jobs").await?, 200);

    let claims = |version: &str| {
        format!("/apis/resource.k8s.io/{version}/namespaces/default/resourceclaims")
    };
    let claim = json!({"kind": "ResourceClaim", "metadata": {"name": "c"},
        "spec": {"devices": {"requests": [{"name": "a", "deviceClassName": "gpu"}]}}});
    let older = expect(&send_json(&client, "POST", &claims("v1beta1"), &claim).await?, 201);
    let asked = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    assert_eq!(older["spec"]["devices"]["requests"][0]["count"], 1);
    let newer = expect(&get(&format!("{}/c", claims("v1"))).await?, 200);
    assert_eq!(newer["apiVersion"], "resource.k8s.io/v1");
    assert_eq!(newer["spec"]["devices"]["requests"], json!([{"name": "a", "exactly": asked}]));
    assert_eq!(newer["metadata"]["uid"], older["metadata"]["uid"]);
    let patch = r#"{"metadata": {"labels": {"a": "b"}}}"#;
    let headers = [("content-type", "application/merge-patch+json")];
    let path = format!("{}/c", claims("v1beta1"));
    let patched = expect(&send(&client, "PATCH", &path, &headers, patch).await?, 200);
    assert_eq!(patched["apiVersion"], "resource.k8s.io/v1beta1");
    let list = expect(&get(&format!("{}?labelSelector=a%3Db", claims("v1"))).await?, 200);
    assert_eq!(list["items"][0]["spec"]["devices"]["requests"][0]["exactly"], asked);

    // Versions that differ in nothing but their name.
    let path = "/apis/networking.k8s.io/v1beta1/servicecidrs/kubernetes";
    assert_eq!(expect(&get(path).await?, 200)["apiVersion"], "networking.k8s.io/v1beta1");
    Ok(())
}
