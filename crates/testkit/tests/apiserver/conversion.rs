//! Custom resources in several versions, which a webhook converts.

use serde_json::{Value, json};
use testkit::{send, send_json};

use crate::customresources::{DEFINITIONS, define, until};
use crate::webhook_server::{Reply, WebhookServer};
use crate::{Outcome, expect, server};

const V1: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";
const V2: &str = "/apis/stable.example.com/v2/namespaces/default/crontabs";

/// CronTabs with `hostPort: a:1` in v1, which is stored, and `host` and `port` in v2.
fn crontabs(hook: &WebhookServer) -> Value {
    let version = |name: &str, storage: bool, properties: Value| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema":
            {"type": "object", "properties": properties}}})
    };
    let text = json!({"type": "string"});
    json!({
        "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab"},
            "versions": [
                version("v1", true, json!({"hostPort": text})),
                version("v2", false, json!({"host": text, "port": text})),
            ],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": hook.client_config(), "conversionReviewVersions": ["v1"]}},
        },
    })
}

fn converted(object: &Value, to: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = to.into();
    let fields = object.as_object_mut().expect("objects are objects");
    if to.ends_with("v2") {
        let both = fields.shift_remove("hostPort").unwrap_or_default();
        let (host, port) = both.as_str().and_then(|b| b.split_once(':')).unwrap_or_default();
        fields.insert("host".to_owned(), host.into());
        fields.insert("port".to_owned(), port.into());
    } else {
        let mut take = |name: &str| {
            let value = fields.shift_remove(name).unwrap_or_default();
            value.as_str().unwrap_or_default().to_owned()
        };
        let both = format!("{}:{}", take("host"), take("port"));
        fields.insert("hostPort".to_owned(), both.into());
    }
    object
}

/// The answer of a webhook that knows its trade, after `change` has spoilt it.
fn convert(review: &Value, change: impl FnOnce(&mut Value)) -> Reply {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().into_iter().flatten();
    let objects: Vec<Value> = objects.map(|object| converted(object, to)).collect();
    let mut answer = json!({
        "kind": "ConversionReview", "apiVersion": review["apiVersion"],
        "response": {"uid": request["uid"], "result": {"status": "Success"},
            "convertedObjects": objects},
    });
    change(&mut answer["response"]);
    Reply::Object(answer)
}

fn crontab(version: &str, name: &str, content: Value) -> Value {
    let mut object = json!({"kind": "CronTab", "apiVersion": format!("stable.example.com/{version}"),
        "metadata": {"name": name}});
    for (field, value) in content.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_an_object_gives_the_version_asked_for() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| convert(review, |_| {})).await?;
    define(&client, &crontabs(&hook)).await?;
    let one = crontab("v1", "a", json!({"hostPort": "x:1"}));
    expect(&send_json(&client, "POST", V1, &one).await?, 201);
    assert!(hook.seen().is_empty(), "the stored version needs nobody");
    let other = crontab("v2", "b", json!({"host": "y", "port": "2"}));
    let made = expect(&send_json(&client, "POST", V2, &other).await?, 201);
    assert_eq!(
        (&made["apiVersion"], &made["port"]),
        (&json!("stable.example.com/v2"), &json!("2"))
    );

    let read = expect(&send_json(&client, "GET", &format!("{V1}/b"), &Value::Null).await?, 200);
    assert_eq!(read["hostPort"], "y:2");
    let before = hook.seen().len();
    let list = expect(&send_json(&client, "GET", V2, &Value::Null).await?, 200);
    let hosts: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|o| &o["host"]).collect();
    assert_eq!(hosts, ["x", "y"]);
    assert_eq!(hook.seen().len() - before, 1, "a page is converted at once");

    let patch = [("content-type", "application/merge-patch+json")];
    let path = format!("{V2}/a");
    let patched = send(&client, "PATCH", &path, &patch, r#"{"port":"9"}"#).await?;
    let patched = expect(&patched, 200);
    assert_eq!((&patched["host"], &patched["port"]), (&json!("x"), &json!("9")));
    let dry = format!("{path}?dryRun=All");
    let tried = expect(&send(&client, "PATCH", &dry, &patch, r#"{"port":"8"}"#).await?, 200);
    assert_eq!(tried["port"], "8");
    let read = expect(&send_json(&client, "GET", &format!("{V1}/a"), &Value::Null).await?, 200);
    assert_eq!(read["hostPort"], "x:9");

    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = expect(
        &send(&client, "GET", &format!("{V2}?includeObject=Object"), &table, "").await?,
        200,
    );
    assert_eq!(table["rows"][0]["object"]["port"], "9");

    let version = &list["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = format!("{V2}?watch=1&resourceVersion={version}&timeoutSeconds=1");
    let events = send_json(&client, "GET", &watch, &Value::Null).await?;
    let event: Value = serde_json::from_str(events.text.lines().next().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["port"]), (&json!("MODIFIED"), &json!("9")));

    let gone = format!("{V2}/b");
    expect(&send_json(&client, "DELETE", &gone, &Value::Null).await?, 200);
    expect(&send_json(&client, "GET", &format!("{V1}/b"), &Value::Null).await?, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_is_an_error_and_loses_nothing() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| {
        let name = review["request"]["objects"][0]["metadata"]["name"].as_str().unwrap_or_default();
        match name {
            "garbage" => Reply::Text(200, "<html>"),
            "renamed" => convert(review, |response| {
                response["convertedObjects"][0]["metadata"]["name"] = "other".into();
            }),
            "lost" => convert(review, |response| response["convertedObjects"] = json!([])),
            "refused" => convert(review, |response| {
                response["result"] = json!({"status": "Failure", "message": "I do not like it"});
            }),
            _ => convert(review, |_| {}),
        }
    })
    .await?;
    define(&client, &crontabs(&hook)).await?;
    let check = async |name: &str, expected: &str| -> Outcome {
        let object = crontab("v1", name, json!({"hostPort": "x:1"}));
        expect(&send_json(&client, "POST", V1, &object).await?, 201);
        let one = format!("{V2}/{name}");
        let refused = expect(&send_json(&client, "GET", &one, &Value::Null).await?, 500);
        let expected =
            format!("conversion webhook for stable.example.com/v1, Kind=CronTab {expected}");
        assert_eq!(refused["message"], expected);
        // A write that needs the conversion writes nothing.
        let patch = [("content-type", "application/merge-patch+json")];
        expect(&send(&client, "PATCH", &one, &patch, r#"{"port":"2"}"#).await?, 500);
        let one = format!("{V1}/{name}");
        let read = expect(&send_json(&client, "GET", &one, &Value::Null).await?, 200);
        assert_eq!(read["hostPort"], "x:1");
        expect(&send_json(&client, "GET", V2, &Value::Null).await?, 500);
        expect(&send_json(&client, "DELETE", &one, &Value::Null).await?, 200);
        Ok(())
    };
    check(
        "garbage",
        "failed: couldn't get version/kind; json parse error: invalid character '<' looking for \
         beginning of value",
    )
    .await?;
    let renamed = "returned invalid converted object at index 0: must have the same name: renamed \
                   != other";
    check("renamed", renamed).await?;
    check("lost", "returned 0 objects, expected 1").await?;
    check("refused", "failed: I do not like it").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_hangs_holds_up_only_who_needs_it() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|_| Reply::Hang).await?;
    define(&client, &crontabs(&hook)).await?;
    let object = crontab("v1", "a", json!({"hostPort": "x:1"}));
    expect(&send_json(&client, "POST", V1, &object).await?, 201);
    let patient = format!("{V2}/a?timeout=1s");
    let refused = expect(&send_json(&client, "GET", &patient, &Value::Null).await?, 504);
    assert_eq!(refused["reason"], "Timeout", "{refused}");
    let one = format!("{V1}/a");
    expect(&send_json(&client, "GET", &one, &Value::Null).await?, 200);
    expect(&send_json(&client, "DELETE", &one, &Value::Null).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_are_selected_as_the_version_has_them() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| convert(review, |_| {})).await?;
    let mut definition = crontabs(&hook);
    let versions = &mut definition["spec"]["versions"];
    versions[0]["selectableFields"] = json!([{"jsonPath": ".hostPort"}]);
    versions[1]["selectableFields"] = json!([{"jsonPath": ".host"}, {"jsonPath": ".port"}]);
    define(&client, &definition).await?;
    for (name, content) in [("a", "x:1"), ("b", "y:1"), ("c", "x:2"), ("d", "x:3")] {
        let object = crontab("v1", name, json!({"hostPort": content}));
        expect(&send_json(&client, "POST", V1, &object).await?, 201);
    }
    let names = async |path: String| -> Result<(Vec<String>, Value), testkit::Error> {
        let list = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
        let items = list["items"].as_array().unwrap().iter();
        let names = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
        Ok((names.collect(), list["metadata"].clone()))
    };
    assert_eq!(names(format!("{V1}?fieldSelector=hostPort%3Dx:1")).await?.0, ["a"]);
    let of_x = format!("{V2}?fieldSelector=host%3Dx");
    assert_eq!(names(of_x.clone()).await?.0, ["a", "c", "d"]);
    assert_eq!(names(format!("{of_x},port!%3D2")).await?.0, ["a", "d"]);
    assert_eq!(names(format!("{of_x},metadata.name%3Db")).await?.0, [""; 0]);
    let (page, metadata) = names(format!("{of_x}&limit=2")).await?;
    assert_eq!(page, ["a", "c"]);
    let token = metadata["continue"].as_str().unwrap();
    assert_eq!(names(format!("{of_x}&limit=2&continue={token}")).await?.0, ["d"]);
    let unknown = format!("{V2}?fieldSelector=hostPort%3Dx:1");
    let refused = expect(&send_json(&client, "GET", &unknown, &Value::Null).await?, 400);
    assert_eq!(refused["message"], "field label not supported: hostPort");

    // An object that comes to match is new to the watcher, whatever it was before.
    let version = metadata["resourceVersion"].as_str().unwrap();
    let patch = [("content-type", "application/merge-patch+json")];
    for (name, host) in [("b", "x"), ("a", "y"), ("c", "x")] {
        let body = json!({"host": host, "port": "7"}).to_string();
        expect(&send(&client, "PATCH", &format!("{V2}/{name}"), &patch, body).await?, 200);
    }
    let watch = format!("{of_x}&watch=1&resourceVersion={version}&timeoutSeconds=1");
    let events = send_json(&client, "GET", &watch, &Value::Null).await?;
    let events: Vec<Value> =
        events.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<(&Value, &Value)> =
        events.iter().map(|event| (&event["type"], &event["object"]["metadata"]["name"])).collect();
    let expected = [("ADDED", "b"), ("DELETED", "a"), ("MODIFIED", "c")];
    assert_eq!(
        seen,
        expected
            .map(|(kind, name)| (kind.into(), name.into()))
            .each_ref()
            .map(|(a, b): &(Value, Value)| (a, b))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_objects_of_both_versions_make_one_list() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| convert(review, |_| {})).await?;
    let mut definition = crontabs(&hook);
    define(&client, &definition).await?;
    let one = crontab("v1", "a", json!({"hostPort": "x:1"}));
    expect(&send_json(&client, "POST", V1, &one).await?, 201);
    // From now on objects are stored as v2; what is there stays as it is.
    let path = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let now = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    definition["metadata"] = now["metadata"].clone();
    definition["spec"]["versions"][0]["storage"] = false.into();
    definition["spec"]["versions"][1]["storage"] = true.into();
    expect(&send_json(&client, "PUT", &path, &definition).await?, 200);
    until(&client, &path, |answer| {
        answer.json()["status"]["storedVersions"] == json!(["v1", "v2"])
    })
    .await?;
    let asked = hook.seen().len();
    let other = crontab("v2", "b", json!({"host": "y", "port": "2"}));
    let made = send_json(&client, "POST", V2, &other).await?;
    expect(&made, 201);
    assert_eq!(hook.seen().len(), asked, "v2 is what is stored now");
    let list = expect(&send_json(&client, "GET", V1, &Value::Null).await?, 200);
    let ports: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|o| &o["hostPort"]).collect();
    assert_eq!(ports, ["x:1", "y:2"]);
    let sent = hook.seen().last().unwrap()["request"]["objects"].clone();
    assert_eq!(sent.as_array().unwrap().len(), 1, "only the other version is sent");
    assert_eq!(sent[0]["metadata"]["name"], "b");
    assert_eq!(sent[0]["metadata"].get("resourceVersion"), None);
    Ok(())
}
