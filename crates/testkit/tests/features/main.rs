//! An API server with features switched. They are the same for a whole process, which is why this is
//! a program of its own.

use machinery::features::{self, Features};
use serde_json::{Value, json};
use testkit::{ApiServer, send, send_json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_goes_by_its_features() -> Result<(), testkit::Error> {
    let gates = "WatchList=false,StorageVersionHash=false,APIResponseCompression=false,HPAScaleToZero=true,MaxUnavailableStatefulSet=true";
    let choices = features::parse([gates]).expect("they are well-formed");
    let (chosen, _) = Features::choose(&choices, |_| true).expect("they can be set");
    features::install(chosen);
    let server = ApiServer::start().await?;
    let client = server.client()?;

    let watch = "/api/v1/pods?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let refused = send_json(&client, "GET", watch, &Value::Null).await?;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let text =
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
    assert!(refused.text.contains(text), "{}", refused.text);

    let apps = send_json(&client, "GET", "/apis/apps/v1", &Value::Null).await?;
    assert!(apps.text.contains("\"deployments\"") && !apps.text.contains("storageVersionHash"));

    let headers = [("accept-encoding", "gzip"), ("accept", "application/json")];
    let document = send(&client, "GET", "/openapi/v2", &headers, "").await?;
    assert_eq!((document.code, document.header("content-encoding")), (200, ""));

    let scaler = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2",
        "metadata": {"name": "h"}, "spec": {"minReplicas": 0, "maxReplicas": 1,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "External", "external": {"metric": {"name": "m"},
                "target": {"type": "Value", "value": "1"}}}]}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = send_json(&client, "POST", path, &scaler).await?;
    assert_eq!(made.code, 201, "{}", made.text);

    let labels = json!({"app": "s"});
    let container = json!({"name": "c", "image": "i"});
    let set = json!({"kind": "StatefulSet", "apiVersion": "apps/v1", "metadata": {"name": "s"},
        "spec": {"selector": {"matchLabels": labels}, "serviceName": "s",
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}}});
    let path = "/apis/apps/v1/namespaces/default/statefulsets";
    let made = send_json(&client, "POST", path, &set).await?;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.json()["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 2);
    Ok(())
}
