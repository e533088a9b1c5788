//! `MutatingAdmissionPolicy`: policies change the object one after the other, in the order of
//! their names, once for each binding and each of its parameters.

use std::sync::Arc;

use cel::policy::{Judgement, Mutating};
use machinery::status::Cause;
use machinery::{Value, meta};

use super::bound::{Binding, Bound};
use super::change::{Trouble, changed};
use super::params::{self, ParamError};
use super::view::View;
use crate::admission::forbidden;
use crate::admission::reinvocation::Rounds;
use crate::authz::Authorizer;
use crate::registry::{Attributes, Failure, Resource};
use crate::webhook::admission;

type Policy = Bound<Mutating>;

/// One turn of a policy.
struct Invocation<'p> {
    policy: &'p Policy,
    binding: &'p Binding,
    params: Value,
    resource: Arc<Resource>,
}

/// Lets those policies change the object that concern it as it is now.
pub(super) async fn mutate(
    policies: &[Policy],
    authorizer: &Arc<Authorizer>,
    attributes: &mut Attributes<'_>,
    rounds: &mut Rounds,
) -> Result<(), Failure> {
    let mut errors = Errors::default();
    let invocations = invocations(policies, attributes, &mut errors).await?;
    for invocation in &invocations {
        let key = invocation.key();
        let again = invocation.policy.reinvoked_if_needed;
        let mut view = View::of(attributes, &invocation.resource, authorizer).await?;
        match invocation.policy.policy.conditions.judge(&view.input(&invocation.params)) {
            Judgement::Hold => {}
            Judgement::Fail => continue,
            Judgement::Unknown(_) if invocation.policy.ignore_failures => continue,
            Judgement::Unknown(why) => {
                errors.add(invocation.policy, Some(invocation.binding), why);
                continue;
            }
        }
        if !rounds.concerns(&key) {
            continue;
        }
        let is_changed = invocation.mutate(&mut view, attributes, &mut errors)?;
        if is_changed {
            let restored = admission::restored(attributes, &invocation.resource, view.object);
            let object = restored.await?;
            attributes.replace(object);
        }
        rounds.asked(&key, is_changed, again);
    }
    errors.judge(attributes)
}

async fn invocations<'p>(
    policies: &'p [Policy],
    attributes: &Attributes<'_>,
    errors: &mut Errors,
) -> Result<Vec<Invocation<'p>>, Failure> {
    let mut invocations = Vec::new();
    for policy in policies {
        let Some((resource, bindings)) = policy.matches(attributes)? else { continue };
        for binding in bindings {
            match params::of(policy, binding, attributes).await {
                Ok(params) => invocations.extend(params.into_iter().map(|params| Invocation {
                    policy,
                    binding,
                    params,
                    resource: resource.clone(),
                })),
                Err(error) => {
                    let binding = matches!(error, ParamError::Binding(_)).then_some(binding);
                    errors.add(policy, binding, error.to_string());
                }
            }
        }
    }
    Ok(invocations)
}

impl Invocation<'_> {
    /// Tells it from all others of the request.
    fn key(&self) -> String {
        let (policy, binding) = (&self.policy.name, &self.binding.name);
        let (namespace, name) = (meta::namespace(&self.params), meta::name(&self.params));
        format!("{policy}/{binding}/{namespace}/{name}")
    }

    /// Makes the mutations, each on what the one before it left. True if the object changed.
    fn mutate(
        &self,
        view: &mut View,
        attributes: &Attributes<'_>,
        errors: &mut Errors,
    ) -> Result<bool, Failure> {
        let mut is_changed = false;
        if view.object.is_null() {
            return Ok(false);
        }
        for index in 0..self.policy.policy.len() {
            let change = self.policy.policy.evaluate(index, &view.input(&self.params));
            let object = change
                .map_err(Trouble::Policy)
                .and_then(|change| changed(attributes, &self.resource, &view.object, change));
            match object {
                Ok(object) => {
                    is_changed |= object != view.object;
                    view.object = object;
                }
                Err(Trouble::Fatal(failure)) => return Err(failure),
                Err(Trouble::Policy(why)) => errors.add(self.policy, Some(self.binding), why),
            }
        }
        Ok(is_changed)
    }
}

/// What could not be evaluated and must be.
#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, policy: &Policy, binding: Option<&Binding>, why: String) {
        if policy.ignore_failures {
            return;
        }
        let name = &policy.name;
        self.0.push(match binding {
            Some(binding) => {
                format!("policy '{name}' with binding '{}' denied request: {why}", binding.name)
            }
            None => format!("policy {name:?} denied request: {why}"),
        });
    }

    /// The 403 that names the first and lists all.
    fn judge(self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let Some(first) = self.0.first().cloned() else { return Ok(()) };
        let mut status = forbidden(attributes, "admission request denied by policy");
        (status.message, status.reason) = (first, "Invalid".to_owned());
        if let Some(details) = &mut status.details {
            let causes = self.0.into_iter().map(|message| Cause { message, ..Cause::default() });
            details.causes.extend(causes);
        }
        Err(status)
    }
}
