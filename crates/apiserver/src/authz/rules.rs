//! Policy rules as RBAC evaluates them.

use serde::{Deserialize, Serialize};

use super::Attributes;

/// A `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs, `*` for all.
    #[serde(deserialize_with = "nullable")]
    pub verbs: Vec<String>,
    /// API groups.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub api_groups: Vec<String>,
    /// Resources, `pods/log` for a subresource, `*/scale` for one of any resource.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub resources: Vec<String>,
    /// Only objects of these names, if any are given.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub resource_names: Vec<String>,
    /// Paths, with `*` at the end for all below.
    #[serde(
        rename = "nonResourceURLs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub non_resource_urls: Vec<String>,
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

// === impl Rule ===

impl Rule {
    /// Whether the rule allows a request.
    #[must_use]
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        let Attributes { verb, group, resource, subresource, name, .. } = *attributes;
        if !has(&self.verbs, verb) {
            return false;
        }
        if !attributes.is_resource {
            return self.non_resource_urls.iter().any(|url| path_matches(url, attributes.path));
        }
        has(&self.api_groups, group)
            && self.resources.iter().any(|r| resource_matches(r, resource, subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == name))
    }

    /// Whether everything that `other` (of one verb, group, resource or path) allows is allowed by
    /// this rule. Both sides may hold wildcards.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let all = |mine: &[String], theirs: &[String]| {
            mine.iter().any(|m| m == "*") || theirs.iter().all(|t| mine.contains(t))
        };
        if !all(&self.verbs, &other.verbs) {
            return false;
        }
        if !other.non_resource_urls.is_empty() {
            return other.non_resource_urls.iter().all(|url| {
                self.non_resource_urls.iter().any(|mine| {
                    mine == url
                        || mine.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
                })
            });
        }
        let resources = other.resources.iter().all(|theirs| {
            self.resources.contains(theirs)
                || self.resources.iter().any(|mine| {
                    mine == "*"
                        || mine.strip_prefix("*/").is_some_and(|sub| {
                            theirs.split_once('/').is_some_and(|(_, theirs)| theirs == sub)
                        })
                })
        });
        let names = self.resource_names.is_empty()
            || (!other.resource_names.is_empty()
                && other.resource_names.iter().all(|name| self.resource_names.contains(name)));
        all(&self.api_groups, &other.api_groups) && resources && names
    }

    /// The rule as rules of one verb, group, resource, name or path each, for coverage checks.
    #[must_use]
    pub fn atoms(&self) -> Vec<Self> {
        let mut atoms = Vec::new();
        let one = |text: &String| vec![text.clone()];
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                let (verbs, non_resource_urls) = (one(verb), one(url));
                atoms.push(Self { verbs, non_resource_urls, ..Self::default() });
            }
            for (group, resource) in
                self.api_groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r)))
            {
                let base = Self {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..Self::default()
                };
                if self.resource_names.is_empty() {
                    atoms.push(base);
                } else {
                    let named = self.resource_names.iter();
                    atoms.extend(named.map(|n| Self { resource_names: one(n), ..base.clone() }));
                }
            }
        }
        atoms
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == wanted || entry == "*")
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    rule.split_once('/')
        .is_some_and(|(head, tail)| tail == subresource && (head == resource || head == "*"))
}

fn path_matches(rule: &str, path: &str) -> bool {
    rule == "*"
        || rule == path
        || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::user::User;

    fn rule(text: &str) -> Rule {
        serde_json::from_str(text).unwrap()
    }

    fn check(text: &str, [verb, group, resource, subresource, name]: [&str; 5], want: bool) {
        let user = User::default();
        let mut attributes = Attributes::resource(&user, verb, group, resource);
        (attributes.subresource, attributes.name) = (subresource, name);
        assert_eq!(rule(text).allows(&attributes), want, "{text} {attributes:?}");
    }

    #[test]
    fn rules_allow_what_they_say() {
        let pods = r#"{"verbs":["get","list"],"apiGroups":[""],"resources":["pods","pods/log"]}"#;
        check(pods, ["get", "", "pods", "", ""], true);
        check(pods, ["get", "", "pods", "log", "p"], true);
        check(pods, ["get", "", "pods", "exec", "p"], false);
        check(pods, ["delete", "", "pods", "", "p"], false);
        check(pods, ["get", "apps", "pods", "", ""], false);
        let scale = r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*/scale"]}"#;
        check(scale, ["update", "apps", "deployments", "scale", "d"], true);
        check(scale, ["update", "apps", "deployments", "", "d"], false);
        let named = r#"{"verbs":["get"],"apiGroups":[""],"resources":["configmaps"],"resourceNames":["a"]}"#;
        check(named, ["get", "", "configmaps", "", "a"], true);
        check(named, ["get", "", "configmaps", "", "b"], false);
        check(named, ["get", "", "configmaps", "", ""], false);
        check(
            r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#,
            ["x", "y", "z", "w", ""],
            true,
        );
    }

    #[test]
    fn coverage() {
        let all = rule(r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#);
        let pods = rule(r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#);
        let named = Rule { resource_names: vec!["a".to_owned()], ..pods.clone() };
        assert!(all.covers(&pods) && pods.covers(&named) && !named.covers(&pods));
        assert!(!pods.covers(&all));
        let url = rule(r#"{"verbs":["get"],"nonResourceURLs":["/healthz/*"]}"#);
        assert!(url.covers(&rule(r#"{"verbs":["get"],"nonResourceURLs":["/healthz/x"]}"#)));
        assert!(!all.covers(&url));
    }
}
