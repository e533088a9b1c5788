//! `init`, `join`, `reset` and `token`: real hosts.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use client::ConnectOptions;
use cluster::config::{API_PORT, ClusterConfiguration, Etcd, ExternalEtcd};
use cluster::host::init::join_command;
use cluster::host::{self, Hints, HostError};
use cluster::tokens;
use component::bootstrap_token::Token;
use k8s_openapi::jiff::Timestamp;
use kube::config::Kubeconfig;
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::clusters::{Snapshots, StoreKind, print_table};
use super::registries;

/// The exit code of kubeadm when a check fails.
const PREFLIGHT: u8 = 2;
/// How long the cluster may take to let go of an etcd member.
const ETCD_PATIENCE: Duration = Duration::from_secs(60);
const RUNTIME_ENDPOINT: &str = "unix:///run/containerd/containerd.sock";

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Address at which the API server is announced; that of the default route unless given
    #[arg(long)]
    apiserver_advertise_address: Option<Ipv4Addr>,
    /// Port of the API server
    #[arg(long, default_value_t = API_PORT)]
    apiserver_bind_port: u16,
    /// Further names and addresses in the API server's certificate
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    apiserver_cert_extra_sans: Vec<String>,
    /// Host and port by which all nodes reach the API server, such as those of a load balancer
    #[arg(long, value_name = "HOST[:PORT]")]
    control_plane_endpoint: Option<String>,
    /// Range of the Pods' addresses
    #[arg(long, default_value = "10.244.0.0/16")]
    pod_network_cidr: String,
    /// Range of the Services' addresses
    #[arg(long, default_value = "10.96.0.0/12")]
    service_cidr: String,
    /// Domain of the names of Services and Pods
    #[arg(long, default_value = "cluster.local")]
    service_dns_domain: String,
    /// Name of the node; the host name unless given
    #[arg(long)]
    node_name: Option<String>,
    /// How long certificates are good, as 8760h; they are renewed long before
    #[arg(long, value_name = "DURATION")]
    certificate_validity: Option<String>,
    /// Address of the hosts' network that one of the control planes has at a time, by which all nodes
    /// reach the API server
    #[arg(long, value_name = "ADDRESS")]
    virtual_ip: Option<Ipv4Addr>,
    /// Where objects are kept; etcd, with a member on every control plane, lets others join
    #[arg(long, default_value = "embedded")]
    store: StoreKind,
    #[command(flatten)]
    snapshots: Snapshots,
    /// URLs of an etcd cluster that there is already, to store in that
    #[arg(long, value_delimiter = ',', value_name = "URL,…", conflicts_with = "store")]
    etcd_servers: Vec<String>,
    /// Authorities of the etcd members' certificates, below /etc/kubernetes/pki
    #[arg(long, default_value = "")]
    etcd_cafile: String,
    /// Certificate to show to etcd, below /etc/kubernetes/pki
    #[arg(long, default_value = "")]
    etcd_certfile: String,
    /// Its key, below /etc/kubernetes/pki
    #[arg(long, default_value = "")]
    etcd_keyfile: String,
    /// The token for nodes that join; a new one unless given
    #[arg(long)]
    token: Option<Token>,
    /// How long the token is good; 0 is for ever
    #[arg(long, default_value = "24h", value_parser = apiserver::parse_duration)]
    token_ttl: Duration,
    /// Keep the keys in the cluster for two hours, so that further control planes can join
    #[arg(long)]
    upload_certs: bool,
    #[command(flatten)]
    host: Host,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// Host and port of an API server of the cluster
    endpoint: String,
    /// The bootstrap token
    #[arg(long)]
    token: Token,
    /// SHA-256 of the public key of the cluster's authority, as sha256:<hex>
    #[arg(long, value_delimiter = ',', value_name = "HASH,…")]
    discovery_token_ca_cert_hash: Vec<String>,
    /// Believe the token alone
    #[arg(long)]
    discovery_token_unsafe_skip_ca_verification: bool,
    /// Seconds for which the cluster is looked for
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    discovery_timeout: u64,
    /// Run a further control plane
    #[arg(long)]
    control_plane: bool,
    /// What the cluster's keys were encrypted with
    #[arg(long, requires = "control_plane")]
    certificate_key: Option<String>,
    /// Port of the API server of a further control plane
    #[arg(long, default_value_t = API_PORT)]
    apiserver_bind_port: u16,
    /// Address at which the API server of a further control plane is announced
    #[arg(long, conflicts_with = "node_ip")]
    apiserver_advertise_address: Option<Ipv4Addr>,
    /// Address of this node; that of the default route unless given
    #[arg(long)]
    node_ip: Option<Ipv4Addr>,
    /// Name of the node; the host name unless given
    #[arg(long)]
    node_name: Option<String>,
    #[command(flatten)]
    host: Host,
}

/// What `init` and `join` have in common.
#[derive(Debug, Args)]
struct Host {
    /// Checks whose errors are only warnings, such as Port-10250; "all" for all of them
    #[arg(long, value_delimiter = ',', value_name = "CHECK,…")]
    ignore_preflight_errors: Vec<String>,
    /// A folder of image archives (docker or OCI) that the node gets
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    #[command(flatten)]
    registries: registries::Flags,
    /// Seconds after which a step that does not end is given up
    #[arg(long, default_value_t = 240, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tokens {
    /// How the cluster is reached
    #[arg(long, env = "KUBECONFIG", default_value = "/etc/kubernetes/admin.conf", global = true)]
    kubeconfig: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token, and print it
    Create {
        /// The token; a new one unless given
        token: Option<Token>,
        /// How long it is good; 0 is for ever
        #[arg(long, default_value = "24h", value_parser = apiserver::parse_duration)]
        ttl: Duration,
        /// Print the whole command with which a node joins
        #[arg(long)]
        print_join_command: bool,
        /// What it is for, in words
        #[arg(long, default_value = "")]
        description: String,
        /// What it is good for
        #[arg(long, value_delimiter = ',', default_value = "signing,authentication")]
        usages: Vec<String>,
        /// Groups of its user
        #[arg(long, value_delimiter = ',', default_value = tokens::NODE_GROUP)]
        groups: Vec<String>,
    },
    /// Show the tokens
    List,
    /// Remove tokens, given whole or by their ids
    Delete {
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

impl Host {
    fn supplies(&self) -> anyhow::Result<host::Supplies> {
        let registries = self.registries.registries()?;
        Ok(host::Supplies { images: self.images.clone(), registries })
    }

    fn ignored(&self) -> BTreeSet<String> {
        self.ignore_preflight_errors.iter().map(|name| name.to_lowercase()).collect()
    }
}

/// A time to live, of which zero is for ever.
fn ttl(given: Duration) -> Option<Duration> {
    (!given.is_zero()).then_some(given)
}

/// A failed check has an exit code of its own.
fn told(error: HostError) -> anyhow::Error {
    match error {
        HostError::Preflight(error) => {
            eprintln!("{error}");
            Exit(PREFLIGHT).into()
        }
        other => other.into(),
    }
}

pub(crate) async fn init(flags: Init, shutdown: CancellationToken) -> anyhow::Result<()> {
    let address = flags.apiserver_advertise_address.or_else(host::default_address);
    let port = flags.apiserver_bind_port;
    let endpoint = match &flags.control_plane_endpoint {
        Some(given) if given.contains(':') => given.clone(),
        Some(given) => format!("{given}:{port}"),
        None => {
            let address = flags.virtual_ip.or(address).unwrap_or(Ipv4Addr::UNSPECIFIED);
            format!("{address}:{port}")
        }
    };
    let mut config = ClusterConfiguration::new("kubernetes", &endpoint);
    config.networking.pod_subnet = flags.pod_network_cidr;
    config.networking.service_subnet = flags.service_cidr;
    config.networking.dns_domain = flags.service_dns_domain;
    config.api_server.cert_sans = flags.apiserver_cert_extra_sans;
    config.virtual_address = flags.virtual_ip;
    if let Some((every, keep)) = flags.snapshots.schedule() {
        config.schedule_snapshots(every, keep);
    }
    if flags.store == StoreKind::Etcd {
        config = config.with_local_etcd();
    }
    config.certificate_validity_period = flags.certificate_validity;
    if !flags.etcd_servers.is_empty() {
        let external = ExternalEtcd {
            endpoints: flags.etcd_servers,
            ca_file: flags.etcd_cafile,
            cert_file: flags.etcd_certfile,
            key_file: flags.etcd_keyfile,
        };
        config.etcd = Some(Etcd::External { external });
    }
    let options = host::init::Options {
        config,
        address,
        port,
        name: flags.node_name.unwrap_or_else(host::default_name),
        token: flags.token,
        token_ttl: ttl(flags.token_ttl),
        upload_certs: flags.upload_certs,
        ignored: flags.host.ignored(),
        supplies: flags.host.supplies()?,
        patience: Duration::from_secs(flags.host.timeout),
    };
    let mut say = |line: String| println!("{line}");
    let made = host::init::init(&options, &mut say, &shutdown).await.map_err(told)?;
    println!(
        "
Your Kubernetes control plane has started. To use the cluster:

  export KUBECONFIG=/etc/kubernetes/admin.conf
"
    );
    if let Some(command) = made.join_control_plane {
        println!(
            "A further control plane joins with this, run on its host as root:\n\n  {command}\n"
        );
    }
    println!("A worker joins with this, run on its host as root:\n\n  {}", made.join);
    Ok(())
}

pub(crate) async fn join(flags: Join, shutdown: CancellationToken) -> anyhow::Result<()> {
    let given = flags.apiserver_advertise_address.or(flags.node_ip);
    let options = host::join::Options {
        hints: Hints {
            endpoint: flags.endpoint,
            token: flags.token,
            pins: flags.discovery_token_ca_cert_hash,
            unpinned: flags.discovery_token_unsafe_skip_ca_verification,
        },
        address: given.or_else(host::default_address),
        name: flags.node_name.unwrap_or_else(host::default_name),
        control_plane: flags.control_plane.then_some(flags.apiserver_bind_port),
        certificate_key: flags.certificate_key,
        ignored: flags.host.ignored(),
        supplies: flags.host.supplies()?,
        discovery_patience: Duration::from_secs(flags.discovery_timeout),
        patience: Duration::from_secs(flags.host.timeout),
    };
    let mut say = |line: String| println!("{line}");
    host::join::join(&options, &mut say, &shutdown).await.map_err(told)?;
    println!(
        "\nThis node has joined the cluster. `kubectl get nodes` on the control plane shows it."
    );
    Ok(())
}

pub(crate) async fn reset(flags: Reset) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("user is not running as root; run the command with sudo");
    }
    if !host::reset::is_node() {
        println!("[reset] This host is no node: there is nothing to undo.");
        return Ok(());
    }
    if !flags.force && !confirmed()? {
        anyhow::bail!("aborted");
    }
    match host::reset::leave_etcd(ETCD_PATIENCE).await {
        Ok(true) => println!("[reset] Removed this host's member from the etcd cluster"),
        Ok(false) => {}
        Err(error) => println!(
            "[reset] WARNING: this host's member is left in the etcd cluster; remove it with \
             `etcdctl member remove`: {error}"
        ),
    }
    println!("[reset] Stopping the kubelet service");
    host::reset::stop_kubelet()?;
    match kubelet::teardown::remove_pods(RUNTIME_ENDPOINT).await {
        Ok(count) => println!("[reset] Removed {count} Pods"),
        // Their processes end with their cgroups.
        Err(error) => println!("[reset] WARNING: the container runtime removes no Pods: {error}"),
    }
    let mut config = proxy::Config::new(host::default_name());
    config.cni_conf_dir = Some("/etc/cni/net.d".into());
    if let Err(error) = proxy::cleanup(&config).await {
        println!("[reset] WARNING: rules of kube-proxy may be left: {error}");
    }
    println!("[reset] Removing services, mounts, cgroups, interfaces and files");
    host::reset::clean().await?;
    if let Some(folder) = host::reset::snapshots() {
        println!("[reset] The snapshots of the store are left in {}", folder.display());
    }
    println!(
        "[reset] This host is no node any more. Its Node object is removed with `kubectl delete node`."
    );
    Ok(())
}

/// Asks whether it is meant.
fn confirmed() -> anyhow::Result<bool> {
    use std::io::Write as _;
    println!(
        "[reset] WARNING: Changes made to this host by 'ironclad init' or 'ironclad join' will be reverted."
    );
    print!("[reset] Are you sure you want to proceed? [y/N]: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

pub(crate) async fn token(flags: Tokens) -> anyhow::Result<()> {
    let kubeconfig = flags.kubeconfig;
    let connect = ConnectOptions {
        kubeconfig: Some(kubeconfig.clone()),
        user_agent: "ironclad-token".to_owned(),
    };
    let client = client::connect(&connect).await?;
    match flags.verb {
        Verb::Create { token, ttl: given, print_join_command, description, usages, groups } => {
            let token = match token {
                Some(token) => token,
                None => tokens::generate()?,
            };
            let settings = tokens::Settings { ttl: ttl(given), usages, groups, description };
            tokens::create(&client, &token, &settings).await?;
            if print_join_command {
                println!("{}", how_to_join(&kubeconfig, &token)?);
            } else {
                println!("{token}");
            }
        }
        Verb::List => {
            let now = Timestamp::now();
            let rows: Vec<_> = tokens::list(&client).await?.iter().map(|t| t.row(now)).collect();
            print_table(tokens::HEAD, rows);
        }
        Verb::Delete { tokens } => {
            for given in tokens {
                let id = tokens::delete(&client, &given).await?;
                println!("bootstrap token {id:?} deleted");
            }
        }
    }
    Ok(())
}

/// The command with which a node joins the cluster that a kubeconfig names.
fn how_to_join(kubeconfig: &std::path::Path, token: &Token) -> anyhow::Result<String> {
    use base64::Engine as _;
    let config = Kubeconfig::read_from(kubeconfig)?;
    let cluster = config.clusters.into_iter().find_map(|named| named.cluster);
    let cluster = cluster.context("the kubeconfig names no cluster")?;
    let server = cluster.server.context("the kubeconfig's cluster has no server")?;
    let data = cluster.certificate_authority_data.context("the kubeconfig holds no authority")?;
    let ca = base64::engine::general_purpose::STANDARD.decode(data)?;
    let endpoint = server.trim_start_matches("https://");
    Ok(join_command(endpoint, token, &String::from_utf8(ca)?)?)
}
