//! Own writes that the informer has not shown yet.
//!
//! Planning on a copy that lacks a slice just created would create it a second time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::time::Instant;

use crate::object::{Key, Meta};

/// A write that is not seen after this time never will be (the slice was deleted since).
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Written {
    Version(u64),
    Gone,
}

/// Writes by slice.
type Writes = HashMap<String, (Written, Instant)>;

/// Writes by Service and slice.
#[derive(Debug, Default)]
pub(super) struct Pending {
    writes: Mutex<HashMap<Key, Writes>>,
}

fn version(slice: &EndpointSlice) -> u64 {
    slice.metadata.resource_version.as_ref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl Pending {
    fn note(&self, service: &Key, slice: &str, written: Written) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_service = writes.entry(service.clone()).or_default();
        of_service.insert(slice.to_owned(), (written, Instant::now()));
    }

    pub(super) fn wrote(&self, service: &Key, slice: &EndpointSlice) {
        self.note(service, slice.nm(), Written::Version(version(slice)));
    }

    pub(super) fn deleted(&self, service: &Key, slice: &str) {
        self.note(service, slice, Written::Gone);
    }

    pub(super) fn forget(&self, service: &Key) {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
    }

    /// Whether `slices` lacks a write; the event that brings it also brings the Service back.
    pub(super) fn is_behind(&self, service: &Key, slices: &[Arc<EndpointSlice>]) -> bool {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_service) = writes.get_mut(service) else { return false };
        of_service.retain(|name, (written, at)| {
            let present = slices.iter().find(|slice| slice.nm() == name);
            let behind = match (&written, present) {
                (Written::Version(written), Some(slice)) => version(slice) < *written,
                (Written::Version(_), None) => true,
                (Written::Gone, Some(slice)) => !slice.is_deleting(),
                (Written::Gone, None) => false,
            };
            behind && at.elapsed() < PATIENCE
        });
        let behind = !of_service.is_empty();
        if !behind {
            writes.remove(service);
        }
        behind
    }
}
