//! Compaction in small steps, so that writes wait for one step at most.
//!
//! A step moves the compacted revision forward over some log records. For each it drops the
//! record that it superseded, and itself if it is a deletion, and brings `latest` up to date. So
//! after every step the file is a whole store compacted at some revision.

use std::sync::RwLock;

use bytes::Bytes;
use redb::{Database, ReadableDatabase};
use tokio::sync::oneshot;

use super::index::{Index, Live, Position, write};
use super::record::{View, decode_latest, encode_latest};
use super::tables::{COMPACTED, LATEST, LOG, META, engine_error, number};
use crate::metrics;
use crate::types::Error;

/// A compaction under way.
#[derive(Default)]
pub(super) struct Compaction {
    pub(super) target: u64,
    pub(super) replies: Vec<oneshot::Sender<Result<(), Error>>>,
}

struct Row {
    key: Bytes,
    position: Position,
    live: Live,
}

/// Handles up to `chunk` records, more only to end with a whole revision. True when `target` is
/// reached.
pub(super) fn step(
    database: &Database,
    index: &RwLock<Index>,
    target: u64,
    chunk: usize,
) -> Result<bool, Error> {
    // From the file, not from the index: should a step fail, the index is ahead of the file.
    let from = stored(database)?;
    if from >= target {
        return Ok(true);
    }
    let (rows, upto) = next_rows(database, from, target, chunk)?;
    {
        let mut index = write(index);
        for row in &rows {
            index.forget(&row.key, row.position.revision);
        }
        index.compacted = index.compacted.max(upto);
    }
    let txn = database.begin_write().map_err(engine_error)?;
    {
        let mut log = txn.open_table(LOG).map_err(engine_error)?;
        let mut latest = txn.open_table(LATEST).map_err(engine_error)?;
        for row in &rows {
            let at = row.position;
            let before = if at.is_live() {
                let new = encode_latest(&row.key, at, &row.live);
                let before =
                    latest.insert(row.key.as_ref(), new.as_slice()).map_err(engine_error)?;
                before.map(|old| decode_latest(&row.key, old.value())).transpose()?
            } else {
                log.remove((at.revision, at.sub)).map_err(engine_error)?;
                let before = latest.remove(row.key.as_ref()).map_err(engine_error)?;
                before.map(|old| decode_latest(&row.key, old.value())).transpose()?
            };
            if let Some((old, _)) = before {
                log.remove((old.revision, old.sub)).map_err(engine_error)?;
            }
        }
        let mut meta = txn.open_table(META).map_err(engine_error)?;
        meta.insert(COMPACTED, upto).map_err(engine_error)?;
    }
    txn.commit().map_err(engine_error)?;
    metrics::set(&metrics::COMPACTED, upto);
    Ok(upto >= target)
}

fn stored(database: &Database) -> Result<u64, Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    number(&snapshot.open_table(META).map_err(engine_error)?, COMPACTED)
}

fn next_rows(
    database: &Database,
    from: u64,
    target: u64,
    chunk: usize,
) -> Result<(Vec<Row>, u64), Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    let log = snapshot.open_table(LOG).map_err(engine_error)?;
    let mut rows: Vec<Row> = Vec::new();
    for row in log.range((from + 1, 0)..=(target, u32::MAX)).map_err(engine_error)? {
        let (at, bytes) = row.map_err(engine_error)?;
        let (revision, _) = at.value();
        if let Some(last) = rows.last()
            && rows.len() >= chunk
            && last.position.revision != revision
        {
            let upto = last.position.revision;
            return Ok((rows, upto));
        }
        let view = View::parse(bytes.value(), at.value())?;
        rows.push(Row {
            key: Bytes::copy_from_slice(view.key),
            position: view.position(),
            live: view.put.map_or(Live::default(), |(live, _)| live),
        });
    }
    Ok((rows, target))
}
