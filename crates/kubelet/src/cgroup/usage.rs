//! What a control group uses.

use std::fs;
use std::path::{Path, PathBuf};

/// A reading of a group's counters. What the kernel does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time used so far, in nanoseconds.
    pub cpu_nanos: Option<u64>,
    /// Memory charged, page cache included.
    pub memory: Option<u64>,
    /// Memory charged without the page cache that could be dropped at once.
    pub working_set: Option<u64>,
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page faults so far.
    pub page_faults: Option<u64>,
    /// Major page faults so far.
    pub major_page_faults: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Usage {
    pub(super) fn read_v1(
        cpu: Option<PathBuf>,
        memory: Option<PathBuf>,
        stat: Option<PathBuf>,
        pids: Option<PathBuf>,
    ) -> Self {
        let memory = memory.and_then(number);
        let stat = stat.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        Self {
            cpu_nanos: cpu.and_then(number),
            memory,
            working_set: working_set(memory, entry(&stat, "total_inactive_file")),
            rss: entry(&stat, "total_rss"),
            page_faults: entry(&stat, "total_pgfault"),
            major_page_faults: entry(&stat, "total_pgmajfault"),
            pids: pids.and_then(number),
        }
    }

    pub(super) fn read_v2(group: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default();
        let (cpu, stat) = (text("cpu.stat"), text("memory.stat"));
        let memory = number(group.join("memory.current"));
        Self {
            cpu_nanos: entry(&cpu, "usage_usec").map(|micros| micros * 1000),
            memory,
            working_set: working_set(memory, entry(&stat, "inactive_file")),
            rss: entry(&stat, "anon"),
            page_faults: entry(&stat, "pgfault"),
            major_page_faults: entry(&stat, "pgmajfault"),
            pids: number(group.join("pids.current")),
        }
    }
}

fn working_set(memory: Option<u64>, inactive: Option<u64>) -> Option<u64> {
    Some(memory?.saturating_sub(inactive.unwrap_or(0)))
}

fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn entry(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}
