//! PodSecurity: the Pod Security Standards, as far as a namespace's labels ask for them,
//! <https://kubernetes.io/docs/concepts/security/pod-security-admission/>.
//!
//! What a Pod breaks of the enforced level refuses it; what it breaks of the others, or what a
//! workload's template breaks, is said in warnings and in the audit log.

mod baseline;
mod configuration;
mod policy;
mod restricted;
mod standard;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use machinery::status::Status;
use machinery::{Value, meta};

pub(super) use self::configuration::Configuration;
use self::policy::{Policy, Standard};
use self::standard::{Violation, violations};
use super::{Plugin, forbidden, is};
use crate::registry::{Attributes, Failure, Operation};

/// Subresources of Pods that change nothing here.
const IGNORED: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// As many Pods of a namespace are looked at when its level changes.
const MAX_PODS: usize = 3000;

pub(super) struct PodSecurity(pub(super) Configuration);

impl Plugin for PodSecurity {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        let Some(object) = attributes.object.as_ref().filter(|_| written) else { return Ok(()) };
        let resource = attributes.resource;
        match (&*resource.group, resource.name.as_str()) {
            ("", "namespaces") => self.namespace(attributes, object),
            ("", "pods") => self.pod(attributes, object),
            (group, name) => match template(group, name, object) {
                Some(template) if attributes.subresource.is_empty() => {
                    self.workload(attributes, template)
                }
                _ => Ok(()),
            },
        }
    }
}

impl PodSecurity {
    /// What the namespace asks for, and what is wrong with how it does.
    fn policy_of(&self, attributes: &Attributes<'_>) -> Result<(Policy, Option<String>), Failure> {
        let name = attributes.namespace;
        let Some(namespace) = attributes.registry.cached("", "namespaces", "", name) else {
            let text = format!("failed to lookup namespace {name:?}");
            return Err(Status::internal(text).into());
        };
        let (policy, errors) = Policy::of(&namespace.value(), &self.0.defaults);
        let problem = (!errors.is_empty()).then(|| policy::text(&errors));
        Ok((policy, problem))
    }

    /// Whether nothing is asked of a write, whatever the namespace says.
    fn is_exempt(&self, attributes: &Attributes<'_>) -> bool {
        let reason = self.0.exempt(attributes.namespace, &attributes.context.user.name);
        if let Some(reason) = reason {
            note(attributes, "exempt", reason.to_owned());
        }
        reason.is_some()
    }

    /// Whether nothing is asked of Pods with such a specification.
    fn has_exempt_class(&self, attributes: &Attributes<'_>, pod: &Value) -> bool {
        let class = pod.pointer("/spec/runtimeClassName").and_then(Value::as_str);
        let exempt = class.is_some_and(|class| self.0.runtime_classes.contains(class));
        if exempt {
            note(attributes, "exempt", "runtimeClass".to_owned());
        }
        exempt
    }

    fn workload(&self, attributes: &Attributes<'_>, template: &Value) -> Result<(), Failure> {
        if self.is_exempt(attributes) {
            return Ok(());
        }
        let (policy, problem) = self.policy_of(attributes)?;
        if self.has_exempt_class(attributes, template) {
            return Ok(());
        }
        if let Some(problem) = problem {
            note(attributes, "error", format!("Failed to parse policy: {problem}"));
        }
        tell(attributes, &policy, template);
        Ok(())
    }

    fn pod(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<(), Failure> {
        if IGNORED.contains(&attributes.subresource) || self.is_exempt(attributes) {
            return Ok(());
        }
        let (policy, problem) = self.policy_of(attributes)?;
        if problem.is_none() && policy.asks_nothing() {
            return Ok(());
        }
        if attributes.operation == Operation::Update
            && attributes.old.is_some_and(|old| !is_significant(pod, old))
        {
            return Ok(());
        }
        if self.has_exempt_class(attributes, pod) {
            return Ok(());
        }
        if let Some(problem) = problem {
            note(attributes, "error", format!("Failed to parse policy: {problem}"));
        }
        note(attributes, "enforce-policy", policy.enforce.to_string());
        let found = violations(policy.enforce, pod);
        if !found.is_empty() {
            tell_audit(attributes, policy.audit, pod);
            let text = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&found));
            return Err(forbidden(attributes, text));
        }
        tell(attributes, &policy, pod);
        Ok(())
    }

    fn namespace(&self, attributes: &Attributes<'_>, namespace: &Value) -> Result<(), Failure> {
        if !attributes.subresource.is_empty() {
            return Ok(());
        }
        let (policy, errors) = Policy::of(namespace, &self.0.defaults);
        let created = is(attributes, Operation::Create, "", "namespaces");
        let before = attributes.old.map(|old| Policy::of(old, &self.0.defaults));
        let known =
            before.as_ref().is_some_and(|(_, known)| policy::text(known) == policy::text(&errors));
        if !errors.is_empty() && (created || !known) {
            let kind = attributes.resource.group_kind();
            return Err(Status::invalid(&kind, meta::name(namespace), &errors).into());
        }
        let stricter =
            before.is_some_and(|(before, _)| policy.enforce.is_stricter_than(before.enforce));
        let exempt = self.0.namespaces.contains(meta::name(namespace));
        if exempt && (created || stricter) {
            let warning = self.0.ignored(namespace, &policy);
            warning.into_iter().for_each(|warning| attributes.context.warnings.add(warning));
        } else if stricter {
            let pods = attributes.registry.cached_list("", "pods", meta::name(namespace));
            let checked = pods.iter().take(MAX_PODS).map(|pod| pod.value());
            let warnings = existing(meta::name(namespace), policy.enforce, checked, pods.len());
            warnings.into_iter().for_each(|warning| attributes.context.warnings.add(warning));
        }
        Ok(())
    }
}

/// The Pod template of a workload.
fn template<'o>(group: &str, resource: &str, object: &'o Value) -> Option<&'o Value> {
    let path = match (group, resource) {
        ("", "podtemplates") => "/template",
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => "/spec/template",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    object.pointer(path).filter(|template| template.is_object())
}

/// Says in warnings and in the audit log what breaks the levels that are not enforced.
fn tell(attributes: &Attributes<'_>, policy: &Policy, pod: &Value) {
    tell_audit(attributes, policy.audit, pod);
    let found = violations(policy.warn, pod);
    if !found.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {}", policy.warn, details(&found));
        attributes.context.warnings.add(text);
    }
}

fn tell_audit(attributes: &Attributes<'_>, standard: Standard, pod: &Value) {
    if !attributes.context.annotations.is_kept() {
        return;
    }
    let found = violations(standard, pod);
    if !found.is_empty() {
        let text = format!("would violate PodSecurity \"{standard}\": {}", details(&found));
        note(attributes, "audit-violations", text);
    }
}

fn note(attributes: &Attributes<'_>, word: &str, text: String) {
    attributes.context.annotations.add(format!("pod-security.kubernetes.io/{word}"), text);
}

/// `privileged (container "a" must not …), hostPort (…)`
fn details(found: &[Violation]) -> String {
    let texts =
        found.iter().map(|violation| format!("{} ({})", violation.reason, violation.detail));
    texts.collect::<Vec<_>>().join(", ")
}

/// Whether a change can make a Pod break a level that it did not break.
fn is_significant(new: &Value, old: &Value) -> bool {
    let list =
        |pod: &Value, field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    for field in ["containers", "initContainers"] {
        let (new, old) = (list(new, field), list(old, field));
        let images = |containers: &[Value]| -> Vec<Value> {
            containers.iter().map(|container| container["image"].clone()).collect()
        };
        if images(&new) != images(&old) {
            return true;
        }
    }
    let before = list(old, "ephemeralContainers");
    let added = list(new, "ephemeralContainers").into_iter().any(|container| {
        !before
            .iter()
            .any(|old| old["name"] == container["name"] && old["image"] == container["image"])
    });
    added || meta::annotations(new) != meta::annotations(old)
}

/// What is to be said of a namespace's Pods when a stricter level is enforced.
fn existing(
    namespace: &str,
    standard: Standard,
    pods: impl Iterator<Item = Value>,
    all: usize,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if all > MAX_PODS {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {all} \
             existing pods"
        ));
    }
    // The first name and how many, by what they break.
    let mut broken: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods {
        let found = violations(standard, &pod);
        if found.is_empty() {
            continue;
        }
        let reasons: Vec<&str> = found.iter().map(|violation| &*violation.reason).collect();
        let name = meta::name(&pod);
        let (first, count) =
            broken.entry(reasons.join(", ")).or_insert_with(|| (name.to_owned(), 0));
        if name < first.as_str() {
            name.clone_into(first);
        }
        *count += 1;
    }
    if !broken.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \
             \"{standard}\""
        ));
    }
    let mut of_pods: Vec<String> = broken
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            more => format!("{name} (and {} other pods): {reasons}", more - 1),
        })
        .collect();
    of_pods.sort();
    warnings.append(&mut of_pods);
    warnings
}
