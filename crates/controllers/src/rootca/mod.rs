//! Every active namespace has a ConfigMap `kube-root-ca.crt` with the CA of the API server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Action, Event, WorkQueue};
use component::followed::Followed;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::context::Context;
use crate::error::{SyncError, is_settled};
use crate::namespace::{enqueue_present, is_active};
use crate::object::{Key, Meta};

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Runs the controller until shutdown; the CA in PEM is the file at `path`, which it follows.
pub(crate) async fn run(context: Context, path: PathBuf) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    enqueue_present(&informers.namespaces, &queue);
    let adder = queue.clone();
    informers.root_cas.on_event(move |event| {
        if !matches!(event, Event::Added(_)) {
            adder.add(Key::new("", event.object().ns()));
        }
    });
    informers.namespaces.synced().await;
    informers.root_cas.synced().await;
    let mut file = Followed::new(vec![path]);
    let bundle = Mutex::new(take(&mut file).await);
    let ctx = context.clone();
    let namespaces = informers.namespaces.clone();
    let work = context.work(queue.clone(), 5, |key| {
        let bundle = bundle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sync(ctx.clone(), bundle, key)
    });
    let follow = async {
        loop {
            let fresh = take(&mut file).await;
            *bundle.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
            tracing::info!("the root CA changed and is published anew");
            for namespace in namespaces.list() {
                queue.add(Key::new("", namespace.nm()));
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = follow => {}
    }
}

/// The next content of the one file.
async fn take(file: &mut Followed) -> Arc<str> {
    let contents = file.next().await;
    contents.first().map(|bytes| String::from_utf8_lossy(bytes).into()).unwrap_or_default()
}

async fn sync(context: Context, bundle: Arc<str>, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    if !informers.namespaces.get(None, &key.name).is_some_and(|ns| is_active(&ns)) {
        return Ok(Action::Done);
    }
    let present = informers.root_cas.get(Some(&key.name), NAME);
    let Some(wanted) = wanted(present.as_deref(), &key.name, &bundle) else {
        return Ok(Action::Done);
    };
    let api = context.api::<ConfigMap>(&key.name);
    let params = PostParams::default();
    let written = match present {
        None => api.create(&params, &wanted).await,
        Some(_) => api.replace(NAME, &params, &wanted).await,
    };
    match written {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_settled(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// What to write, or `None` when the ConfigMap is as it should be.
fn wanted(present: Option<&ConfigMap>, namespace: &str, bundle: &str) -> Option<ConfigMap> {
    let data: BTreeMap<String, String> = [("ca.crt".to_owned(), bundle.to_owned())].into();
    let Some(present) = present else {
        return Some(ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                annotations: Some([(DESCRIPTION.to_owned(), TEXT.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        });
    };
    if present.data.as_ref() == Some(&data) && present.annotation(DESCRIPTION) == Some(TEXT) {
        return None;
    }
    let mut wanted = present.clone();
    wanted.data = Some(data);
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    annotations.insert(DESCRIPTION.to_owned(), TEXT.to_owned());
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tampered_map_is_put_right_and_then_left_alone() {
        let first = wanted(None, "n", "PEM").unwrap();
        assert!(wanted(Some(&first), "n", "PEM").is_none());
        let mut tampered = first.clone();
        tampered.data.as_mut().unwrap().insert("more".into(), "x".into());
        assert_eq!(wanted(Some(&tampered), "n", "PEM").unwrap().data, first.data);
        assert!(wanted(Some(&first), "n", "OTHER").is_some());
    }
}
