//! Which requests a webhook is asked about. Pure.

use std::sync::Arc;

use machinery::Value;
use machinery::selector::LabelSelector;

use crate::registry::{Attributes, Resource};

/// What a request addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) operation: &'a str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) resource: &'a str,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Empty in cluster scope.
    pub(crate) namespace: &'a str,
}

impl<'a> Subject<'a> {
    /// A write as one of `resource`, which is the one that is written or an equivalent of it.
    pub(crate) fn of(attributes: &'a Attributes<'_>, resource: &'a Resource) -> Self {
        Self {
            operation: attributes.operation.as_str(),
            group: &resource.group,
            version: &resource.version,
            resource: &resource.name,
            subresource: attributes.subresource,
            namespace: attributes.namespace,
        }
    }

    /// The resource as which a write matches: the one that is written or, unless it must be
    /// `exact`, an equivalent of it.
    pub(crate) fn chosen(
        attributes: &Attributes<'_>,
        exact: bool,
        matches: impl Fn(&Subject<'_>) -> bool,
    ) -> Option<Arc<Resource>> {
        let own = attributes.resource;
        let matches = |resource: &Resource| matches(&Subject::of(attributes, resource));
        if matches(own) {
            return Some(own.clone());
        }
        let mut others = attributes.registry.equivalents(own).into_iter();
        others.find(|other| !exact && matches(other))
    }
}

/// A rule of a webhook.
#[derive(Debug)]
pub(crate) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: Scope,
}

#[derive(Debug)]
enum Scope {
    Any,
    Cluster,
    Namespaced,
}

impl Rule {
    pub(crate) fn from_value(rule: &Value) -> Self {
        let texts = |field: &str| {
            let values = rule[field].as_array().into_iter().flatten();
            values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
        };
        let scope = match rule["scope"].as_str() {
            Some("Cluster") => Scope::Cluster,
            Some("Namespaced") => Scope::Namespaced,
            _ => Scope::Any,
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope,
        }
    }

    pub(crate) fn matches(&self, subject: &Subject<'_>) -> bool {
        let one =
            |words: &[String], wanted: &str| words.iter().any(|word| word == "*" || word == wanted);
        one(&self.operations, subject.operation)
            && one(&self.groups, subject.group)
            && one(&self.versions, subject.version)
            && self.resources.iter().any(|pattern| names(pattern, subject))
            && match self.scope {
                Scope::Any => true,
                Scope::Cluster => in_cluster_scope(subject),
                Scope::Namespaced => !in_cluster_scope(subject),
            }
    }
}

/// Whether `pods`, `pods/log`, `pods/*`, `*/scale`, `*` (without subresources) or `*/*` means it.
fn names(pattern: &str, subject: &Subject<'_>) -> bool {
    let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
    (resource == "*" || resource == subject.resource)
        && (subresource == "*" || subresource == subject.subresource)
}

/// Namespaces are, although their requests name one.
fn in_cluster_scope(subject: &Subject<'_>) -> bool {
    subject.namespace.is_empty() || (subject.group.is_empty() && subject.resource == "namespaces")
}

/// Webhooks and policies are not asked about themselves: a broken one could not be removed.
pub(crate) fn is_exempt(group: &str, resource: &str) -> bool {
    group == "admissionregistration.k8s.io"
        && matches!(
            resource,
            "validatingwebhookconfigurations"
                | "mutatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        )
}

/// Whether either state of the object has the labels. What has no metadata has none.
pub(crate) fn selects_object(
    selector: &LabelSelector,
    object: Option<&Value>,
    old: Option<&Value>,
) -> bool {
    let matches = |object: Option<&Value>| {
        object
            .and_then(|object| object.get("metadata"))
            .is_some_and(|metadata| selects(selector, metadata.get("labels")))
    };
    selector.is_everything() || matches(object) || matches(old)
}

/// Whether a map of labels is selected.
pub(crate) fn selects(selector: &LabelSelector, labels: Option<&Value>) -> bool {
    selector.matches(&labels.and_then(Value::as_object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(resources: &[&str], scope: &str, subject: (&str, &str, &str), expected: bool) {
        let rule = Rule::from_value(&json!({"operations": ["CREATE", "UPDATE"], "apiGroups": [""],
            "apiVersions": ["*"], "resources": resources, "scope": scope}));
        let (resource, subresource, namespace) = subject;
        let subject = Subject {
            operation: "UPDATE",
            group: "",
            version: "v1",
            resource,
            subresource,
            namespace,
        };
        assert_eq!(rule.matches(&subject), expected, "{resources:?} {scope} {subject:?}");
        let other = Subject { operation: "DELETE", ..subject };
        assert!(!rule.matches(&other));
        assert!(!rule.matches(&Subject { group: "apps", ..subject }));
    }

    #[test]
    fn rules() {
        let pod = ("pods", "", "n");
        let status = ("pods", "status", "n");
        check(&["pods"], "*", pod, true);
        check(&["pods"], "*", status, false);
        check(&["pods/*"], "*", status, true);
        check(&["pods/*"], "*", pod, true);
        check(&["*"], "*", pod, true);
        check(&["*"], "*", status, false);
        check(&["*/status"], "*", status, true);
        check(&["*/status"], "*", pod, false);
        check(&["*/*"], "*", status, true);
        check(&["services", "pods/status"], "*", status, true);
        check(&["*"], "Cluster", pod, false);
        check(&["*"], "Namespaced", pod, true);
        check(&["*"], "Cluster", ("nodes", "", ""), true);
        check(&["*"], "Namespaced", ("namespaces", "", "n"), false);
        check(&["*"], "Cluster", ("namespaces", "", "n"), true);
    }

    #[test]
    fn objects_by_their_labels() {
        let selector = LabelSelector::parse("a=b").unwrap();
        let labelled = json!({"metadata": {"labels": {"a": "b"}}});
        let other = json!({"metadata": {}});
        assert!(selects_object(&selector, Some(&labelled), None));
        assert!(selects_object(&selector, Some(&other), Some(&labelled)), "either state will do");
        assert!(!selects_object(&selector, Some(&other), None));
        let absent = LabelSelector::parse("!a").unwrap();
        assert!(selects_object(&absent, Some(&other), None));
        assert!(!selects_object(&absent, Some(&json!({"kind": "PodExecOptions"})), None));
        assert!(selects_object(&LabelSelector::everything(), None, None));
    }
}
