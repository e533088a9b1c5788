//! Auditing: what was asked of the server, by whom, and what came of it,
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>.

mod annotations;

pub use annotations::Annotations;
