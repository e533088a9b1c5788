//! Every active namespace has a ServiceAccount named `default`.

use client::{Action, Event, WorkQueue};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::context::Context;
use crate::error::{SyncError, is_settled};
use crate::namespace::{enqueue_present, is_active};
use crate::object::{Key, Meta};

const NAME: &str = "default";

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    enqueue_present(&informers.namespaces, &queue);
    let adder = queue.clone();
    informers.service_accounts.on_event(move |event| {
        if let Event::Deleted(account) = event
            && account.nm() == NAME
        {
            adder.add(Key::new("", account.ns()));
        }
    });
    informers.namespaces.synced().await;
    informers.service_accounts.synced().await;
    let ctx = context.clone();
    context.work(queue, 5, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let active = informers.namespaces.get(None, &key.name).is_some_and(|ns| is_active(&ns));
    if !active || informers.service_accounts.get(Some(&key.name), NAME).is_some() {
        return Ok(Action::Done);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(key.name.clone()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    match context.api(&key.name).create(&PostParams::default(), &account).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_settled(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}
