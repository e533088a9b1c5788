//! What an administrator does to single nodes of a running cluster on this machine.

mod control_plane;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::ConnectOptions;
use k8s_openapi::api::core::v1::Node;
use kube::api::DeleteParams;
use kube::config::Kubeconfig;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::layout::{Admission, Layout, LayoutError};
use crate::network::{self, NetworkError};
use crate::node::control::{self, ControlError, Request};
use crate::node::disk;
use crate::node::services::Action;
use crate::plan::{NodePlan, PlanError, Role};
use crate::power::{self, PowerError};
use crate::preflight::{self, NotReady};
use crate::progress::Progress;
use crate::state::{self, Cluster, Folder, Process, StateError};
use crate::tokens::{self, TokenError};
use crate::up::{self, UpError};

/// What an added node is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Addition {
    /// How long it may take to become Ready.
    pub patience: Duration,
    /// Bytes of a disk of its own, rather than this machine's.
    pub disk: Option<u64>,
    /// What it is to do.
    pub role: Role,
}

/// How long the token is good with which a node joins.
const TOKEN_TTL: Duration = Duration::from_secs(600);

/// How long the API may take to answer elsewhere when a control plane is gone.
const MOVING: Duration = Duration::from_secs(60);
/// Between attempts to reach it.
const POLL: Duration = Duration::from_millis(500);

/// Why a node is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The state could not be read or written, or another command holds it.
    #[error(transparent)]
    State(#[from] StateError),
    /// `up` did not get far enough.
    #[error("cluster {0:?} is not complete; `ironclad down --name {0}` removes it")]
    Incomplete(String),
    /// No such node.
    #[error("cluster {cluster:?} has no node {node:?}; it has {}", known.join(", "))]
    Unknown {
        /// The cluster.
        cluster: String,
        /// What was asked for.
        node: String,
        /// The nodes that there are.
        known: Vec<String>,
    },
    /// It runs already.
    #[error("node {0} is running")]
    Running(String),
    /// It does not run.
    #[error("node {0} is not running; `ironclad node poweron {0}` starts it")]
    Off(String),
    /// Without it there is no cluster.
    #[error(
        "node {0} runs the only control plane; `ironclad down` removes the cluster, `ironclad node poweroff {0}` switches it off"
    )]
    ControlPlane(String),
    /// All others look for the API there.
    #[error(
        "all nodes reach the API server at the address of node {0}; only a cluster that was made with `ironclad up --control-planes 3` has an address that goes to another"
    )]
    Endpoint(String),
    /// The store would stop.
    #[error("node {node} cannot be removed, or etcd stops: {reason}")]
    Quorum {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// It is not known how the others are.
    #[error("the etcd member on {node}: {source}")]
    Look {
        /// The node.
        node: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The members of etcd, or the keys of the cluster.
    #[error(transparent)]
    Host(#[from] crate::host::HostError),
    /// Its Node is not marked.
    #[error(transparent)]
    Addon(#[from] crate::addons::AddonError),
    /// It could not be switched on or off.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// Its supervisor did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Its cable could not be moved.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// There are no credentials for the API.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// The API server did not delete the Node.
    #[error(
        "node {node} is switched off, but its Node object could not be deleted: {source}; repeat the command once the API server answers"
    )]
    Delete {
        /// The node.
        node: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// This machine can hold no node.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// There is no place for another node.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its files could not be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It got no token to join with.
    #[error("no token for the new node: {0}")]
    Token(#[from] TokenError),
    /// The cluster's kubeconfig is of no use.
    #[error("{}: it names no authority", .0.display())]
    Authority(PathBuf),
    /// It did not become Ready.
    #[error(transparent)]
    Wait(Box<UpError>),
    /// The user gave up.
    #[error("interrupted")]
    Interrupted,
    /// A file is left.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The cluster `name` and what is written down of it, for this process alone.
fn open(clusters: &Path, name: &str) -> Result<(Folder, Cluster), NodeError> {
    let folder = Folder::open(clusters, name, false)?;
    let cluster = folder.read().ok_or_else(|| NodeError::Incomplete(name.to_owned()))?;
    Ok((folder, cluster))
}

fn find(cluster: &Cluster, node: &str) -> Result<NodePlan, NodeError> {
    let found = cluster.plan.nodes.iter().find(|known| known.name == node);
    found.cloned().ok_or_else(|| NodeError::Unknown {
        cluster: cluster.plan.name.clone(),
        node: node.to_owned(),
        known: cluster.plan.nodes.iter().map(|node| node.name.clone()).collect(),
    })
}

fn runs(cluster: &Cluster, node: &str) -> bool {
    cluster.nodes.get(node).is_some_and(Process::runs)
}

/// The folder of `node` of cluster `name`, for looking at it while other commands work.
///
/// # Errors
/// [`NodeError`] when there is no such cluster or node.
pub fn folder(clusters: &Path, name: &str, node: &str) -> Result<PathBuf, NodeError> {
    let missing = || StateError::Missing(name.to_owned());
    let cluster = state::all(clusters).into_iter().find(|cluster| cluster.plan.name == name);
    let node = find(&cluster.ok_or_else(missing)?, node)?;
    Ok(state::node(clusters, name, &node.name))
}

/// Pulls the plug of `node`: all its processes are gone at once, and its files stay.
///
/// # Errors
/// [`NodeError::Off`] when it does not run, or what is left.
pub async fn power_off(clusters: &Path, name: &str, node: &str) -> Result<(), NodeError> {
    let (folder, mut cluster) = open(clusters, name)?;
    let node = find(&cluster, node)?;
    if !runs(&cluster, &node.name) {
        return Err(NodeError::Off(node.name));
    }
    Ok(power::off(&folder, &mut cluster, &node).await?)
}

/// Has the kubelet of `node` end its Pods, and pulls the plug then.
///
/// # Errors
/// [`NodeError::Off`] when it does not run, or what went wrong; its plug is not pulled then.
pub async fn shut_down(clusters: &Path, name: &str, node: &str) -> Result<(), NodeError> {
    let path = folder(clusters, name, node)?;
    let request = Request { action: Action::Shutdown, service: Some("kubelet".to_owned()) };
    control::ask(node, &path, &request)?;
    power_off(clusters, name, node).await
}

/// Boots `node`, with the files and the address it had.
///
/// # Errors
/// [`NodeError::Running`] when it runs, or what failed.
pub async fn power_on(clusters: &Path, name: &str, node: &str) -> Result<(), NodeError> {
    let (folder, mut cluster) = open(clusters, name)?;
    let node = find(&cluster, node)?;
    if runs(&cluster, &node.name) {
        return Err(NodeError::Running(node.name));
    }
    // Whatever is left if it was not switched off but died.
    power::off(&folder, &mut cluster, &node).await?;
    Ok(power::on(&folder, &mut cluster, &node).await?)
}

/// Pulls the network cable of `node`, or puts it in again.
///
/// # Errors
/// [`NodeError::Off`] when it does not run, or what failed.
pub async fn plug(
    clusters: &Path,
    name: &str,
    node: &str,
    connected: bool,
) -> Result<(), NodeError> {
    let (_folder, cluster) = open(clusters, name)?;
    let node = find(&cluster, node)?;
    if !runs(&cluster, &node.name) {
        return Err(NodeError::Off(node.name));
    }
    Ok(network::plug(&node, connected).await?)
}

/// Adds a worker, which joins with a token as real hosts do, or a control plane with a member of etcd,
/// and waits until it is Ready. What a failed attempt made is removed again.
///
/// # Errors
/// [`NodeError`] with the step that failed.
pub async fn add(
    clusters: &Path,
    name: &str,
    options: &Addition,
    progress: &mut Progress,
    shutdown: &CancellationToken,
) -> Result<String, NodeError> {
    let patience = options.patience;
    progress.doing("Checking this host");
    let facts = preflight::check(1, usize::from(options.role == Role::ControlPlane))?;
    let (folder, mut cluster) = open(clusters, name)?;
    let client = connect(clusters, name).await?;
    let node = match options.role {
        Role::Worker => cluster.plan.worker()?,
        Role::ControlPlane => cluster.plan.further_control_plane()?,
    };
    let layout = Layout::new(&folder, &cluster.plan, &facts);
    cluster.plan.insert(node.clone());
    folder.write(&cluster)?;
    let joined = tokio::select! {
        joined = tokio::time::timeout(
            patience,
            join(&layout, &mut cluster, &node, options, &client, progress),
        ) => joined,
        () = shutdown.cancelled() => Ok(Err(NodeError::Interrupted)),
    };
    let joined = joined.unwrap_or_else(|_| {
        let step = progress.current().to_owned();
        Err(NodeError::Wait(Box::new(UpError::TimedOut { patience, step })))
    });
    if let Err(error) = joined {
        progress.interrupt();
        let diagnosed = async |error| {
            let words = up::last_words(&folder, std::slice::from_ref(&node)).await;
            NodeError::Wait(Box::new(UpError::Diagnosed(error, words)))
        };
        let error = match error {
            NodeError::Wait(error) => diagnosed(error).await,
            NodeError::Power(error) => diagnosed(Box::new(error.into())).await,
            other => other,
        };
        discard(&folder, &mut cluster, &node, &client).await?;
        return Err(error);
    }
    Ok(node.name)
}

async fn join(
    layout: &Layout<'_>,
    cluster: &mut Cluster,
    node: &NodePlan,
    options: &Addition,
    client: &Client,
    progress: &mut Progress,
) -> Result<(), NodeError> {
    progress.doing("Writing credentials and configuration");
    if let Some(bytes) = options.disk {
        let path = layout.folder.node(&node.name);
        disk::create(&path, bytes).map_err(|source| NodeError::File { path, source })?;
    }
    let (mut token, mut newcomer) = (None, None);
    match node.role {
        Role::ControlPlane => {
            let made = control_plane::introduce(layout.folder, cluster, node, client).await?;
            layout.write(node, Admission::ControlPlane(&made.keys, Some(&made.member)))?;
            newcomer = Some(made);
        }
        Role::Worker => {
            let kubeconfig = layout.folder.join("admin.conf");
            let ca = authority(&kubeconfig).ok_or(NodeError::Authority(kubeconfig))?;
            let made = tokens::generate()?;
            let settings = tokens::Settings {
                ttl: Some(TOKEN_TTL),
                description: format!("The token with which node {} joins.", node.name),
                ..tokens::Settings::default()
            };
            tokens::create(client, &made, &settings).await?;
            layout.write(node, Admission::Newcomer { ca: &ca, token: &made })?;
            token = Some(made);
        }
    }
    progress.done("Wrote credentials and configuration");

    progress.doing(&format!("Waiting for node {}", node.name));
    power::on(layout.folder, cluster, node).await?;
    let ready = async {
        if let Some(newcomer) = &newcomer {
            control_plane::settle(newcomer, node, client).await?;
        }
        up::node_ready(client, &node.name).await;
        Ok::<_, NodeError>(())
    };
    let own = cluster.nodes.get(&node.name).map(|process| (node.name.as_str(), process));
    let names = [node.name.as_str()];
    tokio::select! {
        ready = up::patiently(progress, client, &names, ready) => ready?,
        stopped = power::stopped(own.into_iter()) => return Err(stopped.into()),
    }
    if let Some(token) = token {
        tokens::delete(client, &token.id).await?;
    }
    progress.done(&format!("Node {} is Ready", node.name));
    Ok(())
}

/// The certificate of the authority that a kubeconfig trusts.
fn authority(kubeconfig: &Path) -> Option<String> {
    let config = Kubeconfig::read_from(kubeconfig).ok()?;
    let data = config.clusters.first()?.cluster.as_ref()?.certificate_authority_data.clone()?;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

async fn connect(clusters: &Path, name: &str) -> Result<Client, client::ConnectError> {
    let options = ConnectOptions {
        kubeconfig: Some(state::kubeconfig(clusters, name)),
        user_agent: "ironclad-node".to_owned(),
    };
    client::connect(&options).await
}

/// Removes a node without draining it: pulls its plug, deletes its Node object, and then its files.
/// Controllers replace its Pods once they see that the Node is gone. A control plane leaves etcd first,
/// unless the others need it.
///
/// # Errors
/// [`NodeError`] with the first step that failed; the command can be repeated.
pub async fn remove(clusters: &Path, name: &str, node: &str) -> Result<(), NodeError> {
    let (folder, mut cluster) = open(clusters, name)?;
    let node = find(&cluster, node)?;
    let client = connect(clusters, name).await?;
    if node.role == Role::ControlPlane {
        control_plane::spare(&cluster, &node, &client).await?;
    }
    discard(&folder, &mut cluster, &node, &client).await
}

/// Removes everything of a node.
async fn discard(
    folder: &Folder,
    cluster: &mut Cluster,
    node: &NodePlan,
    client: &Client,
) -> Result<(), NodeError> {
    let mut patience = Duration::ZERO;
    if node.role == Role::ControlPlane {
        control_plane::leave(folder, cluster, node, client).await?;
        // It may have been the one that answered.
        patience = MOVING;
    }
    power::off(folder, cluster, node).await?;
    delete(client, &node.name, patience).await?;
    let path = folder.node(&node.name);
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(NodeError::File { path, source });
        }
        _ => {}
    }
    cluster.plan.nodes.retain(|known| known.name != node.name);
    Ok(folder.write(cluster)?)
}

/// Deletes a Node object, once the API answers within `patience`.
async fn delete(client: &Client, node: &str, patience: Duration) -> Result<(), NodeError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let until = tokio::time::Instant::now() + patience;
    loop {
        let source = match nodes.delete(node, &DeleteParams::default()).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(source) => source,
        };
        if tokio::time::Instant::now() >= until {
            return Err(NodeError::Delete { node: node.to_owned(), source: Box::new(source) });
        }
        tokio::time::sleep(POLL).await;
    }
}
