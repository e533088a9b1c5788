//! Objects in other versions, when somebody has to be asked about them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use machinery::status::Status;
use tokio::sync::Semaphore;

use super::*;

/// Somebody who converts, when told to go on, and remembers the batches.
struct Converter {
    go: Semaphore,
    asked: AtomicUsize,
    batches: Mutex<Vec<usize>>,
    fails: bool,
}

impl Converter {
    fn new(permits: usize, fails: bool) -> Arc<Self> {
        let (asked, batches) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { go: Semaphore::new(permits), asked, batches, fails })
    }

    fn presentation(self: &Arc<Self>) -> Arc<Presentation> {
        let converter = self.clone();
        let ask = move |objects: Vec<Value>| {
            let converter = converter.clone();
            converter.asked.fetch_add(1, Ordering::SeqCst);
            converter.batches.lock().unwrap().push(objects.len());
            async move {
                converter.go.acquire().await.unwrap().forget();
                if converter.fails {
                    return Err(Status::internal("no").into());
                }
                let convert = |mut object: Value| {
                    object["apiVersion"] = "v2".into();
                    object.to_string().into_bytes()
                };
                Ok(objects.into_iter().map(convert).collect())
            }
            .boxed()
        };
        let own = |object: Value| object.to_string().into_bytes();
        Arc::new(Presentation::asking("v2".to_owned(), Box::new(own), Box::new(ask)))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn presented(presentation: &Arc<Presentation>) -> Manner {
    Manner { presentation: Some(presentation.clone()), ..manner(false) }
}

fn names(items: &[WatchItem]) -> Vec<String> {
    let name = |item: &WatchItem| item.value()["metadata"]["name"].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

async fn take(watcher: &mut Watcher, count: usize) -> Vec<WatchItem> {
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(watcher.next().await.unwrap());
    }
    items
}

#[tokio::test]
async fn an_event_is_converted_once_for_all_watchers_and_order_is_kept() {
    let fixture = fixture().await;
    let converter = Converter::new(100, false);
    let presentation = converter.presentation();
    let watch = || fixture.pods.watch(Start::Now, Arc::default(), presented(&presentation));
    let (mut one, mut other) = (watch(), watch());
    for name in ["c", "a", "b"] {
        fixture.put(name, "x", "n").await;
    }
    fixture.delete("a").await;
    let (first, second) = tokio::join!(take(&mut one, 4), take(&mut other, 4));
    assert_eq!(names(&first), ["c", "a", "b", "a"]);
    assert_eq!(first[3].kind(), EventType::Deleted);
    assert_eq!(first[3].value()["metadata"]["resourceVersion"], "5", "of the deletion");
    assert_eq!(first[0].value()["apiVersion"], "v2");
    assert_eq!(converter.asked(), 4);
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one.json().as_ptr(), other.json().as_ptr(), "the bytes are shared");
    }
    // Who comes later finds the conversions done.
    let mut late = fixture.pods.watch(Start::After(1), Arc::default(), presented(&presentation));
    assert_eq!(names(&take(&mut late, 4).await), ["c", "a", "b", "a"]);
    assert_eq!(converter.asked(), 4);
}

#[tokio::test]
async fn giving_up_waiting_loses_no_event() {
    let fixture = fixture().await;
    let converter = Converter::new(0, false);
    let presentation = converter.presentation();
    let mut watcher = fixture.pods.watch(Start::Now, Arc::default(), presented(&presentation));
    fixture.put("a", "x", "n").await;
    fixture.put("b", "x", "n").await;
    assert!(watcher.next().now_or_never().is_none(), "it waits for the converter");
    assert!(watcher.next().now_or_never().is_none());
    assert_eq!(converter.asked(), 2, "the second conversion does not wait for the first");
    converter.go.add_permits(2);
    assert_eq!(names(&take(&mut watcher, 2).await), ["a", "b"]);
}

#[tokio::test]
async fn what_a_watch_starts_with_goes_in_batches() {
    let fixture = fixture().await;
    for name in ["a", "b", "c"] {
        fixture.put(name, "x", "n").await;
    }
    let converter = Converter::new(100, false);
    let presentation = converter.presentation();
    let manner = presented(&presentation);
    let start = Start::State { announce_end: true };
    let mut watcher = fixture.pods.watch(start, Arc::default(), manner);
    let items = take(&mut watcher, 4).await;
    assert_eq!(names(&items[..3]), ["a", "b", "c"]);
    assert_eq!(items[3].kind(), EventType::Bookmark, "comes after what was converted");
    assert_eq!(*converter.batches.lock().unwrap(), [3]);
}

#[tokio::test]
async fn a_failure_ends_the_watch_and_is_not_remembered() {
    let fixture = fixture().await;
    let failing = Converter::new(100, true);
    let presentation = failing.presentation();
    let mut watcher = fixture.pods.watch(Start::Now, Arc::default(), presented(&presentation));
    fixture.put("a", "x", "n").await;
    fixture.put("b", "x", "n").await;
    let item = watcher.next().await.unwrap();
    assert_eq!((item.kind(), item.value()["code"].as_u64()), (EventType::Error, Some(500)));
    assert!(watcher.next().await.is_none());
    let asked = failing.asked();
    let mut again = fixture.pods.watch(Start::After(1), Arc::default(), presented(&presentation));
    assert_eq!(again.next().await.unwrap().kind(), EventType::Error);
    assert!(failing.asked() > asked, "asked anew");
}

#[tokio::test]
async fn only_objects_of_other_versions_are_sent_and_the_list_stays_in_order() {
    let fixture = fixture().await;
    for name in ["a", "b", "c"] {
        fixture.put(name, "x", "n").await;
    }
    let mut own = pod("b", "x", "n");
    own["apiVersion"] = "v2".into();
    let key: Bytes = "/registry/pods/d/b".into();
    fixture.write(Op::Put { key, value: own.to_string().into(), lease: None }).await;
    let converter = Converter::new(100, false);
    let presentation = converter.presentation();
    let objects = || fixture.pods.snapshot().0.iter().cloned().collect::<Vec<_>>();
    let shown = presentation.show(objects()).await.unwrap();
    assert_eq!(*converter.batches.lock().unwrap(), [2]);
    let versions: Vec<Value> = shown.iter().map(|o| o.value()["apiVersion"].clone()).collect();
    assert_eq!(versions, ["v2", "v2", "v2"]);
    assert_eq!(shown.iter().map(|object| object.name()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(Arc::ptr_eq(&shown[1], &objects()[1]), "what looks as stored is not copied");
}

#[tokio::test]
async fn selectors_judge_what_is_shown() {
    let fixture = fixture().await;
    fixture.put("a", "x", "n").await;
    fixture.put("b", "y", "n").await;
    // The other version calls the node after the label, and has no label.
    let own = |mut object: Value| {
        let app = object["metadata"]["labels"]["app"].take();
        object["metadata"]["labels"] = serde_json::json!({});
        object["spec"]["nodeName"] = app;
        object.to_string().into_bytes()
    };
    let presentation = Arc::new(Presentation::pure(Box::new(own)));
    let fields = FieldSelector::parse("spec.nodeName=x,metadata.namespace=d").unwrap();
    let labels = LabelSelector::parse("!app").unwrap();
    let selection = Arc::new(Selection::new("", labels, fields).of_what_is_shown(true));
    let start = Start::State { announce_end: true };
    let mut watcher = fixture.pods.watch(start, selection, presented(&presentation));
    let items = take(&mut watcher, 2).await;
    assert_eq!(names(&items[..1]), ["a"]);
    assert_eq!(items[1].kind(), EventType::Bookmark);
    fixture.put("b", "x", "n").await;
    fixture.put("c", "y", "n").await;
    fixture.put("b", "x", "m").await;
    fixture.put("b", "y", "m").await;
    fixture.delete("c").await;
    fixture.delete("a").await;
    let kinds: Vec<(String, &str)> = take(&mut watcher, 4)
        .await
        .iter()
        .map(|item| (names(std::slice::from_ref(item)).remove(0), item.kind().as_str()))
        .collect();
    let expected = [("b", "ADDED"), ("b", "MODIFIED"), ("b", "DELETED"), ("a", "DELETED")];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

#[tokio::test]
async fn a_list_is_converted_once_for_its_readers() {
    let fixture = fixture().await;
    for number in 0..200 {
        fixture.put(&format!("p{number:03}"), "x", "n").await;
    }
    let converter = Converter::new(100, false);
    let presentation = converter.presentation();
    let all = || fixture.pods.snapshot().0.items("", "");
    let first = presentation.show_all(all()).await.unwrap();
    let asked = converter.asked();
    assert_eq!((asked, first.len()), (1, 200));
    let names: Vec<&str> = first.iter().map(|object| object.name()).collect();
    assert!(names.is_sorted() && names[7] == "p007");
    assert!(first.iter().all(|object| object.value()["apiVersion"] == "v2"));
    let again = presentation.show_all(all()).await.unwrap();
    assert!(first.iter().zip(again.iter()).all(|(one, other)| Arc::ptr_eq(one, other)));
    assert_eq!(converter.asked(), asked);

    // A page that ends within a chunk is converted for itself.
    let mut page = all();
    page.truncate(150);
    let page = presentation.show_all(page).await.unwrap();
    assert_eq!(page.len(), 150);
    assert!(page.iter().zip(first.iter()).all(|(one, other)| one.json() == other.json()));
    assert_eq!(converter.batches.lock().unwrap()[1..], [22]);

    // A change concerns its chunk alone.
    fixture.put("p199", "y", "n").await;
    let changed = presentation.show_all(all()).await.unwrap();
    assert_eq!(converter.batches.lock().unwrap()[2..], [72]);
    assert_eq!(changed[199].value()["metadata"]["labels"]["app"], "y");
    // Another presentation does not take the one's for its own.
    let other = Converter::new(100, false);
    other.presentation().show_all(all()).await.unwrap();
    assert_eq!(other.asked(), 1);

    // Nobody asks for a while.
    let before = converter.asked();
    presentation.show_all(all()).await.unwrap();
    fixture.pods.cool();
    fixture.pods.cool();
    presentation.show_all(all()).await.unwrap();
    assert_eq!(converter.batches.lock().unwrap()[before + 1..], [200]);
}
