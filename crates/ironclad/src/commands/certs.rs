//! `ironclad certs`: the certificates of a cluster.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use cluster::certificates::inspect::{self, Row};
use cluster::certificates::inventory::{self, CONTROL_PLANE};
use cluster::certificates::rotate::{self, Member};
use cluster::certificates::{keep as keeper, renew, service_accounts};
use cluster::site::{self, NodeFiles};
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::clusters::{clusters, print_table};

/// How long certificates are good unless something else is said.
const YEAR: &str = "8760h";
/// How long API servers may take to read new keys.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show certificates and when they end; exits with 1 when one has ended, is about to, or is wrong
    Check(Check),
    /// Issue certificates of the control plane anew, with what the old ones say
    Renew(Renew),
    /// Replace the authority of the cluster, in steps, while everything runs
    RotateCa(RotateCa),
    /// Replace the key that service-account tokens are signed with
    RotateSaKey(RotateSaKey),
    /// Renew the certificates of this control plane in time (started as a static Pod)
    Keep(Keep),
}

/// Which cluster.
#[derive(Debug, Args)]
struct Site {
    /// Name of a cluster on this machine; this host itself unless there is one
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    site: Site,
    /// How much time there has to be left
    #[arg(long, default_value = "0s", value_parser = apiserver::parse_duration, value_name = "DURATION")]
    within: Duration,
    /// How it is shown
    #[arg(long, short = 'o', default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table
    Text,
    /// A document, as kubeadm's
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// Names of certificates, or all of them
    #[arg(required = true, value_name = "all|NAME")]
    certificates: Vec<String>,
    #[command(flatten)]
    site: Site,
    /// How long the new ones are good; as was chosen for the cluster unless given
    #[arg(long, value_parser = apiserver::parse_duration, value_name = "DURATION")]
    validity: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateCa {
    #[command(flatten)]
    site: Site,
    /// Leave the old authority trusted, until the command is run again without this
    #[arg(long)]
    keep_old: bool,
    /// Time that clients get which nobody hears of, before a new authority signs and before the old one is dropped
    #[arg(long, default_value = "60s", value_parser = apiserver::parse_duration, value_name = "DURATION")]
    grace: Duration,
    /// Time that nodes get to follow a step
    #[arg(long, default_value = "10m", value_parser = apiserver::parse_duration, value_name = "DURATION")]
    wait: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RotateSaKey {
    #[command(flatten)]
    site: Site,
    /// Drop the old key, an hour or more after the new one began to sign
    #[arg(long)]
    finish: bool,
    /// Drop it even if tokens that it signed are still in use
    #[arg(long, requires = "finish")]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// How long renewed certificates are good
    #[arg(long, default_value = YEAR, value_parser = apiserver::parse_duration, value_name = "DURATION")]
    validity: Duration,
}

pub(crate) async fn keep(flags: Keep, shutdown: CancellationToken) -> anyhow::Result<()> {
    keeper::keep(Path::new("/"), flags.validity, shutdown).await;
    Ok(())
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check(flags) => check(&flags),
        Command::Renew(flags) => renew(&flags),
        Command::RotateCa(flags) => rotate_ca(&flags).await,
        Command::RotateSaKey(flags) => rotate_sa_key(&flags).await,
        Command::Keep(flags) => keep(flags, CancellationToken::new()).await,
    }
}

fn check(flags: &Check) -> anyhow::Result<()> {
    let (nodes, _) = site::locate(clusters(), flags.site.name.as_deref())?;
    let now = SystemTime::now();
    let mut rows: Vec<Row> = Vec::new();
    for node in &nodes {
        rows.extend(inspect::node(&node.name, &node.root, node.control_plane, now)?);
    }
    match flags.output {
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(&inspect::document(&rows, now))?);
        }
        Output::Text => {
            print_table(inspect::HEAD, rows.iter().map(|row| row.cells(now)).collect());
        }
    }
    if rows.iter().any(|row| row.is_alarming(flags.within, now)) {
        return Err(Exit(1).into());
    }
    Ok(())
}

/// The control planes of a cluster, and the kubeconfig of their administrator: as the first of them
/// sees it, so that a change is noticed.
fn control_planes(site: &Site) -> anyhow::Result<(Vec<NodeFiles>, std::path::PathBuf)> {
    let (mut nodes, _) = site::locate(clusters(), site.name.as_deref())?;
    nodes.retain(|node| node.control_plane);
    if nodes.is_empty() {
        anyhow::bail!("this host runs no control plane; name a cluster with --name");
    }
    let kubeconfig = nodes[0].root.join("etc/kubernetes/admin.conf");
    Ok((nodes, kubeconfig))
}

fn renew(flags: &Renew) -> anyhow::Result<()> {
    let (nodes, _) = control_planes(&flags.site)?;
    let all = flags.certificates == ["all"];
    for name in flags.certificates.iter().filter(|_| !all) {
        if !CONTROL_PLANE.iter().any(|entry| entry.name == name) {
            let known: Vec<_> = CONTROL_PLANE.iter().map(|entry| entry.name).collect();
            anyhow::bail!("there is no certificate {name:?}; there are {}", known.join(", "));
        }
    }
    let mut failed = false;
    for node in &nodes {
        let validity = flags.validity.unwrap_or_else(|| node.certificate_validity());
        let expected: Vec<_> = inventory::expected(&node.root).collect();
        for entry in &CONTROL_PLANE {
            let named = flags.certificates.iter().any(|name| name == entry.name);
            if !(named || all && expected.contains(&entry)) {
                continue;
            }
            match renew::renew(&node.root, entry, validity) {
                Ok(()) => println!("{}: {} renewed", node.name, entry.purpose),
                Err(error) => {
                    eprintln!("{}: {error}", node.name);
                    failed = true;
                }
            }
        }
    }
    if failed { Err(Exit(1).into()) } else { Ok(()) }
}

fn members(nodes: &[NodeFiles]) -> Vec<Member> {
    let member = |node: &NodeFiles| Member { name: node.name.clone(), root: node.root.clone() };
    nodes.iter().map(member).collect()
}

/// Control planes elsewhere, whose files cannot be reached from here.
async fn alone(client: &kube::Client, nodes: &[NodeFiles]) -> anyhow::Result<()> {
    use k8s_openapi::api::core::v1::Node;
    let api: kube::Api<Node> = kube::Api::all(client.clone());
    let label = kube::api::ListParams::default().labels("node-role.kubernetes.io/control-plane");
    let known = api.list_metadata(&label).await?;
    let elsewhere: Vec<_> = known
        .items
        .iter()
        .filter_map(|node| node.metadata.name.as_deref())
        .filter(|name| nodes.iter().all(|node| node.name != *name))
        .collect();
    if !elsewhere.is_empty() {
        anyhow::bail!(
            "the control plane runs on {} too, whose files cannot be reached from here",
            elsewhere.join(", ")
        );
    }
    Ok(())
}

async fn rotate_ca(flags: &RotateCa) -> anyhow::Result<()> {
    let (nodes, kubeconfig) = control_planes(&flags.site)?;
    let client = site::connect(&kubeconfig).await?;
    alone(&client, &nodes).await?;
    let options = rotate::Options {
        validity: nodes[0].certificate_validity(),
        patience: flags.wait,
        grace: flags.grace,
        keep_old: flags.keep_old,
    };
    let mut say = |line: String| println!("[rotate-ca] {line}");
    if rotate::rotate(&members(&nodes), &client, &options, &mut say).await? {
        println!("[rotate-ca] The new authority has taken over");
    } else {
        println!(
            "[rotate-ca] The new authority signs, and the old one is still trusted; without \
             --keep-old the command drops it"
        );
    }
    Ok(())
}

async fn rotate_sa_key(flags: &RotateSaKey) -> anyhow::Result<()> {
    let (nodes, kubeconfig) = control_planes(&flags.site)?;
    let client = site::connect(&kubeconfig).await?;
    alone(&client, &nodes).await?;
    let members = members(&nodes);
    if flags.finish {
        service_accounts::finish(&members, SystemTime::now(), flags.force)?;
        println!("[rotate-sa-key] The old key is forgotten");
        return Ok(());
    }
    service_accounts::rotate(&members, &client, PATIENCE).await?;
    println!(
        "[rotate-sa-key] The new key signs, and the old one is still trusted; after an hour \
         `ironclad certs rotate-sa-key --finish` drops it"
    );
    Ok(())
}
