//! Leases for events, each shared by the events of a minute, so that there are few of them.

use std::time::Duration;

use machinery::time::Timestamp;
use store::{Error, LeaseId, Store};
use tokio::sync::Mutex;

/// How long new events are bound to the same lease.
const SHARED: Duration = Duration::from_secs(60);

pub(super) struct EventLeases {
    store: Store,
    ttl: Duration,
    current: Mutex<Option<(LeaseId, Timestamp)>>,
}

impl EventLeases {
    pub(super) fn new(store: Store, ttl: Duration) -> Self {
        Self { store, ttl, current: Mutex::new(None) }
    }

    /// A lease that lasts for the time to live at least.
    pub(super) async fn lease(&self, now: Timestamp) -> Result<LeaseId, Error> {
        let mut current = self.current.lock().await;
        if let Some((lease, since)) = *current {
            let age = now.duration_since(since);
            if !age.is_negative() && age.unsigned_abs() < SHARED {
                return Ok(lease);
            }
        }
        let lease = self.store.lease_grant(self.ttl + SHARED).await?;
        *current = Some((lease, now));
        Ok(lease)
    }
}
