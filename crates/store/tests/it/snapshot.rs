//! Snapshots across engines, and files that are not as they were written.

use std::path::Path;

use futures::StreamExt;
use store::snapshot::{Snapshot, SnapshotError, folder, restore, take};
use store::{Error, Op, RangeRequest, Store, Txn};

use crate::contract::Fixture;
use crate::dead::with_a_crash;
use crate::embedded::Embedded;
use crate::etcd::Etcd;

/// Saves a snapshot into a folder; `meanwhile` happens once it has begun.
pub(crate) async fn save<W: Future<Output = ()>>(
    store: &Store,
    prefix: &str,
    into: &Path,
    meanwhile: impl FnOnce(Store) -> W,
) -> Snapshot {
    let created = "2026-07-30T10:15:00Z".parse().unwrap();
    let (header, parts) = take(store.clone(), prefix, "c".to_owned(), created).await.unwrap();
    meanwhile(store.clone()).await;
    let path = into.join(folder::Name::new(folder::Reason::Manual, &header).to_string());
    let bytes = folder::write(&path, parts).await.unwrap();
    let mut seen = 0;
    let snapshot = Snapshot::open(&path, |_| seen += 1).unwrap();
    assert_eq!(snapshot.header, header);
    assert_eq!((snapshot.file_bytes, seen), (bytes, snapshot.records + snapshot.leases));
    snapshot
}

async fn put(store: &Store, key: &str, value: &str) {
    let op = Op::Put { key: key.to_owned().into(), value: value.to_owned().into(), lease: None };
    store.txn(Txn { compare: vec![], ops: vec![op] }).await.unwrap();
}

async fn pairs(store: &Store) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let range = store.range(RangeRequest::prefix("/registry/")).await.unwrap();
    range.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

/// Many keys with some history.
async fn fill(store: &Store) {
    for number in 0..700 {
        put(store, &format!("/registry/a/{number:04}"), &format!("first {number}")).await;
    }
    for number in (0..700).step_by(7) {
        put(store, &format!("/registry/a/{number:04}"), &format!("second {number}")).await;
    }
}

#[tokio::test]
async fn a_snapshot_of_one_engine_is_restored_into_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (embedded, etcd) = (Embedded::new().await, Etcd::new().await);
    fill(&embedded.store()).await;
    let wanted = pairs(&embedded.store()).await;
    let snapshot = save(&embedded.store(), "/registry/", folder.path(), |_| async {}).await;
    assert_eq!(snapshot.header.engine, "embedded");

    // One that has other keys, other values, and some that are the same.
    let other = etcd.store();
    for number in (0..900).step_by(3) {
        put(&other, &format!("/registry/a/{number:04}"), &format!("first {number}")).await;
    }
    put(&other, "/registry/0", "in the way").await;
    put(&other, "/registry/zzz", "in the way").await;
    put(&other, "elsewhere", "stays").await;
    let same = other.get("/registry/a/0003").await.unwrap().unwrap();
    let mut heard = Vec::new();
    let restored = restore::into_store(&snapshot, &other, "/registry/", 40, |progress| {
        heard.push(progress);
    })
    .await
    .unwrap();
    assert_eq!(pairs(&other).await, wanted);
    assert_eq!(other.get("elsewhere").await.unwrap().unwrap().value, "stays");
    assert_eq!(other.get("/registry/a/0003").await.unwrap().unwrap(), same, "it is left alone");
    assert!(!restore::is_unfinished(&other).await.unwrap());
    assert!(restored.revision > snapshot.header.revision + 40, "{restored:?}");
    assert!(matches!(heard[0], restore::Progress::Compared(_)), "{heard:?}");
    assert!(heard.iter().any(|told| matches!(told, restore::Progress::Behind(_))), "{heard:?}");

    put(&other, "/registry/a/0001", "third").await;
    let wanted = pairs(&other).await;
    let second = save(&other, "/registry/", &folder.path().join("."), |_| async {}).await;
    assert_eq!((second.header.engine.as_str(), second.records), ("etcd", 700));
    let back = Embedded::restored(&second).await;
    assert_eq!(pairs(&back.store()).await, wanted);
}

#[tokio::test]
async fn restoring_that_breaks_off_is_known_and_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let (embedded, etcd) = (Embedded::new().await, Etcd::new().await);
    fill(&embedded.store()).await;
    let snapshot = save(&embedded.store(), "/registry/", folder.path(), |_| async {}).await;
    let store = etcd.store();
    put(&store, "/registry/zzz", "in the way").await;
    {
        let restoring = restore::into_store(&snapshot, &store, "/registry/", 0, |_| {});
        let mut restoring = std::pin::pin!(restoring);
        // As far as the first changes of keys, then no further.
        while pairs(&store).await.len() < 10 {
            let step = std::time::Duration::from_millis(2);
            tokio::time::timeout(step, &mut restoring).await.expect_err("it is long done");
        }
    }
    assert!(restore::is_unfinished(&store).await.unwrap());
    restore::into_store(&snapshot, &store, "/registry/", 0, |_| {}).await.unwrap();
    assert!(!restore::is_unfinished(&store).await.unwrap());
    assert_eq!(pairs(&store).await, pairs(&embedded.store()).await);
}

#[tokio::test]
async fn the_old_file_is_kept_and_a_store_in_use_is_refused() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = files.path().join("store.redb");
    let open = || store::embedded::open(&path, store::embedded::Options::default());
    let store = open().unwrap();
    put(&store, "/registry/a", "1").await;
    let snapshot = save(&store, "/registry/", folder.path(), |_| async {}).await;
    put(&store, "/registry/a", "2").await;
    put(&store, "/registry/b", "2").await;
    let now = std::time::SystemTime::now();
    let error = restore::into_file(&snapshot, &path, 7, now).unwrap_err().to_string();
    assert!(error.ends_with("store.redb is in use by another process"), "{error}");
    let revision = store.revision().await.unwrap();
    store.close().await.unwrap();

    let restored = restore::into_file(&snapshot, &path, 7, now).unwrap();
    assert_eq!(restored.revision, revision + 7, "it goes on from the newest one known");
    let kept = restored.kept.unwrap();
    let store = open().unwrap();
    assert_eq!(store.revision().await.unwrap(), restored.revision);
    assert_eq!(pairs(&store).await, [("/registry/a".to_owned(), "1".to_owned())]);
    store.close().await.unwrap();
    let old = store::embedded::open(&kept, store::embedded::Options::default()).unwrap();
    assert_eq!(pairs(&old).await.len(), 2, "nothing of what was there is lost");
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 2, "nothing else is left");
}

#[tokio::test]
async fn the_old_file_is_kept_with_its_journal() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = files.path().join("store.redb");
    let open = |path: &Path| store::embedded::open(path, store::embedded::Options::default());
    let (snapshot, revision) = with_a_crash(&path, Default::default(), async |store| {
        put(store, "/registry/a", "1").await;
        let snapshot = save(store, "/registry/", folder.path(), |_| async {}).await;
        put(store, "/registry/a", "2").await;
        put(store, "/registry/b", "2").await;
        (snapshot, store.revision().await.unwrap())
    })
    .await;
    let restored = restore::into_file(&snapshot, &path, 7, std::time::SystemTime::now()).unwrap();
    assert_eq!(restored.revision, revision + 7, "it goes on from the newest one known");
    let kept = restored.kept.unwrap();
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 3, "the journal has moved");
    let store = open(&path).unwrap();
    assert_eq!(pairs(&store).await, [("/registry/a".to_owned(), "1".to_owned())]);
    put(&store, "/registry/c", "3").await;
    let old = open(&kept).unwrap();
    assert_eq!(pairs(&old).await.len(), 2, "nothing of what was there is lost");
    assert_eq!(old.revision().await.unwrap(), revision);
}

#[tokio::test]
async fn a_file_that_is_not_as_it_was_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Embedded::new().await;
    for number in 0..40 {
        put(&fixture.store(), &format!("/registry/a/{number:04}"), "value").await;
    }
    let snapshot = save(&fixture.store(), "/registry/", folder.path(), |_| async {}).await;
    let whole = std::fs::read(snapshot.path()).unwrap();
    let path = folder.path().join("other");
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Snapshot::open(&path, |_| {}).map(|_| ()).unwrap_err()
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        let (flipped, cut) = (check(&flipped), check(&whole[..at]));
        for error in [flipped, cut] {
            let refused = matches!(
                error,
                SnapshotError::Damaged { .. }
                    | SnapshotError::Foreign { .. }
                    | SnapshotError::Version { .. }
            );
            assert!(refused, "{at}: {error}");
        }
    }
    let mut longer = whole.clone();
    longer.push(0);
    let text = check(&longer).to_string();
    assert!(text.ends_with("is damaged or incomplete: its checksum is not that of its content"));
    assert!(check(b"apiVersion: v1").to_string().ends_with("other is not a snapshot"));
    let later = check(b"ironclad snapshot v2\n").to_string();
    assert!(later.ends_with("of a format that this release does not know (v2)"), "{later}");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(Snapshot::open(&path, |_| {}).unwrap().records, 40);
}

#[tokio::test]
async fn a_snapshot_that_compaction_overtakes_fails() {
    let fixture = Embedded::new().await;
    let store = fixture.store();
    fill(&store).await;
    let created = "2026-07-30T10:15:00Z".parse().unwrap();
    let (_, parts) = take(store.clone(), "/registry/", String::new(), created).await.unwrap();
    let mut parts = Box::pin(parts);
    parts.next().await.unwrap().unwrap();
    put(&store, "/registry/a/0000", "third").await;
    let now = store.revision().await.unwrap();
    store.compact(now).await.unwrap();
    let rest: Vec<_> = parts.collect().await;
    assert!(matches!(rest.last(), Some(Err(Error::Compacted { .. }))), "{:?}", rest.last());
}
