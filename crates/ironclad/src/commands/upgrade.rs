//! `ironclad upgrade`: this release takes the place of the one that a cluster runs.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use cluster::site;
use cluster::upgrade::{self, Running, Upgrade, machine, skew};

use super::clusters::{clusters, print_table};

/// The kubeconfig with which a worker speaks.
const KUBELET: &str = "/etc/kubernetes/kubelet.conf";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the versions that run, what would take their place, and what stands in the way
    Plan(Site),
    /// Upgrade a cluster on this machine as a whole; on a real control plane, that and this host
    Apply(Apply),
    /// Upgrade this host, a worker whose control plane has been upgraded
    Node(Wait),
}

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct Site {
    /// Name of a cluster on this machine; this host itself unless there is one
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    site: Site,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Seconds that each thing may take to come up again
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    wait: u64,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Plan(flags) => plan(&flags).await,
        Command::Apply(flags) => apply(&flags).await,
        Command::Node(flags) => node(&flags).await,
    }
}

async fn plan(flags: &Site) -> anyhow::Result<()> {
    let (_, kubeconfig) = site::locate(clusters(), flags.name.as_deref())?;
    let running = upgrade::look(&site::connect(&kubeconfig).await?).await?;
    let target = upgrade::target()?;
    let Running { api_server, kubelets } = &running;
    let row = |component: &str, node: &str, current: &skew::Version| {
        [component.to_owned(), node.to_owned(), current.to_string(), target.to_string()]
    };
    let mut rows = vec![row("control plane", "", api_server)];
    rows.extend(kubelets.iter().map(|kubelet| row("kubelet", &kubelet.node, &kubelet.version)));
    print_table(["COMPONENT", "NODE", "CURRENT", "TARGET"], rows);
    let problems = skew::problems(target, *api_server, kubelets);
    if !problems.is_empty() {
        anyhow::bail!("this upgrade cannot be applied:\n{}", problems.join("\n"));
    }
    if *api_server == target && kubelets.iter().all(|kubelet| kubelet.version == target) {
        println!("\nNothing is left to upgrade.");
    } else {
        println!("\n`ironclad upgrade apply` upgrades, the control plane first.");
    }
    Ok(())
}

async fn apply(flags: &Apply) -> anyhow::Result<()> {
    let (machines, kubeconfig) = machine::find(clusters(), flags.site.name.as_deref())?;
    if !machines.iter().any(|machine| machine.control_plane) {
        anyhow::bail!("this host runs no control plane; `ironclad upgrade node` upgrades a worker");
    }
    let mut say = |line: String| println!("[upgrade] {line}");
    upgrading(&kubeconfig, &flags.wait, &mut say).await?.apply(&machines).await?;
    println!("[upgrade] Upgraded to {}", upgrade::target()?);
    Ok(())
}

async fn node(flags: &Wait) -> anyhow::Result<()> {
    let (machines, _) = machine::find(Path::new("/nonexistent"), None)?;
    let mut say = |line: String| println!("[upgrade] {line}");
    for machine in &machines {
        upgrading(Path::new(KUBELET), flags, &mut say).await?.node(machine).await?;
    }
    println!("[upgrade] This node was upgraded to {}", upgrade::target()?);
    Ok(())
}

async fn upgrading<'a>(
    kubeconfig: &Path,
    flags: &Wait,
    say: &'a mut dyn FnMut(String),
) -> anyhow::Result<Upgrade<'a>> {
    let client = site::connect(kubeconfig).await?;
    Ok(Upgrade { client, patience: Duration::from_secs(flags.wait), say })
}
