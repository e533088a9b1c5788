//! Whether the tables of a file agree with each other.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::record::{View, decode_latest};
use super::report::Report;
use super::tables::{COMPACTED, LATEST, LEASES, LOG, META, engine_error, number};
use crate::types::{Error, LeaseId};

/// No more of the same is told one by one.
const TOLD: usize = 100;

/// What is wrong, without end.
struct Findings<'a>(&'a mut Vec<String>, usize);

impl Findings<'_> {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.1 += 1;
        match self.1 {
            1..=TOLD => self.0.push(text()),
            _ => {
                self.0.truncate(TOLD);
                self.0.push(format!("and {} more", self.1 - TOLD));
            }
        }
    }
}

/// Reads every row.
pub(super) fn examine(database: &Database, report: &mut Report) -> Result<(), Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    let compacted = number(&snapshot.open_table(META).map_err(engine_error)?, COMPACTED)?;
    report.compacted = compacted;
    report.revision = compacted.max(1);
    let mut damage = std::mem::take(&mut report.damage);
    let mut wrong = Findings(&mut damage, 0);

    let table = snapshot.open_table(LEASES).map_err(engine_error)?;
    report.leases = table.len().map_err(engine_error)?;
    let mut leases = HashSet::new();
    for row in table.iter().map_err(engine_error)? {
        leases.insert(LeaseId(row.map_err(engine_error)?.0.value()));
    }

    // Keys that exist, with their leases.
    let mut live: BTreeMap<Bytes, Option<LeaseId>> = BTreeMap::new();
    // Keys whose record is not newer than the compacted revision, and where it is.
    let mut compact: BTreeMap<Bytes, (u64, u32)> = BTreeMap::new();
    let mut next = (compacted + 1, 0);
    let log = snapshot.open_table(LOG).map_err(engine_error)?;
    for row in log.iter().map_err(engine_error)? {
        let (at, bytes) = row.map_err(engine_error)?;
        let at = at.value();
        report.records += 1;
        report.revision = report.revision.max(at.0);
        report.used_bytes += bytes.value().len() as u64;
        let view = match View::parse(bytes.value(), at) {
            Ok(view) => view,
            Err(error) => {
                wrong.add(|| error.to_string());
                continue;
            }
        };
        if at.0 > compacted {
            // Each revision has its records one after the other, and none is left out.
            if at != next && at != (next.0 + 1, 0) {
                wrong.add(|| format!("the log goes from revision {} to {}", next.0, at.0));
            }
            next = (at.0, at.1 + 1);
        }
        let name = || String::from_utf8_lossy(view.key).into_owned();
        if let Some((live, _)) = view.put
            && (live.create_revision == 0 || live.create_revision > at.0 || live.version == 0)
        {
            wrong.add(|| format!("the record of {:?} at revision {} cannot be", name(), at.0));
        }
        let key = Bytes::copy_from_slice(view.key);
        if at.0 <= compacted && (view.put.is_none() || compact.insert(key.clone(), at).is_some()) {
            wrong.add(|| format!("revision {} of {:?} should be compacted", at.0, name()));
        }
        match view.put {
            Some((put, _)) => drop(live.insert(key, put.lease)),
            None => drop(live.remove(&key)),
        }
    }

    let latest = snapshot.open_table(LATEST).map_err(engine_error)?;
    for row in latest.iter().map_err(engine_error)? {
        let (key, row) = row.map_err(engine_error)?;
        report.used_bytes += (key.value().len() + row.value().len()) as u64;
        match decode_latest(key.value(), row.value()) {
            Ok((position, _)) => {
                let at = (position.revision, position.sub);
                if compact.remove(key.value()) != Some(at) {
                    let name = String::from_utf8_lossy(key.value()).into_owned();
                    wrong.add(|| format!("revision {} of {name:?} is not in the log", at.0));
                }
            }
            Err(error) => wrong.add(|| error.to_string()),
        }
    }
    for (key, at) in compact {
        let name = String::from_utf8_lossy(&key).into_owned();
        wrong.add(|| format!("revision {} of {name:?} is not in table latest", at.0));
    }
    for (key, lease) in &live {
        report.keys += 1;
        if lease.is_some_and(|lease| !leases.contains(&lease)) {
            let name = String::from_utf8_lossy(key).into_owned();
            wrong.add(|| format!("the lease of {name:?} does not exist"));
        }
    }
    report.damage = damage;
    Ok(())
}
