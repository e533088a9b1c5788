//! An API server, the controllers, and a small kubelet that makes Pods run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use client::{Event, Informer, WorkQueue};
use controllers::Config;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use testkit::ApiServer;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What runs for one test.
pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
    _stop: DropGuard,
}

impl World {
    /// Starts everything; `kubelet` says whether Pods are made to run.
    pub(crate) async fn start(kubelet: bool) -> Self {
        Self::start_with(kubelet, false).await
    }

    /// The same, each controller with a service account of its own.
    pub(crate) async fn start_with(kubelet: bool, own_accounts: bool) -> Self {
        // The Endpoints of the `kubernetes` Service may not be loopback addresses.
        let server = ApiServer::start_on(([127, 0, 0, 1], 0).into(), |config| {
            config.advertise = [192, 0, 2, 1].into();
        })
        .await
        .unwrap();
        let user = "system:kube-controller-manager";
        let path: PathBuf = server.folder().join("controller-manager.conf");
        std::fs::write(&path, server.kubeconfig_for(user, &[]).unwrap()).unwrap();
        let client = server.client().unwrap();
        let stop = CancellationToken::new();
        let config = Config {
            kubeconfig: Some(path),
            ops_address: None,
            root_ca_file: Some(server.folder().join("ca.crt")),
            cluster_signing: Some((server.folder().join("ca.crt"), server.folder().join("ca.key"))),
            use_service_account_credentials: own_accounts,
            ..Config::default()
        };
        tokio::spawn(controllers::run(config, stop.clone()));
        if kubelet {
            tokio::spawn(run_pods(client.clone(), stop.clone()));
        }
        Self { server, client, _stop: stop.drop_guard() }
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Waits until `look` gives something. Never judges by time: a test that waits in vain is ended
/// by the test runner.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    loop {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An object of any kind from JSON.
pub(crate) fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Plays kubelet and scheduler: Pods get a node and an address and become ready, deleted ones
/// end at once.
async fn run_pods(client: Client, stop: CancellationToken) {
    let pods: Informer<Pod> = Informer::builder(Api::all(client.clone())).start(&stop);
    let queue: WorkQueue<(String, String)> = WorkQueue::new();
    let adder = queue.clone();
    pods.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            let pod = event.object();
            adder.add((pod.namespace().unwrap(), pod.name_any()));
        }
    });
    let addresses = Arc::new(AtomicU8::new(1));
    client::run_workers(queue, 4, stop, |(namespace, name)| {
        let pod = pods.get(Some(&namespace), &name);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let addresses = Arc::clone(&addresses);
        async move {
            let Some(pod) = pod else { return Ok(client::Action::Done) };
            advance(&api, &pod, &addresses).await?;
            Ok::<_, kube::Error>(client::Action::Done)
        }
    })
    .await;
}

async fn advance(api: &Api<Pod>, pod: &Pod, addresses: &AtomicU8) -> Result<(), kube::Error> {
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let gone = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
        return match gone {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        };
    }
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.node_name.is_none() {
        let pinned = spec.affinity.and_then(|a| a.node_affinity).and_then(|a| {
            let required = a.required_during_scheduling_ignored_during_execution?;
            required.node_selector_terms.first()?.match_fields.as_ref()?.first()?.values.clone()
        });
        let node = pinned.and_then(|v| v.first().cloned()).unwrap_or_else(|| "w1".to_owned());
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let params = PostParams::default();
        let _: Value = api.create_subresource("binding", &name, &params, &binding).await?;
        return Ok(());
    }
    let status = pod.status.clone().unwrap_or_default();
    let image = spec.containers[0].image.clone().unwrap_or_default();
    if status.phase.as_deref() == Some("Pending") && image != "broken" {
        let ip = format!("10.244.0.{}", addresses.fetch_add(1, Ordering::Relaxed));
        let patch = json!({"status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }});
        api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    }
    Ok(())
}
