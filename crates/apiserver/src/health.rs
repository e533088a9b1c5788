//! The server's own health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use component::health::{Checks, Scope};
use store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::registry::Registry;

/// How often the store is asked whether it answers.
const INTERVAL: Duration = Duration::from_secs(2);

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
    (tasks, shutdown): (&TaskTracker, &CancellationToken),
) -> Checks {
    let checks = Checks::default();
    checks.add("log", Scope::Everywhere, || Ok(()));
    let answers = Arc::new(AtomicBool::new(true));
    tasks.spawn(ask_store(registry.store().clone(), answers.clone(), shutdown.clone()));
    for (name, scope) in [("etcd", Scope::Everywhere), ("etcd-readiness", Scope::Readiness)] {
        let (registry, answers) = (registry.clone(), answers.clone());
        checks.add(name, scope, move || {
            if !answers.load(Ordering::Acquire) {
                return Err("the store does not answer".to_owned());
            }
            // Reads would wait for what does not come; that is for clients to avoid, and no
            // restart would mend it.
            if scope == Scope::Readiness && !registry.healthy() {
                return Err("the watch cache does not follow the store".to_owned());
            }
            Ok(())
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

/// Keeps `answers` up to date: probes are synchronous, and many may ask at once.
async fn ask_store(store: Store, answers: Arc<AtomicBool>, shutdown: CancellationToken) {
    let ask = async {
        loop {
            let health = store.health().await;
            if let Err(error) = &health {
                tracing::warn!(%error, "the store does not answer");
            }
            answers.store(health.is_ok(), Ordering::Release);
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = ask => {}
    }
}
