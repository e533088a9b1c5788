//! Server-side apply and managed fields, as clients see them.

use kube::Client;
use serde_json::{Value, json};
use testkit::{Answer, Error, fixtures, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const APPLY: &str = "application/apply-patch+yaml";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn apply(client: &Client, path: &str, query: &str, body: &Value) -> Result<Answer, Error> {
    let headers = [("content-type", APPLY), ("accept", "application/json")];
    send(client, "PATCH", &format!("{path}?{query}"), &headers, body.to_string()).await
}

async fn patch(client: &Client, path: &str, media: &str, body: &Value) -> Result<Answer, Error> {
    let media = format!("application/{media}+json");
    let headers = [
        ("content-type", media.as_str()),
        ("accept", "application/json"),
        ("user-agent", "patcher/1.0"),
    ];
    send(client, "PATCH", path, &headers, body.to_string()).await
}

async fn write(
    client: &Client,
    method: &str,
    path: &str,
    agent: &str,
    body: &Value,
) -> Result<Answer, Error> {
    let headers = [("content-type", "application/json"), ("user-agent", agent)];
    send(client, method, path, &headers, body.to_string()).await
}

async fn get(client: &Client, path: &str) -> Result<Value, Error> {
    Ok(expect(&send_json(client, "GET", path, &Value::Null).await?, 200))
}

/// `manager/subresource operation version: fields`, in order.
fn owners(object: &Value) -> Vec<String> {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let line = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let subresource = match text("subresource") {
            "" => String::new(),
            name => format!("/{name}"),
        };
        let (manager, operation, version) =
            (text("manager"), text("operation"), text("apiVersion"));
        format!("{manager}{subresource} {operation} {version}: {}", entry["fieldsV1"])
    };
    list.iter().map(line).collect()
}

#[track_caller]
fn owned(object: &Value, lines: &[&str]) {
    let (mut owners, mut lines) = (owners(object), lines.to_vec());
    // Entries of the same operation are in order of time, which is that of the test's machine.
    owners.sort_unstable();
    lines.sort_unstable();
    assert_eq!(owners, lines);
}

#[track_caller]
fn refused(answer: &Answer, code: u16, message: &str) -> Value {
    let status = expect(answer, code);
    assert_eq!(status["message"], message);
    status
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn extend(object: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
}

fn deployment(spec: Value) -> Value {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    });
    extend(&mut deployment["spec"], &spec);
    deployment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_creates_changes_and_takes_away() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{CONFIG_MAPS}/m");
    let body = config_map("m", json!({"a": "1", "b": "1"}));
    let made = expect(&apply(&client, &path, "fieldManager=one", &body).await?, 201);
    assert_eq!(made["data"], json!({"a": "1", "b": "1"}));
    owned(&made, &[r#"one Apply v1: {"f:data":{"f:a":{},"f:b":{}}}"#]);
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsType"], "FieldsV1");
    assert!(made["metadata"]["managedFields"][0]["time"].is_string());

    let again = expect(&apply(&client, &path, "fieldManager=one", &body).await?, 200);
    assert_eq!(again, made);

    let body = config_map("m", json!({"b": "2", "c": "1"}));
    let changed = expect(&apply(&client, &path, "fieldManager=one", &body).await?, 200);
    assert_eq!(changed["data"], json!({"b": "2", "c": "1"}));
    owned(&changed, &[r#"one Apply v1: {"f:data":{"f:b":{},"f:c":{}}}"#]);
    assert_eq!(changed["metadata"]["uid"], made["metadata"]["uid"]);

    // A dry run shows what would be and stores nothing.
    let query = "fieldManager=one&dryRun=All";
    let dry = expect(&apply(&client, &path, query, &config_map("m", json!({}))).await?, 200);
    assert_eq!(dry["data"], Value::Null);
    let dry = expect(
        &apply(&client, &format!("{CONFIG_MAPS}/n"), query, &config_map("n", json!({}))).await?,
        201,
    );
    assert_eq!(dry["metadata"]["name"], "n");
    assert_eq!(get(&client, &path).await?, changed);
    expect(&send_json(&client, "GET", &format!("{CONFIG_MAPS}/n"), &Value::Null).await?, 404);

    // YAML without a name takes that of the URL.
    let yaml = "apiVersion: v1\nkind: ConfigMap\ndata:\n  yes: \"1\"\n";
    let headers = [("content-type", APPLY)];
    let path = format!("{CONFIG_MAPS}/y?fieldManager=one");
    let made = expect(&send(&client, "PATCH", &path, &headers, yaml).await?, 201);
    // `yes` is a boolean where it is not quoted, as a key too.
    assert_eq!((&made["metadata"]["name"], &made["data"]["true"]), (&"y".into(), &"1".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_refused_and_forced() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{DEPLOYMENTS}/d");
    let body = deployment(json!({"replicas": 3}));
    let agent = "kubectl-client-side-apply/v1";
    expect(&write(&client, "POST", DEPLOYMENTS, agent, &body).await?, 201);
    let body = deployment(json!({"replicas": 5, "minReadySeconds": 1}));
    let status = refused(
        &apply(&client, &path, "fieldManager=one", &body).await?,
        409,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: \
         .spec.replicas",
    );
    assert_eq!(status["reason"], "Conflict");
    assert_eq!(
        status["details"],
        json!({"causes": [{
            "reason": "FieldManagerConflict",
            "message": "conflict with \"kubectl-client-side-apply\" using apps/v1",
            "field": ".spec.replicas",
        }]})
    );
    let forced = apply(&client, &path, "fieldManager=one&force=true", &body).await?;
    let forced = expect(&forced, 200);
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(forced["metadata"]["generation"], 2);
    let other = deployment(json!({"replicas": 4, "minReadySeconds": 2}));
    refused(
        &apply(&client, &path, "fieldManager=two", &other).await?,
        409,
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.minReadySeconds\n\
         - .spec.replicas",
    );
    // To stop applying a field leaves it to the others, or to its default.
    let gone = apply(&client, &path, "fieldManager=one", &deployment(json!({}))).await?;
    let gone = expect(&gone, 200);
    assert_eq!(gone["spec"]["replicas"], 1);
    assert_eq!(gone["spec"].get("minReadySeconds"), None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_is_tracked() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{DEPLOYMENTS}/d");
    let body = deployment(json!({}));
    let made = expect(&write(&client, "POST", DEPLOYMENTS, "maker/v1.2 (x)", &body).await?, 201);
    owned(
        &made,
        &[concat!(
            r#"maker Update apps/v1: {"f:spec":{"f:progressDeadlineSeconds":{},"f:replicas":{},"#,
            r#""f:revisionHistoryLimit":{},"f:selector":{},"#,
            r#""f:strategy":{"f:rollingUpdate":{".":{},"f:maxSurge":{},"f:maxUnavailable":{}},"#,
            r#""f:type":{}},"f:template":{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"#,
            r#""f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"#,
            r#""f:name":{},"f:resources":{},"f:terminationMessagePath":{},"#,
            r#""f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:restartPolicy":{},"#,
            r#""f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}}}"#,
        )],
    );
    let maker = owners(&made)[0].clone();

    let labels = json!({"metadata": {"labels": {"l": "1"}}});
    let patched = expect(&patch(&client, &path, "merge-patch", &labels).await?, 200);
    let patcher = r#"patcher Update apps/v1: {"f:metadata":{"f:labels":{".":{},"f:l":{}}}}"#;
    owned(&patched, &[&maker, patcher]);
    // The same once more changes nothing at all.
    let same = expect(&patch(&client, &path, "strategic-merge-patch", &labels).await?, 200);
    assert_eq!(same, patched);
    let operations = json!([{"op": "remove", "path": "/metadata/labels"}]);
    let patched = expect(&patch(&client, &path, "json-patch", &operations).await?, 200);
    owned(&patched, &[&maker]);

    let status = json!({"status": {"replicas": 1, "observedGeneration": 1}});
    let status_path = format!("{path}/status");
    let patched = expect(&patch(&client, &status_path, "merge-patch", &status).await?, 200);
    let status_owner = r#"patcher/status Update apps/v1: {"f:status":{"f:observedGeneration":{},"f:replicas":{}}}"#;
    owned(&patched, &[&maker, status_owner]);
    // A whole object carries a status and does not write it.
    let mut whole = patched.clone();
    whole["metadata"]["managedFields"] = Value::Null;
    whole["status"] = json!({"replicas": 7});
    whole["spec"]["paused"] = true.into();
    let updated = expect(&write(&client, "PUT", &path, "editor/1", &whole).await?, 200);
    assert_eq!(updated["status"]["replicas"], 1);
    let editor = r#"editor Update apps/v1: {"f:spec":{"f:paused":{}}}"#;
    owned(&updated, &[&maker, status_owner, editor]);
    // The manager can be named.
    let mut whole = updated.clone();
    whole["spec"]["paused"] = false.into();
    let updated = expect(
        &send_json(&client, "PUT", &format!("{path}?fieldManager=named"), &whole).await?,
        200,
    );
    owned(&updated, &[&maker, status_owner]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subresources_have_owners_of_their_own() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{DEPLOYMENTS}/d");
    let spec = json!({"replicas": 1});
    let made = apply(&client, &path, "fieldManager=one", &deployment(spec.clone())).await?;
    let made = expect(&made, 201);
    assert_eq!(owners(&made).len(), 1);

    let scale = json!({"spec": {"replicas": 3}});
    let scaled = patch(&client, &format!("{path}/scale"), "merge-patch", &scale).await?;
    let scaled = expect(&scaled, 200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&"Scale".into(), &3.into()));
    assert_eq!(scaled["metadata"].get("managedFields"), None);
    let now = get(&client, &path).await?;
    let lines = owners(&now);
    assert_eq!(lines.len(), 2);
    assert!(!lines[0].contains("f:replicas"), "{lines:?}");
    assert_eq!(lines[1], r#"patcher/scale Update apps/v1: {"f:spec":{"f:replicas":{}}}"#);
    refused(
        &apply(&client, &path, "fieldManager=one", &deployment(spec)).await?,
        409,
        "Apply failed with 1 conflict: conflict with \"patcher\" with subresource \"scale\" using \
         apps/v1: .spec.replicas",
    );

    // A Scale is applied, too, with the same conflicts.
    let scale = |n: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"},
            "spec": {"replicas": n}})
    };
    let scale_path = format!("{path}/scale");
    refused(
        &apply(&client, &scale_path, "fieldManager=hpa", &scale(4)).await?,
        409,
        "Apply failed with 1 conflict: conflict with \"patcher\" with subresource \"scale\" using \
         autoscaling/v1: .spec.replicas",
    );
    let forced = apply(&client, &scale_path, "fieldManager=hpa&force=true", &scale(4)).await?;
    assert_eq!(expect(&forced, 200)["spec"]["replicas"], 4);
    let now = get(&client, &path).await?;
    assert_eq!(now["spec"]["replicas"], 4);
    let lines = owners(&now);
    let hpa = r#"hpa/scale Apply apps/v1: {"f:spec":{"f:replicas":{}}}"#;
    assert!(lines.iter().any(|line| line == hpa) && lines.len() == 2, "{lines:?}");

    // Status is applied through its subresource; the rest of what is sent there is not.
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"x": "y"}}, "spec": {"replicas": 9},
        "status": {"replicas": 2, "readyReplicas": 2, "conditions": [
            {"type": "Available", "status": "True"}]}});
    let status_path = format!("{path}/status");
    let applied = apply(&client, &status_path, "fieldManager=ctl", &body).await?;
    let applied = expect(&applied, 200);
    assert_eq!(
        (&applied["spec"]["replicas"], &applied["status"]["readyReplicas"]),
        (&4.into(), &2.into())
    );
    let ctl = concat!(
        r#"ctl/status Apply apps/v1: {"f:status":{"f:conditions":{"k:{\"type\":\"Available\"}":"#,
        r#"{".":{},"f:status":{},"f:type":{}}},"f:readyReplicas":{},"f:replicas":{}}}"#,
    );
    assert!(owners(&applied).iter().any(|line| line == ctl), "{:?}", owners(&applied));
    // Nothing is made through a subresource.
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "e"}});
    let answer =
        apply(&client, &format!("{DEPLOYMENTS}/e/status"), "fieldManager=x", &body).await?;
    refused(&answer, 404, "deployments.apps \"e\" not found");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_applied_by_list_item() -> Outcome {
    let (_server, client) = server().await?;
    let path = "/api/v1/namespaces/default/pods/p";
    let pod = |containers: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": containers}})
    };
    let container = |image: &str| {
        json!([{"name": "c", "image": image, "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "value": "1"}]}])
    };
    let made = apply(&client, path, "fieldManager=one", &pod(container("i"))).await?;
    let made = expect(&made, 201);
    owned(
        &made,
        &[concat!(
            r#"one Apply v1: {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{"#,
            r#""k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"#,
            r#""f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"#,
            r#""f:containerPort":{}}}}}}}"#,
        )],
    );
    let changed = apply(&client, path, "fieldManager=one", &pod(container("j"))).await?;
    assert_eq!(expect(&changed, 200)["spec"]["containers"][0]["image"], "j");
    // Rules of the kind hold for the result.
    let two = json!([{"name": "d", "image": "i"}]);
    expect(&apply(&client, path, "fieldManager=two", &pod(two)).await?, 422);
    let twice = json!([{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]);
    refused(
        &apply(&client, path, "fieldManager=one", &pod(twice)).await?,
        500,
        "failed to create typed patch object (/p; /v1, Kind=Pod): .spec.containers: duplicate \
         entries for key [name=\"c\"]",
    );
    // What is added through a subresource is owned there.
    let added = patch(
        &client,
        &format!("{path}/ephemeralcontainers"),
        "strategic-merge-patch",
        &json!({
            "spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]},
        }),
    )
    .await?;
    let lines = owners(&expect(&added, 200));
    let owner = lines.iter().find(|line| line.starts_with("patcher/ephemeralcontainers Update"));
    let owner = owner.unwrap_or_else(|| panic!("{lines:?}"));
    assert!(owner.contains("f:ephemeralContainers"), "{owner}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preconditions_hold() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{CONFIG_MAPS}/m");
    let with = |fields: Value| {
        let mut body = config_map("m", json!({"a": "1"}));
        extend(&mut body["metadata"], &fields);
        body
    };
    let one = "fieldManager=one";
    // There is nothing that the UID could be of; a version alone does not say that there must be.
    let absent = apply(&client, &path, one, &with(json!({"uid": "u"}))).await?;
    refused(
        &absent,
        409,
        "Operation cannot be fulfilled on configmaps \"m\": uid mismatch: the provided object \
         specified uid u, and no existing object was found",
    );
    let made = apply(&client, &path, one, &with(json!({"resourceVersion": "7"}))).await?;
    let made = expect(&made, 201);
    let stale = apply(&client, &path, one, &with(json!({"resourceVersion": "1"}))).await?;
    refused(
        &stale,
        409,
        "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please \
         apply your changes to the latest version and try again",
    );
    let version = made["metadata"]["resourceVersion"].clone();
    let uid = made["metadata"]["uid"].clone();
    let fits = with(json!({"resourceVersion": version, "uid": uid, "labels": {"l": "1"}}));
    expect(&apply(&client, &path, one, &fits).await?, 200);
    let other = apply(&client, &path, one, &with(json!({"uid": "u"}))).await?;
    refused(
        &other,
        422,
        "ConfigMap \"m\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable",
    );
    let renamed = apply(&client, &path, one, &config_map("n", json!({}))).await?;
    refused(&renamed, 400, "the name of the object (n) does not match the name on the URL (m)");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_applies_are_refused() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{CONFIG_MAPS}/m");
    let body = config_map("m", json!({"a": "1"}));
    refused(
        &apply(&client, &path, "", &body).await?,
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for \
         apply patch",
    );
    let long = format!("fieldManager={}", "x".repeat(129));
    refused(
        &apply(&client, &path, &long, &body).await?,
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than \
         128 bytes",
    );
    let forced = patch(&client, &format!("{path}?force=true"), "merge-patch", &json!({})).await?;
    refused(
        &forced,
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for \
         non-apply patch",
    );
    let one = "fieldManager=one";
    let mut managed = body.clone();
    managed["metadata"]["managedFields"] = json!([]);
    refused(
        &apply(&client, &path, one, &managed).await?,
        400,
        "metadata.managedFields must be nil",
    );
    refused(
        &apply(&client, &path, one, &json!({"data": {}})).await?,
        400,
        "invalid object type: /, Kind=",
    );
    let mut unknown = body.clone();
    unknown["datta"] = json!({});
    refused(
        &apply(&client, &path, one, &unknown).await?,
        500,
        "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .datta: field not declared \
         in schema",
    );
    let twice = "apiVersion: v1\nkind: ConfigMap\ndata: {a: x}\ndata: {b: x}\n";
    let headers = [("content-type", APPLY)];
    let strict = format!("{path}?fieldManager=one&fieldValidation=Strict");
    let answer = send(&client, "PATCH", &strict, &headers, twice).await?;
    let message = expect(&answer, 400)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("error strict decoding YAML: "), "{message}");
    let answer = send(&client, "PATCH", &format!("{path}?{one}"), &headers, "a: [").await?;
    let message = expect(&answer, 400)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("error decoding YAML: "), "{message}");
    let warned = send(&client, "PATCH", &format!("{path}?{one}"), &headers, twice).await?;
    expect(&warned, 201);
    assert!(warned.headers.contains_key("warning"), "{:?}", warned.headers);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_reset_and_rewrite_managed_fields() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{CONFIG_MAPS}/m");
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("m", "k", "v")).await?,
        201,
    );
    let before = get(&client, &path).await?;
    assert_eq!(owners(&before).len(), 1);
    let set = |list: Value| json!({"metadata": {"managedFields": list}});
    // What cannot be read does not count, and nothing changes.
    let bad = set(json!([{"manager": "x", "operation": "Nothing", "apiVersion": "v1"}]));
    let same = expect(&patch(&client, &path, "merge-patch", &bad).await?, 200);
    assert_eq!(same, before);
    let invalid =
        set(json!([{"manager": "x".repeat(129), "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:k": {}}}}]));
    refused(
        &patch(&client, &path, "merge-patch", &invalid).await?,
        422,
        "ConfigMap \"m\" is invalid: metadata.managedFields[0].manager: Too long: may not be more \
         than 128 bytes",
    );
    let reset = expect(&patch(&client, &path, "merge-patch", &set(json!([{}]))).await?, 200);
    owned(&reset, &[]);
    // Who does not track does not begin to; the first apply does.
    let data = json!({"data": {"k": "w", "l": "x"}});
    owned(&expect(&patch(&client, &path, "merge-patch", &data).await?, 200), &[]);
    let body = config_map("m", json!({"k": "z"}));
    refused(
        &apply(&client, &path, "fieldManager=one", &body).await?,
        409,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k",
    );
    let forced = apply(&client, &path, "fieldManager=one&force=true", &body).await?;
    owned(
        &expect(&forced, 200),
        &[
            r#"before-first-apply Update v1: {"f:data":{".":{},"f:l":{}}}"#,
            r#"one Apply v1: {"f:data":{"f:k":{}}}"#,
        ],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_side_applies_go_over_to_the_server() -> Outcome {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let (_server, client) = server().await?;
    let path = format!("{CONFIG_MAPS}/m");
    let mut before = config_map("m", json!({"a": "1", "b": "1"}));
    before["metadata"]["annotations"] = json!({ANNOTATION: before.to_string()});
    let query = format!("{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply");
    expect(&send_json(&client, "POST", &query, &before).await?, 201);
    let body = config_map("m", json!({"a": "2"}));
    refused(
        &apply(&client, &path, "fieldManager=other", &body).await?,
        409,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.a",
    );
    let applied = expect(&apply(&client, &path, "fieldManager=kubectl", &body).await?, 200);
    assert_eq!(applied["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(
        applied["metadata"]["annotations"][ANNOTATION],
        "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"}}\n"
    );
    let owners = owners(&applied);
    assert_eq!(owners[0], r#"kubectl Apply v1: {"f:data":{"f:a":{}}}"#);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_share_their_owners() -> Outcome {
    let (_server, client) = server().await?;
    let path = |version: &str| {
        format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/h")
    };
    let scaler = |version: &str, spec: Value| {
        let mut object = json!({"apiVersion": format!("autoscaling/{version}"),
            "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
                "maxReplicas": 3}});
        extend(&mut object["spec"], &spec);
        object
    };
    let cpu = |n: i64| json!({"targetCPUUtilizationPercentage": n});
    let first = apply(&client, &path("v1"), "fieldManager=one", &scaler("v1", cpu(50))).await?;
    expect(&first, 201);
    let metric = |n: i64| {
        json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target":
            {"type": "Utilization", "averageUtilization": n}}}]})
    };
    refused(
        &apply(&client, &path("v2"), "fieldManager=two", &scaler("v2", metric(60))).await?,
        409,
        "Apply failed with 1 conflict: conflict with \"one\": .spec.targetCPUUtilizationPercentage",
    );
    let forced = "fieldManager=two&force=true";
    let forced = apply(&client, &path("v2"), forced, &scaler("v2", metric(60))).await?;
    let lines = owners(&expect(&forced, 200));
    assert!(lines[0].starts_with("one Apply autoscaling/v1: "), "{lines:?}");
    assert!(!lines[0].contains("targetCPU"), "{lines:?}");
    assert!(lines[1].starts_with("two Apply autoscaling/v2: "), "{lines:?}");
    // An applier changes its version and has one entry still.
    let again = apply(&client, &path("v2"), "fieldManager=one", &scaler("v2", json!({}))).await?;
    let lines = owners(&expect(&again, 200));
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.contains("autoscaling/v2")), "{lines:?}");
    let now = get(&client, &path("v1")).await?;
    assert_eq!(now["spec"]["targetCPUUtilizationPercentage"], 60);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_make_an_object_takes_the_right_to_create() -> Outcome {
    let (server, admin) = server().await?;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({
        "kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "r"},
        "rules": [{"verbs": ["patch"], "apiGroups": [""], "resources": ["configmaps"]}],
    });
    expect(&send_json(&admin, "POST", &format!("{rbac}/roles"), &role).await?, 201);
    let binding = json!({
        "kind": "RoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "r"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
    });
    expect(&send_json(&admin, "POST", &format!("{rbac}/rolebindings"), &binding).await?, 201);
    let map = fixtures::config_map("there", "k", "v");
    expect(&send_json(&admin, "POST", CONFIG_MAPS, &map).await?, 201);

    let jane = server.client_for("jane", &[])?;
    let body = |name: &str| config_map(name, json!({"a": "1"}));
    let mut tries = 0;
    // The index of roles follows a moment later.
    while apply(&jane, &format!("{CONFIG_MAPS}/there"), "fieldManager=x", &body("there"))
        .await?
        .code
        == 403
    {
        tries += 1;
        assert!(tries < 1000, "the role has no effect");
        tokio::task::yield_now().await;
    }
    refused(
        &apply(&jane, &format!("{CONFIG_MAPS}/new"), "fieldManager=x", &body("new")).await?,
        403,
        "configmaps \"new\" is forbidden: User \"jane\" cannot create resource \"configmaps\" in \
         API group \"\" in the namespace \"default\"",
    );
    Ok(())
}
