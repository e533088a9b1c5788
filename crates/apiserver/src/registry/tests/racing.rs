//! Writes that meet others, or a limit of the store.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Somebody who makes the same object just before it is stored, once.
struct Rival {
    object: Value,
    done: AtomicBool,
}

impl Admission for Rival {
    fn admit<'a>(&'a self, _: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if !self.done.swap(true, Ordering::Relaxed) {
                let target = Target::object(attributes.resource, attributes.namespace, "");
                let (context, options) = (Context::internal(), WriteOptions::default());
                let object = self.object.clone();
                attributes.registry.create(&context, &target, object, &options).await?;
            }
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_put_that_would_create_becomes_an_update_when_others_are_faster() {
    let f = fixture().await;
    let target = f.at("limitranges", "l");
    let range = |cpu: &str| {
        let limits = json!([{"type": "Container", "max": {"cpu": cpu}}]);
        json!({"metadata": {"name": "l"}, "spec": {"limits": limits}})
    };
    let rival = f.decoded(&target, range("1"));
    f.registry.set_admission(Arc::new(Rival { object: rival, done: AtomicBool::new(false) }));
    let object = f.decoded(&target, range("2"));
    let options = WriteOptions::default();
    let outcome = f.registry.update(&f.context, &target, object, &options).await.unwrap();
    assert_eq!(outcome.code, 200);
    let written = value(outcome);
    assert_eq!(written["spec"]["limits"][0]["max"]["cpu"], "2");
    assert_eq!(f.get(&target).await.unwrap(), written);

    // Who names a state means it.
    let gone = json!({"metadata": {"name": "m", "resourceVersion": "7"}});
    let m = f.at("limitranges", "m");
    refused(f.update(&m, gone).await, 404, "limitranges \"m\" not found");
}

#[tokio::test]
async fn owners_go_when_an_object_is_too_large_with_them() {
    let limited = store::embedded::Options { max_txn_bytes: 3000, ..Default::default() };
    let f = fixture_with(limited).await;
    let keys = |count: usize| (0..count).map(|n| (format!("key-{n:03}"), json!(""))).collect();
    let map = |name: &str, count: usize| {
        let data: serde_json::Map<String, Value> = keys(count);
        json!({"metadata": {"name": name}, "data": data})
    };
    let owners = |object: &Value| object["metadata"]["managedFields"].as_array().map(Vec::len);
    let too_large = "etcdserver: request is too large";

    let small = f.create("configmaps", map("a", 10)).await.unwrap();
    assert_eq!(owners(&small), Some(1));
    let created = f.create("configmaps", map("b", 150)).await.unwrap();
    assert_eq!(owners(&created), None);
    assert_eq!(f.get(&f.at("configmaps", "b")).await.unwrap(), created);
    refused(f.create("configmaps", map("c", 300)).await, 500, too_large);
    let mut generated = map("", 150);
    generated["metadata"] = json!({"generateName": "g-"});
    let created = f.create("configmaps", generated).await.unwrap();
    assert_eq!(owners(&created), None);

    let a = f.at("configmaps", "a");
    let updated = f.update(&a, map("a", 150)).await.unwrap();
    assert_eq!((owners(&updated), updated["data"].as_object().unwrap().len()), (None, 150));
    refused(f.update(&a, map("a", 300)).await, 500, too_large);
    assert_eq!(f.get(&a).await.unwrap(), updated, "nothing was written");

    f.create("configmaps", map("p", 10)).await.unwrap();
    let p = f.at("configmaps", "p");
    let patched = f.patch(&p, PatchType::Merge, map("p", 150)).await.unwrap();
    assert_eq!((owners(&patched), patched["data"].as_object().unwrap().len()), (None, 150));

    // What is applied is nothing without its owners.
    f.create("configmaps", map("s", 10)).await.unwrap();
    for name in ["s", "new"] {
        let mut applied = map(name, 150);
        applied["kind"] = "ConfigMap".into();
        applied["apiVersion"] = "v1".into();
        let target = f.at("configmaps", name);
        refused(f.patch(&target, PatchType::Apply, applied).await, 500, too_large);
    }
}
