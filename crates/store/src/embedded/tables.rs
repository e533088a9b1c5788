//! The redb tables: definitions, making, loading, reading, copying.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use super::change::Change;
use super::file::{Shared, StoreFile};
use super::index::{Index, Lease, Live, Position, Tip, read};
use super::journal::Mark;
use super::record::{View, decode_latest};
use super::watch::Feed;
use crate::types::{Error, KeyValue, LeaseId, RangeRequest, RangeResult};

/// (revision, place in the transaction) → record.
pub(super) const LOG: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("log");
/// key → position of its record, as of the compacted revision.
pub(super) const LATEST: TableDefinition<&[u8], &[u8]> = TableDefinition::new("latest");
/// lease → (time to live in ms, end in ms since 1970).
pub(super) const LEASES: TableDefinition<u64, (u64, u64)> = TableDefinition::new("leases");
/// name → number.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Bytes of the page cache while a file is copied.
const COPY_CACHE: usize = 16 << 20;

/// In `meta`: the oldest revision whose state is kept.
pub(super) const COMPACTED: &str = "compacted";
/// In `meta`: the newest lease.
pub(super) const LAST_LEASE: &str = "lastLease";
/// In `meta`: the layout of the file.
const FORMAT: &str = "format";
const CURRENT_FORMAT: u64 = 2;
/// Likewise, but what came last is in a journal. A program that knows nothing of it must not open
/// the file without.
const JOURNAL_FORMAT: u64 = 3;
/// In `meta`: the number of the journal that has what came last; 0 is none.
pub(super) const JOURNAL: &str = "journal";
/// In `meta`: from which place on the journal has it.
pub(super) const JOURNAL_AT: &str = "journalAt";

pub(super) fn engine_error(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    if let redb::Error::Io(io) = &error
        && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    {
        return Error::NoSpace;
    }
    match error {
        redb::Error::Corrupted(text) => Error::Damaged(text),
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            Error::Damaged(io.to_string())
        }
        error => Error::Engine(error.to_string()),
    }
}

/// Makes a database with the tables in an empty file.
pub(super) fn create(file: Arc<StoreFile>, cache_bytes: usize) -> Result<Database, Error> {
    let database = Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(Shared(file))
        .map_err(engine_error)?;
    prepare(&database)?;
    Ok(database)
}

/// Reads the index.
pub(super) fn load(database: &Database) -> Result<Index, Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    let meta = snapshot.open_table(META).map_err(engine_error)?;
    let compacted = number(&meta, COMPACTED)?;
    let mut index = Index::new(compacted);

    let leases = snapshot.open_table(LEASES).map_err(engine_error)?;
    for row in leases.iter().map_err(engine_error)? {
        let (id, times) = row.map_err(engine_error)?;
        let (ttl, expires) = times.value();
        index.leases.insert(
            LeaseId(id.value()),
            Lease {
                ttl: Duration::from_millis(ttl),
                expires: UNIX_EPOCH + Duration::from_millis(expires),
                keys: HashSet::new(),
            },
        );
    }

    let latest = snapshot.open_table(LATEST).map_err(engine_error)?;
    for row in latest.iter().map_err(engine_error)? {
        let (key, row) = row.map_err(engine_error)?;
        let (position, live) = decode_latest(key.value(), row.value())?;
        index.apply(key.value(), Tip { position, live });
    }

    let log = snapshot.open_table(LOG).map_err(engine_error)?;
    for row in log.range((compacted + 1, 0)..).map_err(engine_error)? {
        let (at, bytes) = row.map_err(engine_error)?;
        let view = View::parse(bytes.value(), at.value())?;
        let live = view.put.map_or(Live::default(), |(live, _)| live);
        index.apply(view.key, Tip { position: view.position(), live });
    }
    Ok(index)
}

/// Whether the tables are there, in a format that is known.
pub(super) fn exist(database: &Database) -> Result<bool, Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    match snapshot.open_table(META) {
        Ok(meta) => match number(&meta, FORMAT)? {
            CURRENT_FORMAT | JOURNAL_FORMAT => Ok(true),
            format => Err(Error::Engine(format!("file has the unknown format {format}"))),
        },
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(engine_error(error)),
    }
}

/// Makes the tables where absent.
pub(super) fn prepare(database: &Database) -> Result<(), Error> {
    if exist(database)? {
        return Ok(());
    }
    let write = database.begin_write().map_err(engine_error)?;
    {
        let mut meta = write.open_table(META).map_err(engine_error)?;
        meta.insert(FORMAT, CURRENT_FORMAT).map_err(engine_error)?;
        write.open_table(LOG).map_err(engine_error)?;
        write.open_table(LATEST).map_err(engine_error)?;
        write.open_table(LEASES).map_err(engine_error)?;
    }
    write.commit().map_err(engine_error)
}

/// Where what came last is.
pub(super) fn mark(database: &Database) -> Result<Mark, Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    let meta = snapshot.open_table(META).map_err(engine_error)?;
    Ok(Mark { id: number(&meta, JOURNAL)?, at: number(&meta, JOURNAL_AT)? })
}

/// Makes changes in the file and notes the mark, with one commit. First, what stands behind the
/// revision `undo` is taken back.
pub(super) fn fill<'a>(
    database: &Database,
    changes: impl Iterator<Item = &'a Change>,
    mark: Mark,
    undo: Option<u64>,
) -> Result<(), Error> {
    let txn = database.begin_write().map_err(engine_error)?;
    {
        let mut log = txn.open_table(LOG).map_err(engine_error)?;
        let mut leases = txn.open_table(LEASES).map_err(engine_error)?;
        let mut meta = txn.open_table(META).map_err(engine_error)?;
        if let Some(revision) = undo {
            log.retain_in((revision + 1, 0).., |_, _| false).map_err(engine_error)?;
        }
        let mut bytes = Vec::new();
        for change in changes {
            for (at, record) in &change.writes {
                bytes.clear();
                record.encode(*at, &mut bytes);
                log.insert(*at, bytes.as_slice()).map_err(engine_error)?;
            }
            for lease in &change.granted {
                let times = (lease.ttl, lease.expires);
                leases.insert(lease.id.0, times).map_err(engine_error)?;
            }
            for id in &change.ended {
                leases.remove(id.0).map_err(engine_error)?;
            }
            meta.insert(LAST_LEASE, change.last_lease).map_err(engine_error)?;
        }
        let format = if mark.is_none() { CURRENT_FORMAT } else { JOURNAL_FORMAT };
        meta.insert(FORMAT, format).map_err(engine_error)?;
        meta.insert(JOURNAL, mark.id).map_err(engine_error)?;
        meta.insert(JOURNAL_AT, mark.at).map_err(engine_error)?;
    }
    txn.commit().map_err(engine_error)
}

pub(super) fn number(
    meta: &impl ReadableTable<&'static str, u64>,
    name: &'static str,
) -> Result<u64, Error> {
    Ok(meta.get(name).map_err(engine_error)?.map_or(0, |number| number.value()))
}

/// Milliseconds since 1970, as leases are kept.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The pair at a position that the index gave for a put.
pub(super) fn read_put(snapshot: &ReadTransaction, position: Position) -> Result<KeyValue, Error> {
    let log = snapshot.open_table(LOG).map_err(engine_error)?;
    read_from(&log, position)
}

fn read_from(
    log: &impl ReadableTable<(u64, u32), &'static [u8]>,
    position: Position,
) -> Result<KeyValue, Error> {
    let at = (position.revision, position.sub);
    let missing = || Error::Damaged(format!("revision {} is not in the log", position.revision));
    let bytes = log.get(at).map_err(engine_error)?.ok_or_else(missing)?;
    View::parse(bytes.value(), at)?.to_pair().ok_or_else(missing)
}

/// The pair at a position that the index gave for a put, whether or not the file has it yet. What
/// is not among the recent changes any more is in the file, so that is opened after a look there.
pub(super) fn pair(
    feed: &Feed,
    database: &Database,
    position: Position,
) -> Result<KeyValue, Error> {
    match feed.pair(position) {
        Some(pair) => Ok(pair),
        None => read_put(&database.begin_read().map_err(engine_error)?, position),
    }
}

pub(super) fn range(
    index: &RwLock<Index>,
    feed: &Feed,
    database: &Database,
    request: &RangeRequest,
) -> Result<RangeResult, Error> {
    let (positions, recent, count, revision, snapshot) = {
        let index = read(index);
        let revision = request.revision.unwrap_or(index.revision);
        if revision > index.revision {
            return Err(Error::FutureRevision { requested: revision, current: index.revision });
        }
        if revision < index.compacted {
            return Err(Error::Compacted { requested: revision, compacted: index.compacted });
        }
        let (positions, count) = index.range(request);
        let recent = feed.pairs(&positions);
        (positions, recent, count, revision, database.begin_read().map_err(engine_error)?)
    };
    let log = snapshot.open_table(LOG).map_err(engine_error)?;
    let pairs = positions.into_iter().zip(recent);
    let kvs = pairs
        .map(|(position, recent)| recent.map_or_else(|| read_from(&log, position), Ok))
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(RangeResult { more: count > kvs.len(), kvs, count, revision })
}

/// Copies all rows into a new file, in the place of one that may be left from another attempt.
/// Damage is not copied.
pub(super) fn copy(database: &Database, to: &Path) -> Result<(), Error> {
    const ROWS: usize = 4096;
    let failed = |error: std::io::Error| Error::from_io(to, &error);
    if to.exists() {
        std::fs::remove_file(to).map_err(failed)?;
    }
    let snapshot = database.begin_read().map_err(engine_error)?;
    let target = create(Arc::new(StoreFile::open(to).map_err(failed)?), COPY_CACHE)?;
    let write = target.begin_write().map_err(engine_error)?;
    copy_table(&snapshot, &write, META)?;
    copy_table(&snapshot, &write, LEASES)?;
    copy_table(&snapshot, &write, LATEST)?;
    write.commit().map_err(engine_error)?;

    let source = snapshot.open_table(LOG).map_err(engine_error)?;
    let mut rows = source.iter().map_err(engine_error)?.peekable();
    while rows.peek().is_some() {
        let write = target.begin_write().map_err(engine_error)?;
        {
            let mut copy = write.open_table(LOG).map_err(engine_error)?;
            for row in rows.by_ref().take(ROWS) {
                let (at, record) = row.map_err(engine_error)?;
                View::parse(record.value(), at.value())?;
                copy.insert(at.value(), record.value()).map_err(engine_error)?;
            }
        }
        write.commit().map_err(engine_error)?;
    }
    target.close().map_err(engine_error)
}

fn copy_table<K: redb::Key + 'static, V: redb::Value + 'static>(
    from: &ReadTransaction,
    to: &redb::WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<(), Error> {
    let source = from.open_table(table).map_err(engine_error)?;
    let mut copy = to.open_table(table).map_err(engine_error)?;
    for row in source.iter().map_err(engine_error)? {
        let (key, value) = row.map_err(engine_error)?;
        copy.insert(key.value(), value.value()).map_err(engine_error)?;
    }
    Ok(())
}
