//! The files of a node: the same on a real host and in a namespace.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use component::pki::{self, Authority, Pair, Subject};
use serde_json::{Value, json};

use crate::image::{IRONCLAD_IMAGE, PAUSE_IMAGE};
use crate::node::containerd;
use crate::plan::{CLUSTER_DOMAIN, DNS_SERVICE, NodePlan, Role};
use crate::{kubeconfig, manifests};

/// How long a signed certificate is valid (kubeadm's default).
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// One file of a node.
#[derive(Clone, Debug)]
pub struct File {
    /// Absolute path on the node.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: String,
}

/// The keys of the whole cluster.
pub struct ClusterKeys {
    /// Signs every certificate.
    pub ca: Authority,
    /// Signs the certificates of aggregating proxies.
    pub front_proxy: Authority,
    /// Private and public key of service-account tokens.
    pub service_accounts: (String, String),
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
        })
    }
}

/// What the files of a node depend on.
pub struct Context<'a> {
    /// Name of the cluster, for kubeconfigs.
    pub cluster: &'a str,
    /// Where the API server answers.
    pub server: &'a str,
    /// The cluster's keys.
    pub keys: &'a ClusterKeys,
    /// What the machine can do.
    pub containerd: &'a containerd::Facts,
    /// The name servers that the node asks.
    pub name_servers: &'a [String],
}

/// The kubeconfig of the cluster's administrator (`admin.conf`).
///
/// # Errors
/// [`pki::Error`] when signing fails.
pub fn admin_kubeconfig(context: &Context<'_>) -> Result<String, pki::Error> {
    user_kubeconfig(context, "kubernetes-admin", &["kubeadm:cluster-admins"])
}

/// The kubeconfig that needs no role binding to be allowed everything (`super-admin.conf`).
///
/// # Errors
/// [`pki::Error`] when signing fails.
pub fn super_admin_kubeconfig(context: &Context<'_>) -> Result<String, pki::Error> {
    user_kubeconfig(context, "kubernetes-super-admin", &["system:masters"])
}

/// All files of `node`.
///
/// # Errors
/// [`pki::Error`] when signing fails.
pub fn files(context: &Context<'_>, node: &NodePlan) -> Result<Vec<File>, pki::Error> {
    let user = format!("system:node:{}", node.name);
    let serving = Subject {
        common_name: user.clone(),
        organizations: vec!["system:nodes".to_owned()],
        names: vec![node.name.clone(), node.address.to_string()],
        server: true,
        ..Subject::default()
    };
    let serving = context.keys.ca.issue(&serving, VALIDITY)?;
    let mut files = vec![
        secret("/etc/kubernetes/kubelet.conf", user_kubeconfig(context, &user, &["system:nodes"])?),
        plain("/etc/kubernetes/pki/ca.crt", context.keys.ca.certificate().to_owned()),
        plain("/var/lib/kubelet/config.yaml", yaml(&kubelet_config(node))),
        plain("/etc/containerd/config.toml", containerd::config(context.containerd, PAUSE_IMAGE)),
        plain("/etc/hosts", hosts(node)),
        plain("/etc/hostname", format!("{}\n", node.name)),
        plain("/etc/resolv.conf", resolv_conf(context.name_servers)),
        // Found by name by the tools that administrators use on a node.
        plain(
            "/etc/crictl.yaml",
            "runtime-endpoint: unix:///run/containerd/containerd.sock\n".to_owned(),
        ),
    ];
    keyed(&mut files, "/var/lib/kubelet/pki/kubelet", serving);
    if node.role == Role::ControlPlane {
        control_plane(context, node, &mut files)?;
    }
    Ok(files)
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
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(file.mode);
    io::Write::write_all(&mut options.open(&partial)?, file.content.as_bytes())?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(file.mode))?;
    fs::rename(&partial, path)
}

fn control_plane(
    context: &Context<'_>,
    node: &NodePlan,
    files: &mut Vec<File>,
) -> Result<(), pki::Error> {
    let ca = &context.keys.ca;
    let mut names = manifests::api_server_names(node.address);
    names.push(node.name.clone());
    let serving = Subject {
        common_name: "kube-apiserver".to_owned(),
        names,
        server: true,
        ..Subject::default()
    };
    const PKI: &str = "/etc/kubernetes/pki";
    keyed(files, &format!("{PKI}/apiserver"), ca.issue(&serving, VALIDITY)?);
    let to_kubelets = client("kube-apiserver-kubelet-client", &["kubeadm:cluster-admins"]);
    keyed(files, &format!("{PKI}/apiserver-kubelet-client"), ca.issue(&to_kubelets, VALIDITY)?);
    let front_proxy = &context.keys.front_proxy;
    keyed(files, &format!("{PKI}/front-proxy-ca"), front_proxy.pair().clone());
    keyed(
        files,
        &format!("{PKI}/front-proxy-client"),
        front_proxy.issue(&client("front-proxy-client", &[]), VALIDITY)?,
    );
    files.push(secret(&format!("{PKI}/ca.key"), ca.pair().key.clone()));
    let (private, public) = &context.keys.service_accounts;
    files.push(secret(&format!("{PKI}/sa.key"), private.clone()));
    files.push(plain(&format!("{PKI}/sa.pub"), public.clone()));
    for (file, user) in [
        ("controller-manager.conf", "system:kube-controller-manager"),
        ("scheduler.conf", "system:kube-scheduler"),
    ] {
        let path = format!("/etc/kubernetes/{file}");
        files.push(secret(&path, user_kubeconfig(context, user, &[])?));
    }
    files.push(secret("/etc/kubernetes/admin.conf", admin_kubeconfig(context)?));
    files.push(secret("/etc/kubernetes/super-admin.conf", super_admin_kubeconfig(context)?));
    for (file, pod) in manifests::control_plane(node.address, IRONCLAD_IMAGE) {
        files.push(secret(&format!("/etc/kubernetes/manifests/{file}"), yaml(&pod)));
    }
    Ok(())
}

fn kubelet_config(node: &NodePlan) -> Value {
    let taints = match (node.role, node.tainted) {
        (Role::ControlPlane, true) => {
            json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}])
        }
        _ => json!([]),
    };
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "registerWithTaints": taints,
        "resolvConf": "/etc/resolv.conf",
        "staticPodPath": "/etc/kubernetes/manifests",
        "tlsCertFile": "/var/lib/kubelet/pki/kubelet.crt",
        "tlsPrivateKeyFile": "/var/lib/kubelet/pki/kubelet.key",
    })
}

fn hosts(node: &NodePlan) -> String {
    format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{} {}\n", node.address, node.name)
}

fn resolv_conf(name_servers: &[String]) -> String {
    name_servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

fn user_kubeconfig(
    context: &Context<'_>,
    user: &str,
    groups: &[&str],
) -> Result<String, pki::Error> {
    let ca = &context.keys.ca;
    let credentials = ca.issue(&client(user, groups), VALIDITY)?;
    let authority = ca.certificate();
    Ok(kubeconfig::render(context.cluster, context.server, authority, user, &credentials))
}

fn client(user: &str, groups: &[&str]) -> Subject {
    Subject {
        common_name: user.to_owned(),
        organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
        client: true,
        ..Subject::default()
    }
}

fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).expect("a JSON value is always valid YAML")
}

fn keyed(files: &mut Vec<File>, stem: &str, pair: Pair) {
    files.push(plain(&format!("{stem}.crt"), pair.certificate));
    files.push(secret(&format!("{stem}.key"), pair.key));
}

fn plain(path: &str, content: String) -> File {
    File { path: path.into(), mode: 0o644, content }
}

fn secret(path: &str, content: String) -> File {
    File { path: path.into(), mode: 0o600, content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Request, plan};

    fn all(index: usize) -> Vec<File> {
        let plan = plan(&Request { name: "c".into(), nodes: 3 }, &[]).unwrap();
        let keys = ClusterKeys::generate().unwrap();
        let facts = containerd::Facts {
            major: 1,
            restrict_oom_score: true,
            apparmor: false,
            cni: "/usr/lib/cni".into(),
        };
        let context = Context {
            cluster: "c",
            server: &plan.server(),
            keys: &keys,
            containerd: &facts,
            name_servers: &["192.0.2.1".to_owned()],
        };
        files(&context, &plan.nodes[index]).unwrap()
    }

    #[test]
    fn no_key_is_readable_by_others() {
        for file in all(0) {
            let private = file.content.contains("PRIVATE KEY") || file.content.contains("key-data");
            assert_eq!(private, file.mode & 0o077 == 0 && !is_manifest(&file), "{:?}", file.path);
        }
    }

    fn is_manifest(file: &File) -> bool {
        file.path.starts_with("/etc/kubernetes/manifests")
    }

    #[test]
    fn a_worker_has_no_key_of_the_cluster() {
        let files = all(1);
        assert!(files.iter().all(|file| !is_manifest(file)));
        let keys: Vec<_> = files
            .iter()
            .filter(|file| file.content.contains("PRIVATE KEY"))
            .map(|file| file.path.to_str().unwrap())
            .collect();
        assert_eq!(keys, ["/var/lib/kubelet/pki/kubelet.key"]);
    }

    #[test]
    fn written_files_have_their_mode_and_no_partial_is_left() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[secret("/a/b", "x".into())]).unwrap();
        let names: Vec<_> = fs::read_dir(folder.path().join("a"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["b"]);
        let mode = fs::metadata(folder.path().join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
