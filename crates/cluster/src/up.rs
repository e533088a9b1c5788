//! `ironclad up`: from nothing to a cluster whose nodes are Ready and whose DNS answers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use client::ConnectOptions;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use crate::addons::{self, AddonError};
use crate::config::API_PORT;
use crate::diagnosis;
use crate::down::{self, DownError};
use crate::etcd::{self, Member};
use crate::image::{self, ImageError};
use crate::layout::{Admission, Layout, LayoutError};
use crate::network::{self, NetworkError};
use crate::node::containerd::Facts;
use crate::node::files::ClusterKeys;
use crate::plan::{NodePlan, Plan, PlanError, Request, Role, plan};
use crate::power::{self, PowerError};
use crate::preflight::{self, NotReady};
use crate::progress::Progress;
use crate::registries::Registries;
use crate::state::{self, Cluster, Folder, Process, StateError};
use crate::status::is_ready;
use crate::tokens::{self, TokenError};

/// How often an API server that does not answer yet is asked.
const POLL: Duration = Duration::from_millis(25);
/// How long a step may take before its reasons are told, and told again when they change.
const LONG: Duration = Duration::from_secs(10);
/// How long the token is good with which the first nodes join.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the clusters of this host are remembered.
    pub clusters: PathBuf,
    /// Name and number of nodes.
    pub request: Request,
    /// How often the store is saved without being asked, and how many of the files are kept.
    pub snapshots: Option<(Duration, usize)>,
    /// A folder of image archives that every node gets.
    pub images: Option<PathBuf>,
    /// How image registries are reached.
    pub registries: Registries,
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
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Power(#[from] PowerError),
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    #[error(transparent)]
    Addon(#[from] AddonError),
    #[error("the cluster was not there after {} seconds; the last step was: {step}", patience.as_secs())]
    TimedOut { patience: Duration, step: String },
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
    let facts = preflight::check(options.request.nodes, options.request.control_planes)?;
    let folder = Folder::open(&options.clusters, &options.request.name, true)?;
    if folder.read().is_some() {
        return Err(UpError::Exists(options.request.name.clone()));
    }
    let result = tokio::select! {
        result = tokio::time::timeout(options.patience, build(options, &facts, &folder, progress)) => result,
        () = shutdown.cancelled() => Ok(Err(UpError::Interrupted)),
    };
    let result = result.unwrap_or_else(|_| {
        let step = progress.current().to_owned();
        Err(UpError::TimedOut { patience: options.patience, step })
    });
    let Err(error) = result else { return Ok(()) };
    progress.interrupt();
    let error = match (&error, folder.read()) {
        (UpError::Interrupted, _) | (_, None) => error,
        (_, Some(cluster)) => {
            UpError::Diagnosed(Box::new(error), last_words(&folder, &cluster.plan.nodes).await)
        }
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
    facts: &Facts,
    folder: &Folder,
    progress: &mut Progress,
) -> Result<(), UpError> {
    let mut cluster = write_plan(options, folder)?;
    let root = folder.join("");
    options.registries.keep(&root).map_err(file(&root))?;
    let plan = cluster.plan.clone();
    let layout = Layout::new(folder, &plan, facts);
    let images = layout.images();
    let etcd = if plan.etcd { Some(preflight::etcd()?) } else { None };
    let member = etcd.as_ref().map(|program| Member {
        image: program.image(),
        initial_cluster: etcd::initial_cluster(
            plan.control_planes().map(|node| (node.name.as_str(), etcd::peer_url(node.address))),
        ),
        joins: false,
    });
    let archives = prepare_images(&images, options.images.as_deref(), etcd);
    let keys = ClusterKeys::generate()?.for_cluster(&layout.config)?;
    let token = tokens::generate()?;
    progress.done(&format!("Planned cluster {:?} of {} nodes", plan.name, plan.nodes.len()));

    progress.doing("Writing credentials and configuration");
    let ca = keys.ca.certificate();
    for node in &plan.nodes {
        let admission = match node.role {
            Role::ControlPlane => Admission::ControlPlane(&keys, member.as_ref()),
            Role::Worker => Admission::Newcomer { ca, token: &token },
        };
        layout.write(node, admission)?;
    }
    let bootstrap = folder.join(SUPER_ADMIN);
    // The control plane's own, which are renewed there.
    let first = plan.control_plane();
    let control_plane = folder.node(&first.name).join("etc/kubernetes");
    for name in ADMINISTRATORS {
        let path = folder.join(name);
        std::os::unix::fs::symlink(control_plane.join(name), &path).map_err(file(&path))?;
    }
    progress.done("Wrote credentials and configuration");

    progress.doing("Connecting the nodes");
    network::create(&plan).await?;
    archives.await.map_err(|error| file(&images)(io::Error::other(error)))??;
    for node in &plan.nodes {
        power::on(folder, &mut cluster, node).await?;
    }
    progress.done(&format!("Started {}", names(&plan)));

    progress.doing("Waiting for the API server");
    let client = connect(bootstrap).await?;
    api_server(&client, &cluster).await?;
    progress.done(&format!("API server answers at https://{}:{API_PORT}", first.address));

    progress.doing("Letting nodes join, and installing kube-proxy and DNS");
    let settings = tokens::Settings {
        ttl: Some(TOKEN_TTL),
        description: "The token with which the first nodes joined.".to_owned(),
        ..tokens::Settings::default()
    };
    tokens::create(&client, &token, &settings).await?;
    let dns_replicas = plan.nodes.len().min(2);
    let settings = addons::Settings { config: &layout.config, ca, dns_replicas };
    addons::apply(&client, &settings).await?;
    progress.done("Installed kube-proxy and DNS");

    if let Some(address) = plan.virtual_address {
        progress.doing("Waiting for the virtual address");
        let admin = connect(folder.join("admin.conf")).await?;
        api_server(&admin, &cluster).await?;
        progress.done(&format!("API servers answer at https://{address}:{API_PORT}"));
    }

    progress.doing("Waiting for the nodes");
    let names: Vec<_> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
    let all = async {
        for node in &plan.nodes {
            registered(&client, &node.name).await;
            if node.role == Role::ControlPlane {
                addons::mark_control_plane(&client, &node.name).await?;
            }
            node_ready(&client, &node.name).await;
        }
        Ok::<(), UpError>(())
    };
    let processes = cluster.nodes.iter().map(|(name, process)| (name.as_str(), process));
    tokio::select! {
        ready = patiently(progress, &client, &names, all) => ready?,
        stopped = power::stopped(processes) => return Err(stopped.into()),
    }
    progress.done("All nodes are Ready");

    progress.doing("Waiting for DNS and the control plane's Pods");
    patiently(progress, &client, &names, system_ready(&client)).await;
    tokens::delete(&client, &token.id).await?;
    progress.done("DNS answers");
    Ok(())
}

/// The kubeconfig that is allowed everything before there are roles, in the folder of a cluster.
const SUPER_ADMIN: &str = "super-admin.conf";
/// The kubeconfigs in the folder of a cluster, which are those of one of its control planes.
pub(crate) const ADMINISTRATORS: [&str; 2] = [SUPER_ADMIN, "admin.conf"];

async fn connect(kubeconfig: PathBuf) -> Result<Client, UpError> {
    let options =
        ConnectOptions { kubeconfig: Some(kubeconfig), user_agent: "ironclad-up".to_owned() };
    Ok(client::connect(&options).await?)
}

/// Waits for `work`, and says why when it takes long. `nodes` are those that there should be.
pub(crate) async fn patiently<T>(
    progress: &mut Progress,
    client: &Client,
    nodes: &[&str],
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut told = Vec::new();
    loop {
        let pause = async {
            tokio::time::sleep(LONG).await;
            diagnosis::look(client, nodes).await
        };
        let reasons = tokio::select! {
            result = &mut work => return result,
            reasons = pause => reasons,
        };
        if reasons != told {
            progress.explain(&reasons);
            told = reasons;
        }
    }
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
    let mut plan = plan(&options.request, &taken)?;
    plan.snapshots = options.snapshots;
    let cluster = Cluster { plan, host_forwarded, nodes: BTreeMap::new() };
    folder.write(&cluster)?;
    Ok(cluster)
}

/// Fills the images folder on a thread of its own: the program's own image and the user's.
fn prepare_images(
    images: &Path,
    given: Option<&Path>,
    etcd: Option<etcd::Program>,
) -> tokio::task::JoinHandle<Result<(), UpError>> {
    let (images, given) = (images.to_owned(), given.map(Path::to_owned));
    tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&images).map_err(file(&images))?;
        image::write(&images, None)?;
        if let Some(program) = etcd {
            image::write_etcd(&images, &program)?;
        }
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

async fn api_server(client: &Client, cluster: &Cluster) -> Result<(), UpError> {
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("the path is valid");
        if client.request_text(request).await.is_ok_and(|text| text == "ok") {
            return Ok(());
        }
        let stopped = |(_, process): &(&String, &Process)| !process.runs();
        if let Some((name, _)) = cluster.nodes.iter().find(stopped) {
            return Err(PowerError::Stopped(name.clone()).into());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until node `name` is known.
pub(crate) async fn registered(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    client::wait_for(&nodes, name, |node| node.is_some()).await;
}

/// Waits until node `name` is Ready.
pub(crate) async fn node_ready(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    client::wait_for(&nodes, name, |node| node.is_some_and(is_ready)).await;
}

async fn system_ready(client: &Client) {
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
    client::wait_for(&daemon_sets, "kube-proxy", |set| {
        let status = set.and_then(|set| set.status.as_ref());
        status.is_some_and(|s| {
            s.desired_number_scheduled > 0 && s.number_ready == s.desired_number_scheduled
        })
    })
    .await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    client::wait_for(&deployments, "kube-dns", |deployment| {
        let wanted = deployment.and_then(|d| d.spec.as_ref()?.replicas);
        let ready = deployment.and_then(|d| d.status.as_ref()?.ready_replicas);
        wanted.is_some() && wanted == ready
    })
    .await;
}

/// What the cluster says of these nodes and the end of the logs of each, for a user who has to find out
/// what went wrong.
pub(crate) async fn last_words(folder: &Folder, nodes: &[NodePlan]) -> String {
    const LINES: usize = 4;
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    let reasons = match connect(folder.join(SUPER_ADMIN)).await {
        Ok(client) => diagnosis::look(&client, &names).await,
        Err(_) => Vec::new(),
    };
    let mut words: String = reasons.iter().map(|reason| format!("  - {reason}\n")).collect();
    for node in nodes {
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

fn file(path: &Path) -> impl FnOnce(io::Error) -> UpError + use<> {
    let path = path.to_owned();
    |source| UpError::File { path, source }
}
