//! Admission policies: rules and changes in the Common Expression Language,
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>,
//! <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>.
//!
//! Data flow: a write → the policies whose constraints it matches → their bindings that match too
//! → the bindings' parameters → the policies' expressions → changes, or refusals, warnings and
//! audit annotations. Policies are compiled once per change of the policies or bindings.
//!
//! Invariants: policies are not asked about policies, so that a broken one can be removed, nor
//! about reviews, which the cluster itself lives on; the failure policy decides about everything
//! that cannot be evaluated.

mod bound;
mod change;
mod mutating;
mod params;
mod validating;
mod view;

use std::sync::Arc;

use cel::policy::{Mutating, Validating};

use self::bound::Known;
use super::reinvocation::Rounds;
use crate::authz::Authorizer;
use crate::registry::{Attributes, Failure, Operation, Resource};

const GROUP: &str = "admissionregistration.k8s.io";

/// The policies that the registry holds.
pub(super) struct Policies {
    validating: Known<Validating>,
    mutating: Known<Mutating>,
    authorizer: Arc<Authorizer>,
}

impl Policies {
    pub(super) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { validating: Known::default(), mutating: Known::default(), authorizer }
    }

    /// Lets the mutating policies change the object, those that have a turn in this round.
    ///
    /// # Errors
    /// When one cannot be evaluated and must be.
    pub(super) async fn mutate(
        &self,
        attributes: &mut Attributes<'_>,
        rounds: &mut Rounds,
    ) -> Result<(), Failure> {
        // There is nothing to change about a deletion.
        if is_exempt(attributes.resource) || attributes.operation == Operation::Delete {
            return Ok(());
        }
        let policies = self.mutating.now(attributes.registry);
        mutating::mutate(&policies, &self.authorizer, attributes, rounds).await
    }

    /// Lets the validating policies look at what would be stored.
    ///
    /// # Errors
    /// When one refuses.
    pub(super) async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        if is_exempt(attributes.resource) {
            return Ok(());
        }
        let policies = self.validating.now(attributes.registry);
        validating::validate(&policies, &self.authorizer, attributes).await
    }
}

fn is_exempt(resource: &Resource) -> bool {
    match &*resource.group {
        GROUP => matches!(
            resource.name.as_str(),
            "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        ),
        "authentication.k8s.io" | "authorization.k8s.io" => resource.name.ends_with("reviews"),
        _ => false,
    }
}
