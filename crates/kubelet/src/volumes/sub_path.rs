//! `subPath`: a file or directory inside a volume, held in place by a bind mount.
//!
//! A container can replace any part of the path by a link to the host's files while the kubelet
//! looks. So every part is opened without following links, relative to the part before, and what
//! was opened is what gets mounted.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::mount_table;

/// Why a path inside a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubPathError {
    #[error("subPath {0:?} must be a relative path inside the volume")]
    Outside(String),
    #[error("{0:?} is a symbolic link")]
    Link(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for SubPathError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Binds `sub_path` of `volume` to `place`; directories that are missing are made.
pub(super) fn bind(volume: &Path, sub_path: &str, place: &Path) -> Result<(), SubPathError> {
    let outside = || SubPathError::Outside(sub_path.to_owned());
    let relative = Path::new(sub_path);
    let stays =
        relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !stays {
        return Err(outside());
    }
    // Links that exist now are resolved once (a ConfigMap's files are links); none is followed
    // after this.
    let volume = volume.canonicalize()?;
    let resolved = match volume.join(relative).canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => volume.join(relative),
        Err(error) => return Err(error.into()),
    };
    let inside = resolved.strip_prefix(&volume).map_err(|_| outside())?;
    let found = open_inside(&volume, inside)?;
    let status = fstat(&found)?;
    let is_dir = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;

    if let Ok(existing) = fs::symlink_metadata(place) {
        if existing.dev() == status.st_dev && existing.ino() == status.st_ino {
            return Ok(());
        }
        mount_table::unmount(place)?;
    }
    if is_dir {
        if !place.is_dir() {
            remove_file(place)?;
            fs::create_dir_all(place)?;
        }
    } else if !place.is_file() {
        if place.is_dir() {
            fs::remove_dir(place)?;
        }
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(place)?;
    }
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(mount_table::bind(Path::new(&source), place)?)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_inside(volume: &Path, inside: &Path) -> Result<OwnedFd, SubPathError> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut current = open(volume, flags, Mode::empty())?;
    let mode = Mode::from_bits_truncate(fstat(&current)?.st_mode & 0o777);
    for part in inside.components() {
        let Component::Normal(name) = part else { continue };
        let name = Path::new(name);
        let (next, made) = match openat(&current, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                let made = match mkdirat(&current, name, mode) {
                    Ok(()) => true,
                    // Made by someone else in between.
                    Err(Errno::EEXIST) => false,
                    Err(errno) => return Err(errno.into()),
                };
                (openat(&current, name, flags, Mode::empty())?, made)
            }
            other => (other?, false),
        };
        let kind = SFlag::from_bits_truncate(fstat(&next)?.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFLNK {
            return Err(SubPathError::Link(name.display().to_string()));
        }
        if made {
            // The umask has had its say at creation.
            let opened = format!("/proc/self/fd/{}", next.as_raw_fd());
            fs::set_permissions(opened, fs::Permissions::from_mode(mode.bits()))?;
        }
        current = next;
    }
    Ok(current)
}
