use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::world::{World, object, until};

const NS: &str = "default";

fn web(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "v1", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

async fn patch(world: &World, change: Value) {
    let api: Api<Deployment> = world.api(NS);
    api.patch("web", &PatchParams::default(), &Patch::Strategic(&change)).await.unwrap();
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
}

/// Waits for the end of the rollout as `kubectl rollout status` does.
async fn rolled_out(world: &World, replicas: i32) -> Deployment {
    let api: Api<Deployment> = world.api(NS);
    until(|| async {
        let found = api.get("web").await.unwrap();
        let status = found.status.clone().unwrap_or_default();
        let done = status.observed_generation >= found.metadata.generation
            && [status.replicas, status.updated_replicas, status.available_replicas]
                .iter()
                .all(|count| count.unwrap_or(0) == replicas);
        done.then_some(found)
    })
    .await
}

async fn names<K>(api: &Api<K>) -> Vec<String>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(ResourceExt::name_any).collect()
}

async fn create(world: &World, replicas: i32) {
    let api: Api<Deployment> = world.api(NS);
    api.create(&PostParams::default(), &object(web(replicas))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives_from_rollout_to_cascade() {
    let world = World::start(true).await;
    create(&world, 3).await;
    let deployment = rolled_out(&world, 3).await;
    assert_eq!(deployment.annotations()["deployment.kubernetes.io/revision"], "1");
    let sets: Api<ReplicaSet> = world.api(NS);
    let pods: Api<Pod> = world.api(NS);
    assert_eq!((names(&sets).await.len(), names(&pods).await.len()), (1, 3));

    patch(&world, image("v2")).await;
    rolled_out(&world, 3).await;
    let images: Vec<_> = pods.list(&ListParams::default()).await.unwrap().items;
    until(|| async { (names(&pods).await.len() == 3).then_some(()) }).await;
    assert!(!images.is_empty());
    assert_eq!(names(&sets).await.len(), 2);

    patch(&world, image("v1")).await;
    let undone = rolled_out(&world, 3).await;
    assert_eq!(undone.annotations()["deployment.kubernetes.io/revision"], "3");
    assert_eq!(names(&sets).await.len(), 2);

    patch(&world, json!({"spec": {"replicas": 1}})).await;
    rolled_out(&world, 1).await;
    until(|| async { (names(&pods).await.len() == 1).then_some(()) }).await;

    let events: Api<Event> = world.api(NS);
    let told = until(|| async {
        let list = events.list(&ListParams::default()).await.unwrap();
        let told: Vec<String> = list.items.into_iter().filter_map(|e| e.message).collect();
        told.iter().any(|m| m.ends_with("from 3 to 1")).then_some(told)
    })
    .await;
    assert!(
        told.iter()
            .any(|m| m.starts_with("Scaled up replica set web-") && m.ends_with("from 0 to 3"))
    );
    assert!(told.iter().any(|m| m.starts_with("Created pod: web-")));

    let deployments: Api<Deployment> = world.api(NS);
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    until(|| async {
        (names(&sets).await.is_empty() && names(&pods).await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_in_the_foreground_and_orphaning() {
    let world = World::start(true).await;
    let deployments: Api<Deployment> = world.api(NS);
    let sets: Api<ReplicaSet> = world.api(NS);
    let pods: Api<Pod> = world.api(NS);
    create(&world, 2).await;
    rolled_out(&world, 2).await;
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    deployments.delete("web", &params).await.unwrap();
    until(|| async { deployments.get_opt("web").await.unwrap().is_none().then_some(()) }).await;
    let left = sets.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.len(), 1);
    assert!(left[0].metadata.owner_references.is_none());
    assert_eq!(names(&pods).await.len(), 2);

    create(&world, 2).await;
    rolled_out(&world, 2).await;
    assert_eq!(names(&sets).await.len(), 1, "the orphan is adopted again");

    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    until(|| async { deployments.get_opt("web").await.unwrap().is_none().then_some(()) }).await;
    assert!(names(&sets).await.is_empty() && names(&pods).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_find_their_pods_and_lost_pods_are_replaced() {
    let world = World::start(true).await;
    create(&world, 2).await;
    let services: Api<Service> = world.api(NS);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    services.create(&PostParams::default(), &object(service)).await.unwrap();
    let slices: Api<EndpointSlice> = world.api(NS);
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    let ready = || async {
        let items = slices.list(&of_web).await.unwrap().items;
        let mut uids: Vec<String> = items
            .iter()
            .flat_map(|slice| slice.endpoints.iter().flatten())
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true))
            .filter_map(|e| e.target_ref.as_ref()?.uid.clone())
            .collect();
        uids.sort();
        uids
    };
    let before = until(|| async { Some(ready().await).filter(|r| r.len() == 2) }).await;
    let endpoints: Api<Endpoints> = world.api(NS);
    until(|| async {
        let found = endpoints.get_opt("web").await.unwrap()?;
        let addresses = found.subsets?.first()?.addresses.clone()?;
        (addresses.len() == 2).then_some(())
    })
    .await;

    let pods: Api<Pod> = world.api(NS);
    let victim = names(&pods).await[0].clone();
    pods.delete(&victim, &DeleteParams::default()).await.unwrap();
    until(|| async { Some(ready().await).filter(|now| now.len() == 2 && *now != before) }).await;
    assert_eq!(slices.list(&of_web).await.unwrap().items.len(), 1);

    services.delete("web", &DeleteParams::default()).await.unwrap();
    until(|| async { slices.list(&of_web).await.unwrap().items.is_empty().then_some(()) }).await;
    until(|| async { endpoints.get_opt("web").await.unwrap().is_none().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_written_by_hand_are_mirrored() {
    let world = World::start(false).await;
    let services: Api<Service> = world.api(NS);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "ext"},
        "spec": {"ports": [{"port": 80}]},
    });
    services.create(&PostParams::default(), &object(service)).await.unwrap();
    let endpoints: Api<Endpoints> = world.api(NS);
    let by_hand = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "ext"},
        "subsets": [{"addresses": [{"ip": "192.0.2.10"}], "ports": [{"port": 8080}]}],
    });
    endpoints.create(&PostParams::default(), &object(by_hand)).await.unwrap();
    let slices: Api<EndpointSlice> = world.api(NS);
    let of_ext = ListParams::default().labels("kubernetes.io/service-name=ext");
    let mirror = until(|| async { slices.list(&of_ext).await.unwrap().items.pop() }).await;
    assert_eq!(mirror.endpoints.unwrap()[0].addresses, ["192.0.2.10"]);
    endpoints.delete("ext", &DeleteParams::default()).await.unwrap();
    until(|| async { slices.list(&of_ext).await.unwrap().items.is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_furnished_and_emptied() {
    let world = World::start_with(true, true).await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let team = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    namespaces.create(&PostParams::default(), &object(team)).await.unwrap();
    let accounts: Api<ServiceAccount> = world.api("team");
    let maps: Api<ConfigMap> = world.api("team");
    until(|| async { accounts.get_opt("default").await.unwrap() }).await;
    let root = until(|| async { maps.get_opt("kube-root-ca.crt").await.unwrap() }).await;
    assert!(root.data.unwrap()["ca.crt"].contains("BEGIN CERTIFICATE"));

    let deployments: Api<Deployment> = world.api("team");
    deployments.create(&PostParams::default(), &object(web(2))).await.unwrap();
    let pods: Api<Pod> = world.api("team");
    until(|| async { (names(&pods).await.len() == 2).then_some(()) }).await;
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    until(|| async { namespaces.get_opt("team").await.unwrap().is_none().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_carry_on_after_the_api_server_restarts() {
    let mut world = World::start(true).await;
    create(&world, 1).await;
    rolled_out(&world, 1).await;
    // In one process the store's file is free only when the last request of the old server ended.
    while world.server.restart().await.is_err() {
        tokio::task::yield_now().await;
    }
    patch(&world, json!({"spec": {"replicas": 3}})).await;
    rolled_out(&world, 3).await;
}
