//! kill −9: a child process writes and tells what was acknowledged; the parent kills it at random
//! moments and looks at what is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rand::Rng;
use store::embedded::{Options, Stopped, open};
use store::{Op, RangeRequest, Store, Txn};

const PATH: &str = "STORE_CRASH_TEST_PATH";
const WRITERS: u64 = 8;
const ROUNDS: usize = 25;

/// Every transaction writes a pair of keys with the same number, so that a half-made one shows.
/// Values are long enough to span pages.
fn pair(writer: u64, number: u64) -> Txn {
    let value: bytes::Bytes = format!("{number:0>900}").into();
    let ops = ["left", "right"].map(|side| Op::Put {
        key: format!("/{side}/{writer}").into(),
        value: value.clone(),
        lease: None,
    });
    Txn { compare: vec![], ops: ops.into() }
}

/// So that all there is to do is being done all the time.
fn small() -> Options {
    Options { compaction_chunk: 64, journal_bytes: 256 << 10, ..Options::default() }
}

/// Number by writer, as found on one side.
async fn side(store: &Store, side: &str) -> BTreeMap<u64, u64> {
    let range = store.range(RangeRequest::prefix(format!("/{side}/"))).await.unwrap();
    range
        .kvs
        .iter()
        .map(|kv| {
            let key = std::str::from_utf8(&kv.key).unwrap();
            let writer = key.rsplit('/').next().unwrap().parse().unwrap();
            (writer, std::str::from_utf8(&kv.value).unwrap().parse().unwrap())
        })
        .collect()
}

/// The child: writes until it is killed, telling each start and each acknowledgement.
#[test]
#[ignore = "the part of the crash test that gets killed"]
fn child() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&path), small()).unwrap();
        let found = side(&store, "left").await;
        let say = |line: String| {
            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        };
        say("ready\n".into());
        for writer in 0..WRITERS {
            let store = store.clone();
            let mut number = found.get(&writer).copied().unwrap_or(0);
            tokio::spawn(async move {
                loop {
                    number += 1;
                    say(format!("try {writer} {number}\n"));
                    let result = store.txn(pair(writer, number)).await.unwrap();
                    say(format!("ack {writer} {number} {}\n", result.revision));
                }
            });
        }
        loop {
            let revision = store.revision().await.unwrap();
            store.compact(revision.saturating_sub(50)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
}

#[derive(Default)]
struct Told {
    tried: BTreeMap<u64, u64>,
    acknowledged: BTreeMap<u64, u64>,
    revision: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "try" => drop(self.tried.insert(number(1), number(2))),
            "ack" => {
                self.acknowledged.insert(number(1), number(2));
                self.revision = self.revision.max(number(3));
            }
            _ => {}
        }
    }

    /// The last line may be cut off; it ends the stream then.
    fn hear_whole(&mut self, line: &str) {
        let words = line.split(' ').count();
        if (line.starts_with("ack") && words == 4) || (line.starts_with("try") && words == 3) {
            self.hear(line);
        }
    }
}

#[test]
fn acknowledged_writes_survive_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut told = Told::default();
    let mut highest = 0;
    for round in 0..ROUNDS {
        let start = || {
            Command::new(std::env::current_exe().unwrap())
                .args(["crash::child", "--exact", "--ignored", "--nocapture"])
                .env(PATH, &path)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut child = start();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next().unwrap().unwrap() != "ready" {}
        // The moment of death is given in lines, not in time, plus a little of both.
        let mut left = rand::rng().random_range(0..300);
        while left > 0 {
            told.hear(&lines.next().unwrap().unwrap());
            left -= 1;
        }
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| told.hear_whole(&line.unwrap()));

        if round % 5 == 0 {
            let stopped = Stopped::lock(&path).unwrap().unwrap();
            let report = stopped.check(SystemTime::now()).unwrap();
            assert!(report.is_whole(), "{report:?}");
            assert!(report.revision >= told.revision, "what is in the journal is not seen");
        }
        // Some die while they open the store, or soon after.
        if round % 3 == 0 {
            let mut child = start();
            std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..20_000)));
            child.kill().unwrap();
            let rest = BufReader::new(child.stdout.take().unwrap()).lines();
            rest.for_each(|line| told.hear_whole(&line.unwrap()));
            child.wait().unwrap();
        }

        runtime.block_on(async {
            let store = open(&path, small()).unwrap();
            let (left, right) = (side(&store, "left").await, side(&store, "right").await);
            assert_eq!(left, right, "a transaction is half there");
            for (writer, number) in &left {
                let acknowledged = told.acknowledged.get(writer).copied().unwrap_or(0);
                let tried = told.tried.get(writer).copied().unwrap_or(0);
                assert!(*number >= acknowledged, "lost {acknowledged} of {writer}: {number}");
                assert!(*number <= tried.max(acknowledged + 1), "{number} was never written");
            }
            assert!(left.len() >= told.acknowledged.len());
            let revision = store.revision().await.unwrap();
            assert!(revision >= told.revision.max(highest), "the revision went back");
            highest = revision;
        });
    }
    assert!(told.revision > 100, "the children hardly wrote anything");
}
