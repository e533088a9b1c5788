//! A snapshot of a store that goes on serving: all pages are read at the revision that was current
//! at the beginning.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{Stream, stream};
use jiff::Timestamp;

use super::{Encoder, Header};
use crate::Store;
use crate::types::{Error, LeaseId, RangeRequest};

/// Keys read at once.
const PAGE: usize = 256;

/// Takes a snapshot of the keys with `prefix`: what it is, and the bytes of the file as they are
/// made. The state is kept for as long as compaction leaves it, which is longer than any file
/// takes to be written; when not, the stream fails.
///
/// # Errors
/// When the store does not answer.
pub async fn take(
    store: Store,
    prefix: &str,
    cluster: String,
    created: Timestamp,
) -> Result<(Header, impl Stream<Item = Result<Bytes, Error>> + Send + 'static), Error> {
    let compacted = store.compacted().await?;
    let status = store.status().await?;
    let header = Header {
        cluster,
        engine: status.engine.to_owned(),
        created,
        revision: status.revision,
        compacted,
    };
    let request = RangeRequest::prefix(prefix.to_owned()).limit(PAGE).at(header.revision);
    let taking = Taking {
        store,
        encoder: Encoder::new(&header),
        leases: BTreeSet::new(),
        step: Step::Keys(request),
    };
    let parts = stream::try_unfold(Some(taking), |taking| async move {
        let Some(taking) = taking else { return Ok(None) };
        taking.advance().await.map(Some)
    });
    Ok((header, parts))
}

struct Taking {
    store: Store,
    encoder: Encoder,
    /// Those that keys are bound to.
    leases: BTreeSet<LeaseId>,
    step: Step,
}

enum Step {
    /// Keys are left from here on.
    Keys(RangeRequest),
    /// Only the leases are left. They are read last, so each that is not among them has run out,
    /// and its keys would have gone soon.
    Leases,
}

impl Taking {
    /// The next bytes, and what is left to do.
    async fn advance(mut self) -> Result<(Bytes, Option<Self>), Error> {
        match self.step {
            Step::Keys(request) => {
                let page = self.store.range(request.clone()).await?;
                for kv in &page.kvs {
                    self.encoder.record(kv);
                    self.leases.extend(kv.lease);
                }
                self.step = match page.kvs.last() {
                    Some(last) if page.more => Step::Keys(request.after(&last.key)),
                    _ => Step::Leases,
                };
                Ok((self.encoder.ready(), Some(self)))
            }
            Step::Leases => {
                let leases = self.leases.into_iter().collect();
                for lease in self.store.leases(leases).await? {
                    self.encoder.lease(&lease);
                }
                Ok((self.encoder.finish(), None))
            }
        }
    }
}
