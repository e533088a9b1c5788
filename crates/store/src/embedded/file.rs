//! The file under redb.
//!
//! Making a write durable costs about half as much when its blocks exist already, because no
//! journal of the file system is involved. So the file is filled with zeros a stretch ahead of the
//! first write to a place. A full disk shows there too, before anything of a commit is written.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;

/// How far ahead blocks are made.
const STRETCH: u64 = 1 << 20;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An open file that nobody else has open as a store.
#[derive(Debug)]
pub(super) struct StoreFile {
    file: File,
    /// Nothing was ever written here or behind, at least since the file was opened.
    untouched: AtomicU64,
}

impl StoreFile {
    /// Opens the file, which is made when absent.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is in use by another process", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let untouched = AtomicU64::new(file.metadata()?.len());
        Ok(Self { file, untouched })
    }

    /// Makes the blocks for a write that ends at `end`.
    fn prepare(&self, end: u64) -> io::Result<()> {
        let from = self.untouched.load(Ordering::Acquire);
        if end <= from {
            return Ok(());
        }
        let upto = (end + STRETCH).min(self.file.metadata()?.len().max(end));
        let mut at = from;
        while at < upto {
            let piece = (upto - at).min(ZEROS.len() as u64);
            self.file.write_all_at(&ZEROS[..usize::try_from(piece).unwrap_or(0)], at)?;
            at += piece;
        }
        self.untouched.store(upto, Ordering::Release);
        Ok(())
    }
}

impl Drop for StoreFile {
    /// Closing alone would leave the lock to a child process that was forked meanwhile, until it
    /// runs its program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "cannot unlock the store's file");
        }
    }
}

/// The file for redb and for others who hold it.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Arc<StoreFile>);

impl StorageBackend for Shared {
    fn len(&self) -> Result<u64, io::Error> {
        StorageBackend::len(&*self.0)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write(offset, data)
    }
}

impl StorageBackend for StoreFile {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.untouched.fetch_min(len, Ordering::AcqRel);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()
    }

    // redb writes from one thread at a time: that of the write transaction.
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.prepare(offset + data.len() as u64)?;
        self.file.write_all_at(data, offset)
    }
}
