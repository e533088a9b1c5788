//! The `process_*` metrics that every Prometheus client library shows, read from `/proc/self`.

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Linux has reported CPU times to user space in hundredths of a second since ever.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn append(out: &mut Vec<u8>) {
    let mut gauge = |name: &str, kind: &str, help: &str, value: f64| {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("writing to a Vec cannot fail");
    };
    if let Some((cpu, virtual_bytes)) = stat() {
        gauge(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            cpu,
        );
        gauge(
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory size in bytes.",
            virtual_bytes,
        );
    }
    if let Some(bytes) = resident_bytes() {
        gauge("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", bytes);
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        let count = fds.count() as f64;
        gauge("process_open_fds", "gauge", "Number of open file descriptors.", count);
    }
    gauge(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        start_time(),
    );
}

fn stat() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold blanks; the fields after it do not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(((number(11)? + number(12)?) / TICKS_PER_SECOND, number(20)?))
}

fn resident_bytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn start_time() -> f64 {
    static START: OnceLock<f64> = OnceLock::new();
    *START.get_or_init(|| {
        let created = std::fs::metadata("/proc/self").and_then(|meta| meta.modified());
        let since = created.unwrap_or_else(|_| SystemTime::now()).duration_since(UNIX_EPOCH);
        since.map_or(0.0, |since| since.as_secs_f64())
    })
}
