//! What was done to a host, kept from before it is done, so that `reset` can undo it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FOLDER, HostError, file};
use crate::node::files::File;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Whether the container runtime was set up for the cluster.
    pub(super) own_runtime: bool,
    /// Files and folders that were not there before. A folder goes with all that is in it.
    pub(super) made: BTreeSet<PathBuf>,
    /// Folders that were there, and empty.
    pub(super) filled: BTreeSet<PathBuf>,
}

/// What components make while a node lives: it goes with the node, unless it was there before.
pub(super) const MADE_BY_OTHERS: [&str; 12] = [
    "/etc/kubernetes",
    "/etc/cni",
    "/etc/cni/net.d",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/lib/ironclad/containerd",
    "/var/log/pods",
    "/var/log/containers",
    "/var/lib/ironclad/images",
    crate::manifests::STORE,
    crate::etcd::DATA,
    super::units::LOGIND,
];

/// Where it is kept.
pub(super) fn path() -> PathBuf {
    Path::new(FOLDER).join("host.json")
}

impl Record {
    /// What was written down; nothing on a host that nothing was done to.
    pub(super) fn read() -> Option<Self> {
        serde_json::from_slice(&fs::read(path()).ok()?).ok()
    }

    /// Writes it down.
    pub(super) fn write(&self) -> Result<(), HostError> {
        let path = path();
        let text = serde_json::to_vec_pretty(self).expect("a record has string keys only");
        let partial = path.with_added_extension("partial");
        fs::create_dir_all(FOLDER)
            .and_then(|()| fs::write(&partial, text))
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(file(path))
    }

    /// Notes what is about to be made: the path itself or, of a path whose folders are missing, the
    /// uppermost of those. An empty folder is noted too, for what comes into it.
    pub(super) fn note(&mut self, path: &Path) {
        self.made.extend(missing(path, &|path| path.symlink_metadata().is_ok()));
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()) {
            self.filled.insert(path.to_owned());
        }
    }

    /// Notes every file.
    pub(super) fn note_all(&mut self, files: &[File]) {
        for file in files {
            self.note(&file.path);
        }
    }

    /// Removes what was made, all but the folder `kept`; what is gone already is fine.
    pub(super) fn undo(&self, kept: &Path) -> Result<(), HostError> {
        let mut all: Vec<PathBuf> = self.made.iter().cloned().collect();
        for folder in &self.filled {
            let entries = fs::read_dir(folder).into_iter().flatten();
            all.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        for path in &all {
            let removed = match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => remove_folder(path, kept),
                Ok(_) => fs::remove_file(path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file(path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Removes a folder with all that is in it but `kept`, unless that is empty or not there.
fn remove_folder(path: &Path, kept: &Path) -> io::Result<()> {
    let full = fs::read_dir(kept).is_ok_and(|mut entries| entries.next().is_some());
    if !full || !kept.starts_with(path) {
        return fs::remove_dir_all(path);
    }
    if path == kept {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_folder(&entry.path(), kept)?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The uppermost part of `path` that is not there; nothing if it is.
fn missing(path: &Path, exists: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    if exists(path) {
        return None;
    }
    let above = path.parent().filter(|parent| !exists(parent));
    Some(match above {
        Some(parent) => missing(parent, exists).unwrap_or_else(|| path.to_owned()),
        None => path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_there_is_noted() {
        let exists = |path: &Path| ["/", "/etc", "/etc/old"].iter().any(|p| path == Path::new(p));
        let check = |path: &str, wanted: Option<&str>| {
            assert_eq!(missing(Path::new(path), &exists), wanted.map(PathBuf::from), "{path}");
        };
        check("/etc/old", None);
        check("/etc/new", Some("/etc/new"));
        check("/etc/new/a/b", Some("/etc/new"));
        check("/new/a", Some("/new"));
    }

    #[test]
    fn what_was_made_goes_with_what_came_into_it_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("old")).unwrap();
        fs::create_dir(path("empty")).unwrap();
        fs::write(path("old/before"), "x").unwrap();
        let mut record = Record::default();
        for name in ["old", "old/file", "new/a/b", "empty"] {
            record.note(&path(name));
        }
        fs::write(path("old/file"), "x").unwrap();
        fs::write(path("old/other"), "x").unwrap();
        fs::create_dir_all(path("new/a")).unwrap();
        fs::write(path("new/more"), "x").unwrap();
        fs::write(path("empty/file"), "x").unwrap();
        fs::create_dir_all(path("new/kept/in")).unwrap();
        fs::write(path("new/kept/in/file"), "x").unwrap();
        record.undo(&path("new/kept/in")).unwrap();
        assert!(path("new/kept/in/file").exists());
        assert!(!path("new/more").exists() && !path("new/a").exists());
        fs::remove_file(path("new/kept/in/file")).unwrap();
        for _ in 0..2 {
            record.undo(&path("new/kept/in")).unwrap();
        }
        assert!(!path("new").exists() && !path("old/file").exists());
        assert!(path("old/other").exists() && path("old/before").exists());
        assert_eq!(fs::read_dir(path("empty")).unwrap().count(), 0);
    }
}
