//! Removal of all Pods of a machine that is no node any more.

use crate::cri::{Runtime, RuntimeError};

/// Stops and removes every Pod that the runtime at `endpoint` has; how many those were. One that
/// cannot be removed holds up none of the others.
///
/// # Errors
/// The first failure, after all have been tried.
pub async fn remove_pods(endpoint: &str) -> Result<usize, RuntimeError> {
    let runtime = Runtime::new(endpoint)?;
    let sandboxes = runtime.list_sandboxes(Default::default()).await?;
    let removals = sandboxes.iter().map(|sandbox| async {
        // Its containers end with it, and its network is taken down.
        runtime.stop_sandbox(&sandbox.id).await?;
        runtime.remove_sandbox(&sandbox.id).await
    });
    let removed = futures::future::join_all(removals).await;
    removed.into_iter().collect::<Result<Vec<()>, _>>().map(|all| all.len())
}
