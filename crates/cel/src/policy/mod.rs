//! Admission policies: their expressions, compiled, and what they say about a request.
//!
//! Data flow: a policy's `spec` → [`Validating`] or [`Mutating`], compiled once → for each request
//! and each of the policy's parameters an [`Input`] → what does not hold, or what is to be changed.
//! [`Conditions`] decide beforehand whether a policy or a webhook looks at the request at all.
//! [`expression_warnings`] compiles the same expressions against the types that a policy is about.
//!
//! Pure: whoever asks brings the request, the objects and the answers to authorization checks.

mod conditions;
mod expression;
mod mutating;
mod request;
mod scope;
#[cfg(test)]
mod tests;
mod typecheck;
mod validating;

use machinery::Value as Json;

use crate::library::authorizer::Authorizer;

pub use conditions::{Conditions, Judgement};
pub use mutating::{Change, Mutating};
pub use typecheck::{ExpressionWarning, Subject, expression_warnings};
pub use validating::{Failure, Outcome, Validating};

/// What policies look at.
#[derive(Debug)]
pub struct Input<'a> {
    /// `object`; null for deletions.
    pub object: &'a Json,
    /// `oldObject`; null for creations.
    pub old_object: &'a Json,
    /// `request`, as in an `AdmissionReview`.
    pub request: &'a Json,
    /// `params`; null when there are none.
    pub params: &'a Json,
    /// `namespaceObject`; null in cluster scope.
    pub namespace: &'a Json,
    /// `authorizer`
    pub authorizer: Authorizer,
}

fn items<'a>(spec: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    spec.get(name).and_then(Json::as_array).into_iter().flatten()
}

fn text(item: &Json, name: &str) -> String {
    item.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}
