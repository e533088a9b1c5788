//! Admission: the built-in plugins that change or refuse writes, and the turns of policies and of
//! webhooks,
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/>.
//!
//! Each plugin is a file: what it decides is a pure function of the write and a few cached
//! objects, and two small hooks bring those together.

mod certificates;
mod configuration;
mod default_classes;
mod default_toleration_seconds;
mod definitions;
mod device_access;
mod escalation;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_groups;
mod pod_resize;
mod pod_security;
mod policies;
mod priority;
pub(crate) mod reinvocation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint_nodes;
mod topology_labels;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use machinery::Value;
use machinery::status::Status;

pub use self::configuration::{Configuration, Error as ConfigurationError};
use self::reinvocation::Rounds;
use crate::authz::Authorizer;
use crate::registry::{Admission, Attributes, Failure, Operation};
use crate::webhook::admission::Webhooks;

/// One plugin. Both halves see only writes; reads are not admitted.
trait Plugin: Send + Sync {
    /// May change the object.
    fn admit(&self, _: &mut Attributes<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Only looks, at what would be stored.
    fn validate(&self, _: &Attributes<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// All plugins, in upstream's order. Policies come before webhooks, the mutating ones of both before
/// everything that only looks; quotas are charged last.
pub struct Plugins {
    builtin: Vec<Box<dyn Plugin>>,
    policies: policies::Policies,
    webhooks: Webhooks,
    quotas: resource_quota::ResourceQuotas,
}

// === impl Plugins ===

impl Plugins {
    /// The plugins; some ask `authorizer` for further permissions.
    #[must_use]
    pub fn new(authorizer: Arc<Authorizer>, told: Configuration) -> Self {
        let builtin: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(limit_ranger::LimitRanger),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction),
            Box::new(taint_nodes::TaintNodes),
            Box::new(pod_security::PodSecurity(told.pod_security)),
            Box::new(priority::Priority),
            Box::new(default_toleration_seconds::DefaultTolerationSeconds),
            Box::new(default_classes::DefaultStorageClass),
            Box::new(storage_in_use::StorageInUse),
            Box::new(default_classes::ClaimResize),
            Box::new(runtime_class::RuntimeClass),
            Box::new(default_classes::DefaultIngressClass),
            Box::new(certificates::Certificates(authorizer.clone())),
            Box::new(topology_labels::TopologyLabels),
            Box::new(pod_groups::PodGroups),
            Box::new(pod_resize::PodResize),
            Box::new(device_access::DeviceAccess(authorizer.clone())),
            Box::new(escalation::Escalation(authorizer.clone())),
            Box::new(definitions::Definitions),
        ];
        Self {
            builtin,
            policies: policies::Policies::new(authorizer.clone()),
            webhooks: Webhooks::new(authorizer),
            quotas: resource_quota::ResourceQuotas::new(told.limited),
        }
    }
}

impl Admission for Plugins {
    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let (mut policies, mut webhooks) = (Rounds::default(), Rounds::default());
            self.admit_builtin(attributes)?;
            self.policies.mutate(attributes, &mut policies).await?;
            policies.end(attributes.object.as_ref());
            self.webhooks.mutate(attributes, &mut webhooks).await?;
            webhooks.end(attributes.object.as_ref());
            if policies.changed() || webhooks.changed() {
                // What they made must be as the plugins want it, and perhaps as others do.
                self.admit_builtin(attributes)?;
                policies.begin_second(attributes.object.as_ref());
                self.policies.mutate(attributes, &mut policies).await?;
                webhooks.begin_second(attributes.object.as_ref());
                self.webhooks.mutate(attributes, &mut webhooks).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            self.builtin.iter().try_for_each(|plugin| plugin.validate(attributes))?;
            self.policies.validate(attributes).await?;
            self.webhooks.validate(attributes).await?;
            self.quotas.validate(attributes).await
        }
        .boxed()
    }
}

impl Plugins {
    fn admit_builtin(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        self.builtin.iter().try_for_each(|plugin| plugin.admit(attributes))
    }
}

/// The 403 of a plugin.
fn forbidden(attributes: &Attributes<'_>, detail: impl std::fmt::Display) -> Failure {
    let name = match attributes.name {
        "" => attributes.object.as_ref().map(machinery::meta::name).unwrap_or_default(),
        name => name,
    };
    Box::new(Status::forbidden(&attributes.resource.group_resource(), name, detail))
}

/// Whether a write is of a whole object of this resource.
fn is(attributes: &Attributes<'_>, operation: Operation, group: &str, resource: &str) -> bool {
    attributes.operation == operation
        && attributes.subresource.is_empty()
        && attributes.resource.name == resource
        && attributes.resource.group == group
}

/// Whether an update says only who owns the object and who has to clean up after it, as the
/// garbage collector does.
fn only_ownership(object: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else { return false };
    let plain = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.shift_remove(field);
            }
        }
        object
    };
    plain(object) == plain(old)
}
