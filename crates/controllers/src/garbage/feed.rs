//! Watches of every resource that can be owned or own, as metadata.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use client::{Api, Feed, Found};
use kube::core::{DynamicObject, PartialObjectMeta};
use tokio_util::sync::CancellationToken;

use super::Collector;
use super::graph::{Kind, Source};
use crate::discovery::Served;
use crate::object::Meta;

/// The running watches by resource.
#[derive(Default)]
pub(super) struct Feeds {
    running: HashMap<String, (Served, Feed)>,
}

/// Events are never owned by anything and by far the most numerous writes.
fn is_followed(served: &Served) -> bool {
    let group = served.resource.group.as_str();
    let is_event =
        served.resource.plural == "events" && (group.is_empty() || group == "events.k8s.io");
    !is_event && ["list", "watch", "delete"].iter().all(|verb| served.can(verb))
}

impl Feeds {
    /// Starts watches of new resources and ends those of vanished ones.
    pub(super) fn update(
        &mut self,
        collector: &Arc<Collector>,
        resources: &[Served],
        complete: bool,
        shutdown: &CancellationToken,
    ) {
        let wanted: HashMap<String, &Served> =
            resources.iter().filter(|s| is_followed(s)).map(|s| (s.name(), s)).collect();
        let stale: Vec<String> = self
            .running
            .iter()
            .filter(|(name, (followed, _))| match wanted.get(*name) {
                Some(served) => served.resource != followed.resource,
                // A group that could not be asked has not vanished.
                None => complete,
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            if let Some((_, feed)) = self.running.remove(&name) {
                feed.stop();
                if !wanted.contains_key(&name) {
                    collector.listed(&name, &HashSet::new());
                }
            }
        }
        for (name, served) in wanted {
            self.running.entry(name).or_insert_with(|| {
                (served.clone(), follow(Arc::clone(collector), served, shutdown))
            });
        }
    }

    /// Waits until all have listed what there is.
    pub(super) async fn synced(&self) {
        for (_, feed) in self.running.values() {
            feed.synced().await;
        }
    }
}

fn follow(collector: Arc<Collector>, served: &Served, shutdown: &CancellationToken) -> Feed {
    let resource = served.resource.clone();
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(collector.client(), &resource);
    let kind = Kind { api_version: resource.api_version, kind: resource.kind };
    let source = Source { resource: served.name().into(), kind: Arc::new(kind) };
    Feed::start(api, shutdown, move |found| match found {
        Found::Object(object) => collector.applied(&source, &object.metadata),
        Found::Gone(object) => collector.deleted(object.id()),
        Found::All(uids) => collector.listed(&source.resource, &uids),
    })
}
