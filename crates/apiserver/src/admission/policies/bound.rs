//! Policies with their bindings, as they are used: parsed and compiled once per change.

use std::sync::{Arc, Mutex, PoisonError};

use cel::policy::{Mutating, Validating};
use machinery::Value;
use machinery::gvk::{GroupVersion, GroupVersionKind};
use machinery::selector::LabelSelector;

use super::GROUP;
use crate::registry::{Attributes, Failure, Registry, Resource};
use crate::webhook::admission::in_selected_namespace;
use crate::webhook::admission::matching::{Rule, Subject, selects_object};

/// A kind of policy.
pub(super) trait Kind {
    /// The plural name of the policies.
    const POLICIES: &'static str;
    /// The plural name of their bindings.
    const BINDINGS: &'static str;

    /// Compiles the expressions of a policy's `spec`.
    fn compile(spec: &Value) -> Self;
}

impl Kind for Validating {
    const POLICIES: &'static str = "validatingadmissionpolicies";
    const BINDINGS: &'static str = "validatingadmissionpolicybindings";

    fn compile(spec: &Value) -> Self {
        Self::new(spec)
    }
}

impl Kind for Mutating {
    const POLICIES: &'static str = "mutatingadmissionpolicies";
    const BINDINGS: &'static str = "mutatingadmissionpolicybindings";

    fn compile(spec: &Value) -> Self {
        Self::new(spec)
    }
}

/// A policy that some binding applies.
pub(super) struct Bound<P> {
    pub(super) name: String,
    pub(super) policy: P,
    constraints: Constraints,
    /// Whether a write goes on when an expression cannot be evaluated.
    pub(super) ignore_failures: bool,
    /// Whether to look again after others have changed the object.
    pub(super) reinvoked_if_needed: bool,
    /// The kind of the parameters.
    pub(super) param_kind: Option<GroupVersionKind>,
    pub(super) bindings: Vec<Binding>,
}

/// Where and how a policy applies.
pub(super) struct Binding {
    pub(super) name: String,
    constraints: Constraints,
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
struct Constraints {
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

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "Deny",
            Self::Warn => "Warn",
            Self::Audit => "Audit",
        }
    }
}

/// The resource as which a policy looks at a write, and the bindings that concern the write.
pub(super) type Meant<'p> = (Arc<Resource>, Vec<&'p Binding>);

impl<P: Kind> Bound<P> {
    fn new(policy: &Value, bindings: &[Value]) -> Option<Self> {
        let name = machinery::meta::name(policy);
        let own = bindings.iter().filter(|binding| binding["spec"]["policyName"] == name);
        let bindings: Vec<Binding> = own.map(Binding::new).collect();
        if bindings.is_empty() {
            return None;
        }
        let spec = &policy["spec"];
        let param_kind = spec["paramKind"].as_object().map(|kind| {
            let text = |field: &str| kind.get(field).and_then(Value::as_str).unwrap_or_default();
            let version = GroupVersion::parse(text("apiVersion")).unwrap_or_default();
            GroupVersionKind::new(version.group, version.version, text("kind"))
        });
        Some(Self {
            name: name.to_owned(),
            policy: P::compile(spec),
            constraints: Constraints::new(&spec["matchConstraints"]),
            ignore_failures: spec["failurePolicy"] == "Ignore",
            reinvoked_if_needed: spec["reinvocationPolicy"] == "IfNeeded",
            param_kind,
            bindings,
        })
    }

    /// How the policy concerns a write, `None` if it does not.
    ///
    /// # Errors
    /// When the write's namespace is not there.
    pub(super) fn matches(
        &self,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Meant<'_>>, Failure> {
        let Some(resource) = self.constraints.matches(attributes)? else { return Ok(None) };
        let mut bindings = Vec::new();
        for binding in &self.bindings {
            if binding.constraints.matches(attributes)?.is_some() {
                bindings.push(binding);
            }
        }
        Ok((!bindings.is_empty()).then_some((resource, bindings)))
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
    fn matches(&self, attributes: &Attributes<'_>) -> Result<Option<Arc<Resource>>, Failure> {
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
        let name = attributes.object_name();
        Subject::chosen(attributes, self.exact, |subject| {
            rules.iter().any(|named| {
                named.rule.matches(subject)
                    && (named.names.is_empty() || named.names.iter().any(|n| n == name))
            })
        })
    }
}

/// What was compiled, and of which state of the registry.
pub(super) struct Known<P>(Mutex<Compiled<P>>);

struct Compiled<P> {
    /// The newest changes that `bound` shows.
    revisions: (u64, u64),
    bound: Arc<[Bound<P>]>,
}

impl<P> Default for Known<P> {
    fn default() -> Self {
        Self(Mutex::new(Compiled { revisions: (0, 0), bound: Arc::default() }))
    }
}

impl<P: Kind> Known<P> {
    /// The policies as they are now, in the order of their names.
    pub(super) fn now(&self, registry: &Registry) -> Arc<[Bound<P>]> {
        let revision =
            |resource| registry.changes(GROUP, resource).map(|changes| *changes.borrow());
        let (Some(policies), Some(bindings)) = (revision(P::POLICIES), revision(P::BINDINGS))
        else {
            return Arc::default();
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revisions != (policies, bindings) {
            let all = |resource| -> Vec<Value> {
                registry.cached_list(GROUP, resource, "").iter().map(|o| o.value()).collect()
            };
            let all_bindings = all(P::BINDINGS);
            let bound = all(P::POLICIES);
            let bound = bound.iter().filter_map(|policy| Bound::new(policy, &all_bindings));
            *known = Compiled { revisions: (policies, bindings), bound: bound.collect() };
        }
        known.bound.clone()
    }
}
