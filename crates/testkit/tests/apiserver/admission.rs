//! Built-in admission plugins, and what an operator tells them.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use testkit::{ApiServer, fixtures, send, send_json};

use crate::{Outcome, expect, server};

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

/// A node with a zone and room for one CPU.
async fn node(client: &kube::Client) -> Outcome {
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n", "labels": {
        "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "z", "other": "o"}}});
    let mut made = expect(&send_json(client, "POST", NODES, &node).await?, 201);
    let room = json!({"cpu": "1", "memory": "1Gi", "pods": "9"});
    made["status"] = json!({"capacity": room, "allocatable": room});
    expect(&send_json(client, "PUT", &format!("{NODES}/n/status"), &made).await?, 200);
    Ok(())
}

fn guaranteed(name: &str) -> Value {
    let mut pod = fixtures::pod(name);
    let amounts = json!({"cpu": "500m", "memory": "64Mi"});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_nodes_know_the_zone_and_stay_within_what_their_node_can() -> Outcome {
    let (_server, client) = server().await?;
    node(&client).await?;
    let mut pod = fixtures::pod("direct");
    pod["spec"]["nodeName"] = "n".into();
    let made = expect(&send_json(&client, "POST", PODS, &pod).await?, 201);
    assert_eq!(made["metadata"]["labels"]["topology.kubernetes.io/zone"], "z");
    assert!(made["metadata"]["labels"].get("other").is_none());

    expect(&send_json(&client, "POST", PODS, &guaranteed("bound")).await?, 201);
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "bound"},
        "target": {"kind": "Node", "name": "n"}});
    let path = format!("{PODS}/bound");
    expect(&send_json(&client, "POST", &format!("{path}/binding"), &binding).await?, 201);
    let bound = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    assert_eq!(bound["metadata"]["labels"]["topology.kubernetes.io/zone"], "z");

    let resize = |cpu: &str| {
        let amounts = json!({"cpu": cpu, "memory": "64Mi"});
        json!({"spec": {"containers": [{"name": "main",
            "resources": {"requests": amounts, "limits": amounts}}]}})
        .to_string()
    };
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let resized = format!("{path}/resize");
    let amounts = json!({"cpu": "1", "memory": "128Mi"});
    let whole =
        json!({"spec": {"resources": {"requests": amounts, "limits": amounts}}}).to_string();
    let refused = expect(&send(&client, "PATCH", &resized, &strategic, whole.clone()).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"bound\" is forbidden: pod update requires features \
         InPlacePodLevelResourcesVerticalScaling which are not available on node \"n\""
    );
    let limits = json!({"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "l"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "800m"}}]}});
    let ranges = "/api/v1/namespaces/default/limitranges";
    expect(&send_json(&client, "POST", ranges, &limits).await?, 201);
    let refused = expect(&send(&client, "PATCH", &resized, &strategic, resize("900m")).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"bound\" is forbidden: maximum cpu usage per Container is 800m, but limit is 900m"
    );
    expect(&send_json(&client, "DELETE", &format!("{ranges}/l"), &Value::Null).await?, 200);
    expect(&send(&client, "PATCH", &resized, &strategic, resize("600m")).await?, 200);
    let refused = expect(&send(&client, "PATCH", &resized, &strategic, resize("2")).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"bound\" is forbidden: node didn't have enough allocatable resources: cpu, \
         requested: 2000, allocatable: 1000"
    );
    let features =
        json!({"status": {"declaredFeatures": ["InPlacePodLevelResourcesVerticalScaling"]}});
    let status = format!("{NODES}/n/status");
    expect(&send(&client, "PATCH", &status, &MERGE, features.to_string()).await?, 200);
    expect(&send(&client, "PATCH", &resized, &strategic, whole).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrative_access_is_for_marked_namespaces() -> Outcome {
    let (_server, client) = server().await?;
    let claim = json!({"kind": "ResourceClaim", "apiVersion": "resource.k8s.io/v1",
        "metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r",
            "exactly": {"deviceClassName": "a", "adminAccess": true}}]}}});
    let refused = expect(&send_json(&client, "POST", CLAIMS, &claim).await?, 422);
    assert_eq!(
        refused["message"],
        "ResourceClaim.resource.k8s.io \"c\" is invalid: spec.devices.requests[0].adminAccess: \
         Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: \
         true` label on the containing namespace"
    );
    let mark = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    let namespace = "/api/v1/namespaces/default";
    expect(&send(&client, "PATCH", namespace, &MERGE, mark.to_string()).await?, 200);
    expect(&send_json(&client, "POST", CLAIMS, &claim).await?, 201);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_do_as_they_are_told() -> Outcome {
    let told = "
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
    exemptions: {namespaces: [kube-system]}
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources: [{resource: secrets, matchContains: [count/secrets]}]
";
    let server = ApiServer::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| {
        let path = config.data_dir.with_file_name("admission.yaml");
        std::fs::write(&path, told).expect("the folder is there");
        config.admission_control_config_file = Some(path);
    })
    .await?;
    let client = server.client()?;
    for namespace in ["default", "kube-system"] {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let account = fixtures::service_account("default");
        expect(&send_json(&client, "POST", &accounts, &account).await?, 201);
    }
    let mut pod = fixtures::pod("p");
    pod["spec"]["hostNetwork"] = true.into();
    let refused = expect(&send_json(&client, "POST", PODS, &pod).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces \
         (hostNetwork=true)"
    );
    let exempt = "/api/v1/namespaces/kube-system/pods";
    expect(&send_json(&client, "POST", exempt, &pod).await?, 201);

    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    let refused = expect(&send_json(&client, "POST", secrets, &secret).await?, 403);
    assert_eq!(
        refused["message"],
        "secrets \"s\" is forbidden: insufficient quota to consume: count/secrets"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_speak_only_of_their_own_devices() -> Outcome {
    let (server, client) = server().await?;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = |verb: &str, resource: &str, names: &[&str]| {
        json!({"verbs": [verb], "apiGroups": ["resource.k8s.io"], "resources": [resource],
            "resourceNames": names})
    };
    let role = json!({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "driver"}, "rules": [
            rule("update", "resourceclaims/status", &[]),
            rule("arbitrary-node:update", "resourceclaims/driver", &["own.example.com"])]});
    expect(&send_json(&client, "POST", &format!("{rbac}/clusterroles"), &role).await?, 201);
    let binding = json!({"kind": "ClusterRoleBinding",
        "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "driver"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "driver"}],
        "roleRef":
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "driver"}});
    let bindings = format!("{rbac}/clusterrolebindings");
    expect(&send_json(&client, "POST", &bindings, &binding).await?, 201);

    let claim = json!({"kind": "ResourceClaim", "apiVersion": "resource.k8s.io/v1",
        "metadata": {"name": "c"}, "spec": {"devices": {"requests": [
            {"name": "r", "exactly": {"deviceClassName": "a"}}]}}});
    let mut claim = expect(&send_json(&client, "POST", CLAIMS, &claim).await?, 201);
    let status = format!("{CLAIMS}/c/status");
    let results: Vec<Value> = ["own", "other"]
        .iter()
        .map(|driver| {
            json!({"request": "r", "driver": format!("{driver}.example.com"), "pool": "p",
                "device": "d"})
        })
        .collect();
    claim["status"]["allocation"] = json!({"devices": {"results": results}});
    let driver = server.client_for("driver", &[])?;
    // The index of roles follows a moment later.
    let mut tries = 0;
    let refused = loop {
        let answer = send_json(&driver, "PUT", &status, &claim).await?;
        tries += 1;
        if answer.code != 403 || tries == 1000 {
            break expect(&answer, 422);
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        refused["message"],
        "ResourceClaim.resource.k8s.io \"c\" is invalid: status: Forbidden: changing \
         status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", \
         verb=\"update\" permission: resourceclaims.resource.k8s.io is forbidden: User \
         \"driver\" cannot update resource \"resourceclaims/binding\" in API group \
         \"resource.k8s.io\" at the cluster scope"
    );
    let mut claim = expect(&send_json(&client, "PUT", &status, &claim).await?, 200);
    let device = |driver: &str| json!({"driver": driver, "pool": "p", "device": "d"});
    claim["status"]["devices"] = json!([device("other.example.com")]);
    let refused = expect(&send_json(&driver, "PUT", &status, &claim).await?, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    let want = "status.devices: Forbidden: changing status.devices requires \
                resource=\"resourceclaims/driver\", verb=\"[arbitrary-node:update]\" permission: \
                resourceclaims.resource.k8s.io \"other.example.com\" is forbidden";
    assert!(message.contains(want), "{message}");
    claim["status"]["devices"] = json!([device("own.example.com")]);
    expect(&send_json(&driver, "PUT", &status, &claim).await?, 200);
    Ok(())
}
