//! Notice of changes in a folder; with a slow look besides, for folders that do not exist yet or are
//! replaced.

use std::path::PathBuf;
use std::time::Duration;

use component::watched::{Change, Listener};

/// How long an unnoticed change may stay unnoticed.
const LOOK: Duration = Duration::from_secs(20);
/// How often to look for a folder that does not exist.
const LOOK_ABSENT: Duration = Duration::from_secs(1);

/// Watches one folder.
pub struct WatchDir {
    folder: PathBuf,
    news: Listener,
    there: bool,
}

// === impl WatchDir ===

impl WatchDir {
    /// A watch of `folder`, which need not exist.
    pub fn new(folder: PathBuf) -> Self {
        let mut watch = Self { folder, news: Listener::default(), there: false };
        watch.listen();
        watch
    }

    /// Waits until something may have changed.
    pub async fn changed(&mut self) {
        if self.there {
            // Late is as good as told.
            tokio::time::timeout(LOOK, self.news.heard()).await.ok();
        } else {
            tokio::time::sleep(LOOK_ABSENT).await;
        }
        self.listen();
    }

    fn listen(&mut self) {
        // Not IN_CREATE: a file that is being written would be read half.
        let changes = Change::IN_CLOSE_WRITE
            | Change::IN_MOVED_TO
            | Change::IN_MOVED_FROM
            | Change::IN_DELETE
            | Change::IN_DELETE_SELF;
        self.there = self.news.listen(&self.folder, changes).is_ok();
    }
}
