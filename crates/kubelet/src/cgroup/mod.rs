//! Control groups of the node: `kubepods`, one group per quality of service, one per Pod, on
//! cgroup v1 and v2 (driver `cgroupfs`). Containers get theirs from the runtime, below the Pod's.
//!
//! The hierarchies are taken as they are mounted: inside a cgroup namespace their root is the
//! namespace's.

mod files;
pub mod resources;
pub mod usage;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::seam::{PodUid, pod_uid};
use files::Hierarchy;
use resources::{GroupLimits, Qos, qos};

/// Name of the group of all Pods.
const PODS: &str = "kubepods";
/// How often a group that still has processes is tried again.
const REMOVE_ATTEMPTS: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(50);

/// Why a control group could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file or directory could not be used.
    #[error("cgroup {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing is mounted where control groups should be.
    #[error("no cgroup hierarchy with {controller} is mounted below {root}")]
    NotMounted {
        /// The controller that is missing.
        controller: &'static str,
        /// Where it was looked for.
        root: PathBuf,
    },
    /// Processes of a Pod survive.
    #[error("cgroup {path} still has processes")]
    Busy {
        /// The group.
        path: PathBuf,
    },
}

/// Version of the control group interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// What Pods together may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeAllocatable {
    /// CPU in thousandths of a core.
    pub cpu_millis: i64,
    /// Memory in bytes; 0 for no limit.
    pub memory: i64,
    /// Processes; 0 for no limit.
    pub pids: i64,
}

/// The control groups of this node.
#[derive(Clone, Debug)]
pub struct Cgroups {
    hierarchy: Arc<Hierarchy>,
    /// The group of all Pods.
    root: Arc<str>,
    pod_pids_limit: Option<i64>,
}

impl Cgroups {
    /// Finds out what is mounted below `root`, usually `/sys/fs/cgroup`.
    pub fn detect(root: &Path) -> Result<Self, CgroupError> {
        let hierarchy = Arc::new(Hierarchy::detect(root)?);
        Ok(Self { hierarchy, root: format!("/{PODS}").into(), pod_pids_limit: None })
    }

    /// Has the group of all Pods in `group` instead of the hierarchies' root.
    #[must_use]
    pub fn below(mut self, group: &str) -> Self {
        let group = group.trim_matches('/');
        let parent = if group.is_empty() { String::new() } else { format!("/{group}") };
        self.root = format!("{parent}/{PODS}").into();
        self
    }

    /// Limits the processes of each Pod.
    #[must_use]
    pub fn with_pod_pids_limit(mut self, limit: i64) -> Self {
        self.pod_pids_limit = Some(limit).filter(|limit| *limit > 0);
        self
    }

    /// Version in use.
    pub fn version(&self) -> Version {
        self.hierarchy.version()
    }

    /// The group of a Pod, which the runtime is told as the sandbox's parent.
    pub fn pod_parent(&self, pod: &Pod) -> String {
        self.pod_group(qos(pod), &pod_uid(pod))
    }

    fn class_group(&self, class: Qos) -> String {
        let root = &self.root;
        match class {
            Qos::Guaranteed => root.to_string(),
            Qos::Burstable => format!("{root}/burstable"),
            Qos::BestEffort => format!("{root}/besteffort"),
        }
    }

    fn pod_group(&self, class: Qos, uid: &PodUid) -> String {
        format!("{}/pod{uid}", self.class_group(class))
    }

    /// Makes the group of all Pods and the groups for quality of service, with their limits.
    pub fn ensure_roots(&self, allocatable: &NodeAllocatable) -> Result<(), CgroupError> {
        let limits = GroupLimits {
            cpu_shares: Some(resources::shares(allocatable.cpu_millis)),
            memory: Some(allocatable.memory).filter(|limit| *limit > 0),
            pids: Some(allocatable.pids).filter(|limit| *limit > 0),
            ..GroupLimits::default()
        };
        self.hierarchy.ensure(&self.root, &limits)?;
        for class in [Qos::BestEffort, Qos::Burstable] {
            let limits =
                GroupLimits { cpu_shares: Some(resources::MIN_SHARES), ..GroupLimits::default() };
            self.hierarchy.ensure(&self.class_group(class), &limits)?;
        }
        Ok(())
    }

    /// Gives the burstable Pods together the CPU weight of their requests.
    pub fn update_burstable<'a>(
        &self,
        pods: impl Iterator<Item = &'a Pod>,
    ) -> Result<(), CgroupError> {
        let millis: i64 = pods
            .filter(|pod| qos(pod) == Qos::Burstable)
            .map(|pod| resources::pod_requests(pod).cpu_millis)
            .sum();
        let limits =
            GroupLimits { cpu_shares: Some(resources::shares(millis)), ..GroupLimits::default() };
        self.hierarchy.ensure(&self.class_group(Qos::Burstable), &limits)
    }

    /// Makes the group of a Pod, or brings its limits up to date.
    pub fn ensure_pod(&self, pod: &Pod) -> Result<(), CgroupError> {
        let mut limits = resources::pod_limits(pod);
        limits.pids = self.pod_pids_limit;
        self.limit_pod(pod, &limits)
    }

    /// Changes limits of a Pod's group.
    pub fn limit_pod(&self, pod: &Pod, limits: &GroupLimits) -> Result<(), CgroupError> {
        self.hierarchy.ensure(&self.pod_parent(pod), limits)
    }

    /// Whether a Pod has a group.
    pub fn has_pod(&self, pod: &Pod) -> bool {
        self.hierarchy.exists(&self.pod_parent(pod))
    }

    /// The limits that a Pod's group has now.
    pub fn pod_limits(&self, pod: &Pod) -> GroupLimits {
        self.hierarchy.limits(&self.pod_parent(pod))
    }

    /// The limits that the group of a Pod's container has now.
    pub fn container_limits(&self, pod: &Pod, id: &str) -> GroupLimits {
        self.hierarchy.limits(&format!("{}/{id}", self.pod_parent(pod)))
    }

    /// Kills what is left of a Pod and removes its groups, whatever its quality of service was.
    pub async fn destroy_pod(&self, uid: &PodUid) -> Result<(), CgroupError> {
        for class in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            let group = self.pod_group(class, uid);
            let mut attempt = 0;
            while self.hierarchy.exists(&group) {
                self.hierarchy.kill(&group)?;
                if self.hierarchy.remove(&group)? {
                    break;
                }
                attempt += 1;
                if attempt == REMOVE_ATTEMPTS {
                    return Err(CgroupError::Busy { path: self.hierarchy.any_path(&group) });
                }
                // Killed processes leave their group when they are reaped, which nothing announces.
                tokio::time::sleep(REMOVE_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Pods that have a group.
    pub fn pod_uids(&self) -> Vec<PodUid> {
        let mut found = BTreeSet::new();
        for class in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            for name in self.hierarchy.children(&self.class_group(class)) {
                if let Some(uid) = name.strip_prefix("pod") {
                    found.insert(PodUid(uid.to_owned()));
                }
            }
        }
        found.into_iter().collect()
    }

    /// What a Pod's group uses now.
    pub fn pod_usage(&self, pod: &Pod) -> usage::Usage {
        self.hierarchy.usage(&self.pod_parent(pod))
    }

    /// What all Pods together use now.
    pub fn pods_usage(&self) -> usage::Usage {
        self.hierarchy.usage(&self.root)
    }

    /// What everything in the hierarchies' root uses now.
    pub fn root_usage(&self) -> usage::Usage {
        self.hierarchy.usage("/")
    }
}

#[cfg(test)]
mod tests;
