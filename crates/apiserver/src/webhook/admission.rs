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

pub(crate) mod condition;
mod hook;
pub(crate) mod matching;
pub(crate) mod review;

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use machinery::codec::{self, FieldValidation};
use machinery::gvk::{GroupResource, GroupVersionKind};
use machinery::patch;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use machinery::{Value, meta, schema};
use serde_json::json;

use self::condition::{Input, Outcome};
use self::hook::{Hook, Hooks};
use self::matching::Subject;
use self::review::{Request, Verdict};
use crate::authz::Authorizer;
use crate::registry::{Attributes, Failure, Operation, Resource};

/// The webhooks of both kinds.
pub(crate) struct Webhooks {
    mutating: Hooks,
    validating: Hooks,
    /// For conditions that ask what a user may do.
    authorizer: Arc<Authorizer>,
}

/// What a round of mutating webhooks leaves for a second one.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Who wants to be asked again if the object changes now.
    asked: Vec<String>,
    /// Who has to be asked again.
    again: HashSet<String>,
    /// The object as the last webhook left it.
    output: Option<Value>,
    changed: bool,
}

impl Round {
    /// Whether a webhook changed the object, so that everybody has to look at it once more.
    pub(crate) fn changed(&self) -> bool {
        self.changed
    }
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

    /// Lets the mutating webhooks change the object.
    ///
    /// # Errors
    /// When one refuses, or cannot be asked and must be.
    pub(crate) async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<Round, Failure> {
        let mut round = Round::default();
        self.mutate_round(attributes, &mut round, None).await?;
        Ok(round)
    }

    /// Asks those again that a change after their turn concerns. The built-in plugins have run
    /// again by now.
    ///
    /// # Errors
    /// As [`Webhooks::mutate`].
    pub(crate) async fn mutate_again(
        &self,
        attributes: &mut Attributes<'_>,
        mut round: Round,
    ) -> Result<(), Failure> {
        if round.output != attributes.object {
            round.again.extend(std::mem::take(&mut round.asked));
        }
        let again = std::mem::take(&mut round.again);
        self.mutate_round(attributes, &mut round, Some(&again)).await
    }

    async fn mutate_round(
        &self,
        attributes: &mut Attributes<'_>,
        round: &mut Round,
        only: Option<&HashSet<String>>,
    ) -> Result<(), Failure> {
        let hooks = self.mutating.now(attributes.registry);
        for hook in hooks.iter() {
            if only.is_some_and(|only| !only.contains(&hook.id)) {
                continue;
            }
            let Some(invocation) = invocation(hook, attributes)? else { continue };
            let changed = match self.mutate_by(&invocation, attributes).await {
                Ok(changed) => changed,
                Err(Trouble::Fatal(failure)) => return Err(failure),
                Err(Trouble::Call(why)) => tolerate(hook, &why).map(|()| false)?,
            };
            if changed {
                round.changed = true;
                round.again.extend(std::mem::take(&mut round.asked));
            }
            if hook.reinvoked_if_needed {
                round.asked.push(hook.id.clone());
            }
        }
        round.output.clone_from(&attributes.object);
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
        let own_name = attributes.object.as_ref().map(meta::name).unwrap_or_default();
        let name = if attributes.name.is_empty() { own_name } else { attributes.name };
        let request = Request {
            uid: &uid,
            kind: kind_of(resource, attributes.subresource),
            resource: resource.gvr(),
            request_kind: kind_of(attributes.resource, attributes.subresource),
            request_resource: attributes.resource.gvr(),
            subresource: attributes.subresource,
            name,
            namespace: if is_namespace(resource) { name } else { attributes.namespace },
            operation: attributes.operation.as_str(),
            user: attributes.context.user_info(),
            object: object.as_ref(),
            old: old.as_ref(),
            dry_run: attributes.dry_run,
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
        let resource = attributes.resource;
        let input = Input {
            request,
            object,
            old,
            authorizer: &self.authorizer,
            user: &attributes.context.user,
            about: cel::Request {
                group: resource.group.to_string(),
                resource: resource.name.clone(),
                subresource: attributes.subresource.to_owned(),
                namespace: attributes.namespace.to_owned(),
                name: attributes.name.to_owned(),
                ..cel::Request::default()
            },
        };
        match condition::judge(&hook.conditions, &input) {
            Outcome::Hold => Ok(true),
            Outcome::Fail => Ok(false),
            Outcome::Unknown(_) if hook.ignore_failures => Ok(false),
            Outcome::Unknown(why) => {
                let resource = resource.group_resource();
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
        let own = attributes.resource;
        let resource = &invocation.resource;
        let object = if takes_another_kind(attributes) {
            let kind = kind_of(resource, attributes.subresource);
            match schema::builtin().kind(&kind.group, &kind.version, &kind.kind) {
                Some(ty) => decoded(object, ty)?,
                None => object,
            }
        } else {
            let mut object = decoded(object, resource.ty())?;
            resource.default(&mut object);
            if Arc::ptr_eq(resource, own) {
                object
            } else {
                resource.converted(object, own).await?
            }
        };
        let changed = attributes.object.as_ref() != Some(&object);
        attributes.object = Some(object);
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
    let matches = |resource: &Resource| {
        let subject = Subject {
            operation: attributes.operation.as_str(),
            group: &resource.group,
            version: &resource.version,
            resource: &resource.name,
            subresource: attributes.subresource,
            namespace: attributes.namespace,
        };
        hook.rules.iter().any(|rule| rule.matches(&subject))
    };
    let chosen = if matches(resource) {
        Some(resource.clone())
    } else if hook.exact {
        None
    } else {
        attributes.registry.equivalents(resource).into_iter().find(|other| matches(other))
    };
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

/// What a webhook made, read as if a client had sent it.
fn decoded(object: Value, ty: schema::TypeRef<'_>) -> Result<Value, Failure> {
    let decoded = codec::decode_value(object, ty, FieldValidation::Ignore);
    Ok(decoded.map_err(|error| Failure::from(Status::internal(error)))?.value)
}

#[cfg(test)]
mod tests;
