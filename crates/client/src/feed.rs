//! A watch of one resource for somebody who keeps what it finds in a form of their own.

use std::collections::HashSet;
use std::fmt::Debug;

use futures::StreamExt as _;
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{WatchDelta, watch_forever};

/// What a feed finds.
#[derive(Debug)]
pub enum Found<K> {
    /// An object that is there, new, changed or as before.
    Object(K),
    /// An object that is gone, as it was.
    Gone(K),
    /// The UIDs of all objects; they have been told before.
    All(HashSet<String>),
}

/// A running watch.
#[derive(Debug)]
pub struct Feed {
    stop: CancellationToken,
    synced: watch::Receiver<bool>,
}

// === impl Feed ===

impl Feed {
    /// Follows a resource until `stop`, or until [`Feed::stop`], and tells what it finds.
    pub fn start<K>(
        api: Api<K>,
        stop: &CancellationToken,
        mut tell: impl FnMut(Found<K>) + Send + 'static,
    ) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let stop = stop.child_token();
        let (synced, is_synced) = watch::channel(false);
        let stopped = stop.clone();
        tokio::spawn(async move {
            let config = watcher::Config { page_size: None, ..watcher::Config::default() };
            let mut changes = Box::pin(watch_forever(api, config));
            let mut listed = HashSet::new();
            loop {
                let delta = tokio::select! {
                    () = stopped.cancelled() => return,
                    delta = changes.next() => delta,
                };
                let Some(delta) = delta else { return };
                if let Some(found) = found(&mut listed, delta) {
                    let all = matches!(found, Found::All(_));
                    tell(found);
                    if all {
                        synced.send_replace(true);
                    }
                }
            }
        });
        Self { stop, synced: is_synced }
    }

    /// Ends it.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all objects have been told once. `false` when the feed has ended before.
    pub async fn synced(&self) -> bool {
        let mut synced = self.synced.clone();
        tokio::select! {
            () = self.stop.cancelled() => *self.synced.borrow(),
            result = synced.wait_for(|synced| *synced) => result.is_ok(),
        }
    }
}

/// What a change means, given the UIDs of the list so far.
fn found<K: Resource>(listed: &mut HashSet<String>, delta: WatchDelta<K>) -> Option<Found<K>> {
    match delta {
        WatchDelta::Init => {
            listed.clear();
            None
        }
        WatchDelta::InitApply(object) => {
            listed.extend(object.meta().uid.clone());
            Some(Found::Object(object))
        }
        WatchDelta::InitDone => Some(Found::All(std::mem::take(listed))),
        WatchDelta::Apply(object) => Some(Found::Object(object)),
        WatchDelta::Delete(object) => Some(Found::Gone(object)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(uid: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.uid = Some(uid.to_owned());
        object
    }

    #[test]
    fn a_list_ends_with_what_was_in_it() {
        let mut listed = HashSet::new();
        let mut told = Vec::new();
        for delta in [
            WatchDelta::Init,
            WatchDelta::InitApply(object("lost")),
            // The list was interrupted.
            WatchDelta::Init,
            WatchDelta::InitApply(object("a")),
            WatchDelta::InitDone,
            WatchDelta::Apply(object("b")),
            WatchDelta::Delete(object("a")),
            WatchDelta::Init,
            WatchDelta::InitApply(object("b")),
            WatchDelta::InitDone,
        ] {
            let uid = |object: &ConfigMap| object.metadata.uid.clone().unwrap_or_default();
            match found(&mut listed, delta) {
                None => {}
                Some(Found::Object(object)) => told.push(format!("+{}", uid(&object))),
                Some(Found::Gone(object)) => told.push(format!("-{}", uid(&object))),
                Some(Found::All(all)) => told.extend(all.iter().map(|uid| format!("={uid}"))),
            }
        }
        assert_eq!(told, ["+lost", "+a", "=a", "+b", "-a", "+b", "=b"]);
    }
}
