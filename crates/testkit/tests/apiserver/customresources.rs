//! Custom resources from their definition to their end.

use serde_json::{Value, json};
use testkit::{Answer, Error, send, send_json};

use crate::{Outcome, expect, server};

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const WIDGETS: &str = "/apis/ex.io/v1/namespaces/default/widgets";

/// Widgets with a schema, in group `ex.io`.
pub(crate) fn widgets(schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.ex.io"},
        "spec": {
            "group": "ex.io",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

pub(crate) fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer", "minimum": 0, "maximum": 10},
            "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        }},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    }})
}

pub(crate) fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// Creates a definition and waits until it is established.
pub(crate) async fn define(client: &kube::Client, crd: &Value) -> Result<Value, Error> {
    expect(&send_json(client, "POST", DEFINITIONS, crd).await?, 201);
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    until(client, &format!("{DEFINITIONS}/{name}"), |answer| {
        let crd = answer.json();
        let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    })
    .await
}

/// Reads until what is read is as wanted. The limit on attempts only ends a broken run.
pub(crate) async fn until(
    client: &kube::Client,
    path: &str,
    wanted: impl Fn(&Answer) -> bool,
) -> Result<Value, Error> {
    let mut answer = send_json(client, "GET", path, &Value::Null).await?;
    for _ in 0..2000 {
        if wanted(&answer) {
            return Ok(answer.json());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        answer = send_json(client, "GET", path, &Value::Null).await?;
    }
    panic!("{path} never became as wanted: {}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_serves_its_objects_and_takes_them_along() -> Outcome {
    let (mut server, client) = server().await?;
    let crd = define(&client, &widgets(schema())).await?;
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));

    let wanted = widget("a", json!({"replicas": 3, "x": 1}));
    let made = expect(&send_json(&client, "POST", WIDGETS, &wanted).await?, 201);
    assert_eq!(made["spec"], json!({"color": "red", "replicas": 3}));
    assert_eq!(made["metadata"]["generation"], 1);
    let list = expect(&send_json(&client, "GET", WIDGETS, &Value::Null).await?, 200);
    assert_eq!(list["kind"], "WidgetList");
    assert_eq!(list["items"][0], made);

    let path = format!("{WIDGETS}/a");
    let mut changed = made.clone();
    changed["spec"]["replicas"] = json!(4);
    changed["status"] = json!({"ready": true});
    let changed = expect(&send_json(&client, "PUT", &path, &changed).await?, 200);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(changed.get("status"), None);
    let mut status = changed.clone();
    status["status"] = json!({"ready": true});
    status["spec"]["replicas"] = json!(9);
    let status_path = format!("{path}/status");
    let status = expect(&send_json(&client, "PUT", &status_path, &status).await?, 200);
    assert_eq!(status["status"], json!({"ready": true}));
    assert_eq!(status["spec"]["replicas"], 4);
    assert_eq!(status["metadata"]["generation"], 2);

    server.restart().await?;
    let client = server.client()?;
    let read = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    assert_eq!(read, status);

    let definition = format!("{DEFINITIONS}/widgets.ex.io");
    expect(&send_json(&client, "DELETE", &definition, &Value::Null).await?, 200);
    until(&client, &definition, |answer| answer.code == 404).await?;
    until(&client, &path, |answer| answer.code == 404).await?;

    // The same definition again has none of the old objects.
    define(&client, &widgets(schema())).await?;
    let list = expect(&send_json(&client, "GET", WIDGETS, &Value::Null).await?, 200);
    assert_eq!(list["items"], json!([]));
    server.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_held_to_their_schema() -> Outcome {
    let (_server, client) = server().await?;
    define(&client, &widgets(schema())).await?;
    let check = async |spec: Value, code: u16, message: &str| -> Outcome {
        let answer = send_json(&client, "POST", WIDGETS, &widget("a", spec)).await?;
        assert_eq!(expect(&answer, code)["message"], message);
        Ok(())
    };
    check(
        json!({"replicas": "3"}),
        422,
        "Widget.ex.io \"a\" is invalid: spec.replicas: Invalid value: \"string\": spec.replicas in \
         body must be of type integer: \"string\"",
    )
    .await?;
    check(
        json!({"replicas": 11, "color": "blue"}),
        422,
        "Widget.ex.io \"a\" is invalid: [spec.color: Unsupported value: \"blue\": supported values: \
         \"red\", \"green\", spec.replicas: Invalid value: 11: spec.replicas in body should be less \
         than or equal to 10]",
    )
    .await?;
    check(
        json!({"tags": ["a", "b", "a"]}),
        422,
        "Widget.ex.io \"a\" is invalid: spec.tags[2]: Duplicate value: \"a\"",
    )
    .await?;
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let answer = send_json(&client, "POST", &strict, &widget("a", json!({"x": 1, "b": 2}))).await?;
    let message = expect(&answer, 400)["message"].as_str().unwrap_or_default().to_owned();
    let end = "strict decoding error: unknown field \"spec.b\", unknown field \"spec.x\"";
    assert!(message.ends_with(end), "{message}");

    expect(&send_json(&client, "POST", WIDGETS, &widget("a", json!({}))).await?, 201);
    let headers = [("content-type", "application/strategic-merge-patch+json")];
    let path = format!("{WIDGETS}/a");
    let refused = send(&client, "PATCH", &path, &headers, "{}".to_owned()).await?;
    assert_eq!(
        expect(&refused, 415)["message"],
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, \
         application/apply-patch+cbor"
    );
    let headers = [("content-type", "application/merge-patch+json")];
    let body = json!({"spec": {"replicas": 2, "color": null}}).to_string();
    let patched = expect(&send(&client, "PATCH", &path, &headers, body).await?, 200);
    assert_eq!(patched["spec"], json!({"color": "red", "replicas": 2}));
    let mut unversioned = patched.clone();
    unversioned["metadata"]["resourceVersion"] = "".into();
    let refused = expect(&send_json(&client, "PUT", &path, &unversioned).await?, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(
        message.ends_with(
            "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
        ),
        "{message}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_belong_to_the_first_who_has_them() -> Outcome {
    let (_server, client) = server().await?;
    define(&client, &widgets(schema())).await?;
    let mut other = widgets(schema());
    other["metadata"]["name"] = "gadgets.ex.io".into();
    other["spec"]["names"]["plural"] = "gadgets".into();
    expect(&send_json(&client, "POST", DEFINITIONS, &other).await?, 201);
    let conflict = |answer: &Answer| {
        let conditions = answer.json()["status"]["conditions"].clone();
        conditions.as_array().is_some_and(|c| c.iter().any(|c| c["reason"] == "ListKindConflict"))
    };
    let path = format!("{DEFINITIONS}/gadgets.ex.io");
    until(&client, &path, conflict).await?;
    // Once the first is gone the names are free.
    let first = format!("{DEFINITIONS}/widgets.ex.io");
    expect(&send_json(&client, "DELETE", &first, &Value::Null).await?, 200);
    until(&client, "/apis/ex.io/v1/namespaces/default/gadgets", |answer| answer.code == 200)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_and_documents_follow() -> Outcome {
    let (_server, client) = server().await?;
    define(&client, &widgets(schema())).await?;
    let get = async |path: &str| send_json(&client, "GET", path, &Value::Null).await;
    let group = expect(&get("/apis/ex.io").await?, 200);
    assert_eq!(group["preferredVersion"]["groupVersion"], "ex.io/v1");
    let list = expect(&get("/apis/ex.io/v1").await?, 200);
    let names: Vec<&str> = list["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert_eq!(names, ["widgets", "widgets/status"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["wd"]));
    let v2 = expect(&get("/openapi/v2").await?, 200);
    let definition = &v2["definitions"]["io.ex.v1.Widget"];
    assert_eq!(definition["properties"]["spec"]["properties"]["replicas"]["maximum"], 10);
    let v3 = expect(&get("/openapi/v3/apis/ex.io/v1").await?, 200);
    assert!(v3["components"]["schemas"]["io.ex.v1.WidgetList"].is_object());
    let patch = &v3["paths"]["/apis/ex.io/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/merge-patch+json"].is_object());
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_null());

    let path = format!("{DEFINITIONS}/widgets.ex.io");
    let headers = [("content-type", "application/json-patch+json")];
    let rename = json!([{"op": "replace", "path": "/spec/versions/0/served", "value": false}]);
    expect(&send(&client, "PATCH", &path, &headers, rename.to_string()).await?, 200);
    until(&client, "/apis/ex.io/v1", |answer| answer.code == 404).await?;
    let v2 = expect(&get("/openapi/v2").await?, 200);
    assert!(v2["definitions"]["io.ex.v1.Widget"].is_null());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_while_a_definition_goes_away() -> Outcome {
    let (_server, client) = server().await?;
    define(&client, &widgets(schema())).await?;
    let mut kept = widget("a", json!({}));
    kept["metadata"]["finalizers"] = json!(["ex.io/wait"]);
    expect(&send_json(&client, "POST", WIDGETS, &kept).await?, 201);
    let definition = format!("{DEFINITIONS}/widgets.ex.io");
    expect(&send_json(&client, "DELETE", &definition, &Value::Null).await?, 200);
    // What cannot be made now is asked for until the server has noticed.
    let path = format!("{WIDGETS}/a");
    until(&client, &path, |answer| answer.json()["metadata"]["deletionTimestamp"].is_string())
        .await?;
    let refused = send_json(&client, "POST", WIDGETS, &widget("b", json!({}))).await?;
    assert_eq!(
        expect(&refused, 405)["message"],
        "create not allowed while custom resource definition is terminating"
    );
    let headers = [("content-type", "application/merge-patch+json")];
    let release = json!({"metadata": {"finalizers": null}}).to_string();
    expect(&send(&client, "PATCH", &path, &headers, release).await?, 200);
    until(&client, &definition, |answer| answer.code == 404).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_held_to_their_own_schemas() -> Outcome {
    let (_server, client) = server().await?;
    let check = async |change: &dyn Fn(&mut Value), expected: &str| -> Outcome {
        let mut crd = widgets(schema());
        change(&mut crd["spec"]["versions"][0]);
        let refused = send_json(&client, "POST", DEFINITIONS, &crd).await?;
        let message = expect(&refused, 422)["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(expected), "{message}");
        Ok(())
    };
    let color = "/schema/openAPIV3Schema/properties/spec/properties/color/default";
    check(
        &|version| {
            if let Some(default) = version.pointer_mut(color) {
                *default = json!("blue");
            }
        },
        "spec.validation.openAPIV3Schema.properties[spec].properties[color].default: Unsupported \
         value: \"blue\": supported values: \"red\", \"green\"",
    )
    .await?;
    check(
        &|version| version["selectableFields"] = json!([{"jsonPath": ".spec.tags"}]),
        "spec.selectableFields[0].jsonPath: Invalid value: \".spec.tags\": must point to a field \
         of type string, boolean or integer.",
    )
    .await?;
    check(
        &|version| version["selectableFields"] = json!([{"jsonPath": ".spec.nothing"}]),
        "spec.selectableFields[0].jsonPath: Invalid value: \".spec.nothing\": is an \
         invalid path: does not refer to a valid field",
    )
    .await
}
