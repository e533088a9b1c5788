//! Files that may be replaced while a process runs, such as certificates and their keys.
//!
//! Folders are watched besides the files, because files are replaced by renaming, alone or through
//! a link to their folder; the files are, because one that is mounted into a container stays the
//! same and is written anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::watched::{Change, Listener};

/// How often the files are read besides, for file systems that do not tell of changes. Upstream
/// does so too.
const INTERVAL: Duration = Duration::from_secs(60);

/// What some files hold, now and whenever that changes.
#[derive(Debug)]
pub struct Followed {
    paths: Vec<PathBuf>,
    known: Option<Vec<Vec<u8>>>,
    news: Listener,
}

// === impl Followed ===

impl Followed {
    /// Follows `paths`.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, known: None, news: Listener::default() }
    }

    /// Takes what the files hold now as known, if they are all there.
    pub fn see(&mut self) {
        self.watch();
        self.known = self.read();
    }

    /// What the files hold, in the order of their paths: at once the first time, then as soon as
    /// it is something else. A file that is missing is one that is being replaced, and is waited
    /// for.
    pub async fn next(&mut self) -> Vec<Vec<u8>> {
        loop {
            // Before they are read: what changes in between is noticed.
            self.watch();
            if let Some(contents) = self.read()
                && self.known.as_ref() != Some(&contents)
            {
                self.known = Some(contents.clone());
                return contents;
            }
            tokio::select! {
                () = self.news.heard() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    fn read(&self) -> Option<Vec<Vec<u8>>> {
        self.paths.iter().map(|path| std::fs::read(path).ok()).collect()
    }

    /// Watches the files that are there now; those that were watched before stay so.
    fn watch(&self) {
        let folder = Change::IN_CLOSE_WRITE | Change::IN_MOVED_TO | Change::IN_CREATE;
        for path in &self.paths {
            let parent = path.parent().unwrap_or(Path::new("/"));
            for (path, changes) in [(parent, folder), (path, Change::IN_CLOSE_WRITE)] {
                // What is not there yet shows in its folder, or once a minute.
                self.news.listen(path, changes).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write as _;

    #[tokio::test]
    async fn changes_are_told_however_they_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "1").unwrap();
        std::fs::write(path("target"), "x").unwrap();
        std::os::unix::fs::symlink("target", path("b")).unwrap();
        let mut followed = Followed::new(vec![path("a"), path("b")]);
        let text = |all: Vec<Vec<u8>>| -> Vec<String> {
            all.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
        };
        assert_eq!(text(followed.next().await), ["1", "x"]);
        let mut file = std::fs::OpenOptions::new().write(true).open(path("a")).unwrap();
        file.write_all(b"2").unwrap();
        drop(file);
        assert_eq!(text(followed.next().await), ["2", "x"], "written in place");
        std::fs::write(path("new"), "3").unwrap();
        std::fs::rename(path("new"), path("a")).unwrap();
        assert_eq!(text(followed.next().await), ["3", "x"], "renamed");
        std::fs::write(path("other"), "y").unwrap();
        std::os::unix::fs::symlink("other", path("link")).unwrap();
        std::fs::rename(path("link"), path("b")).unwrap();
        assert_eq!(text(followed.next().await), ["3", "y"], "another target");
        std::fs::remove_file(path("a")).unwrap();
        std::fs::write(path("a"), "4").unwrap();
        // Between the two writes it may have been empty.
        while text(followed.next().await) != ["4", "y"] {}
    }
}
