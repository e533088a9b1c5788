//! Notice of changes to files and folders, by inotify.
//!
//! A process has one inotify instance, however much it watches: a user may have 128 of them unless an
//! administrator allows more, and a machine with many nodes has many processes. Where there is none
//! left, listeners hear nothing and have to look from time to time, as they do anyhow for file
//! systems that do not tell of changes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::sync::Notify;

pub use nix::sys::inotify::AddWatchFlags as Change;

/// What anybody may want to hear of: whoever listens to the same path shares its watch.
const ALL: Change = Change::IN_CLOSE_WRITE
    .union(Change::IN_CREATE)
    .union(Change::IN_DELETE)
    .union(Change::IN_DELETE_SELF)
    .union(Change::IN_MOVED_FROM)
    .union(Change::IN_MOVED_TO);
/// What everybody hears of: notices were lost, or the path is watched no more.
const LOST: Change = Change::IN_Q_OVERFLOW.union(Change::IN_IGNORED);

/// Who listens to what, by watch.
type Ears = HashMap<WatchDescriptor, Vec<(Arc<Notify>, Change)>>;

static HUB: LazyLock<Option<Arc<Hub>>> = LazyLock::new(|| match Hub::start() {
    Ok(hub) => Some(hub),
    Err(error) => {
        tracing::warn!(%error, "changes of files are noticed late: inotify cannot be used");
        None
    }
});

struct Hub {
    inotify: Inotify,
    ears: Mutex<Ears>,
}

/// Hears of changes of some paths; dropped, it listens no more.
#[derive(Debug, Default)]
pub struct Listener {
    heard: Arc<Notify>,
}

// === impl Listener ===

impl Listener {
    /// Listens to a path from now on: to a file, or to what is directly in a folder. It is as good
    /// when it does so already; a path that gets another file is another one.
    ///
    /// # Errors
    /// When there is nothing at `path`, or it cannot be watched.
    pub fn listen(&self, path: &Path, changes: Change) -> io::Result<()> {
        let hub = HUB.as_ref().ok_or_else(|| io::Error::from(Errno::EMFILE))?;
        // Held meanwhile, so that the first notice finds who wants it.
        let mut ears = hub.ears();
        let watch = hub.inotify.add_watch(path, ALL)?;
        let all = ears.entry(watch).or_default();
        if !all.iter().any(|(ear, _)| Arc::ptr_eq(ear, &self.heard)) {
            all.push((Arc::clone(&self.heard), changes));
        }
        Ok(())
    }

    /// Waits for a change since the last one that was heard of.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(hub) = HUB.as_ref() else { return };
        hub.ears().retain(|watch, all| {
            all.retain(|(ear, _)| !Arc::ptr_eq(ear, &self.heard));
            if all.is_empty() {
                // One whose path is gone has ended by itself.
                hub.inotify.rm_watch(*watch).ok();
            }
            !all.is_empty()
        });
    }
}

// === impl Hub ===

impl Hub {
    fn start() -> io::Result<Arc<Self>> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let hub = Arc::new(Self { inotify, ears: Mutex::default() });
        let own = Arc::clone(&hub);
        std::thread::Builder::new().name("watched".into()).spawn(move || own.forward())?;
        Ok(hub)
    }

    fn ears(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self) {
        loop {
            match self.inotify.read_events() {
                Ok(events) => events.iter().for_each(|event| self.tell(event)),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "changes of files are noticed late from now on");
                    return;
                }
            }
        }
    }

    fn tell(&self, event: &InotifyEvent) {
        let mut ears = self.ears();
        let wake = |all: &Vec<(Arc<Notify>, Change)>| {
            let wanted = all.iter().filter(|(_, changes)| event.mask.intersects(*changes | LOST));
            wanted.for_each(|(ear, _)| ear.notify_one());
        };
        if event.mask.contains(Change::IN_Q_OVERFLOW) {
            ears.values().for_each(wake);
        } else if event.mask.contains(Change::IN_IGNORED) {
            ears.remove(&event.wd).iter().for_each(wake);
        } else {
            ears.get(&event.wd).into_iter().for_each(wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_hears_what_it_wants_of_a_path_that_all_share() {
        let folder = tempfile::tempdir().unwrap();
        let (made, removed) = (Listener::default(), Listener::default());
        made.listen(folder.path(), Change::IN_CREATE).unwrap();
        for _ in 0..2 {
            removed.listen(folder.path(), Change::IN_DELETE).unwrap();
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        made.heard().await;
        std::fs::remove_file(&file).unwrap();
        removed.heard().await;
        drop(made);
        std::fs::write(&file, "").unwrap();
        std::fs::remove_file(&file).unwrap();
        removed.heard().await;
        // The end of what is watched is for all.
        drop(folder);
        removed.heard().await;
        assert!(removed.listen(&file, Change::IN_DELETE).is_err());
    }

    #[tokio::test]
    async fn many_listeners_share_an_instance() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..300).map(|_| Listener::default()).collect();
        for listener in &all {
            listener.listen(folder.path(), Change::IN_CREATE).unwrap();
        }
        std::fs::write(folder.path().join("file"), "").unwrap();
        for listener in &all {
            listener.heard().await;
        }
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let instances = links.filter(|link| link.to_string_lossy().contains("inotify")).count();
        assert_eq!(instances, 1);
    }
}
