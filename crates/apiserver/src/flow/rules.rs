//! FlowSchemas, compiled: which requests they mean, and into which flows they part them. Pure.

use machinery::{Value, meta};

use super::CATCH_ALL;
use super::deal;
use crate::authn::User;
use crate::request_info::RequestInfo;

/// What a FlowSchema says.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(super) name: String,
    pub(super) level: String,
    precedence: i64,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

/// What a flow's requests have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    /// Namespace and name.
    ServiceAccount(String, String),
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster_scope: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

// === impl Schema ===

impl Schema {
    /// From the API object.
    pub(crate) fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        Self {
            name: meta::name(object).to_owned(),
            level: text(&spec["priorityLevelConfiguration"]["name"]),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
                Some("ByUser") => Distinguisher::User,
                Some("ByNamespace") => Distinguisher::Namespace,
                _ => Distinguisher::Nothing,
            },
            rules: list(&spec["rules"]).iter().map(Rule::of).collect(),
        }
    }

    /// The one that takes what is left, for as long as its object is not there.
    pub(super) fn catch_all() -> Self {
        Self {
            name: CATCH_ALL.to_owned(),
            level: CATCH_ALL.to_owned(),
            precedence: i64::MAX,
            distinguisher: Distinguisher::User,
            rules: Vec::new(),
        }
    }

    /// Which schema is asked first.
    pub(super) fn order(&self) -> (i64, &str) {
        (self.precedence, &self.name)
    }

    /// Whether a request is meant.
    pub(super) fn matches(&self, user: &User, info: &RequestInfo<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(user, info))
    }

    /// The hash of a request's flow.
    pub(super) fn flow(&self, user: &User, info: &RequestInfo<'_>) -> u64 {
        let distinguisher = match self.distinguisher {
            Distinguisher::Nothing => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => info.namespace,
        };
        deal::hash(&self.name, distinguisher)
    }
}

impl Rule {
    fn of(rule: &Value) -> Self {
        Self {
            subjects: list(&rule["subjects"]).iter().filter_map(Subject::of).collect(),
            resources: list(&rule["resourceRules"])
                .iter()
                .map(|rule| ResourceRule {
                    verbs: texts(&rule["verbs"]),
                    groups: texts(&rule["apiGroups"]),
                    resources: texts(&rule["resources"]),
                    namespaces: texts(&rule["namespaces"]),
                    cluster_scope: rule["clusterScope"].as_bool().unwrap_or(false),
                })
                .collect(),
            paths: list(&rule["nonResourceRules"])
                .iter()
                .map(|rule| PathRule {
                    verbs: texts(&rule["verbs"]),
                    paths: texts(&rule["nonResourceURLs"]),
                })
                .collect(),
        }
    }

    fn matches(&self, user: &User, info: &RequestInfo<'_>) -> bool {
        if !self.subjects.iter().any(|subject| subject.is(user)) {
            return false;
        }
        match info.is_resource {
            true => self.resources.iter().any(|rule| rule.matches(info)),
            false => self.paths.iter().any(|rule| rule.matches(info)),
        }
    }
}

impl Subject {
    fn of(subject: &Value) -> Option<Self> {
        Some(match subject["kind"].as_str()? {
            "User" => Self::User(text(&subject["user"]["name"])),
            "Group" => Self::Group(text(&subject["group"]["name"])),
            "ServiceAccount" => {
                let account = &subject["serviceAccount"];
                Self::ServiceAccount(text(&account["namespace"]), text(&account["name"]))
            }
            _ => return None,
        })
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.in_group(name),
            Self::ServiceAccount(namespace, name) => {
                user.service_account().is_some_and(|(own_namespace, own_name)| {
                    namespace == own_namespace && (name == "*" || name == own_name)
                })
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo<'_>) -> bool {
        let scope = match info.namespace {
            "" => self.cluster_scope,
            namespace => has(&self.namespaces, namespace),
        };
        scope
            && has(&self.verbs, info.verb)
            && has(&self.groups, info.group)
            && self.resources.iter().any(|known| is_resource(known, info))
    }
}

/// Whether `pods`, `pods/log` or `*` means what is asked for.
fn is_resource(known: &str, info: &RequestInfo<'_>) -> bool {
    known == "*"
        || match known.split_once('/') {
            None => info.subresource.is_empty() && known == info.resource,
            Some((resource, subresource)) => {
                resource == info.resource && subresource == info.subresource
            }
        }
}

impl PathRule {
    fn matches(&self, info: &RequestInfo<'_>) -> bool {
        let covers = |known: &String| match known.strip_suffix("/*") {
            Some(folder) => {
                info.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
            }
            None => known == "*" || known == info.path,
        };
        has(&self.verbs, info.verb) && self.paths.iter().any(covers)
    }
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|known| known == "*" || known == item)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}
