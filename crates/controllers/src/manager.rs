//! Starts what a controller manager consists of and keeps it running.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use client::{Client, ConnectOptions, EventRecorder, LeaderConfig, LeaderElector};
use component::health::{Checks, Scope};
use component::ops::OpsServer;
use component::pki::Authority;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certificates::sign;
use crate::context::Context;
use crate::credentials::Credentials;
use crate::informers::Informers;
use crate::nodeipam::plan::{Cidr, InvalidCidr};
use crate::{
    Config, bootstrap, certificates, clusterrole, cronjob, daemonset, deployment, disruption,
    endpoints, endpointslice, endpointslicemirroring, garbage, job, namespace, nodeipam,
    nodelifecycle, podgc, policystatus, protection, replicaset, resourcequota, rootca,
    serviceaccount, servicecidr, statefulset,
};

const NAME: &str = "kube-controller-manager";

/// Why the controller manager ended.
#[derive(Debug, Error)]
pub enum Error {
    /// No client could be made.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// The health endpoints cannot be served.
    #[error(transparent)]
    Ops(#[from] component::ops::Error),
    /// Another controller manager leads now.
    #[error(transparent)]
    Leader(#[from] client::leader::LeaderError),
    /// A range of addresses is malformed.
    #[error(transparent)]
    Cidr(#[from] InvalidCidr),
    /// A CA's file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The authority that is to sign certificates is of no use.
    #[error("error building CA for signing: {0}")]
    Signing(#[from] component::pki::Error),
    /// A controller ended by itself, which none should.
    #[error("controller {0} ended unexpectedly")]
    ControllerEnded(String),
}

/// What is read from the configuration before anything starts, so that mistakes show at once.
struct Settings {
    config: Arc<Config>,
    cluster: Vec<Cidr>,
    service: Vec<Cidr>,
    authority: Option<sign::Files>,
}

/// Runs the controller manager until `shutdown` is cancelled or leadership is lost.
///
/// # Errors
/// See [`Error`]; the process ends then and is started again by its supervisor.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed here, or the whole component would be compiled again by the crate that awaits it.
    Box::pin(serve(config, shutdown))
}

async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let settings = read_settings(config)?;
    let config = Arc::clone(&settings.config);
    let options =
        ConnectOptions { kubeconfig: config.kubeconfig.clone(), user_agent: NAME.to_owned() };
    let client = client::connect(&options).await?;
    let informers = Arc::new(OnceLock::new());
    serve_ops(&config, Arc::clone(&informers), &shutdown).await?;
    if !config.leader_elect {
        return lead(client, options, settings, &informers, shutdown).await;
    }
    let elector = LeaderElector::new(LeaderConfig::new(NAME, &client::leader::identity()));
    let mut outcome = Ok(());
    let result = &mut outcome;
    elector
        .run(client.clone(), shutdown, |token| async move {
            *result = lead(client, options, settings, &informers, token).await;
        })
        .await?;
    outcome
}

fn read_settings(config: Config) -> Result<Settings, Error> {
    let ranges = |text: &str| -> Result<Vec<Cidr>, InvalidCidr> {
        text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::parse).collect()
    };
    if let Some(path) = &config.root_ca_file {
        read(path)?;
    }
    if let Some((certificate, key)) = &config.cluster_signing {
        Authority::load(&read(certificate)?, &read(key)?)?;
    }
    let authority = config.cluster_signing.clone();
    let authority = authority.map(|(certificate, key)| sign::Files { certificate, key });
    Ok(Settings {
        cluster: ranges(&config.cluster_cidr)?,
        service: ranges(&config.service_cidr)?,
        authority,
        config: Arc::new(config),
    })
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

async fn serve_ops(
    config: &Config,
    informers: Arc<OnceLock<Arc<Informers>>>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let Some(address) = config.ops_address else { return Ok(()) };
    let checks = Checks::default();
    // As upstream, one that waits for the lease is healthy; losing it ends the process.
    checks.add("leaderElection", Scope::Everywhere, || Ok(()));
    checks.add("informer-sync", Scope::Readiness, move || {
        let missing = informers.get().map(|i| i.missing()).unwrap_or_default();
        if missing.is_empty() { Ok(()) } else { Err(format!("not synced: {}", missing.join(", "))) }
    });
    let server = OpsServer::https(address, checks).await?;
    tokio::spawn(server.run(shutdown.clone()));
    Ok(())
}

/// Runs the controllers.
async fn lead(
    client: Client,
    options: ConnectOptions,
    settings: Settings,
    known: &OnceLock<Arc<Informers>>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let informers =
        Arc::clone(known.get_or_init(|| Arc::new(Informers::start(&client, &shutdown))));
    let recorder = EventRecorder::new(client.clone(), NAME, None);
    let credentials = Credentials::new(client, options, &settings.config, &shutdown);
    let mut controllers = Controllers {
        informers: Arc::clone(&informers),
        recorder,
        credentials,
        config: Arc::clone(&settings.config),
        shutdown: shutdown.clone(),
        tasks: JoinSet::new(),
    };
    start_all(&mut controllers, settings);
    let mut tasks = controllers.tasks;
    let ended = tokio::select! {
        () = shutdown.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    match ended {
        Some(Ok(name)) if !shutdown.is_cancelled() => Err(Error::ControllerEnded(name)),
        Some(Err(error)) if error.is_panic() => Err(Error::ControllerEnded(error.to_string())),
        _ => {
            while tasks.join_next().await.is_some() {}
            Ok(())
        }
    }
}

struct Controllers {
    informers: Arc<Informers>,
    recorder: EventRecorder,
    credentials: Credentials,
    config: Arc<Config>,
    shutdown: CancellationToken,
    tasks: JoinSet<String>,
}

impl Controllers {
    /// Starts a controller under its upstream name; `account` is that of its service account
    /// and the source of its events.
    fn start<F, R>(&mut self, name: &'static str, account: &'static str, run: F)
    where
        F: FnOnce(Context) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        if !self.config.enables(name) {
            return;
        }
        let recorder = self.recorder.for_component(account);
        let (informers, config) = (Arc::clone(&self.informers), Arc::clone(&self.config));
        let (credentials, shutdown) = (self.credentials.clone(), self.shutdown.clone());
        self.tasks.spawn(async move {
            let Some(client) = credentials.client(account).await else { return name.to_owned() };
            run(Context { client, recorder, informers, config, shutdown }).await;
            name.to_owned()
        });
    }
}

fn start_all(c: &mut Controllers, settings: Settings) {
    let Settings { config, cluster, service, authority } = settings;
    c.start("deployment-controller", "deployment-controller", deployment::run);
    c.start("replicaset-controller", "replicaset-controller", replicaset::run::<ReplicaSet>);
    c.start(
        "replicationcontroller-controller",
        "replication-controller",
        replicaset::run::<ReplicationController>,
    );
    c.start("daemonset-controller", "daemon-set-controller", daemonset::run);
    c.start("garbage-collector-controller", "generic-garbage-collector", garbage::run);
    c.start("namespace-controller", "namespace-controller", namespace::run);
    c.start("serviceaccount-controller", "service-account-controller", serviceaccount::run);
    c.start("endpoints-controller", "endpoint-controller", endpoints::run);
    c.start("endpointslice-controller", "endpointslice-controller", endpointslice::run);
    c.start(
        "endpointslice-mirroring-controller",
        "endpointslicemirroring-controller",
        endpointslicemirroring::run,
    );
    c.start("node-lifecycle-controller", "node-controller", nodelifecycle::run);
    c.start("pod-garbage-collector-controller", "pod-garbage-collector", podgc::run);
    c.start("statefulset-controller", "statefulset-controller", statefulset::run);
    c.start("disruption-controller", "disruption-controller", disruption::run);
    c.start("job-controller", "job-controller", job::run);
    c.start("cronjob-controller", "cronjob-controller", cronjob::run);
    c.start("resourcequota-controller", "resourcequota-controller", resourcequota::run);
    c.start(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection-controller",
        protection::claims,
    );
    c.start(
        "persistentvolume-protection-controller",
        "pv-protection-controller",
        protection::volumes,
    );
    c.start("ttl-after-finished-controller", "ttl-after-finished-controller", job::ttl::run);
    c.start(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation-controller",
        clusterrole::run,
    );
    c.start("service-cidr-controller", "service-cidrs-controller", servicecidr::run);
    c.start(policystatus::NAME, policystatus::NAME, policystatus::run);
    if config.allocate_node_cidrs && !cluster.is_empty() {
        c.start("node-ipam-controller", "node-controller", move |context| {
            nodeipam::run(context, cluster, service)
        });
    }
    c.start(
        "certificatesigningrequest-approving-controller",
        "certificate-controller",
        certificates::approve::run,
    );
    c.start(
        "certificatesigningrequest-cleaner-controller",
        "certificate-controller",
        certificates::clean::run,
    );
    c.start(
        "kubelet-serving-certificate-approving-controller",
        "certificate-controller",
        certificates::serving::run,
    );
    c.start("bootstrap-signer-controller", "bootstrap-signer", bootstrap::signer::run);
    c.start("token-cleaner-controller", "token-cleaner", bootstrap::cleaner::run);
    if let Some(authority) = authority {
        let longest = config.cluster_signing_duration;
        c.start(
            "certificatesigningrequest-signing-controller",
            "certificate-controller",
            move |context| sign::run(context, authority, longest),
        );
    }
    if let Some(bundle) = config.root_ca_file.clone() {
        c.start(
            "root-ca-certificate-publisher-controller",
            "root-ca-cert-publisher",
            move |context| rootca::run(context, bundle),
        );
    }
}
