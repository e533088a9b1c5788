//! Clusters as a whole: their keys, their files, their nodes and their end.
//!
//! `up` turns one machine into a cluster of several nodes. Each node is a set of Linux namespaces
//! whose PID 1 is `ironclad node-init`; that process prepares the same files a real host would have
//! and supervises containerd and the kubelet, which starts the control plane from static Pods.
//!
//! Data flow: [`plan`] decides names and addresses (pure) → [`config`] is what all nodes of the
//! cluster share → [`node::files`] are what each node has of its own → [`power`] starts it →
//! [`addons`] are written through the API, where nodes that join find what they need → [`up`] waits
//! until all is Ready. Real hosts go the same way, from [`config`] on.
//!
//! Invariants: everything that a cluster puts on the host is named after it and found again by
//! [`down`] from the state folder alone, however far `up` got; the control plane is reached through
//! the API only; `up` writes nothing on the host outside `/var/lib/ironclad`, and [`host`] nothing that
//! it does not note first.

pub mod addons;
pub mod certificates;
pub mod config;
mod diagnosis;
pub mod down;
pub mod etcd;
pub mod host;
pub mod image;
pub mod images;
pub mod inside;
pub mod kubeconfig;
pub mod layout;
pub mod manifests;
pub mod network;
pub mod node;
pub mod nodes;
pub mod plan;
pub mod power;
pub mod preflight;
pub mod progress;
pub mod registries;
mod seal;
pub mod service;
pub mod site;
pub mod state;
pub mod status;
pub mod tokens;
pub mod up;
pub mod upgrade;
pub mod virtual_ip;
