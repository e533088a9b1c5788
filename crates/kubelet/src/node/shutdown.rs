//! Graceful shutdown of the node: before the machine stops, the node takes no more Pods, and those
//! that it has end in the order of their priorities, each group with a time of its own.
//! <https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/>

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::events::EventType;
use crate::node::logind::{self, News};
use crate::pod::manager::Manager;
use crate::pod::spec;
use crate::pod::status::Doom;
use crate::pod::worker::Ending;
use crate::seam::{PodUid, pod_uid};

/// What keeps the node from being ready meanwhile.
pub const GOING_DOWN: &str = "node is shutting down";
/// Priority of the Pods that end last unless more is configured (`system-cluster-critical`).
const CRITICAL: i32 = 2_000_000_000;
/// How long the API server may take to learn that Pods have ended.
const TELLING: Duration = Duration::from_secs(5);

/// How long Pods from a priority upwards may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// The lowest priority of the group.
    pub priority: i32,
    /// The time of all its Pods together, in seconds.
    #[serde(rename = "shutdownGracePeriodSeconds")]
    pub seconds: u64,
}

/// Pods that end at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long they may take.
    pub period: Duration,
    /// Which ones.
    pub pods: Vec<PodUid>,
}

/// The groups for a node that has `total` time to end its Pods, the last part of it, `critical`, for
/// critical ones.
#[must_use]
pub fn groups(total: Duration, critical: Duration) -> Vec<Group> {
    if total.is_zero() {
        return Vec::new();
    }
    let others = total.saturating_sub(critical);
    vec![
        Group { priority: 0, seconds: others.as_secs() },
        Group { priority: CRITICAL, seconds: critical.as_secs() },
    ]
}

/// Which Pods end when: the least important first. One that is less important than every group goes
/// with the first.
#[must_use]
pub fn plan(groups: &[Group], pods: &[Arc<Pod>]) -> Vec<Step> {
    let mut groups = groups.to_vec();
    groups.sort_by_key(|group| group.priority);
    let mut steps: Vec<Step> = groups
        .iter()
        .map(|group| Step { period: Duration::from_secs(group.seconds), pods: Vec::new() })
        .collect();
    for pod in pods.iter().filter(|pod| !spec::is_terminal(pod)) {
        let priority = spec::spec(pod).priority.unwrap_or(0);
        let above = groups.iter().take_while(|group| group.priority <= priority).count();
        if let Some(step) = steps.get_mut(above.saturating_sub(1)) {
            step.pods.push(pod_uid(pod));
        }
    }
    steps.retain(|step| !step.pods.is_empty());
    steps
}

/// How long all groups together may take.
fn period(groups: &[Group]) -> Duration {
    Duration::from_secs(groups.iter().map(|group| group.seconds).sum())
}

/// Waits until the machine is to stop, then ends all Pods as `groups` have it. Systemd's logind tells
/// so, and waits; it may call it off. Where no systemd is, whoever runs the machine sends `SIGPWR`
/// before it stops, and waits for the kubelet, which ends after its Pods.
pub async fn on_power_failure(
    manager: Arc<Manager>,
    groups: Vec<Group>,
    going_down: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let mut power = signal(SignalKind::from_raw(libc::SIGPWR));
    if let Err(error) = &power {
        tracing::warn!(%error, "nobody is going to tell that the node stops");
    }
    let mut logind = (!groups.is_empty()).then(|| logind::follow(period(&groups)));
    loop {
        let failed = async {
            let told = match &mut power {
                Ok(power) => power.recv().await,
                Err(_) => None,
            };
            if told.is_none() {
                std::future::pending().await
            }
        };
        let heard = async {
            let news = match &mut logind {
                Some(logind) => logind.recv().await,
                None => None,
            };
            match news {
                Some(news) => news,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = failed => {
                end_all(&manager, &groups, &going_down).await;
                shutdown.cancel();
                return;
            }
            news = heard => match news {
                News::Stopping(lock) => {
                    end_all(&manager, &groups, &going_down).await;
                    drop(lock);
                }
                News::Cancelled => {
                    let message = "Shutdown manager detected shutdown cancellation";
                    manager.context().events.node(EventType::Normal, "NodeShutdown", message);
                    going_down.send_replace(false);
                }
            },
            () = shutdown.cancelled() => return,
        }
    }
}

/// Ends all Pods as `groups` have it. `going_down` tells everybody that it has begun.
async fn end_all(manager: &Manager, groups: &[Group], going_down: &watch::Sender<bool>) {
    if groups.is_empty() {
        return;
    }
    going_down.send_replace(true);
    let message = "Shutdown manager detected shutdown event";
    manager.context().events.node(EventType::Normal, "NodeShutdown", message);
    let pods = manager.pods();
    for step in plan(groups, &pods) {
        for uid in &step.pods {
            manager.end(uid, ending(step.period));
        }
        let all = step.pods.iter().map(|uid| manager.ended(uid));
        if tokio::time::timeout(step.period, futures::future::join_all(all)).await.is_err() {
            tracing::warn!("shutdown manager pod killing time out");
        }
    }
    let told = pods.iter().map(|pod| manager.told(pod));
    // Without an API server there is nobody to tell.
    tokio::time::timeout(TELLING, futures::future::join_all(told)).await.ok();
}

fn ending(period: Duration) -> Ending {
    let message = "Pod was terminated in response to imminent node shutdown.";
    let doom = Doom { reason: "Terminated".into(), message: message.into(), disrupted: true };
    Ending { doom, grace: period }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn pod(name: &str, priority: Option<i32>, phase: &str) -> Arc<Pod> {
        Arc::new(Pod {
            metadata: ObjectMeta { uid: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: Some(PodSpec { priority, ..PodSpec::default() }),
            status: Some(PodStatus { phase: Some(phase.to_owned()), ..PodStatus::default() }),
        })
    }

    fn check(groups: &[Group], pods: &[Arc<Pod>], wanted: &[(u64, &[&str])]) {
        let found = plan(groups, pods);
        let found: Vec<(u64, Vec<&str>)> = found
            .iter()
            .map(|step| {
                (step.period.as_secs(), step.pods.iter().map(|uid| uid.0.as_str()).collect())
            })
            .collect();
        let wanted: Vec<_> = wanted.iter().map(|(s, pods)| (*s, pods.to_vec())).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn critical_pods_end_last() {
        let seconds = Duration::from_secs;
        let usual = groups(seconds(30), seconds(10));
        let pods = [
            pod("none", None, "Running"),
            pod("node-critical", Some(2_000_001_000), "Running"),
            pod("low", Some(-5), "Pending"),
            pod("high", Some(1_000_000), "Running"),
            pod("cluster-critical", Some(2_000_000_000), "Running"),
            pod("over", None, "Succeeded"),
        ];
        let others: &[&str] = &["none", "low", "high"];
        let critical: &[&str] = &["node-critical", "cluster-critical"];
        check(&usual, &pods, &[(20, others), (10, critical)]);
        check(&usual, &pods[1..2], &[(10, &["node-critical"])]);
        check(&usual, &pods[5..], &[]);
        check(&groups(seconds(0), seconds(0)), &pods, &[]);
    }

    #[test]
    fn groups_may_be_as_many_as_one_likes() {
        let group = |priority, seconds| Group { priority, seconds };
        let own = [group(1000, 3), group(10, 1), group(100, 2)];
        let pods = [
            pod("a", Some(5), "Running"),
            pod("b", Some(10), "Running"),
            pod("c", Some(99), "Running"),
            pod("d", Some(100), "Running"),
            pod("e", Some(5000), "Running"),
        ];
        check(&own, &pods, &[(1, &["a", "b", "c"]), (2, &["d"]), (3, &["e"])]);
    }
}
