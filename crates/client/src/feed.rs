//! A watch of one resource for somebody who keeps what it finds in a form of their own.

use std::collections::HashSet;

use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::watch::{Delta, Watch};

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
        K: Resource + Clone + DeserializeOwned + Send + 'static,
    {
        let stop = stop.child_token();
        let (synced, is_synced) = watch::channel(false);
        let stopped = stop.clone();
        let watch = Watch::new(&api);
        tokio::spawn(async move {
            let tell = |delta: Delta<K>| match delta {
                Delta::List(objects) => {
                    let uids = objects.iter().filter_map(|object| object.meta().uid.clone());
                    let all = uids.collect();
                    for object in objects {
                        tell(Found::Object(object));
                    }
                    tell(Found::All(all));
                    synced.send_replace(true);
                }
                Delta::Apply(object) => tell(Found::Object(object)),
                Delta::Delete(object) => tell(Found::Gone(object)),
            };
            watch.follow(&stopped, tell).await;
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
