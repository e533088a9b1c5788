//! Start-up, serving and shutdown.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use component::health::Checks;
use component::serve;
use component::tls;
use component::version::release;
use futures::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use machinery::Value;
use machinery::status::Status;
use serde_json::json;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{self, Plugins};
use crate::aggregation::{self, Aggregation};
use crate::audit::{self, Auditor};
use crate::authn::service_account::{Keys, Objects, ServiceAccounts};
use crate::authn::{Authenticator, Secrets, jwt};
use crate::authz::Authorizer;
use crate::bootstrap::service_cidr;
use crate::config::Config;
use crate::discovery::Discovery;
use crate::flow::Flow;
use crate::handlers::Kubelets;
use crate::registry::{self, ParseRangeError, Ranges, Registry, Repair};
use crate::{backup, bootstrap, credentials, custom, feed, health, metrics, pipeline};

/// The embedded store's file within the data folder.
pub const STORE_FILE: &str = "store.redb";

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The serving certificate or client authority is of no use.
    #[error(transparent)]
    Tls(#[from] component::tls::Error),
    /// A service-account key is of no use.
    #[error("service account keys: {0}")]
    Keys(#[from] jwt::Error),
    /// The client certificate for kubelets is of no use.
    #[error("kubelet client: {0}")]
    Kubelet(#[from] crate::handlers::KubeletError),
    /// The store cannot be opened.
    #[error("store: {0}")]
    Store(store::Error),
    /// The embedded store's file is damaged.
    #[error(
        "{fault}; `ironclad store check {path}` says what is lost, `ironclad store repair {path}` saves the rest, and `ironclad snapshot restore` goes back to a snapshot",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        #[source]
        fault: store::Error,
    },
    /// The shared store is half restored.
    #[error(
        "the restoring of this store from a snapshot was not finished; `ironclad snapshot restore` does it again"
    )]
    HalfRestored,
    /// A range of addresses or ports is malformed.
    #[error(transparent)]
    Range(#[from] ParseRangeError),
    /// Auditing cannot be set up.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// Admission plugins are told something that makes no sense.
    #[error(transparent)]
    Admission(#[from] admission::ConfigurationError),
    /// The registry cannot be set up.
    #[error("registry: {0}")]
    Registry(Box<Status>),
    /// What must exist from the start cannot be made.
    #[error("bootstrap: {0}")]
    Bootstrap(Box<Status>),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// The server's parts, shared by all requests.
pub struct Api {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) authenticator: Authenticator,
    pub(crate) service_accounts: Arc<ServiceAccounts>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) auditor: Arc<Auditor>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) checks: Checks,
    pub(crate) discovery: Discovery,
    pub(crate) kubelets: Kubelets,
    pub(crate) aggregation: Arc<Aggregation>,
    pub(crate) shutdown: CancellationToken,
}

/// Runs the server until `shutdown`, then drains.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let listener = TcpListener::bind(config.bind)
        .await
        .map_err(|source| Error::Listen { address: config.bind, source })?;
    serve(config, listener, shutdown).await
}

/// As [`run`], on a listener that is bound already.
///
/// # Errors
/// When it cannot start.
pub fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed here, or the whole server would be compiled again by the crate that awaits it.
    Box::pin(async move {
        let given = Given::load(&config)?;
        let store = open_store(&config).await?;
        // However it ends, what still runs then ends too, and nobody keeps the store's file.
        let ended = shutdown.child_token();
        let result = serve_from(&store, config, given, listener, ended.clone()).await;
        ended.cancel();
        let closed = store.close().await;
        result.and(closed.map_err(Error::Store))
    })
}

/// What the files and texts of the configuration hold.
struct Given {
    certificates: tls::Files,
    tls: tls::ServerTls,
    kubelets: Kubelets,
    keys: Keys,
    ranges: Ranges,
    admission: admission::Configuration,
}

impl Given {
    fn load(config: &Config) -> Result<Self, Error> {
        let certificates = tls::Files {
            certificate: config.certificate.clone(),
            key: config.key.clone(),
            client_ca: Some(config.client_ca.clone()),
        };
        let tls = certificates.load()?;
        let kubelets = Kubelets::load(config)?;
        let keys = credentials::service_account_keys(config)?;
        let ranges =
            Ranges::parse(&config.service_cluster_ip_range, &config.service_node_port_range)?;
        let told = config.admission_control_config_file.as_deref();
        let admission = told.map(admission::Configuration::load).transpose()?.unwrap_or_default();
        Ok(Self { certificates, tls, kubelets, keys, ranges, admission })
    }
}

async fn serve_from(
    store: &Store,
    config: Config,
    given: Given,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Given { certificates, tls, kubelets, keys, ranges, admission } = given;
    let networks = ranges.networks().to_vec();
    let tasks = TaskTracker::new();
    // Later than the others: what the last requests leave behind is written too.
    let answered = CancellationToken::new();
    let auditor = Auditor::new(&config.audit, (&tasks, &answered)).await?;
    if !config.compaction_interval.is_zero() {
        let retention = store::retain(store.clone(), config.compaction_interval, shutdown.clone());
        tasks.spawn(retention);
    }
    tasks.spawn(certificates.follow(tls.clone(), shutdown.clone()));
    let options =
        registry::Options { ranges, event_ttl: config.event_ttl, ..registry::Options::default() };
    let served = config.enablement.served();
    let registry = Registry::open_with(store.clone(), &served, options).await;
    let registry = registry.map_err(Error::Registry)?;
    let service_accounts = Arc::new(ServiceAccounts::new(
        config.service_account_issuer.clone(),
        config.audiences.clone(),
        keys,
        Box::new(Cached(registry.clone())),
    ));
    let authorizer = Arc::new(Authorizer::default());
    registry.set_admission(Arc::new(Plugins::new(authorizer.clone(), admission)));
    let aggregation = Arc::new(Aggregation::new(&config, registry.caller().services().clone())?);
    let bootstrapped = Arc::new(AtomicBool::new(false));
    let port = listener.local_addr().map_or(config.bind.port(), |address| address.port());
    let api = Arc::new(Api {
        discovery: Discovery::new(format!("{}:{port}", config.advertise), aggregation.clone()),
        authenticator: Authenticator::new(
            service_accounts.clone(),
            config.enable_bootstrap_token_auth.then(|| {
                let registry = registry.clone();
                let find = move |namespace: &str, name: &str| {
                    Some(registry.cached("", "secrets", namespace, name)?.value())
                };
                Box::new(find) as Secrets
            }),
        ),
        service_accounts,
        auditor,
        flow: Arc::new(Flow::new(
            config.max_requests_in_flight,
            config.max_mutating_requests_in_flight,
            config.request_timeout,
        )),
        checks: health::checks(&registry, &bootstrapped, (&tasks, &shutdown)),
        kubelets,
        aggregation,
        authorizer,
        registry: registry.clone(),
        shutdown: shutdown.clone(),
        config,
    });

    service_cidr::reconcile(&registry, &networks).await.map_err(Error::Bootstrap)?;
    let mut repair = Repair::new(&registry);
    if let Some(repair) = &mut repair {
        repair.once().await.map_err(Error::Bootstrap)?;
    }
    bootstrap::run(&api, port).await.map_err(Error::Bootstrap)?;
    feed::authorization(&registry, &api.authorizer, (&tasks, &shutdown)).await;
    feed::flow_control(&registry, &api.flow, (&tasks, &shutdown)).await;
    custom::follow(&registry, (&tasks, &shutdown)).await;
    aggregation::local::reconcile(&registry).await.map_err(Error::Bootstrap)?;
    aggregation::follow(&registry, &api.aggregation, (&tasks, &shutdown)).await;
    bootstrapped.store(true, Ordering::Release);
    credentials::follow(&api, (&tasks, &shutdown));
    tasks.spawn(bootstrap::kubernetes_service::keep(api.clone(), port));
    tasks.spawn(aggregation::local::keep(api.clone()));
    tasks.spawn(aggregation::availability::keep(api.clone()));
    tasks.spawn(aggregation::openapi::keep(api.clone()));
    tasks.spawn(service_cidr::keep(api.clone(), networks));
    tasks.spawn(bootstrap::flow_control::keep(api.clone()));
    tasks.spawn(api.flow.clone().lend(shutdown.clone()));
    if let Some(repair) = repair {
        tasks.spawn(repair.run(shutdown.clone()));
    }
    if !api.config.snapshot_interval.is_zero() {
        let schedule = backup::Schedule {
            folder: api.config.snapshot_dir.clone(),
            interval: api.config.snapshot_interval,
            keep: api.config.snapshot_keep,
        };
        tasks.spawn(backup::keep(registry.clone(), schedule, shutdown.clone()));
    }
    tracing::info!(port, version = release(), "serving");

    let limits = serve::Options { drain: api.config.drain, max_streams: api.config.max_streams };
    let connect = {
        let api = api.clone();
        move |peer: serve::Peer| {
            let api = api.clone();
            let user = Arc::new(api.authenticator.connection(&peer.certificates));
            service_fn(move |request: Request<Incoming>| {
                let (api, user, client) = (api.clone(), user.clone(), peer.address);
                // Made where it is awaited: as a value of its own it would be moved there.
                async move { Ok::<_, Infallible>(pipeline::handle(api, user, client, request).await) }
            })
        }
    };
    serve::serve(listener, Some(tls), limits, connect, shutdown).await;
    answered.cancel();
    tasks.close();
    tasks.wait().await;
    registry.close().await;
    Ok(())
}

async fn open_store(config: &Config) -> Result<Store, Error> {
    let store = if config.etcd.servers.is_empty() {
        if let Err(error) = store::metrics::register(component::metrics::registry()) {
            // A second server in the same process.
            tracing::debug!(%error, "the store's metrics are there already");
        }
        let path = config.data_dir.join(STORE_FILE);
        let quota_bytes = match config.quota_backend_bytes {
            0 => Some(store::embedded::DEFAULT_QUOTA),
            quota => u64::try_from(quota).ok(),
        };
        let options = store::embedded::Options { quota_bytes, ..Default::default() };
        store::embedded::open(&path, options).map_err(|fault| match fault {
            store::Error::Damaged(_) => Error::Damaged { path, fault },
            other => Error::Store(other),
        })?
    } else {
        let store = store::etcd::connect(&config.etcd).await?;
        if store::snapshot::restore::is_unfinished(&store).await? {
            return Err(Error::HalfRestored);
        }
        store
    };
    Ok(store.observed(metrics::Requests))
}

/// What a file holds.
///
/// # Errors
/// [`Error::Read`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// The document of `/version`.
#[must_use]
pub(crate) fn version() -> Value {
    let (major, minor) = component::version::minor(release());
    json!({
        "major": major,
        "minor": minor,
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": release(),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "rust",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

// === impl Api ===

impl Api {
    /// The port under which clients outside reach the server.
    pub(crate) fn port(&self) -> u16 {
        self.config.bind.port()
    }
}

/// Looks up what tokens are bound to.
struct Cached(Registry);

impl Objects for Cached {
    fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<(String, Option<u64>)> {
        let object = self.0.cached("", resource, namespace, name)?.value();
        let deleted = machinery::meta::deletion_timestamp(&object)
            .and_then(machinery::time::parse)
            .and_then(|time| u64::try_from(time.as_second()).ok());
        Some((machinery::meta::uid(&object).to_owned(), deleted))
    }
}
