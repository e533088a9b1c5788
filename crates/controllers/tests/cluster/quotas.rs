use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::world::{World, object, until};

/// Waits until this much of the quota `q` is used.
async fn used(quotas: &Api<ResourceQuota>, resource: &str, amount: &str) {
    until(|| async {
        let used = quotas.get("q").await.unwrap().status?.used?;
        (used.get(resource)?.0 == amount).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_is_charged_and_what_is_given_back_is_free_again() {
    let world = World::start_with(false, true).await;
    let (quotas, maps): (Api<ResourceQuota>, Api<ConfigMap>) =
        (world.api("default"), world.api("default"));
    let (create, delete) = (PostParams::default(), DeleteParams::default());
    // The root certificate's publisher makes one of its own.
    until(|| async { maps.get_opt("kube-root-ca.crt").await.unwrap() }).await;
    let quota = object(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"configmaps": "2", "count/configmaps": "2", "pods": "5"}},
    }));
    quotas.create(&create, &quota).await.unwrap();
    used(&quotas, "configmaps", "1").await;
    used(&quotas, "pods", "0").await;
    let map = |name: &str| object::<ConfigMap>(json!({"metadata": {"name": name}}));
    maps.create(&create, &map("a")).await.unwrap();
    let refused = maps.create(&create, &map("b")).await.unwrap_err().to_string();
    assert!(refused.contains("exceeded quota: q, requested: configmaps=1"), "{refused}");
    used(&quotas, "count/configmaps", "2").await;
    maps.delete("a", &delete).await.unwrap();
    used(&quotas, "configmaps", "1").await;
    used(&quotas, "count/configmaps", "1").await;
    maps.create(&create, &map("b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_stays_while_a_pod_on_a_node_uses_it() {
    let world = World::start_with(true, true).await;
    let (claims, pods): (Api<PersistentVolumeClaim>, Api<Pod>) =
        (world.api("default"), world.api("default"));
    let (create, delete) = (PostParams::default(), DeleteParams::default());
    let claim = object(json!({
        "metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}));
    claims.create(&create, &claim).await.unwrap();
    let pod = object::<Pod>(json!({
        "metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}));
    // Its service account has to be there first.
    until(|| async { pods.create(&create, &pod).await.ok() }).await;
    until(|| async { pods.get("p").await.unwrap().spec?.node_name }).await;
    claims.delete("c", &delete).await.unwrap();
    let waiting = claims.get("c").await.unwrap();
    assert!(waiting.metadata.deletion_timestamp.is_some());
    pods.delete("p", &delete).await.unwrap();
    until(|| async { claims.get_opt("c").await.unwrap().is_none().then_some(()) }).await;
}
