//! Nobody can give away permissions that they do not have:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>.

use std::sync::Arc;

use machinery::Value;
use machinery::gvk::GroupResource;
use machinery::status::Status;
use serde::Deserialize as _;

use super::{Plugin, forbidden, only_ownership};
use crate::authn::user::MASTERS;
use crate::authz::rbac::Source;
use crate::authz::rules::Rule;
use crate::authz::{self, Authorizer};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) struct Escalation(pub(super) Arc<Authorizer>);

impl Plugin for Escalation {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        if attributes.resource.group != GROUP || !written {
            return Ok(());
        }
        let user = &attributes.context.user;
        let Some(object) = attributes.object.as_ref() else { return Ok(()) };
        let Some(source) = Source::from_resource(&attributes.resource.name) else { return Ok(()) };
        if user.in_group(MASTERS) || only_ownership(object, attributes.old) {
            return Ok(());
        }
        let held = || self.0.rbac.rules(user, attributes.namespace);
        let rules = match source {
            Source::Role | Source::ClusterRole => {
                if self.may(attributes, "escalate", source, attributes.namespace, attributes.name) {
                    return Ok(());
                }
                rules_of(object)
            }
            Source::RoleBinding | Source::ClusterRoleBinding => {
                let text =
                    |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default();
                let name = text("/roleRef/name");
                let (source, namespace) = match text("/roleRef/kind") {
                    "ClusterRole" => (Source::ClusterRole, ""),
                    _ => (Source::Role, attributes.namespace),
                };
                if self.may(attributes, "bind", source, attributes.namespace, name) {
                    return Ok(());
                }
                let known = attributes.registry.cached(GROUP, source.resource(), namespace, name);
                match known {
                    Some(role) => rules_of(&role.value()),
                    None => {
                        let of = GroupResource::new(GROUP, source.resource());
                        return Err(Box::new(Status::not_found(&of, name)));
                    }
                }
            }
        };
        let missing = missing(&rules, &held());
        if !missing.is_empty() {
            let groups = user.groups.iter().map(|g| format!("{g:?}")).collect::<Vec<_>>().join(" ");
            return Err(forbidden(
                attributes,
                format!(
                    "user {:?} (groups=[{groups}]) is attempting to grant RBAC permissions not \
                     currently held:\n{}",
                    user.name,
                    missing.join("\n")
                ),
            ));
        }
        // What a role collects may be anything at any time.
        let collects = |role: &Value| role.get("aggregationRule").is_some_and(|r| !r.is_null());
        let collecting = source == Source::ClusterRole
            && (collects(object) || attributes.old.is_some_and(collects));
        let everything = [all("apiGroups"), all("nonResourceURLs")];
        if collecting && !self::missing(&everything, &held()).is_empty() {
            let detail = "must have cluster-admin privileges to use the aggregationRule";
            return Err(forbidden(attributes, detail));
        }
        Ok(())
    }
}

impl Escalation {
    fn may(
        &self,
        attributes: &Attributes<'_>,
        verb: &str,
        source: Source,
        namespace: &str,
        name: &str,
    ) -> bool {
        let user = &attributes.context.user;
        self.0
            .check(&authz::Attributes {
                namespace,
                name,
                ..authz::Attributes::resource(user, verb, GROUP, source.resource())
            })
            .is_ok()
    }
}

fn rules_of(object: &Value) -> Vec<Rule> {
    let rules = object.get("rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| Rule::deserialize(rule).ok()).collect()
}

fn all(of: &str) -> Rule {
    let star = || vec!["*".to_owned()];
    if of == "apiGroups" {
        Rule { verbs: star(), api_groups: star(), resources: star(), ..Rule::default() }
    } else {
        Rule { verbs: star(), non_resource_urls: star(), ..Rule::default() }
    }
}

/// What of `wanted` is not in `held`, in upstream's compact form: one line for each resource, with
/// all the verbs that are missing.
fn missing(wanted: &[Rule], held: &[Rule]) -> Vec<String> {
    let mut rules: Vec<Rule> = Vec::new();
    let atoms = wanted.iter().flat_map(Rule::atoms);
    for atom in atoms.filter(|atom| !held.iter().any(|have| have.covers(atom))) {
        let same = |rule: &&mut Rule| {
            atom.non_resource_urls.is_empty()
                && rule.api_groups == atom.api_groups
                && rule.resources == atom.resources
                && rule.resource_names == atom.resource_names
                && rule.non_resource_urls.is_empty()
        };
        match rules.iter_mut().find(same) {
            Some(rule) => rule.verbs.extend(atom.verbs),
            None => rules.push(atom),
        }
    }
    let mut lines: Vec<String> = rules.iter().map(compact).collect();
    lines.sort();
    lines.dedup();
    lines
}

fn compact(rule: &Rule) -> String {
    let list = |name: &str, values: &[String]| {
        let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
        if values.is_empty() { None } else { Some(format!("{name}:[{}]", values.join(" "))) }
    };
    let parts = [
        list("APIGroups", &rule.api_groups),
        list("Resources", &rule.resources),
        list("ResourceNames", &rule.resource_names),
        list("NonResourceURLs", &rule.non_resource_urls),
        list("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], resources: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Rule {
            verbs: own(verbs),
            api_groups: vec![String::new()],
            resources: own(resources),
            ..Rule::default()
        }
    }

    #[test]
    fn what_is_not_held_is_named() {
        let wanted = [rule(&["get", "delete"], &["pods"]), rule(&["delete", "list"], &["nodes"])];
        assert_eq!(
            missing(&wanted, &[rule(&["get"], &["pods"])]),
            [
                "{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"delete\" \"list\"]}",
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}",
            ]
        );
        let parts = [rule(&["*"], &["pods"]), rule(&["delete"], &["nodes"])];
        assert_eq!(
            missing(&wanted, &parts),
            ["{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"list\"]}"]
        );
        assert!(missing(&wanted, &[all("apiGroups")]).is_empty());
        assert_eq!(
            missing(&[all("nonResourceURLs")], &[all("apiGroups")]),
            ["{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"]
        );
    }

    #[test]
    fn owners_and_finalizers_permit_nothing() {
        let old = serde_json::json!({"metadata": {"name": "r"}, "rules": []});
        let mut new = old.clone();
        new["metadata"]["finalizers"] = serde_json::json!(["a/b"]);
        new["metadata"]["ownerReferences"] = serde_json::json!([{}]);
        assert!(only_ownership(&new, Some(&old)));
        assert!(!only_ownership(&new, None));
        new["metadata"]["labels"] = serde_json::json!({"a": "b"});
        assert!(!only_ownership(&new, Some(&old)));
    }
}
