//! Custom resources that come while the controllers run.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::world::{World, object, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_go_with_their_owners_and_namespaces() {
    let world = World::start(false).await;
    let client = &world.client;
    let params = PostParams::default();
    let definition: CustomResourceDefinition = object(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.ex.io"},
        "spec": {
            "group": "ex.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }));
    Api::all(client.clone()).create(&params, &definition).await.unwrap();
    let kind = GroupVersionKind::gvk("ex.io", "v1", "Widget");
    let resource = ApiResource::from_gvk_with_plural(&kind, "widgets");
    let in_namespace = |namespace: &str| -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &resource)
    };
    let widgets = in_namespace("default");
    let widget = |name: &str| DynamicObject::new(name, &resource);
    // Served as soon as it is established.
    let owner = until(|| async { widgets.create(&params, &widget("owner")).await.ok() }).await;
    let owners =
        json!([{"apiVersion": "ex.io/v1", "kind": "Widget", "name": "owner", "uid": owner.uid()}]);
    let mut part = widget("part");
    part.metadata.owner_references = Some(object(owners.clone()));
    widgets.create(&params, &part).await.unwrap();
    let config_maps: Api<ConfigMap> = world.api("default");
    let own = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "part", "ownerReferences": owners}});
    config_maps.create(&params, &object(own)).await.unwrap();

    widgets.delete("owner", &DeleteParams::default()).await.unwrap();
    until(|| async { widgets.get_opt("part").await.unwrap().is_none().then_some(()) }).await;
    until(|| async { config_maps.get_opt("part").await.unwrap().is_none().then_some(()) }).await;

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    namespaces.create(&params, &object(namespace)).await.unwrap();
    in_namespace("n").create(&params, &widget("a")).await.unwrap();
    widgets.create(&params, &widget("elsewhere")).await.unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    until(|| async { namespaces.get_opt("n").await.unwrap().is_none().then_some(()) }).await;
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let left = all.list(&ListParams::default()).await.unwrap();
    let left: Vec<String> = left.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, ["elsewhere"]);
}
