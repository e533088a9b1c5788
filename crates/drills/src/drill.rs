//! What a drill is.

use std::time::Duration;

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
    /// What is special about it.
    pub condition: Condition,
    /// Nodes, the control planes included.
    pub nodes: usize,
    /// Control planes.
    pub control_planes: usize,
}

/// What is special about the cluster of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Nothing.
    Usual,
    /// Its certificates end after minutes ([`VALIDITY`]), and are renewed all the time.
    Ending,
    /// Nothing, but the drill leaves it for ever changed: it is removed then.
    Spent,
}

/// How long the certificates of a cluster are good that is made with [`Condition::Ending`].
pub(crate) const VALIDITY: &str = "2m";
/// How long they are good at most where a drill can wait for their end.
pub(crate) const LONGEST_VALIDITY: Duration = Duration::from_secs(150);

impl Needs {
    /// One control plane and two workers.
    pub const TWO_WORKERS: Self = Self { condition: Condition::Usual, nodes: 3, control_planes: 1 };
    /// Three control planes and a worker.
    pub const THREE_CONTROL_PLANES: Self =
        Self { condition: Condition::Usual, nodes: 4, control_planes: 3 };

    /// Whether a cluster like this has what a drill with `others` needs. Several control planes are
    /// another cluster than one: which of them does something is not known.
    #[must_use]
    pub fn meets(self, others: Self) -> bool {
        self.nodes >= others.nodes
            && self.control_planes >= others.control_planes
            && (self.control_planes == 1) == (others.control_planes == 1)
            && (others.condition == Condition::Usual || self.condition == others.condition)
    }
}

impl std::fmt::Debug for Drill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Drill").field(&self.name).finish()
    }
}

impl std::fmt::Display for Needs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} nodes ({} control planes)", self.nodes, self.control_planes)?;
        match self.condition {
            Condition::Usual => Ok(()),
            Condition::Ending => f.write_str(" and certificates that end after two minutes"),
            Condition::Spent => f.write_str(" that are removed afterwards"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_large_enough_and_of_the_kind() {
        let (one, three) = (Needs::TWO_WORKERS, Needs::THREE_CONTROL_PLANES);
        assert!(one.meets(one) && three.meets(three));
        assert!(!one.meets(three) && !three.meets(one));
        assert!(Needs { nodes: 5, ..three }.meets(three));
        assert!(!Needs { nodes: 3, ..three }.meets(three));
        assert_eq!(three.to_string(), "4 nodes (3 control planes)");
        let of = |condition| Needs { condition, ..one };
        let (ending, spent) = (of(Condition::Ending), of(Condition::Spent));
        assert!(ending.meets(ending) && ending.meets(one));
        assert!(!one.meets(ending) && !one.meets(spent));
        let wanted = "3 nodes (1 control planes) and certificates that end after two minutes";
        assert_eq!(ending.to_string(), wanted);
    }
}
