//! The files of a node: the same on a real host and in a namespace.
//!
//! Every node has [`every_node`]; one that joins has [`newcomer`] besides, until it has a certificate
//! of its own; a control plane has [`control_plane`]; and one in namespaces is told who it is by
//! [`in_namespaces`], which a real host knows already.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use component::bootstrap_token::Token;
use component::pki::{self, Authority, Pair, Subject};
use machinery::codec::yaml;
use serde_json::{Value, json};

use crate::config::ClusterConfiguration;
use crate::etcd::{self, Member};
use crate::image::{self, PAUSE_IMAGE};
use crate::node::containerd;
use crate::{kubeconfig, manifests, virtual_ip};

/// Folder of the keys and certificates of a control plane.
pub const PKI: &str = "/etc/kubernetes/pki";
/// With what a node asks for its certificate.
pub const BOOTSTRAP_KUBECONFIG: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
/// With what it speaks to the API server then.
pub const KUBELET_KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
/// The kubelet's configuration.
pub const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// Folder of the static Pods.
pub const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Where a node in namespaces finds how many seconds its clock is ahead of this machine's.
pub const CLOCK: &str = "/etc/ironclad/clock";
/// Folder of the kubelet's own certificates.
const KUBELET_PKI: &str = "/var/lib/kubelet/pki";

/// What a file of a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// This text.
    Text(String),
    /// A link to another file.
    Link(PathBuf),
}

/// One file of a node.
#[derive(Clone, Debug)]
pub struct File {
    /// Absolute path on the node.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Content,
}

/// The keys of the whole cluster.
pub struct ClusterKeys {
    /// Signs every certificate.
    pub ca: Authority,
    /// Signs the certificates of aggregating proxies.
    pub front_proxy: Authority,
    /// Private and public key of service-account tokens.
    pub service_accounts: (String, String),
    /// Signs the certificates of the etcd cluster on the control planes, if there is one.
    pub etcd: Option<Authority>,
}

/// A node and its machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Name of the Node object.
    pub name: &'a str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether Pods without a toleration stay away from it.
    pub tainted: bool,
    /// What its container runtime can do.
    pub containerd: &'a containerd::Facts,
    /// Where the configuration of its container runtime is.
    pub containerd_config: &'a str,
    /// Where that keeps images and containers.
    pub containerd_root: &'a str,
    /// The resolver configuration of Pods that use the node's.
    pub resolv_conf: &'a str,
    /// Whether it is a node in namespaces, whose clock may be wrong.
    pub simulated: bool,
}

impl Machine<'_> {
    /// The folders in which its container runtime looks for registries: the one beside its
    /// configuration, and that of the distribution.
    fn registries(&self) -> String {
        const USUAL: &str = "/etc/containerd/certs.d";
        let own = self.registries_folder();
        if own == USUAL { own } else { format!("{own}:{USUAL}") }
    }

    /// The folder into which belongs how registries are reached.
    #[must_use]
    pub fn registries_folder(&self) -> String {
        let folder = Path::new(self.containerd_config).parent().unwrap_or(Path::new("/"));
        folder.join("certs.d").display().to_string()
    }
}

impl ClusterKeys {
    /// Makes all of them.
    ///
    /// # Errors
    /// [`pki::Error`] when the system gives no randomness.
    pub fn generate() -> Result<Self, pki::Error> {
        Ok(Self {
            ca: Authority::generate("kubernetes")?,
            front_proxy: Authority::generate("front-proxy-ca")?,
            service_accounts: pki::signing_key()?,
            etcd: None,
        })
    }

    /// The same, with an authority for an etcd cluster if `config` has one and none is there.
    ///
    /// # Errors
    /// [`pki::Error`] when the system gives no randomness.
    pub fn for_cluster(mut self, config: &ClusterConfiguration) -> Result<Self, pki::Error> {
        if config.local_etcd().is_some() && self.etcd.is_none() {
            self.etcd = Some(Authority::generate("etcd-ca")?);
        }
        Ok(self)
    }

    /// The files that every control plane has of them.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        let mut files = Vec::new();
        keyed(&mut files, &format!("{PKI}/ca"), self.ca.pair().clone());
        keyed(&mut files, &format!("{PKI}/front-proxy-ca"), self.front_proxy.pair().clone());
        let (private, public) = &self.service_accounts;
        files.push(secret(&format!("{PKI}/sa.key"), private.clone()));
        files.push(plain(&format!("{PKI}/sa.pub"), public.clone()));
        if let Some(etcd) = &self.etcd {
            keyed(&mut files, &format!("{PKI}/etcd/ca"), etcd.pair().clone());
        }
        files
    }
}

/// The kubeconfig of the cluster's administrator (`admin.conf`).
///
/// # Errors
/// [`pki::Error`] when signing fails.
pub fn admin_kubeconfig(
    config: &ClusterConfiguration,
    ca: &Authority,
) -> Result<String, pki::Error> {
    user_kubeconfig(config, &config.server(), ca, "kubernetes-admin", &["kubeadm:cluster-admins"])
}

/// The kubeconfig that needs no role binding to be allowed everything (`super-admin.conf`), for the
/// API server at `address`: with it a cluster is set up, before its virtual address can be there.
///
/// # Errors
/// [`pki::Error`] when signing fails.
pub fn super_admin_kubeconfig(
    config: &ClusterConfiguration,
    ca: &Authority,
    address: Ipv4Addr,
    port: u16,
) -> Result<String, pki::Error> {
    let server = local_server(address, port);
    user_kubeconfig(config, &server, ca, "kubernetes-super-admin", &["system:masters"])
}

/// The API server of one control plane.
fn local_server(address: Ipv4Addr, port: u16) -> String {
    format!("https://{address}:{port}")
}

/// What every node has; `kubelet` is the configuration of its kubelet.
#[must_use]
pub fn every_node(machine: &Machine<'_>, kubelet: &Value) -> Vec<File> {
    vec![
        plain(KUBELET_CONFIG, yaml::write(kubelet)),
        plain(
            machine.containerd_config,
            containerd::config(
                machine.containerd,
                machine.containerd_root,
                PAUSE_IMAGE,
                &machine.registries(),
            ),
        ),
        // Found by name by the tools that administrators use on a node.
        plain(
            "/etc/crictl.yaml",
            "runtime-endpoint: unix:///run/containerd/containerd.sock\n".to_owned(),
        ),
    ]
}

/// What a node has that introduces itself with a token, and knows the cluster by its authority.
#[must_use]
pub fn newcomer(config: &ClusterConfiguration, ca: &str, token: &Token) -> Vec<File> {
    let user = "tls-bootstrap-token-user";
    let credentials = kubeconfig::Credentials::Token(token);
    let text = kubeconfig::render(&config.cluster_name, &config.server(), ca, user, credentials);
    vec![secret(BOOTSTRAP_KUBECONFIG, text), plain(&format!("{PKI}/ca.crt"), ca.to_owned())]
}

/// What a control plane has; its kubelet has a certificate from the start, since there is nobody to
/// ask yet. Its components speak to the API server next to them, as with kubeadm, so that they stand
/// and fall with it and not with another node; `member` is its part of the etcd cluster.
///
/// # Errors
/// [`pki::Error`] when signing fails.
pub fn control_plane(
    config: &ClusterConfiguration,
    keys: &ClusterKeys,
    machine: &Machine<'_>,
    port: u16,
    member: Option<&Member>,
) -> Result<Vec<File>, pki::Error> {
    let (ca, validity) = (&keys.ca, config.certificate_validity());
    let mut files = keys.files();
    let serving = Subject {
        common_name: "kube-apiserver".to_owned(),
        names: config.api_server_names(machine.name, machine.address),
        server: true,
        ..Subject::default()
    };
    keyed(&mut files, &format!("{PKI}/apiserver"), ca.issue(&serving, validity)?);
    let to_kubelets = client("kube-apiserver-kubelet-client", &["kubeadm:cluster-admins"]);
    let to_kubelets = ca.issue(&to_kubelets, validity)?;
    keyed(&mut files, &format!("{PKI}/apiserver-kubelet-client"), to_kubelets);
    let front_proxy = keys.front_proxy.issue(&client("front-proxy-client", &[]), validity)?;
    keyed(&mut files, &format!("{PKI}/front-proxy-client"), front_proxy);
    if let Some(etcd) = &keys.etcd {
        files.extend(etcd::files(etcd, machine.name, machine.address, validity)?);
    }
    let local = local_server(machine.address, port);
    let mut users = vec![
        ("/etc/kubernetes/controller-manager.conf", "system:kube-controller-manager"),
        ("/etc/kubernetes/scheduler.conf", "system:kube-scheduler"),
    ];
    if config.virtual_address.is_some() {
        users.push((virtual_ip::KUBECONFIG, virtual_ip::USER));
    }
    for (path, user) in users {
        files.push(secret(path, user_kubeconfig(config, &local, ca, user, &[])?));
    }
    files.push(secret("/etc/kubernetes/admin.conf", admin_kubeconfig(config, ca)?));
    let super_admin = super_admin_kubeconfig(config, ca, machine.address, port)?;
    files.push(secret("/etc/kubernetes/super-admin.conf", super_admin));
    kubelet_client(config, &local, ca, machine.name, &mut files)?;
    let image = image::own();
    let site = manifests::Site {
        node: machine.name,
        address: machine.address,
        port,
        image: &image,
        etcd: member,
        clock: machine.simulated.then_some(CLOCK),
    };
    for (file, pod) in manifests::control_plane(config, &site) {
        files.push(secret(&format!("{MANIFESTS}/{file}"), yaml::write(&pod)));
    }
    Ok(files)
}

/// The first client certificate of a kubelet that has nobody to ask for it, where the kubelet keeps
/// its own later.
fn kubelet_client(
    config: &ClusterConfiguration,
    server: &str,
    ca: &Authority,
    name: &str,
    files: &mut Vec<File>,
) -> Result<(), pki::Error> {
    let user = format!("system:node:{name}");
    let pair = ca.issue(&client(&user, &["system:nodes"]), config.certificate_validity())?;
    let first = "kubelet-client-first.pem";
    let current = format!("{KUBELET_PKI}/kubelet-client-current.pem");
    files.push(secret(&format!("{KUBELET_PKI}/{first}"), pair.certificate + &pair.key));
    files.push(File { path: (&current).into(), mode: 0o777, content: Content::Link(first.into()) });
    let credentials = kubeconfig::Credentials::File(&current);
    let cluster = &config.cluster_name;
    let text = kubeconfig::render(cluster, server, ca.certificate(), &user, credentials);
    files.push(secret(KUBELET_KUBECONFIG, text));
    Ok(())
}

/// What tells a node in namespaces who it is.
#[must_use]
pub fn in_namespaces(
    machine: &Machine<'_>,
    machine_id: &str,
    name_servers: &[String],
) -> Vec<File> {
    let (name, address) = (machine.name, machine.address);
    let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {name}\n");
    let resolv_conf = name_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    vec![
        plain(CLOCK, "0\n".to_owned()),
        plain("/etc/hosts", hosts),
        plain("/etc/hostname", format!("{name}\n")),
        plain("/etc/machine-id", format!("{machine_id}\n")),
        plain("/etc/resolv.conf", resolv_conf),
    ]
}

/// The configuration of kubelets that is the same on all nodes of a cluster.
#[must_use]
pub fn kubelet_config(config: &ClusterConfiguration) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{PKI}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [config.dns_service()],
        "clusterDomain": config.networking.dns_domain,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "rotateCertificates": true,
        "serverTLSBootstrap": true,
        "shutdownGracePeriod": "30s",
        "shutdownGracePeriodCriticalPods": "10s",
        "staticPodPath": MANIFESTS,
    })
}

/// Has the kubelet give up neither Pods nor images for a disk that it shares with other nodes and
/// with whatever else is on this machine: that would win nothing back.
pub(crate) fn ignore_disk(kubelet: &mut Value) {
    kubelet["evictionHard"] = json!({"memory.available": "100Mi"});
    kubelet["imageGCHighThresholdPercent"] = json!(100);
}

/// The configuration of one node's kubelet, from that of all.
#[must_use]
pub fn kubelet_config_of(machine: &Machine<'_>, mut shared: Value) -> Value {
    shared["resolvConf"] = json!(machine.resolv_conf);
    if machine.tainted {
        shared["registerWithTaints"] =
            json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
    }
    shared
}

/// Writes `files` under `root`, each complete or not at all.
///
/// # Errors
/// The path that could not be written and why.
pub fn write(root: &Path, files: &[File]) -> Result<(), (PathBuf, io::Error)> {
    for file in files {
        let relative = file.path.strip_prefix("/").unwrap_or(&file.path);
        let path = root.join(relative);
        write_one(&path, file).map_err(|error| (path, error))?;
    }
    Ok(())
}

fn write_one(path: &Path, file: &File) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let partial = path.with_added_extension("partial");
    match &file.content {
        Content::Text(text) => {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(file.mode);
            io::Write::write_all(&mut options.open(&partial)?, text.as_bytes())?;
            fs::set_permissions(&partial, fs::Permissions::from_mode(file.mode))?;
        }
        Content::Link(target) => {
            // What an interrupted attempt may have left; without one there is nothing to remove.
            fs::remove_file(&partial).ok();
            std::os::unix::fs::symlink(target, &partial)?;
        }
    }
    fs::rename(&partial, path)
}

fn user_kubeconfig(
    config: &ClusterConfiguration,
    server: &str,
    ca: &Authority,
    user: &str,
    groups: &[&str],
) -> Result<String, pki::Error> {
    let pair = ca.issue(&client(user, groups), config.certificate_validity())?;
    let credentials = kubeconfig::Credentials::Pair(&pair);
    let cluster = &config.cluster_name;
    Ok(kubeconfig::render(cluster, server, ca.certificate(), user, credentials))
}

/// A user with a client certificate.
pub(crate) fn client(user: &str, groups: &[&str]) -> Subject {
    Subject {
        common_name: user.to_owned(),
        organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
        client: true,
        ..Subject::default()
    }
}

/// A certificate and its key.
pub(crate) fn keyed(files: &mut Vec<File>, stem: &str, pair: Pair) {
    files.push(plain(&format!("{stem}.crt"), pair.certificate));
    files.push(secret(&format!("{stem}.key"), pair.key));
}

/// A file that everybody may read.
pub(crate) fn plain(path: &str, text: String) -> File {
    File { path: path.into(), mode: 0o644, content: Content::Text(text) }
}

/// A file that only root may read.
pub(crate) fn secret(path: &str, text: String) -> File {
    File { path: path.into(), mode: 0o600, content: Content::Text(text) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The files of a control plane, for tests of what is in them.
    pub(crate) fn control_plane_files(
        config: &ClusterConfiguration,
        keys: &ClusterKeys,
    ) -> Vec<File> {
        let member = keys.etcd.as_ref().map(|_| member());
        control_plane(config, keys, &machine(&facts()), 6443, member.as_ref()).unwrap()
    }

    fn member() -> Member {
        Member { image: "i".into(), initial_cluster: String::new(), joins: false }
    }

    fn facts() -> containerd::Facts {
        containerd::Facts {
            version: containerd::Version::OLDEST,
            restrict_oom_score: true,
            apparmor: false,
            cni: "/usr/lib/cni".into(),
        }
    }

    fn machine(facts: &containerd::Facts) -> Machine<'_> {
        Machine {
            name: "m1",
            address: Ipv4Addr::new(192, 0, 2, 1),
            tainted: true,
            containerd: facts,
            containerd_config: "/etc/containerd/config.toml",
            containerd_root: containerd::ROOT,
            resolv_conf: "/etc/resolv.conf",
            simulated: false,
        }
    }

    fn text(file: &File) -> &str {
        match &file.content {
            Content::Text(text) => text,
            Content::Link(_) => "",
        }
    }

    #[test]
    fn no_key_is_readable_by_others() {
        let mut config = ClusterConfiguration::new("c", "192.0.2.254:6443").with_local_etcd();
        config.virtual_address = Some(Ipv4Addr::new(192, 0, 2, 254));
        let keys = ClusterKeys::generate().unwrap().for_cluster(&config).unwrap();
        let facts = facts();
        let files = control_plane(&config, &keys, &machine(&facts), 6443, Some(&member())).unwrap();
        for file in &files {
            let private = text(file).contains("PRIVATE KEY") || text(file).contains("key-data");
            // Those with a certificate by reference are private too, for they may come to hold one.
            let cautious = file.path.starts_with(MANIFESTS) || file.path.ends_with("kubelet.conf");
            assert_eq!(private || cautious, file.mode & 0o077 == 0, "{:?}", file.path);
        }
        // What runs on a control plane does not depend on who has the address.
        for (name, server) in [
            ("admin.conf", "192.0.2.254"),
            ("super-admin.conf", "192.0.2.1"),
            ("kubelet.conf", "192.0.2.1"),
            ("scheduler.conf", "192.0.2.1"),
            ("virtual-ip.conf", "192.0.2.1"),
        ] {
            let file = files.iter().find(|file| file.path.ends_with(name)).unwrap();
            assert!(text(file).contains(&format!("https://{server}:6443")), "{name}");
        }
    }

    #[test]
    fn a_newcomer_has_a_token_and_no_key() {
        let config = ClusterConfiguration::new("c", "192.0.2.1:6443");
        let keys = ClusterKeys::generate().unwrap();
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let facts = facts();
        let mut files = newcomer(&config, keys.ca.certificate(), &token);
        let shared = kubelet_config_of(&machine(&facts), kubelet_config(&config));
        files.extend(every_node(&machine(&facts), &shared));
        assert!(files.iter().all(|file| !text(file).contains("PRIVATE KEY")));
        let holders: Vec<_> =
            files.iter().filter(|file| text(file).contains("0123456789abcdef")).collect();
        assert_eq!(holders.len(), 1);
        assert_eq!(
            (holders[0].path.as_path(), holders[0].mode),
            (Path::new(BOOTSTRAP_KUBECONFIG), 0o600)
        );
    }

    #[test]
    fn written_files_have_their_mode_and_no_partial_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let link = File { path: "/a/c".into(), mode: 0o777, content: Content::Link("b".into()) };
        for _ in 0..2 {
            write(folder.path(), &[secret("/a/b", "x".into()), link.clone()]).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path().join("a"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(fs::read_to_string(folder.path().join("a/c")).unwrap(), "x");
        let mode = fs::metadata(folder.path().join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
