//! Where a drill plays: it does things and sees things, and all of it goes to the timeline.

mod acts;
mod admin;
mod clock;
mod mend;

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use client::Client;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::failure::{Failure, Outcome};
use crate::sight::{Seen, Shown};
use crate::timeline::Timeline;
use crate::view::View;

pub(crate) use mend::Broken;

/// How long what must be seen may take, unless a step says otherwise: far more than it needs, since
/// nothing is concluded from less.
const PATIENCE: Duration = Duration::from_secs(180);

/// A cluster, a namespace of the drill's own, and what has happened so far.
pub(crate) struct Stage {
    pub(crate) clusters: PathBuf,
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) view: View,
    pub(crate) timeline: Timeline,
    /// What the drill broke and has not mended yet.
    broken: Vec<Broken>,
    figure: Option<&'static str>,
    /// Whether the drill is over and only mends.
    mending: bool,
    /// A command that runs, and goes on when the drill is interrupted.
    running: Option<JoinHandle<std::io::Result<Output>>>,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new(
        (clusters, cluster): (PathBuf, String),
        namespace: String,
        client: Client,
        view: View,
        timeline: Timeline,
    ) -> Self {
        Self {
            clusters,
            cluster,
            namespace,
            client,
            view,
            timeline,
            broken: Vec::new(),
            figure: None,
            mending: false,
            running: None,
        }
    }

    /// Gives the time from the last deed to what is seen next a name in the report.
    pub(crate) fn figure(&mut self, name: &'static str) -> &mut Self {
        self.figure = Some(name);
        self
    }

    /// Waits until `look` finds what it wants, and shows it.
    pub(crate) async fn see<T: Shown>(
        &mut self,
        what: &str,
        look: impl Fn(&View) -> Seen<T>,
    ) -> Outcome<T> {
        let figure = self.figure.take();
        let seen = self.wait(what, look).await?;
        self.timeline.see(what, seen.rows(), figure);
        Ok(seen)
    }

    /// The same, without a word about it.
    pub(crate) async fn wait<T>(&self, what: &str, look: impl Fn(&View) -> Seen<T>) -> Outcome<T> {
        let mut changes = self.view.changes();
        let deadline = Instant::now() + PATIENCE;
        loop {
            changes.borrow_and_update();
            let instead = match look(&self.view) {
                Ok(seen) => return Ok(seen),
                Err(instead) => instead,
            };
            tokio::select! {
                // The view holds the other end for as long as this waits.
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(deadline) => {
                    let what = what.to_owned();
                    return Err(Failure::NotSeen { what, within: PATIENCE, instead });
                }
            }
        }
    }

    /// Sees the same for `span` on end; the one thing that no event tells is that nothing happens.
    pub(crate) async fn stays<T: Shown>(
        &mut self,
        what: &str,
        span: Duration,
        look: impl Fn(&View) -> Seen<T>,
    ) -> Outcome<T> {
        let mut changes = self.view.changes();
        let end = Instant::now() + span;
        loop {
            changes.borrow_and_update();
            let over = Instant::now() >= end;
            match look(&self.view) {
                Ok(seen) if over => {
                    let text = format!("{what}, for {} s", span.as_secs());
                    self.timeline.see(&text, seen.rows(), None);
                    return Ok(seen);
                }
                Ok(_) => {}
                Err(instead) => {
                    return Err(Failure::DidNotStay { what: what.to_owned(), instead });
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// Demands something of what was seen before.
    pub(crate) fn expect<T: Shown>(&mut self, what: &str, found: Seen<T>) -> Outcome<T> {
        let wrong = |instead| Failure::DidNotStay { what: what.to_owned(), instead };
        let seen = found.map_err(wrong)?;
        self.timeline.see(what, seen.rows(), None);
        Ok(seen)
    }

    /// Notes what was seen by other means than the view.
    pub(crate) fn saw(&mut self, what: &str, shown: Vec<String>) {
        let figure = self.figure.take();
        self.timeline.see(what, shown, figure);
    }
}

fn not_done(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::NotDone { what: what.to_owned(), error: error.to_string() }
}
