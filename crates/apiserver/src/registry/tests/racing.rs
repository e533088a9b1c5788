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
