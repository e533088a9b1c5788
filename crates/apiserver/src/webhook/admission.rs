//! Dynamic admission: webhooks that change or refuse writes,
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.
//!
//! Data flow: a write → the webhooks whose rules and selectors it matches → one `AdmissionReview`
//! each → changes, warnings, refusals. Mutating webhooks are asked one after the other, in the
//! order of their configurations' names; validating ones all at once.
//!
//! Invariants: what a webhook changed is decoded and defaulted like what a client sent; a webhook
//! is asked in a second round only if it wants that and the object changed after it was asked; no
//! webhook is asked about the configurations of admission itself.

pub(crate) mod asked;
mod hook;
pub(crate) mod matching;
pub(crate) mod review;

use std::sync::Arc;

use cel::policy::{Input, Judgement};
use futures::future::join_all;
use machinery::codec::{self, DecodeError, FieldValidation};
use machinery::gvk::{GroupResource, GroupVersionKind};
use machinery::patch;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use machinery::{Value, schema};
use serde_json::json;

use self::asked::Asked;
use self::hook::{Hook, Hooks};
use self::matching::Subject;
use self::review::{Request, Verdict};
use crate::admission::reinvocation::Rounds;
use crate::authz::Authorizer;
use crate::registry::{Attributes, Failure, Operation, Resource};

/// The webhooks of both kinds.
pub(crate) struct Webhooks {
    mutating: Hooks,
    validating: Hooks,
    /// For conditions that ask what a user may do.
    authorizer: Arc<Authorizer>,
}

/// A webhook that is to be asked, and the version in which it wants the object.
struct Invocation<'h> {
    hook: &'h Hook,
    resource: Arc<Resource>,
}

/// Why there is no verdict.
enum Trouble {
    /// The webhook cannot be asked; its policy decides what that means.
    Call(String),
    /// The write fails whatever the policy says.
    Fatal(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Fatal(failure)
    }
}

impl Webhooks {
    /// Webhooks as the registry's configurations say.
    pub(crate) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self {
            mutating: Hooks::new("mutatingwebhookconfigurations"),
            validating: Hooks::new("validatingwebhookconfigurations"),
            authorizer,
        }
    }

    /// Lets the mutating webhooks change the object, those that have a turn in this round.
    ///
    /// # Errors
    /// When one refuses, or cannot be asked and must be.
    pub(crate) async fn mutate(
        &self,
        attributes: &mut Attributes<'_>,
        rounds: &mut Rounds,
    ) -> Result<(), Failure> {
        let hooks = self.mutating.now(attributes.registry);
        for hook in hooks.iter() {
            if !rounds.concerns(&hook.id) {
                continue;
            }
            let Some(invocation) = invocation(hook, attributes)? else { continue };
            let changed = match self.mutate_by(&invocation, attributes).await {
                Ok(changed) => changed,
                Err(Trouble::Fatal(failure)) => return Err(failure),
                Err(Trouble::Call(why)) => tolerate(hook, &why).map(|()| false)?,
            };
            rounds.asked(&hook.id, changed, hook.reinvoked_if_needed);
        }
        Ok(())
    }

    /// Lets the validating webhooks look at what would be stored.
    ///
    /// # Errors
    /// When one refuses, or cannot be asked and must be.
    pub(crate) async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let hooks = self.validating.now(attributes.registry);
        let mut invocations = Vec::new();
        for hook in hooks.iter() {
            invocations.extend(invocation(hook, attributes)?);
        }
        let verdicts = invocations.iter().map(|invocation| async move {
            match self.ask(invocation, attributes, false).await {
                Ok(_) => Ok(()),
                Err(Trouble::Fatal(failure)) => Err(failure),
                Err(Trouble::Call(why)) => tolerate(invocation.hook, &why),
            }
        });
        join_all(verdicts).await.into_iter().collect()
    }

    /// Asks a webhook, and gives what it says about the object that it was shown; `None` if the
    /// request does not concern it.
    async fn ask(
        &self,
        invocation: &Invocation<'_>,
        attributes: &Attributes<'_>,
        mutating: bool,
    ) -> Result<Option<(Verdict, Option<Value>)>, Trouble> {
        let Invocation { hook, resource } = invocation;
        let object = shown(attributes, resource, attributes.object.as_ref()).await?;
        let old = shown(attributes, resource, attributes.old).await?;
        let uid = uuid::Uuid::new_v4().to_string();
        let request = Request {
            object: object.as_ref(),
            old: old.as_ref(),
            ..Request::of(attributes, resource, &uid)
        };
        let request = request.to_value();
        if !self.concerns(hook, attributes, &request, object.as_ref(), old.as_ref())? {
            return Ok(None);
        }
        if attributes.dry_run && !hook.takes_dry_runs {
            let text = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Trouble::Fatal(Status::bad_request(text).into()));
        }
        let review = hook.review.ok_or_else(|| {
            let text = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            Trouble::Call(format!("could not create admission objects: {text}"))
        })?;
        let body = json!({"kind": "AdmissionReview", "apiVersion": review, "request": request});
        let body = body.to_string().into();
        let config = hook
            .config
            .as_ref()
            .map_err(|why| Trouble::Call(format!("could not get REST client: {why}")))?;
        let answer = attributes.registry.caller().call(config, body, hook.timeout).await;
        let answer =
            answer.map_err(|error| Trouble::Call(format!("failed to call webhook: {error}")))?;
        let verdict = Verdict::read(&answer, review, &uid, mutating)
            .map_err(|why| Trouble::Call(format!("received invalid webhook response: {why}")))?;
        for warning in &verdict.warnings {
            attributes.context.warnings.add(warning.as_str());
        }
        if !verdict.allowed {
            let refusal = review::refusal(&hook.name, verdict.result.as_ref());
            return Err(Trouble::Fatal(refusal.into()));
        }
        Ok(Some((verdict, object)))
    }

    /// Whether the webhook's conditions hold.
    fn concerns(
        &self,
        hook: &Hook,
        attributes: &Attributes<'_>,
        request: &Value,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<bool, Failure> {
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let input = Input {
            object: object.unwrap_or(&Value::Null),
            old_object: old.unwrap_or(&Value::Null),
            request,
            params: &Value::Null,
            namespace: &Value::Null,
            authorizer: Asked::of(attributes, &self.authorizer),
        };
        match hook.conditions.judge(&input) {
            Judgement::Hold => Ok(true),
            Judgement::Fail => Ok(false),
            Judgement::Unknown(_) if hook.ignore_failures => Ok(false),
            Judgement::Unknown(why) => {
                let resource = attributes.resource.group_resource();
                Err(Status::forbidden(&resource, attributes.name, why).into())
            }
        }
    }

    /// Asks a mutating webhook. True if it changed the object.
    async fn mutate_by(
        &self,
        invocation: &Invocation<'_>,
        attributes: &mut Attributes<'_>,
    ) -> Result<bool, Trouble> {
        let Some((verdict, object)) = self.ask(invocation, attributes, true).await? else {
            return Ok(false);
        };
        let Some(change) = verdict.patch else { return Ok(false) };
        let name = &invocation.hook.name;
        let internal = |text: String| Trouble::Fatal(Status::internal(text).into());
        let operations: Value =
            serde_json::from_slice(&change.text).map_err(|error| internal(error.to_string()))?;
        if operations.as_array().is_some_and(Vec::is_empty) {
            return Ok(false);
        }
        let Some(mut object) = object else {
            return Err(internal(format!(
                "admission webhook {name:?} attempted to modify the object, which is not supported for \
             this operation"
            )));
        };
        if change.kind != "JSONPatch" {
            return Err(Trouble::Call(format!("unsupported patch type {:?}", change.kind)));
        }
        patch::json::apply(&mut object, &operations)
            .map_err(|error| internal(error.to_string()))?;
        let object = made(attributes, &invocation.resource, object, FieldValidation::Ignore);
        let object = object.map_err(|error| internal(error.to_string()))?;
        let object = restored(attributes, &invocation.resource, object).await?;
        let changed = attributes.object.as_ref() != Some(&object);
        attributes.replace(object);
        Ok(changed)
    }
}

/// What a webhook that cannot be asked means for the write.
fn tolerate(hook: &Hook, why: &str) -> Result<(), Failure> {
    let text = format!("failed calling webhook {:?}: {why}", hook.name);
    if hook.ignore_failures {
        tracing::warn!("{text}; the write goes on");
        return Ok(());
    }
    Err(Status::internal(text).into())
}

/// Whether and how a webhook is to be asked.
fn invocation<'h>(
    hook: &'h Hook,
    attributes: &Attributes<'_>,
) -> Result<Option<Invocation<'h>>, Failure> {
    let resource = attributes.resource;
    if matching::is_exempt(&resource.group, &resource.name) {
        return Ok(None);
    }
    let matches = |subject: &Subject<'_>| hook.rules.iter().any(|rule| rule.matches(subject));
    let chosen = Subject::chosen(attributes, hook.exact, matches);
    let Some(chosen) = chosen else { return Ok(None) };
    let object = attributes.object.as_ref();
    if !in_selected_namespace(&hook.namespaces, attributes)?
        || !matching::selects_object(&hook.objects, object, attributes.old)
    {
        return Ok(None);
    }
    Ok(Some(Invocation { hook, resource: chosen }))
}

/// Whether the labels of a write's namespace are selected; in cluster scope everything is.
///
/// # Errors
/// 404 when the namespace is not there.
pub(crate) fn in_selected_namespace(
    selector: &LabelSelector,
    attributes: &Attributes<'_>,
) -> Result<bool, Failure> {
    if selector.is_everything() {
        return Ok(true);
    }
    let own = is_namespace(attributes.resource);
    if own && attributes.subresource.is_empty() {
        // The labels that the namespace is to have decide, or had when it goes.
        let object = attributes.object.as_ref().or(attributes.old);
        let labels = object.and_then(|object| object.pointer("/metadata/labels"));
        return Ok(matching::selects(selector, labels));
    }
    let namespace = if own { attributes.name } else { attributes.namespace };
    if namespace.is_empty() {
        return Ok(true);
    }
    let Some(found) = attributes.registry.cached("", "namespaces", "", namespace) else {
        return Err(Status::not_found(&GroupResource::new("", "namespaces"), namespace).into());
    };
    Ok(selector.matches(&*found))
}

pub(crate) fn is_namespace(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.name == "namespaces"
}

/// An object in the version that the webhook or policy wants.
///
/// # Errors
/// When it cannot be converted.
pub(crate) async fn shown(
    attributes: &Attributes<'_>,
    resource: &Arc<Resource>,
    object: Option<&Value>,
) -> Result<Option<Value>, Failure> {
    let Some(object) = object else { return Ok(None) };
    if Arc::ptr_eq(resource, attributes.resource) || takes_another_kind(attributes) {
        return Ok(Some(object.clone()));
    }
    attributes.resource.converted(object.clone(), resource).await.map(Some)
}

/// Whether the object is not one of the resource, but what a subresource takes.
fn takes_another_kind(attributes: &Attributes<'_>) -> bool {
    attributes.operation == Operation::Connect
        || attributes
            .resource
            .subresource(attributes.subresource)
            .is_some_and(|subresource| subresource.kind != attributes.resource.gvk())
}

/// The kind that a resource or its subresource takes.
pub(crate) fn kind_of(resource: &Resource, subresource: &str) -> GroupVersionKind {
    match resource.subresource(subresource) {
        Some(subresource) => subresource.kind.clone(),
        None => resource.gvk(),
    }
}

/// The type of what a write to `resource` takes; `None` if nothing is known of it.
pub(crate) fn type_of<'r>(
    attributes: &Attributes<'_>,
    resource: &'r Resource,
) -> Option<schema::TypeRef<'r>> {
    if !takes_another_kind(attributes) {
        return Some(resource.ty());
    }
    let kind = kind_of(resource, attributes.subresource);
    schema::builtin().kind(&kind.group, &kind.version, &kind.kind)
}

/// What a webhook or policy made of an object that it was [`shown`], read as if a client had sent
/// it.
///
/// # Errors
/// When it is no object of the kind.
pub(crate) fn made(
    attributes: &Attributes<'_>,
    resource: &Resource,
    object: Value,
    validation: FieldValidation,
) -> Result<Value, DecodeError> {
    let Some(ty) = type_of(attributes, resource) else { return Ok(object) };
    let mut object = codec::decode_value(object, ty, validation)?.value;
    if !takes_another_kind(attributes) {
        resource.default(&mut object);
    }
    Ok(object)
}

/// The opposite of [`shown`]: an object in the version of the request.
///
/// # Errors
/// When it cannot be converted.
pub(crate) async fn restored(
    attributes: &Attributes<'_>,
    resource: &Arc<Resource>,
    object: Value,
) -> Result<Value, Failure> {
    let own = attributes.resource;
    if Arc::ptr_eq(resource, own) || takes_another_kind(attributes) {
        return Ok(object);
    }
    resource.converted(object, own).await
}

#[cfg(test)]
mod tests;
