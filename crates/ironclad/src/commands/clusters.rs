//! `up`, `down`, `status` and `kubeconfig`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use cluster::plan::{Request, Store};
use cluster::progress::Progress;
use cluster::state::{self, StateError};
use tokio_util::sync::CancellationToken;

use super::registries;

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name of the cluster
    #[arg(long, default_value = "ironclad")]
    pub(super) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    cluster: Named,
    /// How many nodes in all: the first ones are control planes, the others are workers; 3 unless
    /// there are more control planes
    #[arg(long)]
    nodes: Option<usize>,
    /// How many of them are control planes: 1, or 3, 5 or 7 that share a virtual address
    #[arg(long, default_value_t = 1, value_name = "N")]
    control_planes: usize,
    /// Where objects are kept; etcd, with a member on every control plane, if there are several of them
    #[arg(long)]
    store: Option<StoreKind>,
    #[command(flatten)]
    snapshots: Snapshots,
    /// A folder of image archives (docker or OCI) that every node gets
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// How long certificates are good; they are renewed long before
    #[arg(long, value_name = "DURATION")]
    certificate_validity: Option<String>,
    #[command(flatten)]
    registries: registries::Flags,
    /// Leave what is there of a cluster that does not come up
    #[arg(long)]
    retain: bool,
    /// Seconds after which a cluster that is not there is given up
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    wait: u64,
}

/// Where the objects of a new cluster are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StoreKind {
    /// In a file of the one API server
    Embedded,
    /// In an etcd cluster that runs on the control planes
    Etcd,
}

/// Snapshots by a schedule.
#[derive(Debug, Args)]
pub(super) struct Snapshots {
    /// Time between snapshots of the store that are taken by themselves, such as 1h; none unless given
    #[arg(long, value_name = "DURATION", value_parser = apiserver::parse_duration)]
    snapshot_every: Option<Duration>,
    /// How many of these snapshots each control plane keeps
    #[arg(long, value_name = "N", default_value_t = 24, requires = "snapshot_every")]
    snapshot_keep: usize,
}

impl Snapshots {
    /// How often, and how many are kept.
    pub(super) fn schedule(&self) -> Option<(Duration, usize)> {
        let every = self.snapshot_every.filter(|every| !every.is_zero())?;
        Some((every, self.snapshot_keep))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only the cluster of this name
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    #[command(flatten)]
    cluster: Named,
    /// Print the path of the file rather than what is in it
    #[arg(long)]
    path: bool,
}

pub(super) fn clusters() -> &'static Path {
    Path::new(state::CLUSTERS)
}

pub(crate) async fn up(flags: Up, shutdown: CancellationToken) -> anyhow::Result<()> {
    let options = cluster::up::Options {
        clusters: clusters().to_owned(),
        snapshots: flags.snapshots.schedule(),
        request: Request {
            name: flags.cluster.name,
            nodes: flags.nodes.unwrap_or(flags.control_planes.max(3)),
            control_planes: flags.control_planes,
            store: flags.store.map(|kind| match kind {
                StoreKind::Embedded => Store::Embedded,
                StoreKind::Etcd => Store::Etcd,
            }),
            certificate_validity: flags.certificate_validity,
        },
        images: flags.images,
        registries: flags.registries.registries()?,
        retain: flags.retain,
        patience: Duration::from_secs(flags.wait),
    };
    let mut progress = Progress::start();
    cluster::up::up(&options, &mut progress, &shutdown).await?;
    let name = &options.request.name;
    eprintln!("\nCluster {name:?} is up after {}. To use it:\n", progress.total());
    eprintln!("  export KUBECONFIG={}", state::kubeconfig(clusters(), name).display());
    Ok(())
}

pub(crate) async fn down(flags: Named) -> anyhow::Result<()> {
    let mut progress = Progress::start();
    progress.doing("Removing the cluster");
    cluster::down::down(clusters(), &flags.name).await.inspect_err(|_| progress.interrupt())?;
    progress.done(&format!("Removed cluster {:?}", flags.name));
    Ok(())
}

pub(crate) async fn status(flags: Status) -> anyhow::Result<()> {
    let rows = cluster::status::table(clusters(), flags.name.as_deref()).await;
    if rows.is_empty() {
        if let Some(name) = flags.name {
            return Err(StateError::Missing(name).into());
        }
        eprintln!("No clusters found.");
        return Ok(());
    }
    print_table(cluster::status::HEAD, rows);
    Ok(())
}

/// Prints rows in columns, below a head.
pub(super) fn print_table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) {
    let all: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..N).map(width).collect();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("   ").trim_end());
    }
}

pub(crate) fn kubeconfig(flags: &Kubeconfig) -> anyhow::Result<()> {
    let name = &flags.cluster.name;
    let path = state::kubeconfig(clusters(), name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Err(StateError::Missing(name.clone()).into());
    };
    if flags.path {
        println!("{}", path.display());
    } else {
        print!("{text}");
    }
    Ok(())
}
