//! `ValidatingAdmissionPolicy`: what its bindings make of what does not hold.

use std::sync::Arc;

use cel::policy::{self, Judgement, Validating};
use machinery::Value;
use machinery::status::Cause;
use serde_json::json;

use super::bound::{Action, Binding, Bound};
use super::params;
use super::view::View;
use crate::admission::forbidden;
use crate::authz::Authorizer;
use crate::registry::{Attributes, Failure};

/// Where the audit log has what does not hold.
const FAILURE_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";
/// Longest value of an audit annotation, in bytes.
const MAX_ANNOTATION: usize = 10 * 1024;

type Policy = Bound<Validating>;

/// Asks all policies; what the first refuses is the answer.
pub(super) async fn validate(
    policies: &[Policy],
    authorizer: &Arc<Authorizer>,
    attributes: &Attributes<'_>,
) -> Result<(), Failure> {
    let mut refusals = Vec::new();
    for bound in policies {
        apply(bound, authorizer, attributes, &mut refusals).await?;
    }
    let first = refusals.into_iter().next();
    first.map_or(Ok(()), |refusal: Refusal<'_>| Err(refusal.to_failure(attributes)))
}

/// Why a policy refuses a write.
struct Refusal<'p> {
    policy: &'p Policy,
    /// None if the policy itself is at fault.
    binding: Option<&'p Binding>,
    why: String,
    reason: String,
}

async fn apply<'p>(
    bound: &'p Policy,
    authorizer: &Arc<Authorizer>,
    attributes: &Attributes<'_>,
    refusals: &mut Vec<Refusal<'p>>,
) -> Result<(), Failure> {
    let Some((resource, bindings)) = bound.matches(attributes)? else { return Ok(()) };
    let view = View::of(attributes, &resource, authorizer).await?;
    let mut notes = Notes::default();
    for binding in bindings {
        let mut refuse = |binding: Option<&'p Binding>, why: String, reason: String| {
            refusals.push(Refusal { policy: bound, binding, why, reason });
        };
        let params = match params::of(bound, binding, attributes).await {
            Ok(params) => params,
            Err(_) if bound.ignore_failures => continue,
            Err(error) => {
                let binding = matches!(error, params::ParamError::Binding(_)).then_some(binding);
                refuse(binding, error.to_string(), String::new());
                continue;
            }
        };
        for params in &params {
            let outcome = evaluate(bound, &view, params);
            for failure in outcome.failures {
                if act(&failure, bound, binding, attributes) {
                    refuse(Some(binding), failure.message, failure.reason);
                }
            }
            if !bound.ignore_failures {
                for error in outcome.annotation_errors {
                    refuse(Some(binding), error, String::new());
                }
            }
            outcome.annotations.into_iter().for_each(|(key, value)| notes.add(key, value));
        }
    }
    notes.publish(&bound.name, attributes);
    Ok(())
}

fn evaluate(bound: &Policy, view: &View, params: &Value) -> policy::Outcome {
    let input = view.input(params);
    match bound.policy.conditions.judge(&input) {
        Judgement::Hold => bound.policy.evaluate(&input),
        Judgement::Fail => policy::Outcome::default(),
        Judgement::Unknown(message) => {
            let reason = String::new();
            let failure = policy::Failure { index: 0, message, reason, error: true };
            policy::Outcome { failures: vec![failure], ..policy::Outcome::default() }
        }
    }
}

/// Does what a binding wants done about a failure. True if it wants a refusal.
fn act(
    failure: &policy::Failure,
    bound: &Policy,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> bool {
    if failure.error && bound.ignore_failures {
        return false;
    }
    let context = attributes.context;
    for action in &binding.actions {
        match action {
            Action::Deny => {}
            Action::Warn => context.warnings.add(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                bound.name, binding.name, failure.message
            )),
            Action::Audit => {
                let actions: Vec<&str> = binding.actions.iter().map(|a| a.as_str()).collect();
                let value = json!([{
                    "message": failure.message,
                    "policy": bound.name,
                    "binding": binding.name,
                    "expressionIndex": failure.index,
                    "validationActions": actions,
                }]);
                context.annotations.add(FAILURE_KEY, value.to_string());
            }
        }
    }
    binding.actions.contains(&Action::Deny)
}

/// The audit annotations of one policy: the values that its bindings and their parameters give.
#[derive(Default)]
struct Notes(Vec<(String, Vec<String>)>);

impl Notes {
    fn add(&mut self, key: String, mut value: String) {
        let mut end = value.len().min(MAX_ANNOTATION);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        value.truncate(end);
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.0.push((key, vec![value])),
        }
    }

    fn publish(self, policy: &str, attributes: &Attributes<'_>) {
        for (key, values) in self.0 {
            attributes.context.annotations.add(format!("{policy}/{key}"), values.join(", "));
        }
    }
}

impl Refusal<'_> {
    fn to_failure(&self, attributes: &Attributes<'_>) -> Failure {
        let with = self.binding.map_or_else(String::new, |b| format!(" with binding '{}'", b.name));
        let (name, why) = (&self.policy.name, &self.why);
        let text = format!("ValidatingAdmissionPolicy '{name}'{with} denied request: {why}");
        let mut status = forbidden(attributes, &text);
        (status.code, status.reason) = match self.reason.as_str() {
            "Unauthorized" => (401, self.reason.clone()),
            "Forbidden" => (403, self.reason.clone()),
            "RequestEntityTooLarge" => (413, self.reason.clone()),
            _ => (422, "Invalid".to_owned()),
        };
        if let Some(details) = &mut status.details {
            details.causes.push(Cause { message: text, ..Cause::default() });
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_key_are_joined() {
        let mut notes = Notes::default();
        for (key, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "1")] {
            notes.add(key.to_owned(), value.to_owned());
        }
        notes.add("c".to_owned(), "é".repeat(MAX_ANNOTATION));
        let joined: Vec<String> =
            notes.0.iter().map(|(key, values)| format!("{key}={}", values.join(", "))).collect();
        assert_eq!(joined[..2], ["a=1, 3", "b=2"]);
        assert_eq!(joined[2].len(), "c=".len() + MAX_ANNOTATION);
    }
}
