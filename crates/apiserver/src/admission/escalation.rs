//! Nobody can give away permissions that they do not have:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>.

use std::sync::Arc;

use machinery::Value;
use serde::Deserialize as _;

use super::{Plugin, forbidden};
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
        if user.in_group(MASTERS) || same_permissions(object, attributes.old) {
            return Ok(());
        }
        let rules = match source {
            Source::Role | Source::ClusterRole => {
                if self.may(attributes, "escalate", source, attributes.namespace, attributes.name) {
                    return Ok(());
                }
                if source == Source::ClusterRole
                    && object.get("aggregationRule").is_some_and(|rule| !rule.is_null())
                {
                    // Its rules will be whatever others add to it.
                    vec![all("apiGroups"), all("nonResourceURLs")]
                } else {
                    rules_of(object)
                }
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
                match attributes.registry.cached(GROUP, source.resource(), namespace, name) {
                    Some(role) => rules_of(&role.value()),
                    None => {
                        let resource = source.resource().trim_end_matches('s');
                        return Err(forbidden(
                            attributes,
                            format!("{resource}.{GROUP} {name:?} not found"),
                        ));
                    }
                }
            }
        };
        let held = self.0.rbac.rules(user, attributes.namespace);
        let missing = missing(&rules, &held);
        if missing.is_empty() {
            return Ok(());
        }
        let groups = user.groups.iter().map(|g| format!("{g:?}")).collect::<Vec<_>>().join(" ");
        Err(forbidden(
            attributes,
            format!(
                "user {:?} (groups=[{groups}]) is attempting to grant RBAC permissions not \
                 currently held:\n{}",
                user.name,
                missing.join("\n")
            ),
        ))
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

/// Whether an update leaves alone what the object permits.
fn same_permissions(object: &Value, old: Option<&Value>) -> bool {
    let fields = ["rules", "aggregationRule", "roleRef", "subjects"];
    old.is_some_and(|old| fields.iter().all(|field| object.get(field) == old.get(field)))
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

/// What of `wanted` is not in `held`, in upstream's compact form.
fn missing(wanted: &[Rule], held: &[Rule]) -> Vec<String> {
    let held: Vec<Rule> = held.to_vec();
    let mut lines: Vec<String> = wanted
        .iter()
        .filter(|rule| rule.atoms().iter().any(|atom| !held.iter().any(|have| have.covers(atom))))
        .map(compact)
        .collect();
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
        let wanted = [rule(&["get"], &["pods"]), rule(&["delete"], &["pods", "nodes"])];
        assert_eq!(
            missing(&wanted, &[rule(&["get", "delete"], &["pods"])]),
            ["{APIGroups:[\"\"], Resources:[\"pods\" \"nodes\"], Verbs:[\"delete\"]}"]
        );
        let parts = [rule(&["*"], &["pods"]), rule(&["delete"], &["nodes"])];
        assert!(missing(&wanted, &parts).is_empty());
        assert!(missing(&wanted, &[all("apiGroups")]).is_empty());
    }
}
