//! `ValidatingAdmissionPolicy`: rules on writes, in the Common Expression Language,
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>.
//!
//! Data flow: a write → the policies whose constraints it matches → their bindings that match too
//! → the binding's parameters → the policy's expressions → refusals and warnings. Policies are
//! compiled once per change of the policies or bindings.

mod bound;
mod params;

use std::sync::Arc;

use cel::policy::{self, Input, Policy};
use machinery::Value;
use machinery::field::Path;
use machinery::status::{Cause, Status};

use self::bound::{Action, Binding, Bound, Known};
use super::{forbidden, is};
use crate::authz::Authorizer;
use crate::registry::{Attributes, Failure, Operation, Resource};
use crate::webhook::admission::{self, condition, review};

const GROUP: &str = "admissionregistration.k8s.io";
const POLICIES: &str = "validatingadmissionpolicies";
const BINDINGS: &str = "validatingadmissionpolicybindings";

/// The policies that the registry holds.
pub(super) struct Policies {
    known: Known,
    authorizer: Arc<Authorizer>,
}

impl Policies {
    pub(super) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { known: Known::default(), authorizer }
    }

    /// Lets the policies look at what would be stored, and looks at what is stored as a policy.
    ///
    /// # Errors
    /// When one refuses, and for policies that do not compile.
    pub(super) async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        check_policy(attributes)?;
        let resource = attributes.resource;
        if admission::matching::is_exempt(&resource.group, &resource.name) {
            return Ok(());
        }
        let mut refusal = None;
        for bound in self.known.now(attributes.registry).iter() {
            let failure = self.apply(bound, attributes).await?;
            refusal = refusal.or(failure);
        }
        refusal.map_or(Ok(()), Err)
    }

    /// What a policy has against a write.
    async fn apply(
        &self,
        bound: &Bound,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Failure>, Failure> {
        let Some(resource) = bound.constraints.matches(attributes)? else { return Ok(None) };
        let mut bindings = Vec::new();
        for binding in &bound.bindings {
            if binding.constraints.matches(attributes)?.is_some() {
                bindings.push(binding);
            }
        }
        if bindings.is_empty() {
            return Ok(None);
        }
        let subject = self.subject(&resource, attributes).await?;
        match bound.policy.matches(&subject.input(&Value::Null)) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(_) if bound.ignore_failures => return Ok(None),
            Err(why) => return Ok(Some(refused(attributes, bound, None, &why, ""))),
        }
        let mut refusal = None;
        for binding in bindings {
            let params = match params::of(bound, binding, attributes) {
                Ok(params) => params,
                Err(_) if bound.ignore_failures => continue,
                Err(why) => {
                    let why = format!("failed to configure binding: {why}");
                    refusal = refusal.or(Some(refused(attributes, bound, Some(binding), &why, "")));
                    continue;
                }
            };
            for params in &params {
                let outcome = bound.policy.evaluate(&subject.input(params));
                for failure in outcome.failures {
                    let refused = act(&failure, bound, binding, attributes);
                    refusal = refusal.or(refused);
                }
            }
        }
        Ok(refusal)
    }

    async fn subject(
        &self,
        resource: &Arc<Resource>,
        attributes: &Attributes<'_>,
    ) -> Result<Subject, Failure> {
        let registry = attributes.registry;
        let object = admission::shown(attributes, resource, attributes.object.as_ref()).await?;
        let old = admission::shown(attributes, resource, attributes.old).await?;
        let own_name = attributes.object.as_ref().map(machinery::meta::name).unwrap_or_default();
        let name = if attributes.name.is_empty() { own_name } else { attributes.name };
        let own = admission::is_namespace(resource);
        let namespace_name = if own { name } else { attributes.namespace };
        let request = review::Request {
            uid: "",
            kind: admission::kind_of(resource, attributes.subresource),
            resource: resource.gvr(),
            request_kind: admission::kind_of(attributes.resource, attributes.subresource),
            request_resource: attributes.resource.gvr(),
            subresource: attributes.subresource,
            name,
            namespace: namespace_name,
            operation: attributes.operation.as_str(),
            user: attributes.context.user_info(),
            object: None,
            old: None,
            dry_run: attributes.dry_run,
        };
        let request = request.to_value();
        // A Namespace is not in one, and while it is made it cannot be looked up.
        let namespace = match namespace_name {
            "" => Value::Null,
            _ if own => Value::Null,
            name => {
                let found = registry.cached("", "namespaces", "", name);
                found.map_or(Value::Null, |found| found.value())
            }
        };
        let asked = condition::Asked {
            authorizer: self.authorizer.clone(),
            user: attributes.context.user.clone(),
        };
        Ok(Subject {
            object: object.unwrap_or(Value::Null),
            old: old.unwrap_or(Value::Null),
            request,
            namespace,
            authorizer: cel::Authorizer::new(Arc::new(asked)),
        })
    }
}

/// What a policy looks at, whatever its parameters.
struct Subject {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
    authorizer: cel::Authorizer,
}

impl Subject {
    fn input<'a>(&'a self, params: &'a Value) -> Input<'a> {
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

/// Does what a binding wants done about a failure; a refusal if it wants one.
fn act(
    failure: &policy::Failure,
    bound: &Bound,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Option<Failure> {
    if failure.error && bound.ignore_failures {
        return None;
    }
    if binding.actions.contains(&Action::Warn) {
        attributes.context.warnings.add(format!(
            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
            bound.name, binding.name, failure.message
        ));
    }
    let deny = binding.actions.contains(&Action::Deny);
    deny.then(|| refused(attributes, bound, Some(binding), &failure.message, &failure.reason))
}

fn refused(
    attributes: &Attributes<'_>,
    bound: &Bound,
    binding: Option<&Binding>,
    why: &str,
    reason: &str,
) -> Failure {
    let with = binding.map_or_else(String::new, |b| format!(" with binding '{}'", b.name));
    let text = format!("ValidatingAdmissionPolicy '{}'{with} denied request: {why}", bound.name);
    let mut status = forbidden(attributes, &text);
    (status.code, status.reason) = match reason {
        "Unauthorized" => (401, reason.to_owned()),
        "Forbidden" => (403, reason.to_owned()),
        "RequestEntityTooLarge" => (413, reason.to_owned()),
        _ => (422, "Invalid".to_owned()),
    };
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { message: text, ..Cause::default() });
    }
    status
}

/// The 422 of a policy whose expressions do not compile. What did not change may stay.
fn check_policy(attributes: &Attributes<'_>) -> Result<(), Failure> {
    let written = is(attributes, Operation::Create, GROUP, POLICIES)
        || is(attributes, Operation::Update, GROUP, POLICIES);
    let Some(object) = attributes.object.as_ref().filter(|_| written) else { return Ok(()) };
    if attributes.old.is_some_and(|old| old.get("spec") == object.get("spec")) {
        return Ok(());
    }
    let errors = Policy::check(object.get("spec").unwrap_or(&Value::Null), &Path::new("spec"));
    if errors.is_empty() {
        return Ok(());
    }
    let kind = attributes.resource.group_kind();
    Err(Status::invalid(&kind, machinery::meta::name(object), &errors).into())
}
