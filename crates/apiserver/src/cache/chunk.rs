//! A run of neighbouring objects, and their JSON together while many ask for it.
//!
//! Lists of big collections are asked for by many at once: when a cluster starts, and by those who
//! poll. Putting a list together object by object costs more than sending it, so a chunk that is
//! listed a second time within seconds keeps its part of the list until nobody asked for a while.
//! What all chunks keep together is bounded.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::object::Object;

/// Bytes that all chunks may keep.
const BUDGET: usize = 64 << 20;
/// Smaller chunks are put together as quickly as shared, and bigger ones are sent in pieces.
const SHARED: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 20;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Objects in key order. A changed clone starts with nothing kept.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    objects: Vec<Arc<Object>>,
    /// Bytes of [`Self::json`].
    len: OnceLock<u64>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
enum Kept {
    #[default]
    Nothing,
    /// Nothing, but somebody asked lately.
    Asked,
    Json {
        bytes: Bytes,
        /// Whether somebody asked since the last look.
        asked: bool,
    },
}

impl Chunk {
    pub(super) fn objects_mut(&mut self) -> &mut Vec<Arc<Object>> {
        self.len = OnceLock::new();
        self.forget();
        &mut self.objects
    }

    /// Bytes of the objects as items of a list, each behind a comma.
    pub(super) fn json_len(&self) -> u64 {
        let sum = || self.objects.iter().map(|object| object.item(false).len() as u64 + 2).sum();
        *self.len.get_or_init(sum)
    }

    /// Whether the JSON is worth sharing.
    pub(super) fn is_shared(&self) -> bool {
        SHARED.contains(&self.json_len())
    }

    /// The objects as items of a list, each behind a comma.
    pub(super) fn json(&self) -> Bytes {
        let mut kept = self.kept();
        if let Kept::Json { bytes, asked } = &mut *kept {
            *asked = true;
            return bytes.clone();
        }
        let mut json = Vec::with_capacity(usize::try_from(self.json_len()).unwrap_or(0));
        for object in &self.objects {
            json.extend_from_slice(b",{");
            json.extend_from_slice(object.item(false));
        }
        let bytes = Bytes::from(json);
        let again = matches!(*kept, Kept::Asked);
        let total = KEPT.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if again && total <= BUDGET {
            *kept = Kept::Json { bytes: bytes.clone(), asked: true };
        } else {
            KEPT.fetch_sub(bytes.len(), Ordering::Relaxed);
            *kept = Kept::Asked;
        }
        bytes
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called every few seconds: gives up what nobody asked for since the last time.
    pub(super) fn cool(&self) {
        let mut kept = self.kept();
        match &mut *kept {
            Kept::Json { asked, .. } if *asked => *asked = false,
            Kept::Nothing => {}
            _ => {
                drop(kept);
                self.forget();
            }
        }
    }

    fn forget(&self) {
        if let Kept::Json { bytes, .. } = std::mem::take(&mut *self.kept()) {
            KEPT.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn is_kept(&self) -> bool {
        matches!(*self.kept(), Kept::Json { .. })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        self.objects.clone().into()
    }
}

impl From<Vec<Arc<Object>>> for Chunk {
    fn from(objects: Vec<Arc<Object>>) -> Self {
        Self { objects, len: OnceLock::new(), kept: Mutex::default() }
    }
}

impl Deref for Chunk {
    type Target = [Arc<Object>];

    fn deref(&self) -> &[Arc<Object>] {
        &self.objects
    }
}
