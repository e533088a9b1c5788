//! The folder of a node of a cluster on this machine: what it finds when it boots.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use component::bootstrap_token::Token;

use crate::config::{API_PORT, ClusterConfiguration};
use crate::etcd::Member;
use crate::network;
use crate::node::containerd::{self, Facts};
use crate::node::disk;
use crate::node::files::{self, ClusterKeys, Machine};
use crate::node::init::Spec;
use crate::node::mounts::Folders;
use crate::plan::{NodePlan, Plan};
use crate::registries::Registries;
use crate::state::Folder;

/// Configuration of the container runtime, as its own tools expect it.
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";

/// Why a node's folder could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Signing failed.
    #[error(transparent)]
    Pki(#[from] component::pki::Error),
    /// The disk refuses.
    #[error("{}: {source}", path.display())]
    File {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How a node comes into its cluster.
#[derive(Clone, Copy)]
pub(crate) enum Admission<'a> {
    /// It runs a control plane, with these keys, and a member of the etcd cluster if there is one.
    ControlPlane(&'a ClusterKeys, Option<&'a Member>),
    /// It joins, with a token, and knows the cluster by its authority (PEM).
    Newcomer { ca: &'a str, token: &'a Token },
}

/// Writes the folders of nodes.
pub(crate) struct Layout<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) cluster: String,
    pub(crate) config: ClusterConfiguration,
    pub(crate) facts: &'a Facts,
    pub(crate) name_servers: Vec<String>,
    registries: Registries,
}

impl<'a> Layout<'a> {
    /// For the nodes of `plan`.
    pub(crate) fn new(folder: &'a Folder, plan: &Plan, facts: &'a Facts) -> Self {
        let resolv_conf = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"]
            .iter()
            .find_map(|path| fs::read_to_string(path).ok())
            .unwrap_or_default();
        Self {
            folder,
            cluster: plan.name.clone(),
            config: plan.config(),
            facts,
            name_servers: network::name_servers(&resolv_conf),
            registries: Registries::kept(&folder.join("")),
        }
    }

    /// The folder of archives that all nodes import.
    pub(crate) fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    /// Writes the folder of `node`.
    pub(crate) fn write(
        &self,
        node: &NodePlan,
        admission: Admission<'_>,
    ) -> Result<(), LayoutError> {
        let root = self.folder.node(&node.name);
        Folders::new(&root).create().map_err(file(&root))?;
        let machine = Machine {
            name: &node.name,
            address: node.address,
            tainted: node.tainted,
            containerd: self.facts,
            containerd_config: CONTAINERD_CONFIG,
            containerd_root: containerd::ROOT,
            resolv_conf: "/etc/resolv.conf",
            simulated: true,
        };
        let mut kubelet = files::kubelet_config_of(&machine, files::kubelet_config(&self.config));
        if !disk::is_there(&root) {
            files::ignore_disk(&mut kubelet);
        }
        let mut files = files::every_node(&machine, &kubelet);
        files.extend(self.registries.files(&machine.registries_folder()));
        let uuid = Path::new("/proc/sys/kernel/random/uuid");
        let machine_id = fs::read_to_string(uuid).map_err(file(uuid))?.trim().replace('-', "");
        files.extend(files::in_namespaces(&machine, &machine_id, &self.name_servers));
        files.extend(match admission {
            Admission::ControlPlane(keys, member) => {
                files::control_plane(&self.config, keys, &machine, API_PORT, member)?
            }
            Admission::Newcomer { ca, token } => files::newcomer(&self.config, ca, token),
        });
        files::write(&root, &files).map_err(|(path, source)| LayoutError::File { path, source })?;
        let spec = Spec {
            cluster: self.cluster.clone(),
            node: node.name.clone(),
            address: node.address,
            folder: root.clone(),
            images: self.images(),
        };
        let path = root.join("node.json");
        let text = serde_json::to_vec(&spec).expect("a specification has string keys only");
        fs::write(&path, text).map_err(file(&path))
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    |source| LayoutError::File { path, source }
}
