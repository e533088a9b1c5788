//! Telling the API that this node exists.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::facts;

/// Annotation: volumes are attached by the controller.
const ATTACH: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// First wait between tries; doubles up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait between tries; a cluster that comes up should not wait for its nodes.
const MAX_RETRY: Duration = Duration::from_millis(400);

/// What the node says of itself when it registers.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Name of the node.
    pub node_name: String,
    /// Host name, for the label.
    pub hostname: String,
    /// Labels from the command line.
    pub labels: BTreeMap<String, String>,
    /// Taints of a new node.
    pub taints: Vec<Taint>,
    /// Whether the scheduler may use a new node.
    pub schedulable: bool,
}

// === impl Registration ===

impl Registration {
    /// Registers, trying until it works or shutdown.
    pub async fn run(&self, client: kube::Client, shutdown: &CancellationToken) {
        let api: kube::Api<Node> = kube::Api::all(client);
        let mut pause = RETRY;
        let mut told = false;
        while let Err(error) = self.register(&api).await {
            if told {
                tracing::debug!(%error, "node not registered yet");
            } else {
                tracing::warn!(%error, "node not registered yet");
                told = true;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
            pause = (pause * 2).min(MAX_RETRY);
        }
    }

    async fn register(&self, api: &kube::Api<Node>) -> Result<(), kube::Error> {
        match api.create(&PostParams::default(), &self.node()).await {
            Ok(_) => {
                tracing::info!(node = self.node_name, "registered node");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => self.reconcile(api).await,
            // Forbidden from creating does not mean absent.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                api.get(&self.node_name).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// A node that was there before keeps its taints, and gets the labels that it should have.
    async fn reconcile(&self, api: &kube::Api<Node>) -> Result<(), kube::Error> {
        let found = api.get(&self.node_name).await?;
        let old = found.metadata.labels.unwrap_or_default();
        let missing: BTreeMap<String, String> = self
            .all_labels()
            .into_iter()
            .filter(|(key, value)| old.get(key) != Some(value))
            .collect();
        let annotated =
            found.metadata.annotations.is_some_and(|a| a.get(ATTACH).is_some_and(|v| v == "true"));
        if missing.is_empty() && annotated {
            return Ok(());
        }
        let patch = json!({"metadata": {"labels": missing, "annotations": {ATTACH: "true"}}});
        api.patch(&self.node_name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
        Ok(())
    }

    fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for prefix in ["beta.kubernetes.io", "kubernetes.io"] {
            labels.insert(format!("{prefix}/arch"), facts::architecture().to_owned());
            labels.insert(format!("{prefix}/os"), "linux".to_owned());
        }
        labels.insert("kubernetes.io/hostname".to_owned(), self.hostname.clone());
        labels.extend(self.labels.clone());
        labels
    }

    fn node(&self) -> Node {
        Node {
            metadata: ObjectMeta {
                name: Some(self.node_name.clone()),
                labels: Some(self.all_labels()),
                annotations: Some(BTreeMap::from([(ATTACH.to_owned(), "true".to_owned())])),
                ..Default::default()
            },
            spec: Some(NodeSpec {
                taints: (!self.taints.is_empty()).then(|| self.taints.clone()),
                unschedulable: (!self.schedulable).then_some(true),
                ..Default::default()
            }),
            status: None,
        }
    }
}
