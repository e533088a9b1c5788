//! The default roles and bindings, read from `policy.txt`.

use serde_json::{Map, Value, json};

use crate::authz::rules::Rule;

const TEXT: &str = include_str!("policy.txt");
const GROUP: &str = "rbac.authorization.k8s.io";

/// An RBAC object to have at start.
#[derive(Clone, Debug)]
pub struct Item {
    /// `roles`, `clusterroles`, `rolebindings` or `clusterrolebindings`.
    pub resource: &'static str,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The object.
    pub object: Value,
}

/// All of them, roles before the bindings that name them.
///
/// # Panics
/// When the file breaks its own syntax, which a test excludes.
#[must_use]
pub fn items() -> Vec<Item> {
    let mut blocks: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for line in TEXT.lines() {
        let words = line.trim();
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            blocks.last_mut().expect("a block has a head").1.push(words);
        } else {
            blocks.push((words.split(' ').collect(), Vec::new()));
        }
    }
    let mut roles: Vec<Item> = Vec::new();
    let mut bindings: Vec<Item> = Vec::new();
    for (head, lines) in blocks {
        match head.as_slice() {
            ["role", name, "in", namespace] => roles.push(role(name, namespace, &[], &lines)),
            ["role", name, labels @ ..] => roles.push(role(name, "", labels, &lines)),
            ["bind", name] => bindings.push(binding(name, "", name, &lines)),
            ["bind", name, "in", namespace] => {
                bindings.push(binding(name, namespace, name, &lines));
            }
            ["bind", name, "in", namespace, "as", own] => {
                bindings.push(binding(own, namespace, name, &lines));
            }
            ["controller", account] => {
                let name = format!("system:controller:{account}");
                roles.push(role(&name, "", &[], &lines));
                let account = format!("account kube-system/{account}");
                let subjects = [account.as_str(), "user system:kube-controller-manager"];
                bindings.push(binding(&name, "", &name, &subjects));
            }
            other => panic!("policy.txt: {other:?}"),
        }
    }
    aggregate(&mut roles);
    roles.append(&mut bindings);
    roles
}

fn metadata(name: &str, namespace: &str, labels: &[&str]) -> Value {
    let mut all = Map::new();
    all.insert("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".into());
    for label in labels {
        let (key, value) = label.split_once('=').expect("label=value");
        all.insert(key.to_owned(), value.into());
    }
    let mut metadata = json!({
        "name": name,
        "labels": all,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn role(name: &str, namespace: &str, labels: &[&str], lines: &[&str]) -> Item {
    let cluster = namespace.is_empty();
    let mut object = json!({
        "kind": if cluster { "ClusterRole" } else { "Role" },
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": metadata(name, namespace, labels),
    });
    let mut rules = Vec::new();
    for line in lines {
        if let Some(label) = line.strip_prefix("aggregate ") {
            let selector = json!({"matchLabels": {label: "true"}});
            object["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
        } else {
            rules.push(rule(line));
        }
    }
    object["rules"] = json!(rules);
    Item {
        resource: if cluster { "clusterroles" } else { "roles" },
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        object,
    }
}

fn rule(line: &str) -> Rule {
    let parts: Vec<Vec<String>> = line
        .split('|')
        .map(|part| part.split_whitespace().flat_map(expand).map(str::to_owned).collect())
        .collect();
    let mut parts = parts.into_iter();
    let verbs = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    match parts.next() {
        None => Rule { verbs, non_resource_urls: second, ..Rule::default() },
        Some(resources) => Rule {
            verbs,
            api_groups: second
                .into_iter()
                .map(|group| if group == "core" { String::new() } else { group })
                .collect(),
            resources,
            resource_names: parts.next().unwrap_or_default(),
            non_resource_urls: Vec::new(),
        },
    }
}

fn expand(word: &str) -> Vec<&str> {
    match word {
        "RW" => {
            vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        }
        "READ" => vec!["get", "list", "watch"],
        "WRITE" => vec!["create", "delete", "deletecollection", "patch", "update"],
        other => vec![other],
    }
}

fn binding(name: &str, namespace: &str, role: &str, lines: &[&str]) -> Item {
    let cluster = namespace.is_empty();
    let subjects: Vec<Value> = lines
        .iter()
        .map(|line| match line.split_once(' ') {
            Some(("group", name)) => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
            Some(("user", name)) => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
            Some(("account", name)) => {
                let (namespace, name) = name.split_once('/').expect("namespace/name");
                json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
            }
            other => panic!("policy.txt: {other:?}"),
        })
        .collect();
    let mut object = json!({
        "kind": if cluster { "ClusterRoleBinding" } else { "RoleBinding" },
        "apiVersion": format!("{GROUP}/v1"),
        "metadata": metadata(name, namespace, &[]),
    });
    if !subjects.is_empty() {
        object["subjects"] = subjects.into();
    }
    let kind = if cluster { "ClusterRole" } else { "Role" };
    object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
    Item {
        resource: if cluster { "clusterrolebindings" } else { "rolebindings" },
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        object,
    }
}

/// Fills in the rules of roles that take them from others, so that they work from the first
/// moment; the aggregation controller keeps them up to date later. A role can be a source and a
/// target (`edit`), so this goes on until nothing changes.
fn aggregate(roles: &mut [Item]) {
    loop {
        let mut changed = false;
        for at in 0..roles.len() {
            let selector = &roles[at].object["aggregationRule"]["clusterRoleSelectors"][0];
            let Some(labels) = selector["matchLabels"].as_object().cloned() else { continue };
            let mut rules: Vec<Value> = Vec::new();
            for source in roles.iter() {
                let has = |(k, v): (&String, &Value)| {
                    source.object["metadata"]["labels"].get(k) == Some(v)
                };
                if labels.iter().all(has) {
                    for rule in source.object["rules"].as_array().into_iter().flatten() {
                        if !rules.contains(rule) {
                            rules.push(rule.clone());
                        }
                    }
                }
            }
            let rules = Value::Array(rules);
            if roles[at].object["rules"] != rules {
                roles[at].object["rules"] = rules;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::user::User;
    use crate::authz::Attributes;
    use crate::authz::rbac::{Index, Source};

    fn check(
        user: &str,
        groups: &[&str],
        [verb, group, resource, namespace]: [&str; 4],
        want: bool,
    ) {
        let index = Index::default();
        for item in items() {
            let source = Source::from_resource(item.resource).unwrap();
            index.apply(source, &item.namespace, &item.name, Some(&item.object));
        }
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        let user = User { name: user.to_owned(), groups, ..User::default() }.authenticated();
        let attributes =
            Attributes { namespace, ..Attributes::resource(&user, verb, group, resource) };
        assert_eq!(index.allows(&attributes), want, "{attributes:?}");
    }

    #[test]
    fn defaults_do_what_they_should() {
        let apps = "apps";
        check("system:kube-scheduler", &[], ["list", "", "pods", ""], true);
        check("system:kube-scheduler", &[], ["delete", "", "nodes", ""], false);
        check("system:kube-controller-manager", &[], ["create", apps, "replicasets", "x"], true);
        check(
            "jane",
            &[],
            ["create", "authorization.k8s.io", "selfsubjectaccessreviews", ""],
            true,
        );
        check("jane", &[], ["list", "", "pods", "default"], false);
        let account = "system:serviceaccount:kube-system:deployment-controller";
        check(account, &[], ["update", apps, "deployments", "x"], true);
    }

    #[test]
    fn admin_edit_and_view_are_aggregated() {
        let items = items();
        let rules = |name: &str| {
            let role = items.iter().find(|item| item.name == name).unwrap();
            role.object["rules"].as_array().unwrap().len()
        };
        assert!(rules("admin") > rules("edit") && rules("edit") > rules("view"));
        assert!(rules("view") > 5);
    }
}
