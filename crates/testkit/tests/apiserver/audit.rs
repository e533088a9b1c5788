//! What is noted of requests, in a file and over HTTPS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use apiserver::audit::{LogOptions, Mode, TruncateOptions, WebhookOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::{ApiServer, Config, Error, fixtures, send, send_json};

use crate::watches::Watch;
use crate::webhook_server::{Reply, WebhookServer};
use crate::{CONFIG_MAPS, Outcome, expect};

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: ["/readyz*"]
- level: Metadata
  resources: [{resources: [secrets]}]
- level: RequestResponse
  resources: [{resources: [configmaps]}]
- level: Metadata
  omitStages: [RequestReceived]
"#;

fn with_policy(config: &mut Config, policy: &str) {
    let path = config.data_dir.with_file_name("policy.yaml");
    std::fs::write(&path, policy).expect("the folder is there");
    config.audit.policy_file = Some(path);
}

async fn audited() -> Result<(ApiServer, kube::Client, PathBuf), Error> {
    let mut log = PathBuf::new();
    let server = ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| {
        with_policy(config, POLICY);
        log = config.data_dir.with_file_name("audit").join("audit.log");
        config.audit.log = Some(LogOptions::at(log.clone()));
    })
    .await?;
    let client = server.client()?;
    Ok((server, client, log))
}

/// All events so far of requests whose URI contains a text.
fn events(log: &PathBuf, about: &str) -> Result<Vec<Value>, Error> {
    let text = std::fs::read_to_string(log)?;
    let events: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let about = |event: &Value| event["requestURI"].as_str().is_some_and(|uri| uri.contains(about));
    Ok(events?.into_iter().filter(about).collect())
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["stage"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_noted_where_the_policy_says_so() -> Outcome {
    let (_server, client, log) = audited().await?;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/vnd.kubernetes.protobuf"),
        ("audit-id", "one"),
        ("x-forwarded-for", "10.1.2.3"),
        ("user-agent", "test/1"),
    ];
    let map = fixtures::config_map("m", "k", "v").to_string();
    let path = format!("{CONFIG_MAPS}?fieldManager=test");
    let made = send(&client, "POST", &path, &headers, map).await?;
    assert_eq!((made.code, made.header("audit-id")), (201, "one"));
    let all = events(&log, "fieldManager=test")?;
    assert_eq!(stages(&all), ["RequestReceived", "ResponseComplete"]);
    assert!(all[0].get("requestObject").is_none() && all[0].get("responseStatus").is_none());
    let mut event = all[1].clone();
    for time in ["requestReceivedTimestamp", "stageTimestamp"] {
        assert_eq!(event[time].as_str().unwrap_or_default().len(), 27, "{event}");
    }
    let credential = event["user"]["extra"].take();
    assert!(credential.to_string().contains("X509SHA256="), "{credential}");
    let metadata = event["responseObject"]["metadata"].take();
    assert_eq!(metadata["name"], "m");
    assert!(metadata["uid"].is_string() && metadata.get("managedFields").is_none());
    assert_eq!(event["responseObject"]["data"], json!({"k": "v"}));
    assert_eq!(event["requestObject"]["data"], json!({"k": "v"}));
    let wanted = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "one",
        "stage": "ResponseComplete",
        "requestURI": path,
        "verb": "create",
        "user": {
            "username": "kubernetes-admin",
            "groups": ["system:masters", "system:authenticated"],
            "extra": null,
        },
        "sourceIPs": ["10.1.2.3", "127.0.0.1"],
        "userAgent": "test/1",
        "objectRef": {
            "resource": "configmaps", "namespace": "default", "name": "m", "apiVersion": "v1",
        },
        "responseStatus": {"metadata": {}, "code": 201},
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": "",
        },
    });
    for (member, value) in wanted.as_object().into_iter().flatten() {
        assert_eq!(event[member], *value, "{member}");
    }

    let one = format!("{CONFIG_MAPS}/m");
    let merge = [("content-type", "application/merge-patch+json")];
    expect(&send(&client, "PATCH", &one, &merge, r#"{"data":{"k":"w"}}"#).await?, 200);
    expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    expect(&send_json(&client, "DELETE", &one, &json!({"gracePeriodSeconds": 1})).await?, 200);
    let all = events(&log, CONFIG_MAPS)?;
    let of = |verb: &str| all.iter().rfind(|event| event["verb"] == verb).cloned();
    let patch = of("patch").unwrap_or_default();
    assert_eq!(patch["requestObject"], json!({"data": {"k": "w"}}));
    assert_eq!(patch["responseObject"]["data"], json!({"k": "w"}));
    let list = of("list").unwrap_or_default();
    assert_eq!(list["responseObject"]["items"][0]["data"], json!({"k": "w"}));
    assert!(!list.to_string().contains("managedFields"));
    let delete = of("delete").unwrap_or_default();
    assert_eq!(delete["requestObject"]["gracePeriodSeconds"], 1);
    assert_eq!(delete["responseStatus"]["status"], "Success");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_noted_and_secrets_are_not() -> Outcome {
    let (server, client, log) = audited().await?;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"},
        "stringData": {"password": "hunter2"}});
    expect(&send_json(&client, "POST", secrets, &secret).await?, 201);
    expect(&send_json(&client, "GET", &format!("{secrets}/s"), &Value::Null).await?, 200);
    assert_eq!(events(&log, secrets)?.len(), 4);
    let text = std::fs::read_to_string(&log)?;
    assert!(!text.contains("hunter2") && !text.contains(&STANDARD.encode("hunter2")));
    assert_eq!(events(&log, "/readyz")?, Vec::<Value>::new());

    let jane = server.client_for("jane", &["people"])?;
    expect(&send_json(&jane, "GET", "/api/v1/nodes/n", &Value::Null).await?, 403);
    let refused = events(&log, "/api/v1/nodes/n")?;
    assert_eq!(stages(&refused), ["ResponseComplete"]);
    assert_eq!(refused[0]["user"]["username"], "jane");
    assert_eq!(refused[0]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(refused[0]["responseStatus"]["reason"], "Forbidden");
    assert_eq!(refused[0]["responseStatus"]["code"], 403);

    let nobody = server.client_with_token("nonsense")?;
    expect(&send_json(&nobody, "GET", "/api/v1/nodes/o", &Value::Null).await?, 401);
    let unknown = events(&log, "/api/v1/nodes/o")?;
    assert_eq!(stages(&unknown), ["ResponseStarted"]);
    assert_eq!(unknown[0]["user"], json!({}));
    assert_eq!(unknown[0]["responseStatus"]["message"], "Authentication failed, attempted: bearer");

    let as_jane = [("impersonate-user", "jane"), ("impersonate-group", "people")];
    send(&client, "GET", "/api/v1/nodes/p", &as_jane, "").await?;
    let event = events(&log, "/api/v1/nodes/p")?.pop().unwrap_or_default();
    assert_eq!(event["user"]["username"], "kubernetes-admin");
    assert_eq!(
        event["impersonatedUser"],
        json!({"username": "jane", "groups": ["people", "system:authenticated"]})
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_open_has_a_beginning_and_an_end() -> Outcome {
    let (mut server, client, log) = audited().await?;
    let mut watch = Watch::open(&client, "resourceVersion=0", "application/json").await?;
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("m", "k", "v")).await?,
        201,
    );
    watch.next().await?;
    assert_eq!(stages(&events(&log, "watch=true")?), ["RequestReceived", "ResponseStarted"]);
    server.stop().await?;
    assert_eq!(watch.next().await?, Value::Null);
    drop(client);
    let all = events(&log, "watch=true")?;
    assert_eq!(stages(&all), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert_eq!(all[2]["responseStatus"]["code"], 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_sent_to_a_webhook() -> Outcome {
    let receiver = WebhookServer::start(|_| Reply::Text(200, "")).await?;
    let (url, certificate) = (receiver.url().to_owned(), receiver.certificate().to_owned());
    let mut server = ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| {
        with_policy(config, POLICY);
        let path = config.data_dir.with_file_name("webhook.conf");
        let kubeconfig = json!({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "audit", "user": ""}}],
            "clusters": [{"name": "audit", "cluster": {
                "server": url, "certificate-authority-data": STANDARD.encode(certificate),
            }}],
        });
        std::fs::write(&path, kubeconfig.to_string()).expect("the folder is there");
        config.audit.webhook = Some(WebhookOptions::at(path));
    })
    .await?;
    let client = server.client()?;
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("m", "k", "v")).await?,
        201,
    );
    // They are collected, and none is lost when the server stops.
    server.stop().await?;
    let lists = receiver.seen();
    assert!(!lists.is_empty());
    assert_eq!(
        (&lists[0]["kind"], &lists[0]["apiVersion"]),
        (&json!("EventList"), &json!("audit.k8s.io/v1"))
    );
    let all = lists.iter().flat_map(|list| list["items"].as_array().cloned().unwrap_or_default());
    let all: Vec<Value> = all.filter(|event| event["verb"] == "create").collect();
    assert_eq!(stages(&all), ["RequestReceived", "ResponseComplete"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_log_nothing_is_done_where_that_is_wanted() -> Outcome {
    let server = ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| {
        with_policy(config, POLICY);
        // Nobody listens there.
        let kubeconfig = json!({
            "contexts": [{"context": {"cluster": "audit"}}],
            "clusters": [{"name": "audit", "cluster": {"server": "https://127.0.0.1:9"}}],
        });
        let path = config.data_dir.with_file_name("webhook.conf");
        std::fs::write(&path, kubeconfig.to_string()).expect("the folder is there");
        config.audit.webhook = Some(WebhookOptions {
            mode: Mode::BlockingStrict,
            initial_backoff: std::time::Duration::from_millis(1),
            ..WebhookOptions::at(path)
        });
    })
    .await?;
    let client = server.client()?;
    let map = fixtures::config_map("m", "k", "v");
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 500);
    assert_eq!(refused["message"], "Internal error occurred: failed to store audit event");
    // Requests whose beginning is not noted go on.
    expect(&send_json(&client, "GET", "/api/v1/nodes", &Value::Null).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_makes_no_sense_keeps_the_server_from_starting() -> Outcome {
    let started = ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| {
        with_policy(config, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: All}]\n");
    })
    .await;
    let error = started.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(
        error.contains("loading audit policy file: rules[0].level: Unsupported value"),
        "{error}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_too_large_go_without_objects() -> Outcome {
    let mut log = PathBuf::new();
    let server = ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| {
        with_policy(config, POLICY);
        log = config.data_dir.with_file_name("audit.log");
        let limits = TruncateOptions { max_event_size: 4000, max_batch_size: 4000 };
        let options = LogOptions { truncate: Some(limits), ..LogOptions::at(log.clone()) };
        config.audit.log = Some(options);
    })
    .await?;
    let client = server.client()?;
    for (name, size) in [("small", 1), ("large", 4000)] {
        let map = fixtures::config_map(name, "k", &"v".repeat(size));
        expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    }
    let all = events(&log, CONFIG_MAPS)?;
    let made = |name: &str| {
        all.iter().find(|e| e["stage"] == "ResponseComplete" && e["objectRef"]["name"] == name)
    };
    let cut = |event: &Value| event["annotations"]["audit.k8s.io/truncated"] == "true";
    let (small, large) = (made("small").expect("noted"), made("large").expect("noted"));
    assert!(!cut(small) && small.get("requestObject").is_some(), "{small}");
    assert!(cut(large) && large.get("requestObject").is_none(), "{large}");
    assert!(large.get("responseObject").is_none(), "{large}");
    Ok(())
}
