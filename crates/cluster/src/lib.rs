//! Clusters as a whole: their keys, their files, their nodes and their end.
//!
//! `up` turns one machine into a cluster of several nodes. Each node is a set of Linux namespaces
//! whose PID 1 is `ironclad node-init`; that process prepares the same files a real host would have
//! and supervises containerd and the kubelet, which starts the control plane from static Pods.
//!
//! Data flow: [`plan`] decides names and addresses (pure) → [`component::pki`] and [`kubeconfig`] make
//! credentials → [`node::files`] lays out each node's files → [`node::namespaces`] starts it →
//! [`addons`] are written through the API → [`up`] waits until all is Ready.
//!
//! Invariants: everything that a cluster puts on the host is named after it and found again by
//! [`down`] from the state folder alone, however far `up` got; the control plane is reached through
//! the API only; nothing outside `/var/lib/ironclad` is written on the host.

pub mod addons;
pub mod down;
pub mod image;
pub mod kubeconfig;
pub mod manifests;
pub mod network;
pub mod node;
pub mod plan;
pub mod preflight;
pub mod progress;
pub mod site;
pub mod state;
pub mod status;
pub mod up;

/// The version of the Kubernetes API and behaviour that this cluster follows.
pub const KUBERNETES_VERSION: &str = "v1.36.0";
