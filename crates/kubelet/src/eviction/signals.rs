//! What the kubelet watches so that the node does not run out of it, and from where on it acts.
//! See <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>.

use std::path::Path;

use machinery::quantity::Quantity;

use crate::config::KubeletConfiguration;
use crate::node::facts;

/// Something that can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Signal {
    /// Memory of the node. The first, since a node without memory does nothing any more.
    MemoryAvailable,
    /// Space of the file system with the kubelet's files.
    NodefsAvailable,
    /// Inodes of it.
    NodefsInodesFree,
    /// Space of the file system with the runtime's images and layers.
    ImagefsAvailable,
    /// Inodes of it.
    ImagefsInodesFree,
    /// Process numbers.
    PidAvailable,
}

/// The condition of the Node that a signal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Pid,
}

/// How much must be left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// Bytes or pieces.
    Amount(u64),
    /// Hundredths of all there is.
    Percent(f64),
}

/// A limit for a signal, below which Pods are evicted without grace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    /// For what.
    pub(super) signal: Signal,
    /// How much.
    pub(super) limit: Limit,
}

/// What there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    /// What.
    pub(super) signal: Signal,
    /// Bytes or pieces left.
    pub(super) available: u64,
    /// Of how many.
    pub(super) capacity: u64,
}

// === impl Signal ===

impl Signal {
    /// All, the most urgent first.
    pub(super) const ALL: [Self; 6] = [
        Self::MemoryAvailable,
        Self::NodefsAvailable,
        Self::NodefsInodesFree,
        Self::ImagefsAvailable,
        Self::ImagefsInodesFree,
        Self::PidAvailable,
    ];

    /// As `evictionHard` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MemoryAvailable => "memory.available",
            Self::NodefsAvailable => "nodefs.available",
            Self::NodefsInodesFree => "nodefs.inodesFree",
            Self::ImagefsAvailable => "imagefs.available",
            Self::ImagefsInodesFree => "imagefs.inodesFree",
            Self::PidAvailable => "pid.available",
        }
    }

    /// What Pods use up, as messages name it.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::MemoryAvailable => "memory",
            Self::NodefsAvailable | Self::ImagefsAvailable => "ephemeral-storage",
            Self::NodefsInodesFree | Self::ImagefsInodesFree => "inodes",
            Self::PidAvailable => "pids",
        }
    }

    /// What the Node says.
    pub(super) fn pressure(self) -> Pressure {
        match self {
            Self::MemoryAvailable => Pressure::Memory,
            Self::PidAvailable => Pressure::Pid,
            _ => Pressure::Disk,
        }
    }
}

// === impl Pressure ===

impl Pressure {
    /// The type of the Node's condition.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        }
    }
}

// === impl Threshold ===

impl Threshold {
    /// How much must be left of `capacity`.
    pub(super) fn quantity(&self, capacity: u64) -> u64 {
        match self.limit {
            Limit::Amount(amount) => amount,
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a size of a disk or a memory, which f64 holds well enough"
            )]
            Limit::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }

    /// Whether less is left.
    pub(super) fn is_met(&self, observations: &[Observation]) -> bool {
        let seen = observations.iter().find(|seen| seen.signal == self.signal);
        seen.is_some_and(|seen| seen.available < self.quantity(seen.capacity))
    }
}

/// The thresholds of a configuration; `0%` and `100%` switch one off.
pub(super) fn thresholds(config: &KubeletConfiguration) -> Vec<Threshold> {
    let read = |signal: Signal| {
        let text = config.eviction(signal.name())?;
        let limit = match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|p| *p > 0.0 && *p < 100.0)?;
                Limit::Percent(percent)
            }
            None => {
                let amount = text.parse::<Quantity>().ok()?.value();
                Limit::Amount(u64::try_from(amount).ok().filter(|amount| *amount > 0)?)
            }
        };
        Some(Threshold { signal, limit })
    };
    Signal::ALL.into_iter().filter_map(read).collect()
}

/// Looks at the machine: at its memory and processes, and at the file systems of the kubelet and of
/// the runtime's images.
pub(super) fn observe(nodefs: &Path, imagefs: &Path) -> Vec<Observation> {
    let (capacity, available) = facts::memory();
    let (most, processes) = facts::processes();
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let (node, image) = (facts::disk(nodefs), facts::disk(imagefs));
    [
        (Signal::MemoryAvailable, number(available), number(capacity)),
        (Signal::NodefsAvailable, node.available, node.capacity),
        (Signal::NodefsInodesFree, node.inodes_free, node.inodes),
        (Signal::ImagefsAvailable, image.available, image.capacity),
        (Signal::ImagefsInodesFree, image.inodes_free, image.inodes),
        (Signal::PidAvailable, number(most - processes), number(most)),
    ]
    .into_iter()
    // A file system without a fixed number of inodes has none to run out of.
    .filter(|(_, _, capacity)| *capacity > 0)
    .map(|(signal, available, capacity)| Observation { signal, available, capacity })
    .collect()
}
