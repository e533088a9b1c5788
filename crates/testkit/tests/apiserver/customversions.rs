//! Custom resources: subresources, selectable fields, rules, and more versions than one.

use serde_json::{Value, json};
use testkit::{send, send_json};

use crate::customresources::{DEFINITIONS, WIDGETS, define, schema, until, widget, widgets};
use crate::{Outcome, expect, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_scaled_by_paths() -> Outcome {
    let (_server, client) = server().await?;
    let mut crd = widgets(schema());
    crd["spec"]["versions"][0]["subresources"] = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }});
    let properties = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    properties["status"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    define(&client, &crd).await?;
    let made = widget("a", json!({"replicas": 3}));
    expect(&send_json(&client, "POST", WIDGETS, &made).await?, 201);
    let headers = [("content-type", "application/merge-patch+json")];
    let status = json!({"status": {"replicas": 2, "selector": "app=x"}}).to_string();
    let path = format!("{WIDGETS}/a");
    expect(&send(&client, "PATCH", &format!("{path}/status"), &headers, status).await?, 200);

    let scale_path = format!("{path}/scale");
    let mut scale = expect(&send_json(&client, "GET", &scale_path, &Value::Null).await?, 200);
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=x"}));
    scale["spec"]["replicas"] = json!(5);
    expect(&send_json(&client, "PUT", &scale_path, &scale).await?, 200);
    let body = json!({"spec": {"replicas": 6}}).to_string();
    let scale = expect(&send(&client, "PATCH", &scale_path, &headers, body).await?, 200);
    assert_eq!(scale["spec"]["replicas"], 6);
    let read = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    assert_eq!(read["spec"]["replicas"], 6);
    assert_eq!(read["metadata"]["generation"], 3);

    let without = widget("b", json!({}));
    expect(&send_json(&client, "POST", WIDGETS, &without).await?, 201);
    let refused = send_json(&client, "GET", &format!("{WIDGETS}/b/scale"), &Value::Null).await?;
    assert_eq!(
        expect(&refused, 500)["message"],
        "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_satisfy_expressions() -> Outcome {
    let (_server, client) = server().await?;
    let mut schema = schema();
    schema["properties"]["spec"]["x-kubernetes-validations"] = json!([
        {"rule": "!has(self.replicas) || self.replicas != 4", "message": "four is unlucky"},
        {"rule": "self.color == oldSelf.color", "message": "color is immutable"},
    ]);
    define(&client, &widgets(schema)).await?;
    let refused = send_json(&client, "POST", WIDGETS, &widget("a", json!({"replicas": 4}))).await?;
    let message = expect(&refused, 422)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("spec: Invalid value:"), "{message}");
    assert!(message.ends_with("four is unlucky"), "{message}");
    expect(&send_json(&client, "POST", WIDGETS, &widget("a", json!({}))).await?, 201);
    let headers = [("content-type", "application/merge-patch+json")];
    let body = json!({"spec": {"color": "green"}}).to_string();
    let path = format!("{WIDGETS}/a");
    let refused = expect(&send(&client, "PATCH", &path, &headers, body).await?, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("color is immutable"), "{message}");

    // A rule that comes later is only a warning about what stays as it is; a default must keep it.
    let headers = [("content-type", "application/json-patch+json")];
    let color = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color";
    let add = json!([{"op": "add", "path": format!("{color}/x-kubernetes-validations"),
        "value": [{"rule": "self != 'red'", "message": "no red"}]}]);
    let definition = format!("{DEFINITIONS}/widgets.ex.io");
    let answer = send(&client, "PATCH", &definition, &headers, add.to_string()).await?;
    let refused = expect(&answer, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(
        message.ends_with("properties[color].default: Invalid value: \"string\": no red"),
        "{message}"
    );
    let add =
        json!([add[0], {"op": "replace", "path": format!("{color}/default"), "value": "green"}]);
    expect(&send(&client, "PATCH", &definition, &headers, add.to_string()).await?, 200);
    let label = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]).to_string();
    let mut warnings = String::new();
    for _ in 0..2000 {
        let answer = send(&client, "PATCH", &path, &headers, label.clone()).await?;
        expect(&answer, 200);
        if let Some(warning) = answer.headers.get("warning") {
            warnings = warning.to_str().unwrap_or_default().to_owned();
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(warnings.contains("spec.color: Invalid value:"), "{warnings}");
    assert!(warnings.contains("no red"), "{warnings}");

    let mut bad = widgets(json!({"type": "object", "properties": {"spec": {
        "type": "object", "x-kubernetes-validations": [{"rule": "self.nothing == 1"}]}}}));
    bad["metadata"]["name"] = "gadgets.ex.io".into();
    bad["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    let refused = expect(&send_json(&client, "POST", DEFINITIONS, &bad).await?, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("compilation failed"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_share_objects_and_may_select_fields() -> Outcome {
    let (_server, client) = server().await?;
    let mut crd = widgets(schema());
    let mut beta = crd["spec"]["versions"][0].clone();
    beta["name"] = "v1beta1".into();
    beta["storage"] = json!(false);
    beta["deprecated"] = json!(true);
    crd["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    if let Some(versions) = crd["spec"]["versions"].as_array_mut() {
        versions.push(beta);
    }
    define(&client, &crd).await?;
    let group = expect(&send_json(&client, "GET", "/apis/ex.io", &Value::Null).await?, 200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(group["versions"][1]["version"], "v1beta1");

    let older = "/apis/ex.io/v1beta1/namespaces/default/widgets";
    let mut object = widget("a", json!({"color": "green"}));
    object["apiVersion"] = "ex.io/v1beta1".into();
    let made = send_json(&client, "POST", older, &object).await?;
    assert_eq!(expect(&made, 201)["apiVersion"], "ex.io/v1beta1");
    let warning = made.headers.get("warning").and_then(|w| w.to_str().ok()).unwrap_or_default();
    assert_eq!(warning, "299 - \"ex.io/v1beta1 Widget is deprecated; use ex.io/v1 Widget\"");
    expect(&send_json(&client, "POST", WIDGETS, &widget("b", json!({}))).await?, 201);

    let list = format!("{WIDGETS}?fieldSelector=spec.color%3Dgreen");
    let list = expect(&send_json(&client, "GET", &list, &Value::Null).await?, 200);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["metadata"]["name"], "a");
    assert_eq!(items[0]["apiVersion"], "ex.io/v1");
    let list = format!("{older}?fieldSelector=spec.color%3Dgreen");
    let refused = expect(&send_json(&client, "GET", &list, &Value::Null).await?, 400);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("field label not supported: spec.color"), "{message}");

    // A version in which objects may be stored stays.
    let path = format!("{DEFINITIONS}/widgets.ex.io");
    let headers = [("content-type", "application/json-patch+json")];
    let drop_stored = json!([{"op": "remove", "path": "/spec/versions/0"},
        {"op": "replace", "path": "/spec/versions/0/storage", "value": true}]);
    let refused = send(&client, "PATCH", &path, &headers, drop_stored.to_string()).await?;
    let message = expect(&refused, 422)["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("status.storedVersions[0]: Invalid value: \"v1\""), "{message}");

    // A default that comes later shows in what is stored already.
    let with_default = json!([{"op": "add",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/replicas/default",
        "value": 7}]);
    expect(&send(&client, "PATCH", &path, &headers, with_default.to_string()).await?, 200);
    let path = format!("{WIDGETS}/a");
    let shown = until(&client, &path, |answer| answer.json()["spec"]["replicas"] == 7).await?;
    assert_eq!(shown["spec"], json!({"color": "green", "replicas": 7}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_of_all_versions_end_when_a_definition_changes() -> Outcome {
    let (_server, client) = server().await?;
    let mut crd = widgets(schema());
    let mut beta = crd["spec"]["versions"][0].clone();
    (beta["name"], beta["storage"]) = ("v1beta1".into(), false.into());
    crd["spec"]["versions"].as_array_mut().unwrap().push(beta);
    define(&client, &crd).await?;
    let watch = |version: &str| {
        let client = client.clone();
        let path = format!("/apis/ex.io/{version}/widgets?watch=1");
        tokio::spawn(async move { send_json(&client, "GET", &path, &Value::Null).await })
    };
    let both = [watch("v1"), watch("v1beta1")];
    let path = format!("{DEFINITIONS}/widgets.ex.io");
    let patch = [("content-type", "application/merge-patch+json")];
    // Labels of the definition are no concern of its objects.
    let labels = json!({"metadata": {"labels": {"a": "b"}}}).to_string();
    expect(&send(&client, "PATCH", &path, &patch, labels).await?, 200);
    expect(&send_json(&client, "POST", WIDGETS, &widget("a", json!({}))).await?, 201);
    let columns = json!([{"op": "add", "path": "/spec/versions/1/additionalPrinterColumns",
        "value": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]}]);
    let headers = [("content-type", "application/json-patch+json")];
    expect(&send(&client, "PATCH", &path, &headers, columns.to_string()).await?, 200);
    for watch in both {
        let events = watch.await??;
        let events: Vec<Value> =
            events.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(events.iter().all(|event| event["type"] == "ADDED"), "{events:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nulls_that_may_not_be_are_not_there() -> Outcome {
    let (_server, client) = server().await?;
    define(&client, &widgets(schema())).await?;
    let spec = json!({"replicas": null, "color": null, "tags": null});
    let made = expect(&send_json(&client, "POST", WIDGETS, &widget("a", spec)).await?, 201);
    assert_eq!(made["spec"], json!({"color": "red"}));
    let patch = [("content-type", "application/json-patch+json")];
    let nulls = json!([{"op": "add", "path": "/spec/tags", "value": null}]).to_string();
    let patched = send(&client, "PATCH", &format!("{WIDGETS}/a"), &patch, nulls).await?;
    assert_eq!(expect(&patched, 200)["spec"], json!({"color": "red"}));
    Ok(())
}
