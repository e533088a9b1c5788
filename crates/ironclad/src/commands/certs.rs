//! `ironclad certs`: the certificates of a cluster.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use cluster::certificates::inspect::{self, Row};
use cluster::certificates::inventory::{self, AUTHORITIES, CONTROL_PLANE, SERVICE_ACCOUNTS};
use cluster::certificates::{keep as keeper, renew, rotate};
use cluster::site::{self, NodeFiles};
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::clusters::{clusters, print_table};

/// How long certificates are good unless something else is said.
const YEAR: &str = "8760h";
/// API servers read new keys within moments, and only one of several is asked whether it did.
const OTHER_SERVERS: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show certificates and when they end; exits with 1 when one has ended, is about to, or is wrong
    Check(Check),
    /// Issue certificates of the control plane anew, with what the old ones say
    Renew(Renew),
    /// Replace an authority, in steps, while everything runs; members of etcd are restarted one by one
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
    /// Which one
    #[arg(long, default_value = AUTHORITIES[0].name, value_parser = AUTHORITIES.map(|root| root.name), value_name = "NAME")]
    authority: String,
    /// Leave the old authority trusted, until the command is run again without this
    #[arg(long)]
    keep_old: bool,
    /// Time that clients get which nobody hears of, before a new authority signs and before the old one is dropped
    #[arg(long, default_value = "60s", value_parser = apiserver::parse_duration, value_name = "DURATION")]
    grace: Duration,
    /// Time that control planes and nodes get to follow a step
    #[arg(long, default_value = "10m", value_parser = apiserver::parse_duration, value_name = "DURATION")]
    wait: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RotateSaKey {
    #[command(flatten)]
    site: Site,
    /// Time that API servers get to read the new key before it signs, and control planes to follow a step
    #[arg(long, default_value = "90s", value_parser = apiserver::parse_duration, value_name = "DURATION")]
    wait: Duration,
    /// Drop the old key, an hour or more after the new one began to sign
    #[arg(long)]
    finish: bool,
    /// Drop it even if tokens that it signed are still in use
    #[arg(long, requires = "finish")]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Name of the Node of this control plane; the host name unless given
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// How long renewed certificates are good
    #[arg(long, default_value = YEAR, value_parser = apiserver::parse_duration, value_name = "DURATION")]
    validity: Duration,
}

pub(crate) async fn keep(flags: Keep, shutdown: CancellationToken) -> anyhow::Result<()> {
    let node = flags.node_name.unwrap_or_else(cluster::host::default_name);
    keeper::keep(Path::new("/"), &node, flags.validity, shutdown).await;
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

async fn rotate_ca(flags: &RotateCa) -> anyhow::Result<()> {
    let (nodes, kubeconfig) = control_planes(&flags.site)?;
    let client = site::connect(&kubeconfig).await?;
    let options = rotate::Options {
        validity: nodes[0].certificate_validity(),
        patience: flags.wait,
        grace: flags.grace,
        keep_old: flags.keep_old,
        force: false,
    };
    let what = inventory::authority(&flags.authority);
    let mut say = |line: String| println!("[rotate-ca] {line}");
    if rotate::rotate(&nodes[0].root, what, &client, &options, &mut say).await? {
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
    let options = rotate::Options {
        validity: Duration::ZERO,
        patience: flags.wait,
        grace: OTHER_SERVERS,
        keep_old: !flags.finish,
        force: flags.force,
    };
    let root = &nodes[0].root;
    let mut say = |line: String| println!("[rotate-sa-key] {line}");
    if flags.force {
        eprintln!(
            "WARNING: Pods whose tokens the old key signed are locked out until their kubelets get \
             them others"
        );
    }
    if flags.finish {
        rotate::finish(root, &client, &options, &mut say).await?;
        println!("[rotate-sa-key] The old key is forgotten");
        return Ok(());
    }
    rotate::rotate(root, SERVICE_ACCOUNTS, &client, &options, &mut say).await?;
    println!(
        "[rotate-sa-key] The new key signs, and the old one is still trusted; after an hour \
         `ironclad certs rotate-sa-key --finish` drops it"
    );
    Ok(())
}
