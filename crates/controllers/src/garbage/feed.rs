//! Watches of every resource that can be owned or own, as metadata.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::{Api, WatchDelta, watch_forever};
use futures::StreamExt;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::Collector;
use super::graph::{Kind, Source};
use crate::discovery::Served;
use crate::object::Meta;

/// The running watches by resource.
#[derive(Default)]
pub(super) struct Feeds {
    running: HashMap<String, Feed>,
}

struct Feed {
    served: Served,
    stop: CancellationToken,
    synced: Arc<AtomicBool>,
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
            .filter(|(name, feed)| match wanted.get(*name) {
                Some(served) => served.resource != feed.served.resource,
                // A group that could not be asked has not vanished.
                None => complete,
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            if let Some(feed) = self.running.remove(&name) {
                feed.stop.cancel();
                if !wanted.contains_key(&name) {
                    collector.listed(&name, &HashSet::new());
                }
            }
        }
        for (name, served) in wanted {
            if self.running.contains_key(&name) {
                continue;
            }
            let stop = shutdown.child_token();
            let synced = Arc::new(AtomicBool::new(false));
            tokio::spawn(follow(
                Arc::clone(collector),
                served.clone(),
                stop.clone(),
                Arc::clone(&synced),
            ));
            self.running.insert(name, Feed { served: served.clone(), stop, synced });
        }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.running.values().all(|feed| feed.synced.load(Ordering::Relaxed))
    }
}

async fn follow(
    collector: Arc<Collector>,
    served: Served,
    stop: CancellationToken,
    synced: Arc<AtomicBool>,
) {
    let name = served.name();
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::all_with(collector.client(), &served.resource);
    let config = watcher::Config { page_size: None, ..watcher::Config::default() };
    let mut changes = Box::pin(watch_forever(api, config));
    let mut listed = HashSet::new();
    let resource = served.resource;
    let kind = Kind { api_version: resource.api_version, kind: resource.kind };
    let source = Source { resource: name.into(), kind: Arc::new(kind) };
    loop {
        let delta = tokio::select! {
            () = stop.cancelled() => return,
            delta = changes.next() => delta,
        };
        match delta {
            None => return,
            Some(WatchDelta::Init) => listed.clear(),
            Some(WatchDelta::InitApply(object)) => {
                listed.insert(collector.applied(&source, &object.metadata));
            }
            Some(WatchDelta::InitDone) => {
                collector.listed(&source.resource, &std::mem::take(&mut listed));
                synced.store(true, Ordering::Relaxed);
                collector.feed_synced();
            }
            Some(WatchDelta::Apply(object)) => {
                collector.applied(&source, &object.metadata);
            }
            Some(WatchDelta::Delete(object)) => collector.deleted(object.id()),
        }
    }
}
