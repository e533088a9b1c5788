//! `ironclad init`: this host becomes the control plane of a new cluster.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use client::ConnectOptions;
use component::bootstrap_token::Token;
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::checks::{self, Part};
use super::record::Record;
use super::runtime::{CONFIG, ROOT, Runtime};
use super::{HostError, Supplies, control_plane, file, lay_out_images, resolv_conf, units};
use crate::config::ClusterConfiguration;
use crate::diagnosis;
use crate::etcd::{self, Member};
use crate::image::PAUSE_IMAGE;
use crate::node::files::{self, File, Machine, PKI};
use crate::{addons, tokens, up};

/// Between looks for an API server that is not up yet.
const POLL: Duration = Duration::from_millis(200);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster.
    pub config: ClusterConfiguration,
    /// Where the API server is announced.
    pub address: Option<Ipv4Addr>,
    /// Its port.
    pub port: u16,
    /// Name of the node.
    pub name: String,
    /// The token for nodes that join; a new one unless given.
    pub token: Option<Token>,
    /// How long it is good; for ever if nothing is said.
    pub token_ttl: Option<Duration>,
    /// Whether the keys are kept in the cluster for further control planes.
    pub upload_certs: bool,
    /// Checks whose errors are only warnings, in lower case.
    pub ignored: BTreeSet<String>,
    /// What the node gets.
    pub supplies: Supplies,
    /// How long the control plane may take to come up.
    pub patience: Duration,
}

/// What the user needs to go on.
#[derive(Clone, Debug)]
pub struct Made {
    /// The command that brings a worker in.
    pub join: String,
    /// The command that brings a further control plane in.
    pub join_control_plane: Option<String>,
}

/// Makes this host a control plane.
///
/// # Errors
/// [`HostError`] with the step that failed; `reset` undoes what was done.
pub async fn init(
    options: &Options,
    say: &mut dyn FnMut(String),
    shutdown: &CancellationToken,
) -> Result<Made, HostError> {
    options.config.validate()?;
    say(format!("[init] Using Kubernetes version: {}", component::version::release()));
    let part = Part {
        api_port: Some(options.port),
        etcd: options.config.local_etcd().is_some(),
        name: options.name.clone(),
        address: options.address,
    };
    let runtime = preflight(&part, &options.ignored, say)?;
    let address = options.address.ok_or(HostError::NoAddress)?;
    let resolv_conf = resolv_conf();
    let facts = runtime.facts();
    let machine = Machine {
        name: &options.name,
        address,
        tainted: true,
        containerd: &facts,
        containerd_config: CONFIG,
        containerd_root: ROOT,
        resolv_conf,
        simulated: false,
    };
    let existing = Path::new(PKI).join("ca.crt").exists();
    let keys = control_plane::keys(Path::new(PKI))?.for_cluster(&options.config)?;
    let used = if existing { "Using existing ca" } else { "Generating \"ca\"" };
    say(format!("[certs] {used} certificate and key in {PKI}"));
    let etcd = own_etcd(&options.config)?;
    let member = etcd.as_ref().map(|program| Member {
        image: program.image(),
        initial_cluster: etcd::initial_cluster([(&*options.name, etcd::peer_url(address))]),
        joins: false,
    });
    let files =
        files::control_plane(&options.config, &keys, &machine, options.port, member.as_ref())?;
    install(&machine, &options.config, files, &runtime, (&options.supplies, etcd.as_ref()), say)?;

    let work = async {
        say(format!(
            "[wait-control-plane] Waiting for the kubelet to boot up the control plane as static \
             Pods from {}",
            files::MANIFESTS
        ));
        let client = connect("/etc/kubernetes/super-admin.conf").await?;
        within(options.patience, "a healthy API server", &client, &options.name, async {
            api_server(&client).await;
            Ok(())
        })
        .await?;
        say("[apiclient] The API server is healthy".to_owned());
        finish(options, &client, &keys, say).await
    };
    tokio::select! {
        made = work => made,
        () = shutdown.cancelled() => Err(HostError::Interrupted),
    }
}

/// What is done through the API once it answers.
async fn finish(
    options: &Options,
    client: &Client,
    keys: &files::ClusterKeys,
    say: &mut dyn FnMut(String),
) -> Result<Made, HostError> {
    let config = &options.config;
    let ca = keys.ca.certificate();
    addons::apply(client, &addons::Settings { config, ca, dns_replicas: 2 }).await?;
    say("[addons] Applied what nodes need to join, kube-proxy and kube-dns".to_owned());
    if let Some(address) = config.virtual_address {
        let admin = connect("/etc/kubernetes/admin.conf").await?;
        within(options.patience, "the virtual address", client, &options.name, async {
            api_server(&admin).await;
            Ok(())
        })
        .await?;
        say(format!("[virtual-ip] The API server answers at {address}"));
    }
    within(options.patience, "the Node of this host", client, &options.name, async {
        up::registered(client, &options.name).await;
        Ok(())
    })
    .await?;
    within(options.patience, "an API server that answers", client, &options.name, async {
        Ok(addons::mark_control_plane(client, &options.name).await?)
    })
    .await?;
    say(format!("[mark-control-plane] Marked the node {} as control-plane", options.name));

    let certificate_key = if options.upload_certs {
        let key = control_plane::upload(client, keys).await?;
        say(format!(
            "[upload-certs] Storing the certificates in Secret {:?} in the {:?} Namespace\n\
             [upload-certs] Using certificate key:\n{key}",
            control_plane::SECRET,
            "kube-system"
        ));
        Some(key)
    } else {
        None
    };
    let token = match &options.token {
        Some(token) => token.clone(),
        None => tokens::generate()?,
    };
    let settings = tokens::Settings {
        ttl: options.token_ttl,
        description: "The default bootstrap token generated by 'ironclad init'.".to_owned(),
        ..tokens::Settings::default()
    };
    tokens::create(client, &token, &settings).await?;
    say(format!("[bootstrap-token] Using token: {token}"));
    let join = join_command(&config.control_plane_endpoint, &token, ca)?;
    let join_control_plane =
        certificate_key.map(|key| format!("{join} --control-plane --certificate-key {key}"));
    Ok(Made { join, join_control_plane })
}

/// The command with which a worker joins.
///
/// # Errors
/// When the authority is no certificate.
pub fn join_command(endpoint: &str, token: &Token, ca: &str) -> Result<String, HostError> {
    let pin = super::pin(ca)?;
    Ok(format!("ironclad join {endpoint} --token {token} --discovery-token-ca-cert-hash {pin}"))
}

/// Looks at this host, and tells of what is only worth a mention.
pub(super) fn preflight(
    part: &Part,
    ignored: &BTreeSet<String>,
    say: &mut dyn FnMut(String),
) -> Result<Runtime, HostError> {
    say("[preflight] Running pre-flight checks".to_owned());
    let runtime = Runtime::detect();
    for warning in checks::run(part, &runtime, ignored)? {
        say(format!("\t{warning}"));
    }
    Ok(runtime)
}

/// The etcd of this machine, if the cluster has a member on every control plane.
pub(super) fn own_etcd(config: &ClusterConfiguration) -> Result<Option<etcd::Program>, HostError> {
    let wanted = config.local_etcd().map(|_| etcd::Program::find());
    wanted.transpose().map_err(HostError::Missing)
}

/// Writes everything that a node is made of, notes it, and starts its services; `etcd` is what a
/// member of the etcd cluster runs.
pub(super) fn install(
    machine: &Machine<'_>,
    config: &ClusterConfiguration,
    mut files: Vec<File>,
    runtime: &Runtime,
    (supplies, etcd): (&Supplies, Option<&etcd::Program>),
    say: &mut dyn FnMut(String),
) -> Result<(), HostError> {
    let program = std::env::current_exe().map_err(file("/proc/self/exe"))?;
    let kubelet = files::kubelet_config_of(machine, files::kubelet_config(config));
    files.extend(files::every_node(machine, &kubelet));
    files.extend(supplies.registries.files(&machine.registries_folder()));
    let own = matches!(runtime, Runtime::Own(_));
    let sandboxes = if own { Some(PAUSE_IMAGE) } else { runtime.sandbox_image() };
    files.extend(units::kubelet(&program, machine.name, machine.address, sandboxes));
    if !own && !supplies.registries.is_empty() {
        return Err(HostError::ForeignRuntime);
    }
    if own {
        let containerd = crate::preflight::find("containerd");
        let containerd = containerd.unwrap_or_else(|| "/usr/bin/containerd".into());
        files.push(units::containerd(&containerd, CONFIG));
    } else {
        files.retain(|file| file.path != Path::new(CONFIG));
    }
    // A file of the administrator's that we could only want to be different.
    files.retain(|file| !(file.path == Path::new("/etc/crictl.yaml") && file.path.exists()));

    let mut record = Record { own_runtime: own, ..Record::default() };
    record.note_all(&files);
    for path in super::record::MADE_BY_OTHERS {
        record.note(Path::new(path));
    }
    record.write()?;
    files::write(Path::new("/"), &files)
        .map_err(|(path, source)| HostError::File { path, source })?;
    say("[kubelet-start] Wrote credentials, configuration and units".to_owned());
    lay_out_images(supplies.images.as_deref(), runtime.sandbox_image(), etcd)?;
    units::reload()?;
    if own {
        units::start("containerd")?;
    }
    units::start("kubelet")?;
    say("[kubelet-start] Started the kubelet".to_owned());
    Ok(())
}

pub(super) async fn connect(kubeconfig: &str) -> Result<Client, HostError> {
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig.into()),
        user_agent: "ironclad-init".to_owned(),
    };
    Ok(client::connect(&options).await?)
}

async fn api_server(client: &Client) {
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("the path is valid");
        if client.request_text(request).await.is_ok_and(|text| text == "ok") {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits for `work`; what takes too long is an error that says why.
pub(super) async fn within<T>(
    patience: Duration,
    what: &'static str,
    client: &Client,
    node: &str,
    work: impl Future<Output = Result<T, HostError>>,
) -> Result<T, HostError> {
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => {
            let reasons = diagnosis::look(client, &[node]).await;
            let reasons = reasons.iter().map(|reason| format!("  - {reason}\n")).collect();
            Err(HostError::TimedOut { what, reasons })
        }
    }
}
