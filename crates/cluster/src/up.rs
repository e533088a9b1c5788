//! `ironclad up`: from nothing to a cluster whose nodes are Ready and whose DNS answers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::ConnectOptions;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client};
use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use crate::addons::{self, AddonError};
use crate::down::{self, DownError};
use crate::image::{self, ImageError};
use crate::network::{self, NetworkError};
use crate::node::files::{self, ClusterKeys, Context};
use crate::node::init::Spec;
use crate::node::mounts::Folders;
use crate::node::namespaces;
use crate::plan::{NodePlan, Plan, PlanError, Request, plan};
use crate::preflight::{self, NotReady};
use crate::progress::Progress;
use crate::state::{self, Cluster, Folder, Process, StateError};
use crate::status::is_ready;

/// How often an API server that does not answer yet is asked.
const POLL: Duration = Duration::from_millis(25);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the clusters of this host are remembered.
    pub clusters: PathBuf,
    /// Name and number of nodes.
    pub request: Request,
    /// A folder of image archives that every node gets.
    pub images: Option<PathBuf>,
    /// Whether a cluster that did not come up is left for a look at it.
    pub retain: bool,
    /// How long everything may take.
    pub patience: Duration,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant wraps the error of one step, documented there")]
pub enum UpError {
    #[error(transparent)]
    NotReady(#[from] NotReady),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cluster {0:?} exists already; `ironclad down --name {0}` removes it")]
    Exists(String),
    #[error(transparent)]
    Pki(#[from] component::pki::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("starting node {node}: {source}")]
    Start { node: String, source: io::Error },
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    #[error(transparent)]
    Addon(#[from] AddonError),
    #[error("waiting for {what}: {source}")]
    Wait { what: String, source: Box<kube::runtime::wait::Error> },
    #[error("{0} was not there in time")]
    TimedOut(String),
    #[error("node {0} stopped while it was being prepared")]
    NodeStopped(String),
    #[error("interrupted")]
    Interrupted,
    #[error("{0}\n{1}")]
    Diagnosed(Box<UpError>, String),
    #[error("{0}\nand what was there of the cluster could not be removed: {1}")]
    NotRemoved(Box<UpError>, DownError),
}

/// Makes a cluster. What an interrupted or failed attempt made is removed again.
///
/// # Errors
/// [`UpError`] with the step that failed.
pub async fn up(
    options: &Options,
    progress: &mut Progress,
    shutdown: &CancellationToken,
) -> Result<(), UpError> {
    progress.doing("Checking this host");
    let facts = preflight::check()?;
    let folder = Folder::open(&options.clusters, &options.request.name, true)?;
    if folder.read().is_some() {
        return Err(UpError::Exists(options.request.name.clone()));
    }
    let result = {
        let work = build(options, &facts, &folder, progress);
        tokio::select! {
            result = tokio::time::timeout(options.patience, work) => {
                result.unwrap_or_else(|_| Err(UpError::TimedOut("the cluster".to_owned())))
            }
            () = shutdown.cancelled() => Err(UpError::Interrupted),
        }
    };
    let Err(error) = result else { return Ok(()) };
    progress.interrupt();
    let error = match (&error, folder.read()) {
        (UpError::Interrupted, _) | (_, None) => error,
        (_, Some(cluster)) => UpError::Diagnosed(Box::new(error), last_words(&folder, &cluster)),
    };
    if options.retain {
        return Err(error);
    }
    match down::remove(&options.clusters, folder).await {
        Ok(()) => Err(error),
        Err(left) => Err(UpError::NotRemoved(Box::new(error), left)),
    }
}

async fn build(
    options: &Options,
    facts: &crate::node::containerd::Facts,
    folder: &Folder,
    progress: &mut Progress,
) -> Result<(), UpError> {
    let mut cluster = write_plan(options, folder)?;
    let plan = cluster.plan.clone();
    let images = folder.join("images");
    let archives = prepare_images(&images, options.images.as_deref());
    let keys = ClusterKeys::generate()?;
    progress.done(&format!("Planned cluster {:?} of {} nodes", plan.name, plan.nodes.len()));

    progress.doing("Writing credentials and configuration");
    let resolv_conf = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    let server = plan.server();
    let context = Context {
        cluster: &plan.name,
        server: &server,
        keys: &keys,
        containerd: facts,
        name_servers: &network::name_servers(&resolv_conf),
    };
    for node in &plan.nodes {
        write_node(&context, folder, &images, &plan, node)?;
    }
    let bootstrap = folder.join("super-admin.conf");
    for (path, content) in [
        (&bootstrap, files::super_admin_kubeconfig(&context)?),
        (&folder.join("admin.conf"), files::admin_kubeconfig(&context)?),
    ] {
        write_private(path, &content)?;
    }
    progress.done("Wrote credentials and configuration");

    progress.doing("Connecting the nodes");
    network::create(&plan).await?;
    archives.await.map_err(|error| file(&images)(io::Error::other(error)))??;
    for node in &plan.nodes {
        start_node(folder, &mut cluster, node).await?;
    }
    progress.done(&format!("Started {}", names(&plan)));

    progress.doing("Waiting for the API server");
    let connect =
        ConnectOptions { kubeconfig: Some(bootstrap), user_agent: "ironclad-up".to_owned() };
    let client = client::connect(&connect).await?;
    api_server(&client, &cluster).await?;
    progress.done(&format!("API server answers at {server}"));

    progress.doing("Installing kube-proxy and DNS");
    addons::apply(&client, &plan).await?;
    progress.done("Installed kube-proxy and DNS");

    progress.doing("Waiting for the nodes");
    for node in &plan.nodes {
        nodes_ready(&client, node).await?;
    }
    progress.done("All nodes are Ready");

    progress.doing("Waiting for DNS and the control plane's Pods");
    system_ready(&client).await?;
    progress.done("DNS answers");
    Ok(())
}

/// Chooses a network that no other cluster has and writes the plan down, one command at a time.
fn write_plan(options: &Options, folder: &Folder) -> Result<Cluster, UpError> {
    let all = &options.clusters;
    let lock = File::open(all).map_err(file(all))?;
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| file(all)(errno.into()))?;
    let others = state::all(all);
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut taken = network::taken(&routes);
    taken.extend(others.iter().map(|other| other.plan.network));
    let host_forwarded = match others.first() {
        Some(other) => other.host_forwarded,
        None => network::forwarding()?,
    };
    let plan = plan(&options.request, &taken)?;
    let cluster = Cluster { plan, host_forwarded, nodes: BTreeMap::new() };
    folder.write(&cluster)?;
    Ok(cluster)
}

/// Fills the images folder on a thread of its own: the program's own image and the user's.
fn prepare_images(
    images: &Path,
    given: Option<&Path>,
) -> tokio::task::JoinHandle<Result<(), UpError>> {
    let (images, given) = (images.to_owned(), given.map(Path::to_owned));
    tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&images).map_err(file(&images))?;
        image::write(&images)?;
        let Some(given) = given else { return Ok(()) };
        for entry in fs::read_dir(&given).map_err(file(&given))? {
            let path = entry.map_err(file(&given))?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                fs::copy(&path, images.join(name)).map_err(file(&path))?;
            }
        }
        Ok(())
    })
}

fn write_node(
    context: &Context<'_>,
    folder: &Folder,
    images: &Path,
    plan: &Plan,
    node: &NodePlan,
) -> Result<(), UpError> {
    let root = folder.node(&node.name);
    Folders::new(&root).create().map_err(file(&root))?;
    let files = files::files(context, node)?;
    files::write(&root, &files).map_err(|(path, source)| UpError::File { path, source })?;
    let spec = Spec {
        cluster: plan.name.clone(),
        node: node.name.clone(),
        address: node.address,
        folder: root.clone(),
        images: images.to_owned(),
    };
    let path = root.join("node.json");
    let text = serde_json::to_vec(&spec).expect("a specification has string keys only");
    fs::write(&path, text).map_err(file(&path))
}

/// Starts the first process of `node`, writes it down, connects it and lets it go on.
async fn start_node(
    folder: &Folder,
    cluster: &mut Cluster,
    node: &NodePlan,
) -> Result<(), UpError> {
    let failed = |source| UpError::Start { node: node.name.clone(), source };
    let root = folder.node(&node.name);
    let log = File::create(root.join("var/log/node-init.log")).map_err(failed)?;
    let arguments =
        ["node-init".to_owned(), format!("--spec={}", root.join("node.json").display())];
    let program = std::env::current_exe().map_err(failed)?;
    let (input, go): (OwnedFd, OwnedFd) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| failed(e.into()))?;
    let pid = namespaces::spawn(&program, &arguments, &input, &log).map_err(failed)?;
    let stopped = || UpError::NodeStopped(node.name.clone());
    cluster.nodes.insert(node.name.clone(), Process::of(pid).ok_or_else(stopped)?);
    folder.write(cluster)?;
    network::attach(&cluster.plan, node, pid).await?;
    nix::unistd::write(&go, b"g").map_err(|_| stopped())?;
    Ok(())
}

async fn api_server(client: &Client, cluster: &Cluster) -> Result<(), UpError> {
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("the path is valid");
        if client.request_text(request).await.is_ok_and(|text| text == "ok") {
            return Ok(());
        }
        let stopped = |(_, process): &(&String, &Process)| !process.runs();
        if let Some((name, _)) = cluster.nodes.iter().find(stopped) {
            return Err(UpError::NodeStopped(name.clone()));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn nodes_ready(client: &Client, node: &NodePlan) -> Result<(), UpError> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait(nodes.clone(), &node.name, |node: Option<&Node>| node.is_some()).await?;
    addons::label(client, node).await?;
    wait(nodes, &node.name, |node: Option<&Node>| node.is_some_and(is_ready)).await
}

async fn system_ready(client: &Client) -> Result<(), UpError> {
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
    wait(daemon_sets, "kube-proxy", |set: Option<&DaemonSet>| {
        let status = set.and_then(|set| set.status.as_ref());
        status.is_some_and(|s| {
            s.desired_number_scheduled > 0 && s.number_ready == s.desired_number_scheduled
        })
    })
    .await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    wait(deployments, "kube-dns", |deployment: Option<&Deployment>| {
        let wanted = deployment.and_then(|d| d.spec.as_ref()?.replicas);
        let ready = deployment.and_then(|d| d.status.as_ref()?.ready_replicas);
        wanted.is_some() && wanted == ready
    })
    .await
}

async fn wait<K>(api: Api<K>, name: &str, condition: impl Condition<K>) -> Result<(), UpError>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Send
        + serde::de::DeserializeOwned
        + 'static,
{
    let failed = |source| UpError::Wait { what: name.to_owned(), source: Box::new(source) };
    await_condition(api, name, condition).await.map(drop).map_err(failed)
}

/// The end of the log of every node, for a user who has to find out what went wrong.
fn last_words(folder: &Folder, cluster: &Cluster) -> String {
    const LINES: usize = 4;
    let mut words = String::new();
    for node in &cluster.plan.nodes {
        for log in ["node-init.log", "containerd.log", "kubelet.log"] {
            let path = folder.node(&node.name).join("var/log").join(log);
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                words.push_str(&format!("  {} {log}: {line}\n", node.name));
            }
        }
    }
    words
}

fn names(plan: &Plan) -> String {
    let names: Vec<_> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
    match names.as_slice() {
        [only] => format!("node {only}"),
        [first, .., last] if names.len() > 4 => format!("nodes {first} to {last}"),
        all => format!("nodes {}", all.join(", ")),
    }
}

fn write_private(path: &Path, content: &str) -> Result<(), UpError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).and_then(|mut open| open.write_all(content.as_bytes())).map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> UpError + use<> {
    let path = path.to_owned();
    |source| UpError::File { path, source }
}
