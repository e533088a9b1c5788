//! Brings the kernel's tables to the desired state, one transaction for each change.

use std::collections::BTreeMap;

use crate::host::{Error, Host};
use crate::model::{Family, Table};
use crate::rules::TABLE;

/// What was last written, so that the next write is a difference.
#[derive(Debug)]
pub struct Writer {
    host: Host,
    program: String,
    applied: BTreeMap<Family, Applied>,
}

#[derive(Debug)]
struct Applied {
    table: Table,
    /// What `nft list` showed at the first check after writing; `None` until then.
    listing: Option<String>,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing had changed.
    Unchanged,
    /// The difference was written.
    Changed,
    /// The table was written anew.
    Replaced,
}

// === impl Writer ===

impl Writer {
    /// A writer that runs `program` (`nft`, or its path) of `host`.
    pub fn new(host: Host, program: impl Into<String>) -> Self {
        Writer { host, program: program.into(), applied: BTreeMap::new() }
    }

    /// Makes the kernel's table equal to `table`. A difference that the kernel refuses (somebody
    /// else changed the table) is followed by writing it anew.
    ///
    /// # Errors
    /// When nft cannot run or refuses the whole table.
    pub async fn write(&mut self, table: Table) -> Result<Outcome, Error> {
        let family = table.family;
        if let Some(old) = self.applied.get(&family)
            && table.can_follow(&old.table)
        {
            let script = table.diff_script(&old.table);
            if script.is_empty() {
                return Ok(Outcome::Unchanged);
            }
            match self.host.run(&self.program, &["-f", "-"], &script).await {
                Ok(_) => {
                    self.applied.insert(family, Applied { table, listing: None });
                    return Ok(Outcome::Changed);
                }
                Err(error) => {
                    tracing::warn!(%error, "nft refused a change, writing the table anew");
                }
            }
        }
        self.applied.remove(&family);
        self.host.run(&self.program, &["-f", "-"], &table.replace_script()).await?;
        self.applied.insert(family, Applied { table, listing: None });
        Ok(Outcome::Replaced)
    }

    /// Compares the kernel's tables with what was written and writes those anew that were removed
    /// or changed by somebody else. Returns how many were.
    ///
    /// # Errors
    /// When writing fails.
    pub async fn verify(&mut self) -> Result<usize, Error> {
        let mut repaired = 0;
        for family in self.applied.keys().copied().collect::<Vec<_>>() {
            // Terse: without elements, which are many and which nobody edits by hand.
            let args = ["-t", "-s", "list", "table", family.keyword(), TABLE];
            let seen = self.host.run(&self.program, &args, "").await;
            let applied = self.applied.get_mut(&family).expect("the key comes from the map");
            let intact = match (&seen, &applied.listing) {
                (Ok(seen), Some(listing)) => seen == listing,
                (Ok(_), None) => true,
                (Err(Error::Failed { .. }), _) => false,
                (Err(_), _) => continue,
            };
            if intact {
                applied.listing = seen.ok();
                continue;
            }
            tracing::warn!(family = family.keyword(), "the table was changed by others, restoring");
            let script = applied.table.replace_script();
            applied.listing = None;
            self.host.run(&self.program, &["-f", "-"], &script).await?;
            repaired += 1;
        }
        Ok(repaired)
    }

    /// Whether a table of `family` has been written.
    pub fn has_written(&self, family: Family) -> bool {
        self.applied.contains_key(&family)
    }
}

/// Removes the proxy's tables. Nothing to remove is fine.
///
/// # Errors
/// When nft cannot run or refuses.
pub async fn remove(host: &Host, program: &str) -> Result<(), Error> {
    for family in [Family::V4, Family::V6] {
        let table = format!("{} {TABLE}", family.keyword());
        let script = format!("add table {table}\ndelete table {table}\n");
        match host.run(program, &["-f", "-"], &script).await {
            Ok(_) => {}
            // A kernel without IPv6 has no ip6 tables to remove either.
            Err(Error::Failed { .. }) if family == Family::V6 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
