//! Namespaces that are being deleted are emptied and then let go.

mod plan;

use std::time::Duration;

use client::{Action, Api, Event, Informer, WorkQueue};
use futures::StreamExt;
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{DynamicObject, PartialObjectMeta};

use crate::context::Context;
use crate::discovery::{Served, discover};
use crate::error::{SyncError, is_conflict, is_not_found, message};
use crate::object::{Key, Meta};

use plan::Remains;

const FINALIZER: &str = "kubernetes";
/// Requests for the resources of one namespace at a time.
const PARALLEL: usize = 8;
/// How soon to look again at what was not gone at once. Pods tell by themselves.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Whether objects may be created in it.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|s| s.phase.as_deref());
    !namespace.is_deleting() && phase != Some("Terminating")
}

/// Queues namespaces when they appear or change, for what each of them must contain.
pub(crate) fn enqueue_present(namespaces: &Informer<Namespace>, queue: &WorkQueue<Key>) {
    let queue = queue.clone();
    namespaces.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            queue.add(Key::new("", event.object().nm()));
        }
    });
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    let adder = queue.clone();
    informers.namespaces.on_event(move |event| {
        if event.object().is_deleting() && !matches!(event, Event::Deleted(_)) {
            adder.add(Key::new("", event.object().nm()));
        }
    });
    let (adder, namespaces) = (queue.clone(), informers.namespaces.clone());
    informers.pods.on_event(move |event| {
        if let Event::Deleted(pod) = event
            && namespaces.get(None, pod.ns()).is_some_and(|ns| ns.is_deleting())
        {
            adder.add(Key::new("", pod.ns()));
        }
    });
    informers.namespaces.synced().await;
    let ctx = context.clone();
    context.work(queue, 10, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(namespace) = context.informers.namespaces.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.as_deref());
    let ours = finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER));
    if !namespace.is_deleting() || !ours {
        return Ok(Action::Done);
    }
    let api: Api<Namespace> = Api::all(context.client.clone());
    let mut namespace = (*namespace).clone();
    if namespace.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating") {
        let status = namespace.status.get_or_insert_default();
        status.phase = Some("Terminating".to_owned());
        namespace = match api.replace_status(&key.name, &PostParams::default(), &namespace).await {
            Ok(namespace) => namespace,
            Err(error) if is_not_found(&error) => return Ok(Action::Done),
            Err(error) => return Err(error.into()),
        };
    }
    let remains = empty(&context, &key.name).await?;
    let done = remains.is_empty();
    if !done {
        report(&api, &namespace, &remains).await?;
        return Ok(Action::RequeueAfter(LOOK_AGAIN));
    }
    finalize(&context, &api, &key.name).await
}

/// Deletes what is in the namespace, Pods before everything else, so that nothing which guards
/// them (such as a NetworkPolicy) goes first.
async fn empty(context: &Context, namespace: &str) -> Result<Remains, SyncError> {
    let found = discover(&context.client).await?;
    let (pods, others): (Vec<Served>, Vec<Served>) = found
        .resources
        .into_iter()
        .filter(|served| served.namespaced && served.can("list") && served.can("delete"))
        .partition(|served| served.resource.group.is_empty() && served.resource.plural == "pods");
    let mut remains = Remains { undiscovered: found.failed, ..Remains::default() };
    for resources in [pods, others] {
        let mut results = futures::stream::iter(resources)
            .map(|served| empty_of(context, namespace, served))
            .buffer_unordered(PARALLEL);
        while let Some(left) = results.next().await {
            remains.objects.extend(left.objects);
            for (finalizer, count) in left.finalizers {
                *remains.finalizers.entry(finalizer).or_default() += count;
            }
            remains.failures.extend(left.failures);
        }
        if !remains.objects.is_empty() {
            break;
        }
    }
    Ok(remains)
}

/// Deletes the objects of one resource and tells what is left of them.
async fn empty_of(context: &Context, namespace: &str, served: Served) -> Remains {
    let mut remains = Remains::default();
    match delete_all(context, namespace, &served).await {
        Ok(left) => {
            if !left.is_empty() {
                let name = format!("{}.{}", served.resource.plural, served.resource.group);
                remains.objects.insert(name, left.len());
            }
            for finalizer in left.iter().flat_map(|o| o.metadata.finalizers.iter().flatten()) {
                *remains.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        Err(error) if is_not_found(&error) => {}
        Err(kube::Error::Api(status)) if status.code == 405 => {}
        Err(error) => remains.failures.push(message(&error)),
    }
    remains
}

async fn delete_all(
    context: &Context,
    namespace: &str,
    served: &Served,
) -> Result<Vec<PartialObjectMeta<DynamicObject>>, kube::Error> {
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(context.client.clone(), namespace, &served.resource);
    let list = ListParams::default();
    let present = api.list(&list).await?.items;
    if present.iter().all(Meta::is_deleting) {
        return Ok(present);
    }
    if served.can("deletecollection") {
        let objects: Api<DynamicObject> =
            Api::namespaced_with(context.client.clone(), namespace, &served.resource);
        objects.delete_collection(&DeleteParams::background(), &list).await?;
    } else {
        for object in &present {
            match api.delete(object.nm(), &DeleteParams::background()).await {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(api.list(&list).await?.items)
}

async fn report(
    api: &Api<Namespace>,
    namespace: &Namespace,
    remains: &Remains,
) -> Result<(), SyncError> {
    let old = namespace.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let conditions = plan::conditions(remains, &old, Timestamp::now());
    if conditions == old {
        return Ok(());
    }
    let mut wanted = namespace.clone();
    wanted.status = Some(NamespaceStatus {
        phase: Some("Terminating".to_owned()),
        conditions: Some(conditions),
    });
    match api.replace_status(namespace.nm(), &PostParams::default(), &wanted).await {
        Ok(_) => Ok(()),
        // The next round tells anew.
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes this controller's mark; with the last mark gone the server drops the namespace.
async fn finalize(
    context: &Context,
    api: &Api<Namespace>,
    name: &str,
) -> Result<Action, SyncError> {
    let Some(mut fresh) = api.get_opt(name).await? else { return Ok(Action::Done) };
    if let Some(finalizers) = fresh.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
        finalizers.retain(|f| f != FINALIZER);
    }
    let request = Request::put(format!("/api/v1/namespaces/{name}/finalize"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&fresh)?)
        .map_err(kube::Error::HttpError)?;
    match context.client.request::<Namespace>(request).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}
