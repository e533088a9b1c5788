//! Admission by webhooks: real HTTPS to programs that agree, refuse, change, hang and lie.

use serde_json::{Value, json};
use testkit::{fixtures, send, send_json};

use crate::webhook_server::{Reply, WebhookServer, patched, verdict};
use crate::{CONFIG_MAPS, Outcome, expect, server};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A configuration with one webhook for ConfigMaps, with members of `more` on top.
fn configuration(kind: &str, name: &str, client: Value, more: &Value) -> Value {
    let mut hook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": client,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            "operations": ["*"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        // What the server itself writes in other namespaces stays out of the test.
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        hook[field] = value.clone();
    }
    json!({"kind": kind, "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": name}, "webhooks": [hook]})
}

async fn configure(client: &kube::Client, configuration: &Value) -> Outcome {
    let plural = format!("{}s", configuration["kind"].as_str().unwrap_or_default().to_lowercase());
    let path = format!("{GROUP}/{plural}");
    expect(&send_json(client, "POST", &path, configuration).await?, 201);
    Ok(())
}

async fn mutating(client: &kube::Client, name: &str, hook: &WebhookServer, more: Value) -> Outcome {
    let kind = "MutatingWebhookConfiguration";
    configure(client, &configuration(kind, name, hook.client_config(), &more)).await
}

async fn validating(
    client: &kube::Client,
    name: &str,
    hook: &WebhookServer,
    more: Value,
) -> Outcome {
    let kind = "ValidatingWebhookConfiguration";
    configure(client, &configuration(kind, name, hook.client_config(), &more)).await
}

fn map(name: &str) -> Value {
    fixtures::config_map(name, "k", "v")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_who_and_why() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| {
        if review["request"]["name"] == "good" {
            return verdict(review, json!({"allowed": true, "warnings": ["mind the gap"]}));
        }
        let status = json!({"message": "not today", "code": 403, "reason": "Forbidden"});
        verdict(review, json!({"allowed": false, "status": status}))
    })
    .await?;
    validating(&client, "deny", &hook, json!({})).await?;
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map("bad")).await?, 403);
    let expected = "admission webhook \"deny.example.com\" denied the request: not today";
    assert_eq!(refused["message"], expected);
    let made = send_json(&client, "POST", CONFIG_MAPS, &map("good")).await?;
    expect(&made, 201);
    assert_eq!(made.header("warning"), "299 - \"mind the gap\"");

    let request = hook.seen().last().unwrap()["request"].clone();
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(
        request["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!((&request["name"], &request["namespace"]), (&json!("good"), &json!("default")));
    assert_eq!((&request["operation"], &request["dryRun"]), (&json!("CREATE"), &json!(false)));
    assert_eq!(request["object"]["data"], json!({"k": "v"}));
    assert_eq!(request["oldObject"], Value::Null);
    assert_eq!(request["options"]["kind"], "CreateOptions");
    assert!(request["userInfo"]["groups"].as_array().unwrap().contains(&json!("system:masters")));

    // Deletions show what goes; every write is asked about.
    let one = format!("{CONFIG_MAPS}/good");
    expect(&send_json(&client, "DELETE", &one, &Value::Null).await?, 200);
    let request = hook.seen().last().unwrap()["request"].clone();
    assert_eq!(request["operation"], "DELETE");
    assert_eq!(
        (&request["object"], &request["oldObject"]["data"]["k"]),
        (&Value::Null, &json!("v"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_come_in_order_and_are_defaulted() -> Outcome {
    let (_server, client) = server().await?;
    let add = |key: &'static str| {
        move |review: &Value| {
            let seen = review["request"]["object"]["data"].as_object().unwrap().len();
            let path = format!("/data/{key}");
            patched(review, &json!([{"op": "add", "path": path, "value": seen.to_string()}]))
        }
    };
    let second = WebhookServer::start(add("second")).await?;
    let first = WebhookServer::start(add("first")).await?;
    // By the names of the configurations, not by age.
    mutating(&client, "b", &second, json!({})).await?;
    mutating(&client, "a", &first, json!({})).await?;
    let made = expect(&send_json(&client, "POST", CONFIG_MAPS, &map("m")).await?, 201);
    assert_eq!(made["data"], json!({"first": "1", "k": "v", "second": "2"}));

    // A container that a webhook adds gets the defaults that one of a client gets, and the
    // built-in plugins look at the Pod again.
    let sidecar = WebhookServer::start(|review| {
        let container = json!({"name": "sidecar", "image": "busybox"});
        let path = "/spec/containers/-";
        patched(review, &json!([{"op": "add", "path": path, "value": container}]))
    })
    .await?;
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
        "operations": ["CREATE"]}]);
    mutating(&client, "pods", &sidecar, json!({"rules": rules})).await?;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = expect(&send_json(&client, "POST", pods, &fixtures::pod("p")).await?, 201);
    let added = &pod["spec"]["containers"][1];
    assert_eq!(added["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(added["imagePullPolicy"], "Always");
    let mount = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(added["volumeMounts"][0]["mountPath"], mount);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_it_is_asked_again_after_later_changes() -> Outcome {
    let (_server, client) = server().await?;
    let look = |review: &Value| verdict(review, json!({"allowed": true}));
    let curious = WebhookServer::start(look).await?;
    let content = WebhookServer::start(look).await?;
    let change =
        |review: &Value| patched(review, &json!([{"op": "add", "path": "/data/x", "value": "1"}]));
    let changing = WebhookServer::start(change).await?;
    mutating(&client, "a", &curious, json!({"reinvocationPolicy": "IfNeeded"})).await?;
    mutating(&client, "b", &content, json!({})).await?;
    mutating(&client, "c", &changing, json!({"reinvocationPolicy": "IfNeeded"})).await?;
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map("m")).await?, 201);
    let asked = [&curious, &content, &changing].map(|hook| hook.seen().len());
    assert_eq!(asked, [2, 1, 1]);
    assert_eq!(curious.seen()[1]["request"]["object"]["data"]["x"], "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_cannot_be_asked() -> Outcome {
    let (_server, client) = server().await?;
    let check = async |name: &str, hook: &WebhookServer, config: Value, expected: &str| {
        let kind = "ValidatingWebhookConfiguration";
        let more = json!({"timeoutSeconds": 1});
        configure(&client, &configuration(kind, name, config, &more)).await?;
        let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map(name)).await?, 500);
        assert_eq!(refused["reason"], "InternalError");
        let expected = expected.replace("URL", &format!("\"{}?timeout=1s\"", hook.url()));
        let expected = format!(
            "Internal error occurred: failed calling webhook \"{name}.example.com\": {expected}"
        );
        assert_eq!(refused["message"], expected);
        // Who may be ignored does not stop the write.
        let path = format!("{GROUP}/validatingwebhookconfigurations/{name}");
        let patch = r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]"#;
        let kind = [("content-type", "application/json-patch+json")];
        expect(&send(&client, "PATCH", &path, &kind, patch).await?, 200);
        expect(&send_json(&client, "POST", CONFIG_MAPS, &map(name)).await?, 201);
        expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);
        Outcome::Ok(())
    };
    let hook = WebhookServer::start(|_| Reply::Hang).await?;
    let expected = "failed to call webhook: Post URL: context deadline exceeded";
    check("hangs", &hook, hook.client_config(), expected).await?;

    let hook = WebhookServer::start(|_| Reply::Text(200, "<html>")).await?;
    let expected = "failed to call webhook: couldn't get version/kind; json parse error: invalid \
                    character '<' looking for beginning of value";
    check("garbage", &hook, hook.client_config(), expected).await?;

    let hook = WebhookServer::start(|_| Reply::Text(500, "oops")).await?;
    let expected = "failed to call webhook: an error on the server (\"oops\") has prevented the \
                    request from succeeding";
    check("broken", &hook, hook.client_config(), expected).await?;

    let hook = WebhookServer::start(|_| {
        let response = json!({"uid": "other", "allowed": true});
        Reply::Object(json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "response": response}))
    })
    .await?;
    let uid = "received invalid webhook response: expected response.uid=";
    let kind = "ValidatingWebhookConfiguration";
    let lying = configuration(kind, "lies", hook.client_config(), &json!({}));
    configure(&client, &lying).await?;
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map("lies")).await?, 500);
    assert!(refused["message"].as_str().unwrap().contains(uid), "{refused}");
    let path = format!("{GROUP}/validatingwebhookconfigurations/lies");
    expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);

    let trusted = WebhookServer::start(|_| Reply::Hang).await?;
    let mut config = hook.client_config();
    config["caBundle"] = trusted.client_config()["caBundle"].clone();
    let expected = "failed to call webhook: Post URL: tls: failed to verify certificate: x509: \
                    certificate signed by unknown authority";
    check("untrusted", &hook, config, expected).await?;

    let pair = component::pki::self_signed(&["elsewhere.example.com".to_owned()])?;
    let hook = WebhookServer::start_with(&pair, |_| Reply::Hang).await?;
    let expected = "failed to call webhook: Post URL: tls: failed to verify certificate: x509: \
                    certificate is valid for elsewhere.example.com, not 127.0.0.1";
    check("renamed", &hook, hook.client_config(), expected).await?;

    let mut service = hook.client_config();
    service["url"] = Value::Null;
    service["service"] = json!({"namespace": "default", "name": "none"});
    let missing = configuration(kind, "missing", service, &json!({}));
    configure(&client, &missing).await?;
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map("x")).await?, 500);
    let expected = "Internal error occurred: failed calling webhook \"missing.example.com\": failed \
                    to call webhook: Post \"https://none.default.svc:443/?timeout=10s\": service \
                    \"none\" not found";
    assert_eq!(refused["message"], expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_and_dry_runs() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| verdict(review, json!({"allowed": false}))).await?;
    let selector = json!({"matchExpressions": [{"key": "skip-me", "operator": "NotIn",
        "values": ["true"]}]});
    validating(&client, "picky", &hook, json!({"objectSelector": selector})).await?;
    let mut skipped = map("skipped");
    skipped["metadata"]["labels"] = json!({"skip-me": "true"});
    expect(&send_json(&client, "POST", CONFIG_MAPS, &skipped).await?, 201);
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map("m")).await?, 400);
    let expected = "admission webhook \"picky.example.com\" denied the request without explanation";
    assert_eq!(refused["message"], expected);
    // The old state has no label any more: then either state is reason to ask.
    skipped["metadata"]["labels"] = json!({});
    let one = format!("{CONFIG_MAPS}/skipped");
    expect(&send_json(&client, "PUT", &one, &skipped).await?, 400);
    let elsewhere = "/api/v1/namespaces/kube-public/configmaps";
    expect(&send_json(&client, "POST", elsewhere, &map("m")).await?, 201);

    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    expect(&send_json(&client, "POST", &dry, &map("m")).await?, 400);
    assert_eq!(hook.seen().last().unwrap()["request"]["dryRun"], true);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_of_admission_are_out_of_reach() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| verdict(review, json!({"allowed": false}))).await?;
    let everything = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
        "operations": ["*"]}]);
    let more = json!({"rules": everything, "namespaceSelector": {}});
    validating(&client, "all", &hook, more).await?;
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map("m")).await?, 400);
    let path = format!("{GROUP}/validatingwebhookconfigurations/all");
    expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map("m")).await?, 201);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_equivalent_version_is_shown_as_the_rule_names_it() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| {
        patched(review, &json!([{"op": "replace", "path": "/spec/maxReplicas", "value": 7}]))
    })
    .await?;
    let rules = json!([{"apiGroups": ["autoscaling"], "apiVersions": ["v2"],
        "resources": ["horizontalpodautoscalers"], "operations": ["CREATE"]}]);
    mutating(&client, "hpa", &hook, json!({"rules": rules})).await?;
    let autoscaler = |name: &str| {
        json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1",
            "metadata": {"name": name}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}})
    };
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let made = expect(&send_json(&client, "POST", path, &autoscaler("a")).await?, 201);
    assert_eq!(made["apiVersion"], "autoscaling/v1");
    assert_eq!(made["spec"]["maxReplicas"], 7);
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 50);
    let request = hook.seen()[0]["request"].clone();
    assert_eq!(request["kind"]["version"], "v2");
    assert_eq!(request["requestKind"]["version"], "v1");
    assert_eq!(request["object"]["spec"]["metrics"][0]["type"], "Resource");
    let patch = r#"[{"op":"replace","path":"/webhooks/0/matchPolicy","value":"Exact"}]"#;
    let path_of_hook = format!("{GROUP}/mutatingwebhookconfigurations/hpa");
    let kind = [("content-type", "application/json-patch+json")];
    expect(&send(&client, "PATCH", &path_of_hook, &kind, patch).await?, 200);
    let made = expect(&send_json(&client, "POST", path, &autoscaler("b")).await?, 201);
    assert_eq!(made["spec"]["maxReplicas"], 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_asked_about() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| {
        let status = json!({"message": "attaching to pods is not allowed"});
        verdict(review, json!({"allowed": false, "status": status}))
    })
    .await?;
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/attach"],
        "operations": ["CONNECT"]}]);
    validating(&client, "attach", &hook, json!({"rules": rules})).await?;
    let pods = "/api/v1/namespaces/default/pods";
    expect(&send_json(&client, "POST", pods, &fixtures::pod("p")).await?, 201);
    let path = format!("{pods}/p/attach?stdin=1&container=c");
    let refused = expect(&send_json(&client, "POST", &path, &Value::Null).await?, 400);
    let expected = "admission webhook \"attach.example.com\" denied the request: attaching to pods \
                    is not allowed";
    assert_eq!(refused["message"], expected);
    let request = hook.seen()[0]["request"].clone();
    assert_eq!(
        (&request["operation"], &request["subResource"]),
        (&json!("CONNECT"), &json!("attach"))
    );
    let options = json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true,
        "container": "c"});
    assert_eq!(request["object"], options);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_decide_whether_a_webhook_is_asked() -> Outcome {
    let (_server, client) = server().await?;
    let hook = WebhookServer::start(|review| verdict(review, json!({"allowed": false}))).await?;
    let conditions = json!([
        {"name": "not-skipped", "expression": "object.metadata.name != 'skip-me'"},
        {"name": "admins", "expression": "'system:masters' in request.userInfo.groups &&
            authorizer.requestResource.check('create').allowed()"},
    ]);
    validating(&client, "picky", &hook, json!({"matchConditions": conditions})).await?;
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map("skip-me")).await?, 201);
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map("m")).await?, 400);
    assert_eq!(hook.seen().len(), 1);
    let path = format!("{GROUP}/validatingwebhookconfigurations/picky");
    expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);

    let broken = json!([{"name": "b", "expression": "object.spec.none == 1"}]);
    validating(&client, "broken", &hook, json!({"matchConditions": broken})).await?;
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map("m")).await?, 403);
    let expected = "configmaps \"m\" is forbidden: expression 'object.spec.none == 1' resulted in \
                    error: no such key: spec";
    assert_eq!(refused["message"], expected);

    let kind = "MutatingWebhookConfiguration";
    let wrong = json!([{"name": "w", "expression": "... [}"}]);
    let wrong = configuration(kind, "w", hook.client_config(), &json!({"matchConditions": wrong}));
    let path = format!("{GROUP}/mutatingwebhookconfigurations");
    let refused = expect(&send_json(&client, "POST", &path, &wrong).await?, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("compilation failed"), "{message}");
    Ok(())
}
