//! The `kube` crate does real work against a cluster: objects, watches, apply, exec, port-forward.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{
    Api, AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Client, Config, ResourceExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::{BUSYBOX, Namespace};

async fn client(space: &Namespace) -> Client {
    let kubeconfig = Kubeconfig::read_from(&space.cluster.kubeconfig).unwrap();
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn is_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn config_map(name: &str, data: serde_json::Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
}

#[tokio::test]
async fn objects_are_made_watched_patched_and_applied() {
    let space = Namespace::new("library");
    let api: Api<ConfigMap> = Api::namespaced(client(&space).await, &space.name);
    let start = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();

    let made =
        api.create(&PostParams::default(), &config_map("a", json!({"k": "1"}))).await.unwrap();
    let merge = Patch::Merge(json!({"data": {"k": "2"}}));
    let patched = api.patch("a", &PatchParams::default(), &merge).await.unwrap();
    assert_eq!(patched.data.unwrap()["k"], "2");
    let stale = api.replace("a", &PostParams::default(), &made).await.unwrap_err();
    assert!(matches!(&stale, kube::Error::Api(status) if status.is_conflict()), "{stale}");

    let apply = |manager: &str, data: serde_json::Value| {
        let (api, params) = (api.clone(), PatchParams::apply(manager));
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
        async move { api.patch("a", &params, &Patch::Apply(body)).await }
    };
    apply("one", json!({"own": "1"})).await.unwrap();
    let refused = apply("two", json!({"own": "2"})).await.unwrap_err();
    assert!(refused.to_string().contains("conflict with \"one\""), "{refused}");
    let params = PatchParams::apply("two").force();
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"own": "2"},
    });
    let taken = api.patch("a", &params, &Patch::Apply(body)).await.unwrap();
    assert_eq!(taken.data.unwrap()["own"], "2");
    api.delete("a", &DeleteParams::default()).await.unwrap();

    let selected = WatchParams::default().fields("metadata.name=a");
    let mut events = api.watch(&selected, &start).await.unwrap().boxed();
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await.unwrap() {
        let (kind, object) = match event {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => {
                assert_eq!(object.uid(), made.uid());
                break;
            }
            other => panic!("{other:?}"),
        };
        let data = object.data.unwrap_or_default();
        seen.push((kind, data["k"].clone(), data.get("own").cloned()));
    }
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        seen,
        [
            ("added", "1".to_owned(), None),
            ("modified", "2".to_owned(), None),
            ("modified", "2".to_owned(), text("1")),
            ("modified", "2".to_owned(), text("2")),
        ]
    );
}

#[tokio::test]
async fn containers_are_entered_and_reached() {
    let space = Namespace::new("enter");
    let client = client(&space).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &space.name);
    // No Pod before the namespace has its account.
    let exists = |account: Option<&ServiceAccount>| account.is_some();
    await_condition(accounts, "default", exists).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, &space.name);
    let script = "mkdir -p /www; echo reached > /www/index.html; httpd -f -p 8080 -h /www";
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "shell"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "c", "image": BUSYBOX, "command": ["sh", "-c", script],
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            }],
        },
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    await_condition(pods.clone(), "shell", is_ready).await.unwrap();

    let params = AttachParams::default().stdin(true).stderr(false);
    let mut process = pods.exec("shell", ["cat"], &params).await.unwrap();
    let mut input = process.stdin().unwrap();
    let mut output = process.stdout().unwrap();
    input.write_all(b"there and back\n").await.unwrap();
    let mut line = [0; 15];
    output.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"there and back\n");
    process.abort();

    let mut failed =
        pods.exec("shell", ["sh", "-c", "exit 3"], &AttachParams::default()).await.unwrap();
    let status = failed.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");

    let mut forward = pods.portforward("shell", &[8080]).await.unwrap();
    let mut stream = forward.take_stream(8080).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("200 OK") && answer.ends_with("reached\n"), "{answer}");
}
