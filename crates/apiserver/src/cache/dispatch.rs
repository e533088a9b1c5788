//! From the one watch on the store to the caches, and who waits for how far they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use store::{Error, Event, RangeRequest, Store};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::encoded;
use super::join::Joining;
use super::object::{FieldSet, Object};
use super::state::Cache;

/// Where all objects are in the store.
pub const ROOT: &str = "/registry/";
/// After a restart, watchers may continue from so many revisions ago.
const REPLAYED: u64 = 2048;
/// How often the caches look for what nobody reads any more.
const COOLING: Duration = Duration::from_secs(5);
/// Objects read from the store at once while the caches are filled.
const PAGE: usize = 512;
/// Between attempts to follow the store again.
const PAUSE: Duration = Duration::from_millis(500);

/// How far the caches follow the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Reached>);

#[derive(Debug, Default)]
struct Reached {
    applied: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Progress {
    /// Everything up to this revision is in the caches.
    pub(super) fn applied(&self) -> u64 {
        self.0.applied.load(Ordering::Acquire)
    }

    fn advance(&self, revision: u64) {
        self.0.applied.fetch_max(revision, Ordering::AcqRel);
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(entry) = waiting.first_entry()
            && *entry.key() <= revision
        {
            for waiter in entry.remove() {
                waiter.send(()).ok(); // the waiter may have given up
            }
        }
    }

    /// Waits until everything up to `revision` is in the caches.
    pub(super) async fn reach(&self, revision: u64) {
        if self.applied() >= revision {
            return;
        }
        let news = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if self.applied() >= revision {
                return;
            }
            let (news, reached) = oneshot::channel();
            waiting.entry(revision).or_default().push(news);
            reached
        };
        news.await.ok(); // an error means that the server stops
    }
}

/// All caches and the task that feeds them.
#[derive(Debug)]
pub struct Dispatcher {
    pub(super) progress: Progress,
    pub(super) caches: RwLock<HashMap<String, Arc<Cache>>>,
    /// Caches that are being filled while the server runs; see [`super::join`].
    pub(super) joining: Joining,
    /// Whether the watch on the store goes on; when not, somebody is at it.
    following: AtomicBool,
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl Dispatcher {
    /// Caches for keys under `/registry/PREFIX/`, filled from the store and then kept up to date.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        store: &Store,
        resources: impl IntoIterator<Item = (String, FieldSet)>,
    ) -> Result<Arc<Self>, Error> {
        let progress = Progress::default();
        let caches = resources
            .into_iter()
            .map(|(prefix, fields)| {
                let cache = Cache::new(format!("{ROOT}{prefix}/"), fields, progress.clone());
                (prefix, Arc::new(cache))
            })
            .collect();
        let dispatcher = Arc::new(Self {
            progress,
            caches: RwLock::new(caches),
            joining: Joining::default(),
            following: AtomicBool::new(true),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        });
        let now = store.revision().await?;
        let base = dispatcher.fill(store, now.saturating_sub(REPLAYED).max(1)).await?;
        tokio::spawn(dispatcher.clone().follow(store.clone(), base));
        tokio::spawn(dispatcher.clone().cool());
        dispatcher.reach(now).await;
        Ok(dispatcher)
    }

    /// Gives up, every few seconds, what is kept for readers that have gone.
    async fn cool(self: Arc<Self>) {
        let mut pause = tokio::time::interval(COOLING);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = pause.tick() => {
                    encoded::cool();
                    self.all().iter().for_each(|cache| cache.cool());
                }
            }
        }
    }

    /// Applies changes from after `base` on until the store closes or the caches are stopped.
    async fn follow(self: Arc<Self>, store: Store, base: u64) {
        let mut watch = store.watch(ROOT, base + 1);
        loop {
            let batch = tokio::select! {
                () = self.stop.cancelled() => break,
                batch = watch.next() => batch,
            };
            let error = match batch {
                Some(Ok(batch)) => {
                    batch.events.iter().for_each(|event| self.apply(event));
                    self.progress.advance(batch.revision);
                    continue;
                }
                Some(Err(error)) => error,
                None => Error::Closed,
            };
            tracing::error!(%error, "the watch on the store ended");
            if error == Error::Closed {
                break;
            }
            self.following.store(false, Ordering::Release);
            let resumed = tokio::select! {
                () = self.stop.cancelled() => break,
                resumed = self.resume(&store, error) => resumed,
            };
            watch = match resumed {
                Some(base) => store.watch(ROOT, base + 1),
                None => break,
            };
        }
        self.stop.cancel();
        for cache in self.all() {
            cache.close();
        }
        drop(watch);
        self.stopped.cancel();
    }

    /// Tries until the store can be followed again, from after the revision that is returned;
    /// `None` when it is closed.
    async fn resume(&self, store: &Store, mut error: Error) -> Option<u64> {
        loop {
            let resumed = match error {
                // Changes are lost to the caches, and so they are to all watches.
                Error::Compacted { .. } => match store.revision().await {
                    Ok(now) => self.fill(store, now).await,
                    Err(error) => Err(error),
                },
                _ => store.revision().await.map(|_| self.applied()),
            };
            match resumed {
                Ok(base) => {
                    self.following.store(true, Ordering::Release);
                    tracing::info!(base, "following the store again");
                    return Some(base);
                }
                Err(Error::Closed) => return None,
                Err(again) => {
                    tracing::warn!(error = %again, "cannot follow the store yet");
                    if matches!(again, Error::Compacted { .. }) {
                        error = again;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Puts the state of the store at `base`, or at the oldest revision after it that is left, in
    /// the place of what the caches hold. The result is the revision.
    async fn fill(&self, store: &Store, mut base: u64) -> Result<u64, Error> {
        let mut read: HashMap<String, Vec<Arc<Object>>> = HashMap::new();
        let mut request = RangeRequest::prefix(ROOT).limit(PAGE);
        loop {
            let page = match store.range(request.clone().at(base)).await {
                Ok(page) => page,
                // Compaction goes on meanwhile; the first page decides.
                Err(Error::Compacted { compacted, .. }) if compacted > base => {
                    base = compacted;
                    read.clear();
                    request = RangeRequest::prefix(ROOT).limit(PAGE);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for kv in &page.kvs {
                if let Some(cache) = self.of_key(&kv.key)
                    && let Some(object) = cache.object(kv)
                {
                    read.entry(cache.prefix().to_owned()).or_default().push(object);
                }
            }
            match page.kvs.last() {
                Some(last) if page.more => request = request.after(&last.key),
                _ => break,
            }
        }
        // Held for writing, so that no cache joins with changes that were never handed out.
        let caches = self.caches.write().unwrap_or_else(PoisonError::into_inner);
        self.joining.interrupt();
        for cache in caches.values() {
            cache.install(read.remove(cache.prefix()).unwrap_or_default(), base);
        }
        drop(caches);
        self.progress.advance(base);
        Ok(base)
    }

    fn apply(&self, event: &Event) {
        // Held to the end, so that a cache that joins gets each change once.
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner);
        self.joining.note(event);
        if let Some(cache) = find(&caches, &event.kv.key) {
            cache.apply(event.kind, &event.kv);
        }
    }

    fn of_key(&self, key: &[u8]) -> Option<Arc<Cache>> {
        find(&self.caches.read().unwrap_or_else(PoisonError::into_inner), key).cloned()
    }

    fn all(&self) -> Vec<Arc<Cache>> {
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner);
        caches.values().cloned().collect()
    }

    /// The cache of a resource by its storage prefix.
    pub fn cache(&self, prefix: &str) -> Option<Arc<Cache>> {
        self.caches.read().unwrap_or_else(PoisonError::into_inner).get(prefix).cloned()
    }

    /// The revision up to which every cache is complete.
    pub fn applied(&self) -> u64 {
        self.progress.applied()
    }

    /// Waits until the caches show `revision`, or follow the store no more.
    pub async fn reach(&self, revision: u64) {
        if self.progress.applied() < revision {
            tokio::select! {
                () = self.progress.reach(revision) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Whether the caches follow the store now.
    pub fn is_running(&self) -> bool {
        !self.stop.is_cancelled() && self.following.load(Ordering::Acquire)
    }

    /// Stops following the store and ends all watches. The store's file can be closed after.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
    }
}

/// The cache of a key: prefixes have one segment or two.
fn find<'a>(caches: &'a HashMap<String, Arc<Cache>>, key: &[u8]) -> Option<&'a Arc<Cache>> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
    let first = rest.find('/')?;
    if let Some(cache) = caches.get(&rest[..first]) {
        return Some(cache);
    }
    let second = first + 1 + rest[first + 1..].find('/')?;
    caches.get(&rest[..second])
}
