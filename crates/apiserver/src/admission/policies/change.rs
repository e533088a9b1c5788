//! Making the change that a mutation wants. Pure but for what the registry knows of types.

use cel::policy::Change;
use machinery::apply::{self, Place};
use machinery::codec::FieldValidation;
use machinery::status::Status;
use machinery::{Value, patch};

use crate::registry::{Attributes, Failure, Resource};
use crate::webhook::admission;

/// Why a change cannot be made.
pub(super) enum Trouble {
    /// The failure policy decides what that means.
    Policy(String),
    /// The write fails whatever the policy says.
    Fatal(Failure),
}

/// The object with a change made, read as if a client had sent it.
pub(super) fn changed(
    attributes: &Attributes<'_>,
    resource: &Resource,
    object: &Value,
    change: Change,
) -> Result<Value, Trouble> {
    let (object, validation) = match change {
        Change::Patch(operations) => match patched(object, &operations)? {
            Some(object) => (object, FieldValidation::Strict),
            None => return Ok(object.clone()),
        },
        Change::Apply(configuration) => {
            let Some(ty) = admission::type_of(attributes, resource) else {
                let kind = admission::kind_of(resource, attributes.subresource);
                let text = format!(
                    "Resource kind {kind} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available."
                );
                return Err(Trouble::Fatal(Status::service_unavailable(text).into()));
            };
            let merged = merged(object, configuration, ty.into());
            (merged.map_err(Trouble::Policy)?, FieldValidation::Ignore)
        }
    };
    admission::made(attributes, resource, object, validation)
        .map_err(|error| Trouble::Fatal(Status::internal(error).into()))
}

/// None when a test fails, which leaves the object alone.
fn patched(object: &Value, operations: &Value) -> Result<Option<Value>, Trouble> {
    let mut patched = object.clone();
    match patch::json::apply(&mut patched, operations) {
        Ok(()) => Ok(Some(patched)),
        Err(patch::Error::TestFailed(_)) => Ok(None),
        Err(error) => Err(Trouble::Policy(format!("JSONPath: {error}"))),
    }
}

/// The object with a configuration merged into it as server-side apply merges, without owners.
///
/// # Errors
/// What does not fit the type, and what would replace a whole: fields that the configuration does
/// not say would be lost.
fn merged(object: &Value, mut configuration: Value, place: Place<'_>) -> Result<Value, String> {
    for field in ["apiVersion", "kind"] {
        if let Some(own) = object.get(field) {
            configuration[field] = own.clone();
        }
    }
    apply::validate(&configuration, place).map_err(|misfits| {
        format!("error applying patch: failed to convert patch object to typed object: {misfits}")
    })?;
    let atomics = apply::atomics(&configuration, place);
    if !atomics.is_empty() {
        let atomics: Vec<String> = atomics.iter().map(ToString::to_string).collect();
        let atomics = atomics.join(", ");
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {atomics}"
        ));
    }
    Ok(apply::merge(object, &configuration, place))
}

#[cfg(test)]
mod tests;
