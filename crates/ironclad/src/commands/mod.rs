//! The subcommands and how each is started.

mod bench;
mod certs;
mod clusters;
mod dns;
mod drill;
mod features;
mod hosts;
mod image;
mod kube_apiserver;
mod kube_controller_manager;
mod kube_proxy;
mod kube_scheduler;
mod kubelet;
mod nodes;
mod registries;
mod snapshot;
mod store;
mod upgrade;
mod virtual_ip;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use component::errors;
use tokio_util::sync::CancellationToken;

use crate::{clock, memory};

/// Kubernetes v1.36 in one program.
#[derive(Debug, Parser)]
#[command(name = "ironclad", version = component::version::release(), about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How much is logged: 0 for what matters, 3 for every request, 4 for every decision, 6 for every step
    #[arg(long = "v", short = 'v', global = true, default_value_t = 0, value_name = "LEVEL")]
    verbosity: u8,
    /// How a line of the log is written: text or json
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    logging_format: component::logging::Format,
    /// The file that says how far the clock of this node is off (given to what runs on nodes in
    /// namespaces)
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    clock_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a cluster of several nodes on this machine
    Up(clusters::Up),
    /// Remove a cluster and all that it put on this machine
    Down(clusters::Named),
    /// Show the clusters of this machine and their nodes
    Status(clusters::Status),
    /// Print the kubeconfig of a cluster
    Kubeconfig(clusters::Kubeconfig),
    /// Check, renew and replace certificates and keys
    #[command(subcommand)]
    Certs(certs::Command),
    /// Save, list, check and restore the state of a cluster
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Import image archives into nodes, and list the images of nodes
    #[command(subcommand)]
    Image(image::Command),
    /// Check, repair and defragment the store of an API server
    #[command(subcommand)]
    Store(store::Command),
    /// Add a node, switch one off and on, cut it off the network, or remove it
    Node(nodes::Node),
    /// Start, stop or look at the kubelet or the container runtime of a node
    Service(nodes::Service),
    /// Break a cluster on purpose, and see it recover
    #[command(subcommand)]
    Drill(drill::Command),
    /// Make this host the control plane of a new cluster
    Init(Box<hosts::Init>),
    /// Bring this host into a cluster
    Join(Box<hosts::Join>),
    /// Undo what init or join did to this host
    Reset(hosts::Reset),
    /// Let this release take the place of the one that a cluster runs
    #[command(subcommand)]
    Upgrade(upgrade::Command),
    /// Make, show and remove the tokens with which nodes join
    Token(hosts::Tokens),
    /// Measure an API server
    Bench(bench::Bench),
    /// Serve the Kubernetes API from the embedded store
    KubeApiserver(Box<kube_apiserver::Flags>),
    /// Run the controllers
    KubeControllerManager(kube_controller_manager::Flags),
    /// Assign Pods to nodes
    KubeScheduler(kube_scheduler::Flags),
    /// Run the Pods of this node
    Kubelet(kubelet::Flags),
    /// Make Services reachable from this node
    KubeProxy(kube_proxy::Flags),
    /// Answer the DNS names of Services and Pods
    Dns(dns::Flags),
    /// Hold the one address of several control planes whenever this one may
    VirtualIp(virtual_ip::Flags),
    /// Be the first process of a node in namespaces (started by `up`)
    #[command(hide = true)]
    NodeInit {
        /// The file that describes the node
        #[arg(long)]
        spec: PathBuf,
    },
}

/// Runs what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let (verbosity, format) = (arguments.verbosity, arguments.logging_format);
    if let Some(file) = arguments.clock_file {
        clock::begin(file);
    }
    let result = match arguments.command {
        // Many cores for the one process that serves all others; the others wait most of the time
        // and a thread each keeps them small.
        Command::KubeApiserver(flags) => {
            component::logging::init(verbosity, format);
            parallel(|shutdown| kube_apiserver::run(*flags, shutdown))
        }
        Command::KubeControllerManager(flags) => {
            component::logging::init(verbosity, format);
            single(|shutdown| kube_controller_manager::run(flags, shutdown))
        }
        Command::KubeScheduler(flags) => {
            component::logging::init(verbosity, format);
            single(|shutdown| kube_scheduler::run(flags, shutdown))
        }
        Command::Kubelet(flags) => {
            component::logging::init(verbosity, format);
            single(|shutdown| kubelet::run(flags, shutdown))
        }
        Command::KubeProxy(flags) => {
            component::logging::init(verbosity, format);
            single(|shutdown| kube_proxy::run(flags, shutdown))
        }
        Command::Dns(flags) => {
            component::logging::init(verbosity, format);
            single(|shutdown| dns::run(flags, shutdown))
        }
        Command::VirtualIp(flags) => {
            component::logging::init(verbosity, format);
            single(|shutdown| virtual_ip::run(flags, shutdown))
        }
        Command::NodeInit { spec } => {
            component::logging::init(verbosity, format);
            cluster::node::init::run(&spec).map_err(Into::into)
        }
        Command::Up(flags) => single(|shutdown| clusters::up(flags, shutdown)),
        Command::Down(flags) => single(|_| clusters::down(flags)),
        Command::Status(flags) => single(|_| clusters::status(flags)),
        Command::Kubeconfig(flags) => clusters::kubeconfig(&flags),
        Command::Certs(certs::Command::Keep(flags)) => {
            component::logging::init(verbosity, format);
            single(|shutdown| certs::keep(flags, shutdown))
        }
        Command::Certs(command) => single(|_| certs::run(command)),
        Command::Snapshot(command) => single(|_| snapshot::run(command)),
        Command::Image(command) => single(|_| image::run(command)),
        Command::Store(command) => single(|_| store::run(command)),
        Command::Node(flags) => single(|shutdown| nodes::node(flags, shutdown)),
        Command::Service(flags) => nodes::service(flags),
        Command::Drill(command) => single(|shutdown| drill::run(command, shutdown)),
        Command::Init(flags) => single(|shutdown| hosts::init(*flags, shutdown)),
        Command::Join(flags) => single(|shutdown| hosts::join(*flags, shutdown)),
        Command::Reset(flags) => single(|_| hosts::reset(flags)),
        Command::Upgrade(command) => single(|_| upgrade::run(command)),
        Command::Token(flags) => single(|_| hosts::token(flags)),
        Command::Bench(flags) => parallel(|shutdown| bench::run(flags, shutdown)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            Some(Exit(code)) => ExitCode::from(*code),
            None => {
                eprintln!("error: {}", errors::chain(error.as_ref()));
                ExitCode::FAILURE
            }
        },
    }
}

/// Nothing went wrong, but the exit code says something.
#[derive(Debug)]
struct Exit(u8);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

fn parallel<F, W>(work: F) -> anyhow::Result<()>
where
    F: FnOnce(CancellationToken) -> W,
    W: Future<Output = anyhow::Result<()>>,
{
    run_on(tokio::runtime::Builder::new_multi_thread(), work)
}

fn single<F, W>(work: F) -> anyhow::Result<()>
where
    F: FnOnce(CancellationToken) -> W,
    W: Future<Output = anyhow::Result<()>>,
{
    run_on(tokio::runtime::Builder::new_current_thread(), work)
}

fn run_on<F, W>(mut runtime: tokio::runtime::Builder, work: F) -> anyhow::Result<()>
where
    F: FnOnce(CancellationToken) -> W,
    W: Future<Output = anyhow::Result<()>>,
{
    let runtime = runtime.enable_all().on_thread_park(memory::give_back).build()?;
    runtime.block_on(async {
        tokio::spawn(clock::follow());
        work(component::signal::shutdown_token()?).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn no_two_flags_are_called_the_same() {
        Arguments::command().debug_assert();
    }
}
