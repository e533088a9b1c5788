//! What is remembered of the archives in the images folders, and what is to be done about those that
//! are there now. Pure, apart from the file that it is kept in.
//!
//! An archive is read once. What was imported from it and removed since comes back only when
//! somebody asks for it, so an archive that did not change is left alone for good.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::archive::Listed;
use crate::cri::proto;

/// The record's file in the kubelet's folder.
const FILE: &str = "images/imported.json";

/// By what a change of an archive is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Its number in the file system: another file under its name has another.
    pub inode: u64,
}

/// What became of one archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As what it was read.
    pub mark: Mark,
    /// The images that it holds.
    pub images: Vec<Listed>,
    /// Why they could not be imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The archives that were read, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// One entry each.
    pub archives: BTreeMap<PathBuf, Entry>,
}

/// An archive in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Its path.
    pub path: PathBuf,
    /// What it is like.
    pub mark: Mark,
    /// Whether somebody still writes it.
    pub unfinished: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Archives that are new or changed.
    pub read: Vec<Archive>,
    /// Archives that are gone.
    pub forget: Vec<PathBuf>,
}

/// Names and digests of images that the folders hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(BTreeSet<String>);

// === impl Mark ===

impl Mark {
    /// The mark of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = path.metadata()?;
        Ok(Self { size: meta.len(), modified: meta.modified()?, inode: meta.ino() })
    }
}

// === impl Record ===

impl Record {
    /// Where the record of the kubelet is whose files are in `root_dir`.
    #[must_use]
    pub fn path(root_dir: &Path) -> PathBuf {
        root_dir.join(FILE)
    }

    /// Reads it; there is none before the first import, and one that is damaged is as good.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes it, complete or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let partial = path.with_extension("partial");
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&partial, serde_json::to_vec(self)?)?;
        std::fs::rename(&partial, path)
    }

    /// Forgets what went wrong, so that it is tried again: the cause may be gone.
    pub fn forgive(&mut self) {
        self.archives.retain(|_, entry| entry.error.is_none());
    }

    /// What is to be done when `found` are the archives of all folders.
    #[must_use]
    pub fn plan(&self, found: &[Archive]) -> Plan {
        let changed = |archive: &&Archive| {
            let known = self.archives.get(&archive.path);
            !archive.unfinished && known.is_none_or(|entry| entry.mark != archive.mark)
        };
        let there: BTreeSet<_> = found.iter().map(|archive| &archive.path).collect();
        Plan {
            read: found.iter().filter(changed).cloned().collect(),
            forget: self.archives.keys().filter(|path| !there.contains(path)).cloned().collect(),
        }
    }

    /// What the folders hold.
    #[must_use]
    pub fn held(&self) -> Held {
        let good = self.archives.values().filter(|entry| entry.error.is_none());
        Held(
            good.flat_map(|entry| &entry.images)
                .flat_map(|image| image.names.iter().chain([&image.digest]))
                .cloned()
                .collect(),
        )
    }

    /// The archive that holds the image of this name (in full) or digest.
    #[must_use]
    pub fn holder(&self, name: &str) -> Option<(&PathBuf, &Entry)> {
        let holds = |image: &Listed| image.digest == name || image.names.iter().any(|n| n == name);
        let mut good = self.archives.iter().filter(|(_, entry)| entry.error.is_none());
        good.find(|(_, entry)| entry.images.iter().any(holds))
    }
}

// === impl Held ===

impl Held {
    /// Whether an archive holds the image of this name (in full) or digest.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether `image` of the runtime came from an archive.
    #[must_use]
    pub fn holds(&self, image: &proto::Image) -> bool {
        let digests = image.repo_digests.iter().filter_map(|name| name.rsplit_once('@'));
        self.has(&image.id)
            || image.repo_tags.iter().any(|name| self.has(name))
            || digests.into_iter().any(|(_, digest)| self.has(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn archive(name: &str, size: u64, second: u64) -> Archive {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        Archive { path: name.into(), mark: Mark { size, modified, inode: 1 }, unfinished: false }
    }

    fn entry(archive: &Archive, name: &str, digest: &str) -> Entry {
        let images = vec![Listed { names: vec![name.to_owned()], digest: digest.to_owned() }];
        Entry { mark: archive.mark, images, error: None }
    }

    #[test]
    fn archives_are_read_when_they_are_new_or_changed_and_complete() {
        let mut record = Record::default();
        let (a, b) = (archive("a.tar", 1, 1), archive("b.tar", 1, 1));
        let plan = record.plan(&[a.clone(), b.clone()]);
        assert_eq!(plan, Plan { read: vec![a.clone(), b.clone()], forget: vec![] });
        record.archives.insert(a.path.clone(), entry(&a, "x:1", "sha256:aa"));
        record.archives.insert(b.path.clone(), entry(&b, "y:1", "sha256:bb"));
        assert_eq!(record.plan(&[a.clone(), b.clone()]), Plan::default(), "nothing changed");

        for changed in [
            archive("a.tar", 2, 1),
            archive("a.tar", 1, 2),
            Archive { mark: Mark { inode: 2, ..a.mark }, ..a.clone() },
        ] {
            let plan = record.plan(&[changed.clone(), b.clone()]);
            assert_eq!(plan, Plan { read: vec![changed.clone()], forget: vec![] });
            let unfinished = Archive { unfinished: true, ..changed };
            assert_eq!(record.plan(&[unfinished, b.clone()]), Plan::default());
        }
        assert_eq!(record.plan(&[b]), Plan { read: vec![], forget: vec![a.path] });
    }

    #[test]
    fn what_failed_is_tried_again_when_it_changes_or_after_a_restart() {
        let mut record = Record::default();
        let bad = archive("a.tar", 1, 1);
        let failed = Entry { error: Some("no".to_owned()), ..entry(&bad, "x:1", "sha256:aa") };
        record.archives.insert(bad.path.clone(), failed);
        assert_eq!(record.plan(std::slice::from_ref(&bad)), Plan::default());
        assert!(!record.held().has("x:1"));
        assert_eq!(record.holder("x:1"), None);
        let changed = archive("a.tar", 2, 1);
        assert_eq!(record.plan(std::slice::from_ref(&changed)).read, [changed]);
        record.forgive();
        assert_eq!(record.plan(std::slice::from_ref(&bad)).read, [bad]);
    }

    #[test]
    fn the_images_of_archives_are_told_from_others() {
        let mut record = Record::default();
        let a = archive("a.tar", 1, 1);
        record.archives.insert(a.path.clone(), entry(&a, "docker.io/library/x:1", "sha256:aa"));
        for name in ["docker.io/library/x:1", "sha256:aa"] {
            assert_eq!(record.holder(name).unwrap().0, Path::new("a.tar"));
        }
        let held = record.held();
        let image = |id: &str, tag: &str, digest: &str| proto::Image {
            id: id.to_owned(),
            repo_tags: vec![tag.to_owned()],
            repo_digests: vec![format!("x@{digest}")],
            ..Default::default()
        };
        assert!(held.holds(&image("sha256:aa", "t", "sha256:1")));
        assert!(held.holds(&image("sha256:1", "docker.io/library/x:1", "sha256:1")));
        assert!(held.holds(&image("sha256:1", "t", "sha256:aa")));
        assert!(!held.holds(&image("sha256:1", "t", "sha256:2")));
    }

    #[test]
    fn the_record_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = Record::path(folder.path());
        assert_eq!(Record::load(&path), Record::default());
        let mut record = Record::default();
        let a = archive("/i/a.tar", 1, 1);
        record.archives.insert(a.path.clone(), entry(&a, "x:1", "sha256:aa"));
        record.store(&path).unwrap();
        assert_eq!(Record::load(&path), record);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Record::load(&path), Record::default());
    }
}
