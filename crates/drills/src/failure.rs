//! How a drill fails, and why no drill can be run at all.

use std::time::Duration;

use crate::drill::Needs;

/// How the steps of a drill end.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a drill failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What had to be seen was not.
    #[error("not seen within {} s: {what}; instead: {instead}", within.as_secs())]
    NotSeen {
        /// What had to be seen.
        what: String,
        /// How long it was waited for.
        within: Duration,
        /// What there was at the end.
        instead: String,
    },
    /// What had to stay did not.
    #[error("did not stay so: {what}; instead: {instead}")]
    DidNotStay {
        /// What had to stay.
        what: String,
        /// What came instead.
        instead: String,
    },
    /// Something could not be done.
    #[error("{what}: {error}")]
    NotDone {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: String,
    },
    /// The user gave up.
    #[error("interrupted")]
    Interrupted,
}

/// Why drills cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such drill.
    #[error("no drill named {0:?}; `ironclad drill list` shows them")]
    Unknown(String),
    /// Nothing was asked for.
    #[error("name the drills to run, or say --all")]
    Nothing,
    /// There is no such cluster.
    #[error(transparent)]
    State(#[from] cluster::state::StateError),
    /// The cluster is too small, or of another kind.
    #[error(
        "cluster {name:?} has {has} and drill {drill} needs {needs}; leave --name out to run it on a cluster made for it"
    )]
    TooSmall {
        /// The cluster.
        name: String,
        /// What it has.
        has: Needs,
        /// The drill.
        drill: &'static str,
        /// What it needs.
        needs: Needs,
    },
    /// No cluster could be made for the drills.
    #[error("making a cluster for the drills: {0}")]
    Up(#[source] Box<cluster::up::UpError>),
    /// It could not be removed.
    #[error("removing cluster {name:?}: {source}; `ironclad down --name {name}` repeats it")]
    Down {
        /// The cluster.
        name: String,
        /// Why.
        #[source]
        source: Box<cluster::down::DownError>,
    },
    /// There are no credentials for the API.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// Nothing of the cluster can be seen.
    #[error("the API server of cluster {0:?} does not answer")]
    Silent(String),
    /// The report cannot be written as JSON.
    #[error("writing the report: {0}")]
    Report(#[from] serde_json::Error),
    /// The user gave up.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads what is printed.
    #[error("nobody reads the timeline")]
    Unread,
}
