//! Removal of images that nobody uses when the disk fills up.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::cri::{Runtime, RuntimeError, proto};

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

/// One round: removes images if the filesystem at `mountpoint` is too full.
pub async fn collect(
    runtime: &Runtime,
    ledger: &mut Ledger,
    mountpoint: &std::path::Path,
    thresholds: Thresholds,
    now: Timestamp,
) -> Result<usize, RuntimeError> {
    let (images, used) = survey(runtime).await?;
    ledger.note(&images, &used, now);
    let Ok(disk) = nix::sys::statvfs::statvfs(mountpoint) else { return Ok(0) };
    let unit = disk.fragment_size();
    let capacity = disk.blocks().saturating_mul(unit);
    let available = disk.blocks_available().saturating_mul(unit);
    if capacity == 0 {
        return Ok(0);
    }
    let usage = 100 - available.saturating_mul(100) / capacity;
    if usage < u64::from(thresholds.high) {
        return Ok(0);
    }
    let target = capacity / 100 * u64::from(100 - thresholds.low);
    let bytes = target.saturating_sub(available);
    let victims = ledger.victims(&images, &used, bytes, thresholds.min_age, now);
    for id in &victims {
        tracing::info!(image = id, "removing unused image");
        runtime.remove_image(id).await?;
    }
    Ok(victims.len())
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
}
