//! What the server says of itself.

use serde_json::{Value, json};
use testkit::{send, send_json};

use crate::{Outcome, expect, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_versions_and_resources() -> Outcome {
    let (_server, client) = server().await?;
    let get = async |path: &str| send_json(&client, "GET", path, &Value::Null).await;
    let versions = expect(&get("/api").await?, 200);
    assert_eq!(versions["versions"], json!(["v1"]));
    let groups = expect(&get("/apis").await?, 200);
    let apps = groups["groups"].as_array().into_iter().flatten().find(|g| g["name"] == "apps");
    assert_eq!(
        apps,
        Some(&json!({"name": "apps",
            "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}))
    );
    let core = expect(&get("/api/v1").await?, 200);
    let find = |name: &str| {
        core["resources"].as_array().into_iter().flatten().find(|r| r["name"] == name).cloned()
    };
    let pods = find("pods").unwrap_or_default();
    assert_eq!(pods["shortNames"], json!(["po"]));
    assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
    assert_eq!(find("pods/eviction").unwrap_or_default()["group"], "policy");
    expect(&get("/apis/apps/v1").await?, 200);
    expect(&get("/apis/apps").await?, 200);
    let version = expect(&get("/version").await?, 200);
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregated_discovery_has_a_tag() -> Outcome {
    let (_server, client) = server().await?;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let first = send(&client, "GET", "/apis", &[("accept", accept)], "").await?;
    let list = expect(&first, 200);
    assert_eq!(first.header("content-type"), accept);
    assert_eq!(list["kind"], "APIGroupDiscoveryList");
    let apps =
        list["items"].as_array().into_iter().flatten().find(|i| i["metadata"]["name"] == "apps");
    let deployments = apps
        .and_then(|apps| apps["versions"][0]["resources"].as_array())
        .into_iter()
        .flatten()
        .find(|r| r["resource"] == "deployments")
        .cloned()
        .unwrap_or_default();
    assert_eq!(deployments["responseKind"]["kind"], "Deployment");
    assert_eq!(deployments["scope"], "Namespaced");
    let headers = [("accept", accept), ("if-none-match", first.header("etag"))];
    let second = send(&client, "GET", "/apis", &headers, "").await?;
    assert_eq!((second.code, second.text.as_str()), (304, ""));

    // Its beta is gone: who takes something else gets that, who does not gets nothing.
    let beta = accept.replace("v=v2;", "v=v2beta1;");
    assert_eq!(send(&client, "GET", "/apis", &[("accept", &beta)], "").await?.code, 406);
    let either = format!("{beta},application/json");
    let plain = send(&client, "GET", "/apis", &[("accept", &either)], "").await?;
    assert_eq!(expect(&plain, 200)["kind"], "APIGroupList");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_documents() -> Outcome {
    let (_server, client) = server().await?;
    let get = async |path: &str| send_json(&client, "GET", path, &Value::Null).await;
    let index = expect(&get("/openapi/v3").await?, 200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap_or_default();
    let document = get(url).await?;
    let apps = expect(&document, 200);
    assert!(apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    assert_eq!(document.header("cache-control"), "public, immutable");
    let old = expect(&get("/openapi/v2").await?, 200);
    assert!(old["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let answer = send(&client, "GET", "/openapi/v2", &[("accept", protobuf)], "").await?;
    assert_eq!((answer.code, answer.header("content-type")), (200, protobuf));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics() -> Outcome {
    let (_server, client) = server().await?;
    let get = async |path: &str| send_json(&client, "GET", path, &Value::Null).await;
    let ready = get("/readyz?verbose").await?;
    assert!(ready.text.starts_with("[+]ping ok\n"), "{}", ready.text);
    assert!(ready.text.ends_with("readyz check passed\n"), "{}", ready.text);
    assert_eq!(get("/livez/etcd").await?.text, "ok");
    get("/api/v1/nodes").await?;
    let metrics = get("/metrics").await?.text;
    let wanted = "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",\
        group=\"\",resource=\"nodes\",scope=\"cluster\",subresource=\"\",verb=\"LIST\",\
        version=\"v1\"} 1";
    assert!(metrics.contains(wanted), "{metrics}");
    Ok(())
}
