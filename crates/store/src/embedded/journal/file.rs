//! The journal's file: there is none while nothing is in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::StorageBackend;

use crate::snapshot::folder::sync_folder_of;

/// See the module.
#[derive(Debug)]
pub(in super::super) struct JournalFile {
    path: PathBuf,
    file: RwLock<Option<File>>,
    /// That the file is in its folder may not be durable yet.
    is_new: AtomicBool,
}

impl JournalFile {
    /// That of the store in the file `store`, beside it.
    pub(in super::super) fn of(store: &Path) -> io::Result<Self> {
        let path = store.with_added_extension("journal");
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, file: RwLock::new(file), is_new: AtomicBool::new(false) })
    }

    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }

    fn with<T>(&self, work: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        work(file.as_ref().ok_or(io::ErrorKind::NotFound)?)
    }

    fn make(&self) -> io::Result<()> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            let options = File::options().read(true).write(true).create(true).clone();
            *file = Some(options.open(&self.path)?);
            self.is_new.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if file.take().is_some() {
            std::fs::remove_file(&self.path)?;
            sync_folder_of(&self.path)?;
        }
        Ok(())
    }
}

impl StorageBackend for JournalFile {
    fn len(&self) -> Result<u64, io::Error> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map_or(Ok(0), |file| Ok(file.metadata()?.len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.with(|file| file.read_exact_at(out, offset))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if len == 0 {
            return self.remove();
        }
        self.make()?;
        self.with(|file| file.set_len(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.with(File::sync_data)?;
        if self.is_new.swap(false, Ordering::AcqRel) {
            sync_folder_of(&self.path)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.make()?;
        self.with(|file| file.write_all_at(data, offset))
    }
}
