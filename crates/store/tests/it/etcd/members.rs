//! Three members, of which one dies under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use store::etcd::{Options, connect};
use store::{Error, MemberChange, RangeRequest, Store, Txn};

use super::{EtcdCluster, options};

/// Writes to one key over and over, each time on what it wrote last, until told to stop.
/// The result is the revision of each acknowledged write.
async fn write(store: Store, writer: usize, stop: Arc<AtomicBool>) -> Vec<u64> {
    let key = format!("/registry/{writer}");
    let mut revisions = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let value = format!("{writer} {number}");
        let txn = match revisions.last() {
            None => Txn::create(key.clone(), value, None),
            Some(revision) => Txn::update(key.clone(), value, None, *revision),
        };
        let made = store.txn(txn).await.expect("writes go on");
        assert!(made.succeeded, "nobody else writes here: {:?}", made.current);
        revisions.push(made.revision);
    }
    revisions
}

/// Follows the store until the number of events says that nothing more is to come.
async fn follow(store: Store, mut stop: tokio::sync::watch::Receiver<u64>) -> Vec<(u64, String)> {
    let mut watch = store.watch("/registry/", 2);
    let mut events = Vec::new();
    let mut reached = 0;
    loop {
        let last = *stop.borrow_and_update();
        if last > 0 && reached >= last {
            return events;
        }
        tokio::select! {
            batch = watch.next() => {
                let batch = batch.unwrap().unwrap();
                assert!(batch.revision > reached, "watches go forward");
                reached = batch.revision;
                events.extend(batch.events.iter().map(|event| {
                    let value = String::from_utf8(event.kv.value.to_vec()).unwrap();
                    (event.kv.mod_revision, value)
                }));
            }
            changed = stop.changed() => changed.unwrap(),
        }
    }
}

#[tokio::test]
async fn writes_and_watches_go_on_without_a_member() {
    let mut cluster = EtcdCluster::start(3, &[], None);
    // A handle for each member, so that one of them is connected to whoever dies.
    let mut stores = Vec::new();
    for at in 0..3 {
        let mut servers = cluster.servers();
        servers.rotate_left(at);
        stores.push(connect(&Options { servers, ..options(&cluster) }).await.unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6)
        .map(|writer| tokio::spawn(write(stores[writer % 3].clone(), writer, stop.clone())))
        .collect();
    let (done, last) = tokio::sync::watch::channel(0);
    let watchers: Vec<_> =
        stores.iter().map(|store| tokio::spawn(follow(store.clone(), last.clone()))).collect();

    let progress = async |by: u64| {
        let goal = stores[0].revision().await.unwrap() + by;
        while stores[0].revision().await.unwrap() < goal {
            tokio::task::yield_now().await;
        }
    };
    for member in 0..3 {
        progress(100).await;
        cluster.kill(member);
        progress(100).await;
        cluster.resume(member);
        progress(100).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for (writer, revisions) in futures::future::join_all(writers).await.into_iter().enumerate() {
        for (at, revision) in revisions.unwrap().into_iter().enumerate() {
            acknowledged.insert(revision, format!("{writer} {}", at + 1));
        }
    }
    let end = stores[0].revision().await.unwrap();
    done.send_replace(end);
    let expected: Vec<(u64, String)> = acknowledged.into_iter().collect();
    for watcher in watchers {
        let seen = watcher.await.unwrap();
        assert_eq!(seen, expected, "a watch has a gap or a repetition");
    }
}

#[tokio::test]
async fn without_a_quorum_nothing_is_served_and_the_reason_is_clear() {
    let mut cluster = EtcdCluster::start(3, &[], None);
    let store = connect(&options(&cluster)).await.unwrap();
    store.txn(Txn::create("/registry/a", "1", None)).await.unwrap();
    store.health().await.unwrap();
    cluster.kill(0);
    cluster.kill(1);
    assert!(matches!(store.health().await, Err(Error::Unavailable(_))));
    cluster.resume(0);
    let range = store.range(RangeRequest::prefix("/registry/")).await.unwrap();
    assert_eq!(range.kvs.len(), 1);
}

#[tokio::test]
async fn nothing_listens() {
    let cluster = EtcdCluster::start(1, &[], None);
    let servers = cluster.servers();
    let store = connect(&Options { servers, ..Options::default() }).await.unwrap();
    drop(cluster);
    assert!(matches!(store.health().await, Err(Error::Unavailable(_))));
    let none = connect(&Options::default()).await.map(|_| ());
    assert!(matches!(none, Err(Error::Engine(_))), "{none:?}");
}

#[tokio::test]
async fn members_hold_the_same_and_come_and_go() {
    let cluster = EtcdCluster::start(3, &[], None);
    let store = connect(&options(&cluster)).await.unwrap();
    assert!(store.txn(Txn::create("/registry/a", "1", None)).await.unwrap().succeeded);
    // A member that was elected late may still be starting.
    let mut all = store.members(None).await.unwrap();
    while all.iter().any(|member| member.client_urls.is_empty()) {
        tokio::task::yield_now().await;
        all = store.members(None).await.unwrap();
    }
    let digests = store.digests().await.unwrap();
    let mut names: Vec<_> = digests.iter().map(|digest| digest.member.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["m0", "m1", "m2"]);
    assert!(digests.iter().all(|digest| digest.hash == digests[0].hash), "{digests:?}");

    let url = "http://127.0.0.1:1";
    // They agree once they have been in touch for some seconds.
    let all = loop {
        match store.members(Some(MemberChange::Add(url.to_owned()))).await {
            Err(Error::Unavailable(text)) if text == "etcdserver: unhealthy cluster" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            made => break made.unwrap(),
        }
    };
    let added = all.iter().find(|member| member.peer_urls == [url]).unwrap();
    assert!(added.learner && added.name.is_empty(), "{added:?}");
    // It has not learned anything.
    let early = store.members(Some(MemberChange::Promote(added.id))).await;
    assert!(matches!(early, Err(Error::Refused(_))), "{early:?}");
    assert!(store.txn(Txn::create("/registry/b", "1", None)).await.unwrap().succeeded);
    let all = store.members(Some(MemberChange::Remove(added.id))).await.unwrap();
    assert_eq!(all.len(), 3);
}
