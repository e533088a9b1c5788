//! `node` and `service`: single nodes of a cluster on this machine and what runs on them.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use cluster::node::control::Request;
use cluster::node::services::{self, Activity};
use cluster::plan::Role;
use cluster::progress::Progress;
use cluster::{inside, nodes, service};
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::clusters::{Named, clusters};

#[derive(Debug, Args)]
pub(crate) struct Node {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a node and wait until it is Ready
    Add {
        #[command(flatten)]
        cluster: Named,
        /// Run a further control plane, with a member of the cluster's etcd, rather than a worker
        #[arg(long)]
        control_plane: bool,
        /// Seconds after which a node that is not Ready is given up
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        wait: u64,
        /// Size of a disk of its own, such as 4Gi, for what it has below /var/lib; without it the
        /// node shares the disk of this machine and does not care how full that is
        #[arg(long, value_name = "SIZE", value_parser = size)]
        disk: Option<u64>,
    },
    /// Pull the plug of a node: its processes are gone at once, its files stay
    Poweroff {
        #[command(flatten)]
        one: One,
        /// Let its Pods end first, the critical ones last
        #[arg(long)]
        graceful: bool,
    },
    /// Boot a node that is off, with the files and the address it had
    Poweron(One),
    /// Cut a node off the network
    Disconnect(One),
    /// Connect a node that was cut off
    Connect(One),
    /// Set the clock of a node: of its kubelet and its control plane, not of users' containers
    Clock {
        #[command(flatten)]
        one: One,
        /// How far ahead of this machine's, as 2h; behind it, as -4m
        #[arg(long, value_name = "DURATION", value_parser = offset, allow_hyphen_values = true)]
        offset: i64,
    },
    /// Remove a node without draining it: plug, Node object and files, and its member of etcd
    Remove(One),
}

#[derive(Debug, Args)]
struct One {
    /// Name of the node
    node: String,
    #[command(flatten)]
    cluster: Named,
}

#[derive(Debug, Args)]
pub(crate) struct Service {
    /// What to do
    action: Action,
    /// kubelet or containerd; status shows both unless one is named
    service: Option<String>,
    /// Name of the node
    #[arg(long)]
    node: String,
    #[command(flatten)]
    cluster: Named,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Start it, unless it runs
    Start,
    /// End it; it stays so until it is started or its node boots
    Stop,
    /// End it, if it runs, and start it
    Restart,
    /// Show how it is; exits with 3 when one does not run
    Status,
}

/// A number of bytes, with a suffix of Kubernetes' quantities.
fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let factor: u64 = match unit {
        "" => 1,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err("give a number with M, Mi, G or Gi".to_owned()),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    // The program's own image alone takes some hundred megabytes.
    const LEAST: u64 = 1 << 30;
    match bytes {
        Some(bytes) if bytes >= LEAST => Ok(bytes),
        Some(_) => Err("a node needs 1Gi at least".to_owned()),
        None => Err("not a size".to_owned()),
    }
}

/// Seconds ahead, or behind.
fn offset(text: &str) -> Result<i64, String> {
    let (sign, span) = match text.strip_prefix('-') {
        Some(span) => (-1, span),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let span = apiserver::parse_duration(span).map_err(|error| error.to_string())?;
    i64::try_from(span.as_secs()).map(|seconds| sign * seconds).map_err(|error| error.to_string())
}

pub(crate) async fn node(flags: Node, shutdown: CancellationToken) -> anyhow::Result<()> {
    let clusters = clusters();
    match flags.verb {
        Verb::Add { cluster, control_plane, wait, disk } => {
            let role = if control_plane { Role::ControlPlane } else { Role::Worker };
            let options = nodes::Addition { patience: Duration::from_secs(wait), disk, role };
            let mut progress = Progress::start();
            let node =
                nodes::add(clusters, &cluster.name, &options, &mut progress, &shutdown).await?;
            println!("Node {node} has joined.");
        }
        Verb::Poweroff { one: One { node, cluster }, graceful } => {
            if graceful {
                nodes::shut_down(clusters, &cluster.name, &node).await?;
            } else {
                nodes::power_off(clusters, &cluster.name, &node).await?;
            }
            println!("Node {node} is off.");
        }
        Verb::Poweron(One { node, cluster }) => {
            nodes::power_on(clusters, &cluster.name, &node).await?;
            println!("Node {node} boots.");
        }
        Verb::Disconnect(One { node, cluster }) => {
            nodes::plug(clusters, &cluster.name, &node, false).await?;
            println!("Node {node} is disconnected.");
        }
        Verb::Connect(One { node, cluster }) => {
            nodes::plug(clusters, &cluster.name, &node, true).await?;
            println!("Node {node} is connected.");
        }
        Verb::Clock { one: One { node, cluster }, offset } => {
            inside::set_clock(clusters, &cluster.name, &node, offset)?;
            println!("The clock of node {node} is {offset} s ahead of this machine's.");
        }
        Verb::Remove(One { node, cluster }) => {
            nodes::remove(clusters, &cluster.name, &node).await?;
            println!(
                "Node {node} is removed: its processes, its Node object and its files. It was not \
                 drained; its Pods are replaced once controllers see that it is gone."
            );
        }
    }
    Ok(())
}

pub(crate) fn service(flags: Service) -> anyhow::Result<()> {
    let Service { action, service, node, cluster } = flags;
    let clusters = clusters();
    if action != Action::Status && service.is_none() {
        anyhow::bail!("name the service: kubelet or containerd");
    }
    let action = match action {
        Action::Start => services::Action::Start,
        Action::Stop => services::Action::Stop,
        Action::Restart => services::Action::Restart,
        Action::Status => services::Action::Status,
    };
    let request = Request { action, service };
    let all = service::act(clusters, &cluster.name, &node, &request)?;
    if action != services::Action::Status {
        return Ok(());
    }
    let texts: Result<Vec<_>, _> = all
        .iter()
        .map(|status| service::describe(clusters, &cluster.name, &node, status))
        .collect();
    println!("{}", texts?.join("\n\n"));
    // As `systemctl status`.
    const NOT_RUNNING: u8 = 3;
    if all.iter().any(|status| status.activity != Activity::Active) {
        return Err(Exit(NOT_RUNNING).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_or_behind() {
        for (text, seconds) in [("2h", 7200), ("+90s", 90), ("-4m", -240), ("0s", 0)] {
            assert_eq!(offset(text), Ok(seconds));
        }
        assert!(offset("soon").is_err() && offset("--4m").is_err());
    }
}
