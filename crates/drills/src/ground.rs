//! The cluster that drills are run on: one that is there, or one that is made for them and removed
//! again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Client, ConnectOptions};
use cluster::plan::{self, Plan, Role};
use cluster::progress::Progress;
use cluster::state::{self, StateError};
use tokio_util::sync::CancellationToken;

use crate::drill::{Condition, Drill, LONGEST_VALIDITY, Needs, VALIDITY};
use crate::failure::Error;

/// How long a cluster may take to come up.
const PATIENCE: Duration = Duration::from_secs(300);

/// A cluster to run drills on.
pub(crate) struct Ground {
    pub(crate) clusters: PathBuf,
    pub(crate) name: String,
    pub(crate) client: Client,
    /// Whether it was made for the drills.
    own: bool,
}

// === impl Ground ===

impl Ground {
    /// The cluster `name`, if it has what the drills need.
    pub(crate) async fn named(
        clusters: &Path,
        name: &str,
        drills: &[&'static Drill],
    ) -> Result<Self, Error> {
        let plan = plan_of(clusters, name)?;
        let ending = plan.config().certificate_validity() <= LONGEST_VALIDITY;
        let has = Needs {
            condition: if ending { Condition::Ending } else { Condition::Usual },
            nodes: plan.nodes.len(),
            control_planes: plan.control_planes().count(),
        };
        for drill in drills {
            let needs = drill.needs;
            if !has.meets(needs) {
                return Err(Error::TooSmall { name: name.into(), has, drill: drill.name, needs });
            }
        }
        Self::connect(clusters, name.to_owned(), false).await
    }

    /// A new cluster with a name of its own.
    pub(crate) async fn make(
        clusters: &Path,
        needs: Needs,
        shutdown: &CancellationToken,
    ) -> Result<Self, Error> {
        let name = format!("drill-{:06x}", rand::random::<u32>() & 0xff_ffff);
        let options = cluster::up::Options {
            clusters: clusters.to_owned(),
            request: plan::Request {
                control_planes: needs.control_planes,
                certificate_validity: match needs.condition {
                    Condition::Ending => Some(VALIDITY.to_owned()),
                    Condition::Usual | Condition::Spent => None,
                },
                ..plan::Request::new(&name, needs.nodes)
            },
            registries: cluster::registries::Registries::default(),
            snapshots: None,
            images: None,
            retain: false,
            patience: PATIENCE,
        };
        let mut progress = Progress::start();
        match cluster::up::up(&options, &mut progress, shutdown).await {
            Ok(()) => {}
            Err(cluster::up::UpError::Interrupted) => return Err(Error::Interrupted),
            Err(error) => return Err(Error::Up(Box::new(error))),
        }
        Self::connect(clusters, name, true).await
    }

    async fn connect(clusters: &Path, name: String, own: bool) -> Result<Self, Error> {
        let options = ConnectOptions {
            kubeconfig: Some(state::kubeconfig(clusters, &name)),
            user_agent: "ironclad-drill".to_owned(),
        };
        let client = client::connect(&options).await?;
        Ok(Self { clusters: clusters.to_owned(), name, client, own })
    }

    /// Removes it, if it was made for the drills.
    pub(crate) async fn leave(self) -> Result<(), Error> {
        if !self.own {
            return Ok(());
        }
        let mut progress = Progress::start();
        progress.doing("Removing the cluster");
        let removed = cluster::down::down(&self.clusters, &self.name).await;
        removed
            .map_err(|source| Error::Down { name: self.name.clone(), source: Box::new(source) })?;
        progress.done(&format!("Removed cluster {:?}", self.name));
        Ok(())
    }

    /// The names of its nodes: all, and those of the control plane.
    pub(crate) fn nodes(&self) -> Result<(Vec<String>, Vec<String>), Error> {
        let plan = plan_of(&self.clusters, &self.name)?;
        let control_planes = plan.nodes.iter().filter(|node| node.role == Role::ControlPlane);
        let control_planes = control_planes.map(|node| node.name.clone()).collect();
        Ok((plan.nodes.iter().map(|node| node.name.clone()).collect(), control_planes))
    }
}

fn plan_of(clusters: &Path, name: &str) -> Result<Plan, Error> {
    let found = state::all(clusters).into_iter().find(|cluster| cluster.plan.name == name);
    Ok(found.ok_or_else(|| StateError::Missing(name.to_owned()))?.plan)
}
