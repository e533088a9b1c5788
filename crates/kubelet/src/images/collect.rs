//! Removal of images that nobody uses when the disk fills up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use tokio::sync::Mutex;

use crate::cri::{Runtime, RuntimeError, proto};
use crate::events::{EventType, Events};
use crate::node::facts;

/// When to start removing images, and where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Percentage of the disk above which images are removed.
    pub high: u8,
    /// Percentage to come down to.
    pub low: u8,
    /// Youngest age at which an unused image may go.
    pub min_age: SignedDuration,
}

/// Since when the kubelet knows each image, and when it last saw it in use.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<String, (Timestamp, Timestamp)>);

// === impl Thresholds ===

impl Default for Thresholds {
    fn default() -> Self {
        Self { high: 85, low: 80, min_age: SignedDuration::from_mins(2) }
    }
}

impl Thresholds {
    /// Bytes to free on a disk of `capacity`, of which `available` are left.
    fn excess(&self, capacity: u64, available: u64) -> u64 {
        let usage = 100 - available.saturating_mul(100).checked_div(capacity).unwrap_or(100);
        if usage < u64::from(self.high) {
            return 0;
        }
        (capacity / 100 * u64::from(100 - self.low)).saturating_sub(available)
    }
}

// === impl Ledger ===

impl Ledger {
    /// Notes which images exist and which are in use.
    pub fn note(&mut self, images: &[proto::Image], used: &BTreeSet<String>, now: Timestamp) {
        self.0.retain(|id, _| images.iter().any(|image| &image.id == id));
        for image in images {
            let entry = self.0.entry(image.id.clone()).or_insert((now, Timestamp::UNIX_EPOCH));
            if used.contains(&image.id) {
                entry.1 = now;
            }
        }
    }

    /// IDs to remove so that `bytes` are freed: longest unused first, never pinned or used ones.
    pub fn victims(
        &self,
        images: &[proto::Image],
        used: &BTreeSet<String>,
        bytes: u64,
        min_age: SignedDuration,
        now: Timestamp,
    ) -> Vec<String> {
        let mut candidates: Vec<(&proto::Image, (Timestamp, Timestamp))> = images
            .iter()
            .filter(|image| !image.pinned && !used.contains(&image.id))
            .filter_map(|image| Some((image, *self.0.get(&image.id)?)))
            .filter(|(_, (seen, _))| now.duration_since(*seen) >= min_age)
            .collect();
        candidates.sort_by_key(|(_, (seen, last))| (*last, *seen));
        let mut freed = 0;
        candidates
            .into_iter()
            .take_while(|(image, _)| {
                let more = freed < bytes;
                freed += image.size;
                more
            })
            .map(|(image, _)| image.id.clone())
            .collect()
    }
}

/// Images of the node and the IDs of those in use.
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

/// Removes images: some when the disk fills up, all that nobody uses when the node is about to give
/// up Pods.
pub struct Collector {
    runtime: Runtime,
    ledger: Mutex<Ledger>,
    thresholds: Thresholds,
    /// Where images are if the runtime does not say.
    root_dir: PathBuf,
    events: Events,
}

// === impl Collector ===

impl Collector {
    /// A collector for a runtime.
    pub fn new(
        runtime: Runtime,
        thresholds: Thresholds,
        root_dir: PathBuf,
        events: Events,
    ) -> Self {
        Self { runtime, ledger: Mutex::default(), thresholds, root_dir, events }
    }

    /// One round: removes images if their file system is too full.
    pub async fn collect(&self, now: Timestamp) -> Result<(), RuntimeError> {
        let mountpoint = mountpoint(&self.runtime).await.unwrap_or_else(|| self.root_dir.clone());
        let disk = facts::disk(&mountpoint);
        let wanted = self.thresholds.excess(disk.capacity, disk.available);
        let freed = self.remove(wanted, now).await?;
        if freed < wanted {
            let text = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} \
                 bytes, but only found {freed} bytes eligible to free."
            );
            self.events.node(EventType::Warning, "FreeDiskSpaceFailed", text);
        }
        Ok(())
    }

    /// Removes all images that nobody uses.
    pub async fn remove_unused(&self, now: Timestamp) -> Result<u64, RuntimeError> {
        self.remove(u64::MAX, now).await
    }

    /// Removes unused images until so many bytes are free, and tells how many they were.
    async fn remove(&self, bytes: u64, now: Timestamp) -> Result<u64, RuntimeError> {
        let (images, used) = survey(&self.runtime).await?;
        let mut ledger = self.ledger.lock().await;
        ledger.note(&images, &used, now);
        let mut freed: u64 = 0;
        for id in ledger.victims(&images, &used, bytes, self.thresholds.min_age, now) {
            tracing::info!(image = id, "removing unused image");
            self.runtime.remove_image(&id).await?;
            freed += images.iter().find(|image| image.id == id).map_or(0, |image| image.size);
        }
        Ok(freed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_unused_goes_first_and_pinned_or_used_stay() {
        let image = |id: &str, pinned| proto::Image {
            id: id.into(),
            size: 10,
            pinned,
            ..Default::default()
        };
        let images =
            [image("used", false), image("pinned", true), image("old", false), image("new", false)];
        let at = |s| Timestamp::from_second(s).unwrap();
        let used = |ids: &[&str]| ids.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        let mut ledger = Ledger::default();
        ledger.note(&images, &used(&["used", "old"]), at(100));
        ledger.note(&images, &used(&["used", "new"]), at(200));
        let min_age = SignedDuration::from_secs(60);
        let pick = |bytes, now| ledger.victims(&images, &used(&["used"]), bytes, min_age, at(now));
        assert_eq!(pick(5, 300), ["old"]);
        assert_eq!(pick(15, 300), ["old", "new"]);
        assert!(pick(15, 120).is_empty());
        assert!(pick(0, 300).is_empty());
    }

    #[test]
    fn a_disk_is_freed_from_the_high_mark_down_to_the_low_one() {
        let marks = Thresholds { high: 85, low: 80, ..Thresholds::default() };
        assert_eq!(marks.excess(1000, 160), 0);
        assert_eq!(marks.excess(1000, 150), 50);
        assert_eq!(marks.excess(1000, 0), 200);
        assert_eq!(marks.excess(0, 0), 0, "a disk that cannot be seen");
        let never = Thresholds { high: 100, low: 80, ..Thresholds::default() };
        assert_eq!(never.excess(1000, 10), 0);
    }
}
