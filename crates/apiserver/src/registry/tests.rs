use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::time::Timestamp;
use machinery::{Value, codec, meta};
use serde_json::json;

use super::*;
use crate::cache::EventType;

mod allocation;
mod racing;

struct Fixture {
    _folder: tempfile::TempDir,
    registry: Registry,
    context: Context,
}

/// 2026-01-01T00:00:00Z
fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

async fn fixture() -> Fixture {
    fixture_with(store::embedded::Options::default()).await
}

async fn fixture_with(store: store::embedded::Options) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = store::embedded::open(&path, store).unwrap();
    let options = Options { clock: Arc::new(now), ..Options::default() };
    let registry = Registry::open(store, options).await.unwrap();
    Fixture { _folder: folder, registry, context: Context::internal() }
}

impl Fixture {
    fn at(&self, resource: &str, name: &str) -> Target {
        let (group, version, plural) = match resource.split('/').collect::<Vec<_>>()[..] {
            [plural] => ("", "v1", plural),
            [group, version, plural] => (group, version, plural),
            _ => panic!("{resource}"),
        };
        let resource = self.registry.resource(group, version, plural).unwrap();
        let namespace = if resource.namespaced { "default" } else { "" };
        Target::object(&resource, namespace, name)
    }

    fn sub(&self, resource: &str, name: &str, subresource: &str) -> Target {
        Target { subresource: subresource.into(), ..self.at(resource, name) }
    }

    fn decoded(&self, target: &Target, mut object: Value) -> Value {
        object["kind"] = target.resource.kind.as_ref().into();
        object["apiVersion"] = target.resource.api_version().into();
        codec::normalize(&mut object, target.resource.type_ref()).unwrap();
        object
    }

    async fn create(&self, resource: &str, object: Value) -> Result<Value, Failure> {
        let target = self.at(resource, "");
        let object = self.decoded(&target, object);
        let outcome =
            self.registry.create(&self.context, &target, object, &WriteOptions::default()).await?;
        assert_eq!(outcome.code, 201);
        Ok(value(outcome))
    }

    async fn update(&self, target: &Target, object: Value) -> Result<Value, Failure> {
        let object = self.decoded(target, object);
        let options = WriteOptions::default();
        Ok(value(self.registry.update(&self.context, target, object, &options).await?))
    }

    async fn patch(
        &self,
        target: &Target,
        kind: PatchType,
        patch: Value,
    ) -> Result<Value, Failure> {
        let body = patch.to_string();
        let options = WriteOptions::default();
        let outcome =
            self.registry.patch(&self.context, target, kind, body.as_bytes(), &options).await?;
        Ok(value(outcome))
    }

    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Value, Failure> {
        Ok(value(self.registry.delete(&self.context, target, options).await?))
    }

    async fn get(&self, target: &Target) -> Result<Value, Failure> {
        Ok(self.registry.get(target, "").await?.value())
    }

    async fn list(&self, resource: &str, options: ListOptions) -> Result<List, Failure> {
        self.registry.list(&self.at(resource, ""), &options).await
    }
}

fn value(outcome: Outcome) -> Value {
    match outcome.body {
        Body::Object(object) => object.value(),
        Body::Value(value) => value,
        Body::Status(status) => status.to_value(),
        Body::List(list) => list.items.iter().map(|object| object.value()).collect(),
    }
}

fn configmap(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"k": "v"}})
}

fn names(list: &List) -> Vec<&str> {
    list.items.iter().map(|object| object.name()).collect()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Failure>, code: u16, message: &str) {
    let status = result.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (code, message));
}

#[tokio::test]
async fn creations_are_stamped_and_visible_at_once() {
    let f = fixture().await;
    let created = f.create("configmaps", configmap("a")).await.unwrap();
    assert_eq!(meta::namespace(&created), "default");
    assert_eq!(meta::creation_timestamp(&created), Some("2026-01-01T00:00:00Z"));
    assert_eq!(meta::uid(&created).len(), 36);
    assert_ne!(meta::resource_version(&created), "");
    assert_eq!(f.get(&f.at("configmaps", "a")).await.unwrap(), created);
    refused(f.create("configmaps", configmap("a")).await, 409, r#"configmaps "a" already exists"#);
    refused(f.get(&f.at("configmaps", "b")).await, 404, r#"configmaps "b" not found"#);
    let elsewhere = json!({"metadata": {"name": "x", "namespace": "other"}});
    refused(
        f.create("configmaps", elsewhere).await,
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    let versioned = json!({"metadata": {"name": "x", "resourceVersion": "5"}});
    refused(
        f.create("configmaps", versioned).await,
        500,
        "resourceVersion should not be set on objects to be created",
    );
}

#[tokio::test]
async fn names_are_generated() {
    let f = fixture().await;
    let prefix = "x".repeat(80) + "-";
    for base in ["web-", &prefix] {
        let object = json!({"metadata": {"generateName": base}});
        let created = f.create("configmaps", object).await.unwrap();
        let name = meta::name(&created);
        assert_eq!(name.len(), base.len().min(58) + 5);
        assert!(name.starts_with(&base[..base.len().min(58)]));
    }
}

#[tokio::test]
async fn dry_runs_store_nothing() {
    let f = fixture().await;
    let target = f.at("configmaps", "");
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let object = f.decoded(&target, configmap("a"));
    let outcome = f.registry.create(&f.context, &target, object, &options).await.unwrap();
    assert_eq!(meta::name(&value(outcome)), "a");
    assert_eq!(f.get(&f.at("configmaps", "a")).await.unwrap_err().code, 404);

    let created = f.create("configmaps", configmap("a")).await.unwrap();
    let target = f.at("configmaps", "a");
    let mut changed = created.clone();
    changed["data"]["k"] = "w".into();
    let outcome = f.registry.update(&f.context, &target, changed, &options).await.unwrap();
    assert_eq!(value(outcome)["data"]["k"], "w");
    let delete = DeleteOptions { dry_run: true, ..DeleteOptions::default() };
    f.delete(&target, &delete).await.unwrap();
    assert_eq!(f.get(&target).await.unwrap(), created);
}

#[tokio::test]
async fn updates_are_optimistic() {
    let f = fixture().await;
    let created = f.create("configmaps", configmap("a")).await.unwrap();
    let target = f.at("configmaps", "a");
    let mut first = created.clone();
    first["data"]["k"] = "1".into();
    let updated = f.update(&target, first.clone()).await.unwrap();
    assert_eq!(updated["data"]["k"], "1");
    assert_ne!(meta::resource_version(&updated), meta::resource_version(&created));

    first["data"]["k"] = "2".into();
    refused(
        f.update(&target, first.clone()).await,
        409,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
         please apply your changes to the latest version and try again",
    );
    meta::set_resource_version(&mut first, "");
    let forced = f.update(&target, first.clone()).await.unwrap();
    assert_eq!(forced["data"]["k"], "2");

    let again = f.update(&target, first.clone()).await.unwrap();
    assert_eq!(again, forced, "an update that changes nothing writes nothing");

    meta::set_uid(&mut first, "other");
    let status = f.update(&target, first.clone()).await.unwrap_err();
    assert!(status.message.contains("Precondition failed: UID in precondition: other"), "{status}");
    meta::set_name(&mut first, "b");
    refused(
        f.update(&target, first).await,
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    );
    refused(
        f.update(&f.at("configmaps", "absent"), configmap("absent")).await,
        404,
        r#"configmaps "absent" not found"#,
    );
}

#[tokio::test]
async fn patches_of_each_type_apply() {
    let f = fixture().await;
    f.create("configmaps", configmap("a")).await.unwrap();
    let target = f.at("configmaps", "a");
    let patched =
        f.patch(&target, PatchType::Merge, json!({"data": {"k": null, "m": "1"}})).await.unwrap();
    assert_eq!(patched["data"], json!({"m": "1"}));
    let operation = json!([{"op": "add", "path": "/data/n", "value": "2"}]);
    let patched = f.patch(&target, PatchType::Json, operation).await.unwrap();
    assert_eq!(patched["data"], json!({"m": "1", "n": "2"}));
    let patch = json!({"metadata": {"labels": {"x": "y"}}});
    let patched = f.patch(&target, PatchType::Strategic, patch).await.unwrap();
    assert_eq!(patched["metadata"]["labels"], json!({"app": "a", "x": "y"}));

    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"k": "z"}});
    assert_eq!(f.patch(&target, PatchType::Merge, stale).await.unwrap_err().code, 409);
    let empty = f.patch(&target, PatchType::Apply, json!({})).await;
    refused(empty, 400, "invalid object type: /, Kind=");
}

#[tokio::test]
async fn patches_that_do_not_fit_are_refused_in_upstreams_words() {
    let f = fixture().await;
    f.create("configmaps", configmap("a")).await.unwrap();
    let target = f.at("configmaps", "a");
    let patch = json!({"immutable": "x"});
    refused(
        f.patch(&target, PatchType::Strategic, patch.clone()).await,
        422,
        " \"\" is invalid: patch: Invalid value: \"map[immutable:x]\": json: cannot unmarshal \
         string into Go struct field ConfigMap.immutable of type bool",
    );
    let status = f.patch(&target, PatchType::Merge, patch).await.unwrap_err();
    assert!(status.message.contains("\\\"data\\\":{\\\"k\\\":\\\"v\\\"}"), "{status}");
    let test = json!([{"op": "test", "path": "/data/k", "value": "w"}]);
    let status = f.patch(&target, PatchType::Json, test).await.unwrap_err();
    assert_eq!(status.code, 422);
    assert_eq!(status.message, "the server rejected our request due to an error in our request");
    assert!(status.details.is_some_and(|details| details.causes.is_empty()));
}

#[tokio::test]
async fn concurrent_patches_are_all_made() {
    let f = fixture().await;
    f.create("configmaps", configmap("a")).await.unwrap();
    let target = f.at("configmaps", "a");
    let patches = (0..10).map(|number| {
        f.patch(&target, PatchType::Merge, json!({"data": {format!("n{number}"): "x"}}))
    });
    for result in futures::future::join_all(patches).await {
        result.unwrap();
    }
    let data = f.get(&target).await.unwrap();
    assert_eq!(data["data"].as_object().unwrap().len(), 11);
}

#[tokio::test]
async fn lists_select_and_continue_at_their_revision() {
    let f = fixture().await;
    for name in ["a", "b", "c", "d", "e"] {
        f.create("configmaps", configmap(name)).await.unwrap();
    }
    let all = f.list("configmaps", ListOptions::default()).await.unwrap();
    assert_eq!(names(&all), ["a", "b", "c", "d", "e"]);
    assert_eq!(all.continue_token, "");

    let page = f.list("configmaps", ListOptions { limit: 2, ..Default::default() }).await.unwrap();
    assert_eq!((names(&page), page.remaining), (vec!["a", "b"], Some(3)));
    f.create("configmaps", configmap("bb")).await.unwrap();
    f.delete(&f.at("configmaps", "d"), &DeleteOptions::default()).await.unwrap();
    let options =
        ListOptions { limit: 2, continue_token: page.continue_token.clone(), ..Default::default() };
    let second = f.list("configmaps", options.clone()).await.unwrap();
    assert_eq!(names(&second), ["c", "d"], "the state of the first page");
    assert_eq!(second.resource_version, page.resource_version);
    assert_eq!(second.remaining, Some(1));
    let last = ListOptions { continue_token: second.continue_token, ..options.clone() };
    let last = f.list("configmaps", last).await.unwrap();
    assert_eq!((names(&last), last.continue_token.as_str()), (vec!["e"], ""));

    let versioned = ListOptions { resource_version: "3".into(), ..options };
    refused(
        f.list("configmaps", versioned).await,
        400,
        "specifying resource version is not allowed when using continue",
    );
    let exact = ListOptions {
        resource_version: all.resource_version.to_string(),
        resource_version_match: "Exact".into(),
        ..Default::default()
    };
    assert_eq!(names(&f.list("configmaps", exact).await.unwrap()), names(&all));

    let labels = ListOptions {
        label_selector: LabelSelector::parse("app in (a,bb)").unwrap(),
        ..Default::default()
    };
    assert_eq!(names(&f.list("configmaps", labels).await.unwrap()), ["a", "bb"]);
    let field = |text: &str| ListOptions {
        field_selector: FieldSelector::parse(text).unwrap(),
        ..Default::default()
    };
    let one = f.list("configmaps", field("metadata.name=c")).await.unwrap();
    assert_eq!(names(&one), ["c"]);
    refused(
        f.list("configmaps", field("data.k=v")).await,
        400,
        "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    );
}

#[tokio::test]
async fn an_old_page_can_be_had_until_it_is_compacted() {
    let f = fixture().await;
    for name in ["a", "b", "c"] {
        f.create("configmaps", configmap(name)).await.unwrap();
    }
    let page = f.list("configmaps", ListOptions { limit: 1, ..Default::default() }).await.unwrap();
    let target = f.at("configmaps", "b");
    let writes = (0..5000).map(|number| {
        let bytes = format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"b","namespace":"default"}},"data":{{"n":"{number}"}}}}"#);
        let key = format!("{}default/b", target.resource.cache().prefix());
        let op = store::Op::Put { key: key.into(), value: bytes.into(), lease: None };
        let txn = store::Txn { compare: vec![], ops: vec![op] };
        f.registry.store().txn(txn)
    });
    for made in futures::future::join_all(writes).await {
        made.unwrap();
    }
    let next = ListOptions { continue_token: page.continue_token, ..Default::default() };
    let rest = f.list("configmaps", next.clone()).await.unwrap();
    assert_eq!(names(&rest), ["b", "c"]);
    assert_eq!(rest.items[0].value()["data"], json!({"k": "v"}));

    let now = f.registry.store().revision().await.unwrap();
    f.registry.store().compact(now).await.unwrap();
    let status = f.list("configmaps", next).await.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let token = status.metadata["continue"].as_str().unwrap().to_owned();
    let inconsistent = ListOptions { continue_token: token, ..Default::default() };
    assert_eq!(names(&f.list("configmaps", inconsistent).await.unwrap()), ["b", "c"]);

    // So it is with a page that the cache could still give.
    let page = f.list("configmaps", ListOptions { limit: 1, ..Default::default() }).await.unwrap();
    f.create("configmaps", configmap("d")).await.unwrap();
    let next = ListOptions { continue_token: page.continue_token, ..Default::default() };
    assert_eq!(names(&f.list("configmaps", next.clone()).await.unwrap()), ["b", "c"]);
    f.registry.store().compact(page.resource_version + 1).await.unwrap();
    assert_eq!(f.list("configmaps", next).await.unwrap_err().code, 410);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_never_comes_is_refused_in_time() {
    let f = fixture().await;
    let options = ListOptions { resource_version: "1000".into(), ..Default::default() };
    let status = f.list("configmaps", options).await.unwrap_err();
    assert_eq!(status.code, 504);
    assert!(status.message.starts_with("Timeout: Too large resource version: 1000, current: "));
    assert_eq!(status.retry_after_seconds(), Some(1));
    let options = ListOptions { resource_version: "x".into(), ..Default::default() };
    assert_eq!(f.list("configmaps", options).await.unwrap_err().code, 422);
}

#[tokio::test]
async fn watches_show_writes() {
    let f = fixture().await;
    let start = f.list("configmaps", ListOptions::default()).await.unwrap().resource_version;
    let options = ListOptions { resource_version: start.to_string(), ..Default::default() };
    // Revision 0 would mean something else.
    assert_ne!(start, 0);
    let mut watcher = f.registry.watch(&f.at("configmaps", ""), &options).await.unwrap();
    let created = f.create("configmaps", configmap("a")).await.unwrap();
    f.delete(&f.at("configmaps", "a"), &DeleteOptions::default()).await.unwrap();
    let item = watcher.next().await.unwrap();
    assert_eq!((item.kind(), item.value()), (EventType::Added, created.clone()));
    let item = watcher.next().await.unwrap();
    assert_eq!(item.kind(), EventType::Deleted);
    assert_ne!(meta::resource_version(&item.value()), meta::resource_version(&created));

    let wrong = ListOptions { send_initial_events: Some(true), ..Default::default() };
    let status = f.registry.watch(&f.at("configmaps", ""), &wrong).await.unwrap_err();
    assert_eq!(status.code, 422);
}

#[tokio::test]
async fn two_versions_show_the_same_objects() {
    let f = fixture().await;
    let event = json!({"metadata": {"name": "e"}, "reason": "Because", "type": "Normal",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}});
    f.create("events", event).await.unwrap();
    let newer = f.get(&f.at("events.k8s.io/v1/events", "e")).await.unwrap();
    assert_eq!(newer["apiVersion"], "events.k8s.io/v1");
    assert_eq!(newer["regarding"]["name"], "p");
    let options = ListOptions {
        field_selector: FieldSelector::parse("regarding.name=p").unwrap(),
        ..Default::default()
    };
    let list = f.list("events.k8s.io/v1/events", options).await.unwrap();
    assert_eq!(list.items[0].value()["regarding"]["name"], "p");
    let key = "/registry/events/default/e";
    let stored = f.registry.store().get(key).await.unwrap().unwrap();
    assert!(stored.lease.is_some(), "events go away by themselves");
}

#[tokio::test]
async fn deletion_waits_for_finalizers() {
    let f = fixture().await;
    let mut object = configmap("a");
    object["metadata"]["finalizers"] = json!(["x/y"]);
    f.create("configmaps", object).await.unwrap();
    let target = f.at("configmaps", "a");
    let wrong = DeleteOptions { uid: Some("other".into()), ..Default::default() };
    assert_eq!(f.delete(&target, &wrong).await.unwrap_err().code, 409);

    let marked = f.delete(&target, &DeleteOptions::default()).await.unwrap();
    assert_eq!(meta::deletion_timestamp(&marked), Some("2026-01-01T00:00:00Z"));
    let again = f.delete(&target, &DeleteOptions::default()).await.unwrap();
    assert_eq!(again, marked);
    let status = f.create("configmaps", configmap("a")).await.unwrap_err();
    assert_eq!(status.message, r#"object is being deleted: configmaps "a" already exists"#);
    f.patch(&target, PatchType::Merge, json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(f.get(&target).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn propagation_becomes_finalizers() {
    let f = fixture().await;
    let target = f.at("configmaps", "a");
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        f.create("configmaps", configmap("a")).await.unwrap();
        let options = json!({"propagationPolicy": policy});
        let options = DeleteOptions::from_value(&options).unwrap();
        let marked = f.delete(&target, &options).await.unwrap();
        assert_eq!(meta::finalizers(&marked).collect::<Vec<_>>(), [finalizer]);
        let none = json!({"metadata": {"finalizers": null}});
        f.patch(&target, PatchType::Merge, none).await.unwrap();
        assert_eq!(f.get(&target).await.unwrap_err().code, 404);
    }
    f.create("configmaps", configmap("a")).await.unwrap();
    let status = f.delete(&target, &DeleteOptions::default()).await.unwrap();
    assert_eq!((&status["status"], &status["details"]["name"]), (&json!("Success"), &json!("a")));
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    assert_eq!(DeleteOptions::from_value(&both).unwrap_err().code, 422);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let f = fixture().await;
    for name in ["a", "b", "c"] {
        f.create("configmaps", configmap(name)).await.unwrap();
    }
    let selection = ListOptions {
        label_selector: LabelSelector::parse("app!=b").unwrap(),
        ..Default::default()
    };
    let target = f.at("configmaps", "");
    let options = DeleteOptions::default();
    let outcome =
        f.registry.delete_collection(&f.context, &target, &options, &selection).await.unwrap();
    assert_eq!(value(outcome).as_array().unwrap().len(), 2);
    let rest = f.list("configmaps", ListOptions::default()).await.unwrap();
    assert_eq!(names(&rest), ["b"]);
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn pods_are_bound_once() {
    let f = fixture().await;
    f.create("pods", pod("p")).await.unwrap();
    let target = f.sub("pods", "p", "binding");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let options = WriteOptions::default();
    let bind = || f.registry.create(&f.context, &target, binding.clone(), &options);
    let outcome = bind().await.unwrap();
    assert_eq!((outcome.code, &value(outcome)["status"]), (201, &json!("Success")));
    let bound = f.get(&f.at("pods", "p")).await.unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    let conditions = bound["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True"));
    refused(
        bind().await,
        409,
        r#"Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1""#,
    );
}

#[tokio::test]
async fn running_pods_get_time_to_finish() {
    let f = fixture().await;
    f.create("pods", pod("p")).await.unwrap();
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let options = WriteOptions::default();
    let target = f.sub("pods", "p", "binding");
    f.registry.create(&f.context, &target, binding, &options).await.unwrap();
    let target = f.at("pods", "p");
    let marked = f.delete(&target, &DeleteOptions::default()).await.unwrap();
    assert_eq!(meta::deletion_grace_period_seconds(&marked), Some(30));
    assert_eq!(meta::deletion_timestamp(&marked), Some("2026-01-01T00:00:30Z"));
    let sooner = DeleteOptions { grace_period_seconds: Some(10), ..Default::default() };
    let marked = f.delete(&target, &sooner).await.unwrap();
    assert_eq!(meta::deletion_timestamp(&marked), Some("2026-01-01T00:00:10Z"));
    let later = DeleteOptions { grace_period_seconds: Some(20), ..Default::default() };
    assert_eq!(f.delete(&target, &later).await.unwrap(), marked);
    f.create("pods", pod("q")).await.unwrap();
    let binding = json!({"metadata": {"name": "q"}, "target": {"kind": "Node", "name": "n1"}});
    let patient = f.sub("pods", "q", "binding");
    f.registry.create(&f.context, &patient, binding, &options).await.unwrap();
    let patient = f.at("pods", "q");
    let long = DeleteOptions { grace_period_seconds: Some(90), ..Default::default() };
    let marked = f.delete(&patient, &long).await.unwrap();
    let again = f.delete(&patient, &DeleteOptions::default()).await.unwrap();
    assert_eq!(again, marked, "the Pod's own 30 seconds do not count any more");
    let now = DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    f.delete(&target, &now).await.unwrap();
    assert_eq!(f.get(&target).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn evictions_respect_budgets() {
    let f = fixture().await;
    let mut running = pod("p");
    running["metadata"]["finalizers"] = json!(["example.com/stay"]);
    let mut running = f.create("pods", running).await.unwrap();
    running["status"]["phase"] = "Running".into();
    running["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    f.update(&f.sub("pods", "p", "status"), running).await.unwrap();
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1,
        "selector": {"matchLabels": {"app": "x"}}}});
    let mut budget = f.create("policy/v1/poddisruptionbudgets", budget).await.unwrap();
    budget["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1,
        "expectedPods": 1, "observedGeneration": 1});
    let status = f.sub("policy/v1/poddisruptionbudgets", "b", "status");
    let mut budget = f.update(&status, budget).await.unwrap();
    let target = f.sub("pods", "p", "eviction");
    let options = WriteOptions::default();
    let evict =
        || f.registry.create(&f.context, &target, json!({"metadata": {"name": "p"}}), &options);
    let refusal = evict().await.unwrap_err();
    assert_eq!(refusal.code, 429);
    let cause = &refusal.details.as_ref().unwrap().causes[0];
    assert_eq!(cause.message, "The disruption budget b needs 1 healthy pods and has 1 currently");

    budget["status"]["disruptionsAllowed"] = 1.into();
    f.update(&status, budget).await.unwrap();
    assert_eq!(evict().await.unwrap().code, 201);
    let evicted = f.get(&f.at("pods", "p")).await.unwrap();
    assert!(meta::deletion_timestamp(&evicted).is_some());
    let conditions = evicted["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|c| c["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&target["status"], &target["reason"]),
        (&"True".into(), &"EvictionByEvictionAPI".into())
    );
    let budget = f.get(&f.at("policy/v1/poddisruptionbudgets", "b")).await.unwrap();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["p"].is_string());
    let owner = budget["metadata"]["managedFields"].as_array().unwrap().iter().find(|entry| {
        entry["subresource"] == "status"
            && entry["fieldsV1"]["f:status"]["f:disruptedPods"].is_object()
    });
    assert_eq!(owner.unwrap()["manager"], "kube-apiserver");
}

#[tokio::test]
async fn pods_that_are_not_ready_are_evicted_as_their_budget_says() {
    let f = fixture().await;
    let mut running = f.create("pods", pod("p")).await.unwrap();
    running["status"]["phase"] = "Running".into();
    f.update(&f.sub("pods", "p", "status"), running).await.unwrap();
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1,
        "selector": {"matchLabels": {"app": "x"}}}});
    let mut budget = f.create("policy/v1/poddisruptionbudgets", budget).await.unwrap();
    budget["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 1,
        "expectedPods": 1, "observedGeneration": 1});
    f.update(&f.sub("policy/v1/poddisruptionbudgets", "b", "status"), budget).await.unwrap();
    let target = f.sub("pods", "p", "eviction");
    let options = WriteOptions::default();
    let evict =
        || f.registry.create(&f.context, &target, json!({"metadata": {"name": "p"}}), &options);
    assert_eq!(evict().await.unwrap_err().code, 429);
    let mut budget = f.get(&f.at("policy/v1/poddisruptionbudgets", "b")).await.unwrap();
    budget["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
    f.update(&f.at("policy/v1/poddisruptionbudgets", "b"), budget).await.unwrap();
    assert_eq!(evict().await.unwrap().code, 201);
    assert_eq!(f.get(&f.at("pods", "p")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn writes_of_some_kinds_status_leave_metadata_alone() {
    let f = fixture().await;
    let level = json!({"metadata": {"name": "l", "labels": {"a": "1"}}, "spec": {"type": "Limited",
        "limited": {"limitResponse": {"type": "Reject"}}}});
    let kind = "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
    let mut level = f.create(kind, level).await.unwrap();
    let owners = level["metadata"]["managedFields"].as_array().unwrap().len();
    level["metadata"]["labels"]["b"] = "2".into();
    level["status"] = json!({"conditions": [{"type": "T", "status": "True"}]});
    let written = f.update(&f.sub(kind, "l", "status"), level).await.unwrap();
    assert_eq!(written["metadata"]["labels"], json!({"a": "1"}));
    assert_eq!(written["status"]["conditions"][0]["type"], "T");
    let entries = written["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), owners + 1);
    let status = entries.iter().find(|entry| entry["subresource"] == "status").unwrap();
    assert_eq!(status["fieldsV1"].as_object().unwrap().keys().collect::<Vec<_>>(), ["f:status"]);
}

#[tokio::test]
async fn workloads_are_scaled() {
    let f = fixture().await;
    let deployment = json!({"metadata": {"name": "w"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    f.create("apps/v1/deployments", deployment).await.unwrap();
    let target = f.sub("apps/v1/deployments", "w", "scale");
    let Body::Value(mut scale) = f.registry.show(&target, "").await.unwrap() else { panic!() };
    assert_eq!(scale["spec"]["replicas"], 2);
    assert_eq!(scale["status"]["selector"], "app=x");
    scale["spec"]["replicas"] = 5.into();
    let options = WriteOptions::default();
    let outcome = f.registry.update(&f.context, &target, scale.clone(), &options).await.unwrap();
    assert_eq!(value(outcome)["spec"]["replicas"], 5);
    assert_eq!(
        f.registry.update(&f.context, &target, scale, &options).await.unwrap_err().code,
        409
    );
    f.patch(&target, PatchType::Merge, json!({"spec": {"replicas": 3}})).await.unwrap();
    let deployment = f.get(&f.at("apps/v1/deployments", "w")).await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(meta::generation(&deployment), 3);
}

#[tokio::test]
async fn namespaces_end_when_finalized() {
    let f = fixture().await;
    f.create("namespaces", json!({"metadata": {"name": "n"}})).await.unwrap();
    let target = f.at("namespaces", "n");
    let marked = f.delete(&target, &DeleteOptions::default()).await.unwrap();
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert_eq!(marked["spec"]["finalizers"], json!(["kubernetes"]));
    let mut finalized = marked.clone();
    finalized["spec"]["finalizers"] = json!([]);
    f.update(&f.sub("namespaces", "n", "finalize"), finalized).await.unwrap();
    assert_eq!(f.get(&target).await.unwrap_err().code, 404);
}

struct Labels;

impl Admission for Labels {
    fn admit<'a>(&'a self, a: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Failure>> {
        if let Some(object) = &mut a.object {
            meta::set_label(object, "admitted", a.operation.as_str());
        }
        Box::pin(async { Ok(()) })
    }

    fn validate<'a>(&'a self, a: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match a.name {
                "bad" => {
                    let resource = a.resource.group_resource();
                    Err(Status::forbidden(&resource, a.name, "bad name").into())
                }
                _ => Ok(()),
            }
        })
    }
}

#[tokio::test]
async fn admission_sees_every_write() {
    let f = fixture().await;
    f.registry.set_admission(Arc::new(Labels));
    let created = f.create("configmaps", configmap("a")).await.unwrap();
    assert_eq!(meta::label(&created, "admitted"), Some("CREATE"));
    let patch = json!({"data": {"k": "w"}});
    let patched = f.patch(&f.at("configmaps", "a"), PatchType::Merge, patch).await.unwrap();
    assert_eq!(meta::label(&patched, "admitted"), Some("UPDATE"));
    refused(
        f.create("configmaps", configmap("bad")).await,
        403,
        r#"configmaps "bad" is forbidden: bad name"#,
    );
    assert!(f.registry.cached("", "configmaps", "default", "bad").is_none());
}

#[tokio::test]
async fn a_registry_reopens_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    for round in 0..3 {
        let store = store::embedded::open(&path, store::embedded::Options::default()).unwrap();
        let registry = Registry::open(store, Options::default()).await.unwrap();
        let f = Fixture {
            _folder: tempfile::tempdir().unwrap(),
            registry,
            context: Context::internal(),
        };
        assert_eq!(f.list("configmaps", ListOptions::default()).await.unwrap().items.len(), round);
        f.create("configmaps", configmap(&format!("c{round}"))).await.unwrap();
        f.registry.close().await;
        drop(f);
        // The dispatcher's task ends, and with it the last handle on the file.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
