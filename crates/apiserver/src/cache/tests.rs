mod finding;
mod listing;
mod presenting;
mod refilling;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use machinery::Value;
use machinery::selector::{FieldSelector, LabelSelector};
use serde_json::json;
use store::{Op, Store, Txn};

use super::list::List;
use super::object::Object;
use super::*;

struct Fixture {
    _folder: tempfile::TempDir,
    store: Store,
    dispatcher: Arc<Dispatcher>,
    pods: Arc<Cache>,
}

fn field_set() -> FieldSet {
    FieldSet::new(&resources::find("", "v1", "pods").unwrap().selectable_fields)
}

async fn dispatcher(store: &Store) -> Arc<Dispatcher> {
    let resources = [("pods".to_owned(), field_set()), ("services/specs".to_owned(), field_set())];
    Dispatcher::start(store, resources).await.unwrap()
}

async fn fixture() -> Fixture {
    fixture_on(store::embedded::Options::default()).await
}

async fn fixture_on(options: store::embedded::Options) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = store::embedded::open(&path, options).unwrap();
    let dispatcher = dispatcher(&store).await;
    let pods = dispatcher.cache("pods").unwrap();
    Fixture { _folder: folder, store, dispatcher, pods }
}

fn pod(name: &str, label: &str, node: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "d", "labels": {"app": label}},
        "spec": {"nodeName": node}, "status": {"phase": "Running"}})
}

impl Fixture {
    async fn put(&self, name: &str, label: &str, node: &str) -> u64 {
        let value: Bytes = pod(name, label, node).to_string().into();
        let key = format!("/registry/pods/d/{name}").into();
        self.write(Op::Put { key, value, lease: None }).await
    }

    async fn delete(&self, name: &str) -> u64 {
        self.write(Op::Delete { key: format!("/registry/pods/d/{name}").into() }).await
    }

    async fn write(&self, op: Op) -> u64 {
        let result = self.store.txn(Txn { compare: vec![], ops: vec![op] }).await.unwrap();
        self.dispatcher.reach(result.revision).await;
        result.revision
    }

    fn watch(&self, start: Start, selection: Selection) -> Watcher {
        self.pods.watch(start, Arc::new(selection), manner(true))
    }
}

fn manner(bookmarks: bool) -> Manner {
    Manner { api_version: "v1".into(), kind: "Pod".into(), bookmarks, presentation: None }
}

fn labelled(selector: &str) -> Selection {
    Selection::new("", LabelSelector::parse(selector).unwrap(), FieldSelector::everything())
}

fn on_node(node: &str) -> Selection {
    let fields = FieldSelector::parse(&format!("spec.nodeName={node}")).unwrap();
    Selection::new("d", LabelSelector::everything(), fields)
}

/// `TYPE name@resourceVersion` of the next events.
async fn events(watcher: &mut Watcher, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(Duration::from_secs(60), watcher.next());
        let item = next.await.expect("no event came").expect("the watch ended");
        let line: Value = serde_json::from_slice(&item.json()).unwrap();
        assert_eq!(line["type"], item.kind().as_str());
        assert_eq!(line["object"], item.value());
        let metadata = &line["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, version) = (text(&metadata["name"]), text(&metadata["resourceVersion"]));
        events.push(format!("{} {name}@{version}", item.kind().as_str()));
    }
    events
}

#[tokio::test]
async fn objects_carry_their_revision() {
    let f = fixture().await;
    let revision = f.put("a", "x", "n1").await;
    let object = f.pods.get("d/a").unwrap();
    let mut expected = pod("a", "x", "n1");
    expected["metadata"]["resourceVersion"] = revision.to_string().into();
    assert_eq!(object.value(), expected);
    assert_eq!((object.namespace(), object.name()), ("d", "a"));
    assert_eq!(object.field("spec.nodeName"), Some("n1"));
    assert_eq!(object.field("status.phase"), Some("Running"));
    assert_eq!(object.field("spec.hostNetwork"), Some("false"));
    assert_eq!(object.field("status.podIP"), Some(""));
    assert_eq!(object.field("spec.other"), None);
    assert!(LabelSelector::parse("app=x").unwrap().matches(&*object));
    assert!(!LabelSelector::parse("app=y").unwrap().matches(&*object));

    assert_eq!(object.stored(), pod("a", "x", "n1").to_string().as_bytes());
    for json in
        [r#"{"metadata":{}}"#, r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"labels":{}}}"#]
    {
        let object = Object::new("a", json.as_bytes(), 7, f.pods.fields()).unwrap();
        assert_eq!(object.stored(), json.as_bytes());
        assert_eq!(object.value()["metadata"]["resourceVersion"], "7");
    }

    let later = object.at_revision(revision + 100_000);
    assert_eq!(later.value()["metadata"]["resourceVersion"], (revision + 100_000).to_string());
    assert_eq!(later.field("spec.nodeName"), Some("n1"));
    assert!(LabelSelector::parse("app=x").unwrap().matches(&later));
}

#[tokio::test]
async fn other_prefixes_are_other_caches() {
    let f = fixture().await;
    let value: Bytes = r#"{"metadata":{"name":"s"}}"#.into();
    let key = Bytes::from("/registry/services/specs/d/s");
    f.write(Op::Put { key, value: value.clone(), lease: None }).await;
    f.write(Op::Put { key: "/registry/unknown/d/s".into(), value, lease: None }).await;
    assert_eq!(f.pods.len(), 0);
    assert_eq!(f.dispatcher.cache("services/specs").unwrap().len(), 1);
}

#[tokio::test]
async fn lists_are_whole_json_of_the_announced_length() {
    let f = fixture().await;
    for count in [0, 1, 3, 300] {
        for number in 0..count {
            f.put(&format!("p{number:03}"), &"x".repeat(50), "n").await;
        }
        let (snapshot, revision) = f.pods.snapshot();
        let list = List {
            items: snapshot.iter().cloned().collect(),
            resource_version: revision,
            continue_token: "abc".into(),
            remaining: Some(7),
        };
        let mut body = list.json_of("v1", "PodList", false);
        let announced = body.len();
        let pieces: Vec<Bytes> = body.by_ref().collect();
        assert!(body.is_empty());
        let bytes = pieces.concat();
        assert_eq!(bytes.len() as u64, announced);
        assert!(bytes.ends_with(b"]}\n"));
        let parsed: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(parsed["kind"], "PodList");
        assert_eq!(
            parsed["metadata"],
            json!({"resourceVersion": revision.to_string(), "continue": "abc", "remainingItemCount": 7})
        );
        assert_eq!(parsed["items"].as_array().unwrap().len(), count);
        for item in parsed["items"].as_array().unwrap() {
            assert_eq!(item.get("kind"), None, "the list tells the kind");
            assert_eq!(item["spec"]["nodeName"], "n");
        }
    }
}

#[tokio::test]
async fn selectors_turn_changes_into_what_they_mean() {
    let f = fixture().await;
    let mut app_x = f.watch(Start::Now, labelled("app=x"));
    let mut node_1 = f.watch(Start::Now, on_node("n1"));
    let r = f.put("a", "x", "").await;
    f.put("a", "x", "n1").await;
    f.put("a", "y", "n1").await;
    f.put("a", "x", "n1").await;
    f.delete("a").await;
    let expected = |lines: &[(&str, u64)]| -> Vec<String> {
        lines.iter().map(|(kind, offset)| format!("{kind} a@{}", r + offset)).collect()
    };
    assert_eq!(
        events(&mut app_x, 5).await,
        expected(&[("ADDED", 0), ("MODIFIED", 1), ("DELETED", 2), ("ADDED", 3), ("DELETED", 4)])
    );
    assert_eq!(
        events(&mut node_1, 4).await,
        expected(&[("ADDED", 1), ("MODIFIED", 2), ("MODIFIED", 3), ("DELETED", 4)])
    );
}

#[tokio::test]
async fn watches_start_where_they_are_told() {
    let f = fixture().await;
    let first = f.put("a", "x", "").await;
    f.put("b", "x", "").await;
    let third = f.put("a", "y", "").await;
    let mut after = f.watch(Start::After(first), Selection::default());
    let b = format!("ADDED b@{}", first + 1);
    assert_eq!(events(&mut after, 2).await, [b.clone(), format!("MODIFIED a@{third}")]);

    let mut state = f.watch(Start::State { announce_end: true }, Selection::default());
    let seen = events(&mut state, 3).await;
    assert_eq!(seen, [format!("ADDED a@{third}"), b, format!("BOOKMARK @{third}")]);

    let mut future = f.watch(Start::After(third + 1), Selection::default());
    f.put("c", "x", "").await;
    let fifth = f.put("d", "x", "").await;
    assert_eq!(events(&mut future, 1).await, [format!("ADDED d@{fifth}")]);
}

#[tokio::test]
async fn a_forgotten_revision_is_refused() {
    let f = fixture().await;
    let first = f.put("a", "x", "").await;
    let writes = (0..5000).map(|number| {
        let key = Bytes::from(format!("/registry/pods/d/{}", number % 10));
        let value: Bytes = pod("p", "x", "").to_string().into();
        let op = Op::Put { key, value, lease: None };
        f.store.txn(Txn { compare: vec![], ops: vec![op] })
    });
    for made in futures::future::join_all(writes).await {
        made.unwrap();
    }
    f.dispatcher.reach(f.store.revision().await.unwrap()).await;
    let mut watcher = f.watch(Start::After(first), Selection::default());
    let item = watcher.next().await.unwrap();
    assert_eq!(item.kind(), EventType::Error);
    let status = item.value();
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("too old resource version: {first} (")), "{message}");
    assert!(watcher.next().await.is_none());
    assert!(matches!(f.pods.at(first), Exact::TooOld));
}

#[tokio::test]
async fn past_states_are_exact() {
    let f = fixture().await;
    let first = f.put("a", "1", "").await;
    f.put("b", "1", "").await;
    f.put("a", "2", "").await;
    f.delete("b").await;
    f.put("c", "1", "").await;
    let at = |revision| match f.pods.at(revision) {
        Exact::Known(snapshot) => snapshot
            .iter()
            .map(|object| {
                let value = object.value();
                format!(
                    "{}={}",
                    object.name(),
                    value["metadata"]["labels"]["app"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
            .join(" "),
        Exact::TooOld => panic!("too old"),
    };
    assert_eq!(at(first - 1), "");
    assert_eq!(at(first), "a=1");
    assert_eq!(at(first + 1), "a=1 b=1");
    assert_eq!(at(first + 2), "a=2 b=1");
    assert_eq!(at(first + 3), "a=2");
    assert_eq!(at(first + 4), "a=2 c=1");
}

#[tokio::test]
async fn a_slow_watcher_is_dropped_and_holds_up_nobody() {
    let f = fixture().await;
    let mut slow = f.watch(Start::Now, Selection::default());
    let mut fast = f.watch(Start::Now, Selection::default());
    let total = 1100;
    for number in 0..total {
        f.put(&format!("p{}", number % 7), "x", "").await;
        events(&mut fast, 1).await;
    }
    let mut received = 0;
    while slow.next().await.is_some() {
        received += 1;
    }
    assert!(received < total, "{received}");
    assert_eq!((f.pods.counts().terminated, f.pods.counts().changes), (1, total as u64));
}

#[tokio::test]
async fn a_watch_from_what_is_forgotten_ends_with_expired() {
    let f = fixture().await;
    let first = f.put("first", "x", "").await;
    // One more change than the ring has room for, besides the first.
    let puts = (0..4097).map(|number| {
        let key = format!("/registry/pods/d/p{}", number % 5).into();
        let value: Bytes = pod("p", "x", "").to_string().into();
        f.write(Op::Put { key, value, lease: None })
    });
    let newest = futures::future::join_all(puts).await.into_iter().max().unwrap();
    let mut watcher = f.watch(Start::After(first), Selection::default());
    let status = watcher.next().await.unwrap();
    assert_eq!(status.kind(), EventType::Error);
    let message = format!("too old resource version: {first} ({})", first + 1);
    assert_eq!(status.value()["message"], message);
    assert_eq!(
        (&status.value()["code"], &status.value()["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert!(watcher.next().await.is_none());
    // The oldest that is still known.
    let mut watcher = f.watch(Start::After(first + 1), Selection::default());
    assert!(events(&mut watcher, 4096).await[4095].ends_with(&format!("@{newest}")));
}

#[tokio::test(start_paused = true)]
async fn idle_watchers_get_bookmarks() {
    let f = fixture().await;
    let mut watcher = f.watch(Start::Now, on_node("nowhere"));
    let revision = f.put("a", "x", "").await;
    assert_eq!(events(&mut watcher, 1).await, [format!("BOOKMARK @{revision}")]);
}

#[tokio::test(start_paused = true)]
async fn the_last_bookmark_comes_just_before_the_end() {
    let f = fixture().await;
    let revision = f.put("a", "x", "").await;
    let begun = tokio::time::Instant::now();
    let end = begun + Duration::from_secs(100);
    let mut watcher = f.watch(Start::Now, on_node("nowhere")).until(end);
    let mut seconds = Vec::new();
    for _ in 0..2 {
        assert_eq!(events(&mut watcher, 1).await, [format!("BOOKMARK @{revision}")]);
        seconds.push(begun.elapsed().as_secs());
    }
    assert_eq!(seconds, [60, 98]);
    assert!(tokio::time::timeout_at(end, watcher.next()).await.is_err());

    // Too short for any.
    let end = tokio::time::Instant::now() + Duration::from_secs(1);
    let mut watcher = f.watch(Start::Now, on_node("nowhere")).until(end);
    assert!(tokio::time::timeout_at(end, watcher.next()).await.is_err());
}

#[tokio::test]
async fn watches_go_on_after_a_restart() {
    let f = fixture().await;
    let first = f.put("a", "x", "").await;
    let second = f.put("b", "x", "").await;
    f.dispatcher.stop().await;
    let dispatcher = dispatcher(&f.store).await;
    let pods = dispatcher.cache("pods").unwrap();
    assert_eq!(pods.len(), 2);
    let start = Start::After(first);
    let mut watcher = pods.watch(start, Arc::new(Selection::default()), manner(false));
    assert_eq!(events(&mut watcher, 1).await, [format!("ADDED b@{second}")]);
}

#[test]
fn the_ordered_map_agrees_with_a_simple_one() {
    let set = Arc::new(FieldSet::default());
    let mut map = Snapshot::default();
    let mut model: BTreeMap<String, u64> = BTreeMap::new();
    let mut kept: HashMap<u64, (Snapshot, BTreeMap<String, u64>)> = HashMap::new();
    let mut random = 12345u64;
    for step in 1..6000u64 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = format!("n{}/p{}", (random >> 33) % 3, (random >> 40) % 900);
        if (random >> 60) < 11 {
            let object = Object::new(&key, br#"{"metadata":{}}"#, step, &set).unwrap();
            let old = map.insert(Arc::new(object)).map(|old| old.resource_version());
            assert_eq!(old, model.insert(key, step));
        } else {
            let old = map.remove(&key).map(|old| old.resource_version());
            assert_eq!(old, model.remove(&key));
        }
        assert_eq!(map.len(), model.len());
        if step % 500 == 0 {
            kept.insert(step, (map.clone(), model.clone()));
        }
    }
    kept.insert(0, (map, model));
    for (map, model) in kept.values() {
        let all: Vec<(&str, u64)> = map.iter().map(|o| (o.key(), o.resource_version())).collect();
        let expected: Vec<(&str, u64)> = model.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(all, expected);
        for start in ["", "n1/", "n1/p5", "n1/p899", "n3"] {
            let found = map.items(start, "n1/");
            let found: Vec<&str> = found.iter().map(|object| object.key()).collect();
            let expected: Vec<&str> = model
                .keys()
                .filter(|key| key.starts_with("n1/") && key.as_str() >= start)
                .map(String::as_str)
                .collect();
            assert_eq!(found, expected, "{start}");
        }
        assert!(model.keys().all(|key| map.get(key).is_some()));
        assert!(map.get("n1/x").is_none());
    }
}
