//! What a policy sees of a write.

use std::sync::Arc;

use cel::policy::Input;
use machinery::Value;

use crate::authz::Authorizer;
use crate::registry::{Attributes, Failure, Resource};
use crate::webhook::admission::asked::Asked;
use crate::webhook::admission::{self, review};

/// A write in the version in which a policy looks at it, whatever the policy's parameters.
pub(super) struct View {
    pub(super) object: Value,
    old: Value,
    request: Value,
    namespace: Value,
    authorizer: cel::Authorizer,
}

impl View {
    /// # Errors
    /// When an object cannot be converted.
    pub(super) async fn of(
        attributes: &Attributes<'_>,
        resource: &Arc<Resource>,
        authorizer: &Arc<Authorizer>,
    ) -> Result<Self, Failure> {
        let object = admission::shown(attributes, resource, attributes.object.as_ref()).await?;
        let old = admission::shown(attributes, resource, attributes.old).await?;
        // A Namespace is not in one, and while it is made it cannot be looked up.
        let namespace = match attributes.namespace {
            "" => None,
            _ if admission::is_namespace(resource) => None,
            name => attributes.registry.cached("", "namespaces", "", name),
        };
        Ok(Self {
            object: object.unwrap_or(Value::Null),
            old: old.unwrap_or(Value::Null),
            request: review::Request::of(attributes, resource, "").to_value(),
            namespace: namespace.map_or(Value::Null, |found| found.value()),
            authorizer: Asked::of(attributes, authorizer),
        })
    }

    pub(super) fn input<'a>(&'a self, params: &'a Value) -> Input<'a> {
        Input {
            object: &self.object,
            old_object: &self.old,
            request: &self.request,
            params,
            namespace: &self.namespace,
            authorizer: self.authorizer.clone(),
        }
    }
}
