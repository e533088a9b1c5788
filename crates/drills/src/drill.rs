//! What a drill is.

use futures::future::LocalBoxFuture;

use crate::failure::Outcome;
use crate::stage::Stage;

/// One drill; the [`catalogue`](crate::catalogue) has them all.
pub struct Drill {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub purpose: &'static str,
    /// What is done.
    pub done: &'static str,
    /// What must be seen.
    pub seen: &'static str,
    /// The cluster it needs.
    pub needs: Needs,
    /// Its steps.
    pub(crate) script: for<'a> fn(&'a mut Stage) -> LocalBoxFuture<'a, Outcome>,
}

/// The least that a cluster must have; drills that need the same share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// Nodes, the control plane included.
    pub nodes: usize,
}

impl Needs {
    /// One control plane and two workers.
    pub const TWO_WORKERS: Self = Self { nodes: 3 };
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Drill").field(&self.name).finish()
    }
}
