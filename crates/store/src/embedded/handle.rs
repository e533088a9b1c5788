//! The open file, which is opened anew after it failed.
//!
//! After the first error of its file redb answers nothing any more, reads included. So each time
//! the file is opened there is a *generation*, which dies with its first error; then the next one
//! takes its place, on the state of the last durable commit. A dead generation touches the file no
//! more, so whoever still holds it cannot read what the next one has overwritten.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, StorageBackend};

use super::tables::engine_error;
use crate::types::Error;

/// See the module.
pub(super) struct Handle {
    /// `None` once it is closed. Held by readers for as long as they read.
    now: RwLock<Option<Generation>>,
    cache_bytes: usize,
}

struct Generation {
    database: Database,
    failed: Arc<AtomicBool>,
    file: Arc<dyn StorageBackend>,
}

/// The file as one generation sees it.
#[derive(Debug)]
struct Mortal {
    file: Arc<dyn StorageBackend>,
    failed: Arc<AtomicBool>,
}

impl Generation {
    /// With `check`, every page is looked at before it is trusted.
    fn open(file: Arc<dyn StorageBackend>, cache_bytes: usize, check: bool) -> Result<Self, Error> {
        let failed = Arc::new(AtomicBool::new(false));
        let backend = Mortal { file: file.clone(), failed: failed.clone() };
        let database = Database::builder()
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(check)
            .create_with_backend(backend)
            .map_err(engine_error)?;
        Ok(Self { database, failed, file })
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

impl Handle {
    pub(super) fn open(file: Arc<dyn StorageBackend>, cache_bytes: usize) -> Result<Self, Error> {
        let now = RwLock::new(Some(Generation::open(file, cache_bytes, true)?));
        Ok(Self { now, cache_bytes })
    }

    /// What `work` comes to, and whether the file failed over it or before.
    fn work<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error>,
    ) -> Result<(Result<T, Error>, bool), Error> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let generation = now.as_ref().ok_or(Error::Closed)?;
        let result = work(&generation.database);
        Ok((result, generation.has_failed()))
    }

    /// Reads; once more if the file failed meanwhile, because of a write most likely.
    pub(super) fn read<T>(&self, work: impl Fn(&Database) -> Result<T, Error>) -> Result<T, Error> {
        match self.work(&work)? {
            (Err(_), true) => {
                self.revive()?;
                self.work(&work)?.0
            }
            (result, _) => result,
        }
    }

    /// Writes. If that fails, what was not committed is as if it had never been tried.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.revive()?;
        let (result, failed) = self.work(work)?;
        // The next request tries again if this fails too.
        if failed && let Err(error) = self.revive() {
            tracing::error!(%error, "the store's file cannot be opened again");
        }
        result
    }

    /// Works on the file while nobody else does, once those who read have done so.
    pub(super) fn exclusive<T>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.revive()?;
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        work(&mut now.as_mut().ok_or(Error::Closed)?.database)
    }

    /// Opens the file again if it has failed.
    fn revive(&self) -> Result<(), Error> {
        if !self.work(|_| Ok(()))?.1 {
            return Ok(());
        }
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(generation) = now.as_ref()
            && generation.has_failed()
        {
            let next = Generation::open(generation.file.clone(), self.cache_bytes, false)?;
            *now = Some(next);
            tracing::warn!("the store's file failed and was opened again");
        }
        Ok(())
    }

    /// Closes the file once those who read have done so. Later work gets [`Error::Closed`].
    pub(super) fn close(&self) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Mortal {
    fn alive<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the file failed before"));
        }
        work().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }
}

impl StorageBackend for Mortal {
    fn len(&self) -> Result<u64, io::Error> {
        self.alive(|| self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.alive(|| self.file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.alive(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.alive(|| self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.alive(|| self.file.write(offset, data))
    }
}
