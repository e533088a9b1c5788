//! Static Pods: from files of a folder, known to the API by mirror Pods.

pub mod defaults;
pub mod mirror;
pub mod source;
pub mod watch_dir;
