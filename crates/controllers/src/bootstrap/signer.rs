//! Signs the kubeconfig in `kube-public/cluster-info` with every token that is meant for it.

use client::{Action, WorkQueue};
use component::bootstrap_token::{CLUSTER_INFO, KUBECONFIG_KEY, SIGNATURE_PREFIX};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;

use super::{expiration, field, is_token, token};
use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::object::{Key, Meta};

const NAMESPACE: &str = "kube-public";

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    // Whatever changes, there is one thing to look at.
    let key = || Key::new(NAMESPACE, CLUSTER_INFO);
    let adder = queue.clone();
    context.informers.cluster_info.on_event(move |_| adder.add(key()));
    let adder = queue.clone();
    context.informers.bootstrap_tokens.on_event(move |_| adder.add(key()));
    context.informers.cluster_info.synced().await;
    context.informers.bootstrap_tokens.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let Some(present) = informers.cluster_info.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    let tokens = informers.bootstrap_tokens.list();
    let tokens = tokens.iter().map(AsRef::as_ref);
    let Some(wanted) = plan(&present, tokens, Timestamp::now()) else {
        return Ok(Action::Done);
    };
    let api = context.api::<ConfigMap>(&key.namespace);
    match api.replace(&key.name, &PostParams::default(), &wanted).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// What to write, or `None` when every signature is there and none too many.
pub(super) fn plan<'a>(
    present: &ConfigMap,
    tokens: impl Iterator<Item = &'a Secret>,
    now: Timestamp,
) -> Option<ConfigMap> {
    let mut wanted = present.clone();
    let data = wanted.data.as_mut()?;
    let content = data.get(KUBECONFIG_KEY)?.clone();
    data.retain(|key, _| !key.starts_with(SIGNATURE_PREFIX));
    for secret in tokens.filter(|secret| may_sign(secret, now)) {
        if let Some(token) = token(secret) {
            data.insert(format!("{SIGNATURE_PREFIX}{}", token.id), token.sign(&content));
        }
    }
    (wanted.data != present.data).then_some(wanted)
}

fn may_sign(secret: &Secret, now: Timestamp) -> bool {
    is_token(secret)
        && !secret.is_deleting()
        && field(secret, "usage-bootstrap-signing") == Some("true")
        && expiration(secret).is_none_or(|end| end > now)
}
