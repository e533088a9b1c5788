//! Replaces all files of a volume at once.
//!
//! The files lie in a directory of their own with a time in its name; `..data` is a link to it and
//! every visible name a link through `..data`. A reader sees the old set or the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Component, Path};

use k8s_openapi::jiff::Timestamp;

use super::{VolumeErrorKind, create_dir_all, io_error};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Content.
    pub(super) data: Vec<u8>,
    /// Permissions.
    pub(super) mode: u32,
    /// Owner; root when absent.
    pub(super) owner: Option<u32>,
}

/// Files by their path inside the volume.
pub(super) type Files = BTreeMap<String, File>;

/// Makes `files` the content of `dir`. Returns whether anything had to be written. `finish` is
/// called on the new directory before it becomes visible.
pub(super) fn write(
    dir: &Path,
    files: &Files,
    now: Timestamp,
    finish: impl FnOnce(&Path) -> Result<(), VolumeErrorKind>,
) -> Result<bool, VolumeErrorKind> {
    for path in files.keys() {
        check_path(path)?;
    }
    let data = dir.join(DATA);
    let current = fs::read_link(&data).ok();
    let visible: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    if let Some(current) = &current
        && same_content(&dir.join(current), files)
    {
        // A crash may have come between the switch and the links.
        link_visible(dir, &visible)?;
        return Ok(false);
    }

    let name = now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let fresh = dir.join(&name);
    create_dir_all(&fresh)?;
    set_mode(&fresh, 0o755)?;
    for (path, file) in files {
        write_file(&fresh.join(path), &fresh, file)?;
    }
    finish(&fresh)?;

    let link = dir.join(DATA_NEW);
    match fs::remove_file(&link) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(io_error("remove", &link)(source)),
    }
    symlink(&name, &link).map_err(io_error("link", &link))?;
    fs::rename(&link, &data).map_err(io_error("rename", &data))?;
    link_visible(dir, &visible)?;
    sweep(dir, &visible, &name)?;
    Ok(true)
}

/// Paths must stay inside the volume and out of the way of the names used here.
fn check_path(path: &str) -> Result<(), VolumeErrorKind> {
    let bad = path.is_empty()
        || path.starts_with("..")
        || path.len() > 4096
        || Path::new(path).components().any(|part| !matches!(part, Component::Normal(_)));
    if bad { Err(VolumeErrorKind::Path(path.to_owned())) } else { Ok(()) }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeErrorKind> {
    // Set afterwards, because creation is subject to the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(io_error("change mode of", path))
}

fn write_file(path: &Path, root: &Path, file: &File) -> Result<(), VolumeErrorKind> {
    if let Some(parent) = path.parent()
        && parent != root
    {
        create_dir_all(parent)?;
        for dir in parent.ancestors().take_while(|dir| *dir != root) {
            set_mode(dir, 0o755)?;
        }
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("create", path))?;
    out.write_all(&file.data).map_err(io_error("write", path))?;
    set_mode(path, file.mode)?;
    if let Some(owner) = file.owner {
        chown(path, Some(owner), None).map_err(io_error("change owner of", path))?;
    }
    Ok(())
}

fn same_content(dir: &Path, files: &Files) -> bool {
    fn walk(dir: &Path, prefix: &str, files: &Files, seen: &mut usize) -> io::Result<bool> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = format!("{prefix}{}", name.to_string_lossy());
            if entry.file_type()?.is_dir() {
                if !walk(&entry.path(), &format!("{path}/"), files, seen)? {
                    return Ok(false);
                }
                continue;
            }
            match files.get(&path) {
                Some(file) if fs::read(entry.path())? == file.data => *seen += 1,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
    let mut seen = 0;
    walk(dir, "", files, &mut seen).unwrap_or(false) && seen == files.len()
}

fn link_visible(dir: &Path, visible: &BTreeSet<&str>) -> Result<(), VolumeErrorKind> {
    for name in visible {
        let link = dir.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), &link).map_err(io_error("link", &link))?;
        }
    }
    Ok(())
}

/// Removes names that are gone and directories of earlier sets, also those of a crash.
fn sweep(dir: &Path, visible: &BTreeSet<&str>, current: &str) -> Result<(), VolumeErrorKind> {
    for entry in fs::read_dir(dir).map_err(io_error("read", dir))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == DATA || name == current || visible.contains(name.as_str()) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(io_error("remove", &path))?;
    }
    Ok(())
}
