//! ResourceQuotas: nobody takes more of a namespace than it may,
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>.
//!
//! The last step before the store, since what is charged must be made. Writes to a namespace are
//! judged together while a charge is being stored, so that many share one write of the quota. The
//! quota's status is written against the version that was judged: several servers agree, and what
//! is charged without being made is put right by the controller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use machinery::status::{Status, reason};
use machinery::{Value, meta};
use resources::quota::{Charge, Evaluator, Limited, Quota, charge, to_value};
use tokio::sync::oneshot;

use super::forbidden;
use crate::registry::{Attributes, Context, Failure, Registry, Target, WriteOptions};

/// Attempts to charge quotas that others charge too.
const ATTEMPTS: usize = 10;

/// Charges writes. See the module.
pub(super) struct ResourceQuotas {
    /// What may be used only where a quota covers it.
    limited: Vec<Limited>,
    namespaces: Mutex<HashMap<String, Arc<Counter>>>,
}

/// Where the writes of one namespace are charged.
#[derive(Default)]
struct Counter {
    /// Held by the one who charges for all.
    turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<Waiting>>,
}

/// A write that waits for its verdict.
struct Waiting {
    evaluator: Evaluator,
    object: Value,
    old: Option<Value>,
    subresource: String,
    dry_run: bool,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

/// Why a write is not made.
enum Refusal {
    /// It takes too much.
    Forbidden(String),
    /// It cannot be charged.
    Failed(Failure),
}

// === impl ResourceQuotas ===

impl ResourceQuotas {
    pub(super) fn new(limited: Vec<Limited>) -> Self {
        Self { limited, namespaces: Mutex::default() }
    }

    /// Charges a write to the quotas that it concerns.
    ///
    /// # Errors
    /// When one of them would be exceeded, or cannot be charged.
    pub(super) async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let (resource, namespace) = (attributes.resource, attributes.namespace);
        if namespace.is_empty() || !resource.namespaced {
            return Ok(());
        }
        let Some(evaluator) = Evaluator::of(&resource.group, &resource.name) else { return Ok(()) };
        if !evaluator.handles(attributes.operation.as_str(), attributes.subresource) {
            return Ok(());
        }
        let registry = attributes.registry;
        let Some(object) = &attributes.object else { return Ok(()) };
        let is_limited = self.limited.iter().any(|limited| limited.concerns(&evaluator));
        if !is_limited && !registry.has_any("", "resourcequotas", namespace) {
            return Ok(());
        }
        let counter = self.counter(namespace);
        let (answer, mut answered) = oneshot::channel();
        counter.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting {
            evaluator,
            object: object.clone(),
            old: attributes.old.cloned(),
            subresource: attributes.subresource.to_owned(),
            dry_run: attributes.dry_run,
            answer,
        });
        let turn = counter.turn.lock().await;
        let answer = match answered.try_recv() {
            Ok(answer) => answer,
            Err(_) => {
                let waiting = std::mem::take(
                    &mut *counter.waiting.lock().unwrap_or_else(PoisonError::into_inner),
                );
                charge_all(registry, namespace, waiting, &self.limited).await;
                answered.await.unwrap_or_else(|_| {
                    let why = Status::internal("resource quota evaluation was given up");
                    Err(Refusal::Failed(why.into()))
                })
            }
        };
        drop(turn);
        answer.map_err(|refusal| match refusal {
            Refusal::Forbidden(why) => forbidden(attributes, why),
            Refusal::Failed(failure) => failure,
        })
    }

    fn counter(&self, namespace: &str) -> Arc<Counter> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits there any more.
        namespaces.retain(|name, counter| name == namespace || Arc::strong_count(counter) > 1);
        namespaces.entry(namespace.to_owned()).or_default().clone()
    }
}

/// Judges writes one after the other, and stores what they are charged. Each gets its answer.
async fn charge_all(
    registry: &Registry,
    namespace: &str,
    waiting: Vec<Waiting>,
    limited: &[Limited],
) {
    let mut pending = waiting;
    // After the first attempt, those that somebody else has written meanwhile.
    let mut only: Option<Vec<String>> = None;
    for attempt in 1..=ATTEMPTS {
        let mut objects: Vec<Value> = registry
            .cached_list("", "resourcequotas", namespace)
            .iter()
            .map(|q| q.value())
            .collect();
        objects.retain(|object| only.as_ref().is_none_or(|only| is_named(object, only)));
        let (judged, changed) = judge(&objects, pending, limited, registry.now());
        pending = judged;
        let mut again = Vec::new();
        let mut failed = None;
        for (object, used) in objects.into_iter().zip(changed) {
            let Some(used) = used else { continue };
            let name = meta::name(&object).to_owned();
            match store(registry, namespace, object, used).await {
                Ok(()) => {}
                Err(status) if status.reason == reason::CONFLICT && attempt < ATTEMPTS => {
                    again.push(name);
                }
                // A quota that is gone limits nothing.
                Err(status) if status.reason == reason::NOT_FOUND => {}
                Err(status) => failed = Some(status),
            }
        }
        if let Some(failed) = failed {
            return answer_all(pending, || Err(Refusal::Failed(failed.clone())));
        }
        if again.is_empty() {
            return answer_all(pending, || Ok(()));
        }
        if let Err(failed) = registry.catch_up_with_others().await {
            return answer_all(pending, || Err(Refusal::Failed(failed.clone())));
        }
        only = Some(again);
    }
}

fn is_named(object: &Value, names: &[String]) -> bool {
    names.iter().any(|name| name == meta::name(object))
}

fn answer_all(waiting: Vec<Waiting>, answer: impl Fn() -> Result<(), Refusal>) {
    for one in waiting {
        tell(one.answer, answer());
    }
}

fn tell(to: oneshot::Sender<Result<(), Refusal>>, answer: Result<(), Refusal>) {
    if to.send(answer).is_err() {
        // Who asked has gone; what was charged is put right by the controller.
        tracing::debug!("nobody waits for the verdict of a quota any more");
    }
}

/// Answers those that are refused or change nothing. Gives those that wait for their charge to be
/// stored, and what becomes used of each quota that changes.
fn judge(
    objects: &[Value],
    waiting: Vec<Waiting>,
    limited: &[Limited],
    now: machinery::time::Timestamp,
) -> (Vec<Waiting>, Vec<Option<Value>>) {
    let mut quotas: Vec<Quota> = objects.iter().map(Quota::of).collect();
    let mut changed = vec![None; objects.len()];
    let mut pending = Vec::new();
    for one in waiting {
        let asked = Charge {
            evaluator: &one.evaluator,
            object: &one.object,
            old: one.old.as_ref(),
            subresource: &one.subresource,
            limited,
        };
        match charge(&quotas, &asked, now) {
            Err(why) => tell(one.answer, Err(Refusal::Forbidden(why))),
            Ok(_) if one.dry_run => tell(one.answer, Ok(())),
            Ok(changes) if changes.is_empty() => tell(one.answer, Ok(())),
            Ok(changes) => {
                for change in changes {
                    changed[change.index] = Some(to_value(&change.used));
                    quotas[change.index].used = change.used;
                }
                pending.push(one);
            }
        }
    }
    (pending, changed)
}

async fn store(
    registry: &Registry,
    namespace: &str,
    mut object: Value,
    used: Value,
) -> Result<(), Failure> {
    let resource = registry
        .resource("", "v1", "resourcequotas")
        .ok_or_else(|| Status::internal("resourcequotas are not served"))?;
    object["status"]["used"] = used;
    let target = Target::object(&resource, namespace, meta::name(&object));
    let target = Target { subresource: "status".to_owned(), ..target };
    let options = WriteOptions::default();
    // Boxed, since it is admitted itself.
    Box::pin(registry.update(&Context::internal(), &target, object, &options)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Answer = oneshot::Receiver<Result<(), Refusal>>;

    fn waiting(dry_run: bool) -> (Waiting, Answer) {
        let (answer, answered) = oneshot::channel();
        let evaluator = Evaluator::of("", "configmaps").unwrap();
        let subresource = String::new();
        let object = json!({});
        (Waiting { evaluator, object, old: None, subresource, dry_run, answer }, answered)
    }

    #[test]
    fn writes_that_are_judged_together_do_not_exceed_together() {
        let quota = json!({"metadata": {"name": "q"}, "status": {
            "hard": {"configmaps": "2"}, "used": {"configmaps": "0"}}});
        let (asked, answers): (Vec<_>, Vec<_>) =
            [false, true, false, false].into_iter().map(waiting).unzip();
        let (pending, changed) =
            judge(&[quota], asked, &[], machinery::time::Timestamp::UNIX_EPOCH);
        assert_eq!(pending.len(), 2);
        assert_eq!(changed, [Some(json!({"configmaps": "2"}))]);
        let told: Vec<Option<bool>> = answers
            .into_iter()
            .map(|mut answer| answer.try_recv().ok().map(|verdict| verdict.is_ok()))
            .collect();
        assert_eq!(told, [None, Some(true), None, Some(false)]);
    }
}
