//! Policies with their bindings, as they are used: parsed and compiled once per change.

use std::sync::{Arc, Mutex, PoisonError};

use cel::policy::Policy;
use machinery::Value;
use machinery::selector::LabelSelector;

use super::{BINDINGS, GROUP, POLICIES};
use crate::registry::{Attributes, Failure, Registry, Resource};
use crate::webhook::admission::in_selected_namespace;
use crate::webhook::admission::matching::{Rule, Subject, selects_object};

/// A policy that some binding applies.
pub(super) struct Bound {
    pub(super) name: String,
    pub(super) policy: Policy,
    pub(super) constraints: Constraints,
    /// Whether a write goes on when an expression cannot be evaluated.
    pub(super) ignore_failures: bool,
    /// API version and kind of the parameters.
    pub(super) param_kind: Option<(String, String)>,
    pub(super) bindings: Vec<Binding>,
}

/// Where and how a policy applies.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) constraints: Constraints,
    pub(super) actions: Vec<Action>,
    /// `paramRef`
    pub(super) params: Option<Value>,
}

/// What to do about what does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Refuse.
    Deny,
    /// Let pass, and tell the client.
    Warn,
    /// Let pass, and note it in the audit log.
    Audit,
}

/// Which writes are meant.
pub(super) struct Constraints {
    /// `None` where nothing is said: all that the policy matches.
    rules: Option<Vec<NamedRule>>,
    excluded: Vec<NamedRule>,
    exact: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

struct NamedRule {
    rule: Rule,
    /// Names of objects; empty for all.
    names: Vec<String>,
}

impl Bound {
    fn new(policy: &Value, bindings: &[Value]) -> Option<Self> {
        let name = machinery::meta::name(policy);
        let own = bindings.iter().filter(|binding| binding["spec"]["policyName"] == name);
        let bindings: Vec<Binding> = own.map(Binding::new).collect();
        if bindings.is_empty() {
            return None;
        }
        let spec = &policy["spec"];
        let param_kind = spec["paramKind"].as_object().map(|kind| {
            let text = |field: &str| {
                kind.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            (text("apiVersion"), text("kind"))
        });
        Some(Self {
            name: name.to_owned(),
            policy: Policy::new(spec),
            constraints: Constraints::new(&spec["matchConstraints"]),
            ignore_failures: spec["failurePolicy"] == "Ignore",
            param_kind,
            bindings,
        })
    }
}

impl Binding {
    fn new(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: machinery::meta::name(binding).to_owned(),
            constraints: Constraints::new(&spec["matchResources"]),
            actions: actions
                .filter_map(|action| match action.as_str() {
                    Some("Deny") => Some(Action::Deny),
                    Some("Warn") => Some(Action::Warn),
                    Some("Audit") => Some(Action::Audit),
                    _ => None,
                })
                .collect(),
            params: spec.get("paramRef").filter(|params| params.is_object()).cloned(),
        }
    }
}

impl Constraints {
    fn new(constraints: &Value) -> Self {
        let selector = |field: &str| {
            LabelSelector::from_value(
                constraints.get(field).or(Some(&Value::Object(Default::default()))),
            )
            .unwrap_or_else(|_| LabelSelector::nothing())
        };
        let rules = |field: &str| -> Vec<NamedRule> {
            let rules = constraints[field].as_array().into_iter().flatten();
            rules
                .map(|rule| NamedRule {
                    rule: Rule::from_value(rule),
                    names: rule["resourceNames"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect(),
                })
                .collect()
        };
        Self {
            rules: Some(rules("resourceRules")).filter(|rules| !rules.is_empty()),
            excluded: rules("excludeResourceRules"),
            exact: constraints["matchPolicy"] == "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The resource as which a write is to be looked at; `None` if it is not meant.
    ///
    /// # Errors
    /// When the write's namespace is not there.
    pub(super) fn matches(
        &self,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Arc<Resource>>, Failure> {
        let object = attributes.object.as_ref();
        if !in_selected_namespace(&self.namespaces, attributes)?
            || !selects_object(&self.objects, object, attributes.old)
            || self.named(&self.excluded, attributes).is_some()
        {
            return Ok(None);
        }
        match &self.rules {
            Some(rules) => Ok(self.named(rules, attributes)),
            None => Ok(Some(attributes.resource.clone())),
        }
    }

    fn named(&self, rules: &[NamedRule], attributes: &Attributes<'_>) -> Option<Arc<Resource>> {
        if rules.is_empty() {
            return None;
        }
        // What is being created has its name in itself.
        let own_name = attributes.object.as_ref().map(machinery::meta::name).unwrap_or_default();
        let name = if attributes.name.is_empty() { own_name } else { attributes.name };
        let matches = |resource: &Resource| {
            let subject = Subject {
                operation: attributes.operation.as_str(),
                group: &resource.group,
                version: &resource.version,
                resource: &resource.name,
                subresource: attributes.subresource,
                namespace: attributes.namespace,
            };
            rules.iter().any(|named| {
                named.rule.matches(&subject)
                    && (named.names.is_empty() || named.names.iter().any(|n| n == name))
            })
        };
        let resource = attributes.resource;
        if matches(resource) {
            return Some(resource.clone());
        }
        if self.exact {
            return None;
        }
        attributes.registry.equivalents(resource).into_iter().find(|other| matches(other))
    }
}

/// What was compiled, and of which state of the registry.
#[derive(Default)]
pub(super) struct Known(Mutex<Compiled>);

#[derive(Default)]
struct Compiled {
    /// The newest changes that `bound` shows.
    revisions: (u64, u64),
    bound: Arc<[Bound]>,
}

impl Known {
    /// The policies as they are now.
    pub(super) fn now(&self, registry: &Registry) -> Arc<[Bound]> {
        let revision =
            |resource| registry.changes(GROUP, resource).map(|changes| *changes.borrow());
        let (Some(policies), Some(bindings)) = (revision(POLICIES), revision(BINDINGS)) else {
            return Arc::default();
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revisions != (policies, bindings) {
            let all = |resource| -> Vec<Value> {
                registry.cached_list(GROUP, resource, "").iter().map(|o| o.value()).collect()
            };
            let all_bindings = all(BINDINGS);
            let bound = all(POLICIES);
            let bound = bound.iter().filter_map(|policy| Bound::new(policy, &all_bindings));
            *known = Compiled { revisions: (policies, bindings), bound: bound.collect() };
        }
        known.bound.clone()
    }
}
