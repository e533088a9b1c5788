//! A disk of a node's own, of a size that is fixed: a file on this machine with a file system in it,
//! which the node has at `/var/lib`. Nodes without one share this machine's disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The file, in the node's folder.
const IMAGE: &str = "disk.img";
/// Where its file system is mounted before the node sees it.
const MOUNT_POINT: &str = "disk";
/// What of the node's files is on it.
const LIB: &str = "var/lib";

/// Makes the disk of the node in folder `root`; it takes no more space on this machine than is
/// written to it.
///
/// # Errors
/// When the file system cannot be made, in the words of the tool that makes it.
pub(crate) fn create(root: &Path, bytes: u64) -> io::Result<()> {
    fs::create_dir_all(root.join(MOUNT_POINT))?;
    let path = root.join(IMAGE);
    File::create(&path)?.set_len(bytes)?;
    // Nothing is kept for root, who is the only one there.
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(path))
}

/// Whether the node in folder `root` has a disk of its own.
pub(crate) fn is_there(root: &Path) -> bool {
    root.join(IMAGE).exists()
}

/// Mounts the disk for this process's mount namespace, and returns what is to be mounted on what. At
/// the first boot what was written for the node is copied to it.
///
/// # Errors
/// When there is no loop device, or the disk is too small for what is on it.
pub(crate) fn mount(root: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let disk = root.join(MOUNT_POINT);
    run(Command::new("mount").args(["-n", "-o", "loop"]).arg(root.join(IMAGE)).arg(&disk))?;
    let (own, given) = (disk.join("lib"), root.join(LIB));
    if !own.exists() {
        let partial = disk.join("lib.partial");
        run(Command::new("cp").arg("-a").arg(&given).arg(&partial))?;
        fs::rename(&partial, &own)?;
    }
    Ok((own, given))
}

fn run(command: &mut Command) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("running {program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program}: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let error = run(Command::new("cp").arg("/no/such/file").arg("/tmp")).unwrap_err();
        assert!(error.to_string().starts_with("cp: "), "{error}");
        let error = run(&mut Command::new("no-such-tool")).unwrap_err();
        assert!(error.to_string().starts_with("running no-such-tool: "), "{error}");
        assert!(!is_there(Path::new("/no/such/node")));
    }
}
