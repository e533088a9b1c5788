use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::jiff::Timestamp;

use super::format::{Line, Stream, parse};
use super::*;

const LOG: &str = "\
2026-01-01T00:00:00.5Z stdout F one
2026-01-01T00:00:01Z stderr F oops
2026-01-01T00:00:02Z stdout P two-
2026-01-01T00:00:02Z stdout F halves
2026-01-01T00:00:03Z stdout F 
";

#[test]
fn lines() {
    let check = |line: &str, expected: Option<(Stream, bool, &str)>| {
        let got = parse(line.as_bytes()).map(|line: Line<'_>| {
            (line.stream, line.partial, str::from_utf8(line.content).unwrap())
        });
        assert_eq!(got, expected, "{line}");
    };
    check("2026-01-01T00:00:00Z stdout F a b\n", Some((Stream::Stdout, false, "a b")));
    check("2026-01-01T00:00:00Z stderr P:x part", Some((Stream::Stderr, true, "part")));
    check("2026-01-01T00:00:00Z stdout F \n", Some((Stream::Stdout, false, "")));
    check("2026-01-01T00:00:00Z stdout F", Some((Stream::Stdout, false, "")));
    check("2026-01-01T00:00:00Z nowhere F x", None);
    check("garbage", None);
    check("", None);
}

async fn read(text: &str, options: LogOptions) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_write(file.path(), text);
    let mut reader = Reader::open(file.path(), options).await.unwrap();
    let mut out = Vec::new();
    while let Some(bytes) = reader.next(|| false).await.unwrap() {
        out.extend_from_slice(&bytes);
    }
    String::from_utf8(out).unwrap()
}

fn fs_write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn options_choose_what_is_delivered() {
    let options = LogOptions::default;
    assert_eq!(read(LOG, options()).await, "one\noops\ntwo-halves\n\n");
    assert_eq!(read(LOG, LogOptions { tail: Some(0), ..options() }).await, "");
    assert_eq!(read(LOG, LogOptions { tail: Some(1), ..options() }).await, "\n");
    assert_eq!(read(LOG, LogOptions { tail: Some(3), ..options() }).await, "two-halves\n\n");
    assert_eq!(read(LOG, LogOptions { tail: Some(99), ..options() }).await.lines().count(), 4);
    assert_eq!(read(LOG, LogOptions { limit_bytes: Some(6), ..options() }).await, "one\noo");
    let only = Some(read::OnlyStream::Stderr);
    assert_eq!(read(LOG, LogOptions { stream: only, ..options() }).await, "oops\n");
    let since: Timestamp = "2026-01-01T00:00:02Z".parse().unwrap();
    let since = LogOptions { since: Some(since), timestamps: true, ..options() };
    assert_eq!(read(LOG, since).await, "2026-01-01T00:00:02Z two-halves\n2026-01-01T00:00:03Z \n");
}

#[tokio::test(start_paused = true)]
async fn following_goes_over_rotation_and_ends_with_the_container() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    fs_write(&path, "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z std");
    let running = AtomicBool::new(true);
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut reader = Reader::open(&path, options).await.unwrap();
    let alive = || running.load(Ordering::Relaxed);
    assert_eq!(reader.next(alive).await.unwrap().unwrap(), "one\n");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"out F two\n").unwrap();
    assert_eq!(reader.next(alive).await.unwrap().unwrap(), "two\n");
    std::fs::rename(&path, dir.path().join("0.log.old")).unwrap();
    fs_write(&path, "2026-01-01T00:00:01Z stdout F three\n");
    assert_eq!(reader.next(alive).await.unwrap().unwrap(), "three\n");
    running.store(false, Ordering::Relaxed);
    assert_eq!(reader.next(alive).await.unwrap(), None);
}

#[test]
fn termination_messages_take_the_end_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    fs_write(&path, LOG);
    assert_eq!(tail_for_termination(&path).unwrap(), "one\noops\ntwo-halves\n\n");
    let many: String =
        (0..1000).map(|n| format!("2026-01-01T00:00:00Z stdout F line {n}\n")).collect();
    fs_write(&path, &many);
    let tail = tail_for_termination(&path).unwrap();
    assert_eq!(tail.lines().count(), 80);
    assert!(tail.ends_with("line 999\n"));
    let long = format!("2026-01-01T00:00:00Z stdout F {}\n", "x".repeat(9000));
    fs_write(&path, &long);
    assert_eq!(tail_for_termination(&path).unwrap().len(), 2048);
}

#[test]
fn rotated_files_are_compressed_and_the_oldest_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    for name in [
        "0.log",
        "0.log.20260101-000000.gz",
        "0.log.20260102-000000.gz",
        "0.log.20260103-000000",
        "0.log.20260104-000000",
        "0.log.gz.tmp",
        "1.log.20260101-000000",
    ] {
        fs_write(&dir.path().join(name), "x");
    }
    rotate::make_room(&path, RotationLimits { max_bytes: 1, max_files: 5 }).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "0.log",
            "0.log.20260102-000000.gz",
            "0.log.20260103-000000.gz",
            "0.log.20260104-000000.gz",
            "1.log.20260101-000000"
        ]
    );
}
