//! emptyDir: a directory of the Pod's own, on disk or in memory.

use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};

use super::{VolumeErrorKind, create_dir_all, mount_table, ownership};
use crate::cgroup::resources::{pod_limits, value};

/// Everybody in the Pod may write.
const MODE: u32 = 0o777;

pub(super) fn prepare(
    path: &Path,
    source: &EmptyDirVolumeSource,
    pod: &Pod,
) -> Result<(), VolumeErrorKind> {
    let medium = source.medium.as_deref().unwrap_or_default();
    if path.is_dir() && (medium.is_empty() || mount_table::is_mount_point(path)?) {
        return Ok(());
    }
    match medium {
        "" => create_dir_all(path)?,
        "Memory" => {
            create_dir_all(path)?;
            mount_table::mount_tmpfs(path, memory_size(source, pod))?;
        }
        other => {
            let problem = format!("storage medium {other:?} is not supported");
            return Err(VolumeErrorKind::Unsupported(problem));
        }
    }
    ownership::set_mode(path, MODE)
}

/// The smaller of the volume's own limit and the memory that the Pod may use.
fn memory_size(source: &EmptyDirVolumeSource, pod: &Pod) -> Option<i64> {
    let own = source.size_limit.as_ref().map(value).filter(|size| *size > 0);
    match (own, pod_limits(pod).memory) {
        (Some(own), Some(pod)) => Some(own.min(pod)),
        (own, pod) => own.or(pod),
    }
}
