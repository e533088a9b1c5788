//! Caches that come and go while the server runs.
//!
//! A new cache is filled from the store while the one watch goes on; the changes that come in
//! meanwhile are kept and applied on top.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use store::{Error, Event, RangeRequest, Store};

use super::dispatch::{Dispatcher, ROOT};
use super::object::FieldSet;
use super::state::Cache;

/// Objects read from the store at once.
const PAGE: usize = 512;

/// Changes under the prefixes of caches that are being filled; none when some were missed.
#[derive(Debug, Default)]
pub(super) struct Joining(Mutex<HashMap<String, Option<Vec<Event>>>>);

impl Joining {
    /// Keeps a change that concerns one of them.
    pub(super) fn note(&self, event: &Event) {
        let mut joining = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (prefix, kept) in joining.iter_mut() {
            if let Some(kept) = kept
                && event.kv.key.starts_with(prefix.as_bytes())
            {
                kept.push(event.clone());
            }
        }
    }

    fn begin(&self, prefix: &str) {
        let mut joining = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        joining.insert(prefix.to_owned(), Some(Vec::new()));
    }

    fn end(&self, prefix: &str) -> Option<Vec<Event>> {
        let mut joining = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        joining.remove(prefix).flatten()
    }

    /// The caches were filled anew, past changes that nobody was told of.
    pub(super) fn interrupt(&self) {
        let mut joining = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        joining.values_mut().for_each(|kept| *kept = None);
    }
}

impl Dispatcher {
    /// Adds a cache for keys under `/registry/PREFIX/`, or puts it in the place of another, whose
    /// watches then end. One at a time per prefix.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn join(
        &self,
        store: &Store,
        prefix: &str,
        fields: FieldSet,
    ) -> Result<Arc<Cache>, Error> {
        let keys = format!("{ROOT}{prefix}/");
        let cache = Arc::new(Cache::new(keys.clone(), fields, self.progress.clone()));
        self.joining.begin(&keys);
        let filled = self.fill_one(store, &keys, &cache).await;
        let base = match filled {
            Ok(base) => base,
            Err(error) => {
                self.joining.end(&keys);
                return Err(error);
            }
        };
        cache.loaded(base);
        let before = {
            let mut caches = self.caches.write().unwrap_or_else(PoisonError::into_inner);
            // The watch hands out changes while it holds this lock for reading, so none is
            // missed or applied twice from here on.
            let missed = || Error::Unavailable("the watch on the store was interrupted".to_owned());
            let kept = self.joining.end(&keys).filter(|_| self.is_running());
            for event in kept.ok_or_else(missed)? {
                if event.kv.mod_revision > base {
                    cache.apply(event.kind, &event.kv);
                }
            }
            caches.insert(prefix.to_owned(), cache.clone())
        };
        if let Some(before) = before {
            before.close();
        }
        Ok(cache)
    }

    /// Reads the state as of now; the result is its revision, which all other caches have reached.
    async fn fill_one(&self, store: &Store, keys: &str, cache: &Cache) -> Result<u64, Error> {
        let now = store.revision().await?;
        let mut request = RangeRequest::prefix(keys.to_owned()).limit(PAGE);
        loop {
            let page = store.range(request.clone().at(now)).await?;
            page.kvs.iter().for_each(|kv| cache.load(kv));
            match page.kvs.last() {
                Some(last) if page.more => request = request.after(&last.key),
                _ => break,
            }
        }
        self.reach(now).await;
        Ok(now)
    }

    /// Removes the caches of all other prefixes and ends their watches.
    pub(crate) fn leave_all_but(&self, kept: &HashSet<&str>) {
        let mut caches = self.caches.write().unwrap_or_else(PoisonError::into_inner);
        for (_, cache) in caches.extract_if(|prefix, _| !kept.contains(prefix.as_str())) {
            cache.close();
        }
    }
}
