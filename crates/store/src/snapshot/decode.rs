//! A file that is looked at: first its checksum, then everything in it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::DeflateDecoder;
use sha2::{Digest as _, Sha256};

use super::{DIGEST, END, FAMILY, Header, LEASE, Lease, MAGIC, MAX_HEADER, RECORD, SnapshotError};
use crate::types::{KeyValue, LeaseId};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// A file whose checksum and entries have been found to be right.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    file: File,
    /// What it says of itself.
    pub header: Header,
    /// The number of keys.
    pub records: u64,
    /// The number of leases.
    pub leases: u64,
    /// Bytes of all keys and values.
    pub content_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The checksum at its end.
    pub sha256: [u8; DIGEST],
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A key.
    Record(KeyValue),
    /// A lease.
    Lease(Lease),
}

impl Snapshot {
    /// Opens a file and looks at all of it, calling `seen` for each entry.
    ///
    /// # Errors
    /// When it is no snapshot, or not as it was written.
    pub fn open(path: &Path, mut seen: impl FnMut(&Entry)) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let file_bytes = file.metadata().map_err(failed)?.len();
        named(path, &file)?;
        let sha256 = checked(path, &file, file_bytes)?;

        let damaged = |reason: String| SnapshotError::Damaged { path: path.to_owned(), reason };
        let (header, mut entries) = Entries::begin(&file).map_err(|fault| fault.of(path))?;
        let mut snapshot = Self {
            path: path.to_owned(),
            file: file.try_clone().map_err(failed)?,
            header,
            records: 0,
            leases: 0,
            content_bytes: 0,
            file_bytes,
            sha256,
        };
        let mut last = Bytes::new();
        for entry in entries.by_ref() {
            let entry = entry.map_err(|fault| fault.of(path))?;
            match &entry {
                Entry::Record(kv) => {
                    if snapshot.records > 0 && kv.key <= last {
                        return Err(damaged("its keys are not in order".to_owned()));
                    }
                    let (first, newest) = (kv.create_revision, kv.mod_revision);
                    if first == 0 || first > newest || newest > snapshot.header.revision {
                        let key = String::from_utf8_lossy(&kv.key);
                        return Err(damaged(format!("the revisions of {key:?} cannot be")));
                    }
                    snapshot.records += 1;
                    snapshot.content_bytes += (kv.key.len() + kv.value.len()) as u64;
                    last = kv.key.clone();
                }
                Entry::Lease(_) => snapshot.leases += 1,
            }
            seen(&entry);
        }
        let counted = entries.counted.unwrap_or_default();
        if counted != [snapshot.records, snapshot.leases] {
            return Err(damaged("it does not hold as many entries as it says".to_owned()));
        }
        Ok(snapshot)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Goes through the entries once more.
    ///
    /// # Errors
    /// When the file has changed since it was opened.
    pub fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<Entry, SnapshotError>> + '_, SnapshotError> {
        let (_, entries) = Entries::begin(&self.file).map_err(|fault| fault.of(&self.path))?;
        Ok(entries.map(|entry| entry.map_err(|fault| fault.of(&self.path))))
    }

    /// The keys alone, see [`Self::entries`].
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn keys(
        &self,
    ) -> Result<impl Iterator<Item = Result<KeyValue, SnapshotError>> + '_, SnapshotError> {
        Ok(self.entries()?.filter_map(|entry| match entry {
            Ok(Entry::Record(kv)) => Some(Ok(kv)),
            Ok(Entry::Lease(_)) => None,
            Err(error) => Some(Err(error)),
        }))
    }

    /// The leases alone, see [`Self::entries`].
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn all_leases(&self) -> Result<Vec<Lease>, SnapshotError> {
        let leases = self.entries()?.filter_map(|entry| match entry {
            Ok(Entry::Lease(lease)) => Some(Ok(lease)),
            Ok(Entry::Record(_)) => None,
            Err(error) => Some(Err(error)),
        });
        leases.collect()
    }
}

/// Whether the file begins as snapshots do.
fn named(path: &Path, file: &File) -> Result<(), SnapshotError> {
    let mut start = Vec::new();
    let failed = |source| SnapshotError::Io { path: path.to_owned(), source };
    At { file, offset: 0 }.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start == MAGIC {
        return Ok(());
    }
    match start.strip_prefix(FAMILY) {
        Some(version) if !version.is_empty() => {
            let version = String::from_utf8_lossy(version);
            let version = version.lines().next().unwrap_or_default().to_owned();
            Err(SnapshotError::Version { path: path.to_owned(), version })
        }
        _ => Err(SnapshotError::Foreign { path: path.to_owned() }),
    }
}

/// The checksum, if it is that of the file.
fn checked(path: &Path, file: &File, length: u64) -> Result<[u8; DIGEST], SnapshotError> {
    let failed = |source| SnapshotError::Io { path: path.to_owned(), source };
    let damaged = |reason: &str| {
        Err(SnapshotError::Damaged { path: path.to_owned(), reason: reason.to_owned() })
    };
    let Some(content) = length.checked_sub(DIGEST as u64) else {
        return damaged("it ends before its checksum");
    };
    let mut digest = Sha256::new();
    let mut part = vec![0; BUFFER];
    let mut rest = At { file, offset: 0 }.take(content);
    loop {
        let read = rest.read(&mut part).map_err(failed)?;
        if read == 0 {
            break;
        }
        digest.update(&part[..read]);
    }
    let mut told = [0; DIGEST];
    file.read_exact_at(&mut told, content).map_err(failed)?;
    if told != <[u8; DIGEST]>::from(digest.finalize()) {
        return damaged("its checksum is not that of its content");
    }
    Ok(told)
}

/// Reads on from a place in a file, whoever else reads it.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// What is wrong with the content.
enum Fault {
    Io(io::Error),
    Content(String),
}

impl Fault {
    fn of(self, path: &Path) -> SnapshotError {
        let path = path.to_owned();
        match self {
            Self::Io(source) => SnapshotError::Io { path, source },
            Self::Content(reason) => SnapshotError::Damaged { path, reason },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Content("it breaks off".to_owned()),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Self::Content(error.to_string())
            }
            _ => Self::Io(error),
        }
    }
}

/// Reads entries until the end.
struct Entries<R> {
    stream: DeflateDecoder<R>,
    /// What the end counts; `None` before it.
    counted: Option<[u64; 2]>,
    failed: bool,
}

impl<'a> Entries<BufReader<At<'a>>> {
    fn begin(file: &'a File) -> Result<(Header, Self), Fault> {
        let start = At { file, offset: MAGIC.len() as u64 };
        let mut reader = BufReader::with_capacity(BUFFER, start);
        let length = u32::from_le_bytes(array(&mut reader)?);
        if length > MAX_HEADER {
            return Err(Fault::Content("its header is too long".to_owned()));
        }
        let mut text = vec![0; length as usize];
        reader.read_exact(&mut text)?;
        let header = serde_json::from_slice(&text)
            .map_err(|error| Fault::Content(format!("its header is malformed: {error}")))?;
        let stream = DeflateDecoder::new(reader);
        Ok((header, Self { stream, counted: None, failed: false }))
    }
}

impl<R: BufRead> Entries<R> {
    fn read(&mut self) -> Result<Option<Entry>, Fault> {
        let [tag] = array(&mut self.stream)?;
        match tag {
            RECORD => Ok(Some(Entry::Record(self.record()?))),
            LEASE => {
                let [id, ttl, remaining] = self.numbers()?;
                let (ttl, remaining) =
                    (Duration::from_millis(ttl), Duration::from_millis(remaining));
                Ok(Some(Entry::Lease(Lease { id: LeaseId(id), ttl, remaining })))
            }
            END => {
                self.counted = Some(self.numbers()?);
                Ok(None)
            }
            tag => Err(Fault::Content(format!("it holds an entry of the unknown kind {tag}"))),
        }
    }

    fn record(&mut self) -> Result<KeyValue, Fault> {
        let [create_revision, mod_revision, version, lease] = self.numbers()?;
        let key = u32::from_le_bytes(array(&mut self.stream)?);
        let value = u32::from_le_bytes(array(&mut self.stream)?);
        Ok(KeyValue {
            key: self.bytes(key)?,
            value: self.bytes(value)?,
            create_revision,
            mod_revision,
            version,
            lease: (lease != 0).then_some(LeaseId(lease)),
        })
    }

    /// Memory is taken for what is there, not for what is said to be.
    fn bytes(&mut self, length: u32) -> Result<Bytes, Fault> {
        let mut bytes = Vec::new();
        self.stream.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != u64::from(length) {
            return Err(Fault::Content("it breaks off".to_owned()));
        }
        Ok(bytes.into())
    }

    fn numbers<const N: usize>(&mut self) -> Result<[u64; N], Fault> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = u64::from_le_bytes(array(&mut self.stream)?);
        }
        Ok(numbers)
    }
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = Result<Entry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.counted.is_some() {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}

fn array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
