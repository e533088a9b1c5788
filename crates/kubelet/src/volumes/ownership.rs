//! fsGroup: gives the files of a volume to a group.
//!
//! <https://kubernetes.io/docs/tasks/configure-pod-container/security-context/>

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use super::{VolumeErrorKind, io_error};

const SET_GID: u32 = 0o2000;
const DIR_EXECUTE: u32 = 0o110;

/// Sets permissions.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeErrorKind> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(io_error("change mode of", path))
}

/// Gives the top of a volume to the group, and everything below with it unless that was done
/// before.
pub(super) fn ensure_group(
    path: &Path,
    group: i64,
    read_only: bool,
) -> Result<(), VolumeErrorKind> {
    let metadata = fs::symlink_metadata(path).map_err(io_error("read", path))?;
    if i64::from(metadata.gid()) == group && metadata.mode() & SET_GID != 0 {
        return Ok(());
    }
    apply(path, group, read_only)
}

/// Gives `path` and everything below to the group.
pub(super) fn apply(path: &Path, group: i64, read_only: bool) -> Result<(), VolumeErrorKind> {
    let metadata = fs::symlink_metadata(path).map_err(io_error("read", path))?;
    let gid = u32::try_from(group)
        .map_err(|_| VolumeErrorKind::Unsupported(format!("invalid fsGroup {group}")))?;
    if metadata.is_dir() {
        // The top last: its group says that the rest is done.
        for entry in fs::read_dir(path).map_err(io_error("read", path))?.flatten() {
            apply(&entry.path(), group, read_only)?;
        }
    }
    lchown(path, None, Some(gid)).map_err(io_error("change group of", path))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mut mode = metadata.mode() & 0o7777 | if read_only { 0o440 } else { 0o660 };
    if metadata.is_dir() {
        mode |= SET_GID | DIR_EXECUTE;
    }
    set_mode(path, mode)
}
