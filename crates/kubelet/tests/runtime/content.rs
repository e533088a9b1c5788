//! Volumes and environment from a real API server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kubelet::cri::Runtime;
use kubelet::env::{EnvContext, build};
use kubelet::objects::Objects;
use kubelet::seam::{PodIps, pod_uid};
use kubelet::token::Tokens;
use kubelet::volumes::{ImageMounts, VolumeManager, VolumeOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::ApiServer;

use crate::harness::NoSources;

async fn create<K>(client: &kube::Client, object: Value) -> K
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let object: K = serde_json::from_value(object).unwrap();
    let api = Api::<K>::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &object).await.unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_reach_volumes_and_environment_and_follow_changes() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("needs root for mounts");
        return;
    }
    let server = ApiServer::start().await.unwrap();
    let client = server.client().unwrap();
    // A kubelet may read only what its own Pods refer to.
    let own = server.client_for("system:node:w1", &["system:nodes"]).unwrap();
    let _: k8s_openapi::api::core::v1::ServiceAccount =
        create(&client, json!({ "metadata": { "name": "default" } })).await;
    let _: ConfigMap = create(
        &client,
        json!({ "metadata": { "name": "settings" }, "data": { "color": "red", "deep": "x" } }),
    )
    .await;
    let _: k8s_openapi::api::core::v1::Secret = create(
        &client,
        json!({ "metadata": { "name": "keys" }, "stringData": { "password": "secret" } }),
    )
    .await;
    let pod: Pod = create(
        &client,
        json!({
            "metadata": { "name": "p" },
            "spec": {
                "nodeName": "w1",
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "c", "image": "busybox",
                    "envFrom": [{ "prefix": "S_", "configMapRef": { "name": "settings" } }],
                    "env": [
                        { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "password" } } },
                        { "name": "NONE", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "none", "optional": true } } },
                    ],
                    "volumeMounts": [
                        { "name": "settings", "mountPath": "/settings" },
                        { "name": "all", "mountPath": "/all" },
                    ],
                }],
                "volumes": [
                    { "name": "settings", "configMap": { "name": "settings" } },
                    { "name": "all", "projected": { "defaultMode": 0o400, "sources": [
                        { "serviceAccountToken": { "path": "token", "audience": "vault" } },
                        { "secret": { "name": "keys", "items": [{ "key": "password", "path": "deep/pw" }] } },
                        { "downwardAPI": { "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.name" } }] } },
                        { "configMap": { "name": "absent", "optional": true } },
                    ] } },
                ],
            },
        }),
    )
    .await;
    let pod = Arc::new(pod);
    let root = tempfile::tempdir().unwrap();
    let objects = Objects::new(Some(own.clone()));
    objects.register(&pod);
    let volumes = VolumeManager::new(VolumeOptions {
        root_dir: root.path().to_owned(),
        node_name: "w1".into(),
        client: Some(own.clone()),
        objects: objects.clone(),
        tokens: Tokens::new(Some(own.clone())),
        sources: Arc::new(NoSources),
        runtime: Runtime::new("/nonexistent").unwrap(),
    });
    let ips = PodIps::default();
    let context = EnvContext { node_name: "w1", ips: &ips, objects: &objects, sources: &NoSources };
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let environment = build(&pod, container, &context).await.unwrap();
    let lines: Vec<String> =
        environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(lines, ["S_color=red", "S_deep=x", "PASSWORD=secret"]);

    let mounted = volumes.mount(&pod, &ips).await.unwrap();
    let mounts = mounted.mounts(&pod, container, &environment, &ImageMounts::new()).unwrap();
    let (settings, all) =
        (PathBuf::from(&mounts[0].host_path), PathBuf::from(&mounts[1].host_path));
    assert_eq!(read(&settings.join("color")), "red");
    assert_eq!(read(&all.join("deep/pw")), "secret");
    assert_eq!(read(&all.join("name")), "p");
    assert_eq!(read(&all.join("token")).split('.').count(), 3, "a JSON web token");

    let api = Api::<ConfigMap>::namespaced(client.clone(), "default");
    let patch = Patch::Merge(json!({ "data": { "color": "blue", "deep": null } }));
    api.patch("settings", &PatchParams::default(), &patch).await.unwrap();
    // Nothing but the watch tells the volume.
    let changed = async {
        while read(&settings.join("color")) != "blue" || settings.join("deep").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.expect("the volume follows");

    objects.unregister(&pod);
    volumes.unmount(&pod_uid(&pod)).await.unwrap();
    assert!(!root.path().join("pods").join(pod_uid(&pod).to_string()).exists());

    let missing: Pod = create(
        &client,
        json!({
            "metadata": { "name": "q" },
            "spec": { "nodeName": "w1", "containers": [{ "name": "c", "image": "busybox",
                "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "none" } } }],
                "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }],
                "volumes": [{ "name": "v", "secret": { "secretName": "absent" } }] },
        }),
    )
    .await;
    let missing = Arc::new(missing);
    objects.register(&missing);
    let error = volumes.mount(&missing, &ips).await.unwrap_err();
    assert_eq!(
        (error.volume.as_str(), error.to_string().as_str()),
        ("v", "secret \"absent\" not found")
    );
    let container = &missing.spec.as_ref().unwrap().containers[0];
    let error = build(&missing, container, &context).await.unwrap_err();
    assert_eq!(error.to_string(), "couldn't find key none in ConfigMap default/settings");
    volumes.unmount(&pod_uid(&missing)).await.unwrap();
}
