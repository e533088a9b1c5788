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
    let refused = expect(&send(&client, "PATCH", &resized, &strategic, resize("600m")).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"bound\" is forbidden: pod update requires features GuaranteedQoSPodCPUResize \
         which are not available on node \"n\""
    );
    let features = json!({"status": {"declaredFeatures": ["GuaranteedQoSPodCPUResize"]}});
    let status = format!("{NODES}/n/status");
    expect(&send(&client, "PATCH", &status, &MERGE, features.to_string()).await?, 200);
    expect(&send(&client, "PATCH", &resized, &strategic, resize("600m")).await?, 200);
    let refused = expect(&send(&client, "PATCH", &resized, &strategic, resize("2")).await?, 403);
    assert_eq!(
        refused["message"],
        "pods \"bound\" is forbidden: Node didn't have enough allocatable resources: cpu, \
         requested: 2000, allocatable: 1000"
    );
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
    limitedResources: [{resource: configmaps, matchContains: [count/configmaps]}]
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

    let map = fixtures::config_map("m", "k", "v");
    let refused = expect(&send_json(&client, "POST", crate::CONFIG_MAPS, &map).await?, 403);
    assert_eq!(
        refused["message"],
        "configmaps \"m\" is forbidden: insufficient quota to consume: count/configmaps"
    );
    Ok(())
}
