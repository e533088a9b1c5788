//! MutatingAdmissionPolicies and their bindings.

use kube::Client;
use serde_json::{Value, json};
use testkit::{fixtures, send, send_json};

use crate::webhook_server::{WebhookServer, patched, verdict};
use crate::{CONFIG_MAPS, Outcome, expect, server};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Makes a policy about this resource with one mutation, with members of `more` in its spec, and
/// binds it, with members of `bound` in the binding's.
async fn bind(
    client: &Client,
    name: &str,
    (group, resource): (&str, &str),
    mutation: Value,
    more: Value,
    bound: Value,
) -> Outcome {
    let mut spec = json!({"reinvocationPolicy": "Never", "mutations": [mutation],
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            "resourceRules": [{"apiGroups": [group], "apiVersions": ["*"], "resources": [resource],
                "operations": ["CREATE", "UPDATE"]}]}});
    let mut binding = json!({"policyName": name});
    for (spec, more) in [(&mut spec, more), (&mut binding, bound)] {
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
    }
    let made = |kind: &str, spec: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name}, "spec": spec})
    };
    let policy = made("MutatingAdmissionPolicy", spec);
    let policies = format!("{GROUP}/mutatingadmissionpolicies");
    expect(&send_json(client, "POST", &policies, &policy).await?, 201);
    let binding = made("MutatingAdmissionPolicyBinding", binding);
    let bindings = format!("{GROUP}/mutatingadmissionpolicybindings");
    expect(&send_json(client, "POST", &bindings, &binding).await?, 201);
    Ok(())
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

/// A mutation that notes a word in the annotation `seen`.
fn note(word: &str) -> Value {
    let word = format!("object.metadata.?annotations['seen'].orValue('') + '{word}'");
    apply(&format!("Object{{metadata: Object.metadata{{annotations: {{'seen': {word}}}}}}}"))
}

async fn create_map(client: &Client, name: &str) -> Result<Value, testkit::Error> {
    let map = fixtures::config_map(name, "k", "v");
    Ok(expect(&send_json(client, "POST", CONFIG_MAPS, &map).await?, 201))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_are_merged_as_applied() -> Outcome {
    let (_server, client) = server().await?;
    let sidecar = apply(
        "Object{metadata: Object.metadata{labels: {'size': string(variables.replicas)}},
            spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
                containers: [
                    Object.spec.template.spec.containers{name: 'sidecar', image: 'mesh',
                        ports: [Object.spec.template.spec.containers.ports{containerPort: 80}]},
                    Object.spec.template.spec.containers{
                        name: object.spec.template.spec.containers[0].name,
                        env: [Object.spec.template.spec.containers.env{name: 'MESH', value: 'on'}]}]}}}}",
    );
    let more = json!({"variables": [
        {"name": "replicas", "expression": "object.spec.replicas"}]});
    bind(&client, "mesh", ("apps", "deployments"), sidecar, more, json!({})).await?;

    let web = fixtures::deployment("web", 3);
    let before = web["spec"]["template"]["spec"]["containers"][0].clone();
    let made = expect(&send_json(&client, "POST", DEPLOYMENTS, &web).await?, 201);
    assert_eq!(made["metadata"]["labels"]["size"], "3");
    let containers = made["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let named = |name: &Value| containers.iter().find(|c| c["name"] == *name).unwrap();
    let (own, sidecar) = (named(&before["name"]), named(&json!("sidecar")));
    assert_eq!((containers.len(), &own["image"]), (2, &before["image"]));
    assert_eq!(own["env"], json!([{"name": "MESH", "value": "on"}]));
    // What a mutation leaves out is defaulted like what a client leaves out.
    assert_eq!(sidecar["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_fit_or_are_refused() -> Outcome {
    let (_server, client) = server().await?;
    let maps = ("", "configmaps");
    let escaped = patch(
        "[JSONPatch{op: 'test', path: '/data/k', value: 'v'},
          JSONPatch{op: 'add', path: '/metadata/labels', value: {}},
          JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a.b/c'), value: 'yes'}]",
    );
    bind(&client, "escaped", maps, escaped, json!({}), json!({})).await?;
    let made = create_map(&client, "a").await?;
    assert_eq!(made["metadata"]["labels"], json!({"a.b/c": "yes"}));

    // A test that fails is no error: nothing is changed then.
    let other = fixtures::config_map("b", "k", "other");
    let made = expect(&send_json(&client, "POST", CONFIG_MAPS, &other).await?, 201);
    assert_eq!(made["metadata"].get("labels"), None);

    let conditions = json!({"matchConditions": [
        {"name": "named", "expression": "object.metadata.name in ['lost', 'odd']"}]});
    let lost = patch(
        "[object.metadata.name == 'odd' ? JSONPatch{op: 'add', path: '/odd', value: 1}
            : JSONPatch{op: 'remove', path: '/data/x'}]",
    );
    bind(&client, "lost", maps, lost, conditions, json!({})).await?;
    let refused =
        send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("lost", "k", "v")).await?;
    let refused = expect(&refused, 403);
    let expected = "policy 'lost' with binding 'lost' denied request: JSONPath: error in remove for path: '/data/x': Unable to remove nonexistent key: x: missing value";
    assert_eq!((&refused["message"], &refused["reason"]), (&json!(expected), &json!("Invalid")));
    let refused =
        send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("odd", "k", "v")).await?;
    let refused = expect(&refused, 500);
    let end = "strict decoding error: unknown field \"odd\"";
    assert!(refused["message"].as_str().unwrap_or_default().ends_with(end), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_refused_or_ignored() -> Outcome {
    let (_server, client) = server().await?;
    let maps = ("", "configmaps");
    let broken = || apply("Object{data: {'k': object.data.missing}}");
    let ignored = json!({"failurePolicy": "Ignore"});
    bind(&client, "broken", maps, broken(), ignored, json!({})).await?;
    bind(&client, "fine", maps, note("f"), json!({}), json!({})).await?;
    let made = create_map(&client, "a").await?;
    assert_eq!(made["metadata"]["annotations"]["seen"], "f");
    assert_eq!(made["data"]["k"], "v");

    bind(&client, "strict", maps, broken(), json!({}), json!({})).await?;
    let map = fixtures::config_map("b", "k", "v");
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 403);
    let text = refused["message"].as_str().unwrap_or_default();
    let start = "policy 'strict' with binding 'strict' denied request: ";
    assert!(text.starts_with(start) && text.ends_with("no such key: missing"), "{text}");

    // What a mutation calls its types must be where the fields are.
    let path = format!("{GROUP}/mutatingadmissionpolicybindings/strict");
    expect(&send(&client, "DELETE", &path, &[], Vec::new()).await?, 200);
    let misnamed = apply("Object{metadata: Object.spec{labels: {'a': 'b'}}}");
    bind(&client, "misnamed", maps, misnamed, json!({}), json!({})).await?;
    let refused = expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 403);
    let text = refused["message"].as_str().unwrap_or_default();
    assert!(text.contains("type mismatch: "), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parameter_has_its_turn() -> Outcome {
    let (_server, client) = server().await?;
    for (name, role) in [("one", "word"), ("two", "word"), ("three", "none")] {
        let mut map = fixtures::config_map(name, "word", name);
        map["metadata"]["labels"] = json!({"role": role});
        expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    }
    let each = patch(
        "[JSONPatch{op: 'add', path: '/spec/template/metadata/labels/' + params.data.word, value: 'x'}]",
    );
    let more = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}});
    let bound = json!({"paramRef": {"namespace": "default", "parameterNotFoundAction": "Deny",
        "selector": {"matchLabels": {"role": "word"}}}});
    bind(&client, "each", ("apps", "deployments"), each, more, bound).await?;
    let web = fixtures::deployment("web", 1);
    let made = expect(&send_json(&client, "POST", DEPLOYMENTS, &web).await?, 201);
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&labels["one"], &labels["two"]), (&json!("x"), &json!("x")));
    assert_eq!(labels.get("three"), None);

    for name in ["one", "two"] {
        let path = format!("{CONFIG_MAPS}/{name}");
        expect(&send(&client, "DELETE", &path, &[], Vec::new()).await?, 200);
    }
    let refused = send_json(&client, "POST", DEPLOYMENTS, &fixtures::deployment("app", 1)).await?;
    let expected = "policy 'each' with binding 'each' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(expect(&refused, 403)["message"], expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_come_before_webhooks_and_again_after_changes() -> Outcome {
    let (_server, client) = server().await?;
    let maps = ("", "configmaps");
    let wishes = json!({"reinvocationPolicy": "IfNeeded"});
    bind(&client, "a", maps, note("a"), wishes, json!({})).await?;
    bind(&client, "b", maps, note("b"), json!({}), json!({})).await?;
    let hook = WebhookServer::start(|review| {
        let object = &review["request"]["object"];
        if object["metadata"]["name"] == "quiet" {
            return verdict(review, json!({"allowed": true}));
        }
        let seen = object["metadata"]["annotations"]["seen"].as_str().unwrap_or_default();
        let seen = format!("{seen}w");
        patched(
            review,
            &json!([{"op": "add", "path": "/metadata/annotations/seen", "value": seen}]),
        )
    })
    .await?;
    let configuration = json!({
        "kind": "MutatingWebhookConfiguration", "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": "w"},
        "webhooks": [{"name": "w.example.com", "clientConfig": hook.client_config(),
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                "operations": ["CREATE"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}],
    });
    let path = format!("{GROUP}/mutatingwebhookconfigurations");
    expect(&send_json(&client, "POST", &path, &configuration).await?, 201);

    // `b` and the webhook change the object after `a` had its turn, which `a` wants to know.
    let made = create_map(&client, "loud").await?;
    assert_eq!(made["metadata"]["annotations"]["seen"], "abwa");
    // The webhook says nothing, but `b` changed it.
    let made = create_map(&client, "quiet").await?;
    assert_eq!(made["metadata"]["annotations"]["seen"], "aba");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replaces_a_whole_is_refused() -> Outcome {
    let (_server, client) = server().await?;
    let atomic =
        apply("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}");
    bind(&client, "atomic", ("apps", "deployments"), atomic, json!({}), json!({})).await?;
    let web = fixtures::deployment("web", 1);
    let refused = expect(&send_json(&client, "POST", DEPLOYMENTS, &web).await?, 403);
    let text = refused["message"].as_str().unwrap_or_default();
    let end =
        "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector";
    assert!(text.ends_with(end), "{text}");

    let unknown = apply("Object{spec: Object.spec{replica: 3}}");
    let path = format!("{GROUP}/mutatingadmissionpolicybindings/atomic");
    expect(&send(&client, "DELETE", &path, &[], Vec::new()).await?, 200);
    bind(&client, "unknown", ("apps", "deployments"), unknown, json!({}), json!({})).await?;
    let refused = expect(&send_json(&client, "POST", DEPLOYMENTS, &web).await?, 403);
    let text = refused["message"].as_str().unwrap_or_default();
    let end = ".spec.replica: field not declared in schema";
    assert!(text.ends_with(end), "{text}");
    Ok(())
}
