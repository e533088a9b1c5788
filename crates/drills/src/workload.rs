//! The workloads that drills run: Pods of the process that does nothing, which every node of every
//! cluster has the image of.

use cluster::image::PAUSE_IMAGE;
use serde_json::{Value, json};

/// The label that names the workload of a Pod.
pub(crate) const APP: &str = "app";

/// What runs a workload's Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pod,
    Deployment,
    StatefulSet,
}

/// A workload to make.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    kind: Kind,
    pub(crate) name: &'static str,
    replicas: usize,
    node: Option<String>,
    patience: Option<u32>,
}

// === impl Workload ===

impl Workload {
    fn new(kind: Kind, name: &'static str, replicas: usize) -> Self {
        Self { kind, name, replicas, node: None, patience: None }
    }

    /// A Pod that belongs to nobody.
    pub(crate) fn pod(name: &'static str) -> Self {
        Self::new(Kind::Pod, name, 1)
    }

    /// A Deployment.
    pub(crate) fn deployment(name: &'static str, replicas: usize) -> Self {
        Self::new(Kind::Deployment, name, replicas)
    }

    /// A StatefulSet.
    pub(crate) fn stateful_set(name: &'static str, replicas: usize) -> Self {
        Self::new(Kind::StatefulSet, name, replicas)
    }

    /// Its Pods go to this node and no other.
    pub(crate) fn on(self, node: &str) -> Self {
        Self { node: Some(node.to_owned()), ..self }
    }

    /// Its Pods stay so many seconds on a node that is not ready or cannot be reached, rather than
    /// the 300 that admission gives them.
    pub(crate) fn tolerating(self, seconds: u32) -> Self {
        Self { patience: Some(seconds), ..self }
    }

    /// Plural name and group of its resource.
    pub(crate) fn path(&self, namespace: &str) -> String {
        match self.kind {
            Kind::Pod => format!("/api/v1/namespaces/{namespace}/pods"),
            Kind::Deployment => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            Kind::StatefulSet => format!("/apis/apps/v1/namespaces/{namespace}/statefulsets"),
        }
    }

    /// What is done by making it, in words.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.kind {
            Kind::Pod => "pod",
            Kind::Deployment => "deployment",
            Kind::StatefulSet => "statefulset",
        };
        let mut text = format!("kubectl create {kind} {}", self.name);
        if self.kind != Kind::Pod {
            text.push_str(&format!(" --replicas={}", self.replicas));
        }
        if let Some(node) = &self.node {
            text.push_str(&format!(", for node {node} only"));
        }
        if let Some(seconds) = self.patience {
            text.push_str(&format!(", which leaves a lost node after {seconds} s"));
        }
        text
    }

    /// The object.
    pub(crate) fn manifest(&self) -> Value {
        let labels = json!({APP: self.name});
        let template = json!({"metadata": {"labels": labels}, "spec": self.pod_spec()});
        let spec = json!({
            "replicas": self.replicas,
            "selector": {"matchLabels": labels},
            "template": template,
        });
        let metadata = json!({"name": self.name, "labels": labels});
        match self.kind {
            Kind::Pod => json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.pod_spec(),
            }),
            Kind::Deployment => json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec,
            }),
            Kind::StatefulSet => json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec,
            }),
        }
    }

    fn pod_spec(&self) -> Value {
        const HOST: &str = "kubernetes.io/hostname";
        let mut spec = json!({
            "containers": [{
                "name": "pause",
                "image": PAUSE_IMAGE,
                "resources": {"requests": {"cpu": "5m", "memory": "1Mi"}},
            }],
        });
        if let Some(node) = &self.node {
            spec["nodeSelector"] = json!({HOST: node});
        }
        if let Some(seconds) = self.patience {
            let toleration = |key: &str| {
                json!({
                    "key": format!("node.kubernetes.io/{key}"), "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": seconds,
                })
            };
            spec["tolerations"] = json!([toleration("not-ready"), toleration("unreachable")]);
        }
        spec
    }
}
