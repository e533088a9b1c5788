//! Snapshots: the whole state of a store at one revision, as one file that any engine can be
//! restored from.
//!
//! A file is a line of text that names the format, the [`Header`] as JSON behind its length, then
//! a deflate stream of entries (keys in order, leases, and an end that counts them), then the
//! SHA-256 of all that. So a file that was cut off or changed anywhere is known as such before
//! anything of it is used.
//!
//! Data flow: store → [`take()`] → [`Encoder`] → bytes, on their way to a client or a
//! [`folder`]; file → [`Snapshot::open`] (checksum, then every entry) → [`restore`].

mod decode;
mod encode;
pub mod folder;
pub mod restore;
mod take;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::types::LeaseId;

pub use decode::{Entry, Snapshot};
pub use encode::Encoder;
pub use take::take;

/// The first line of every file.
const MAGIC: &[u8] = b"ironclad snapshot v1\n";
/// What all versions of the format begin with.
const FAMILY: &[u8] = b"ironclad snapshot ";
/// Bytes of the checksum at the end.
const DIGEST: usize = 32;
/// No header is longer.
const MAX_HEADER: u32 = 64 << 10;

/// Tags of entries.
const END: u8 = 0;
const RECORD: u8 = 1;
const LEASE: u8 = 2;

/// What a snapshot says of itself, ahead of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Whose state it is; empty when that is not known.
    pub cluster: String,
    /// The engine that it was taken from.
    pub engine: String,
    /// When it was taken.
    pub created: Timestamp,
    /// The revision whose state it is.
    pub revision: u64,
    /// The compacted revision of the store at that time.
    pub compacted: u64,
}

/// A lease as it was when a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its id, by which keys name it.
    pub id: LeaseId,
    /// What it was granted for.
    pub ttl: Duration,
    /// What was left of that.
    pub remaining: Duration,
}

/// Why a file cannot be used, or a snapshot not be made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{} is not a snapshot", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later release wrote it.
    #[error("{} is a snapshot of a format that this release does not know ({version})", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says of its format.
        version: String,
    },
    /// It is not as it was written.
    #[error("{} is damaged or incomplete: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// Nothing is overwritten.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] crate::Error),
}
