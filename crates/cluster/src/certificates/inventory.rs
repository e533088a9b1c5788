//! What certificates a node has, under kubeadm's names.

use std::path::Path;

/// How a certificate is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `<path>.crt` and `<path>.key`.
    Pair,
    /// A kubeconfig that holds both.
    Kubeconfig,
    /// One PEM file with both, which the kubelet keeps.
    Kubelet,
}

/// A certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Where it is, without the leading slash.
    pub path: &'static str,
    /// How it is kept.
    pub form: Form,
    /// Name of the authority that issues it.
    pub authority: &'static str,
}

/// A certificate authority, or the keys of service-account tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub name: &'static str,
    /// Where `.crt` (or `.pub`) and `.key` of it are, without the leading slash.
    pub path: &'static str,
}

/// The authority of the cluster.
pub const CA: Root = Root { name: "ca", path: "etc/kubernetes/pki/ca" };
/// The authority of an etcd cluster that runs on the control planes; the others are always there.
pub const ETCD_CA: Root = Root { name: "etcd-ca", path: "etc/kubernetes/pki/etcd/ca" };

/// The authority of those who speak for others to extension API servers.
pub const FRONT_PROXY_CA: Root =
    Root { name: "front-proxy-ca", path: "etc/kubernetes/pki/front-proxy-ca" };
/// What service-account tokens are signed with, and believed by.
pub const SERVICE_ACCOUNTS: Root = Root { name: "sa", path: "etc/kubernetes/pki/sa" };

/// The one that only control planes have which share a virtual address.
pub const VIRTUAL_IP: &str = "virtual-ip.conf";

/// The authorities of a control plane.
pub const AUTHORITIES: [Root; 3] = [CA, ETCD_CA, FRONT_PROXY_CA];

impl Root {
    /// Whether it issues certificates.
    #[must_use]
    pub fn is_authority(self) -> bool {
        self != SERVICE_ACCOUNTS
    }

    /// What the name of the file ends with by which others believe it.
    #[must_use]
    pub fn public(self) -> &'static str {
        if self.is_authority() { "crt" } else { "pub" }
    }
}

const fn entry(
    name: &'static str,
    purpose: &'static str,
    path: &'static str,
    form: Form,
    authority: &'static str,
) -> Entry {
    Entry { name, purpose, path, form, authority }
}

/// The certificates of a control plane, by name.
pub static CONTROL_PLANE: [Entry; 12] = [
    entry(
        "admin.conf",
        "certificate embedded in the kubeconfig file for the admin to use",
        "etc/kubernetes/admin.conf",
        Form::Kubeconfig,
        "ca",
    ),
    entry(
        "apiserver",
        "certificate for serving the Kubernetes API",
        "etc/kubernetes/pki/apiserver",
        Form::Pair,
        "ca",
    ),
    entry(
        "apiserver-etcd-client",
        "certificate the apiserver uses to access etcd",
        "etc/kubernetes/pki/apiserver-etcd-client",
        Form::Pair,
        "etcd-ca",
    ),
    entry(
        "apiserver-kubelet-client",
        "certificate for the API server to connect to kubelet",
        "etc/kubernetes/pki/apiserver-kubelet-client",
        Form::Pair,
        "ca",
    ),
    entry(
        "controller-manager.conf",
        "certificate embedded in the kubeconfig file for the controller manager to use",
        "etc/kubernetes/controller-manager.conf",
        Form::Kubeconfig,
        "ca",
    ),
    entry(
        "etcd-healthcheck-client",
        "certificate for liveness probes to healthcheck etcd",
        "etc/kubernetes/pki/etcd/healthcheck-client",
        Form::Pair,
        "etcd-ca",
    ),
    entry(
        "etcd-peer",
        "certificate for etcd nodes to communicate with each other",
        "etc/kubernetes/pki/etcd/peer",
        Form::Pair,
        "etcd-ca",
    ),
    entry(
        "etcd-server",
        "certificate for serving etcd",
        "etc/kubernetes/pki/etcd/server",
        Form::Pair,
        "etcd-ca",
    ),
    entry(
        "front-proxy-client",
        "certificate for the front proxy client",
        "etc/kubernetes/pki/front-proxy-client",
        Form::Pair,
        "front-proxy-ca",
    ),
    entry(
        "scheduler.conf",
        "certificate embedded in the kubeconfig file for the scheduler manager to use",
        "etc/kubernetes/scheduler.conf",
        Form::Kubeconfig,
        "ca",
    ),
    entry(
        "super-admin.conf",
        "certificate embedded in the kubeconfig file for the super-admin",
        "etc/kubernetes/super-admin.conf",
        Form::Kubeconfig,
        "ca",
    ),
    entry(
        VIRTUAL_IP,
        "certificate embedded in the kubeconfig file for the holder of the virtual address",
        "etc/kubernetes/virtual-ip.conf",
        Form::Kubeconfig,
        "ca",
    ),
];

/// The certificates that the kubelet of any node asks for itself.
pub const KUBELET: [Entry; 2] = [
    entry(
        "kubelet-client",
        "certificate for the kubelet to access the Kubernetes API",
        "var/lib/kubelet/pki/kubelet-client-current.pem",
        Form::Kubelet,
        "ca",
    ),
    entry(
        "kubelet-server",
        "certificate for serving the kubelet's API",
        "var/lib/kubelet/pki/kubelet-server-current.pem",
        Form::Kubelet,
        "ca",
    ),
];

/// The certificates that the control plane whose files are below `root` must have: those of etcd only
/// if it has a member of it, and that of the virtual address only if there is one.
pub fn expected(root: &Path) -> impl Iterator<Item = &'static Entry> {
    let has_etcd = has_etcd(root);
    let shares = root.join("etc/kubernetes").join(VIRTUAL_IP).exists();
    CONTROL_PLANE.iter().filter(move |entry| {
        (has_etcd || entry.authority != ETCD_CA.name) && (shares || entry.name != VIRTUAL_IP)
    })
}

/// The authorities of the control plane whose files are below `root`.
pub fn authorities(root: &Path) -> impl Iterator<Item = Root> {
    let has_etcd = has_etcd(root);
    AUTHORITIES.into_iter().filter(move |authority| has_etcd || *authority != ETCD_CA)
}

fn has_etcd(root: &Path) -> bool {
    root.join(ETCD_CA.path).with_added_extension("crt").exists()
}

/// What can take over from one of its kind, by its name.
#[must_use]
pub fn rotated(name: &str) -> Option<Root> {
    AUTHORITIES.into_iter().chain([SERVICE_ACCOUNTS]).find(|root| root.name == name)
}

/// The authority of a name in the table.
///
/// # Panics
/// Never: the table names no others, and a test says so.
#[must_use]
pub fn authority(name: &str) -> Root {
    let found = AUTHORITIES.into_iter().find(|root| root.name == name);
    found.expect("the table names authorities that there are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_has_an_authority_and_a_name_of_its_own() {
        let all = || CONTROL_PLANE.iter().chain(&KUBELET);
        for entry in all() {
            assert_eq!(authority(entry.authority).name, entry.authority);
            assert_eq!(all().filter(|other| other.name == entry.name).count(), 1);
            assert!(!entry.path.starts_with('/'), "{}", entry.path);
        }
        assert!(CONTROL_PLANE.is_sorted_by_key(|entry| entry.name));
    }
}
