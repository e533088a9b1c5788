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
        if let Some(resource) = resource {
            delete_all(&registry, &resource).await;
        }
        let done = plan::finished(&crd, &time::format(registry.now()));
        super::write(&registry, done).await.ok(); // a failure has been logged; the next look tries again
        meta::uid(&crd).to_owned()
    });
}

/// Deletes objects until there are none. Those with finalizers are waited for.
async fn delete_all(registry: &Registry, resource: &Arc<Resource>) {
    let target = Target::object(resource, "", "");
    let mut changes = resource.cache().changes();
    loop {
        changes.borrow_and_update();
        if resource.cache().is_empty() {
            return;
        }
        let (context, options) = (Context::internal(), DeleteOptions::default());
        let selection = ListOptions::default();
        let deleted = registry.delete_collection(&context, &target, &options, &selection).await;
        match deleted {
            Ok(_) if resource.cache().is_empty() => return,
            Ok(_) => {
                if changes.changed().await.is_err() {
                    return;
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
