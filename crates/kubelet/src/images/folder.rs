//! The images folders as the rest of the kubelet sees them: whether archives are still being
//! imported, which images they hold, and a way to get one of those again.

use tokio::sync::{mpsc, oneshot, watch};

use super::record::Held;

/// What is known of the folders.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Whether archives are being imported for the first time, so that what is missing may yet come.
    pub importing: bool,
    /// What they hold.
    pub held: Held,
}

/// Somebody needs an image that an archive holds.
#[derive(Debug)]
pub struct Ask {
    /// Its full name or digest.
    pub name: String,
    /// Told when it was tried.
    pub tried: oneshot::Sender<()>,
}

/// A view of the folders. Cheap to clone.
#[derive(Clone)]
pub struct Folders {
    state: watch::Receiver<State>,
    asks: mpsc::Sender<Ask>,
}

/// The end of who imports.
pub struct Keeper {
    /// What the others are told.
    pub state: watch::Sender<State>,
    /// What they need.
    pub asks: mpsc::Receiver<Ask>,
}

/// Both ends; `importing` is whether there is anything to wait for.
#[must_use]
pub fn folders(importing: bool) -> (Keeper, Folders) {
    let (state, seen) = watch::channel(State { importing, held: Held::default() });
    let (asking, asks) = mpsc::channel(1);
    (Keeper { state, asks }, Folders { state: seen, asks: asking })
}

// === impl Folders ===

impl Folders {
    /// What is known now, with notice of changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// What the folders hold.
    #[must_use]
    pub fn held(&self) -> Held {
        self.state.borrow().held.clone()
    }

    /// Has the image of this full name imported again if an archive holds it; returns whether that
    /// was tried.
    pub async fn fetch(&self, name: &str) -> bool {
        if !self.state.borrow().held.has(name) {
            return false;
        }
        let (tried, answer) = oneshot::channel();
        let ask = Ask { name: name.to_owned(), tried };
        // Nobody imports any more: the kubelet ends.
        self.asks.send(ask).await.is_ok() && answer.await.is_ok()
    }
}
