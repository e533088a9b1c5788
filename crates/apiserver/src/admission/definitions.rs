//! Definitions of custom resources: what only a reader of their schemas can tell.

use customresources::check;
use machinery::meta;
use machinery::status::Status;

use super::{Plugin, is};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";

/// Refuses patterns that do not compile and defaults that the schema itself does not allow.
pub(super) struct Definitions;

impl Plugin for Definitions {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let written = is(attributes, Operation::Create, GROUP, RESOURCE)
            || is(attributes, Operation::Update, GROUP, RESOURCE);
        let Some(crd) = attributes.object.as_ref().filter(|_| written) else { return Ok(()) };
        let errors = check::check(crd, attributes.old);
        if errors.is_empty() {
            return Ok(());
        }
        let kind = attributes.resource.group_kind();
        Err(Status::invalid(&kind, meta::name(crd), &errors).into())
    }
}
