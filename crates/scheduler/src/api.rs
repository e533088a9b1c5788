//! What the scheduler writes: bindings, conditions, and deletions for preemption.

use std::sync::Arc;

use client::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use client::{Api, Client};
use k8s_openapi::api::core::v1::Pod as FullPod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::objects::{Pod, ScheduledCondition};

/// The API server as the scheduler uses it.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
}

/// What became of a binding.
#[derive(Debug)]
pub(crate) enum Bound {
    /// Done.
    Done,
    /// The Pod is gone or has a node already: nothing to retry.
    Obsolete,
    /// Try again later.
    Failed(String),
}

// === impl Server ===

impl Server {
    pub(crate) fn new(client: Client) -> Self {
        Server { client }
    }

    fn pods(&self, pod: &Pod) -> Api<FullPod> {
        Api::namespaced(self.client.clone(), pod.namespace())
    }

    /// Binds `pod` to `node`.
    pub(crate) async fn bind(&self, pod: &Pod, node: &str) -> Bound {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid() },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        let created: Result<Value, _> = self
            .pods(pod)
            .create_subresource("binding", pod.name(), &PostParams::default(), &binding)
            .await;
        match created {
            Ok(_) => Bound::Done,
            Err(client::Error::Api(status)) if status.code == 404 => Bound::Obsolete,
            Err(client::Error::Api(status)) => Bound::Failed(status.message.clone()),
            Err(error) => Bound::Failed(error.to_string()),
        }
    }

    /// Writes PodScheduled=False and the nominated node, if that is news.
    pub(crate) async fn explain(
        &self,
        pod: &Pod,
        reason: &str,
        message: &str,
        nominated: Option<&str>,
    ) {
        let Some(patch) = explanation(pod, reason, message, nominated, Timestamp::now()) else {
            return;
        };
        let patched = self
            .pods(pod)
            .patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        match patched {
            Ok(_) => {}
            Err(client::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                tracing::warn!(pod = pod.name(), %error, "condition PodScheduled is not written");
            }
        }
    }

    /// Removes a victim of preemption, marked so that its controller knows why.
    pub(crate) async fn evict(&self, victim: &Pod, scheduler: &str) -> Result<(), client::Error> {
        let condition = json!({ "status": { "conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
            "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]}});
        let api = self.pods(victim);
        let gone = |error: &client::Error| matches!(error, client::Error::Api(status) if status.code == 404);
        let patch = Patch::Strategic(condition);
        match api.patch_status(victim.name(), &PatchParams::default(), &patch).await {
            Err(error) if gone(&error) => return Ok(()),
            other => other.map(|_| ())?,
        }
        let preconditions =
            Preconditions { uid: Some(victim.uid().to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
        match api.delete(victim.name(), &params).await {
            Err(error) if gone(&error) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// The status patch that says why `pod` has no node; `None` when the status says so already.
fn explanation(
    pod: &Pod,
    reason: &str,
    message: &str,
    nominated: Option<&str>,
    now: Timestamp,
) -> Option<Value> {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let present = pod.scheduled.clone().unwrap_or_default();
    let wanted = ScheduledCondition {
        status: "False".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        transition: present.transition.clone(),
    };
    let mut status = serde_json::Map::new();
    if present != wanted {
        let transition = match present.transition {
            Some(since) if present.status == "False" => since,
            _ => now,
        };
        let mut condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": transition,
        });
        if let Some(generation) = pod.metadata.generation {
            condition["observedGeneration"] = generation.into();
        }
        status.insert("conditions".to_owned(), json!([condition]));
    }
    if let Some(node) = nominated
        && pod.nominated_node.as_deref().unwrap_or_default() != node
    {
        let value = if node.is_empty() { Value::Null } else { json!(node) };
        status.insert("nominatedNodeName".to_owned(), value);
    }
    (!status.is_empty()).then(|| json!({ "status": status }))
}

/// Keeps the compiler honest about what crosses tasks.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<Server>>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_written_when_they_are_news() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut pod = Pod::default();
        let patch = explanation(&pod, "Unschedulable", "full", None, now).unwrap();
        let condition = &patch["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-02T03:04:05Z");
        assert_eq!(condition["message"], "full");
        assert_eq!(patch["status"].get("nominatedNodeName"), None);

        let since = "2026-01-01T00:00:00Z".to_owned();
        pod.scheduled = Some(ScheduledCondition {
            status: "False".to_owned(),
            reason: "Unschedulable".to_owned(),
            message: "full".to_owned(),
            transition: Some(since.clone()),
        });
        assert_eq!(explanation(&pod, "Unschedulable", "full", None, now), None);
        let patch = explanation(&pod, "Unschedulable", "fuller", Some("w1"), now).unwrap();
        assert_eq!(patch["status"]["conditions"][0]["lastTransitionTime"], since);
        assert_eq!(patch["status"]["nominatedNodeName"], "w1");
    }
}
