//! Snapshots as files of a folder: their names, how they get there, and which of them go.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::io::AsyncWriteExt;

use super::{Header, SnapshotError};

/// How names end.
const SUFFIX: &str = ".snapshot";
/// How the names of files end that are being written.
const PARTIAL: &str = "partial";
/// The time in a name.
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// Why a snapshot was taken; the first word of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked for it. It stays until somebody removes it.
    Manual,
    /// Its time had come. It goes when there are enough later ones.
    Scheduled,
}

/// What the name of a file says: `scheduled-20260730T101500Z-r4711.snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Why it was taken.
    pub reason: Reason,
    /// When, to the second.
    pub created: Timestamp,
    /// Whose state it is.
    pub revision: u64,
}

/// A snapshot that lies in a folder. Whether its content is as it was written is for
/// [`super::Snapshot::open`] to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// What its name says.
    pub name: Name,
    /// Bytes of the file.
    pub bytes: u64,
}

// === impl Name ===

impl Name {
    /// The name for a snapshot.
    #[must_use]
    pub fn new(reason: Reason, header: &Header) -> Self {
        Self { reason, created: header.created, revision: header.revision }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = match self.reason {
            Reason::Manual => "manual",
            Reason::Scheduled => "scheduled",
        };
        let created = self.created.to_zoned(TimeZone::UTC).strftime(TIME).to_string();
        write!(f, "{reason}-{created}-r{}{SUFFIX}", self.revision)
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let stem = text.strip_suffix(SUFFIX).ok_or(())?;
        let (reason, rest) = stem.split_once('-').ok_or(())?;
        let (created, revision) = rest.split_once("-r").ok_or(())?;
        let reason = match reason {
            "manual" => Reason::Manual,
            "scheduled" => Reason::Scheduled,
            _ => return Err(()),
        };
        let created = jiff::civil::DateTime::strptime(TIME, created).map_err(drop)?;
        let created = created.to_zoned(TimeZone::UTC).map_err(drop)?.timestamp();
        Ok(Self { reason, created, revision: revision.parse().map_err(drop)? })
    }
}

/// The snapshots of a folder, oldest first. A folder that does not exist has none.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Found>, SnapshotError> {
    let failed = |source| SnapshotError::Io { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let bytes = match entry.metadata() {
            Ok(facts) if facts.is_file() => facts.len(),
            // Removed just now, or a folder.
            _ => continue,
        };
        found.push(Found { path: entry.path(), name, bytes });
    }
    found.sort_by_key(|found| (found.name.created, found.name.revision));
    Ok(found)
}

/// The scheduled ones that go when the newest `keep` stay.
#[must_use]
pub fn surplus(found: &[Found], keep: usize) -> Vec<&Found> {
    let scheduled = found.iter().filter(|found| found.name.reason == Reason::Scheduled);
    let mut scheduled: Vec<&Found> = scheduled.collect();
    scheduled.truncate(scheduled.len().saturating_sub(keep));
    scheduled
}

/// Removes what interrupted scheduled snapshots left. Somebody else may write another one by hand.
///
/// # Errors
/// When something cannot be removed.
pub fn tidy(folder: &Path) -> Result<(), SnapshotError> {
    let failed = |source| SnapshotError::Io { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let left = path.extension().is_some_and(|extension| extension == PARTIAL)
            && name
                .and_then(|name| name.parse::<Name>().ok())
                .is_some_and(|name| name.reason == Reason::Scheduled);
        if left {
            std::fs::remove_file(&path)
                .map_err(|source| SnapshotError::Io { path: path.clone(), source })?;
        }
    }
    Ok(())
}

/// Writes the file `path` from its parts, whole or not at all. Only its owner can read it: it holds
/// Secrets. The result is the number of bytes.
///
/// # Errors
/// When there is such a file already, a part does not come, or the disk refuses.
pub async fn write<E>(
    path: &Path,
    parts: impl Stream<Item = Result<Bytes, E>>,
) -> Result<u64, SnapshotError>
where
    SnapshotError: From<E>,
{
    if path.exists() {
        return Err(SnapshotError::Exists { path: path.to_owned() });
    }
    let partial = path.with_added_extension(PARTIAL);
    let written = write_parts(&partial, parts).await;
    let moved = match written {
        Ok(bytes) => publish(&partial, path).map(|()| bytes),
        Err(error) => Err(error),
    };
    if moved.is_err() {
        // It may never have been made.
        std::fs::remove_file(&partial).ok();
    }
    moved
}

async fn write_parts<E>(
    path: &Path,
    parts: impl Stream<Item = Result<Bytes, E>>,
) -> Result<u64, SnapshotError>
where
    SnapshotError: From<E>,
{
    let failed = |source| SnapshotError::Io { path: path.to_owned(), source };
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).await.map_err(failed)?;
    let mut parts = std::pin::pin!(parts);
    let mut bytes = 0;
    while let Some(part) = parts.next().await {
        let part = part?;
        file.write_all(&part).await.map_err(failed)?;
        bytes += part.len() as u64;
    }
    file.sync_all().await.map_err(failed)?;
    Ok(bytes)
}

fn publish(partial: &Path, path: &Path) -> Result<(), SnapshotError> {
    let failed = |source| SnapshotError::Io { path: path.to_owned(), source };
    std::fs::rename(partial, path).map_err(failed)?;
    sync_folder_of(path).map_err(failed)
}

/// Makes the names in the folder of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_say_why_when_and_what() {
        for text in
            ["scheduled-20260730T101500Z-r4711.snapshot", "manual-19991231T235959Z-r1.snapshot"]
        {
            assert_eq!(name(text).to_string(), text);
        }
        for text in [
            "manual-20260730T101500Z-r4711",
            "manual-20260730T101500Z-r.snapshot",
            "manual-20260730T1015-r1.snapshot",
            "other-20260730T101500Z-r1.snapshot",
            "notes.txt",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_newest_scheduled_ones_stay_and_so_do_all_others() {
        let found = |text: &str| Found { path: text.into(), name: name(text), bytes: 1 };
        let all: Vec<Found> = [
            "scheduled-20260730T100000Z-r1.snapshot",
            "manual-20260730T100001Z-r2.snapshot",
            "scheduled-20260730T110000Z-r3.snapshot",
            "scheduled-20260730T120000Z-r4.snapshot",
        ]
        .map(found)
        .into();
        let check = |keep: usize, want: &[u64]| {
            let gone: Vec<u64> = surplus(&all, keep).iter().map(|f| f.name.revision).collect();
            assert_eq!(gone, want, "{keep}");
        };
        check(0, &[1, 3, 4]);
        check(1, &[1, 3]);
        check(2, &[1]);
        check(3, &[]);
        check(9, &[]);
    }

    #[tokio::test]
    async fn a_file_is_there_wholly_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manual-20260730T101500Z-r1.snapshot");
        let broken: [Result<Bytes, crate::Error>; 2] = [Ok("a".into()), Err(crate::Error::Closed)];
        let error = write(&path, futures::stream::iter(broken)).await.unwrap_err();
        assert!(matches!(error, SnapshotError::Store(crate::Error::Closed)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let whole: [Result<Bytes, crate::Error>; 2] = [Ok("a".into()), Ok("bc".into())];
        assert_eq!(write(&path, futures::stream::iter(whole.clone())).await.unwrap(), 3);
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        let error = write(&path, futures::stream::iter(whole)).await.unwrap_err();
        assert!(error.to_string().ends_with("exists already"), "{error}");

        std::fs::write(path.with_added_extension(PARTIAL), "x").unwrap();
        let left = folder.path().join("scheduled-20260730T101500Z-r1.snapshot.partial");
        std::fs::write(&left, "x").unwrap();
        tidy(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(!left.exists());
        let found = list(folder.path()).unwrap();
        assert_eq!((found.len(), found[0].bytes), (1, 3));
        assert!(list(&folder.path().join("none")).unwrap().is_empty());
    }
}
