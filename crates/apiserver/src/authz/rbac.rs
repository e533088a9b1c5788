//! Role-based access control, evaluated from an index that follows the four RBAC resources.
//!
//! Subjects lead to their bindings and those to compiled roles, so a decision costs a few hash
//! look-ups however many bindings there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use serde::Deserialize;
use serde_json::Value;

use super::Attributes;
use super::rules::Rule;
use crate::authn::user::{SERVICE_ACCOUNT_PREFIX, User};

/// The four resources that the index follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// `roles`
    Role,
    /// `clusterroles`
    ClusterRole,
    /// `rolebindings`
    RoleBinding,
    /// `clusterrolebindings`
    ClusterRoleBinding,
}

/// What RBAC says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed, by which binding.
    Allowed(String),
    /// Not allowed; roles that could not be found.
    Unknown(String),
}

/// Namespace (empty for cluster-wide) and name.
type Key = (String, String);

/// A subject in its compiled form: service accounts are users.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    role: (Source, Key),
    subjects: Vec<Subject>,
}

#[derive(Default)]
struct State {
    roles: HashMap<(Source, Key), Arc<[Rule]>>,
    bindings: HashMap<Key, Binding>,
    users: HashMap<String, BTreeSet<Key>>,
    groups: HashMap<String, BTreeSet<Key>>,
}

/// The index; shared by reference, updated by events.
#[derive(Default)]
pub struct Index(RwLock<State>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBinding {
    role_ref: RawRef,
    #[serde(default)]
    subjects: Option<Vec<RawSubject>>,
}

#[derive(Deserialize)]
struct RawRef {
    kind: String,
    name: String,
}

#[derive(Deserialize)]
struct RawSubject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct RawRole {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
}

// === impl Source ===

impl Source {
    /// All four.
    pub const ALL: [Self; 4] =
        [Self::Role, Self::ClusterRole, Self::RoleBinding, Self::ClusterRoleBinding];

    /// The resource's plural name.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Role => "roles",
            Self::ClusterRole => "clusterroles",
            Self::RoleBinding => "rolebindings",
            Self::ClusterRoleBinding => "clusterrolebindings",
        }
    }

    /// By plural name.
    #[must_use]
    pub fn from_resource(resource: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.resource() == resource)
    }
}

// === impl Index ===

impl Index {
    /// Takes in an object as it is now, or its absence.
    pub fn apply(&self, source: Source, namespace: &str, name: &str, object: Option<&Value>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut state = self.0.write().expect("nothing panics under the lock");
        match source {
            Source::Role | Source::ClusterRole => {
                let rules = object.map(|object| {
                    RawRole::deserialize(object).map(|r| r.rules.unwrap_or_default())
                });
                match rules {
                    Some(Ok(rules)) => state.roles.insert((source, key), rules.into()),
                    Some(Err(_)) | None => state.roles.remove(&(source, key)),
                };
            }
            Source::RoleBinding | Source::ClusterRoleBinding => {
                state.unbind(&key);
                if let Some(Ok(raw)) = object.map(RawBinding::deserialize) {
                    state.bind(key, raw);
                }
            }
        }
    }

    /// Whether some binding allows the request.
    #[must_use]
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        let state = self.0.read().expect("nothing panics under the lock");
        state
            .bindings_of(attributes.user)
            .filter(|key| in_scope(key, attributes.namespace))
            .filter_map(|key| state.roles.get(&state.bindings.get(key)?.role))
            .any(|rules| rules.iter().any(|rule| rule.allows(attributes)))
    }

    /// Whether some binding allows the request, and which.
    #[must_use]
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Verdict {
        let state = self.0.read().expect("nothing panics under the lock");
        let mut problems: Vec<String> = Vec::new();
        for key in state.bindings_of(attributes.user) {
            if !in_scope(key, attributes.namespace) {
                continue;
            }
            let Some(binding) = state.bindings.get(key) else { continue };
            match state.roles.get(&binding.role) {
                Some(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Verdict::Allowed(binding.explain(key, attributes.user));
                }
                Some(_) => {}
                None => {
                    let (source, (_, name)) = &binding.role;
                    let resource = source.resource().trim_end_matches('s');
                    let text = format!("{resource}.rbac.authorization.k8s.io {name:?} not found");
                    if !problems.contains(&text) {
                        problems.push(text);
                    }
                }
            }
        }
        Verdict::Unknown(match problems.len() {
            0 | 1 => problems.pop().unwrap_or_default(),
            _ => format!("[{}]", problems.join(", ")),
        })
    }

    /// All rules that apply to a user in a namespace (or cluster-wide, when it is empty).
    #[must_use]
    pub fn rules(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let state = self.0.read().expect("nothing panics under the lock");
        state
            .bindings_of(user)
            .filter(|key| in_scope(key, namespace))
            .filter_map(|key| state.roles.get(&state.bindings.get(key)?.role))
            .flat_map(|rules| rules.iter().cloned())
            .collect()
    }
}

fn in_scope(key: &Key, namespace: &str) -> bool {
    key.0.is_empty() || key.0 == namespace
}

// === impl State ===

impl State {
    fn bindings_of<'s>(&'s self, user: &'s User) -> impl Iterator<Item = &'s Key> {
        let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        self.users.get(&user.name).into_iter().chain(groups).flatten()
    }

    fn unbind(&mut self, key: &Key) {
        let Some(binding) = self.bindings.remove(key) else { return };
        for subject in binding.subjects {
            let (map, name) = match subject {
                Subject::User(name) => (&mut self.users, name),
                Subject::Group(name) => (&mut self.groups, name),
            };
            if let Some(keys) = map.get_mut(&name) {
                keys.remove(key);
                if keys.is_empty() {
                    map.remove(&name);
                }
            }
        }
    }

    fn bind(&mut self, key: Key, raw: RawBinding) {
        let (source, namespace) = match raw.role_ref.kind.as_str() {
            "ClusterRole" => (Source::ClusterRole, String::new()),
            _ => (Source::Role, key.0.clone()),
        };
        let subjects: Vec<Subject> = raw
            .subjects
            .unwrap_or_default()
            .into_iter()
            .map(|subject| match subject.kind.as_str() {
                "Group" => Subject::Group(subject.name),
                "ServiceAccount" => {
                    let own = subject.namespace.is_empty();
                    let namespace = if own { &key.0 } else { &subject.namespace };
                    Subject::User(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{}", subject.name))
                }
                _ => Subject::User(subject.name),
            })
            .collect();
        for subject in &subjects {
            let (map, name) = match subject {
                Subject::User(name) => (&mut self.users, name),
                Subject::Group(name) => (&mut self.groups, name),
            };
            map.entry(name.clone()).or_default().insert(key.clone());
        }
        let role = (source, (namespace, raw.role_ref.name));
        self.bindings.insert(key, Binding { role, subjects });
    }
}

// === impl Binding ===

impl Binding {
    /// The reason of an allowed SubjectAccessReview, as upstream words it.
    fn explain(&self, (namespace, name): &Key, user: &User) -> String {
        let subject = self.subjects.iter().find_map(|subject| match subject {
            Subject::User(name) if *name == user.name => Some(
                match name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|n| n.split_once(':')) {
                    Some((namespace, name)) => format!("ServiceAccount \"{name}/{namespace}\""),
                    None => format!("User {name:?}"),
                },
            ),
            Subject::Group(name) if user.in_group(name) => Some(format!("Group {name:?}")),
            _ => None,
        });
        let (source, (_, role)) = &self.role;
        let role_kind = if *source == Source::Role { "Role" } else { "ClusterRole" };
        let subject = subject.unwrap_or_default();
        if namespace.is_empty() {
            format!(
                "RBAC: allowed by ClusterRoleBinding {name:?} of {role_kind} {role:?} to {subject}"
            )
        } else {
            let binding = format!("{name}/{namespace}");
            format!("RBAC: allowed by RoleBinding {binding:?} of {role_kind} {role:?} to {subject}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index() -> Index {
        let index = Index::default();
        let rules =
            json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
        index.apply(Source::ClusterRole, "", "view", Some(&rules));
        index.apply(Source::Role, "a", "reader", Some(&rules));
        let binding = |kind: &str, role: &str, subjects: Value| json!({"roleRef": {"kind": kind, "name": role}, "subjects": subjects});
        let robots = binding("ClusterRole", "view", json!([{"kind": "Group", "name": "robots"}]));
        index.apply(Source::ClusterRoleBinding, "", "robots", Some(&robots));
        let sa = json!([{"kind": "ServiceAccount", "name": "x", "namespace": "b"}]);
        index.apply(Source::RoleBinding, "a", "x", Some(&binding("Role", "reader", sa)));
        let gone = binding("ClusterRole", "gone", json!([{"kind": "User", "name": "jane"}]));
        index.apply(Source::ClusterRoleBinding, "", "gone", Some(&gone));
        index
    }

    fn ask(index: &Index, name: &str, groups: &[&str], namespace: &str) -> Verdict {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        let user = User { name: name.to_owned(), groups, ..User::default() };
        let attributes = Attributes { namespace, ..Attributes::resource(&user, "get", "", "pods") };
        let verdict = index.authorize(&attributes);
        assert_eq!(index.allows(&attributes), matches!(verdict, Verdict::Allowed(_)));
        verdict
    }

    #[test]
    fn bindings_decide() {
        let index = index();
        assert_eq!(
            ask(&index, "r2d2", &["robots"], "any"),
            Verdict::Allowed(
                "RBAC: allowed by ClusterRoleBinding \"robots\" of ClusterRole \"view\" to Group \
                 \"robots\""
                    .to_owned()
            )
        );
        let account = "system:serviceaccount:b:x";
        assert_eq!(
            ask(&index, account, &[], "a"),
            Verdict::Allowed(
                "RBAC: allowed by RoleBinding \"x/a\" of Role \"reader\" to ServiceAccount \"x/b\""
                    .to_owned()
            )
        );
        assert_eq!(ask(&index, account, &[], "b"), Verdict::Unknown(String::new()));
        assert_eq!(
            ask(&index, "jane", &[], "a"),
            Verdict::Unknown("clusterrole.rbac.authorization.k8s.io \"gone\" not found".to_owned())
        );
    }

    #[test]
    fn changes_take_effect() {
        let index = index();
        index.apply(Source::ClusterRoleBinding, "", "robots", None);
        assert_eq!(ask(&index, "r2d2", &["robots"], "any"), Verdict::Unknown(String::new()));
        let rules = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
        index.apply(Source::ClusterRole, "", "gone", Some(&rules));
        assert!(matches!(ask(&index, "jane", &[], "a"), Verdict::Allowed(_)));
    }
}
