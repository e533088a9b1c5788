//! All drills. A further one is a file or a function here, and a line in [`ALL`].
//!
//! A script reads as what it shows: it does something and sees what must come of it. What a drill
//! breaks it notes ([`Broken`](crate::stage::Broken)), and mends as one of its steps; if it fails
//! before that, it is mended for it.

mod certificates;
mod clock;
mod control_plane;
mod disk;
mod network;
mod power;
mod services;
mod snapshot;
mod store;
mod upgrade;
mod workloads;

use crate::drill::Drill;

/// All drills, in the order in which they are run.
pub static ALL: [Drill; 21] = [
    workloads::POD_DELETED,
    workloads::DEPLOYMENT_POD_DELETED,
    workloads::HUNDRED_PODS_DELETED,
    workloads::DEPLOYMENT_DELETED,
    services::KUBELET_STOPPED,
    services::RUNTIME_STOPPED,
    control_plane::SCHEDULER_DELETED,
    control_plane::SCHEDULER_STOPPED,
    control_plane::CONTROLLERS_STOPPED,
    control_plane::KUBELET_STOPPED,
    control_plane::RUNTIME_STOPPED,
    store::API_SERVER_KILLED,
    store::STORE_KILLED,
    power::NODE_OFF,
    power::CONTROL_PLANE_LOST,
    network::NETWORK_CUT,
    disk::DISK_FULL,
    snapshot::SNAPSHOT_RESTORED,
    clock::CLOCK_JUMP,
    certificates::CERTIFICATES_RENEWED,
    upgrade::UPGRADED,
];

/// The nodes that a cluster of [`Needs::TWO_WORKERS`](crate::Needs::TWO_WORKERS) has.
pub(crate) const CONTROL_PLANE: &str = "m1";
/// The first worker, which is the one that suffers.
pub(crate) const WORKER: &str = "w1";
/// The other worker.
pub(crate) const OTHER: &str = "w2";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn drills_have_names_of_their_own_that_can_be_typed() {
        let names: BTreeSet<_> = ALL.iter().map(|drill| drill.name).collect();
        assert_eq!(names.len(), ALL.len());
        for drill in &ALL {
            let typed = drill.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(typed && !drill.name.starts_with('-'), "{}", drill.name);
            for text in [drill.purpose, drill.done, drill.seen] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text}", drill.name);
            }
        }
    }
}
