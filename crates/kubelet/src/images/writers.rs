//! Whether somebody still writes a file. Only then does the kernel refuse a read lease on it, however
//! the writer got there and whichever namespace it is in.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// `F_SETSIG` of `fcntl`, the same on every architecture.
const F_SETSIG: libc::c_int = 10;

/// Whether the file at `path` is open for writing. Where the file system has no leases, and for a
/// file that is gone, the answer is no.
#[must_use]
pub fn has_writer(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let descriptor = file.as_raw_fd();
    // Who opens it for writing meanwhile breaks the lease, and the kernel tells with a signal: with
    // one that is ignored by default, and not with SIGIO, which would end the process.
    // SAFETY: the descriptor is open, and both arguments are integers.
    let told = unsafe { libc::fcntl(descriptor, F_SETSIG, libc::SIGURG) };
    if told < 0 {
        return false;
    }
    // SAFETY: as above. Closing the file, which follows, gives the lease back.
    let leased = unsafe { libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) };
    leased < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_writer_is_noticed_until_it_closes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"half").unwrap();
        assert!(has_writer(&path));
        drop(writer);
        assert!(!has_writer(&path));
        let _reader = File::open(&path).unwrap();
        assert!(!has_writer(&path), "readers do not matter");
        assert!(!has_writer(&folder.path().join("missing")));
    }
}
