//! A new file with a given content, for snapshots that are restored and files that are repaired.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::file::StoreFile;
use super::index::Live;
use super::record::{Record, View, encode_latest};
use super::tables::{self, COMPACTED, LAST_LEASE, LATEST, LEASES, LOG, META, engine_error, millis};
use crate::snapshot::Lease;
use crate::types::{Error, KeyValue};

/// Bytes of the page cache meanwhile.
const CACHE: usize = 64 << 20;

/// Makes the file `path`, in the place of one that may be left from another attempt. It holds
/// `records` as of `revision`, and nothing of the time before. Leases run from `now` on.
pub(crate) fn build<E: From<Error>>(
    path: &Path,
    records: impl Iterator<Item = Result<KeyValue, E>>,
    leases: &[Lease],
    revision: u64,
    now: SystemTime,
) -> Result<(), E> {
    let failed = |error: std::io::Error| Error::from_io(path, &error);
    if path.exists() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let built = fill(path, records, leases, revision, now);
    if built.is_err() {
        // It is of no use to anybody, and the reason is what counts.
        std::fs::remove_file(path).ok();
    }
    built
}

fn fill<E: From<Error>>(
    path: &Path,
    records: impl Iterator<Item = Result<KeyValue, E>>,
    leases: &[Lease],
    revision: u64,
    now: SystemTime,
) -> Result<(), E> {
    let file = StoreFile::open(path).map_err(|error| Error::from_io(path, &error))?;
    let database = tables::create(Arc::new(file), CACHE)?;
    let txn = database.begin_write().map_err(engine_error)?;
    {
        let mut log = txn.open_table(LOG).map_err(engine_error)?;
        let mut latest = txn.open_table(LATEST).map_err(engine_error)?;
        let mut places: HashMap<u64, u32> = HashMap::new();
        let mut bytes = Vec::new();
        for kv in records {
            let kv = kv?;
            let live =
                Live { create_revision: kv.create_revision, version: kv.version, lease: kv.lease };
            let record = Record { key: kv.key, put: Some((live, kv.value)) };
            let place = places.entry(kv.mod_revision).or_default();
            let at = (kv.mod_revision, *place);
            *place += 1;
            bytes.clear();
            record.encode(at, &mut bytes);
            let row = encode_latest(&record.key, View::parse(&bytes, at)?.position(), &live);
            latest.insert(record.key.as_ref(), row.as_slice()).map_err(engine_error)?;
            log.insert(at, bytes.as_slice()).map_err(engine_error)?;
        }
        let mut table = txn.open_table(LEASES).map_err(engine_error)?;
        for lease in leases {
            let ttl = u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX);
            let row = (ttl, millis(now + lease.remaining));
            table.insert(lease.id.0, row).map_err(engine_error)?;
        }
        let mut meta = txn.open_table(META).map_err(engine_error)?;
        meta.insert(COMPACTED, revision).map_err(engine_error)?;
        let last_lease = leases.iter().map(|lease| lease.id.0).max().unwrap_or(0);
        meta.insert(LAST_LEASE, last_lease).map_err(engine_error)?;
    }
    txn.commit().map_err(engine_error)?;
    database.close().map_err(engine_error)?;
    Ok(())
}
