//! The processes of a control plane that run on this machine: which they are, and what memory and
//! processor time they use.
//!
//! They may be in containers. A server is found from a connection to it: the process that holds
//! the other end, in whatever network namespace. What else listens there, on the ports where
//! Kubernetes' components do, is found by the port.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Linux reports processor times to user space in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// The memory of one process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident, everything counted whole.
    pub resident: u64,
    /// Resident, with pages that several processes share counted in parts.
    pub proportional: u64,
}

/// What memory a process uses; `None` when it cannot be seen.
#[must_use]
pub fn memory(pid: u32) -> Option<Usage> {
    parse_rollup(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// The processor time that a process has used; `None` when it cannot be seen.
#[must_use]
pub fn processor(pid: u32) -> Option<Duration> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The process that holds the end at `there` of a connection from `here`.
#[must_use]
pub fn at_the_other_end(here: SocketAddr, there: SocketAddr) -> Option<u32> {
    let connection = (canonical(there), canonical(here));
    find(&namespaces(), |socket| (socket.local, socket.remote) == connection)
}

/// The process that listens on a port in the network namespace of process `pid`.
#[must_use]
pub fn listener(pid: u32, port: u16) -> Option<u32> {
    let namespace = namespace(pid)?;
    let same: Vec<_> = namespaces().into_iter().filter(|(id, _)| *id == namespace).collect();
    find(&same, |socket| socket.listens && socket.local.port() == port)
}

/// One line of the system's table of TCP sockets.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    listens: bool,
    inode: u64,
}

/// A network namespace and the processes in it.
type Namespace = (PathBuf, Vec<u32>);

fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// All that have processes which can be seen.
fn namespaces() -> Vec<Namespace> {
    let mut found: HashMap<PathBuf, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(id) = namespace(pid) {
            found.entry(id).or_default().push(pid);
        }
    }
    found.into_iter().collect()
}

/// A process that holds such a socket.
fn find(namespaces: &[Namespace], is_wanted: impl Fn(&Socket) -> bool) -> Option<u32> {
    namespaces.iter().find_map(|(_, pids)| {
        let one = pids.first()?;
        let table = |name: &str| fs::read_to_string(format!("/proc/{one}/net/{name}")).ok();
        let tables: Vec<String> = ["tcp", "tcp6"].iter().filter_map(|name| table(name)).collect();
        let wanted: Vec<PathBuf> = tables
            .iter()
            .flat_map(|table| table.lines().skip(1).filter_map(parse_socket))
            .filter(|socket| is_wanted(socket))
            .map(|socket| PathBuf::from(format!("socket:[{}]", socket.inode)))
            .collect();
        let holds = |pid: &&u32| holds(Path::new(&format!("/proc/{pid}/fd")), &wanted);
        if wanted.is_empty() { None } else { pids.iter().find(holds).copied() }
    })
}

fn holds(descriptors: &Path, sockets: &[PathBuf]) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else { return false };
    entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| sockets.contains(&target)))
}

fn parse_socket(line: &str) -> Option<Socket> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (parse_address(fields.next()?)?, parse_address(fields.next()?)?);
    let listens = fields.next()? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Socket { local, remote, listens, inode })
}

/// An address as the system's tables have it: words in the machine's order, in hexadecimal.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).into(),
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

/// IPv4 as such, whatever kind of socket it is on.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn parse_rollup(rollup: &str) -> Option<Usage> {
    let bytes = |name: &str| -> Option<u64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    Some(Usage { resident: bytes("Rss:")?, proportional: bytes("Pss:")? })
}

fn parse_stat(stat: &str) -> Option<Duration> {
    // The name before may hold blanks and brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_system_are_read() {
        let rollup = "5600 [rollup]\nRss:    2048 kB\nPss:   1024 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(parse_rollup(rollup), Some(Usage { resident: 2 << 20, proportional: 1 << 20 }));
        assert_eq!(parse_rollup(""), None);
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(2)));

        let listening = "   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 \
                         00000000     0        0 4242 1 0000000000000000 100 0 0 10 0";
        let socket = parse_socket(listening).unwrap();
        assert!(socket.listens && socket.inode == 4242);
        assert_eq!(socket.local, "127.0.0.1:6443".parse().unwrap());
        let mapped = "1: 0000000000000000FFFF00000100007F:192B \
                      0000000000000000FFFF00000100007F:9999 01 0:0 0:0 0 0 0 7 1";
        let socket = parse_socket(mapped).unwrap();
        assert_eq!(socket.remote, "127.0.0.1:39321".parse().unwrap());
        assert!(!socket.listens);
        assert_eq!(parse_socket("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn this_process_is_found_by_its_connections_and_its_port() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        let (server, _) = listening.accept().unwrap();
        let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let pid = std::process::id();
        assert_eq!(at_the_other_end(here, there), Some(pid));
        assert_eq!(listener(pid, there.port()), Some(pid));
        drop((client, server, listening));
        assert_ne!(listener(pid, there.port()), Some(pid));
        assert!(memory(pid).unwrap().resident > 0);
        assert!(processor(pid).is_some());
    }
}
