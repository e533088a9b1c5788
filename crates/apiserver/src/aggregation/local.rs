//! APIServices of what this server serves itself: they are there for people to see, and for the
//! order of groups. What nobody else wrote follows the served resources.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use machinery::{Value, meta};
use serde_json::json;

use super::{GROUP, PLURAL};
use crate::registry::{Context, DeleteOptions, Failure, Registry, Resource, Target, WriteOptions};
use crate::server::Api;

/// Marks APIServices that this server looks after.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// What failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Priorities of groups.
const GROUPS: [(&str, i64); 22] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("internal.apiserver.k8s.io", 16_000),
    ("storagemigration.k8s.io", 15_800),
];
const OTHER_GROUPS: i64 = 15_900;
/// Of custom resources: group and version.
pub(crate) const CUSTOM: (i64, i64) = (1000, 100);

/// What is served, and whether by definitions.
type Served = BTreeMap<(String, String), bool>;

/// What is to be done about an APIService.
#[derive(Debug, PartialEq)]
enum Step {
    Create(Value),
    Update(Value),
    Delete(Value),
}

/// Makes the APIServices that lack, and removes those that nothing is behind any more.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn reconcile(registry: &Registry) -> Result<(), Failure> {
    let Some(resource) = registry.resource(GROUP, "v1", PLURAL) else { return Ok(()) };
    let existing = registry.cached_list(GROUP, PLURAL, "");
    let existing: Vec<Value> = existing.iter().map(|object| object.value()).collect();
    let steps = plan(&served(&registry.resources()), &existing);
    let steps = steps.into_iter().map(|step| take(registry, &resource, step));
    futures::future::try_join_all(steps).await.map(drop)
}

/// Follows the served resources until shutdown.
pub(crate) async fn keep(api: Arc<Api>) {
    let registry = &api.registry;
    let mut served = registry.served_changes();
    let Some(mut changes) = registry.changes(GROUP, PLURAL) else { return };
    loop {
        served.borrow_and_update();
        changes.borrow_and_update();
        let result = reconcile(registry).await;
        if let Err(error) = &result {
            tracing::warn!(error = %error.message, "cannot keep the APIServices");
        }
        tokio::select! {
            () = api.shutdown.cancelled() => return,
            changed = served.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if result.is_err() => {}
        }
    }
}

async fn take(registry: &Registry, resource: &Arc<Resource>, step: Step) -> Result<(), Failure> {
    let context = Context::internal();
    let options =
        WriteOptions { field_manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
    let result = match step {
        Step::Create(object) => {
            let target = Target::object(resource, "", "");
            registry.create(&context, &target, object, &options).await
        }
        Step::Update(object) => {
            let target = Target::object(resource, "", meta::name(&object));
            registry.update(&context, &target, object, &options).await
        }
        Step::Delete(object) => {
            let target = Target::object(resource, "", meta::name(&object));
            registry.delete(&context, &target, &DeleteOptions::default()).await
        }
    };
    match result {
        Ok(_) => Ok(()),
        // Another server, or a person, was faster: the next look goes by that.
        Err(refused) if matches!(refused.code, 404 | 409) => Ok(()),
        Err(refused) => Err(refused),
    }
}

fn served(resources: &[Arc<Resource>]) -> Served {
    resources
        .iter()
        // The layer says nothing of itself.
        .filter(|resource| resource.group != GROUP)
        .map(|resource| {
            let version = (resource.group.to_string(), resource.version.to_string());
            (version, resource.published.is_some())
        })
        .collect()
}

fn plan(served: &Served, existing: &[Value]) -> Vec<Step> {
    let mut steps = Vec::new();
    for ((group, version), custom) in served {
        let wanted = wanted(group, version, *custom);
        let Some(found) = existing.iter().find(|found| meta::name(found) == meta::name(&wanted))
        else {
            steps.push(Step::Create(wanted));
            continue;
        };
        // What somebody else wrote is theirs.
        if meta::label(found, MANAGED).is_some() && found["spec"] != wanted["spec"] {
            let mut changed = found.clone();
            changed["spec"] = wanted["spec"].clone();
            steps.push(Step::Update(changed));
        }
    }
    for found in existing.iter().filter(|found| meta::label(found, MANAGED).is_some()) {
        let text = |field: &str| found["spec"][field].as_str().unwrap_or_default().to_owned();
        if !served.contains_key(&(text("group"), text("version")))
            && meta::deletion_timestamp(found).is_none()
        {
            steps.push(Step::Delete(found.clone()));
        }
    }
    steps
}

fn wanted(group: &str, version: &str, custom: bool) -> Value {
    let (group_priority, version_priority) = match custom {
        true => CUSTOM,
        false => {
            let known = GROUPS.iter().find(|(name, _)| *name == group);
            (
                known.map_or(OTHER_GROUPS, |(_, priority)| *priority),
                version_priority(group, version),
            )
        }
    };
    let mut spec = json!({
        "version": version,
        "groupPriorityMinimum": group_priority,
        "versionPriority": version_priority,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {
            "name": format!("{version}.{group}"),
            "labels": {MANAGED: if custom { "true" } else { "onstart" }},
        },
        "spec": spec,
    })
}

fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", "v1") => 21,
        ("admissionregistration.k8s.io", "v1beta1") => 12,
        ("coordination.k8s.io", "v1beta1") => 13,
        ("coordination.k8s.io", "v1alpha2") => 12,
        ("certificates.k8s.io", "v1alpha1") | ("resource.k8s.io", "v1alpha3") => 1,
        ("resource.k8s.io", "v1") => 20,
        ("resource.k8s.io", "v1beta2") => 15,
        (_, version) if version.contains("alpha") || version.contains("beta") => 9,
        _ => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(versions: &[(&str, &str, bool)]) -> Served {
        let own = |(group, version, custom): &(&str, &str, bool)| {
            (((*group).to_owned(), (*version).to_owned()), *custom)
        };
        versions.iter().map(own).collect()
    }

    #[test]
    fn they_follow_what_is_served() {
        let both = served(&[("apps", "v1", false), ("a.b", "v1", true)]);
        let steps = plan(&both, &[]);
        let [Step::Create(custom), Step::Create(apps)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(meta::name(custom), "v1.a.b");
        assert_eq!(custom["metadata"]["labels"][MANAGED], "true");
        assert_eq!(custom["spec"]["groupPriorityMinimum"], 1000);
        assert_eq!(apps["metadata"]["labels"][MANAGED], "onstart");
        assert_eq!(
            apps["spec"],
            json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17_800,
                "versionPriority": 15})
        );
        assert_eq!(plan(&both, &[custom.clone(), apps.clone()]), []);

        let apps_only = served(&[("apps", "v1", false)]);
        let gone = plan(&apps_only, &[custom.clone(), apps.clone()]);
        assert_eq!(gone, [Step::Delete(custom.clone())]);
        let mut moved = apps.clone();
        moved["spec"]["versionPriority"] = json!(1);
        assert_eq!(plan(&apps_only, &[moved]), [Step::Update(apps.clone())]);

        // One that leads elsewhere stays.
        let mut foreign = custom.clone();
        foreign["metadata"]["labels"] = json!({});
        foreign["spec"]["service"] = json!({"namespace": "n", "name": "s"});
        assert_eq!(plan(&both, &[foreign, apps.clone()]), []);
    }

    #[test]
    fn the_core_group_has_no_name() {
        let core = wanted("", "v1", false);
        assert_eq!(meta::name(&core), "v1.");
        assert_eq!(
            core["spec"],
            json!({"version": "v1", "groupPriorityMinimum": 18_000, "versionPriority": 1})
        );
    }
}
