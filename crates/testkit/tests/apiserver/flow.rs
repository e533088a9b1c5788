//! Priority and fairness: who is told what, and who has to come back.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use testkit::{ApiServer, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const OF_SCHEMA: &str = "x-kubernetes-pf-flowschema-uid";
const OF_LEVEL: &str = "x-kubernetes-pf-prioritylevel-uid";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_names_its_schema_and_level() -> Outcome {
    let (server, client) = server().await?;
    let uid = async |path: &str| {
        let object = expect(&send_json(&client, "GET", path, &Value::Null).await?, 200);
        Ok::<_, testkit::Error>(object["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
    };
    let answer = send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?;
    assert_eq!(answer.header(OF_SCHEMA), uid(&format!("{SCHEMAS}/exempt")).await?);
    assert_eq!(answer.header(OF_LEVEL), uid(&format!("{LEVELS}/exempt")).await?);
    // Refusals too.
    let jane = server.client_for("jane", &[])?;
    let answer = send_json(&jane, "GET", CONFIG_MAPS, &Value::Null).await?;
    assert_eq!(answer.code, 403);
    assert_eq!(answer.header(OF_SCHEMA), uid(&format!("{SCHEMAS}/global-default")).await?);
    assert_eq!(answer.header(OF_LEVEL), uid(&format!("{LEVELS}/global-default")).await?);
    let schemas = expect(&send_json(&client, "GET", SCHEMAS, &Value::Null).await?, 200);
    let schemas = schemas["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(schemas.len(), 13);
    for schema in &schemas {
        assert_eq!(schema["status"]["conditions"][0]["reason"], "Found", "{schema}");
    }
    let metrics = send(&client, "GET", "/metrics", &[], "").await?.text;
    let dispatched = "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"global-default\",\
                      priority_level=\"global-default\"}";
    assert!(metrics.contains(dispatched), "{metrics}");
    assert!(
        metrics.contains("apiserver_flowcontrol_nominal_limit_seats{priority_level=\"system\"} 74")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_without_seats_tells_its_requests_to_come_back() -> Outcome {
    let (mut server, client) = server().await?;
    let level = json!({
        "kind": "PriorityLevelConfiguration", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": "nothing"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"}}},
    });
    expect(&send_json(&client, "POST", LEVELS, &level).await?, 201);
    let schema = json!({
        "kind": "FlowSchema", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": "jane"},
        "spec": {
            "priorityLevelConfiguration": {"name": "nothing"},
            "matchingPrecedence": 5,
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "jane"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "namespaces": ["*"], "clusterScope": true}],
            }],
        },
    });
    let made = expect(&send_json(&client, "POST", SCHEMAS, &schema).await?, 201);
    // Configuration that is there at the start is in force from the first request.
    server.restart().await?;
    let client = server.client()?;
    let jane = server.client_for("jane", &[])?;
    let refused = send(&jane, "GET", CONFIG_MAPS, &[], "").await?;
    assert_eq!(refused.code, 429, "{}", refused.text);
    assert_eq!(refused.text, "Too many requests, please try again later.\n");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header(OF_SCHEMA), made["metadata"]["uid"].as_str().unwrap_or_default());
    // Others have seats of their own.
    expect(
        &send_json(&server.client_for("joe", &[])?, "GET", CONFIG_MAPS, &Value::Null).await?,
        403,
    );
    let metrics = send(&client, "GET", "/metrics", &[], "").await?.text;
    let rejected = "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"jane\",\
                    priority_level=\"nothing\",reason=\"concurrency-limit\"} 1";
    assert!(metrics.contains(rejected), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_come_back_unless_somebody_took_them_over() -> Outcome {
    let mut server =
        ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |_| {}).await?;
    let client = server.client()?;
    let merge = [("content-type", "application/merge-patch+json")];
    let shares = r#"{"spec":{"limited":{"nominalConcurrencyShares":7}}}"#;
    let mine = r#"{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}},
        "spec":{"limited":{"nominalConcurrencyShares":8}}}"#;
    for (name, patch) in [("system", shares), ("workload-low", mine)] {
        let path = format!("{LEVELS}/{name}");
        expect(&send(&client, "PATCH", &path, &merge, patch).await?, 200);
    }
    // Nobody takes this one over.
    let path = format!("{LEVELS}/catch-all");
    let refused = expect(&send(&client, "PATCH", &path, &merge, mine).await?, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("spec of 'catch-all' must equal the fixed value"), "{message}");
    expect(&send_json(&client, "DELETE", &format!("{SCHEMAS}/probes"), &Value::Null).await?, 200);
    server.restart().await?;
    let client = server.client()?;
    for (name, want) in [("system", 30), ("workload-low", 8), ("catch-all", 5)] {
        let path = format!("{LEVELS}/{name}");
        let level = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
        assert_eq!(level["spec"]["limited"]["nominalConcurrencyShares"], want, "{name}");
    }
    expect(&send_json(&client, "GET", &format!("{SCHEMAS}/probes"), &Value::Null).await?, 200);
    Ok(())
}
