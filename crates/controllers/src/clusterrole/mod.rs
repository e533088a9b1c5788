//! ClusterRoles with an aggregation rule have the rules of all roles that it selects.

use client::{Action, Api, WorkQueue};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::PostParams;

use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::object::{Key, Meta};
use crate::selector;

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let roles = context.informers.cluster_roles.clone();
    let adder = queue.clone();
    let all = roles.clone();
    context.informers.cluster_roles.on_event(move |_| {
        for role in all.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            adder.add(Key::of(&**role));
        }
    });
    roles.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let roles = &context.informers.cluster_roles;
    let Some(role) = roles.get(None, &key.name) else { return Ok(Action::Done) };
    let Some(rules) = aggregate(&role, roles.list().iter().map(|r| &**r))? else {
        return Ok(Action::Done);
    };
    let mut wanted = (*role).clone();
    wanted.rules = Some(rules);
    let api: Api<ClusterRole> = Api::all(context.client.clone());
    match api.replace(&key.name, &PostParams::default(), &wanted).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// The rules that the role should have, if it has others.
fn aggregate<'a>(
    role: &ClusterRole,
    all: impl Iterator<Item = &'a ClusterRole> + Clone,
) -> Result<Option<Vec<PolicyRule>>, SyncError> {
    let Some(rule) = &role.aggregation_rule else { return Ok(None) };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for wanted in rule.cluster_role_selectors.iter().flatten() {
        let wanted = selector::compile(Some(wanted))?;
        for other in all.clone() {
            if other.nm() == role.nm()
                || !selector::matches(&wanted, other.metadata.labels.as_ref())
            {
                continue;
            }
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let unchanged = role.rules.as_deref().unwrap_or_default() == rules;
    Ok((!unchanged).then_some(rules))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::AggregationRule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> ClusterRole {
        let mut role = ClusterRole::default();
        role.metadata.name = Some(name.into());
        role.metadata.labels = Some([(label.to_owned(), "true".to_owned())].into());
        role.rules = Some(
            verbs
                .iter()
                .map(|v| PolicyRule { verbs: vec![(*v).to_owned()], ..PolicyRule::default() })
                .collect(),
        );
        role
    }

    #[test]
    fn rules_of_selected_roles_are_joined_once() {
        let mut sum = role("sum", "to-sum", &[]);
        sum.aggregation_rule = Some(AggregationRule {
            cluster_role_selectors: Some(vec![LabelSelector {
                match_labels: Some([("to-sum".to_owned(), "true".to_owned())].into()),
                match_expressions: None,
            }]),
        });
        let roles = [
            role("a", "to-sum", &["get"]),
            role("b", "to-sum", &["get", "list"]),
            role("c", "x", &["*"]),
        ];
        let rules = aggregate(&sum, roles.iter()).unwrap().unwrap();
        assert_eq!(rules.iter().map(|r| r.verbs[0].as_str()).collect::<Vec<_>>(), ["get", "list"]);
        sum.rules = Some(rules);
        assert!(aggregate(&sum, roles.iter()).unwrap().is_none());
    }
}
