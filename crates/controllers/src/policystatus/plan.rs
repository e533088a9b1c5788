//! Which types a policy is about, and what its status says of them. Pure.

use cel::Decl;
use cel::policy::{Subject, expression_warnings};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use machinery::gvk::{GroupVersion, GroupVersionKind, GroupVersionResource};
use serde_json::{Value, json};

use crate::object::Meta;

/// So many types of one rule are looked at.
pub(super) const MAX_TYPES: usize = 10;

/// The types that a policy is about.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// Kinds and their schemas.
    pub(super) subjects: Vec<(GroupVersionKind, Value)>,
    /// The schema of the parameters, if their kind is known.
    pub(super) params: Option<Value>,
}

/// Whether nobody has looked at the spec as it is now.
pub(super) fn is_new(policy: &ValidatingAdmissionPolicy) -> bool {
    let seen = policy.status.as_ref().and_then(|status| status.observed_generation);
    policy.metadata.generation.unwrap_or_default() > seen.unwrap_or_default()
}

/// The resources of each rule of a policy's spec. A rule about all groups or versions has none, and
/// neither subresources nor wildcards are looked at.
pub(super) fn rules(spec: &Value) -> Vec<Vec<GroupVersionResource>> {
    let rules = spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten();
    rules.map(resources).collect()
}

fn resources(rule: &Value) -> Vec<GroupVersionResource> {
    let [groups, versions, mut resources] =
        ["apiGroups", "apiVersions", "resources"].map(|field| sorted(&rule[field]));
    if groups.contains(&"*") || versions.contains(&"*") {
        return Vec::new();
    }
    resources.retain(|resource| !resource.contains(['*', '/']));
    let mut found = Vec::new();
    for group in groups {
        for version in &versions {
            for resource in &resources {
                found.push(GroupVersionResource::new(group, *version, *resource));
            }
        }
    }
    found
}

fn sorted(list: &Value) -> Vec<&str> {
    let mut list: Vec<&str> =
        list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    list.sort_unstable();
    list
}

/// The kind of a resource, from the list of those that its group and version has.
pub(super) fn kind(served: &Value, resource: &GroupVersionResource) -> Option<GroupVersionKind> {
    let mut all = served["resources"].as_array()?.iter();
    let kind = all.find(|served| served["name"] == *resource.resource)?["kind"].as_str()?;
    Some(GroupVersionKind::new(&*resource.group, &*resource.version, kind))
}

/// Whether a group and version serves objects of a kind.
pub(super) fn serves(served: &Value, kind: &GroupVersionKind) -> bool {
    let mut all = served["resources"].as_array().into_iter().flatten();
    all.any(|served| served["kind"] == *kind.kind)
}

/// The kind of a policy's parameters.
pub(super) fn param_kind(spec: &Value) -> Option<GroupVersionKind> {
    let text = |field: &str| spec["paramKind"][field].as_str();
    Some(GroupVersion::parse(text("apiVersion")?).ok()?.with_kind(text("kind")?))
}

/// The status to apply.
pub(super) fn plan(policy: &ValidatingAdmissionPolicy, spec: &Value, types: &Types) -> Value {
    let subject = |name: String, kind: &str, schema: &Value| Subject {
        name,
        decl: Decl::of_schema(schema, true, kind),
    };
    let subjects: Vec<Subject> = types
        .subjects
        .iter()
        .map(|(kind, schema)| subject(kind.to_string(), &kind.kind, schema))
        .collect();
    let params = types.params.as_ref().map(|schema| subject(String::new(), "Params", schema));
    let warnings: Vec<Value> = expression_warnings(spec, &subjects, params.as_ref())
        .into_iter()
        .map(|warning| json!({"fieldRef": warning.field_ref, "warning": warning.warning}))
        .collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": policy.nm()},
        "status": {
            "observedGeneration": policy.metadata.generation,
            "typeChecking": {"expressionWarnings": warnings},
        },
    })
}
