//! `ironclad join`: this host becomes a node of a cluster that there is.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use super::checks::Part;
use super::control_plane::{self, CertificateKey};
use super::discovery::{self, Hints};
use super::init::{connect, install, preflight, within};
use super::runtime::{CONFIG, ROOT};
use super::{HostError, Supplies, file, members, resolv_conf};
use crate::config::ClusterConfiguration;
use crate::node::files::{
    self, BOOTSTRAP_KUBECONFIG, ClusterKeys, KUBELET_KUBECONFIG, Machine, PKI,
};
use crate::{addons, etcd, up};

/// Between looks for the kubelet's certificate.
const POLL: Duration = Duration::from_millis(200);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the cluster is found.
    pub hints: Hints,
    /// Address of this host.
    pub address: Option<Ipv4Addr>,
    /// Its name in the cluster.
    pub name: String,
    /// Whether it runs a control plane, and the port of its API server.
    pub control_plane: Option<u16>,
    /// What the shared keys are encrypted with.
    pub certificate_key: Option<String>,
    /// Checks whose errors are only warnings, in lower case.
    pub ignored: BTreeSet<String>,
    /// What the node gets.
    pub supplies: Supplies,
    /// How long the cluster may take to answer.
    pub discovery_patience: Duration,
    /// How long the node may take to come up.
    pub patience: Duration,
}

/// Brings this host into a cluster.
///
/// # Errors
/// [`HostError`] with the step that failed; `reset` undoes what was done.
pub async fn join(
    options: &Options,
    say: &mut dyn FnMut(String),
    shutdown: &CancellationToken,
) -> Result<(), HostError> {
    options.hints.validate()?;
    let key = match (&options.certificate_key, options.control_plane) {
        (Some(key), Some(_)) => Some(CertificateKey::parse(key)?),
        (None, Some(_)) => {
            let problem = "--control-plane needs the --certificate-key that `ironclad init \
                           --upload-certs` printed";
            return Err(HostError::CertificateKey(problem));
        }
        (_, None) => None,
    };
    tokio::select! {
        joined = work(options, key, say) => joined,
        () = shutdown.cancelled() => Err(HostError::Interrupted),
    }
}

async fn work(
    options: &Options,
    key: Option<CertificateKey>,
    say: &mut dyn FnMut(String),
) -> Result<(), HostError> {
    let part = Part {
        api_port: options.control_plane,
        // Only the cluster can tell.
        etcd: false,
        name: options.name.clone(),
        address: options.address,
    };
    let runtime = preflight(&part, &options.ignored, say)?;
    let address = options.address.ok_or(HostError::NoAddress)?;

    let found = discovery::discover(&options.hints);
    let found = tokio::time::timeout(options.discovery_patience, found).await;
    let found = found.map_err(|_| HostError::TimedOut {
        what: "a cluster that the token signs for",
        reasons: String::new(),
    })??;
    say(format!("[discovery] The cluster is reached at {}", found.server));
    let token = &options.hints.token;
    let server = found.server.strip_prefix("https://").unwrap_or(&found.server);
    let introduction = ClusterConfiguration::new("kubernetes", server);
    let newcomer = files::newcomer(&introduction, &found.ca, token);
    let client = introduce(&newcomer).await?;
    let config = cluster_configuration(&client).await?;
    say("[preflight] Read the configuration of the cluster".to_owned());

    let facts = runtime.facts();
    let machine = Machine {
        name: &options.name,
        address,
        tainted: options.control_plane.is_some(),
        containerd: &facts,
        containerd_config: CONFIG,
        containerd_root: ROOT,
        resolv_conf: resolv_conf(),
        simulated: false,
    };
    let mut joining = None;
    let files = match (options.control_plane, &key) {
        (Some(port), Some(key)) => {
            let keys = shared_keys(&client, &config, key).await?;
            say("[download-certs] Got the keys of the cluster".to_owned());
            if config.local_etcd().is_some() {
                joining = Some(introduce_member(options, &config, &keys, address, say).await?);
            }
            let member = joining.as_ref().map(|newcomer| &newcomer.member);
            files::control_plane(&config, &keys, &machine, port, member)?
        }
        _ => files::newcomer(&config, &found.ca, token),
    };
    let etcd = joining.as_ref().map(|newcomer| &newcomer.program);
    install(&machine, &config, files, &runtime, (&options.supplies, etcd), say)?;
    if let Some(Newcomer { admin, id, .. }) = &joining {
        say("[etcd] Waiting until the new member has learned what the others hold".to_owned());
        within(options.patience, "a vote of the new etcd member", admin, &options.name, async {
            while !members::promote(admin, id).await.unwrap_or(false) {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        })
        .await?;
        say("[etcd] The new member has a vote".to_owned());
    }

    let patience = options.patience;
    say("[kubelet-start] Waiting for the kubelet to perform the TLS Bootstrap".to_owned());
    within(patience, "a client certificate of the kubelet", &client, &options.name, async {
        while !Path::new(KUBELET_KUBECONFIG).exists() {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    })
    .await?;
    // The token has done its work.
    if Path::new(BOOTSTRAP_KUBECONFIG).exists() {
        fs::remove_file(BOOTSTRAP_KUBECONFIG).map_err(file(BOOTSTRAP_KUBECONFIG))?;
    }
    let own = connect(KUBELET_KUBECONFIG).await?;
    within(patience, "the Node of this host", &own, &options.name, async {
        up::registered(&own, &options.name).await;
        Ok(())
    })
    .await?;
    if options.control_plane.is_some() {
        let admin = connect("/etc/kubernetes/admin.conf").await?;
        within(patience, "an API server that answers", &admin, &options.name, async {
            Ok(addons::mark_control_plane(&admin, &options.name).await?)
        })
        .await?;
        say(format!("[mark-control-plane] Marked the node {} as control-plane", options.name));
    }
    Ok(())
}

/// The keys that all control planes share.
async fn shared_keys(
    client: &Client,
    config: &ClusterConfiguration,
    key: &CertificateKey,
) -> Result<ClusterKeys, HostError> {
    if config.etcd.is_none() {
        return Err(HostError::OneControlPlane);
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let secret = api.get(control_plane::SECRET).await.map_err(|source| HostError::Api {
        what: "reading the keys that the cluster keeps",
        source: Box::new(source),
    })?;
    let keys = control_plane::unseal(&secret, key)?;
    if config.local_etcd().is_some() && keys.etcd.is_none() {
        let problem = "the Secret kubeadm-certs does not hold it".to_owned();
        return Err(HostError::Keys { path: format!("{PKI}/etcd/ca.key"), problem });
    }
    Ok(keys)
}

/// A member of the etcd cluster that the others know of and that has not started yet.
struct Newcomer {
    program: etcd::Program,
    member: etcd::Member,
    /// Its number.
    id: String,
    /// A client that may give it a vote.
    admin: Client,
}

/// Makes this host's member known to the others.
async fn introduce_member(
    options: &Options,
    config: &ClusterConfiguration,
    keys: &ClusterKeys,
    address: Ipv4Addr,
    say: &mut dyn FnMut(String),
) -> Result<Newcomer, HostError> {
    for warning in super::checks::judge(super::checks::etcd_problems(), &options.ignored)? {
        say(format!("\t{warning}"));
    }
    let program = etcd::Program::find().map_err(HostError::Missing)?;
    let admin = client_of(&files::admin_kubeconfig(config, &keys.ca)?).await?;
    let url = etcd::peer_url(address);
    let (id, all) = members::add(&admin, &url).await?;
    say(format!("[etcd] Announced a new member of the etcd cluster at {url}"));
    let member = members::joining(&all, &options.name, &url, program.image());
    Ok(Newcomer { program, member, id, admin })
}

/// A client with the token, from the kubeconfig among the files of a newcomer.
async fn introduce(newcomer: &[files::File]) -> Result<Client, HostError> {
    let path = Path::new(BOOTSTRAP_KUBECONFIG);
    let text = newcomer.iter().find(|file| file.path == path).map(|file| &file.content);
    let Some(files::Content::Text(text)) = text else {
        unreachable!("a newcomer has a kubeconfig to introduce itself with")
    };
    client_of(text).await
}

/// A client with the kubeconfig `text`.
async fn client_of(text: &str) -> Result<Client, HostError> {
    let usable = kube::config::Kubeconfig::from_yaml(text).expect("what we write can be read");
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(usable, &options)
        .await
        .map_err(client::ConnectError::from)?;
    Ok(client::connect_with(config, "ironclad-join")?)
}

async fn cluster_configuration(client: &Client) -> Result<ClusterConfiguration, HostError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map = api.get("kubeadm-config").await.map_err(|source| HostError::Api {
        what: "reading the ConfigMap kubeadm-config",
        source: Box::new(source),
    })?;
    let text = map.data.and_then(|mut data| data.remove("ClusterConfiguration"));
    Ok(ClusterConfiguration::parse(&text.unwrap_or_default())?)
}
