//! Container logs: where they lie, how they are read, how they are rotated.
//!
//! The runtime writes `/var/log/pods/<namespace>_<name>_<uid>/<container>/<restart>.log`, one line
//! of CRI format for each piece of output.

pub mod format;
pub mod read;
pub mod rotate;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::seam::PodUid;

pub use read::{LogOptions, Reader};
pub use rotate::{RotationLimits, rotate};

/// Root of all Pods' logs.
pub const POD_LOGS: &str = "/var/log/pods";
/// What a termination message may be made of when it falls back to the log.
const FALLBACK_BYTES: u64 = 2048;
const FALLBACK_LINES: usize = 80;

/// Directory of a Pod's logs.
pub fn pod_log_dir(namespace: &str, name: &str, uid: &PodUid) -> PathBuf {
    Path::new(POD_LOGS).join(format!("{namespace}_{name}_{uid}"))
}

/// Log file of one instance of a container, relative to the Pod's directory.
pub fn container_log_path(container: &str, restart: u32) -> PathBuf {
    Path::new(container).join(format!("{restart}.log"))
}

/// The end of a log, as termination message of a container that failed without leaving one.
pub fn tail_for_termination(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    // Prefixes of the format come on top of the output.
    let length = file.metadata()?.len();
    let start = length.saturating_sub(FALLBACK_BYTES * 8);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for raw in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = format::parse(raw) else { continue };
        match lines.last_mut() {
            Some(last) if open => last.extend_from_slice(line.content),
            _ => lines.push(line.content.to_vec()),
        }
        open = line.partial;
    }
    let keep = lines.len().saturating_sub(FALLBACK_LINES);
    let text = lines[keep..].join(&b'\n');
    let ends_line = !open && !text.is_empty();
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if ends_line {
        text.push('\n');
    }
    let mut cut = text.len().saturating_sub(FALLBACK_BYTES as usize);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    Ok(text.split_off(cut))
}

#[cfg(test)]
mod tests;
