//! Pods, as `kubectl get pods -o wide` shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Seen, Shown, columns};

/// Some Pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pods(pub(crate) Vec<Arc<Pod>>);

// === impl Pods ===

impl Pods {
    fn filter(&self, keep: impl Fn(&Pod) -> bool) -> Self {
        Self(self.0.iter().filter(|pod| keep(pod)).cloned().collect())
    }

    /// Those that are assigned to `node`.
    pub(crate) fn on(&self, node: &str) -> Self {
        self.filter(|pod| node_of(pod) == Some(node))
    }

    /// Those that are not among `others`, which were seen before.
    pub(crate) fn except(&self, others: &Self) -> Self {
        self.filter(|pod| !others.0.iter().any(|other| other.metadata.uid == pod.metadata.uid))
    }

    /// Those that were among `others`.
    pub(crate) fn among(&self, others: &Self) -> Self {
        self.filter(|pod| others.0.iter().any(|other| other.metadata.uid == pod.metadata.uid))
    }

    /// Those that nobody has deleted and that have not failed.
    pub(crate) fn alive(&self) -> Self {
        self.filter(|pod| {
            pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Failed")
        })
    }

    /// The first one.
    pub(crate) fn first(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|pod| name(pod)).collect()
    }

    /// There are just so many.
    pub(crate) fn exactly(self, count: usize) -> Seen<Self> {
        if self.len() == count {
            Ok(self)
        } else {
            Err(self.instead(&format!("{} Pods", self.len())))
        }
    }

    /// There are some.
    pub(crate) fn some(self) -> Seen<Self> {
        if self.len() > 0 { Ok(self) } else { Err("none".into()) }
    }

    /// There are none.
    pub(crate) fn none(self) -> Seen<()> {
        self.exactly(0).map(drop)
    }

    fn all(self, wanted: impl Fn(&Pod) -> bool, what: &str) -> Seen<Self> {
        let wrong = self.filter(|pod| !wanted(pod));
        if wrong.0.is_empty() {
            return Ok(self);
        }
        Err(wrong.instead(&format!("{} of {} Pods are not {what}", wrong.len(), self.len())))
    }

    /// All run and are ready, and none is being deleted.
    pub(crate) fn ready(self) -> Seen<Self> {
        self.all(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none(), "ready")
    }

    /// All are being shown as not ready, so that no Service leads to them.
    pub(crate) fn not_ready(self) -> Seen<Self> {
        self.all(|pod| !is_ready(pod), "unready")
    }

    /// All wait: nothing of them has been started.
    pub(crate) fn pending(self) -> Seen<Self> {
        self.all(|pod| phase(pod) == "Pending" && container_statuses(pod).is_empty(), "untouched")
    }

    /// None is assigned to a node.
    pub(crate) fn unassigned(self) -> Seen<Self> {
        self.all(|pod| node_of(pod).is_none(), "without a node")
    }

    /// All are being deleted.
    pub(crate) fn terminating(self) -> Seen<Self> {
        self.all(|pod| pod.metadata.deletion_timestamp.is_some(), "Terminating")
    }

    /// All have failed, for this reason.
    pub(crate) fn failed(self, reason: &str) -> Seen<Self> {
        let is = |pod: &Pod| {
            let status = pod.status.as_ref();
            phase(pod) == "Failed" && status.and_then(|s| s.reason.as_deref()) == Some(reason)
        };
        self.all(is, reason)
    }

    /// The very containers of `before` run in them: adopted, not restarted.
    pub(crate) fn same_containers_as(self, before: &Self) -> Seen<Self> {
        let (then, now) = (before.containers(), self.containers());
        if then == now {
            return Ok(self);
        }
        Err(format!("containers and restarts were {then:?} and are {now:?}"))
    }

    /// No container of `before` runs in them: all were started anew.
    pub(crate) fn other_containers_than(self, before: &Self) -> Seen<Self> {
        let ids = |pods: &Self| -> Vec<String> {
            pods.containers().into_values().map(|(id, _)| id).collect()
        };
        let old = ids(before);
        if ids(&self).iter().any(|id| id.is_empty() || old.contains(id)) {
            return Err(self.instead("they have the containers they had"));
        }
        Ok(self)
    }

    /// The images of all of them end so, but for what comes from elsewhere (the member of the store).
    pub(crate) fn with_images(self, end: &str) -> Seen<Self> {
        let fits = |pod: &Pod| {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let images = containers.filter_map(|container| container.image.as_deref());
            images.filter(|image| image.contains("/ironclad:")).all(|image| image.ends_with(end))
        };
        self.all(fits, &format!("of images {end}"))
    }

    /// All were made at a time that is still so far away.
    pub(crate) fn created_ahead(self, least: SignedDuration) -> Seen<Self> {
        let now = Timestamp::now();
        let ahead = |pod: &Pod| {
            let created = pod.metadata.creation_timestamp.as_ref();
            created.is_some_and(|created| created.0.duration_since(now) > least)
        };
        self.all(ahead, "from the future")
    }

    /// By Pod and container: container ID and number of restarts.
    fn containers(&self) -> BTreeMap<String, (String, i32)> {
        let of = |pod: &Pod| -> Vec<(String, (String, i32))> {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            container_statuses(pod)
                .iter()
                .map(|status| {
                    let id = status.container_id.clone().unwrap_or_default();
                    (format!("{uid}/{}", status.name), (id, status.restart_count))
                })
                .collect()
        };
        self.0.iter().flat_map(|pod| of(pod)).collect()
    }

    /// The sum of all restarts.
    pub(crate) fn restarts(&self) -> i32 {
        let of = |pod: &Pod| container_statuses(pod).iter().map(|s| s.restart_count).sum::<i32>();
        self.0.iter().map(|pod| of(pod)).sum()
    }

    /// They differ by at most `most` in number between the nodes.
    pub(crate) fn balanced(self, nodes: [&str; 2], most: usize) -> Seen<Self> {
        let [a, b] = nodes.map(|node| self.on(node).len());
        if a.abs_diff(b) <= most {
            return Ok(self);
        }
        Err(format!("{a} Pods on {} and {b} on {}", nodes[0], nodes[1]))
    }

    fn instead(&self, what: &str) -> String {
        let rows: Vec<_> = self.rows().into_iter().take(6).collect();
        if rows.is_empty() { what.to_owned() } else { format!("{what}: {}", rows.join("; ")) }
    }
}

impl Shown for Pods {
    fn rows(&self) -> Vec<String> {
        let row = |pod: &Arc<Pod>| {
            let statuses = container_statuses(pod);
            let ready = statuses.iter().filter(|status| status.ready).count();
            let containers = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
            [
                name(pod).to_owned(),
                format!("{ready}/{containers}"),
                status(pod),
                statuses.iter().map(|s| s.restart_count).sum::<i32>().to_string(),
                node_of(pod).unwrap_or("<none>").to_owned(),
            ]
        };
        columns(self.0.iter().map(row).collect())
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn container_statuses(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// The column STATUS, for what drills come across.
fn status(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let waiting = container_statuses(pod).iter().find_map(|status| {
        let state = status.state.as_ref()?;
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        waiting.or_else(|| state.terminated.as_ref()?.reason.clone())
    });
    let reason = pod.status.as_ref().and_then(|status| status.reason.clone());
    waiting.or(reason).unwrap_or_else(|| phase(pod).to_owned())
}
