//! Brings the default roles and bindings up to date: what is missing is added, what an
//! administrator added stays, and objects marked `autoupdate=false` are left alone.

use machinery::{Value, meta};
use serde::Deserialize as _;
use serde_json::json;

use super::policy::{Item, items};
use super::{Failure, ensure, put};
use crate::authz::rules::Rule;
use crate::registry::Registry;

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

pub(super) async fn reconcile(registry: &Registry) -> Result<(), Failure> {
    let work = items().into_iter().map(|item| one(registry, item));
    futures::future::try_join_all(work).await.map(|_| ())
}

async fn one(registry: &Registry, item: Item) -> Result<(), Failure> {
    let resource = (GROUP, "v1", item.resource);
    let Item { namespace, name, object, .. } = item;
    match registry.cached(GROUP, item.resource, &namespace, &name) {
        None => ensure(registry, resource, &namespace, &name, object).await,
        Some(existing) => match merged(&existing.value(), &object) {
            Some(merged) => put(registry, resource, &namespace, &name, merged).await.map(|_| ()),
            None => Ok(()),
        },
    }
}

/// The existing object with what it lacks; `None` when it lacks nothing.
fn merged(existing: &Value, expected: &Value) -> Option<Value> {
    if meta::annotation(existing, AUTO_UPDATE) == Some("false") {
        return None;
    }
    let mut object = existing.clone();
    if expected.get("roleRef").is_some() {
        append(&mut object, expected, "subjects", |have, wanted| have.contains(wanted));
    } else if expected.get("aggregationRule").is_none() {
        append(&mut object, expected, "rules", |have, wanted| {
            let Ok(wanted) = Rule::deserialize(wanted) else { return true };
            let have: Vec<Rule> =
                have.iter().filter_map(|rule| Rule::deserialize(rule).ok()).collect();
            wanted.atoms().iter().all(|atom| have.iter().any(|rule| rule.covers(atom)))
        });
    }
    for (key, value) in meta::labels(expected).into_iter().flatten() {
        if meta::label(&object, key).is_none() {
            meta::set_label(&mut object, key, value.as_str().unwrap_or_default());
        }
    }
    (object != *existing).then_some(object)
}

fn append(
    object: &mut Value,
    expected: &Value,
    field: &str,
    has: impl Fn(&[Value], &Value) -> bool,
) {
    let mut have = object.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = have.len();
    for wanted in expected.get(field).and_then(Value::as_array).into_iter().flatten() {
        if !has(&have, wanted) {
            have.push(wanted.clone());
        }
    }
    if have.len() != before {
        object[field] = json!(have);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let expected = json!({"metadata": {"name": "r"}, "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["list"], "apiGroups": [""], "resources": ["nodes"]}]});
        assert_eq!(merged(&expected, &expected), None);
        let wider = json!({"metadata": {"name": "r"}, "rules": [
            {"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"]}]});
        let result = merged(&wider, &expected).unwrap();
        assert_eq!(result["rules"].as_array().unwrap().len(), 2);
        assert_eq!(merged(&result, &expected), None);
        let mut own = wider;
        meta::set_annotation(&mut own, AUTO_UPDATE, "false");
        assert_eq!(merged(&own, &expected), None);

        let binding = |users: &[&str]| {
            let subjects: Vec<_> =
                users.iter().map(|u| json!({"kind": "User", "name": u})).collect();
            json!({"metadata": {}, "roleRef": {"name": "r"}, "subjects": subjects})
        };
        let result = merged(&binding(&["jane"]), &binding(&["root"])).unwrap();
        assert_eq!(result, binding(&["jane", "root"]));
    }
}
