//! What Pods use of what runs out.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};
use machinery::quantity::Quantity;

use super::plan::{Consumer, Share};
use super::signals::Signal;
use crate::cri::proto;
use crate::pod::admission::requested;
use crate::pod::context::Context;
use crate::pod::spec;
use crate::runtime::labels::{CONTAINER_NAME, POD_UID};
use crate::seam::pod_uid;

/// What `pod` uses of what `signal` watches; `stats` are those of all containers.
pub(super) fn consumer(
    context: &Context,
    pod: &Pod,
    signal: Signal,
    stats: &[proto::ContainerStats],
) -> Consumer {
    let resource = signal.resource();
    let uid = pod_uid(pod);
    let spec = spec::spec(pod);
    let folders = || {
        let (own, logs) = (context.pod_dir(&uid).join("volumes"), context.pod_log_dir(pod));
        let mut all = size(&own);
        all.add(size(&logs));
        all
    };
    let share = |container: &Container| {
        let own = stats.iter().find(|stats| {
            let labels = stats.attributes.as_ref().map(|attributes| &attributes.labels);
            labels.is_some_and(|labels| {
                labels.get(POD_UID).is_some_and(|label| *label == uid.0)
                    && labels.get(CONTAINER_NAME).is_some_and(|label| *label == container.name)
            })
        });
        let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        let request = requests.and_then(|requests| requests.get(resource));
        let request = request.and_then(|quantity| quantity.0.parse::<Quantity>().ok());
        let requested = request.map_or(0, |quantity| quantity.value());
        Share {
            container: container.name.clone(),
            used: own.map_or(0, |stats| used(stats, signal)),
            requested: u64::try_from(requested).unwrap_or(0),
        }
    };
    let shares: Vec<Share> = spec.containers.iter().map(share).collect();
    let layers: u64 = shares.iter().map(|share| share.used).sum();
    let groups = context.cgroups.as_ref().map(|groups| groups.pod_usage(pod)).unwrap_or_default();
    let used = match signal {
        Signal::MemoryAvailable => groups.working_set.unwrap_or(layers),
        Signal::PidAvailable => groups.pids.unwrap_or(0),
        Signal::NodefsAvailable | Signal::ImagefsAvailable => layers + folders().bytes,
        Signal::NodefsInodesFree | Signal::ImagefsInodesFree => layers + folders().inodes,
    };
    let requested = u64::try_from(requested(pod, resource) / 1000).unwrap_or(0);
    Consumer { priority: spec.priority.unwrap_or(0), used, requested, shares }
}

fn used(stats: &proto::ContainerStats, signal: Signal) -> u64 {
    let layer = stats.writable_layer.as_ref();
    let number = match signal {
        Signal::MemoryAvailable => stats.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()),
        Signal::NodefsAvailable | Signal::ImagefsAvailable => {
            layer.and_then(|layer| layer.used_bytes.as_ref())
        }
        Signal::NodefsInodesFree | Signal::ImagefsInodesFree => {
            layer.and_then(|layer| layer.inodes_used.as_ref())
        }
        Signal::PidAvailable => None,
    };
    number.map_or(0, |number| number.value)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    bytes: u64,
    inodes: u64,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// What is in a folder, without what other file systems are mounted in it.
fn size(folder: &Path) -> Size {
    let Ok(device) = folder.symlink_metadata().map(|meta| meta.dev()) else {
        return Size::default();
    };
    let mut all = Size::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What vanishes meanwhile takes no space.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            if meta.dev() != device {
                continue;
            }
            all.add(Size { bytes: meta.blocks() * 512, inodes: 1 });
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_large_as_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(size(folder.path()), Size::default());
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/file"), vec![1; 20_000]).unwrap();
        let seen = size(folder.path());
        assert!(seen.inodes == 2 && seen.bytes >= 20_000, "{seen:?}");
        assert_eq!(size(&folder.path().join("missing")), Size::default());
    }
}
