//! Noticing what happens to containers behind the workers' backs: the runtime's events at once,
//! and a relist every second for what events do not tell. Also the housekeeping that works on the
//! same list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::manager::Manager;
use crate::cri::{Runtime, TaskEvent, proto};
use crate::runtime::labels;
use crate::runtime::records::{self, PodOutline};
use crate::seam::PodUid;

/// Between relists.
const PERIOD: Duration = Duration::from_secs(1);
/// Between rounds of housekeeping.
const SWEEP: Duration = Duration::from_secs(30);
/// Before subscribing to events again after the stream ended.
const RESUBSCRIBE: Duration = Duration::from_millis(500);
/// Between looks at a container whose exit was told but is not yet in the runtime's own books.
const EXIT_LOOK: Duration = Duration::from_millis(15);
/// How long to look; the relist catches what takes longer.
const EXIT_LIMIT: Duration = Duration::from_secs(3);

/// Lists the runtime's Pods until shutdown and wakes the workers of those that changed.
///
/// `sources_ready` tells that every source has told all its Pods, so that what no worker knows is
/// an orphan.
pub async fn relist(
    manager: Arc<Manager>,
    relisted: watch::Sender<Instant>,
    sources_ready: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let mut last: BTreeMap<PodUid, PodOutline> = BTreeMap::new();
    let mut swept: Option<Instant> = None;
    loop {
        match records::relist(&manager.context().runtime).await {
            Ok(now) => {
                relisted.send_replace(Instant::now());
                for uid in changed(&last, &now) {
                    manager.wake(&uid);
                }
                if *sources_ready.borrow() {
                    manager.adopt_orphans(&now);
                    if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                        manager.sweep(&now).await;
                        swept = Some(Instant::now());
                    }
                }
                last = now;
            }
            Err(error) => tracing::debug!(%error, "relist failed"),
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn changed(old: &BTreeMap<PodUid, PodOutline>, new: &BTreeMap<PodUid, PodOutline>) -> Vec<PodUid> {
    let differs = |uid: &&PodUid| old.get(*uid) != new.get(*uid);
    let gone = old.keys().filter(|uid| !new.contains_key(*uid));
    new.keys().filter(differs).chain(gone).cloned().collect()
}

/// Follows the runtime's events until shutdown.
pub async fn follow_events(manager: Arc<Manager>, shutdown: CancellationToken) {
    loop {
        let followed = async {
            let mut events = match manager.context().runtime.events().await {
                Ok(events) => events,
                Err(error) => {
                    tracing::debug!(%error, "no runtime events");
                    return;
                }
            };
            // The runtime is there (again): whoever waits for it need not wait on.
            manager.wake_all();
            while let Some(event) = events.next().await {
                heed(&manager, event);
            }
        };
        tokio::select! {
            () = followed => {}
            () = shutdown.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(RESUBSCRIBE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn heed(manager: &Arc<Manager>, event: TaskEvent) {
    let manager = manager.clone();
    tokio::spawn(async move {
        let settled = settled(&manager.context().runtime, &event);
        if let Ok(Some(uid)) = tokio::time::timeout(EXIT_LIMIT, settled).await {
            manager.wake(&uid);
        }
    });
}

/// The Pod that an event is about, once the runtime's own books say what the event said.
async fn settled(runtime: &Runtime, event: &TaskEvent) -> Option<PodUid> {
    let id = &event.container_id;
    loop {
        let (running, mut labels) = match runtime.container_status(id).await {
            Ok(status) => {
                (status.state() == proto::ContainerState::ContainerRunning, status.labels)
            }
            Err(_) => {
                let status = runtime.sandbox_status(id).await.ok()?;
                (status.state() == proto::PodSandboxState::SandboxReady, status.labels)
            }
        };
        if !(running && event.ended) {
            return labels.remove(labels::POD_UID).map(PodUid);
        }
        tokio::time::sleep(EXIT_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_departures_are_noticed() {
        let outline = |state| PodOutline {
            states: BTreeMap::from([("c".to_owned(), state)]),
            ..Default::default()
        };
        let uid = |name: &str| PodUid(name.to_owned());
        let old = BTreeMap::from([
            (uid("same"), outline(1)),
            (uid("gone"), outline(1)),
            (uid("moved"), outline(1)),
        ]);
        let new = BTreeMap::from([
            (uid("same"), outline(1)),
            (uid("moved"), outline(2)),
            (uid("new"), outline(1)),
        ]);
        assert_eq!(changed(&old, &new), [uid("moved"), uid("new"), uid("gone")]);
        assert!(changed(&new, &new).is_empty());
    }
}
