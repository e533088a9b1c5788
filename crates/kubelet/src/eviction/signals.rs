//! What the kubelet watches so that the node does not run out of it, and from where on it acts.
//! See <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

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

/// A limit for a signal, below which Pods are evicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    /// For what.
    pub(super) signal: Signal,
    /// How much.
    pub(super) limit: Limit,
    /// How long less must be left before anything is done; at once, and without grace for Pods, if it
    /// is zero.
    pub(super) grace: Duration,
    /// How much more than the limit must be left before what was begun is over.
    pub(super) reclaim: Option<Limit>,
}

/// Why thresholds are of no use. Worded as upstream words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// Not one that this kubelet watches.
    #[error("unsupported eviction signal {0}")]
    Signal(String),
    /// Neither a share nor an amount that can be left.
    #[error("invalid eviction threshold {value:?} of {signal}")]
    Limit {
        /// For what.
        signal: String,
        /// What is said.
        value: String,
    },
    /// A soft one has none.
    #[error("grace period must be specified for the soft eviction threshold {0}")]
    NoGrace(String),
    /// It is no time.
    #[error("invalid eviction grace period specified: {0}, must be a positive value")]
    Grace(String),
    /// What is to be won back is less than nothing.
    #[error("negative eviction minimum reclaim specified for {0}")]
    Reclaim(String),
    /// What is to be won back is a share of nothing.
    #[error("eviction percentage minimum reclaim {signal} must be positive: {value}")]
    ReclaimShare {
        /// Of what.
        signal: String,
        /// What is said.
        value: String,
    },
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

// === impl Limit ===

impl Limit {
    /// How much that is of `capacity`.
    fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Amount(amount) => amount,
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a size of a disk or a memory, which f64 holds well enough"
            )]
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }
}

// === impl Threshold ===

impl Threshold {
    /// How much must be left of `capacity`.
    pub(super) fn quantity(&self, capacity: u64) -> u64 {
        self.limit.of(capacity)
    }

    /// Whether Pods get time to end.
    pub(super) fn is_soft(&self) -> bool {
        !self.grace.is_zero()
    }

    /// Whether less is left.
    pub(super) fn is_met(&self, observations: &[Observation]) -> bool {
        self.is_short(observations, |_| 0)
    }

    /// Whether less is left than what ends what was begun when it was met.
    pub(super) fn is_unresolved(&self, observations: &[Observation]) -> bool {
        self.is_short(observations, |capacity| self.reclaim.map_or(0, |more| more.of(capacity)))
    }

    /// Whether less is left than the limit and `more`.
    fn is_short(&self, observations: &[Observation], more: impl Fn(u64) -> u64) -> bool {
        let seen = observations.iter().find(|seen| seen.signal == self.signal);
        seen.is_some_and(|seen| {
            let wanted = self.quantity(seen.capacity).saturating_add(more(seen.capacity));
            seen.available < wanted
        })
    }
}

/// What upstream knows besides: where containers have a file system of their own, and of the memory
/// of all Pods together, which the kernel sees to.
const ELSEWHERE: [&str; 3] =
    ["allocatableMemory.available", "containerfs.available", "containerfs.inodesFree"];

/// The thresholds of a configuration, the hard ones first; `0%` and `100%` switch one off.
///
/// # Errors
/// [`ThresholdError`], upon which a kubelet does not start.
pub(super) fn thresholds(config: &KubeletConfiguration) -> Result<Vec<Threshold>, ThresholdError> {
    let hard = config.eviction_hard();
    let soft = &config.eviction_soft;
    let reclaims = &config.eviction_minimum_reclaim;
    let mut graces = BTreeMap::new();
    for (name, text) in &config.eviction_soft_grace_period {
        let grace = machinery::duration::parse(text).ok().filter(|grace| !grace.is_zero());
        graces.insert(name, grace.ok_or_else(|| ThresholdError::Grace(text.clone()))?);
    }
    let unknown = |name: &&String| {
        let name = name.as_str();
        !ELSEWHERE.contains(&name) && Signal::ALL.iter().all(|signal| signal.name() != name)
    };
    let mut names =
        hard.keys().chain(soft.keys()).chain(graces.keys().copied()).chain(reclaims.keys());
    if let Some(name) = names.find(unknown) {
        return Err(ThresholdError::Signal(name.clone()));
    }
    let mut all = Vec::new();
    let mut wanted = BTreeMap::new();
    for signal in Signal::ALL {
        if let Some(text) = reclaims.get(signal.name()) {
            wanted.insert(signal, reclaim(signal, text)?);
        }
    }
    let mut add = |signal: Signal, text: &str, grace| {
        let reclaim = wanted.get(&signal).copied();
        let limit = limit(signal, text)?;
        all.extend(limit.map(|limit| Threshold { signal, limit, grace, reclaim }));
        Ok::<(), ThresholdError>(())
    };
    for signal in Signal::ALL {
        if let Some(text) = hard.get(signal.name()) {
            add(signal, text, Duration::ZERO)?;
        }
    }
    for signal in Signal::ALL {
        let name = signal.name();
        let Some(text) = soft.get(name) else { continue };
        let grace = graces.get(&name.to_owned()).copied();
        add(signal, text, grace.ok_or_else(|| ThresholdError::NoGrace(name.to_owned()))?)?;
    }
    Ok(all)
}

/// How much is to be won back, as a text says it.
fn reclaim(signal: Signal, text: &str) -> Result<Limit, ThresholdError> {
    let name = || signal.name().to_owned();
    let wrong = || ThresholdError::Limit { signal: name(), value: text.to_owned() };
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: f64 = percent.parse().map_err(|_| wrong())?;
            if percent > 0.0 {
                return Ok(Limit::Percent(percent));
            }
            Err(ThresholdError::ReclaimShare { signal: name(), value: text.to_owned() })
        }
        None => {
            let amount = text.parse::<Quantity>().map_err(|_| wrong())?.value();
            u64::try_from(amount).map(Limit::Amount).map_err(|_| ThresholdError::Reclaim(name()))
        }
    }
}

/// The limit that a text says; nothing if it switches the threshold off.
fn limit(signal: Signal, text: &str) -> Result<Option<Limit>, ThresholdError> {
    let wrong =
        || ThresholdError::Limit { signal: signal.name().to_owned(), value: text.to_owned() };
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent: f64 = percent.parse().map_err(|_| wrong())?;
            if !(0.0..=100.0).contains(&percent) {
                return Err(wrong());
            }
            let on = percent > 0.0 && percent < 100.0;
            Ok(on.then_some(Limit::Percent(percent)))
        }
        None => {
            let amount = text.parse::<Quantity>().map_err(|_| wrong())?.value();
            match u64::try_from(amount) {
                Ok(amount) if amount > 0 => Ok(Some(Limit::Amount(amount))),
                _ => Err(wrong()),
            }
        }
    }
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
