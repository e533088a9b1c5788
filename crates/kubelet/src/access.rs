//! The core as the other parts see it: running Pods, and what the node knows of the API.

use std::sync::Arc;
use std::time::Duration;

use client::Informer;
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus, Service};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cri;
use crate::pod::manager::Manager;
use crate::runtime::records::State;
use crate::seam::{ContainerRef, PodAccess, PodUid, Sources};

/// Age of the last relist above which the kubelet does not count as healthy, as upstream's PLEG.
const RELIST_LIMIT: Duration = Duration::from_secs(180);

/// The node's view of the API; empty in standalone mode.
#[derive(Clone, Default)]
pub struct ApiSources {
    node_name: String,
    informers: Option<(Informer<Node>, Informer<Service>)>,
}

/// Running Pods, for the server, the log keeper and health checks.
pub struct Access {
    runtime: cri::Runtime,
    manager: Arc<Manager>,
    relisted: watch::Receiver<Instant>,
}

// === impl ApiSources ===

impl ApiSources {
    /// Sources from informers of this node's Node and of all Services.
    pub fn new(node_name: &str, informers: Option<(Informer<Node>, Informer<Service>)>) -> Self {
        Self { node_name: node_name.to_owned(), informers }
    }
}

impl Sources for ApiSources {
    fn node(&self) -> Option<Arc<Node>> {
        self.informers.as_ref()?.0.get(None, &self.node_name)
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        let Some((_, services)) = &self.informers else { return Vec::new() };
        let mut found = services.list_namespace(namespace);
        if namespace != "default" {
            found.extend(services.get(Some("default"), "kubernetes"));
        }
        found
    }
}

// === impl Access ===

impl Access {
    /// Access to the Pods of `manager`; `relisted` tells when the runtime was last read.
    pub fn new(
        runtime: cri::Runtime,
        manager: Arc<Manager>,
        relisted: watch::Receiver<Instant>,
    ) -> Self {
        Self { runtime, manager, relisted }
    }

    /// What is wrong with the relist, in upstream's words.
    pub fn relist_problem(&self) -> Option<String> {
        let age = self.relisted.borrow().elapsed();
        (age > RELIST_LIMIT).then(|| {
            let age = Duration::from_secs(age.as_secs());
            format!(
                "PLEG is not healthy: pleg was last seen active {} ago; threshold is {}",
                machinery::duration::format(age),
                machinery::duration::format(RELIST_LIMIT)
            )
        })
    }
}

/// Whether a container is in a waiting state after an earlier instance.
fn waits(status: &PodStatus, name: &str) -> bool {
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let state = all.into_iter().find(|s| s.name == name).and_then(|s| s.state.as_ref());
    state.is_some_and(|state| state.waiting.is_some())
}

impl PodAccess for Access {
    fn pods(&self) -> Vec<Arc<Pod>> {
        self.manager.pods()
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.manager.pod(namespace, name)
    }

    fn sandbox_id(&self, uid: &PodUid) -> Option<String> {
        let view = self.manager.view(uid)?;
        view.record.sandboxes.iter().find(|s| s.ready).map(|s| s.id.clone())
    }

    fn container(&self, uid: &PodUid, name: &str, previous: bool) -> Option<ContainerRef> {
        let view = self.manager.view(uid)?;
        // While a container waits for its restart, the instance that ended is the previous one.
        let between = view.status.as_ref().is_some_and(|status| waits(status, name));
        let index = usize::from(previous && !between);
        let found = view.record.instances(name).nth(index)?.clone();
        let ended = found.state == State::Exited;
        Some(ContainerRef {
            running: found.state == State::Running,
            exit_code: ended.then_some(found.exit_code),
            id: found.id,
            log_path: found.log_path,
            started_at: found.started_at,
            finished_at: found.finished_at,
            restart_count: found.restart_count,
            image: found.image,
        })
    }

    fn runtime(&self) -> &cri::Runtime {
        &self.runtime
    }

    fn sync_now(&self, uid: &PodUid) {
        self.manager.wake(uid);
    }

    fn healthy(&self) -> Vec<(&'static str, Result<(), String>)> {
        let relist = self.relist_problem().map_or(Ok(()), Err);
        vec![("ping", Ok(())), ("syncloop", relist)]
    }
}
