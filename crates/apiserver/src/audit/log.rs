//! The log file: a line per event, and a new file when one is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use machinery::time::Timestamp;
use machinery::{Value, codec};

use super::options::{Format, LogOptions};
use super::sink::Event;

const MEGABYTE: u64 = 1024 * 1024;
const DEFAULT_MEGABYTES: u64 = 100;
/// The time in the name of an old file, as upstream writes it.
const TIME: &str = "%Y-%m-%dT%H-%M-%S.%3f";

/// Writes events to a file or to standard output.
pub(super) struct Log {
    format: Format,
    output: Mutex<Output>,
}

enum Output {
    Standard,
    File(Rotating),
}

/// A file that is put aside when it is full.
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    keep: Keep,
}

/// Which old files stay.
#[derive(Clone, Copy, Debug)]
struct Keep {
    /// At most so many; 0 is all.
    files: usize,
    /// At most so many days; 0 is for ever.
    days: u64,
}

// === impl Log ===

impl Log {
    pub(super) fn open(options: &LogOptions) -> io::Result<Self> {
        let output = match options.path.as_os_str() == "-" {
            true => Output::Standard,
            false => Output::File(Rotating::open(options)?),
        };
        Ok(Self { format: options.format, output: Mutex::new(output) })
    }

    /// Writes events, each as one line. The system takes such lines into memory, so that nobody
    /// waits for a disk here.
    pub(super) fn write(&self, events: &[Event]) -> io::Result<()> {
        let mut lines = Vec::with_capacity(1024 * events.len());
        for event in events {
            match self.format {
                Format::Json => codec::write_untyped(&mut lines, event),
                Format::Legacy => lines.extend_from_slice(legacy(event).as_bytes()),
            }
            lines.push(b'\n');
        }
        match &mut *self.output.lock().unwrap_or_else(PoisonError::into_inner) {
            Output::Standard => io::stdout().lock().write_all(&lines),
            Output::File(file) => file.write(&lines),
        }
    }
}

// === impl Rotating ===

impl Rotating {
    fn open(options: &LogOptions) -> io::Result<Self> {
        if let Some(folder) = options.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = open(&options.path)?;
        let size = file.metadata()?.len();
        let megabytes = if options.max_size == 0 { DEFAULT_MEGABYTES } else { options.max_size };
        Ok(Self {
            path: options.path.clone(),
            file,
            size,
            max_size: megabytes.saturating_mul(MEGABYTE),
            keep: Keep { files: options.max_backups, days: options.max_age },
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let len = lines.len() as u64;
        if self.size > 0 && self.size + len > self.max_size {
            self.rotate(Timestamp::now())?;
        }
        self.file.write_all(lines)?;
        self.size += len;
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        fs::rename(&self.path, backup(&self.path, now))?;
        self.file = open(&self.path)?;
        self.size = 0;
        let Some(folder) = self.path.parent() else { return Ok(()) };
        let names: Vec<String> = fs::read_dir(folder)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        for name in stale(&self.path, &names, self.keep, now) {
            fs::remove_file(folder.join(name))?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// What stands before and after the time in the names of old files.
fn affixes(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| extension.to_string_lossy());
    (format!("{stem}-"), extension.map_or_else(String::new, |extension| format!(".{extension}")))
}

fn backup(path: &Path, now: Timestamp) -> PathBuf {
    let (prefix, suffix) = affixes(path);
    path.with_file_name(format!("{prefix}{}{suffix}", now.strftime(TIME)))
}

/// The old files that are to go.
fn stale<'n>(path: &Path, names: &'n [String], keep: Keep, now: Timestamp) -> Vec<&'n str> {
    let (prefix, suffix) = affixes(path);
    let time = |name: &str| {
        let text = name.strip_prefix(&prefix)?.strip_suffix(&suffix)?;
        let (day, time) = text.split_once('T')?;
        format!("{day}T{}Z", time.replace('-', ":")).parse::<Timestamp>().ok()
    };
    let mut old: Vec<(Timestamp, &str)> =
        names.iter().filter_map(|name| Some((time(name)?, name.as_str()))).collect();
    old.sort_unstable();
    old.reverse();
    let seconds = i64::try_from(keep.days.saturating_mul(24 * 3600)).unwrap_or(i64::MAX);
    let too_old = |time: Timestamp| keep.days > 0 && now.as_second() - time.as_second() > seconds;
    let all = old.into_iter().enumerate();
    all.filter(|(at, (time, _))| (keep.files > 0 && *at >= keep.files) || too_old(*time))
        .map(|(_, (_, name))| name)
        .collect()
}

/// The line that people read.
fn legacy(event: &Value) -> String {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let list = |path: &str| {
        let items = event.pointer(path).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(|item| format!("{item:?}")).collect::<Vec<_>>()
    };
    let groups = |path: &str| match list(path) {
        groups if groups.is_empty() => "\"<none>\"".to_owned(),
        groups => groups.join(","),
    };
    let or =
        |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    let code = event.pointer("/responseStatus/code").and_then(Value::as_u64);
    let ips = event["sourceIPs"].as_array().and_then(|ips| ips.first()).and_then(Value::as_str);
    format!(
        "{} AUDIT: id={:?} stage={:?} ip={:?} method={:?} user={:?} groups={} as={:?} asgroups={} \
         user-agent={:?} namespace={:?} uri={:?} response=\"{}\"",
        text("/stageTimestamp"),
        text("/auditID"),
        text("/stage"),
        ips.unwrap_or("<unknown>"),
        text("/verb"),
        or(text("/user/username"), "<none>"),
        groups("/user/groups"),
        or(text("/impersonatedUser/username"), "<self>"),
        if event.get("impersonatedUser").is_some() {
            groups("/impersonatedUser/groups")
        } else {
            "\"<lookup>\"".to_owned()
        },
        text("/userAgent"),
        or(text("/objectRef/namespace"), "<none>"),
        text("/requestURI"),
        code.map_or_else(|| "<deferred>".to_owned(), |code| code.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn old_files_go_by_number_and_by_age() {
        let now: Timestamp = "2026-03-10T00:00:00Z".parse().unwrap();
        let path = Path::new("/var/log/audit.log");
        let names = [
            "audit.log",
            "audit-2026-03-09T23-00-00.000.log",
            "audit-2026-03-08T23-00-00.125.log",
            "audit-2026-03-01T00-00-00.000.log",
            "audit-yesterday.log",
            "other-2020-03-01T00-00-00.000.log",
        ]
        .map(str::to_owned);
        let check = |files, days, want: &[&str]| {
            assert_eq!(stale(path, &names, Keep { files, days }, now), want, "{files} {days}");
        };
        check(0, 0, &[]);
        check(3, 0, &[]);
        check(1, 0, &[&names[2], &names[3]]);
        check(0, 5, &[&names[3]]);
        check(0, 1, &[&names[2], &names[3]]);
        assert_eq!(
            backup(path, "2026-03-09T23:00:00.5Z".parse().unwrap()),
            Path::new("/var/log/audit-2026-03-09T23-00-00.500.log")
        );
    }

    #[test]
    fn a_full_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/audit.log");
        let options = LogOptions { max_size: 1, max_backups: 1, ..LogOptions::at(path.clone()) };
        let log = Log::open(&options).unwrap();
        let event = Arc::new(json!({"a": "x".repeat(600 * 1024)}));
        for _ in 0..4 {
            log.write(std::slice::from_ref(&event)).unwrap();
        }
        let mut sizes: Vec<u64> = fs::read_dir(folder.path().join("deep"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        sizes.sort_unstable();
        let line = 600 * 1024 + 9;
        assert_eq!(sizes, [line, line]);
        // What is there is gone on with.
        drop(log);
        let log = Log::open(&options).unwrap();
        log.write(&[Arc::new(json!({}))]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), line + 3);
    }

    #[test]
    fn lines_for_people() {
        let event = json!({
            "stageTimestamp": "2026-03-09T23:00:00.500000Z", "auditID": "7", "stage": "ResponseComplete",
            "verb": "get", "user": {"username": "jane", "groups": ["a", "b"]},
            "sourceIPs": ["10.0.0.1"], "userAgent": "curl", "requestURI": "/api",
            "responseStatus": {"code": 200}});
        assert_eq!(
            legacy(&event),
            "2026-03-09T23:00:00.500000Z AUDIT: id=\"7\" stage=\"ResponseComplete\" ip=\"10.0.0.1\" \
             method=\"get\" user=\"jane\" groups=\"a\",\"b\" as=\"<self>\" asgroups=\"<lookup>\" \
             user-agent=\"curl\" namespace=\"<none>\" uri=\"/api\" response=\"200\""
        );
    }
}
