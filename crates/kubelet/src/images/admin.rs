//! What an administrator's commands do about the images of a node: putting an archive into its
//! folder, learning what its kubelet made of it, and listing what its runtime has.

use std::io;
use std::path::Path;

use super::record::{Entry, Mark, Record};
use crate::cri::{Runtime, RuntimeError, proto};
use crate::static_pods::watch_dir::WatchDir;

/// An image under one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name; nothing for an image that has none.
    pub name: Option<String>,
    /// Its size in bytes, compressed or not as the runtime counts.
    pub size: u64,
    /// Its ID.
    pub id: String,
    /// Whether it is kept however full the disk is.
    pub pinned: bool,
}

/// Puts `archive` into `folder` under `name`, complete or not at all; returns what the kubelet is
/// going to know it by.
///
/// # Errors
/// When the file cannot be read or the folder cannot be written.
pub fn put(archive: &Path, folder: &Path, name: &str) -> io::Result<Mark> {
    let path = folder.join(name);
    std::fs::create_dir_all(folder)?;
    // Kubelets leave names with a leading dot alone. A file that is there already is replaced too, by
    // which they know that it is asked for.
    let partial = folder.join(format!(".{name}.partial"));
    let placed = std::fs::copy(archive, &partial).and_then(|_| std::fs::rename(&partial, &path));
    placed.inspect_err(|_| {
        // Of the two errors the first one matters.
        std::fs::remove_file(&partial).ok();
    })?;
    Mark::of(&path)
}

/// Waits until the kubelet whose record is at `record` has read the archive that it sees at `path`
/// and whose mark is `mark`.
pub async fn outcome(record: &Path, path: &Path, mark: Mark) -> Entry {
    let folder = record.parent().unwrap_or(Path::new("/"));
    let mut watch = WatchDir::new(folder.to_owned());
    loop {
        if let Some(entry) = Record::load(record).archives.remove(path)
            && entry.mark == mark
        {
            return entry;
        }
        watch.changed().await;
    }
}

/// The images of `runtime`, whose kubelet keeps its record at `record`.
///
/// # Errors
/// When the runtime does not answer.
pub async fn list(runtime: &Runtime, record: &Path) -> Result<Vec<Row>, RuntimeError> {
    let images = runtime.list_images().await?;
    let sandbox = runtime.sandbox_image().await;
    let held = Record::load(record).held();
    let keep = |image: &proto::Image| {
        let sandboxes = sandbox.as_ref().is_some_and(|name| image.repo_tags.contains(name));
        image.pinned || sandboxes || held.holds(image)
    };
    let mut rows: Vec<Row> = images.iter().flat_map(|image| rows(image, keep(image))).collect();
    rows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(rows)
}

fn rows(image: &proto::Image, pinned: bool) -> Vec<Row> {
    let row = |name| Row { name, size: image.size, id: image.id.clone(), pinned };
    match image.repo_tags.as_slice() {
        [] => vec![row(image.repo_digests.first().cloned())],
        tags => tags.iter().cloned().map(Some).map(row).collect(),
    }
}

/// A file name under which kubelets take `archive` for one.
#[must_use]
pub fn archive_name(archive: &Path) -> Option<String> {
    let name = archive.file_name()?.to_str()?.trim_start_matches('.');
    match super::import::is_archive(name) {
        true => Some(name.to_owned()),
        false => Some(format!("{name}.tar")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_get_a_name_that_kubelets_read() {
        for (path, wanted) in [
            ("/a/x.tar", Some("x.tar")),
            ("x.tar.gz", Some("x.tar.gz")),
            (".x.tgz", Some("x.tgz")),
            ("image", Some("image.tar")),
            ("/", None),
        ] {
            assert_eq!(archive_name(Path::new(path)), wanted.map(str::to_owned), "{path}");
        }
    }

    #[tokio::test]
    async fn what_became_of_an_archive_is_told_once_it_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("x.tar"), "x").unwrap();
        let folder = at("images");
        let first = put(&at("x.tar"), &folder, "x.tar").unwrap();
        let mark = put(&folder.join("x.tar"), &folder, "x.tar").unwrap();
        assert_ne!(mark, first, "it was there, and is asked for again");
        let names: Vec<_> = folder.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["x.tar"]);
        assert!(put(&at("missing"), &folder, "y.tar").is_err());

        let path = Record::path(dir.path());
        let entry = |size, error: &str| Entry {
            mark: Mark { size, ..mark },
            images: Vec::new(),
            error: Some(error.to_owned()),
        };
        let mut record = Record::default();
        record.archives.insert("/seen/x.tar".into(), entry(99, "of an older file"));
        record.store(&path).unwrap();
        let waiting = outcome(&path, Path::new("/seen/x.tar"), mark);
        let writing = async {
            tokio::task::yield_now().await;
            record.archives.insert("/seen/x.tar".into(), entry(mark.size, "of this one"));
            record.store(&path).unwrap();
        };
        let (entry, ()) = tokio::join!(waiting, writing);
        assert_eq!(entry.error.as_deref(), Some("of this one"));
    }

    #[test]
    fn an_image_has_a_row_for_every_name() {
        let mut image = proto::Image { id: "i".into(), size: 5, ..Default::default() };
        let names = |image: &proto::Image| -> Vec<Option<String>> {
            rows(image, true).into_iter().map(|row| row.name).collect()
        };
        assert_eq!(names(&image), [None]);
        image.repo_digests.push("x@sha256:1".into());
        assert_eq!(names(&image), [Some("x@sha256:1".into())]);
        image.repo_tags = vec!["x:1".into(), "x:2".into()];
        assert_eq!(names(&image), [Some("x:1".into()), Some("x:2".into())]);
    }
}
