//! A full disk: a small file system of its own, in a mount namespace that goes with its process.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use store::embedded::{Options, open};
use store::{Error, RangeRequest, Store, Txn};

const PATH: &str = "STORE_FULL_TEST_PATH";

/// Runs `test` of this module with a file system of `size` at a folder, alone.
fn alone(test: &str, size: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={size} tmpfs \"$FOLDER\" && exec \"$0\" \"$@\"");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &mount])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("full::{test}"), "--exact", "--ignored", "--nocapture"])
        .env("FOLDER", folder.path())
        .env(PATH, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

/// Takes all space that is left.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    for size in [1 << 20, 1 << 12] {
        while filler.write_all(&vec![1; size]).is_ok() {}
    }
    path
}

async fn create(store: &Store, number: u64) -> Result<(), Error> {
    let value: bytes::Bytes = vec![number.to_le_bytes()[0]; 20_000].into();
    let made = store.txn(Txn::create(format!("/{number:06}"), value, None)).await?;
    assert!(made.succeeded, "{number} was not made before");
    Ok(())
}

/// The keys, with their values read.
async fn numbers(store: &Store) -> Vec<u64> {
    let range = store.range(RangeRequest::prefix("/")).await.unwrap();
    let number = |key: &[u8]| std::str::from_utf8(&key[1..]).unwrap().parse().unwrap();
    range
        .kvs
        .iter()
        .map(|kv| {
            let number: u64 = number(&kv.key);
            assert!(kv.value.iter().all(|byte| *byte == number.to_le_bytes()[0]));
            number
        })
        .collect()
}

#[test]
fn a_full_disk_stops_writes_only_and_for_as_long_as_it_is_full() {
    alone("while_full", "24m");
}

#[tokio::test]
#[ignore = "needs a file system of its own"]
async fn while_full() {
    let Some(folder) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let path = folder.join("db");
    let options = || Options {
        recent_bytes: 1000,
        compaction_chunk: 16,
        journal_bytes: 1 << 20,
        ..Options::default()
    };
    let store = open(&path, options()).unwrap();
    let filler = fill(&folder);
    // There may be room in the file, but for a journal there is none.
    let first = create(&store, 0).await;
    assert!(matches!(first, Ok(()) | Err(Error::NoSpace)), "{first:?}");
    let journal = folder.join("db.journal");
    assert!(!journal.exists());
    std::fs::remove_file(filler).unwrap();
    let mut acknowledged = Vec::new();
    let mut next = 0;
    if first.is_ok() {
        acknowledged.push(next);
        next += 1;
    }
    // The next attempt to make a journal is not at once.
    while !journal.exists() {
        create(&store, next).await.unwrap();
        acknowledged.push(next);
        next += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for round in 0..3 {
        for _ in 0..20 {
            create(&store, next).await.unwrap();
            acknowledged.push(next);
            next += 1;
        }
        let filler = fill(&folder);
        // What is there already may be enough for some, also after the first that is refused: what
        // the file takes in behind the journal makes room there.
        let mut refusals = 0;
        while refusals < 4 {
            match create(&store, next).await {
                Ok(()) => {
                    acknowledged.push(next);
                    next += 1;
                    refusals = 0;
                }
                Err(refused) => {
                    assert_eq!(refused, Error::NoSpace, "round {round}");
                    assert_eq!(refused.to_string(), "etcdserver: mvcc: database space exceeded");
                    refusals += 1;
                }
            }
        }

        assert_eq!(numbers(&store).await, acknowledged, "reads go on");
        let first = store.get("/000000").await.unwrap().unwrap();
        assert_eq!(first.value.len(), 20_000);
        let refused = store.txn(Txn::create("/000000", "x", None)).await.unwrap();
        assert_eq!(refused.current[0].as_ref(), Some(&first));
        let mut watch = store.watch("/", 2);
        let mut seen = 0;
        while seen < acknowledged.len() {
            seen += watch.next().await.unwrap().unwrap().events.len();
        }

        std::fs::remove_file(filler).unwrap();
        create(&store, next).await.expect("there is space again");
        acknowledged.push(next);
        next += 1;
        assert_eq!(numbers(&store).await, acknowledged);
    }
    let revision = store.revision().await.unwrap();
    assert_eq!(revision, 1 + acknowledged.len() as u64, "refused writes use no revision");
    store.compact(revision).await.unwrap();

    let filler = fill(&folder);
    while create(&store, next).await.is_ok() {
        acknowledged.push(next);
        next += 1;
    }
    let revision = store.revision().await.unwrap();
    store.close().await.expect("what does not fit the file stays in the journal");
    std::fs::remove_file(filler).unwrap();
    let store = open(&path, options()).unwrap();
    assert_eq!(numbers(&store).await, acknowledged);
    assert_eq!(store.revision().await.unwrap(), revision);
}

#[test]
fn a_store_that_crashed_says_that_the_disk_is_full_and_opens_once_it_is_not() {
    alone("crashed_while_full", "24m");
}

#[tokio::test]
#[ignore = "needs a file system of its own"]
async fn crashed_while_full() {
    let Some(folder) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let running = folder.join("running");
    let store = open(&running, Options::default()).unwrap();
    for number in 0..50 {
        create(&store, number).await.unwrap();
    }
    // What a crash leaves: the file is behind its journal, and neither was closed.
    let crashed = folder.join("crashed");
    for end in ["", ".journal"] {
        let name = |stem: &str| folder.join(format!("{stem}{end}"));
        std::fs::copy(name("running"), name("crashed")).unwrap();
    }
    store.close().await.unwrap();
    std::fs::remove_file(&running).unwrap();
    std::fs::remove_file(folder.join("running.journal")).ok();
    let filler = fill(&folder);
    for _ in 0..2 {
        let path = crashed.clone();
        let (sender, opened) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(open(&path, Options::default()).map(drop)).ok());
        // For ever would be too long; how long it takes is not what is asked.
        let opened = opened.recv_timeout(Duration::from_secs(60)).expect("it does not hang");
        if let Err(error) = opened {
            let wanted =
                format!("{} cannot be opened as a store: the disk is full", crashed.display());
            assert_eq!(error, Error::Engine(wanted));
        }
    }
    std::fs::remove_file(filler).unwrap();
    let store = open(&crashed, Options::default()).unwrap();
    assert_eq!(numbers(&store).await, (0..50).collect::<Vec<_>>());
}

#[test]
fn what_is_no_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let check = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        let error = open(&path, Options::default()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("store.redb cannot be opened as a store: "), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content, "it is left alone");
    };
    check(b"apiVersion: v1");
    check(&vec![0xa5; 100_000]);
}
