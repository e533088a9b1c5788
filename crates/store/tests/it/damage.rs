//! Files that a disk has changed: nobody panics, nobody takes damage for data, and what can be
//! saved is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::embedded::{Options, Report, Stopped, open};
use store::{Error, Op, RangeRequest, Store, Txn};

use crate::dead::with_a_crash;

/// Kinds of damage, each with places of its own.
const SEEDS: u64 = 60;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn options() -> Options {
    Options { recent_bytes: 0, clock: Arc::new(now), ..Options::default() }
}

/// Value and revision by key.
type State = BTreeMap<String, (Vec<u8>, u64)>;

/// What was true of a store: its newest state, all pairs there ever were, and its revision.
struct Truth {
    now: State,
    ever: std::collections::HashSet<(String, Vec<u8>, u64)>,
    revision: u64,
}

async fn make(path: &Path, seed: u64) -> Truth {
    let store = open(path, options()).unwrap();
    let truth = write(&store, seed).await;
    store.close().await.unwrap();
    truth
}

/// Makes a store with deletions, leases, and values of all lengths; half of its past is compacted.
async fn write(store: &Store, seed: u64) -> Truth {
    let mut random = StdRng::seed_from_u64(seed);
    let lease = store.lease_grant(Duration::from_secs(3600)).await.unwrap();
    let mut truth = Truth { now: State::new(), ever: Default::default(), revision: 0 };
    for step in 0..400 {
        let key = format!("/registry/things/{:03}", random.random_range(0..150));
        let op = if random.random_bool(0.25) {
            truth.now.remove(&key);
            Op::Delete { key: key.clone().into() }
        } else {
            let length = if random.random_bool(0.02) { 40_000 } else { 900 };
            let mut value = format!("{key} {step} ").into_bytes();
            value.resize(random.random_range(20..length), b'.');
            let lease = random.random_bool(0.1).then_some(lease);
            truth.now.insert(key.clone(), (value.clone(), 0));
            Op::Put { key: key.clone().into(), value: value.into(), lease }
        };
        truth.revision = store.txn(Txn { compare: vec![], ops: vec![op] }).await.unwrap().revision;
        if let Some((value, revision)) = truth.now.get_mut(&key) {
            *revision = truth.revision;
            truth.ever.insert((key, value.clone(), *revision));
        }
        if step == 250 {
            store.compact(truth.revision).await.unwrap();
        }
    }
    truth
}

/// A store's file and its journal.
struct Files {
    path: PathBuf,
    bytes: Vec<u8>,
    /// There is none after a store was closed.
    journal: Option<Vec<u8>>,
}

impl Files {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let journal = std::fs::read(path.with_added_extension("journal")).ok();
        Self { path: path.to_owned(), bytes, journal }
    }

    fn write(&self, bytes: &[u8], journal: Option<&[u8]>) {
        std::fs::write(&self.path, bytes).unwrap();
        let path = self.path.with_added_extension("journal");
        match journal {
            Some(journal) => std::fs::write(path, journal).unwrap(),
            None if path.exists() => std::fs::remove_file(path).unwrap(),
            None => {}
        }
    }
}

/// Changes the file in a way that the seed decides.
fn damage(bytes: &mut Vec<u8>, seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let place = random.random_range(0..bytes.len());
    let page = place / 4096 * 4096;
    match seed % 5 {
        0 => {
            let bit = random.random_range(0..8);
            bytes[place] ^= 1 << bit;
            format!("bit {bit} of byte {place} flipped")
        }
        1 => {
            bytes[page..page + 4096].fill(0);
            format!("page at {page} zeroed")
        }
        2 => {
            random.fill(&mut bytes[page..page + 4096]);
            format!("page at {page} overwritten")
        }
        3 => {
            bytes.truncate(place);
            format!("cut off at {place}")
        }
        _ => {
            let from = random.random_range(0..bytes.len() / 4096) * 4096;
            bytes.copy_within(from..from + 4096, page);
            format!("page at {page} replaced by that at {from}")
        }
    }
}

async fn state(store: &Store) -> Result<State, Error> {
    let range = store.range(RangeRequest::prefix("/")).await?;
    let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
    Ok(range.kvs.iter().map(|kv| (text(&kv.key), (kv.value.to_vec(), kv.mod_revision))).collect())
}

/// A store that opens shows what was written, or says that it cannot.
async fn opened_is_right(path: &Path, truth: &Truth, what: &str) {
    let Ok(store) = open(path, options()) else { return };
    match state(&store).await {
        Ok(found) => assert_eq!(found, truth.now, "{what}"),
        Err(error) => assert!(matches!(error, Error::Damaged(_)), "{what}: {error}"),
    }
    assert_eq!(store.revision().await.unwrap(), truth.revision, "{what}");
    let mut watch = store.watch("/", truth.revision - 20);
    let mut seen = 0;
    while seen < 20 {
        match watch.next().await.unwrap() {
            Ok(batch) => seen += batch.events.len(),
            Err(error) => {
                assert!(matches!(error, Error::Damaged(_)), "{what}: {error}");
                break;
            }
        }
    }
    store.close().await.unwrap();
}

fn is_told(report: &Report, key: &str, revision: u64, truth: &Truth) -> bool {
    let later = truth.ever.iter().filter(|(k, _, r)| k == key && *r > revision);
    let lost = |revision: u64| {
        report.lost_revisions.iter().any(|range| range.contains(&revision))
            || (report.open_end && revision > report.revision)
    };
    report.keys_unknown
        || report.lost.iter().any(|lost| lost.key == key && lost.revision == revision)
        || lost(revision)
        || later.into_iter().any(|(_, _, revision)| lost(*revision))
}

/// What is saved was true once; what is missing or old is told.
async fn repaired_is_right(path: &Path, report: &Report, truth: &Truth, what: &str) {
    let store = open(path, options()).unwrap();
    let found = state(&store).await.unwrap();
    assert!(store.revision().await.unwrap() > truth.revision, "{what}");
    for (key, (value, revision)) in &found {
        let real = (key.clone(), value.clone(), *revision);
        assert!(truth.ever.contains(&real), "{what}: {key} was never so");
        if truth.now.get(key) != Some(&(value.clone(), *revision)) {
            // A newer put or a deletion of it must be among what is lost.
            let unsure = report.unproven.contains(key)
                || report.open_end
                || report.keys_unknown
                || !report.lost_revisions.is_empty();
            assert!(unsure, "{what}: {key} is as at {revision}, and nobody says so: {report:?}");
        }
    }
    for (key, (value, revision)) in &truth.now {
        if found.get(key).is_none_or(|(saved, _)| saved != value) {
            let told = is_told(report, key, *revision, truth);
            assert!(told, "{what}: {key} {revision}: {report:?}");
        }
    }
    store.close().await.unwrap();
    let checked = Stopped::lock(path).unwrap().unwrap().check(now()).unwrap();
    assert!(checked.is_whole(), "{what}: {checked:?}");
}

#[tokio::test]
async fn damage_is_found_and_the_rest_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let truth = make(&path, 1).await;
    let files = Files::read(&path);
    assert!(files.journal.is_none());
    damage_is_found(&files, &truth, SEEDS).await;
}

#[tokio::test]
async fn damage_is_found_beside_a_journal_and_the_rest_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let truth = with_a_crash(&path, options(), async |store| write(store, 4).await).await;
    let files = Files::read(&path);
    assert!(files.journal.is_some());
    damage_is_found(&files, &truth, SEEDS / 2).await;
}

async fn damage_is_found(files: &Files, truth: &Truth, seeds: u64) {
    let (path, whole) = (&files.path, &files.bytes);
    let repaired = path.with_file_name("repaired");
    let stopped = Stopped::lock(path).unwrap().unwrap();
    let report = stopped.check(now()).unwrap();
    assert_eq!(stopped.revision(), Some(truth.revision));
    drop(stopped);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.keys, report.revision), (truth.now.len() as u64, truth.revision));
    let (mut found, mut saved, mut unproven, mut all) = (0, 0, 0, 0);
    for seed in 0..seeds {
        let mut bytes = whole.clone();
        let what = damage(&mut bytes, seed);
        let real = bytes != *whole;
        files.write(&bytes, files.journal.as_deref());
        let stopped = Stopped::lock(path).unwrap().unwrap();
        let report = stopped.check(now()).unwrap();
        let after = Files::read(path);
        let is_same = after.bytes == bytes && after.journal == files.journal;
        assert!(is_same, "{what}: checking changes nothing");
        let again = stopped.repair(&repaired, now()).unwrap();
        assert_eq!(again, report, "{what}");
        drop(stopped);
        if report.is_whole() {
            assert!(!repaired.exists(), "{what}");
        } else {
            assert!(real, "{what}");
            found += 1;
            repaired_is_right(&repaired, &report, truth, &what).await;
            let store = open(&repaired, options()).unwrap();
            let kept = state(&store).await.unwrap();
            all += truth.now.len();
            unproven += report.unproven.len();
            saved += truth.now.iter().filter(|(key, at)| kept.get(*key) == Some(*at)).count();
            store.close().await.unwrap();
            std::fs::remove_file(&repaired).unwrap();
        }
        opened_is_right(path, truth, &what).await;
    }
    assert!(found > seeds / 3, "most damage was harmless: {found}");
    assert!(saved * 10 > all * 8, "{saved} of {all} keys were saved");
    assert!(unproven * 2 < all, "{unproven} of {all} keys are unproven");
}

#[tokio::test]
async fn damage_of_the_journal_is_found_and_the_rest_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (path, repaired) = (folder.path().join("store.redb"), folder.path().join("repaired"));
    let truth = with_a_crash(&path, options(), async |store| write(store, 5).await).await;
    let files = Files::read(&path);
    let journal = files.journal.clone().unwrap();
    let other = folder.path().join("other.redb");
    with_a_crash(&other, options(), async |store| write(store, 6).await).await;
    let starts: Vec<usize> = (4096..journal.len())
        .step_by(512)
        .filter(|at| journal[*at..].starts_with(b"\xfejnl"))
        .collect();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut journal = journal.clone();
        change(&mut journal);
        Some(journal)
    };
    let cases = [
        ("missing", None),
        ("another's", Files::read(&other).journal),
        ("empty", damaged(&|journal| journal.clear())),
        ("cut off", damaged(&|journal| journal.truncate(8192))),
        ("without a header", damaged(&|journal| journal[..4096].fill(0))),
        ("damaged in the middle", damaged(&|journal| journal[starts[starts.len() - 3] + 90] ^= 1)),
    ];
    for (what, journal) in cases {
        files.write(&files.bytes, journal.as_deref());
        let stopped = Stopped::lock(&path).unwrap().unwrap();
        let report = stopped.repair(&repaired, now()).unwrap();
        drop(stopped);
        assert!(report.damage.iter().any(|text| text.contains("journal")), "{what}: {report:?}");
        repaired_is_right(&repaired, &report, &truth, what).await;
        std::fs::remove_file(&repaired).unwrap();
        let error = open(&path, options()).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{what}: {error}");
        let is_same = Files::read(&path).journal == journal;
        assert!(is_same, "{what}: what was not opened is left alone");
        if what == "damaged in the middle" {
            let lost: u64 =
                report.lost_revisions.iter().map(|lost| lost.clone().count() as u64).sum();
            assert_eq!((lost, report.revision), (1, truth.revision), "{report:?}");
        }
    }
    files.write(&files.bytes, Some(&journal));
    opened_is_right(&path, &truth, "whole again").await;
}

#[tokio::test]
async fn the_header_alone_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let truth = make(&path, 2).await;
    the_header_is_not_missed(&Files::read(&path), &truth).await;
    std::fs::remove_file(&path).unwrap();
    let truth = with_a_crash(&path, options(), async |store| write(store, 2).await).await;
    the_header_is_not_missed(&Files::read(&path), &truth).await;
}

async fn the_header_is_not_missed(files: &Files, truth: &Truth) {
    let path = &files.path;
    let repaired = path.with_file_name("repaired");
    let mut bytes = files.bytes.clone();
    bytes[..4096].fill(0);
    files.write(&bytes, files.journal.as_deref());
    let error = open(path, options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    let report = Stopped::lock(path).unwrap().unwrap().repair(&repaired, now()).unwrap();
    assert_eq!(report.lost, []);
    let store = open(&repaired, options()).unwrap();
    let found = state(&store).await.unwrap();
    for (key, pair) in &truth.now {
        assert_eq!(found.get(key), Some(pair), "{key}");
    }
    let back: Vec<_> = found.keys().filter(|key| !truth.now.contains_key(*key)).collect();
    assert!(back.iter().all(|key| report.unproven.contains(key)), "{back:?}");
    store.close().await.unwrap();
    std::fs::remove_file(&repaired).unwrap();
}

#[tokio::test]
async fn what_is_no_store_or_none_yet_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    assert!(Stopped::lock(&path).unwrap().is_none());
    for content in [&b""[..], b"apiVersion: v1", &[0xa5; 100_000]] {
        std::fs::write(&path, content).unwrap();
        let stopped = Stopped::lock(&path).unwrap().unwrap();
        let report = stopped.check(now()).unwrap();
        assert!(!report.is_whole() && report.keys == 0, "{report:?}");
        assert_eq!(stopped.revision(), None);
        drop(stopped);
        let error = open(&path, options()).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
    }
}

#[tokio::test]
async fn a_stopped_store_is_made_small() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let truth = make(&path, 3).await;
    let store = open(&path, options()).unwrap();
    let mut ops = Vec::new();
    for number in 0..100 {
        let (key, value) = (format!("/big/{number}").into(), vec![b'x'; 20_000].into());
        ops.push(Op::Put { key, value, lease: None });
    }
    // A transaction may not be that large.
    for part in ops.chunks(50) {
        store.txn(Txn { compare: vec![], ops: part.to_vec() }).await.unwrap();
    }
    let deletes = ops.iter().map(|op| Op::Delete { key: op.key().clone() }).collect();
    let now = store.txn(Txn { compare: vec![], ops: deletes }).await.unwrap().revision;
    store.compact(now).await.unwrap();
    assert!(Stopped::lock(&path).is_err(), "it is in use");
    store.close().await.unwrap();
    let (before, after) = Stopped::lock(&path).unwrap().unwrap().defragment().unwrap();
    assert!(before > 2_000_000 && after < before / 3, "{before} {after}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let store = open(&path, options()).unwrap();
    assert_eq!(state(&store).await.unwrap(), truth.now);
    assert_eq!(store.revision().await.unwrap(), now);
}
