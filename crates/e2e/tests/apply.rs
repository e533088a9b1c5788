//! Server-side apply with kubectl: who owns what, conflicts, and coming from client-side apply.

use crate::cluster::{Namespace, WEB, feed};

fn config(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shared}}\ndata: {data}\n")
}

fn deployment(replicas: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    \
         metadata: {{labels: {{app: web}}}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      \
         containers: [{{name: web, image: \"{}\"}}]\n",
        WEB[0]
    )
}

/// The managers of an object's fields with their operations.
fn managers(space: &Namespace, object: &str) -> Vec<String> {
    let object = space.json(&format!("get {object} --show-managed-fields"));
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let text = |entry: &serde_json::Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let mut all: Vec<String> =
        entries.map(|e| format!("{} {}", text(e, "manager"), text(e, "operation"))).collect();
    all.sort();
    all
}

#[test]
fn managers_share_an_object_and_conflict_over_a_field() {
    let space = Namespace::new("manage");
    let apply = |manager: &str, more: &str, data: &str| {
        let arguments = format!("apply --server-side --field-manager={manager} {more} -f -");
        feed(&mut space.command(&arguments), &config(data))
    };
    let said = |output: std::process::Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let applied = "configmap/shared serverside-applied\n";
    assert_eq!(said(apply("one", "", "{a: '1', b: '1'}")), applied);
    assert_eq!(said(apply("two", "", "{c: '2'}")), applied);
    let before = space.json("get configmap shared");
    assert_eq!(said(apply("two", "", "{c: '2'}")), applied);
    assert_eq!(space.json("get configmap shared"), before, "nothing was to be changed");

    let refused = apply("two", "", "{a: '2', c: '2'}");
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        error.starts_with("error: Apply failed with 1 conflict: conflict with \"one\": .data.a\n"),
        "{error}"
    );
    assert_eq!(said(apply("two", "--force-conflicts", "{a: '2', c: '2'}")), applied);
    // Who lost a field to another no longer removes it; what nobody else wants goes.
    assert_eq!(said(apply("one", "", "{}")), applied);
    let data = space.json("get configmap shared")["data"].clone();
    assert_eq!(data, serde_json::json!({"a": "2", "c": "2"}));
    // An empty map is applied too.
    assert_eq!(managers(&space, "configmap shared"), ["one Apply", "two Apply"]);
}

#[test]
fn objects_of_client_side_apply_are_taken_over() {
    let space = Namespace::new("takeover");
    space.pipe("apply -f -", &deployment("replicas: 1"));
    let moved = space.pipe("apply --server-side -f -", &deployment("replicas: 2"));
    assert_eq!(moved, "deployment.apps/web serverside-applied\n");
    space.kubectl("rollout status deployment/web --timeout=90s");
    let all = managers(&space, "deployment web");
    assert!(all.contains(&"kubectl Apply".to_owned()), "{all:?}");
    assert!(!all.contains(&"kubectl-client-side-apply Update".to_owned()), "{all:?}");
    let last = space.kubectl("apply view-last-applied deployment/web -o json");
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["spec"]["replicas"], 2, "both kinds of apply can go on");

    // What a scale sets belongs to who scaled, under the Deployment's own path.
    space.kubectl("scale deployment web --replicas=3");
    let arguments = "apply --server-side -f -";
    let refused = feed(&mut space.command(arguments), &deployment("replicas: 2"));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(error.contains("conflict with \"kubectl\" with subresource \"scale\""), "{error}");
    assert!(error.contains(".spec.replicas"), "{error}");
    space.pipe(arguments, &deployment("paused: false"));
    assert_eq!(space.json("get deployment web")["spec"]["replicas"], 3);

    let diff = feed(
        &mut space.command("diff --server-side --force-conflicts -f -"),
        &deployment("replicas: 1"),
    );
    assert_eq!(diff.status.code(), Some(1), "{diff:?}");
    let text = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(text.contains("-  replicas: 3") && text.contains("+  replicas: 1"), "{text}");
    assert_eq!(space.json("get deployment web")["spec"]["replicas"], 3, "diff changes nothing");
}
