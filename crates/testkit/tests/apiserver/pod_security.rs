//! Pod security and other defaults of a namespace's Pods, claims and Ingresses.

use serde_json::{Value, json};
use testkit::{fixtures, send, send_json};

use crate::{Outcome, expect, server};

const NAMESPACE: &str = "/api/v1/namespaces/default";
const PODS: &str = "/api/v1/namespaces/default/pods";
const LABEL: &str = "pod-security.kubernetes.io";

async fn label(client: &kube::Client, labels: &Value) -> Result<testkit::Answer, testkit::Error> {
    let patch = json!({"metadata": {"labels": labels}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    send(client, "PATCH", NAMESPACE, &merge, patch).await
}

fn privileged(name: &str) -> Value {
    let mut pod = fixtures::pod(name);
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_says_how_far_its_pods_may_go() -> Outcome {
    let (_server, client) = server().await?;
    expect(&send_json(&client, "POST", PODS, &privileged("before")).await?, 201);
    let labels =
        json!({format!("{LABEL}/enforce"): "baseline", format!("{LABEL}/warn"): "restricted"});
    let labelled = label(&client, &labels).await?;
    expect(&labelled, 200);
    let warnings: Vec<&str> =
        labelled.headers.get_all("warning").iter().filter_map(|text| text.to_str().ok()).collect();
    assert_eq!(
        warnings,
        [
            "299 - \"existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce \
             level \\\"baseline:latest\\\"\"",
            "299 - \"before: privileged\""
        ]
    );
    let refused = expect(&send_json(&client, "POST", PODS, &privileged("p")).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \
         \"main\" must not set securityContext.privileged=true)"
    );
    let warned = send_json(&client, "POST", PODS, &fixtures::pod("p")).await?;
    expect(&warned, 201);
    let warning = warned.header("warning");
    assert!(
        warning.starts_with(
            "299 - \"would violate PodSecurity \\\"restricted:latest\\\": allowPrivilegeEscalation \
             != false (container \\\"main\\\" must set"
        ),
        "{warning}"
    );
    // Workloads are warned about, not refused.
    let mut deployment = fixtures::deployment("d", 1);
    deployment["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let warned = send_json(&client, "POST", path, &deployment).await?;
    expect(&warned, 201);
    assert!(warned.header("warning").contains("host namespaces (hostNetwork=true)"));
    // A label that means nothing is refused.
    let refused = expect(&label(&client, &json!({format!("{LABEL}/audit"): "all"})).await?, 422);
    assert_eq!(
        refused["message"],
        "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/audit]: \
         Invalid value: \"all\": must be one of privileged, baseline, restricted"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_are_filled_in_and_claims_are_protected() -> Outcome {
    let (_server, client) = server().await?;
    let class = json!({"kind": "StorageClass", "apiVersion": "storage.k8s.io/v1",
        "metadata": {"name": "fast", "annotations":
            {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "example.com/fast"});
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    expect(&send_json(&client, "POST", classes, &class).await?, 201);
    let claim = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1",
        "metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = format!("{NAMESPACE}/persistentvolumeclaims");
    let mut made = expect(&send_json(&client, "POST", &claims, &claim).await?, 201);
    assert_eq!(made["spec"]["storageClassName"], "fast");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let path = format!("{claims}/c");
    made["status"]["phase"] = "Bound".into();
    made["status"]["capacity"] = json!({"storage": "1Gi"});
    let mut bound =
        expect(&send_json(&client, "PUT", &format!("{path}/status"), &made).await?, 200);
    bound["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
    let refused = expect(&send_json(&client, "PUT", &path, &bound).await?, 403);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("only dynamically provisioned pvc can be resized"), "{message}");

    let class = json!({"kind": "RuntimeClass", "apiVersion": "node.k8s.io/v1",
        "metadata": {"name": "vm"}, "handler": "vm",
        "overhead": {"podFixed": {"cpu": "100m"}}, "scheduling": {"nodeSelector": {"vm": "yes"}}});
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    expect(&send_json(&client, "POST", classes, &class).await?, 201);
    let mut pod = fixtures::pod("p");
    pod["spec"]["runtimeClassName"] = "vm".into();
    let made = expect(&send_json(&client, "POST", PODS, &pod).await?, 201);
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "100m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"vm": "yes"}));
    pod["metadata"]["name"] = "q".into();
    pod["spec"]["runtimeClassName"] = "none".into();
    let refused = expect(&send_json(&client, "POST", PODS, &pod).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"q\" is forbidden: pod rejected: RuntimeClass \"none\" not found"
    );
    Ok(())
}
