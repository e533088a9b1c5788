//! What an administrator does with the file of a store that is stopped: look, repair, make small.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use redb::{Database, StorageBackend};

use super::build::build;
use super::consistency;
use super::file::{Shared, StoreFile};
use super::journal::replay::replay;
use super::journal::{JournalFile, Mark};
use super::overlay::Overlay;
use super::report::Report;
use super::salvage::Salvage;
use super::tables::{self, engine_error, mark, millis};
use crate::snapshot::folder::sync_folder_of;
use crate::snapshot::restore::BUMP;
use crate::types::Error;

/// Bytes of the page cache meanwhile.
const CACHE: usize = 64 << 20;

/// The file of a store that nobody else has open, until this is dropped.
#[derive(Debug)]
pub struct Stopped {
    path: PathBuf,
    file: Arc<StoreFile>,
    journal: JournalFile,
}

impl Stopped {
    /// Takes hold of the file `path`; `None` when there is none.
    ///
    /// # Errors
    /// When it is in use, or cannot be opened.
    pub fn lock(path: &Path) -> Result<Option<Self>, Error> {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(Error::from_io(path, &error)),
        }
        let failed = |error| Error::from_io(path, &error);
        let file = Arc::new(StoreFile::open(path).map_err(failed)?);
        let journal = JournalFile::of(path).map_err(failed)?;
        Ok(Some(Self { path: path.to_owned(), file, journal }))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its newest revision, as far as that can be told.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        let known = match self.look().and_then(|database| tables::load(&database)) {
            Ok(index) => index.revision,
            Err(_) => self.salvage(0).ok()?.report.revision,
        };
        (known > 0).then_some(known)
    }

    /// Reads all of it and changes nothing.
    ///
    /// # Errors
    /// When the disk cannot be read. Damage is no error, but told in the report.
    pub fn check(&self, now: SystemTime) -> Result<Report, Error> {
        let fault = match self.look() {
            Ok(database) => {
                let mut report = Report { bytes: self.bytes()?, ..Report::default() };
                match consistency::examine(&database, &mut report) {
                    Ok(()) if report.is_whole() => return Ok(report),
                    Ok(()) => report.damage,
                    Err(error) => vec![error.to_string()],
                }
            }
            Err(error) => vec![error.to_string()],
        };
        let mut report = self.salvage(millis(now))?.report;
        report.damage.splice(0..0, fault);
        Ok(report)
    }

    /// Writes what can be saved of a damaged file into the new file `to`. Its revisions are far
    /// ahead: what came last may be among what is lost. A file that is whole is left at that.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn repair(&self, to: &Path, now: SystemTime) -> Result<Report, Error> {
        let report = self.check(now)?;
        if report.is_whole() {
            return Ok(report);
        }
        let salvage = self.salvage(millis(now))?;
        let leases = salvage.leases()?;
        build(to, salvage.pairs(), &leases, report.revision + BUMP, now)?;
        sync_folder_of(to).map_err(|error| Error::from_io(to, &error))?;
        Ok(report)
    }

    /// Writes the file anew without the room that nothing takes any more. The result is its former
    /// and its present number of bytes.
    ///
    /// # Errors
    /// When it is damaged, or the disk refuses. The file is as it was then.
    pub fn defragment(self) -> Result<(u64, u64), Error> {
        let before = self.bytes()?;
        let partial = self.path.with_added_extension("defragmenting");
        let database = self.look()?;
        tables::copy(&database, &partial).inspect_err(|_| {
            // It may never have been made.
            std::fs::remove_file(&partial).ok();
        })?;
        let failed = |error: io::Error| Error::from_io(&self.path, &error);
        std::fs::rename(&partial, &self.path).map_err(failed)?;
        sync_folder_of(&self.path).map_err(failed)?;
        // The new file has what was in it, and says so.
        self.remove_journal()?;
        let after = std::fs::metadata(&self.path).map_err(failed)?.len();
        Ok((before, after))
    }

    /// Keeps a copy of the file's journal beside `kept`, another name of the file, unless there is
    /// nothing in it that the file does not have.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn keep_journal(&self, kept: &Path) -> Result<(), Error> {
        let from = self.journal.path();
        let failed = |error: io::Error| Error::from_io(from, &error);
        let is_there = self.journal.len().map_err(failed)? > 0;
        if !is_there || self.open().and_then(|file| mark(&file)).is_ok_and(Mark::is_none) {
            return Ok(());
        }
        let to = JournalFile::of(kept).map_err(failed)?;
        std::fs::copy(from, to.path()).map_err(failed)?;
        std::fs::File::open(to.path()).and_then(|copy| copy.sync_all()).map_err(failed)
    }

    /// Removes the journal, once the file is another one that has nothing in it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove_journal(&self) -> Result<(), Error> {
        self.journal.set_len(0).map_err(|error| Error::from_io(self.journal.path(), &error))
    }

    fn salvage(&self, now: u64) -> Result<Salvage<'_>, Error> {
        Salvage::of(&*self.file, &self.journal, now)
    }

    fn bytes(&self) -> Result<u64, Error> {
        StorageBackend::len(&*self.file).map_err(|error| Error::from_io(&self.path, &error))
    }

    /// The file with what is in its journal, neither of which is changed.
    fn look(&self) -> Result<Database, Error> {
        let database = self.open()?;
        replay(&database, &self.journal)?;
        Ok(database)
    }

    /// Opens the file without changing it, if it is whole as far as redb can tell.
    fn open(&self) -> Result<Database, Error> {
        if self.bytes()? == 0 {
            return Err(Error::Damaged("the file is empty".to_owned()));
        }
        let overlay = Overlay::new(Shared(self.file.clone()));
        let overlay = overlay.map_err(|error| Error::from_io(&self.path, &error))?;
        let database = Database::builder()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(overlay)
            .map_err(engine_error)?;
        if !tables::exist(&database)? {
            return Err(Error::Damaged("it is no store, or has lost its tables".to_owned()));
        }
        Ok(database)
    }
}
