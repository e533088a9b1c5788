//! Pods are given up before the node runs out of memory, disk or process numbers: each round looks
//! at the machine, tells the node's pressures, and wins back what is short, first at nobody's cost.

mod plan;
mod signals;
#[cfg(test)]
mod tests;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cgroup::resources::is_critical;
use crate::config::KubeletConfiguration;
use crate::events::EventType;
use crate::images::collect::{self, Collector};
use crate::pod::manager::Manager;
use crate::pod::spec;
use crate::pod::status::Doom;
use crate::pod::worker::Ending;
use crate::seam::{PodUid, pod_uid};

pub use plan::{EVICTED, admit};
pub use signals::{Pressure, ThresholdError};

use plan::{Consumer, Seen};
use signals::{Observation, Signal, Threshold};

/// Between two looks at the machine, as upstream.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the next Pod is spared while an evicted one ends.
const ENDING: Duration = Duration::from_secs(30);

/// What decides about evictions, and who carries them out.
pub struct Evictor {
    manager: Arc<Manager>,
    thresholds: Vec<Threshold>,
    transition: Duration,
    /// Most that Pods get to end where there is time.
    most: Duration,
    root_dir: PathBuf,
    collector: Arc<Collector>,
    pressures: watch::Sender<Vec<Pressure>>,
}

// === impl Evictor ===

impl Evictor {
    /// As `config` wants it; `pressures` is where they are told.
    ///
    /// # Errors
    /// When its thresholds are of no use.
    pub fn new(
        manager: Arc<Manager>,
        config: &KubeletConfiguration,
        root_dir: PathBuf,
        collector: Arc<Collector>,
        pressures: watch::Sender<Vec<Pressure>>,
    ) -> Result<Self, ThresholdError> {
        let thresholds = signals::thresholds(config)?;
        let transition = config.pressure_transition();
        let most = Duration::from_secs(config.eviction_max_pod_grace_period);
        Ok(Self { manager, thresholds, transition, most, root_dir, collector, pressures })
    }

    /// Works until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut seen = Seen::default();
        loop {
            let evicted = self.round(&mut seen).await;
            let pause = async {
                match evicted {
                    // The next one may be due as soon as this one has ended.
                    Some(uid) => {
                        // One that takes longer is left to its worker.
                        tokio::time::timeout(ENDING, self.manager.ended(&uid)).await.ok();
                    }
                    None => tokio::time::sleep(INTERVAL).await,
                }
            };
            tokio::select! {
                () = pause => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn round(&self, seen: &mut Seen) -> Option<PodUid> {
        let observations = self.observe().await;
        let now = Timestamp::now();
        let plan = plan::plan(&self.thresholds, &observations, seen, self.transition, now);
        self.pressures.send_if_modified(|told| {
            let changed = *told != plan.pressures;
            told.clone_from(&plan.pressures);
            changed
        });
        let threshold = plan.reclaim?;
        let resource = threshold.signal.resource();
        let context = self.manager.context();
        let text = format!("Attempting to reclaim {resource}");
        tracing::warn!(signal = threshold.signal.name(), resource, "attempting to reclaim");
        context.events.node(EventType::Warning, "EvictionThresholdMet", text);
        if threshold.signal.pressure() == Pressure::Disk {
            if let Err(error) = self.collector.remove_unused(now).await {
                tracing::warn!(%error, "unused images stay");
            }
            let observations = self.observe().await;
            if !self.thresholds.iter().any(|one| one.is_unresolved(&observations)) {
                return None;
            }
        }
        let observation = observations.iter().find(|seen| seen.signal == threshold.signal)?;
        self.evict(&threshold, observation).await
    }

    async fn observe(&self) -> Vec<Observation> {
        let runtime = &self.manager.context().runtime;
        let imagefs = collect::mountpoint(runtime).await.unwrap_or_else(|| self.root_dir.clone());
        signals::observe(&self.root_dir, &imagefs)
    }

    /// Evicts the first Pod in the ranking.
    async fn evict(&self, threshold: &Threshold, observation: &Observation) -> Option<PodUid> {
        let mut candidates = self.candidates(threshold.signal).await;
        plan::rank(&mut candidates, threshold.signal);
        let Some((pod, consumer)) = candidates.first() else {
            tracing::warn!("nothing can be evicted: all Pods are critical, or there are none");
            return None;
        };
        let message = plan::message(threshold, observation, consumer);
        let uid = pod_uid(pod);
        tracing::warn!(pod = spec::key(pod), message, "evicting");
        self.manager.context().events.pod(pod, EventType::Warning, EVICTED, message.as_str());
        let doom = Doom { reason: EVICTED.to_owned(), message, disrupted: true };
        let grace = plan::grace(threshold, pod, self.most);
        self.manager.end(&uid, Ending { doom, grace });
        Some(uid)
    }

    async fn candidates(&self, signal: Signal) -> Vec<(Arc<Pod>, Consumer)> {
        let context = self.manager.context();
        // Without them all seem to use nothing, and importance alone decides.
        let stats = context.runtime.list_container_stats().await.unwrap_or_default();
        let evictable =
            |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_none() && !is_critical(pod);
        let pods = self.manager.allocated_pods().into_iter().filter(evictable);
        pods.map(|pod| {
            let consumer = usage::consumer(context, &pod, signal, &stats);
            (pod, consumer)
        })
        .collect()
    }
}
