//! Pods that nobody else cleans up: of lost nodes, never scheduled, or ended long ago.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use client::{Api, Event};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::Notify;

use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::object::Meta;
use crate::pods;

use plan::Reason;

/// Upstream's gcCheckPeriod: quarantines and thresholds are looked at this often. What can be
/// told by an event is collected at once.
const PERIOD: Duration = Duration::from_secs(20);

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let informers = &context.informers;
    let wake = std::sync::Arc::new(Notify::new());
    let notify = std::sync::Arc::clone(&wake);
    informers.pods.on_event(move |event| {
        if let Event::Updated { new: pod, .. } | Event::Added(pod) = event
            && pod.is_deleting()
            && pods::node_name(pod).is_none()
        {
            notify.notify_one();
        }
    });
    let notify = std::sync::Arc::clone(&wake);
    informers.nodes.on_event(move |event| {
        if !matches!(event, Event::Added(_)) {
            notify.notify_one();
        }
    });
    informers.pods.synced().await;
    informers.nodes.synced().await;
    let mut gone_since = HashMap::new();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = period.tick() => {}
            () = wake.notified() => {}
        }
        let (pods, nodes) = (informers.pods.list(), informers.nodes.list());
        let now = Timestamp::now();
        gone_since = plan::missing_nodes(&pods, &nodes, &gone_since, now);
        let threshold = context.config.terminated_pod_gc_threshold;
        for (pod, reason) in plan::plan(&pods, &nodes, &gone_since, threshold, now) {
            if let Err(error) = collect(&context, &pod, reason).await {
                tracing::warn!(pod = pod.nm(), %error, "cannot collect");
            }
        }
    }
}

async fn collect(context: &Context, pod: &Pod, reason: Reason) -> Result<(), SyncError> {
    if reason == Reason::Orphaned {
        // The copy may be behind: a node that exists is not lost.
        let nodes: Api<Node> = Api::all(context.client.clone());
        let name = pods::node_name(pod).unwrap_or_default();
        if nodes.get_metadata_opt(name).await?.is_some() {
            return Ok(());
        }
    }
    let api: Api<Pod> = context.api(pod.ns());
    tracing::info!(pod = pod.nm(), namespace = pod.ns(), ?reason, "collecting");
    if !pods::is_terminal(pod) {
        let mut status = json!({"phase": "Failed"});
        if reason == Reason::Orphaned {
            status["conditions"] = json!([{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": Time(Timestamp::now()),
            }]);
        }
        let patch = json!({"metadata": {"uid": pod.id()}, "status": status});
        match api.patch_status(pod.nm(), &PatchParams::default(), &Patch::Strategic(&patch)).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    let mut params = DeleteParams::default().grace_period(0);
    params.preconditions =
        Some(kube::api::Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
    match api.delete(pod.nm(), &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
