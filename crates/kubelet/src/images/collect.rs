//! Removal of images that nobody uses: when they get too old, and when the disk fills up.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle>

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::folder::Folders;
use super::pull_records::PullRecords;
use super::record::Held;
use crate::cri::{Runtime, RuntimeError, proto};
use crate::events::{EventType, Events};
use crate::node::facts::{self, Disk};

/// Between looks.
const PERIOD: Duration = Duration::from_secs(300);

/// When images go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Percentage of the disk at which images are removed.
    pub high: u8,
    /// Percentage to come down to.
    pub low: u8,
    /// Youngest age at which an unused image may go to make room.
    pub min_age: SignedDuration,
    /// How long an image may be unused; for ever if zero.
    pub max_age: SignedDuration,
}

/// An image that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its ID.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Images to remove, in this order, until enough is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How many bytes are to be freed.
    pub bytes: u64,
    /// What may go for it.
    pub candidates: Vec<Candidate>,
}

/// Why a round came to nothing. Worded as upstream words it, since it goes into events.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The runtime does not say what there is.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The filesystem has no size.
    #[error("invalid capacity 0 on image filesystem")]
    Capacity,
    /// Old images could not be removed.
    #[error(
        "wanted to free images older than {age}, encountered errors in image deletion: {problems}"
    )]
    Old {
        /// Their age.
        age: String,
        /// What the runtime said.
        problems: String,
    },
    /// Images could not be removed.
    #[error(
        "wanted to free {wanted} bytes, but freed {freed} bytes space with errors in image deletion: {problems}"
    )]
    Removal {
        /// How much was to be freed.
        wanted: u64,
        /// How much was.
        freed: u64,
        /// What the runtime said.
        problems: String,
    },
    /// There are not enough images that may go.
    #[error(
        "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
    )]
    Insufficient {
        /// How much was to be freed.
        wanted: u64,
        /// How much was.
        freed: u64,
    },
}

/// Since when the kubelet knows each image, and when it last saw it in use.
#[derive(Debug, Default)]
pub struct Ledger {
    images: BTreeMap<String, (Timestamp, Timestamp)>,
    begun: Option<Timestamp>,
}

// === impl Policy ===

impl Policy {
    /// Whether no image ever goes.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.high >= 100 && self.max_age.is_zero()
    }
}

// === impl Ledger ===

impl Ledger {
    /// Notes which images exist and which are in use. Those of the first look are as old as can be.
    pub fn note(&mut self, images: &[proto::Image], used: &BTreeSet<String>, now: Timestamp) {
        let detected = if self.begun.is_some() { now } else { Timestamp::UNIX_EPOCH };
        self.begun.get_or_insert(now);
        self.images.retain(|id, _| images.iter().any(|image| &image.id == id));
        for image in images {
            let entry =
                self.images.entry(image.id.clone()).or_insert((detected, Timestamp::UNIX_EPOCH));
            if used.contains(&image.id) {
                entry.1 = now;
            }
        }
    }

    /// Images that may go, longest unused first; never those that are used, pinned or in `held`.
    fn idle<'a>(
        &self,
        images: &'a [proto::Image],
        used: &BTreeSet<String>,
        held: &Held,
    ) -> Vec<(&'a proto::Image, Timestamp, Timestamp)> {
        let mut idle: Vec<_> = images
            .iter()
            .filter(|image| !image.pinned && !used.contains(&image.id) && !held.holds(image))
            .filter_map(|image| {
                let (detected, last_used) = self.images.get(&image.id)?;
                Some((image, *last_used, *detected))
            })
            .collect();
        idle.sort_by_key(|(_, last_used, detected)| (*last_used, *detected));
        idle
    }

    /// Images that were unused for too long, from when the kubelet itself runs that long.
    #[must_use]
    pub fn too_old(
        &self,
        images: &[proto::Image],
        used: &BTreeSet<String>,
        held: &Held,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<Candidate> {
        let over = |since: Timestamp| now.duration_since(since) > policy.max_age;
        if policy.max_age.is_zero() || !self.begun.is_some_and(over) {
            return Vec::new();
        }
        let idle = self.idle(images, used, held).into_iter();
        idle.filter(|(_, last_used, _)| over(*last_used)).map(|(i, ..)| candidate(i)).collect()
    }

    /// What to remove when the disk is too full.
    #[must_use]
    pub fn room(
        &self,
        images: &[proto::Image],
        used: &BTreeSet<String>,
        held: &Held,
        policy: &Policy,
        disk: Disk,
        now: Timestamp,
    ) -> Room {
        let Disk { capacity, available, .. } = disk;
        let percent = |part: u64| u128::from(part) * 100 / u128::from(capacity.max(1));
        if capacity == 0 || 100 - percent(available.min(capacity)) < u128::from(policy.high) {
            return Room::default();
        }
        let free = u128::from(capacity) * u128::from(100_u8.saturating_sub(policy.low)) / 100;
        let free = u64::try_from(free).unwrap_or(u64::MAX);
        let candidates = self.grown(images, used, held, policy, now);
        Room { bytes: free.saturating_sub(available), candidates }
    }

    /// Images that may go to make room: nobody uses them, and they did not come a moment ago.
    #[must_use]
    pub fn grown(
        &self,
        images: &[proto::Image],
        used: &BTreeSet<String>,
        held: &Held,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<Candidate> {
        let idle = self.idle(images, used, held).into_iter();
        let grown = idle.filter(|(.., detected)| now.duration_since(*detected) >= policy.min_age);
        grown.map(|(image, ..)| candidate(image)).collect()
    }
}

fn candidate(image: &proto::Image) -> Candidate {
    Candidate { id: image.id.clone(), size: image.size }
}

/// Images of the node and the IDs of those in use.
///
/// # Errors
/// When the runtime does not answer.
pub async fn survey(
    runtime: &Runtime,
) -> Result<(Vec<proto::Image>, BTreeSet<String>), RuntimeError> {
    let images = runtime.list_images().await?;
    let containers = runtime.list_containers(Default::default()).await?;
    // Sandboxes use an image too, which no container names.
    let mut names: BTreeSet<String> = runtime.sandbox_image().await.into_iter().collect();
    for container in containers {
        names.insert(container.image_ref);
        names.insert(container.image_id);
        names.extend(container.image.map(|image| image.image));
    }
    let used = images
        .iter()
        .filter(|image| {
            names.contains(&image.id)
                || image.repo_tags.iter().chain(&image.repo_digests).any(|n| names.contains(n))
        })
        .map(|image| image.id.clone())
        .collect();
    Ok((images, used))
}

/// Where the runtime keeps its images.
pub async fn mountpoint(runtime: &Runtime) -> Option<PathBuf> {
    let all = runtime.image_fs_info().await.ok()?;
    all.into_iter().find_map(|fs| fs.fs_id).map(|id| id.mountpoint.into())
}

/// Removes images, but for those that the folders of archives hold: by its policy, and all that
/// nobody uses when the node is about to give up Pods.
pub struct Collector {
    runtime: Runtime,
    folders: Folders,
    policy: Policy,
    /// A path on the disk that counts when the runtime names none.
    fallback: PathBuf,
    events: Events,
    /// What goes with images.
    records: Arc<PullRecords>,
    ledger: Mutex<Ledger>,
}

// === impl Collector ===

impl Collector {
    /// A collector for a runtime.
    pub fn new(
        runtime: Runtime,
        folders: Folders,
        policy: Policy,
        fallback: PathBuf,
        events: Events,
        records: Arc<PullRecords>,
    ) -> Self {
        Self { runtime, folders, policy, fallback, events, records, ledger: Mutex::default() }
    }

    /// Removes images as the policy has it, until shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut failed = false;
        while !self.policy.is_off() {
            let round = self.round(Timestamp::now()).await;
            if let Err(error) = &round {
                tracing::warn!(%error, "image garbage collection failed");
                let reason = match error {
                    CollectError::Capacity => Some("InvalidDiskCapacity"),
                    CollectError::Insufficient { .. } => Some("FreeDiskSpaceFailed"),
                    _ => None,
                };
                // As upstream: what fails once may be a matter of starting.
                for reason in reason.into_iter().chain(failed.then_some("ImageGCFailed")) {
                    self.events.node(EventType::Warning, reason, error.to_string());
                }
            }
            failed = round.is_err();
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn round(&self, now: Timestamp) -> Result<(), CollectError> {
        let (mut images, used) = survey(&self.runtime).await?;
        let (held, policy) = (self.folders.held(), &self.policy);
        let mut ledger = self.ledger.lock().await;
        ledger.note(&images, &used, now);
        let old = ledger.too_old(&images, &used, &held, policy, now);
        let (removed, problems) = remove(&self.runtime, &old, u64::MAX).await;
        if !problems.is_empty() {
            let age = machinery::duration::format(policy.max_age.unsigned_abs());
            return Err(CollectError::Old { age, problems: super::aggregate(problems) });
        }
        images.retain(|image| removed.iter().all(|gone| gone.id != image.id));
        self.records.prune(&images.iter().map(|image| image.id.as_str()).collect(), now);
        let disk = self.disk().await.ok_or(CollectError::Capacity)?;
        let room = ledger.room(&images, &used, &held, policy, disk, now);
        let freed = freed(remove(&self.runtime, &room.candidates, room.bytes).await, room.bytes)?;
        if freed < room.bytes {
            return Err(CollectError::Insufficient { wanted: room.bytes, freed });
        }
        Ok(())
    }

    /// Removes all images that nobody uses.
    ///
    /// # Errors
    /// [`CollectError`] when the runtime does not answer, or not all of them could be removed.
    pub async fn remove_unused(&self, now: Timestamp) -> Result<u64, CollectError> {
        let (images, used) = survey(&self.runtime).await?;
        let mut ledger = self.ledger.lock().await;
        ledger.note(&images, &used, now);
        let all = ledger.grown(&images, &used, &self.folders.held(), &self.policy, now);
        freed(remove(&self.runtime, &all, u64::MAX).await, u64::MAX)
    }

    /// The filesystem that holds images, unless it has no size.
    async fn disk(&self) -> Option<Disk> {
        let path = mountpoint(&self.runtime).await.unwrap_or_else(|| self.fallback.clone());
        let disk = facts::disk(&path);
        (disk.capacity > 0).then_some(disk)
    }
}

/// How much came of removing images to free `wanted` bytes.
fn freed(
    (removed, problems): (Vec<&Candidate>, Vec<String>),
    wanted: u64,
) -> Result<u64, CollectError> {
    let freed = removed.iter().map(|image| image.size).sum();
    if problems.is_empty() {
        return Ok(freed);
    }
    Err(CollectError::Removal { wanted, freed, problems: super::aggregate(problems) })
}

/// Removes `candidates` until `bytes` are freed; returns those that went, and what went wrong.
async fn remove<'a>(
    runtime: &Runtime,
    candidates: &'a [Candidate],
    bytes: u64,
) -> (Vec<&'a Candidate>, Vec<String>) {
    let (mut removed, mut problems, mut freed) = (Vec::new(), Vec::new(), 0_u64);
    for image in candidates {
        if freed >= bytes {
            break;
        }
        tracing::info!(image = image.id, size = image.size, "removing unused image");
        match runtime.remove_image(&image.id).await {
            Ok(()) => {
                freed = freed.saturating_add(image.size);
                removed.push(image);
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    (removed, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        high: 85,
        low: 80,
        min_age: SignedDuration::from_secs(60),
        max_age: SignedDuration::ZERO,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ids(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|id| (*id).to_owned()).collect()
    }

    fn images(all: &[&str]) -> Vec<proto::Image> {
        let image = |id: &&str| proto::Image {
            id: (*id).to_owned(),
            size: 10,
            pinned: *id == "pinned",
            ..Default::default()
        };
        all.iter().map(image).collect()
    }

    fn held() -> Held {
        use crate::images::archive::Listed;
        use crate::images::record::{Entry, Mark, Record};
        let mark = Mark { size: 1, modified: std::time::SystemTime::UNIX_EPOCH, inode: 1 };
        let images = vec![Listed { names: Vec::new(), digest: "held".to_owned() }];
        let entry = Entry { mark, images, error: None };
        Record { archives: [("a.tar".into(), entry)].into() }.held()
    }

    fn names(candidates: &[Candidate]) -> Vec<&str> {
        candidates.iter().map(|candidate| candidate.id.as_str()).collect()
    }

    #[test]
    fn longest_unused_goes_first_and_pinned_held_or_used_stay() {
        let all = images(&["used", "pinned", "held", "old", "new", "never"]);
        let mut ledger = Ledger::default();
        ledger.note(&all, &ids(&["used", "old"]), at(100));
        ledger.note(&all, &ids(&["used", "new"]), at(200));
        let used = ids(&["used"]);
        let room = |available, now| {
            let disk = Disk { capacity: 1000, available, ..Disk::default() };
            ledger.room(&all, &used, &held(), &POLICY, disk, at(now))
        };
        assert_eq!(room(160, 300), Room::default(), "below the threshold");
        let plan = room(159, 300);
        assert_eq!((plan.bytes, names(&plan.candidates)), (41, vec!["never", "old", "new"]));
        assert_eq!(room(0, 300).bytes, 200);
        let none = Disk { capacity: 0, available: 0, ..Disk::default() };
        assert_eq!(ledger.room(&all, &used, &held(), &POLICY, none, at(300)), Room::default());
    }

    #[test]
    fn what_came_a_moment_ago_stays_but_not_what_was_there_at_the_start() {
        let mut ledger = Ledger::default();
        ledger.note(&images(&["first"]), &ids(&[]), at(100));
        let all = images(&["first", "later"]);
        ledger.note(&all, &ids(&[]), at(110));
        let full = Disk { capacity: 1000, available: 0, ..Disk::default() };
        let room = |now| ledger.room(&all, &ids(&[]), &held(), &POLICY, full, at(now));
        assert_eq!(names(&room(111).candidates), ["first"]);
        assert_eq!(names(&room(170).candidates), ["first", "later"]);
    }

    #[test]
    fn old_images_go_once_the_kubelet_could_have_seen_them_in_use() {
        let policy = Policy { max_age: SignedDuration::from_secs(100), ..POLICY };
        let all = images(&["never", "once", "used", "pinned", "held"]);
        let mut ledger = Ledger::default();
        ledger.note(&all, &ids(&["used"]), at(1000));
        ledger.note(&all, &ids(&["used", "once"]), at(1050));
        let used = ids(&["used"]);
        let old = |policy: &Policy, now| ledger.too_old(&all, &used, &held(), policy, at(now));
        assert!(old(&policy, 1100).is_empty());
        assert_eq!(names(&old(&policy, 1101)), ["never"]);
        assert_eq!(names(&old(&policy, 1151)), ["never", "once"]);
        assert!(old(&POLICY, 9999).is_empty(), "no limit");
    }

    #[test]
    fn nothing_goes_when_both_limits_are_off() {
        let off = Policy { high: 100, ..POLICY };
        assert!(off.is_off());
        assert!(!POLICY.is_off());
        assert!(!Policy { max_age: SignedDuration::from_secs(1), ..off }.is_off());
    }
}
