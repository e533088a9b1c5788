//! Follows resources from inside the server, for what authorization and flow control decide by.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use machinery::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::EventType;
use crate::registry::{ListOptions, Registry, Target};

/// Keeps `apply(namespace, name, object or its absence)` up to date with all objects of a
/// resource. Returns once the objects that exist now are taken in; the rest goes on until
/// `shutdown`.
pub(crate) async fn follow<F>(
    registry: &Registry,
    (group, version, plural): (&str, &str, &str),
    (tasks, shutdown): (&TaskTracker, &CancellationToken),
    apply: F,
) where
    F: Fn(&str, &str, Option<&Value>) + Send + Sync + 'static,
{
    let Some(resource) = registry.resource(group, version, plural) else {
        tracing::error!(group, version, plural, "no such resource to follow");
        return;
    };
    let target = Target {
        resource,
        namespace: String::new(),
        name: String::new(),
        subresource: String::new(),
    };
    let mut known = HashSet::new();
    let revision = resync(registry, &target, &mut known, &apply).await;
    let (registry, shutdown) = (registry.clone(), shutdown.clone());
    tasks.spawn(async move {
        let work = async {
            let mut revision = revision;
            loop {
                if let Some(from) = revision {
                    stream(&registry, &target, from, &mut known, &apply).await;
                }
                // Overrun or refused: a short pause, then once more from the start.
                tokio::time::sleep(Duration::from_millis(20)).await;
                revision = resync(&registry, &target, &mut known, &apply).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
}

type Known = HashSet<(String, String)>;

async fn resync(
    registry: &Registry,
    target: &Target,
    known: &mut Known,
    apply: &impl Fn(&str, &str, Option<&Value>),
) -> Option<u64> {
    let options = ListOptions { resource_version: "0".to_owned(), ..ListOptions::default() };
    let list = match registry.list(target, &options).await {
        Ok(list) => list,
        Err(status) => {
            tracing::error!(%status, resource = %target.resource.name, "cannot list");
            return None;
        }
    };
    let mut gone = std::mem::take(known);
    for object in list.items.iter() {
        let key = (object.namespace().to_owned(), object.name().to_owned());
        apply(&key.0, &key.1, Some(&object.value()));
        gone.remove(&key);
        known.insert(key);
    }
    for (namespace, name) in gone {
        apply(&namespace, &name, None);
    }
    Some(list.resource_version)
}

async fn stream(
    registry: &Registry,
    target: &Target,
    from: u64,
    known: &mut Known,
    apply: &impl Fn(&str, &str, Option<&Value>),
) {
    let options = ListOptions { resource_version: from.to_string(), ..ListOptions::default() };
    let Ok(mut watcher) = registry.watch(target, &options).await else { return };
    while let Some(item) = watcher.next().await {
        let Some(object) = item.object() else {
            if item.kind() == EventType::Error {
                return;
            }
            continue;
        };
        let key = (object.namespace().to_owned(), object.name().to_owned());
        match item.kind() {
            EventType::Added | EventType::Modified => {
                apply(&key.0, &key.1, Some(&object.value()));
                known.insert(key);
            }
            EventType::Deleted => {
                apply(&key.0, &key.1, None);
                known.remove(&key);
            }
            EventType::Bookmark => {}
            EventType::Error => return,
        }
    }
}

/// Follows everything that authorization needs.
pub(crate) async fn authorization(
    registry: &Registry,
    authorizer: &Arc<crate::authz::Authorizer>,
    until: (&TaskTracker, &CancellationToken),
) {
    for source in crate::authz::rbac::Source::ALL {
        let authorizer = authorizer.clone();
        let resource = ("rbac.authorization.k8s.io", "v1", source.resource());
        follow(registry, resource, until, move |namespace, name, object| {
            authorizer.rbac.apply(source, namespace, name, object);
        })
        .await;
    }
    let nodes = authorizer.clone();
    follow(registry, ("", "v1", "pods"), until, move |namespace, name, pod| {
        nodes.nodes.apply_pod(namespace, name, pod);
    })
    .await;
    let nodes = authorizer.clone();
    follow(registry, ("", "v1", "persistentvolumes"), until, move |_, name, volume| {
        nodes.nodes.apply_volume(name, volume);
    })
    .await;
}

/// Follows the configuration of flow control.
pub(crate) async fn flow_control(
    registry: &Registry,
    flow: &Arc<crate::flow::Flow>,
    until: (&TaskTracker, &CancellationToken),
) {
    const GROUP: &str = "flowcontrol.apiserver.k8s.io";
    let levels = flow.clone();
    follow(registry, (GROUP, "v1", "prioritylevelconfigurations"), until, move |_, name, level| {
        levels.apply_level(name, level);
    })
    .await;
    let schemas = flow.clone();
    follow(registry, (GROUP, "v1", "flowschemas"), until, move |_, name, schema| {
        schemas.apply_schema(name, schema);
    })
    .await;
}
