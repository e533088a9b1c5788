//! Changes of the cluster that may let a waiting Pod be scheduled.

use crate::objects::{Node, Pod};

/// A set of kinds of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u32);

/// One change.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A node is new.
    NodeAdded(&'a Node),
    /// A node has changed.
    NodeUpdated {
        /// Before.
        old: &'a Node,
        /// After.
        new: &'a Node,
    },
    /// A Pod is now on a node.
    PodPlaced(&'a Pod),
    /// A Pod on a node has changed.
    PodUpdated {
        /// Before.
        old: &'a Pod,
        /// After.
        new: &'a Pod,
    },
    /// A Pod has left its node.
    PodGone(&'a Pod),
}

// === impl Events ===

impl Events {
    /// Nothing.
    pub const NONE: Events = Events(0);
    /// A node is new.
    pub const NODE_ADD: Events = Events(1);
    /// A node's allocatable resources changed.
    pub const NODE_ALLOCATABLE: Events = Events(1 << 1);
    /// A node's labels changed.
    pub const NODE_LABELS: Events = Events(1 << 2);
    /// A node's taints or its cordon changed.
    pub const NODE_TAINTS: Events = Events(1 << 3);
    /// A Pod is now on a node.
    pub const POD_PLACED: Events = Events(1 << 4);
    /// The labels of a Pod on a node changed.
    pub const POD_LABELS: Events = Events(1 << 5);
    /// A Pod on a node requests less.
    pub const POD_SHRUNK: Events = Events(1 << 6);
    /// A Pod has left its node.
    pub const POD_GONE: Events = Events(1 << 7);

    /// A node declares other features.
    pub const NODE_FEATURES: Events = Events(1 << 8);

    /// Either of both.
    pub const fn or(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }

    /// Whether they have something in common.
    pub const fn overlaps(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it is empty.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

// === impl Change ===

impl Change<'_> {
    /// The kinds of change that it is; none for one that matters to nobody, such as a heartbeat.
    pub fn kinds(&self) -> Events {
        let when = |yes: bool, events: Events| if yes { events } else { Events::NONE };
        match self {
            Change::NodeAdded(_) => Events::NODE_ADD,
            Change::NodeUpdated { old, new } => {
                when(old.allocatable != new.allocatable, Events::NODE_ALLOCATABLE)
                    .or(when(old.metadata.labels != new.metadata.labels, Events::NODE_LABELS))
                    .or(when(
                        old.taints != new.taints || old.unschedulable != new.unschedulable,
                        Events::NODE_TAINTS,
                    ))
                    .or(when(old.features != new.features, Events::NODE_FEATURES))
            }
            Change::PodPlaced(_) => Events::POD_PLACED,
            Change::PodUpdated { old, new } => {
                let less = new.requests.milli_cpu < old.requests.milli_cpu
                    || new.requests.memory < old.requests.memory;
                when(old.metadata.labels != new.metadata.labels, Events::POD_LABELS)
                    .or(when(less, Events::POD_SHRUNK))
            }
            Change::PodGone(_) => Events::POD_GONE,
        }
    }

    /// The node after the change, if it is about a node.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Change::NodeAdded(node) | Change::NodeUpdated { new: node, .. } => Some(node),
            _ => None,
        }
    }
}
