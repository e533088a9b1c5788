//! Lists and watchers are found by what selectors demand, not by looking at everything.

use super::*;

fn selected(namespace: &str, fields: &str) -> Selection {
    let fields = FieldSelector::parse(fields).unwrap();
    Selection::new(namespace, LabelSelector::everything(), fields)
}

/// The names among which `selection` has to choose.
fn candidates(f: &Fixture, selection: &Selection) -> Vec<String> {
    let (objects, _) = f.pods.candidates(selection);
    objects.iter().map(|object| object.name().to_owned()).collect()
}

#[tokio::test]
async fn an_index_follows_every_change() {
    let f = fixture().await;
    let on = |node: &str| selected("", &format!("spec.nodeName={node}"));
    f.put("a", "x", "n1").await;
    f.put("b", "x", "n1").await;
    f.put("c", "x", "n2").await;
    f.put("d", "x", "").await;
    assert_eq!(candidates(&f, &on("n1")), ["a", "b"]);
    assert_eq!(candidates(&f, &on("")), ["d"]);
    assert_eq!(candidates(&f, &on("n3")), [""; 0]);
    assert_eq!(candidates(&f, &selected("", "spec.nodeName!=n1")), ["a", "b", "c", "d"]);
    assert_eq!(candidates(&f, &selected("", "status.phase=Running")), ["a", "b", "c", "d"]);

    let (before, _) = f.pods.candidates(&on("n1"));
    f.put("b", "x", "n2").await;
    f.put("a", "y", "n1").await;
    f.delete("c").await;
    assert_eq!(candidates(&f, &on("n1")), ["a"]);
    assert_eq!(candidates(&f, &on("n2")), ["b"]);
    let (after, _) = f.pods.candidates(&on("n1"));
    let label = |objects: &Snapshot| {
        let object = objects.get("d/a").unwrap();
        object.value()["metadata"]["labels"]["app"].clone()
    };
    // Who has the older snapshot keeps it.
    assert_eq!((label(&before), before.len(), label(&after)), ("x".into(), 2, "y".into()));
    f.delete("a").await;
    assert_eq!(candidates(&f, &on("n1")), [""; 0]);

    // And is there again after a restart.
    f.dispatcher.stop().await;
    let dispatcher = dispatcher(&f.store).await;
    let (objects, _) = dispatcher.cache("pods").unwrap().candidates(&on("n2"));
    assert_eq!(objects.iter().map(|object| object.name()).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn a_watch_of_one_node_starts_with_its_pods() {
    let f = fixture().await;
    let revision = f.put("a", "x", "n1").await;
    f.put("b", "x", "n2").await;
    let start = Start::State { announce_end: false };
    let mut watcher = f.watch(start, selected("d", "spec.nodeName=n1"));
    assert_eq!(events(&mut watcher, 1).await, [format!("ADDED a@{revision}")]);
    // A Pod that moves is new here and gone there.
    let mut there = f.watch(Start::Now, selected("", "spec.nodeName=n2"));
    let moved = f.put("b", "x", "n1").await;
    assert_eq!(events(&mut watcher, 1).await, [format!("ADDED b@{moved}")]);
    assert_eq!(events(&mut there, 1).await, [format!("DELETED b@{moved}")]);
}

#[tokio::test]
async fn changes_are_shown_to_those_whom_they_may_concern() {
    let f = fixture().await;
    let watch = |selection| f.watch(Start::Now, selection);
    let watchers = [
        watch(selected("", "spec.nodeName=n1")),
        watch(selected("", "spec.nodeName=n2")),
        watch(selected("d", "metadata.name=a")),
        watch(selected("d", "metadata.name=b")),
        watch(selected("d", "")),
        watch(selected("e", "")),
        watch(selected("", "metadata.namespace=e")),
        watch(selected("", "status.phase=Running")),
        watch(selected("", "")),
    ];
    let asked = |namespace: &str, values| f.pods.watchers_asked(namespace, values);
    assert_eq!(asked("d", ["n1", "a"]), 5);
    assert_eq!(asked("e", ["n1", "a"]), 6);
    assert_eq!(asked("f", ["n9", "z"]), 2);
    let revision = f.put("a", "x", "n1").await;
    let mut seen = Vec::new();
    for mut watcher in watchers {
        let item = futures::FutureExt::now_or_never(watcher.next()).flatten();
        seen.push(item.is_some_and(|item| item.object().unwrap().resource_version() == revision));
    }
    assert_eq!(seen, [true, false, true, false, true, false, false, true, true]);
}
