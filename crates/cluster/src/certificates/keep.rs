//! Renewal in time, of all certificates of a control plane that its kubelet does not renew itself, and
//! the control plane's part when an authority is replaced (`ironclad certs keep`, a static Pod).

use std::path::Path;
use std::time::{Duration, SystemTime};

use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::files;
use super::inspect::{self, Kind, Problem, Row};
use super::inventory::{CONTROL_PLANE, Entry, Form, KUBELET};
use super::renew;
use super::rotate::agent::Agent;

/// Longest time without a look: a clock may be set, a file replaced.
const LOOK: Duration = Duration::from_secs(60);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(10);
/// Wait for an API server that could not be told.
const TELL: Duration = Duration::from_secs(1);

/// What is to be renewed now, and how long to wait then.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// These certificates.
    pub renew: Vec<Entry>,
    /// Until something else is due.
    pub wait: Duration,
}

/// Decides about the certificates of a node at `now`; `jitter` (from 0 to 1) says how late in life.
#[must_use]
pub fn plan(rows: &[Row], jitter: f64, now: SystemTime) -> Plan {
    let mut plan = Plan { renew: Vec::new(), wait: LOOK };
    for row in rows {
        let (Kind::Leaf(entry), Some(certificate)) = (row.kind, &row.certificate) else { continue };
        if row.external || KUBELET.contains(&entry) {
            continue;
        }
        // Not valid yet is one of before the clock was set back.
        let broken = matches!(
            row.problem,
            Some(Problem::Expired | Problem::ForeignKey | Problem::NotYetValid)
        );
        let left = certificate.renewal(jitter).duration_since(now).unwrap_or_default();
        if broken || left.is_zero() {
            plan.renew.push(entry);
        } else {
            plan.wait = plan.wait.min(left);
        }
    }
    plan
}

/// Keeps what is below `root`, the files of `node`, until shutdown: renewed in time for `validity` each,
/// and of the authority that is to sign.
pub async fn keep(root: &Path, node: &str, validity: Duration, shutdown: CancellationToken) {
    let jitter = rand::rng().random();
    let kubeconfigs = CONTROL_PLANE.iter().filter(|entry| entry.form == Form::Kubeconfig);
    for entry in kubeconfigs {
        match files::complete(&root.join(entry.path)) {
            Ok(false) => {}
            Ok(true) => tracing::info!(name = entry.name, "an interrupted renewal is completed"),
            Err(error) => tracing::error!(%error, "an interrupted renewal cannot be completed"),
        }
    }
    let mut agent = None;
    loop {
        if agent.is_none() {
            agent = match Agent::start(root, node, &shutdown).await {
                Ok(agent) => Some(agent),
                Err(error) => {
                    tracing::warn!(%error, "no part is taken in rotations");
                    None
                }
            };
        }
        let wait = match inspect::node(node, root, true, SystemTime::now()) {
            Ok(rows) => {
                let wait = round(root, &rows, jitter, validity);
                let told = match &mut agent {
                    Some(agent) => agent.round(&rows).await,
                    None => true,
                };
                if told { wait } else { wait.min(TELL) }
            }
            Err(error) => {
                tracing::error!(%error, "certificates cannot be read");
                RETRY
            }
        };
        let ordered = async {
            match &mut agent {
                Some(agent) => agent.ordered().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = ordered => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Renews what is due; how long to wait then.
fn round(root: &Path, rows: &[Row], jitter: f64, validity: Duration) -> Duration {
    let plan = plan(rows, jitter, SystemTime::now());
    let mut wait = plan.wait;
    for entry in &plan.renew {
        match renew::renew(root, entry, validity) {
            Ok(()) => tracing::info!(name = entry.name, "renewed the {}", entry.purpose),
            Err(error) => tracing::error!(name = entry.name, %error, "not renewed"),
        }
        // Also for one that is due again at once.
        wait = wait.min(RETRY);
    }
    wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterConfiguration;
    use crate::node::files::ClusterKeys;

    #[test]
    fn what_is_due_is_renewed_and_then_nothing_is() {
        let config = ClusterConfiguration::new("c", "192.0.2.1:6443");
        let keys = ClusterKeys::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let files = crate::node::files::tests::control_plane_files(&config, &keys);
        crate::node::files::write(root, &files).unwrap();
        let now = SystemTime::now();
        let rows = |now| inspect::node("m1", root, true, now).unwrap();
        assert_eq!(plan(&rows(now), 0.5, now), Plan { renew: Vec::new(), wait: LOOK });

        let day = Duration::from_secs(24 * 3600);
        let later = now + day * 300;
        let due = plan(&rows(later), 0.5, later);
        let names: Vec<_> = due.renew.iter().map(|entry| entry.name).collect();
        assert_eq!(
            names,
            [
                "admin.conf",
                "apiserver",
                "apiserver-kubelet-client",
                "controller-manager.conf",
                "front-proxy-client",
                "scheduler.conf",
                "super-admin.conf",
            ]
        );
        let before: Vec<_> = rows(now).into_iter().map(|row| row.certificate).collect();
        for entry in &due.renew {
            renew::renew(root, entry, day * 700).unwrap();
        }
        assert!(plan(&rows(later), 0.5, later).renew.is_empty());
        for (row, before) in rows(now).iter().zip(before) {
            let Kind::Leaf(entry) = row.kind else { continue };
            if KUBELET.contains(&entry) {
                continue;
            }
            let (new, old) = (row.certificate.as_ref().unwrap(), before.unwrap());
            assert_eq!(row.problem, None, "{}", entry.name);
            assert_eq!((&new.common_name, &new.names), (&old.common_name, &old.names));
            assert!(new.not_after > old.not_after);
        }
    }

    #[test]
    fn one_that_ends_soon_is_waited_for_and_one_that_others_manage_is_left() {
        let config = ClusterConfiguration {
            certificate_validity_period: Some("100s".to_owned()),
            ..ClusterConfiguration::new("c", "192.0.2.1:6443")
        };
        let keys = ClusterKeys::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = crate::node::files::tests::control_plane_files(&config, &keys);
        crate::node::files::write(folder.path(), &files).unwrap();
        let now = SystemTime::now() + Duration::from_secs(40);
        let rows = || inspect::node("m1", folder.path(), true, now).unwrap();
        let wait = plan(&rows(), 0.0, now).wait;
        assert!(wait > Duration::from_secs(20) && wait < Duration::from_secs(30), "{wait:?}");
        std::fs::remove_file(folder.path().join("etc/kubernetes/pki/ca.key")).unwrap();
        let late = now + Duration::from_secs(3600);
        let rows = inspect::node("m1", folder.path(), true, late).unwrap();
        let names: Vec<_> = plan(&rows, 0.0, late).renew.iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["front-proxy-client"]);
    }
}
