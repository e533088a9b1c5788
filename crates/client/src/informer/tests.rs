use std::sync::Mutex;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::*;

fn map(namespace: &str, name: &str, version: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.namespace = Some(namespace.into());
    map.metadata.name = Some(name.into());
    map.metadata.resource_version = Some(version.into());
    map.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
    map
}

fn informer() -> (Informer<ConfigMap>, Arc<Mutex<Vec<String>>>) {
    let mut store = Store::default();
    store.add_index(
        "version",
        Box::new(|m: &ConfigMap| m.metadata.resource_version.iter().cloned().collect()),
    );
    let informer = Informer::from_store(store);
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&log);
    informer.on_event(move |event| sink.lock().unwrap().push(text(event)));
    (informer, log)
}

fn text(event: &Event<ConfigMap>) -> String {
    let of = |m: &ConfigMap| {
        format!("{}@{}", m.name_any(), m.metadata.resource_version.clone().unwrap())
    };
    match event {
        Event::Added(m) => format!("+{}", of(m)),
        Event::Updated { old, new } => format!("{}>{}", of(old), of(new)),
        Event::Deleted(m) => format!("-{}", of(m)),
    }
}

fn feed(informer: &Informer<ConfigMap>, deltas: Vec<Delta<ConfigMap>>) {
    for delta in deltas {
        informer.take(delta, &[]);
    }
}

#[test]
fn list_and_watch_become_events_and_a_copy() {
    let (informer, log) = informer();
    assert!(!informer.has_synced());
    feed(
        &informer,
        vec![
            Delta::List(vec![map("n", "a", "1"), map("n", "b", "2")]),
            Delta::Apply(map("n", "a", "3")),
            Delta::Apply(map("n", "a", "3")),
            Delta::Delete(map("n", "b", "4")),
        ],
    );
    assert!(informer.has_synced());
    assert_eq!(*log.lock().unwrap(), ["+a@1", "+b@2", "a@1>a@3", "-b@4"]);
    assert_eq!(informer.len(), 1);
    assert!(informer.get(Some("n"), "a").unwrap().metadata.managed_fields.is_none());
    assert_eq!(informer.by_index("version", "3").len(), 1);
    assert!(informer.by_index("version", "1").is_empty());
}

#[test]
fn a_new_list_reports_what_went_missing() {
    let (informer, log) = informer();
    let list = |maps| vec![Delta::List(maps)];
    feed(&informer, list(vec![map("n", "a", "1"), map("n", "b", "2")]));
    feed(&informer, list(vec![map("n", "b", "2"), map("n", "c", "5")]));
    assert_eq!(*log.lock().unwrap(), ["+a@1", "+b@2", "-a@1", "+c@5"]);
}

#[test]
fn an_object_that_took_the_place_of_another_is_told_as_both() {
    let (informer, log) = informer();
    let with_uid = |uid: &str, version: &str| {
        let mut map = map("n", "a", version);
        map.metadata.uid = Some(uid.into());
        map
    };
    feed(&informer, vec![Delta::Apply(with_uid("1", "1")), Delta::Apply(with_uid("2", "5"))]);
    assert_eq!(*log.lock().unwrap(), ["+a@1", "-a@1", "+a@5"]);
    assert_eq!(informer.len(), 1);
}

#[test]
fn late_handlers_see_what_is_there() {
    let (informer, _) = informer();
    feed(&informer, vec![Delta::Apply(map("n", "a", "1"))]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    informer.on_event(move |event| sink.lock().unwrap().push(text(event)));
    assert_eq!(*seen.lock().unwrap(), ["+a@1"]);
}

#[test]
fn namespaces_do_not_leak_into_each_other() {
    let (informer, _) = informer();
    feed(
        &informer,
        vec![
            Delta::Apply(map("n", "a", "1")),
            Delta::Apply(map("n-1", "a", "2")),
            Delta::Apply(map("n1", "a", "3")),
        ],
    );
    let versions: Vec<_> = informer
        .list_namespace("n")
        .iter()
        .map(|m| m.metadata.resource_version.clone().unwrap())
        .collect();
    assert_eq!(versions, ["1"]);
}
