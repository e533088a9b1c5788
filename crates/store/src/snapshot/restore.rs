//! From a snapshot back to a store that nobody uses meanwhile.
//!
//! Revisions never go back: whoever has seen the store as it was must notice that it is another
//! one. So a restored store is as if compacted at a revision that was never given out before, and
//! every watch from an earlier one is told that it is too old.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Snapshot, SnapshotError};
use crate::types::{Error, KeyValue, LeaseId, MIN_LEASE, Op, RangeRequest, Txn};
use crate::{Store, embedded};

/// How far revisions are moved ahead of the newest known one, as etcd's documentation suggests:
/// more than a store that was lost can have given out since its last snapshot.
pub const BUMP: u64 = 1_000_000_000;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The revision from which the store goes on.
    pub revision: u64,
    /// Where the file is that the store was in before, if there was one.
    pub kept: Option<PathBuf>,
}

/// Puts a new file with the snapshot's content in the place of the store's file `path`; the one
/// that was there is kept under another name. Until the very end nothing changes.
///
/// Leases run for as long as was left of them when the snapshot was taken.
///
/// # Errors
/// When the store is in use, the snapshot has changed since it was opened, or the disk refuses.
pub fn into_file(
    snapshot: &Snapshot,
    path: &Path,
    bump: u64,
    now: SystemTime,
) -> Result<Restored, SnapshotError> {
    let failed = |source| SnapshotError::Io { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let old = embedded::Stopped::lock(path)?;
    let known = old.as_ref().and_then(embedded::Stopped::revision).unwrap_or(0);
    let revision = known.max(snapshot.header.revision) + bump;

    let partial = path.with_added_extension("restoring");
    let leases = snapshot.all_leases()?;
    let known: HashSet<LeaseId> = leases.iter().map(|lease| lease.id).collect();
    // A lease that is not among the snapshot's had run out.
    let keys = snapshot.keys()?.filter(|kv| {
        kv.as_ref().map_or(true, |kv| kv.lease.is_none_or(|lease| known.contains(&lease)))
    });
    embedded::build(&partial, keys, &leases, revision, now)?;
    let kept = old.is_some().then(|| aside(path, now));
    if let Some(kept) = &kept {
        // A second name first, then the exchange: at no time is there no store.
        std::fs::hard_link(path, kept)
            .map_err(|source| SnapshotError::Io { path: kept.clone(), source })?;
        if let Some(old) = &old {
            old.keep_journal(kept)?;
        }
    }
    std::fs::rename(&partial, path).map_err(failed)?;
    super::folder::sync_folder_of(path).map_err(failed)?;
    if let Some(old) = &old {
        old.remove_journal()?;
    }
    Ok(Restored { revision, kept })
}

/// The name under which the file at `path` is kept.
fn aside(path: &Path, now: SystemTime) -> PathBuf {
    let now = Timestamp::try_from(now).unwrap_or_default().to_zoned(TimeZone::UTC);
    path.with_added_extension(format!("before-restore-{}", now.strftime("%Y%m%dT%H%M%SZ")))
}

/// Is there while a shared store is being restored; one that has it is not whole.
const MARKER: &str = "/registry/ironclad-restore";
/// Changes in one transaction: etcd takes no more than 128.
const OPS: usize = 100;
/// Bytes of values in one transaction: etcd takes 1.5 MiB for all of it.
const TXN_BYTES: usize = 512 << 10;
/// Keys read at once.
const PAGE: usize = 256;
/// Transactions at once that only move the revision.
const ADVANCING: usize = 256;
/// Attempts to make a transaction whose outcome got lost: made twice, it is as made once.
const ATTEMPTS: usize = 3;

/// Whether the restoring of a shared store has begun and did not end.
///
/// # Errors
/// When the store does not answer.
pub async fn is_unfinished(store: &Store) -> Result<bool, Error> {
    Ok(store.get(MARKER).await?.is_some())
}

/// Makes the keys with `prefix` of a store that lives elsewhere as they are in the snapshot, by
/// changing what differs. When this breaks off, it can be done again; until it is done,
/// [`is_unfinished`]. A store that is younger than the snapshot is moved `bump` revisions past it.
///
/// # Errors
/// When the store refuses, or the snapshot has changed since it was opened.
pub async fn into_store(
    snapshot: &Snapshot,
    store: &Store,
    prefix: &str,
    bump: u64,
    mut progress: impl FnMut(Progress),
) -> Result<Restored, SnapshotError> {
    let before = put_marker(store).await?;
    let leases = grant_leases(snapshot, store).await?;
    let mut batch = Batch { store, ops: Vec::new(), bytes: 0 };
    let mut wanted = snapshot.keys()?.peekable();
    let mut request = RangeRequest::prefix(prefix.to_owned()).limit(PAGE);
    let mut compared = 0;
    loop {
        let page = store.range(request.clone()).await?;
        for found in page.kvs.iter().filter(|kv| kv.key != MARKER) {
            while let Some(missing) = next_before(&mut wanted, Some(&found.key))? {
                batch.put(missing, &leases).await?;
            }
            match wanted
                .next_if(|kv| kv.as_ref().is_ok_and(|kv| kv.key == found.key))
                .transpose()?
            {
                Some(kv) if kv.value != found.value => batch.put(kv, &leases).await?,
                Some(_) => {}
                None => batch.add(Op::Delete { key: found.key.clone() }, 0).await?,
            }
        }
        compared += page.kvs.len() as u64;
        progress(Progress::Compared(compared));
        match page.kvs.last() {
            Some(last) if page.more => request = request.after(&last.key),
            _ => break,
        }
    }
    while let Some(missing) = next_before(&mut wanted, None)? {
        batch.put(missing, &leases).await?;
    }
    batch.make().await?;
    if before < snapshot.header.revision {
        // Another store than that which the snapshot was taken from.
        advance(store, snapshot.header.revision + bump, &mut progress).await?;
    }
    let delete = Op::Delete { key: MARKER.into() };
    let done = made(store, vec![delete]).await?;
    store.compact(done).await?;
    Ok(Restored { revision: done, kept: None })
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many keys of the store were compared with the snapshot.
    Compared(u64),
    /// So many revisions must still be used up, because the store is younger than the snapshot.
    Behind(u64),
}

type Wanted<I> = std::iter::Peekable<I>;

/// The next key of the snapshot if it is before `key`, or at all.
fn next_before<I>(
    wanted: &mut Wanted<I>,
    key: Option<&Bytes>,
) -> Result<Option<KeyValue>, SnapshotError>
where
    I: Iterator<Item = Result<KeyValue, SnapshotError>>,
{
    wanted
        .next_if(|kv| match (kv, key) {
            (Ok(kv), Some(key)) => kv.key < *key,
            _ => true,
        })
        .transpose()
}

/// New leases in the place of the snapshot's, each for what was left of it.
async fn grant_leases(
    snapshot: &Snapshot,
    store: &Store,
) -> Result<HashMap<LeaseId, LeaseId>, SnapshotError> {
    let mut granted = HashMap::new();
    for lease in snapshot.all_leases()? {
        granted.insert(lease.id, store.lease_grant(lease.remaining.max(MIN_LEASE)).await?);
    }
    Ok(granted)
}

/// Changes that are made together.
struct Batch<'a> {
    store: &'a Store,
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch<'_> {
    async fn put(&mut self, kv: KeyValue, leases: &HashMap<LeaseId, LeaseId>) -> Result<(), Error> {
        let lease = match kv.lease {
            // One that is not among the snapshot's had run out.
            Some(old) => match leases.get(&old) {
                Some(lease) => Some(*lease),
                None => return Ok(()),
            },
            None => None,
        };
        let bytes = kv.key.len() + kv.value.len();
        self.add(Op::Put { key: kv.key, value: kv.value, lease }, bytes).await
    }

    async fn add(&mut self, op: Op, bytes: usize) -> Result<(), Error> {
        if self.ops.len() >= OPS || self.bytes + bytes > TXN_BYTES {
            self.make().await?;
        }
        self.ops.push(op);
        self.bytes += bytes;
        Ok(())
    }

    async fn make(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        let ops = std::mem::take(&mut self.ops);
        if !ops.is_empty() {
            made(self.store, ops).await?;
        }
        Ok(())
    }
}

/// Makes changes, whether or not they were made before; the result is their revision.
async fn made(store: &Store, ops: Vec<Op>) -> Result<u64, Error> {
    let txn = Txn { compare: Vec::new(), ops };
    let mut attempt = 1;
    loop {
        match store.txn(txn.clone()).await {
            Err(Error::Unavailable(_)) if attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|made| made.revision),
        }
    }
}

async fn put_marker(store: &Store) -> Result<u64, Error> {
    let value = Bytes::from_static(b"being restored from a snapshot");
    made(store, vec![Op::Put { key: MARKER.into(), value, lease: None }]).await
}

/// Uses up revisions until the store is past `revision`: nothing but changes moves etcd's.
async fn advance(
    store: &Store,
    revision: u64,
    progress: &mut impl FnMut(Progress),
) -> Result<(), Error> {
    loop {
        let now = store.revision().await?;
        let Some(left) = revision.checked_sub(now).filter(|left| *left > 0) else { return Ok(()) };
        progress(Progress::Behind(left));
        let round = left.min(20 * ADVANCING as u64);
        stream::iter((0..round).map(|_| put_marker(store)))
            .buffer_unordered(ADVANCING)
            .try_for_each(|_| futures::future::ready(Ok(())))
            .await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_old_file_is_kept_under_a_name_with_the_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_406_500);
        let kept = aside(Path::new("/a/store.redb"), now);
        assert_eq!(kept, Path::new("/a/store.redb.before-restore-20260730T101500Z"));
    }
}
