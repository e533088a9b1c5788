//! Create, read, change and delete.

use serde_json::{Value, json};
use testkit::{fixtures, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_lives_and_survives_a_restart() -> Outcome {
    let (mut server, client) = server().await?;
    let map = fixtures::config_map("a", "k", "v");
    let made = expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    assert_eq!(made["metadata"]["namespace"], "default");
    assert!(!made["metadata"]["uid"].as_str().unwrap_or_default().is_empty());

    let again = send_json(&client, "POST", CONFIG_MAPS, &map).await?;
    let status = expect(&again, 409);
    assert_eq!(status["message"], "configmaps \"a\" already exists");
    assert_eq!(status["reason"], "AlreadyExists");

    let path = format!("{CONFIG_MAPS}/a");
    let mut changed = made.clone();
    changed["data"]["k"] = "w".into();
    let updated = expect(&send_json(&client, "PUT", &path, &changed).await?, 200);
    assert_ne!(updated["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let stale = expect(&send_json(&client, "PUT", &path, &changed).await?, 409);
    assert_eq!(
        stale["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please \
         apply your changes to the latest version and try again"
    );

    server.restart().await?;
    let client = server.client()?;
    let read = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    assert_eq!(read, updated);

    expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);
    let gone = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 404);
    assert_eq!(gone["message"], "configmaps \"a\" not found");
    assert_eq!(gone["details"], json!({"name": "a", "kind": "configmaps"}));
    server.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_kinds_of_patches() -> Outcome {
    let (_server, client) = server().await?;
    let map = fixtures::config_map("a", "k", "v");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let path = format!("{CONFIG_MAPS}/a");
    let patch = async |kind: &str, body: Value| {
        let kind = format!("application/{kind}");
        let headers = [("content-type", kind.as_str())];
        send(&client, "PATCH", &path, &headers, body.to_string()).await
    };
    let json_patch = json!([{"op": "add", "path": "/data/l", "value": "1"}]);
    let merged = expect(&patch("json-patch+json", json_patch).await?, 200);
    assert_eq!(merged["data"], json!({"k": "v", "l": "1"}));
    let merged = expect(&patch("merge-patch+json", json!({"data": {"k": null}})).await?, 200);
    assert_eq!(merged["data"], json!({"l": "1"}));
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let merged = expect(&patch("strategic-merge-patch+json", labels).await?, 200);
    assert_eq!(merged["metadata"]["labels"], json!({"a": "b"}));
    expect(&patch("json", json!({})).await?, 415);
    let wrong = json!([{"op": "test", "path": "/data/l", "value": "2"}]);
    let refused = patch("json-patch+json", wrong).await?;
    assert_eq!(refused.code, 422, "{}", refused.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_checked() -> Outcome {
    let (_server, client) = server().await?;
    let mut map = fixtures::config_map("a", "k", "v");
    map["nonsense"] = 1.into();
    let path = format!("{CONFIG_MAPS}?dryRun=All");
    let warned = send_json(&client, "POST", &path, &map).await?;
    expect(&warned, 201);
    assert_eq!(warned.header("warning"), "299 - \"unknown field \\\"nonsense\\\"\"");
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let refused = expect(&send_json(&client, "POST", &strict, &map).await?, 400);
    assert_eq!(
        refused["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         unknown field \"nonsense\""
    );
    // Nothing of a dry run is stored.
    let none = send_json(&client, "GET", &format!("{CONFIG_MAPS}/a"), &Value::Null).await?;
    expect(&none, 404);

    let wrong = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": "text"});
    expect(&send_json(&client, "POST", CONFIG_MAPS, &wrong).await?, 400);
    let other = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}});
    expect(&send_json(&client, "POST", CONFIG_MAPS, &other).await?, 400);
    let version = json!({"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "a"}});
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &version).await?, 400);
    assert_eq!(
        refused["message"],
        "the API version in the data (v2) does not match the expected API version (v1)"
    );
    let headers = [("content-type", "text/html")];
    expect(&send(&client, "POST", CONFIG_MAPS, &headers, "x").await?, 415);
    let headers = [("content-type", "application/yaml")];
    let yaml = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: yaml}\n";
    expect(&send(&client, "POST", CONFIG_MAPS, &headers, yaml).await?, 201);
    // Words of YAML 1.1 are what upstream takes them for.
    let word = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: z}\ndata: {a: yes}\n";
    let refused = expect(&send(&client, "POST", CONFIG_MAPS, &headers, word).await?, 400);
    assert_eq!(
        refused["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal bool \
         into Go struct field ConfigMap.data of type string"
    );
    let word = word.replace("{a: yes}", "{on: 'yes'}\nimmutable: off");
    let made = expect(&send(&client, "POST", CONFIG_MAPS, &headers, word).await?, 201);
    assert_eq!((&made["data"], &made["immutable"]), (&json!({"true": "yes"}), &json!(false)));
    let headers = [("content-type", "application/json")];
    let revision = r#"{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{"name":"r"},"data":{"n":123456789012345678901234567890,"m":1.10},"revision":1}"#;
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let made = send(&client, "POST", revisions, &headers, revision).await?;
    assert!(made.text.contains(r#""data":{"n":123456789012345678901234567890,"m":1.10}"#));
    let one = format!("{revisions}/r");
    let label = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = send(&client, "PATCH", &one, &merge, label).await?;
    assert!(patched.text.contains(r#""data":{"n":123456789012345678901234567890,"m":1.10}"#));
    let large = vec![b' '; 3 * 1024 * 1024 + 1];
    expect(&send(&client, "POST", CONFIG_MAPS, &headers, large).await?, 413);
    let options = format!("{CONFIG_MAPS}?dryRun=Some");
    let refused = expect(&send_json(&client, "POST", &options, &map).await?, 422);
    assert_eq!(
        refused["message"],
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"Some\": \
         supported values: \"All\""
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_one_revision() -> Outcome {
    let (_server, client) = server().await?;
    for name in ["a", "b", "c", "d", "e"] {
        let map = fixtures::config_map(name, "k", "v");
        expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    }
    let page = format!("{CONFIG_MAPS}?limit=2");
    let first = expect(&send_json(&client, "GET", &page, &Value::Null).await?, 200);
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let map = fixtures::config_map("bb", "k", "v");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let token = first["metadata"]["continue"].as_str().unwrap_or_default();
    let next = format!("{CONFIG_MAPS}?limit=10&continue={token}");
    let rest = expect(&send_json(&client, "GET", &next, &Value::Null).await?, 200);
    let names: Vec<_> =
        rest["items"].as_array().into_iter().flatten().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["c", "d", "e"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);

    let select = format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da");
    let one = expect(&send_json(&client, "GET", &select, &Value::Null).await?, 200);
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    let wrong = format!("{CONFIG_MAPS}?labelSelector=%3D%3D");
    expect(&send_json(&client, "GET", &wrong, &Value::Null).await?, 400);
    let all = send_json(&client, "DELETE", CONFIG_MAPS, &Value::Null).await?;
    expect(&all, 200);
    let left = expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    assert_eq!(left["items"], json!([]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_shapes_pods() -> Outcome {
    let (_server, client) = server().await?;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = expect(&send_json(&client, "POST", pods, &fixtures::pod("p")).await?, 201);
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["priority"], 0);
    assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    let mount = &pod["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");

    let nowhere = "/api/v1/namespaces/nowhere/pods";
    let refused = expect(&send_json(&client, "POST", nowhere, &fixtures::pod("p")).await?, 404);
    assert_eq!(refused["message"], "namespaces \"nowhere\" not found");
    let mut classy = fixtures::pod("q");
    classy["spec"]["priorityClassName"] = "nope".into();
    let refused = expect(&send_json(&client, "POST", pods, &classy).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"q\" is forbidden: no PriorityClass with name nope was found"
    );
    classy["spec"]["priorityClassName"] = "system-node-critical".into();
    let made = expect(&send_json(&client, "POST", pods, &classy).await?, 201);
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
    let kept = "/api/v1/namespaces/kube-system";
    let refused = expect(&send_json(&client, "DELETE", kept, &Value::Null).await?, 403);
    assert_eq!(
        refused["message"],
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subresources_have_kinds_of_their_own() -> Outcome {
    let (_server, client) = server().await?;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = fixtures::deployment("web", 2);
    expect(&send_json(&client, "POST", deployments, &deployment).await?, 201);
    let path = format!("{deployments}/web/scale");
    let mut scale = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    scale["spec"]["replicas"] = 5.into();
    let scaled = expect(&send_json(&client, "PUT", &path, &scale).await?, 200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let path = format!("{deployments}/web");
    let read = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    assert_eq!(
        (&read["spec"]["replicas"], &read["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );

    let pods = "/api/v1/namespaces/default/pods";
    expect(&send_json(&client, "POST", pods, &fixtures::pod("p")).await?, 201);
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "w1"}});
    let bound = send_json(&client, "POST", &format!("{pods}/p/binding"), &binding).await?;
    assert_eq!(expect(&bound, 201)["status"], "Success");
    let pod = expect(&send_json(&client, "GET", &format!("{pods}/p"), &Value::Null).await?, 200);
    assert_eq!(pod["spec"]["nodeName"], "w1");
    let eviction =
        json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}});
    let evicted = send_json(&client, "POST", &format!("{pods}/p/eviction"), &eviction).await?;
    assert_eq!(expect(&evicted, 201)["status"], "Success");
    let pod = expect(&send_json(&client, "GET", &format!("{pods}/p"), &Value::Null).await?, 200);
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_serve_nothing() -> Outcome {
    let (_server, client) = server().await?;
    for (method, path, code) in [
        ("GET", "/api/v1/nonsense", 404),
        ("GET", "/apis/nonsense/v1", 404),
        ("GET", "/nonsense", 404),
        ("GET", "/api/v1/pods/p", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/namespaces/default/pods/p/nonsense", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", "/api/v1/namespaces/default/pods", 405),
        ("POST", "/version", 405),
    ] {
        let answer = send_json(&client, method, path, &Value::Null).await?;
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test]
async fn component_statuses_are_asked_of_the_components() -> Outcome {
    let (_server, client) = server().await?;
    let path = "/api/v1/componentstatuses";
    let answer = send_json(&client, "GET", path, &Value::Null).await?;
    let list = expect(&answer, 200);
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["controller-manager", "etcd-0", "scheduler"]);
    assert_eq!(
        list["items"][1]["conditions"],
        json!([{"type": "Healthy", "status": "True", "message": "ok"}])
    );
    assert_eq!(answer.header("warning"), "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let store = format!("{path}/etcd-0");
    let store = expect(&send_json(&client, "GET", &store, &Value::Null).await?, 200);
    assert_eq!(store["conditions"][0]["status"], "True");
    let missing = format!("{path}/x");
    let missing = expect(&send_json(&client, "GET", &missing, &Value::Null).await?, 500);
    assert_eq!(missing["message"], "Component not found: x");
    Ok(())
}
