//! A node's conditions and taints, as `kubectl describe node` shows them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use super::{Seen, Shown};

/// A node, and what was demanded of it.
#[derive(Clone, Debug)]
pub(crate) struct NodeSight {
    node: Arc<Node>,
    rows: Vec<String>,
}

// === impl NodeSight ===

impl NodeSight {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, rows: Vec::new() }
    }

    fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// A condition has this status and reason, and its message holds `words`.
    pub(crate) fn condition(
        mut self,
        type_: &str,
        status: &str,
        reason: &str,
        words: &str,
    ) -> Seen<Self> {
        let conditions = self.node.status.as_ref().and_then(|s| s.conditions.as_ref());
        let Some(found) = conditions.into_iter().flatten().find(|c| c.type_ == type_) else {
            return Err(format!("node {} has no condition {type_}", self.name()));
        };
        let (because, message) =
            (found.reason.clone().unwrap_or_default(), found.message.clone().unwrap_or_default());
        let row = format!("node/{}  {type_}={}  {because}  {message}", self.name(), found.status);
        if found.status == status && because == reason && message.contains(words) {
            self.rows.push(row);
            return Ok(self);
        }
        Err(row)
    }

    /// It is Ready.
    pub(crate) fn ready(self) -> Seen<Self> {
        self.condition("Ready", "True", "KubeletReady", "")
    }

    /// Its kubelet has said nothing for so long that nobody knows how it is.
    pub(crate) fn silent(self) -> Seen<Self> {
        let words = "Kubelet stopped posting node status.";
        self.condition("Ready", "Unknown", "NodeStatusUnknown", words)
    }

    /// It has a taint.
    pub(crate) fn tainted(mut self, key: &str, effect: &str) -> Seen<Self> {
        let taints = self.taints();
        let wanted = format!("{key}:{effect}");
        if taints.contains(&wanted) {
            self.rows.push(format!("node/{}  taint {wanted}", self.name()));
            return Ok(self);
        }
        Err(format!("node {} has the taints [{}]", self.name(), taints.join(", ")))
    }

    /// It has no taint but that of a control plane.
    pub(crate) fn untainted(self) -> Seen<Self> {
        let mut taints = self.taints();
        taints.retain(|taint| !taint.starts_with("node-role.kubernetes.io/control-plane:"));
        if taints.is_empty() {
            return Ok(self);
        }
        Err(format!("node {} has the taints [{}]", self.name(), taints.join(", ")))
    }

    /// It has booted since `before` was seen.
    pub(crate) fn rebooted_since(mut self, before: &Self) -> Seen<Self> {
        let boot = |node: &Node| {
            let info = node.status.as_ref().and_then(|s| s.node_info.as_ref());
            info.map(|info| info.boot_id.clone()).unwrap_or_default()
        };
        let (then, now) = (boot(&before.node), boot(&self.node));
        if then == now {
            return Err(format!("node {} has the boot ID it had, {then}", self.name()));
        }
        self.rows.push(format!("node/{}  bootID {now}", self.name()));
        Ok(self)
    }

    /// Its kubelet is of this release.
    pub(crate) fn version(mut self, release: &str) -> Seen<Self> {
        let info = self.node.status.as_ref().and_then(|s| s.node_info.as_ref());
        let now = info.map(|info| info.kubelet_version.clone()).unwrap_or_default();
        let row = format!("node/{}  {now}", self.name());
        if now != release {
            return Err(row);
        }
        self.rows.push(row);
        Ok(self)
    }

    fn taints(&self) -> Vec<String> {
        let taints = self.node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        taints.into_iter().flatten().map(|t| format!("{}:{}", t.key, t.effect)).collect()
    }
}

impl Shown for NodeSight {
    fn rows(&self) -> Vec<String> {
        self.rows.clone()
    }
}
