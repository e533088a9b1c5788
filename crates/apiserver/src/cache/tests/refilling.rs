//! What the caches have forgotten, and what the store has before they saw it.

use store::embedded::Options;
use store::{EventKind, KeyValue};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_are_filled_anew_past_changes_that_the_store_forgot() {
    let f = fixture_on(Options { recent_bytes: 0, ..Options::default() }).await;
    let before = f.put("stays", "x", "n1").await;
    f.put("goes", "x", "n1").await;
    let mut watcher = f.watch(Start::Now, Selection::default());
    let change = async |op: Op| {
        let made = f.store.txn(Txn { compare: vec![], ops: vec![op] }).await.unwrap();
        // Whatever was read of the store before, one of the two changes was not.
        f.store.compact(made.revision).await.unwrap();
        made.revision
    };
    let newest = {
        // Nothing can be applied meanwhile.
        let _caches = f.dispatcher.caches.write().unwrap();
        block_in_place(|| {
            Handle::current().block_on(async {
                change(Op::Delete { key: "/registry/pods/d/goes".into() }).await;
                let value = pod("new", "x", "n1").to_string().into();
                change(Op::Put { key: "/registry/pods/d/new".into(), value, lease: None }).await
            })
        })
    };
    let reached = tokio::time::timeout(Duration::from_secs(60), f.dispatcher.reach(newest));
    reached.await.expect("the caches do not follow");
    let names = |selection: &Selection| -> Vec<String> {
        f.pods.candidates(selection).0.iter().map(|object| object.name().to_owned()).collect()
    };
    assert_eq!(names(&Selection::default()), ["new", "stays"]);
    assert_eq!(names(&on_node("n1")), ["new", "stays"], "indexes are filled too");
    assert_eq!(f.pods.get("d/stays").unwrap().resource_version(), before);
    let ended = async { while watcher.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the watch goes on");
    let mut late = f.watch(Start::After(before), Selection::default());
    assert_eq!(late.next().await.unwrap().value()["code"], 410);

    let mut watcher = f.watch(Start::After(newest), Selection::default());
    let later = f.put("later", "x", "n2").await;
    assert_eq!(events(&mut watcher, 1).await, [format!("ADDED later@{later}")]);
    assert!(f.dispatcher.is_running());
}

#[tokio::test]
async fn changes_of_big_objects_are_kept_by_their_bytes() {
    let f = fixture().await;
    let mut big = pod("p", "x", "n1");
    big["metadata"]["annotations"]["a"] = "v".repeat(256 << 10).into();
    let value: Bytes = big.to_string().into();
    for revision in 101..=400 {
        let key = "/registry/pods/d/p".into();
        let (value, lease) = (value.clone(), None);
        let kv = KeyValue {
            key,
            value,
            create_revision: 101,
            mod_revision: revision,
            version: revision - 100,
            lease,
        };
        f.pods.apply(EventKind::Put, &kv);
    }
    // A little less than 256 of them have room.
    assert!(matches!(f.pods.at(140), Exact::TooOld));
    assert!(matches!(f.pods.at(150), Exact::Known(_)));
}
