//! The memory of a server that runs on this machine.

use std::fs;
use std::path::Path;

/// Of one process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident, everything counted whole.
    pub resident: u64,
    /// Resident, with pages that several processes share counted in parts.
    pub proportional: u64,
}

/// What a process uses; `None` when it cannot be seen.
#[must_use]
pub fn of(pid: u32) -> Option<Usage> {
    parse(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse(rollup: &str) -> Option<Usage> {
    let bytes = |name: &str| -> Option<u64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    Some(Usage { resident: bytes("Rss:")?, proportional: bytes("Pss:")? })
}

/// The process that listens on a TCP port of this machine and network namespace, if it can be
/// seen.
#[must_use]
pub fn listener(port: u16) -> Option<u32> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds(Path::new(&format!("/proc/{pid}/fd")), &sockets))
}

/// The inodes of the listening sockets on a port.
fn listening(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTEN;
        fields.get(9).filter(|_| listens)?.parse().ok()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn holds(descriptors: &Path, sockets: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else { return false };
    entries.flatten().any(|entry| {
        let Ok(target) = fs::read_link(entry.path()) else { return false };
        target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_system_are_read() {
        let rollup = "5600 [rollup]\nRss:    2048 kB\nPss:   1024 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(parse(rollup), Some(Usage { resident: 2 << 20, proportional: 1 << 20 }));
        assert_eq!(parse(""), None);
        let table = "  sl  local_address rem_address   st\n\
            0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 0 0 0 4242 1\n\
            1: 0100007F:192B 0100007F:9999 01 00000000:00000000 00:00000000 0 0 0 4243 1\n\
            2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 0 0 0 4244 1\n";
        assert_eq!(listening(table, 0x192B), [4242]);
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let pid = std::process::id();
        assert_eq!(listener(port), Some(pid));
        assert!(of(pid).unwrap().resident > 0);
    }
}
