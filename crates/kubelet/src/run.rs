//! Putting the parts together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use client::{ConnectOptions, Event, Informer};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, ApiSources};
use crate::certificates::authorities::Follower;
use crate::certificates::bootstrap::{self, BootstrapError};
use crate::certificates::request::{self, Purpose};
use crate::certificates::rotation::{self, Kept};
use crate::certificates::store::{CLIENT, SERVER, Store};
use crate::cgroup::resources::NodeMemory;
use crate::cgroup::{Cgroups, NodeAllocatable, Version};
use crate::config::{Config, KubeletConfiguration};
use crate::cri::{Runtime, RuntimeError, proto};
use crate::events::{EventType, Events};
use crate::eviction::{Evictor, Pressure, ThresholdError};
use crate::images::accounts::Accounts;
use crate::images::collect::Collector;
use crate::images::folder::{Folders, folders};
use crate::images::provider_config::{self, ProviderConfigError};
use crate::images::providers::Plugin;
use crate::images::pull_records::PullRecords;
use crate::images::{Images, import::Importer};
use crate::logs::{self, RotationLimits};
use crate::node::facts::{self, Reserved};
use crate::node::lease;
use crate::node::registration::Registration;
use crate::node::runtime_state::{self, RuntimeState};
use crate::node::shutdown;
use crate::node::status::{Signs, StatusOptions, StatusReporter};
use crate::objects::Objects;
use crate::pod::context::Context;
use crate::pod::manager::Manager;
use crate::pod::relist;
use crate::pod::reporter::Reporter;
use crate::pod::resize::ledger::Ledger;
use crate::pod::resize::{CheckpointError, review};
use crate::probe;
use crate::runtime::dns::{self, DnsContext};
use crate::runtime::security::SecurityDefaults;
use crate::seam::{PodAccess, PodUid, Sources, pod_uid};
use crate::server::{self, ServerError, ServerOptions, ServingCertificate};
use crate::static_pods::mirror::{self, Mirrors};
use crate::static_pods::source::Source;
use crate::static_pods::watch_dir::WatchDir;
use crate::token::Tokens;
use crate::volumes::{VolumeManager, VolumeOptions};

/// Between tries to reach a runtime that is not up yet.
const RUNTIME_RETRY: Duration = Duration::from_millis(100);

/// Why a kubelet cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime's endpoint is not usable.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The API server's credentials are not usable.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// There are no credentials for it, and none to be had.
    #[error("failed to run Kubelet: {0}")]
    Bootstrap(#[from] BootstrapError),
    /// The node has no name.
    #[error("the host has no usable name: {0}")]
    HostName(#[from] nix::Error),
    /// A folder cannot be made.
    #[error("creating {path}: {source}")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The programs that know credentials cannot be used.
    #[error("failed to register CRI auth plugins: {0}")]
    Providers(#[from] ProviderConfigError),
    /// What Pods were allocated cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What is to be left of the machine's resources cannot be understood.
    #[error(transparent)]
    Thresholds(#[from] ThresholdError),
    /// The server cannot serve.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Informers of what the API says about this node.
#[derive(Clone)]
struct Informers {
    pods: Informer<Pod>,
    node: Informer<Node>,
    services: Informer<Service>,
}

/// Facts about this node that do not change while the kubelet runs.
struct Identity {
    node_name: String,
    hostname: String,
    addresses: Vec<String>,
}

/// Runs the kubelet until shutdown. Containers keep running after it.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed here, or the whole component would be compiled again by the crate that awaits it.
    Box::pin(serve(config, shutdown))
}

async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    for path in [&config.root_dir, &config.pod_log_dir] {
        std::fs::create_dir_all(path)
            .map_err(|source| Error::Folder { path: path.clone(), source })?;
    }
    let identity = identity(&config)?;
    let plugins = plugins(&config)?;
    let runtime = Runtime::new(&config.kubelet.container_runtime_endpoint)?
        .with_sandbox_image(config.sandbox_image.clone());
    // Images come while the API server is still being waited for.
    let (keeper, image_folders) = folders(!config.images_dirs.is_empty());
    let (problem_sender, image_problems) = mpsc::unbounded_channel();
    let started = async {
        let version = wait_for_runtime(&runtime, &shutdown).await;
        if version.is_some() && !config.images_dirs.is_empty() {
            let (dirs, client) = (config.images_dirs.clone(), config.ctr.clone());
            let importer = Importer::new(dirs, client, runtime.clone(), &config.root_dir);
            tokio::spawn(importer.run(keeper, problem_sender, shutdown.clone()));
        }
        Ok(version)
    };
    let (version, api) = tokio::try_join!(started, connect(&config, &identity, &shutdown))?;
    let (api, informers) = api.unzip();
    let Some(version) = version else { return Ok(()) };
    if shutdown.is_cancelled() {
        return Ok(());
    }
    tracing::info!(
        node = identity.node_name,
        runtime = version.runtime_name,
        version = version.runtime_version,
        "container runtime answers"
    );
    let (state_sender, runtime_state) = watch::channel(RuntimeState::default());
    tokio::spawn(runtime_state::watch(runtime.clone(), state_sender, shutdown.clone()));
    let (changed_sender, probes_changed) = mpsc::unbounded_channel();
    let (pressure_sender, pressures) = watch::channel(Vec::new());
    let (going_down_sender, going_down) = watch::channel(false);

    let (ledger, nudges) = Ledger::open(&config.root_dir)?;
    let records = Arc::new(PullRecords::new(
        &config.root_dir,
        config.kubelet.image_pull_credentials_verification_policy,
        config.kubelet.preloaded_images_verification_allowlist.clone(),
    ));
    let parts =
        Parts { config: &config, identity: &identity, version: &version, shutdown: &shutdown };
    let context = parts.context(
        &runtime,
        (runtime_state, pressures),
        api.clone(),
        informers.as_ref(),
        Wiring {
            ledger,
            probes_changed: changed_sender,
            image_folders: image_folders.clone(),
            plugins,
            records: records.clone(),
            going_down: going_down.clone(),
        },
    );
    let manager = Manager::new(context.clone());
    let (relisted_sender, relisted) = watch::channel(Instant::now());
    let access = Arc::new(Access::new(runtime.clone(), manager.clone(), relisted));

    if let (Some(api), Some(informers)) = (&api, &informers) {
        parts.start_node(api, informers, &context, &access);
        parts.start_certificates(api);
    }
    tokio::spawn(wake_on_probes(manager.clone(), probes_changed));
    tokio::spawn(relist::follow_events(manager.clone(), shutdown.clone()));
    let root_dir = config.root_dir.clone();
    let collector = Arc::new(Collector::new(
        runtime.clone(),
        image_folders,
        config.kubelet.image_gc(),
        root_dir.clone(),
        context.events.clone(),
        records,
    ));
    let (collecting, until) = (collector.clone(), shutdown.clone());
    tokio::spawn(async move { collecting.run(until).await });
    let evictor =
        Evictor::new(manager.clone(), &config.kubelet, root_dir, collector, pressure_sender)?;
    tokio::spawn(evictor.run(shutdown.clone()));
    let power = shutdown::on_power_failure(
        manager.clone(),
        config.kubelet.shutdown_groups(),
        going_down_sender,
        shutdown.clone(),
    );
    tokio::spawn(power);
    tokio::spawn(tell_image_problems(image_problems, context.events.clone()));
    context.events.node(EventType::Normal, "Starting", "Starting kubelet.");
    let server = tokio::spawn(parts.start_server(&access, &context));
    tokio::spawn(logs::rotate(access.clone(), parts.rotation(), shutdown.clone()));

    let (ready_sender, sources_ready) = watch::channel(false);
    let static_read =
        start_static(&config, &identity, &manager, api.as_ref(), informers.as_ref(), &shutdown);
    tokio::spawn(take_api_pods(
        manager.clone(),
        informers,
        static_read,
        ready_sender,
        shutdown.clone(),
    ));
    tokio::spawn(review::run(manager.clone(), nudges, sources_ready.clone(), shutdown.clone()));
    tokio::spawn(relist::relist(manager.clone(), relisted_sender, sources_ready, shutdown.clone()));

    tokio::select! {
        served = server => served.unwrap_or(Ok(()))?,
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

/// Connects to the API server, if there is one, with credentials that are asked for if need be, and
/// starts to follow what it says about this node.
async fn connect(
    config: &Config,
    identity: &Identity,
    shutdown: &CancellationToken,
) -> Result<Option<(kube::Client, Informers)>, Error> {
    let Some(kubeconfig) = &config.kubeconfig else { return Ok(None) };
    let user_agent = format!("kubelet/{}", component::version::release());
    if let Some(with) = &config.bootstrap_kubeconfig {
        let (name, pki) = (&identity.node_name, config.pki_dir());
        bootstrap::ensure(with, kubeconfig, name, &pki, &user_agent, shutdown).await?;
        if shutdown.is_cancelled() {
            return Ok(None);
        }
    }
    let api = client::connect(&ConnectOptions { kubeconfig: Some(kubeconfig.clone()), user_agent })
        .await?;
    let informers = Informers::start(&api, &identity.node_name, shutdown);
    Ok(Some((api, informers)))
}

fn identity(config: &Config) -> Result<Identity, Error> {
    let hostname = nix::unistd::gethostname()?.to_string_lossy().trim().to_lowercase();
    let node_name = config.node_name.clone().unwrap_or_else(|| hostname.clone());
    let given: Vec<String> = config
        .node_ip
        .iter()
        .flat_map(|ips| ips.split(','))
        .map(|ip| ip.trim().to_owned())
        .filter(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified()))
        .collect();
    let addresses = if given.is_empty() {
        facts::default_address().iter().map(ToString::to_string).collect()
    } else {
        given
    };
    Ok(Identity { node_name, hostname, addresses })
}

/// The programs that know credentials of registries.
fn plugins(config: &Config) -> Result<Arc<[Plugin]>, ProviderConfigError> {
    let Some((file, folder)) = &config.credential_providers else { return Ok(Arc::default()) };
    let all = provider_config::load(file, folder)?;
    Ok(all.into_iter().map(|provider| Plugin::new(provider, folder)).collect())
}

async fn wait_for_runtime(
    runtime: &Runtime,
    shutdown: &CancellationToken,
) -> Option<proto::VersionResponse> {
    let mut told = false;
    loop {
        match runtime.version().await {
            Ok(version) => return Some(version),
            Err(error) if !told => {
                tracing::warn!(%error, "waiting for the container runtime");
                told = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(RUNTIME_RETRY) => {}
            () = shutdown.cancelled() => return None,
        }
    }
}

// === impl Informers ===

impl Informers {
    fn start(api: &kube::Client, node_name: &str, shutdown: &CancellationToken) -> Self {
        let pods = Informer::<Pod>::builder(kube::Api::all(api.clone()))
            .fields(&format!("spec.nodeName={node_name}"))
            .start(shutdown);
        let node = Informer::<Node>::builder(kube::Api::all(api.clone()))
            .fields(&format!("metadata.name={node_name}"))
            .start(shutdown);
        let services = Informer::<Service>::builder(kube::Api::all(api.clone())).start(shutdown);
        Self { pods, node, services }
    }
}

/// What connects the parts that share a context with others.
struct Wiring {
    ledger: Ledger,
    probes_changed: mpsc::UnboundedSender<PodUid>,
    image_folders: Folders,
    plugins: Arc<[Plugin]>,
    records: Arc<PullRecords>,
    going_down: watch::Receiver<bool>,
}

/// What most constructors need.
struct Parts<'a> {
    config: &'a Config,
    identity: &'a Identity,
    version: &'a proto::VersionResponse,
    shutdown: &'a CancellationToken,
}

// === impl Parts ===

impl Parts<'_> {
    fn context(
        &self,
        runtime: &Runtime,
        (runtime_state, pressures): (watch::Receiver<RuntimeState>, watch::Receiver<Vec<Pressure>>),
        api: Option<kube::Client>,
        informers: Option<&Informers>,
        wiring: Wiring,
    ) -> Arc<Context> {
        let Wiring { ledger, probes_changed, image_folders, plugins, records, going_down } = wiring;
        let tokens = Tokens::new(api.clone());
        let accounts = Accounts::new(api.clone(), tokens.clone());
        let (config, kubelet) = (self.config, &self.config.kubelet);
        let events = Events::new(&self.identity.node_name, api.clone());
        let sources: Arc<dyn Sources> = Arc::new(ApiSources::new(
            &self.identity.node_name,
            informers.map(|i| (i.node.clone(), i.services.clone())),
        ));
        let objects = Objects::new(api.clone());
        let volumes = VolumeManager::new(VolumeOptions {
            root_dir: config.root_dir.clone(),
            node_name: self.identity.node_name.clone(),
            client: api.clone(),
            objects: objects.clone(),
            tokens,
            sources: sources.clone(),
            runtime: runtime.clone(),
        });
        let pulls = if kubelet.serialize_image_pulls {
            1
        } else {
            kubelet.max_parallel_image_pulls.unwrap_or(8)
        };
        let (cgroups, memory) = self.cgroups();
        let reporter =
            Reporter::new(api.clone().zip(informers.map(|i| i.pods.clone())), self.shutdown);
        Arc::new(Context {
            runtime: runtime.clone(),
            runtime_name: self.version.runtime_name.clone(),
            runtime_state,
            pressures,
            api,
            volumes,
            objects,
            probes: probe::Manager::new(runtime.clone(), events.clone(), probes_changed),
            cgroups,
            images: Images::new(
                runtime.clone(),
                events.clone(),
                pulls,
                image_folders,
                (plugins, accounts),
                records,
            ),
            sources,
            ledger,
            reporter,
            dns: dns_context(kubelet),
            security: SecurityDefaults {
                seccomp_dir: config.root_dir.join("seccomp"),
                seccomp_default: kubelet.seccomp_default,
            },
            root_dir: config.root_dir.clone(),
            log_dir: config.pod_log_dir.clone(),
            node_name: self.identity.node_name.clone(),
            host_ips: Arc::new(RwLock::new(self.identity.addresses.clone())),
            allowed_unsafe_sysctls: kubelet.allowed_unsafe_sysctls.clone(),
            memory,
            events,
            going_down,
            shutdown: self.shutdown.clone(),
        })
    }

    fn cgroups(&self) -> (Option<Cgroups>, NodeMemory) {
        let capacity = facts::memory().0;
        let kubelet = &self.config.kubelet;
        let reserved = reserved(kubelet, &self.config.root_dir);
        let kept = |name: &str| reserved.get(name).copied().unwrap_or(0);
        let allocatable = NodeAllocatable {
            cpu_millis: facts::processors() * 1000 - kept("cpu"),
            memory: capacity - kept("memory"),
            pids: 0,
        };
        let found = Cgroups::detect(Path::new("/sys/fs/cgroup"))
            .map(|cgroups| cgroups.below(&kubelet.cgroup_root))
            .map(|cgroups| cgroups.with_pod_pids_limit(kubelet.pod_pids_limit))
            .and_then(|cgroups| cgroups.ensure_roots(&allocatable).map(|()| cgroups));
        let cgroups = match found {
            Ok(cgroups) => Some(cgroups),
            Err(error) => {
                tracing::warn!(%error, "cgroups are not usable; pods run without limits of their own");
                None
            }
        };
        let unified = cgroups.as_ref().is_some_and(|c| c.version() == Version::V2);
        (cgroups, NodeMemory { capacity, unified_cgroups: unified })
    }

    fn start_node(
        &self,
        api: &kube::Client,
        informers: &Informers,
        context: &Context,
        access: &Arc<Access>,
    ) {
        let (config, kubelet) = (self.config, &self.config.kubelet);
        let mut taints = kubelet.register_with_taints.clone();
        taints.extend(config.register_with_taints.clone());
        let registration = kubelet.register_node.then(|| Registration {
            node_name: self.identity.node_name.clone(),
            hostname: self.identity.hostname.clone(),
            labels: config.node_labels.clone(),
            taints,
            schedulable: true,
        });
        let node_name = self.identity.node_name.clone();
        let node_informer = informers.node.clone();
        let name = node_name.clone();
        let node: Arc<dyn Fn() -> Option<Arc<Node>> + Send + Sync> =
            Arc::new(move || node_informer.get(None, &name));
        let reporter = StatusReporter::new(
            StatusOptions {
                node_name: node_name.clone(),
                hostname: self.identity.hostname.clone(),
                addresses: self.identity.addresses.clone(),
                root_dir: config.root_dir.clone(),
                max_pods: kubelet.max_pods,
                reserved: reserved(kubelet, &config.root_dir),
                port: i32::from(kubelet.port),
                info: facts::system_info(self.version),
                frequency: kubelet.status_frequency(),
                report_frequency: kubelet.report_frequency(),
            },
            kube::Api::all(api.clone()),
            context.runtime.clone(),
            Signs {
                state: context.runtime_state.clone(),
                pressures: context.pressures.clone(),
                health: {
                    let access = access.clone();
                    Arc::new(move || access.relist_problem().into_iter().collect())
                },
                going_down: context.going_down.clone(),
            },
            node.clone(),
            context.events.clone(),
        );
        tell_runtime_pod_range(context.runtime.clone(), &informers.node);
        let lease_duration = Duration::from_secs(kubelet.node_lease_duration_seconds.max(4));
        let (api, shutdown) = (api.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            if let Some(registration) = registration {
                registration.run(api.clone(), &shutdown).await;
            }
            tokio::join!(
                reporter.run(shutdown.clone()),
                lease::keep(api, node_name, lease_duration, node, shutdown.clone()),
            );
        });
    }

    fn server_options(&self, context: &Context) -> ServerOptions {
        let kubelet = &self.config.kubelet;
        let certificate = match (&kubelet.tls_cert_file, &kubelet.tls_private_key_file) {
            (Some(certificate), Some(key)) => {
                ServingCertificate::Files { certificate: certificate.clone(), key: key.clone() }
            }
            _ if kubelet.server_tls_bootstrap && context.api.is_some() => {
                ServingCertificate::Requested(self.serving_certificates().current())
            }
            _ => {
                let mut names = vec![self.identity.node_name.clone()];
                names.extend(self.identity.addresses.clone());
                ServingCertificate::SelfSigned(names)
            }
        };
        ServerOptions {
            bind: kubelet.address.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            port: kubelet.port,
            healthz_port: kubelet.healthz_port,
            certificate,
            client_ca: kubelet.authentication.x509.client_ca_file.clone(),
            anonymous: kubelet.authentication.anonymous.enabled,
            node_name: self.identity.node_name.clone(),
            configz: serde_json::to_value(kubelet).unwrap_or_default(),
            cgroups: context.cgroups.clone(),
            log_dir: self.config.pod_log_dir.parent().unwrap_or(Path::new("/var/log")).to_owned(),
        }
    }

    fn serving_certificates(&self) -> Store {
        Store::new(self.config.pki_dir(), SERVER)
    }

    /// Keeps the certificates good that come from the cluster's authority, and follows that.
    fn start_certificates(&self, api: &kube::Client) {
        let kubelet = &self.config.kubelet;
        let authorities = kubelet.authentication.x509.client_ca_file.clone();
        let mut kept = Vec::new();
        let client = Store::new(self.config.pki_dir(), CLIENT);
        // Without one of its own, the kubeconfig has credentials of another kind.
        if kubelet.rotate_certificates && client.load().is_some() {
            kept.push((Purpose::Client, client, Vec::new()));
        }
        if kubelet.server_tls_bootstrap && kubelet.tls_cert_file.is_none() {
            // What the Node says of itself: no other names are approved.
            let mut names = vec![self.identity.hostname.clone()];
            names.extend(self.identity.addresses.clone());
            kept.push((Purpose::Serving, self.serving_certificates(), names));
        }
        let certificates: Vec<_> = kept.iter().map(|(_, store, _)| store.clone()).collect();
        for (purpose, store, names) in kept {
            let subject = request::subject(&self.identity.node_name, names);
            let kept = Kept { purpose, store, subject, authorities: authorities.clone() };
            tokio::spawn(rotation::keep(api.clone(), kept, self.shutdown.clone()));
        }
        if self.config.follow_authorities
            && let Some((kubeconfig, client_ca)) = self.config.kubeconfig.clone().zip(authorities)
        {
            let node_name = self.identity.node_name.clone();
            let follower = Follower { node_name, kubeconfig, client_ca, certificates };
            tokio::spawn(follower.run(api.clone(), self.shutdown.clone()));
        }
    }

    fn start_server(
        &self,
        access: &Arc<Access>,
        context: &Context,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        let options = self.config.kubelet.enable_server.then(|| self.server_options(context));
        let access: Arc<dyn PodAccess> = access.clone();
        let (api, shutdown) = (context.api.clone(), self.shutdown.clone());
        async move {
            if let Some(options) = options {
                server::serve(options, access, api, shutdown.clone()).await?;
            }
            shutdown.cancelled().await;
            Ok(())
        }
    }

    fn rotation(&self) -> RotationLimits {
        let kubelet = &self.config.kubelet;
        let max_bytes = bytes(&kubelet.container_log_max_size).unwrap_or(10 << 20);
        RotationLimits {
            max_bytes: u64::try_from(max_bytes).unwrap_or(10 << 20),
            max_files: usize::try_from(kubelet.container_log_max_files).unwrap_or(5),
        }
    }
}

/// Tells the runtime the node's Pod range once it is known; runtimes that make their own network
/// configuration need it.
fn tell_runtime_pod_range(runtime: Runtime, node: &Informer<Node>) {
    let told = std::sync::Mutex::new(String::new());
    node.on_event(move |event| {
        let range = event.object().spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
        let Some(range) = range else { return };
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *told == range {
            return;
        }
        told.clone_from(&range);
        let runtime = runtime.clone();
        tokio::spawn(async move {
            if let Err(error) = runtime.update_pod_cidr(&range).await {
                tracing::debug!(%error, "runtime does not take the pod range");
            }
        });
    });
}

/// Reads static Pods, watches their folder and keeps their mirrors. Returns once the folder has
/// been read for the first time.
fn start_static(
    config: &Config,
    identity: &Identity,
    manager: &Arc<Manager>,
    api: Option<&kube::Client>,
    informers: Option<&Informers>,
    shutdown: &CancellationToken,
) -> Option<Mirrors> {
    let lookup = {
        let manager = manager.clone();
        move |namespace: &str, name: &str| manager.static_pod(namespace, name)
    };
    let sources = manager.context().sources.clone();
    let mirrors = api.zip(informers).map(|(api, informers)| {
        let node = move || sources.node();
        Mirrors::start(api.clone(), informers.pods.clone(), node, lookup, shutdown)
    });
    if let Some(mirrors) = mirrors.clone() {
        // Until it has ended it has a mirror, which shows how far it is.
        manager.on_ended(move |pod| mirrors.check_for(pod));
    }
    let folder = config.kubelet.static_pod_path.clone()?;
    let mut source = Source::new(folder.clone(), &identity.node_name);
    let mut apply = {
        let (manager, mirrors) = (manager.clone(), mirrors.clone());
        move || {
            let changes = source.read();
            for pod in &changes.removals {
                manager.remove(&pod_uid(pod));
            }
            for pod in &changes.upserts {
                manager.upsert(pod.clone());
            }
            for pod in changes.removals.iter().chain(&changes.upserts) {
                if let Some(mirrors) = &mirrors {
                    mirrors.check_for(pod);
                }
            }
        }
    };
    apply();
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut watch = WatchDir::new(folder);
        loop {
            tokio::select! {
                () = watch.changed() => apply(),
                () = shutdown.cancelled() => return,
            }
        }
    });
    mirrors
}

/// Hands Pods of the API to the manager, from when the first lists are complete.
async fn take_api_pods(
    manager: Arc<Manager>,
    informers: Option<Informers>,
    mirrors: Option<Mirrors>,
    sources_ready: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let Some(informers) = informers else {
        sources_ready.send_replace(true);
        return;
    };
    let synced = async {
        // Environments are made of Services, and admission needs the Node.
        informers.services.synced().await;
        informers.node.synced().await;
        informers.pods.synced().await;
    };
    tokio::select! {
        () = synced => {}
        () = shutdown.cancelled() => return,
    }
    informers.pods.on_event(move |event| {
        let pod = event.object();
        if let Some(uid) = mirror::mirrored_uid(pod) {
            if let Some(mirrors) = &mirrors {
                mirrors.check_for(pod);
            }
            manager.context().reporter.recheck(&uid);
            return;
        }
        match event {
            Event::Added(pod) | Event::Updated { new: pod, .. } => manager.upsert(pod.clone()),
            Event::Deleted(pod) => manager.remove(&pod_uid(pod)),
        }
    });
    sources_ready.send_replace(true);
    shutdown.cancelled().await;
}

async fn wake_on_probes(manager: Arc<Manager>, mut changed: mpsc::UnboundedReceiver<PodUid>) {
    while let Some(uid) = changed.recv().await {
        manager.wake(&uid);
    }
}

/// Tells of image archives that could not be imported, once there is somebody to tell.
async fn tell_image_problems(mut problems: mpsc::UnboundedReceiver<String>, events: Events) {
    while let Some(problem) = problems.recv().await {
        events.node(EventType::Warning, "ImageImportFailed", problem);
    }
}

fn dns_context(kubelet: &KubeletConfiguration) -> DnsContext {
    let host = kubelet
        .resolv_conf
        .as_ref()
        .and_then(|path| std::fs::read_to_string(path).ok())
        .map(|text| dns::parse_resolv_conf(&text))
        .unwrap_or_default();
    DnsContext {
        cluster_dns: kubelet.cluster_dns.clone(),
        cluster_domain: kubelet.cluster_domain.clone(),
        host,
    }
}

fn bytes(text: &str) -> Option<i64> {
    text.parse::<machinery::quantity::Quantity>().ok().map(|quantity| quantity.value())
}

/// What is kept from Pods: for Kubernetes, for the system, and the hard eviction thresholds.
fn reserved(kubelet: &KubeletConfiguration, root_dir: &Path) -> Reserved {
    let mut all: BTreeMap<String, i64> = BTreeMap::new();
    for (name, amount) in kubelet.kube_reserved.iter().chain(&kubelet.system_reserved) {
        let Ok(amount) = amount.parse::<machinery::quantity::Quantity>() else { continue };
        let amount = if name == "cpu" { amount.milli_value() } else { amount.value() };
        *all.entry(name.clone()).or_default() += amount;
    }
    let hard = kubelet.eviction_hard();
    if let Some(limit) = hard.get("memory.available").and_then(|limit| bytes(limit)) {
        *all.entry("memory".into()).or_default() += limit;
    }
    if let Some(limit) = hard.get("nodefs.available") {
        let capacity = i64::try_from(facts::disk(root_dir).capacity).unwrap_or(0);
        let kept = match limit.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()) {
            Some(percent) => capacity / 100 * percent,
            None => bytes(limit).unwrap_or(0),
        };
        *all.entry("ephemeral-storage".into()).or_default() += kept;
    }
    all
}
