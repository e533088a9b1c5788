//! ValidatingAdmissionPolicies and their bindings.

use serde_json::{Value, json};
use testkit::{fixtures, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A policy about this resource, with members of `more` in its spec.
fn policy(name: &str, group: &str, resource: &str, more: Value) -> Value {
    let mut spec = json!({"matchConstraints": {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource],
            "operations": ["CREATE", "UPDATE"]}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": spec})
}

fn binding(policy: &str, more: Value) -> Value {
    let mut spec = json!({"policyName": policy, "validationActions": ["Deny"]});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": format!("{policy}-binding")}, "spec": spec})
}

async fn create(client: &kube::Client, policy: Value, bound: Value) -> Outcome {
    expect(&send_json(client, "POST", POLICIES, &policy).await?, 201);
    expect(&send_json(client, "POST", BINDINGS, &bound).await?, 201);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_refuses_what_breaks_it() -> Outcome {
    let (_server, client) = server().await?;
    let spec = json!({
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}],
        "validations": [
            {"expression": "variables.replicas > 1",
             "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
            {"expression": "variables.oddReplicas", "reason": "Forbidden"},
            {"expression": "namespaceObject.metadata.name == 'default'"}],
    });
    create(
        &client,
        policy("replicas", "apps", "deployments", spec),
        binding("replicas", json!({})),
    )
    .await?;

    let refused = send_json(&client, "POST", DEPLOYMENTS, &fixtures::deployment("web", 1)).await?;
    let text = "ValidatingAdmissionPolicy 'replicas' with binding 'replicas-binding' denied \
                request: wants replicas > 1, got 1";
    let refused = expect(&refused, 422);
    assert_eq!(refused["message"], format!("deployments.apps \"web\" is forbidden: {text}"));
    assert_eq!(refused["reason"], "Invalid");
    assert_eq!(refused["details"]["causes"], json!([{"message": text}]));

    let refused = send_json(&client, "POST", DEPLOYMENTS, &fixtures::deployment("web", 2)).await?;
    let refused = expect(&refused, 403);
    let end = "denied request: failed expression: variables.oddReplicas";
    assert!(refused["message"].as_str().unwrap_or_default().ends_with(end), "{refused}");

    let made = send_json(&client, "POST", DEPLOYMENTS, &fixtures::deployment("web", 3)).await?;
    let mut made = expect(&made, 201);
    made["spec"]["replicas"] = 1.into();
    let path = format!("{DEPLOYMENTS}/web");
    expect(&send_json(&client, "PUT", &path, &made).await?, 422);

    // Without its binding a policy says nothing.
    expect(
        &send(&client, "DELETE", &format!("{BINDINGS}/replicas-binding"), &[], Vec::new()).await?,
        200,
    );
    expect(&send_json(&client, "PUT", &path, &made).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bindings_choose_what_happens() -> Outcome {
    let (_server, client) = server().await?;
    let spec = json!({
        "matchConditions": [{"name": "not-free", "expression": "object.metadata.name != 'free'"}],
        "validations": [{"expression": "object.data.k == 'good'", "message": "k is not good"}],
    });
    let bound = binding(
        "good",
        json!({
            "validationActions": ["Warn"],
            "matchResources": {"objectSelector": {"matchLabels": {"check": "yes"}}},
        }),
    );
    create(&client, policy("good", "", "configmaps", spec), bound).await?;

    let map = |name: &str, labels: Value| {
        let mut map = fixtures::config_map(name, "k", "bad");
        map["metadata"]["labels"] = labels;
        map
    };
    let checked = json!({"check": "yes"});
    let warned = send_json(&client, "POST", CONFIG_MAPS, &map("a", checked.clone())).await?;
    expect(&warned, 201);
    let text = "Validation failed for ValidatingAdmissionPolicy 'good' with binding 'good-binding': k is not good";
    assert_eq!(warned.header("warning"), format!("299 - \"{text}\""));
    for (name, labels) in [("b", json!({})), ("free", checked)] {
        let quiet = send_json(&client, "POST", CONFIG_MAPS, &map(name, labels)).await?;
        expect(&quiet, 201);
        assert_eq!(quiet.header("warning"), "");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters() -> Outcome {
    let (_server, client) = server().await?;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.spec.replicas <= int(params.data.max)"}],
    });
    let bound = binding(
        "limit",
        json!({
            "paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"},
        }),
    );
    create(&client, policy("limit", "apps", "deployments", spec), bound).await?;

    let three = fixtures::deployment("web", 3);
    let refused = expect(&send_json(&client, "POST", DEPLOYMENTS, &three).await?, 422);
    let end = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(refused["message"].as_str().unwrap_or_default().ends_with(end), "{refused}");

    let limits = fixtures::config_map("limits", "max", "2");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &limits).await?, 201);
    let refused = expect(&send_json(&client, "POST", DEPLOYMENTS, &three).await?, 422);
    let end = "failed expression: object.spec.replicas <= int(params.data.max)";
    assert!(refused["message"].as_str().unwrap_or_default().ends_with(end), "{refused}");
    let two = fixtures::deployment("web", 2);
    expect(&send_json(&client, "POST", DEPLOYMENTS, &two).await?, 201);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_permissions() -> Outcome {
    let (server, client) = server().await?;
    let broken =
        json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.nothing == 1"}]});
    create(&client, policy("broken", "", "configmaps", broken), binding("broken", json!({})))
        .await?;
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("a", "k", "v")).await?,
        201,
    );

    let strict = json!({"validations": [{"expression": "object.nothing == 1"}]});
    create(&client, policy("strict", "", "configmaps", strict), binding("strict", json!({})))
        .await?;
    let refused =
        send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("b", "k", "v")).await?;
    let refused = expect(&refused, 422);
    let end = "expression 'object.nothing == 1' resulted in error: no such key: nothing";
    assert!(refused["message"].as_str().unwrap_or_default().ends_with(end), "{refused}");
    expect(
        &send(&client, "DELETE", &format!("{BINDINGS}/strict-binding"), &[], Vec::new()).await?,
        200,
    );

    let asks = json!({"validations": [{
        "expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()",
        "message": "only for those who read secrets"}]});
    create(&client, policy("asks", "", "configmaps", asks), binding("asks", json!({}))).await?;
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("c", "k", "v")).await?,
        201,
    );
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    expect(&send_json(&client, "POST", roles, &role).await?, 201);
    let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    expect(
        &send_json(
            &client,
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            &bound,
        )
        .await?,
        201,
    );
    let jane = server.client_for("jane", &[])?;
    let refused =
        send_json(&jane, "POST", CONFIG_MAPS, &fixtures::config_map("d", "k", "v")).await?;
    let refused = expect(&refused, 422);
    let end = "denied request: only for those who read secrets";
    assert!(refused["message"].as_str().unwrap_or_default().ends_with(end), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_must_compile() -> Outcome {
    let (_server, client) = server().await?;
    let spec =
        json!({"validations": [{"expression": "object.metadata.name =="}, {"expression": "1"}]});
    let answer = send_json(&client, "POST", POLICIES, &policy("bad", "", "pods", spec)).await?;
    let status = expect(&answer, 422);
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    assert_eq!(causes[0]["field"], "spec.validations[0].expression");
    assert!(
        causes[0]["message"]
            .as_str()
            .unwrap_or_default()
            .contains("compilation failed: ERROR: <input>:1:24: Syntax error"),
        "{status}"
    );
    assert!(
        causes[1]["message"]
            .as_str()
            .unwrap_or_default()
            .ends_with("must evaluate to bool but got int"),
        "{status}"
    );
    Ok(())
}
