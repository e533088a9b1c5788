//! Notice of changes in a folder, by inotify; with a slow look besides, for folders that do not
//! exist yet or are replaced.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

/// How long an unnoticed change may stay unnoticed.
const LOOK: Duration = Duration::from_secs(20);
/// How often to look for a folder that does not exist.
const LOOK_ABSENT: Duration = Duration::from_secs(1);
/// How often the thread that waits for the kernel asks whether anyone still listens.
const LISTENER_CHECK: u16 = 1000;

/// Watches one folder.
pub struct WatchDir {
    folder: PathBuf,
    notices: Option<mpsc::Receiver<()>>,
}

// === impl WatchDir ===

impl WatchDir {
    /// A watch of `folder`, which need not exist.
    pub fn new(folder: PathBuf) -> Self {
        let notices = open(&folder);
        Self { folder, notices }
    }

    /// Waits until something may have changed.
    pub async fn changed(&mut self) {
        let Some(notices) = &mut self.notices else {
            tokio::time::sleep(LOOK_ABSENT).await;
            self.notices = open(&self.folder);
            return;
        };
        if let Ok(None) = tokio::time::timeout(LOOK, notices.recv()).await {
            self.notices = open(&self.folder);
        }
    }
}

/// Starts a thread that waits for the kernel's notices of `folder`; the channel closes when the
/// folder goes away.
fn open(folder: &Path) -> Option<mpsc::Receiver<()>> {
    // Not IN_CREATE: a file that is being written would be read half.
    let flags = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF;
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    inotify.add_watch(folder, flags).ok()?;
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("watch-dir".into())
        .spawn(move || forward(&inotify, &sender))
        .ok()?;
    Some(receiver)
}

fn forward(inotify: &Inotify, sender: &mpsc::Sender<()>) {
    while !sender.is_closed() {
        let mut ready = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut ready, PollTimeout::from(LISTENER_CHECK)), Ok(1..)) {
            continue;
        }
        let Ok(events) = inotify.read_events() else { return };
        // A full channel means that a notice waits already.
        sender.try_send(()).ok();
        let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_IGNORED;
        if events.iter().any(|event| event.mask.intersects(gone)) {
            return;
        }
    }
}
