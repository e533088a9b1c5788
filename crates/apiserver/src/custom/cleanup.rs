//! Removes the objects of a deleted definition, and then what keeps the definition.

use std::sync::Arc;
use std::time::Duration;

use customresources::plan;
use machinery::{Value, meta, time};
use tokio::task::JoinSet;

use crate::registry::{Context, DeleteOptions, ListOptions, Registry, Resource, Target};

/// A failed attempt is repeated after this.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the work. Its result is the definition's UID. `resource` is how the objects are stored; none if the
/// definition was never established, and so has no objects.
pub(super) fn start(
    running: &mut JoinSet<String>,
    registry: &Registry,
    crd: &Value,
    resource: Option<Arc<Resource>>,
) {
    let (registry, crd) = (registry.clone(), crd.clone());
    running.spawn(async move {
        let gone = match resource {
            Some(resource) => delete_all(&registry, &resource).await,
            None => true,
        };
        if gone && !finish(&registry, &crd).await {
            // The next look tries again, but not at once.
            tokio::time::sleep(RETRY).await;
        }
        meta::uid(&crd).to_owned()
    });
}

/// Says that the objects are gone, and lets the definition go. False if that failed, which has
/// been logged.
async fn finish(registry: &Registry, crd: &Value) -> bool {
    let found = registry.cached(super::GROUP, super::RESOURCE, "", meta::name(crd));
    let Some(now) = found.map(|f| f.value()).filter(|now| meta::uid(now) == meta::uid(crd)) else {
        return true;
    };
    let done = plan::finished(&now, &time::format(registry.now()));
    super::write(registry, done).await.is_ok()
}

/// Deletes objects until there are none. Those with finalizers are waited for. False if the server
/// ends before.
async fn delete_all(registry: &Registry, resource: &Arc<Resource>) -> bool {
    let target = Target::object(resource, "", "");
    let mut changes = resource.cache().changes();
    loop {
        changes.borrow_and_update();
        if resource.cache().is_empty() {
            return true;
        }
        let (context, options) = (Context::internal(), DeleteOptions::default());
        let selection = ListOptions::default();
        let deleted = registry.delete_collection(&context, &target, &options, &selection).await;
        match deleted {
            Ok(_) if resource.cache().is_empty() => return true,
            Ok(_) => {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            Err(failure) => {
                let name = target.resource.name.as_str();
                tracing::warn!(name, error = %failure.message, "cannot delete custom objects");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
