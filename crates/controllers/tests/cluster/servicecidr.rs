use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::world::{World, object, until};

async fn ready(cidrs: &Api<ServiceCIDR>, name: &str) -> Option<Condition> {
    let conditions = cidrs.get(name).await.unwrap().status?.conditions?;
    conditions.into_iter().find(|condition| condition.type_ == "Ready")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_service_addresses_stays_while_a_service_uses_it() {
    let world = World::start_with(false, true).await;
    let cidrs: Api<ServiceCIDR> = Api::all(world.client.clone());
    let services: Api<Service> = world.api("default");
    let params = PostParams::default();
    let range = object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "extra"}, "spec": {"cidrs": ["10.200.0.0/24"]},
    }));
    cidrs.create(&params, &range).await.unwrap();
    until(|| async { (ready(&cidrs, "extra").await?.status == "True").then_some(()) }).await;
    let finalizers = cidrs.get("extra").await.unwrap().metadata.finalizers;
    assert_eq!(finalizers.unwrap(), ["networking.k8s.io/service-cidr-finalizer"]);
    let service = object(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "10.200.0.5", "ports": [{"port": 80}]},
    }));
    until(|| async { services.create(&params, &service).await.ok() }).await;

    let delete = DeleteParams::default();
    cidrs.delete("extra", &delete).await.unwrap();
    let blocked = until(|| async {
        ready(&cidrs, "extra").await.filter(|condition| condition.status == "False")
    })
    .await;
    assert_eq!(blocked.reason, "Terminating");
    services.delete("s", &delete).await.unwrap();
    until(|| async { cidrs.get_opt("extra").await.unwrap().is_none().then_some(()) }).await;
    // The range of the server's own flags is nobody's to lose.
    assert_eq!(ready(&cidrs, "kubernetes").await.unwrap().status, "True");
}
