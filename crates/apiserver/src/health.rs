//! The server's own health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use component::health::{Checks, Scope};
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;

/// Hooks that run once after the start and show up as checks.
const HOOKS: [&str; 3] = [
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/bootstrap-controller",
];

/// The checks; `bootstrapped` turns true when the start-up work is done.
pub(crate) fn checks(
    registry: &Registry,
    bootstrapped: &Arc<AtomicBool>,
    shutdown: &CancellationToken,
) -> Checks {
    let checks = Checks::default();
    checks.add("log", Scope::Everywhere, || Ok(()));
    for (name, scope) in [("etcd", Scope::Everywhere), ("etcd-readiness", Scope::Readiness)] {
        let registry = registry.clone();
        checks.add(name, scope, move || {
            if registry.healthy() { Ok(()) } else { Err("the store does not answer".to_owned()) }
        });
    }
    for hook in HOOKS {
        let bootstrapped = bootstrapped.clone();
        checks.add(hook, Scope::Everywhere, move || {
            if bootstrapped.load(Ordering::Acquire) {
                Ok(())
            } else {
                Err("not finished".to_owned())
            }
        });
    }
    let shutdown = shutdown.clone();
    checks.add("shutdown", Scope::Readiness, move || {
        if shutdown.is_cancelled() { Err("process is shutting down".to_owned()) } else { Ok(()) }
    });
    checks
}
