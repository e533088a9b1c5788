//! Stored objects under another version.
//!
//! Most objects say themselves what they are in another version; some have to be sent away, which
//! takes time and may fail. Readers do not see the difference: lists are shown in batches, and
//! what was found to look as it is stored is not looked at again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use machinery::status::Status;
use machinery::{Value, meta};

use super::chunk::Chunk;
use super::items::{Items, Run};
use super::object::Object;

/// Objects that are sent away at once.
const BATCH: usize = 500;

/// From the tree of a stored object to its JSON in the other version.
pub(crate) type Own = Box<dyn Fn(Value) -> Vec<u8> + Send + Sync>;
/// From the trees of stored objects to their JSON in the other version, in the same order.
pub(crate) type Asked =
    Box<dyn Fn(Vec<Value>) -> BoxFuture<'static, Result<Vec<Vec<u8>>, Box<Status>>> + Send + Sync>;

/// How the objects of a resource are shown in one version.
pub struct Presentation {
    id: u64,
    own: Own,
    foreign: Option<Foreign>,
}

/// Who is asked about objects that are not of the version wanted.
struct Foreign {
    api_version: String,
    ask: Asked,
}

impl Presentation {
    /// Every object says itself what it is in the other version.
    pub(crate) fn pure(own: Own) -> Self {
        Self { id: next_id(), own, foreign: None }
    }

    /// Objects of `api_version` say themselves how they look; `ask` is asked about others.
    pub(crate) fn asking(api_version: String, own: Own, ask: Asked) -> Self {
        Self { id: next_id(), own, foreign: Some(Foreign { api_version, ask }) }
    }

    /// Tells this presentation from all others there have ever been.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Objects as they are to be shown, in the same order.
    ///
    /// # Errors
    /// When who is asked does not answer, or answers what cannot be.
    pub async fn show(
        &self,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Box<Status>> {
        for batch in objects.chunks_mut(BATCH) {
            self.show_batch(batch).await?;
            tokio::task::consume_budget().await;
        }
        Ok(objects)
    }

    /// A list's objects as they are to be shown. Whole chunks are shown once for many readers.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub async fn show_all(&self, items: Items) -> Result<Items, Box<Status>> {
        let mut runs: Vec<Run> = items.runs().collect();
        let mut missing = Vec::new();
        for run in &mut runs {
            match run.chunk.shown(self.id).filter(|_| run.is_whole()) {
                Some(chunk) => run.chunk = chunk,
                None => missing.push(run),
            }
        }
        let objects = missing.iter().flat_map(|run| run.objects()).cloned().collect();
        let mut shown = self.show(objects).await?.into_iter();
        for run in missing {
            let objects = shown.by_ref().take(run.range.len()).collect();
            run.chunk = match run.is_whole() {
                true => run.chunk.keep_shown(self.id, objects),
                false => Arc::new(Chunk::private(objects)),
            };
            run.range = 0..run.chunk.len();
        }
        Ok(runs.into_iter().collect())
    }

    async fn show_batch(&self, objects: &mut [Arc<Object>]) -> Result<(), Box<Status>> {
        let mut sent = Vec::new();
        let mut trees = Vec::new();
        for (at, object) in objects.iter_mut().enumerate() {
            if object.is_unchanged_under(self.id) {
                continue;
            }
            let mut tree = object.value();
            meta::set_resource_version(&mut tree, "");
            match &self.foreign {
                Some(foreign) if meta::api_version(&tree) != foreign.api_version => {
                    sent.push(at);
                    trees.push(tree);
                }
                _ => {
                    let shown = object.shown_as(&(self.own)(tree))?;
                    match shown {
                        Some(shown) => *object = shown,
                        None => object.mark_unchanged_under(self.id),
                    }
                }
            }
        }
        let Some(foreign) = self.foreign.as_ref().filter(|_| !sent.is_empty()) else {
            return Ok(());
        };
        let answers = (foreign.ask)(trees).await?;
        for (at, json) in sent.into_iter().zip(answers) {
            if let Some(shown) = objects[at].shown_as(&json)? {
                objects[at] = shown;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Presentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presentation({})", self.id)
    }
}

/// 0 is nobody's.
fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
