//! Mounting, unmounting and what is mounted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{VolumeErrorKind, io_error};
use crate::cri::View;

const TABLE: &str = "/proc/self/mountinfo";

/// Mounts a file system in memory; without `size` it may grow as the kernel allows.
pub(super) fn mount_tmpfs(path: &Path, size: Option<i64>) -> Result<(), VolumeErrorKind> {
    let mut options = "mode=777".to_owned();
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|errno| io_error("mount tmpfs on", path)(errno.into()))
}

/// Mounts what `source` names on `target`, which must exist.
pub(super) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    Ok(())
}

/// Mounts a view of an image read-only; programs in it gain no rights by being run.
pub(super) fn mount_view(view: &View, target: &Path) -> Result<(), VolumeErrorKind> {
    let failed = |errno: Errno| io_error("mount image on", target)(errno.into());
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if view.kind == "bind" {
        bind(Path::new(&view.source), target).map_err(io_error("mount image on", target))?;
        let again = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        return mount(None::<&str>, target, None::<&str>, again, None::<&str>).map_err(failed);
    }
    let data: Vec<&str> = view.options.iter().map(String::as_str).filter(|o| *o != "ro").collect();
    let data = data.join(",");
    mount(Some(view.source.as_str()), target, Some(view.kind.as_str()), flags, Some(data.as_str()))
        .map_err(failed)
}

/// Unmounts one path; it may be in use, and need not be mounted.
pub(super) fn unmount(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EBUSY) => {}
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    Ok(umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)?)
}

/// Whether a file system of its own begins at `path`.
pub(super) fn is_mount_point(path: &Path) -> Result<bool, VolumeErrorKind> {
    let own = fs::symlink_metadata(path);
    let parent = path.parent().map(fs::symlink_metadata);
    match (own, parent) {
        // Enough for tmpfs; a bind mount within one device shows only in the table.
        (Ok(own), Some(Ok(parent))) if own.dev() != parent.dev() => Ok(true),
        (Ok(_), _) => Ok(mounts_below(path)?.iter().any(|mount| mount == path)),
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        (Err(source), _) => Err(io_error("read", path)(source)),
    }
}

/// Unmounts everything at or below `path`, innermost first.
pub(super) fn unmount_below(path: &Path) -> Result<(), VolumeErrorKind> {
    // A path may be mounted several times over, so the table is read until it is clean.
    for _ in 0..16 {
        let mounts = mounts_below(path)?;
        if mounts.is_empty() {
            return Ok(());
        }
        for mount in mounts.iter().rev() {
            unmount(mount).map_err(io_error("unmount", mount))?;
        }
    }
    let busy = io::Error::from(io::ErrorKind::ResourceBusy);
    Err(io_error("unmount", path)(busy))
}

/// Mount points at or below `path` in the order in which they were mounted.
fn mounts_below(path: &Path) -> Result<Vec<PathBuf>, VolumeErrorKind> {
    let table = fs::read_to_string(TABLE).map_err(io_error("read", Path::new(TABLE)))?;
    Ok(parse(&table).filter(|mount| mount.starts_with(path)).collect())
}

fn parse(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|text| PathBuf::from(unescape(text)))
}

/// Blanks, tabs, line ends and backslashes are octal in the table.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        let table = "36 35 98:0 / /var/lib/kubelet/pods/a\\040b rw shared:1 - tmpfs tmpfs rw\n\
                     37 35 98:0 / /back\\134slash rw - ext4 /dev/sda rw\n";
        let points: Vec<_> = parse(table).collect();
        assert_eq!(points, [Path::new("/var/lib/kubelet/pods/a b"), Path::new("/back\\slash")]);
    }
}
