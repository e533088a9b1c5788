//! What a look at a store's file has shown.

use std::ops::RangeInclusive;

/// A key whose newest known record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The key.
    pub key: String,
    /// When it was last put.
    pub revision: u64,
}

/// See the module. A file without [`Report::damage`] is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of what is in it.
    pub used_bytes: u64,
    /// The newest revision that was found.
    pub revision: u64,
    /// The compacted revision.
    pub compacted: u64,
    /// Keys that exist.
    pub keys: u64,
    /// Records of the log, those of the past too.
    pub records: u64,
    /// Leases.
    pub leases: u64,
    /// What is wrong with the file, in words.
    pub damage: Vec<String>,
    /// What is lost, as far as its keys are known.
    pub lost: Vec<Lost>,
    /// Revisions of which nothing is left: what they changed is as it was before them.
    pub lost_revisions: Vec<RangeInclusive<u64>>,
    /// Whether the end of the log is damaged, so that it is not known what came last.
    pub open_end: bool,
    /// Whether the list of keys is damaged too, so that more may be lost than is known.
    pub keys_unknown: bool,
    /// Keys that were found although the table did not lead to them.
    pub recovered: Vec<String>,
    /// As [`Report::recovered`], but they may have been deleted before the damage.
    pub unproven: Vec<String>,
}

impl Report {
    /// Whether the file is as it was written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }
}
