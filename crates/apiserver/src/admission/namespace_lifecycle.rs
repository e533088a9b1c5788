//! No new objects in namespaces that do not exist or are on their way out, and no end of the
//! system's own namespaces.

use machinery::gvk::GroupResource;
use machinery::status::{Cause, Status};

use super::{Plugin, forbidden};
use crate::registry::{Attributes, Failure, Operation};

/// Namespaces that stay.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        let core = attributes.resource.group.is_empty();
        if core && attributes.resource.name == "namespaces" {
            if attributes.operation == Operation::Delete && IMMORTAL.contains(&attributes.name) {
                return Err(forbidden(attributes, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        if attributes.namespace.is_empty() || attributes.operation == Operation::Delete {
            return Ok(());
        }
        let namespace = attributes.registry.cached("", "namespaces", "", attributes.namespace);
        let Some(namespace) = namespace else {
            let resource = GroupResource::new("", "namespaces");
            return Err(Box::new(Status::not_found(&resource, attributes.namespace)));
        };
        if attributes.operation != Operation::Create {
            return Ok(());
        }
        // The write that marks a namespace for deletion sets its phase too.
        match namespace.field("status.phase") {
            Some("Terminating") => Err(terminating(attributes)),
            _ => Ok(()),
        }
    }
}

fn terminating(attributes: &Attributes<'_>) -> Failure {
    let namespace = attributes.namespace;
    let mut status = forbidden(
        attributes,
        format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        ),
    );
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
    }
    status
}
