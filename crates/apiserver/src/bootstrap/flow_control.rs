//! The default FlowSchemas and PriorityLevelConfigurations: mandatory ones are always as they
//! should be, suggested ones as long as nobody took them over,
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>.
//! Schemas are told whether their level is there.

use std::sync::Arc;

use machinery::status::reason;
use machinery::{Value, meta, time};
use resources::mandatory_flow_control as mandatory;
use serde_json::json;

use super::{Failure, ensure, target};
use crate::registry::{Context, Registry, Target, WriteOptions};
use crate::server::Api;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: (&str, &str, &str) = (GROUP, "v1", "flowschemas");
const LEVELS: (&str, &str, &str) = (GROUP, "v1", "prioritylevelconfigurations");
/// Says whether an object follows the server's defaults.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Name, shares, queues, hand size, percent that is lent.
const LIMITED: [(&str, u32, u32, u32, u32); 6] = [
    ("node-high", 40, 64, 6, 25),
    ("system", 30, 64, 6, 33),
    ("leader-election", 10, 16, 4, 0),
    ("workload-high", 40, 128, 6, 50),
    ("workload-low", 100, 128, 6, 90),
    ("global-default", 20, 128, 6, 50),
];
const QUEUE_LENGTH: u32 = 50;

const BY_USER: &str = "ByUser";
const BY_NAMESPACE: &str = "ByNamespace";
const AUTHENTICATED: &str = "group system:authenticated";
const UNAUTHENTICATED: &str = "group system:unauthenticated";
const MANAGER: &str = "user system:kube-controller-manager";
const SCHEDULER: &str = "user system:kube-scheduler";
const SYSTEM_ACCOUNTS: &str = "account kube-system/*";

/// What a schema is about.
#[derive(Clone, Copy)]
enum About {
    Everything,
    /// Getting these paths.
    Paths(&'static [&'static str]),
    /// Verbs, group, resources, whether those without a namespace too.
    Resources(&'static [(&'static [&'static str], &'static str, &'static [&'static str], bool)]),
}

const ELECTING: &[&str] = &["get", "create", "update"];
const LEASES: &str = "coordination.k8s.io";

/// Name, level, precedence, distinguisher, subjects, what it is about.
type Row = (&'static str, &'static str, u32, &'static str, &'static [&'static str], About);

const SUGGESTED: [Row; 11] = [
    (
        "probes",
        "exempt",
        2,
        "",
        &[UNAUTHENTICATED, AUTHENTICATED],
        About::Paths(&["/healthz", "/readyz", "/livez"]),
    ),
    (
        "system-leader-election",
        "leader-election",
        100,
        BY_USER,
        &[MANAGER, SCHEDULER, SYSTEM_ACCOUNTS],
        About::Resources(&[(ELECTING, LEASES, &["leases"], false)]),
    ),
    (
        "endpoint-controller",
        "workload-high",
        150,
        BY_USER,
        &[
            MANAGER,
            "account kube-system/endpoint-controller",
            "account kube-system/endpointslicemirroring-controller",
        ],
        About::Resources(&[(ELECTING, "", &["endpoints"], false)]),
    ),
    (
        "workload-leader-election",
        "leader-election",
        200,
        BY_USER,
        &[SYSTEM_ACCOUNTS],
        About::Resources(&[
            (ELECTING, "", &["endpoints", "configmaps"], false),
            (ELECTING, LEASES, &["leases"], false),
        ]),
    ),
    (
        "system-node-high",
        "node-high",
        400,
        BY_USER,
        &["group system:nodes"],
        About::Resources(&[
            (&["*"], "", &["nodes", "nodes/status"], true),
            (&["*"], LEASES, &["leases"], false),
        ]),
    ),
    ("system-nodes", "system", 500, BY_USER, &["group system:nodes"], About::Everything),
    ("kube-controller-manager", "workload-high", 800, BY_NAMESPACE, &[MANAGER], About::Everything),
    ("kube-scheduler", "workload-high", 800, BY_NAMESPACE, &[SCHEDULER], About::Everything),
    (
        "kube-system-service-accounts",
        "workload-high",
        900,
        BY_NAMESPACE,
        &[SYSTEM_ACCOUNTS],
        About::Everything,
    ),
    (
        "service-accounts",
        "workload-low",
        9000,
        BY_USER,
        &["group system:serviceaccounts"],
        About::Everything,
    ),
    (
        "global-default",
        "global-default",
        9900,
        BY_USER,
        &[UNAUTHENTICATED, AUTHENTICATED],
        About::Everything,
    ),
];

/// An object to have.
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) object: Value,
    mandatory: bool,
}

/// All of them, levels before the schemas that name them.
pub(crate) fn defaults() -> Vec<Wanted> {
    let mandatory = mandatory::ALL
        .iter()
        .filter_map(|&(kind, name)| Some(object(kind, name, true, mandatory::spec(kind, name)?)));
    let mut all: Vec<Wanted> = mandatory.collect();
    all.extend(LIMITED.map(|(name, shares, queues, hand, lent)| {
        object(
            "PriorityLevelConfiguration",
            name,
            false,
            json!({
                "type": "Limited",
                "limited": {
                    "nominalConcurrencyShares": shares,
                    "lendablePercent": lent,
                    "limitResponse": {"type": "Queue", "queuing": {
                        "queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH,
                    }},
                },
            }),
        )
    }));
    all.extend(SUGGESTED.map(schema));
    all
}

/// The kind that an object names itself.
pub(crate) fn kind_of(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn object(kind: &str, name: &'static str, mandatory: bool, spec: Value) -> Wanted {
    let object = json!({
        "kind": kind,
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}},
        "spec": spec,
    });
    Wanted { name, object, mandatory }
}

fn schema(row: Row) -> Wanted {
    let (name, level, precedence, distinguisher, subjects, about) = row;
    let subjects: Vec<Value> = subjects.iter().map(|subject| subject_of(subject)).collect();
    let mut rule = json!({"subjects": subjects});
    match about {
        About::Everything => {
            rule["resourceRules"] = json!([{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                "clusterScope": true, "namespaces": ["*"],
            }]);
            rule["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        }
        About::Paths(paths) => {
            rule["nonResourceRules"] = json!([{"verbs": ["get"], "nonResourceURLs": paths}]);
        }
        About::Resources(rules) => {
            let rules = rules.iter().map(|(verbs, group, resources, cluster)| {
                let mut rule = json!({
                    "verbs": verbs, "apiGroups": [group], "resources": resources,
                    "namespaces": ["*"],
                });
                if *cluster {
                    rule["clusterScope"] = true.into();
                }
                rule
            });
            rule["resourceRules"] = rules.collect();
        }
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    });
    if !distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({"type": distinguisher});
    }
    object("FlowSchema", name, false, spec)
}

fn subject_of(words: &str) -> Value {
    match words.split_once(' ') {
        Some(("user", name)) => json!({"kind": "User", "user": {"name": name}}),
        Some(("account", account)) => {
            let (namespace, name) = account.split_once('/').unwrap_or_default();
            json!({"kind": "ServiceAccount",
                "serviceAccount": {"namespace": namespace, "name": name}})
        }
        _ => {
            let name = words.trim_start_matches("group ");
            json!({"kind": "Group", "group": {"name": name}})
        }
    }
}

/// Keeps the objects, and what schemas are told, until shutdown.
pub(crate) async fn keep(api: Arc<Api>) {
    let registry = &api.registry;
    let changes = |(group, _, plural)| registry.changes(group, plural);
    let (Some(mut schemas), Some(mut levels)) = (changes(SCHEMAS), changes(LEVELS)) else { return };
    loop {
        let changed = tokio::select! {
            () = api.shutdown.cancelled() => return,
            changed = schemas.changed() => changed,
            changed = levels.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        // What comes while this is done is seen next time.
        schemas.mark_unchanged();
        levels.mark_unchanged();
        if let Err(error) = reconcile(registry).await {
            tracing::warn!(%error, "cannot keep the flow control configuration");
        }
    }
}

/// Makes what is missing, updates what follows the defaults, and tells every schema whether its
/// level is there.
pub(crate) async fn reconcile(registry: &Registry) -> Result<(), Failure> {
    let work = defaults().into_iter().map(|default| one(registry, default));
    futures::future::try_join_all(work).await?;
    let schemas = registry.cached_list(GROUP, SCHEMAS.2, "");
    let work = schemas.iter().map(|schema| tell(registry, schema.value()));
    futures::future::try_join_all(work).await.map(|_| ())
}

async fn one(registry: &Registry, default: Wanted) -> Result<(), Failure> {
    let resource = if kind_of(&default.object) == "FlowSchema" { SCHEMAS } else { LEVELS };
    let Some(existing) = registry.cached(resource.0, resource.2, "", default.name) else {
        return ensure(registry, resource, "", default.name, default.object).await;
    };
    let target = target(registry, resource, "", default.name)?;
    let mut wanted = default.object;
    target.resource.default(&mut wanted);
    match plan(&existing.value(), &wanted, default.mandatory) {
        Some(object) => write(registry, &target, object, PRODUCER).await,
        None => Ok(()),
    }
}

/// The existing object as it should be; none if it may stay as it is.
fn plan(existing: &Value, wanted: &Value, mandatory: bool) -> Option<Value> {
    let follows = match meta::annotation(existing, AUTO_UPDATE) {
        _ if mandatory => true,
        Some(word) => word == "true",
        // Nobody changed it since it was made.
        None => meta::generation(existing) == 1,
    };
    if !follows || meta::deletion_timestamp(existing).is_some() {
        return None;
    }
    let mut object = existing.clone();
    object["spec"] = wanted["spec"].clone();
    object["metadata"]["annotations"][AUTO_UPDATE] = "true".into();
    (object != *existing).then_some(object)
}

/// Tells a schema whether its level is there.
async fn tell(registry: &Registry, schema: Value) -> Result<(), Failure> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str();
    let level = level.unwrap_or_default();
    let found = registry.cached(GROUP, LEVELS.2, "", level).is_some();
    let now = time::format(time::Timestamp::now());
    let Some(told) = told(&schema, level, found, &now) else { return Ok(()) };
    let target = target(registry, SCHEMAS, "", meta::name(&schema))?;
    let target = Target { subresource: "status".to_owned(), ..target };
    write(registry, &target, told, CONSUMER).await
}

/// The schema with the condition that holds; none if it has it.
fn told(schema: &Value, level: &str, found: bool, now: &str) -> Option<Value> {
    let (status, reason, what) = match found {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {what}"
    );
    let conditions = schema.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.cloned().unwrap_or_default();
    let known = conditions.iter().position(|condition| condition["type"] == "Dangling");
    let mut wanted = json!({
        "type": "Dangling", "status": status, "lastTransitionTime": now,
        "reason": reason, "message": message,
    });
    match known.map(|at| &mut conditions[at]) {
        Some(condition) => {
            if condition["status"] == status {
                wanted["lastTransitionTime"] = condition["lastTransitionTime"].clone();
            }
            if *condition == wanted {
                return None;
            }
            *condition = wanted;
        }
        None => conditions.push(wanted),
    }
    let mut told = schema.clone();
    told["status"]["conditions"] = conditions.into();
    Some(told)
}

async fn write(
    registry: &Registry,
    target: &Target,
    object: Value,
    manager: &str,
) -> Result<(), Failure> {
    let options = WriteOptions { field_manager: manager.to_owned(), ..WriteOptions::default() };
    match registry.update(&Context::internal(), target, object, &options).await {
        // Another server takes the same step, or somebody else another one, which comes back here.
        Err(status) if [reason::CONFLICT, reason::NOT_FOUND].contains(&&*status.reason) => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_complete() {
        let all = defaults();
        assert_eq!(all.len(), 8 + 13);
        for default in &all {
            let object = &default.object;
            let registration = resources::find_kind(GROUP, "v1", kind_of(object)).unwrap();
            let mut defaulted = object.clone();
            registration.default(&mut defaulted);
            assert_eq!(defaulted["spec"], object["spec"], "{}", default.name);
            let ctx = resources::Ctx { now: time::Timestamp::UNIX_EPOCH, user: &Value::Null };
            let errors = registration.check_create(&ctx, &defaulted);
            assert!(errors.is_empty(), "{}: {errors:?}", default.name);
        }
    }

    #[test]
    fn what_somebody_took_over_stays() {
        let wanted = json!({"spec": {"a": 1}});
        let check = |metadata: Value, mandatory: bool, changed: bool| {
            let existing = json!({"metadata": metadata, "spec": {"a": 2}});
            let planned = plan(&existing, &wanted, mandatory);
            assert_eq!(planned.is_some(), changed, "{existing}");
            if let Some(planned) = planned {
                assert_eq!(planned["spec"], wanted["spec"]);
                assert_eq!(plan(&planned, &wanted, mandatory), None);
            }
        };
        check(json!({"annotations": {AUTO_UPDATE: "true"}, "generation": 3}), false, true);
        check(json!({"annotations": {AUTO_UPDATE: "false"}}), false, false);
        check(json!({"annotations": {AUTO_UPDATE: "false"}}), true, true);
        check(json!({"annotations": {}, "generation": 1}), false, true);
        check(json!({"annotations": {}, "generation": 2}), false, false);
    }

    #[test]
    fn schemas_are_told_about_their_level() {
        let schema = json!({"metadata": {"name": "s"}});
        let first = told(&schema, "l", false, "t1").unwrap();
        assert_eq!(
            first["status"]["conditions"],
            json!([{"type": "Dangling", "status": "True", "lastTransitionTime": "t1",
                "reason": "NotFound", "message": "This FlowSchema references the \
                PriorityLevelConfiguration object named \"l\" but there is no such object"}])
        );
        assert_eq!(told(&first, "l", false, "t2"), None);
        let second = told(&first, "l", true, "t2").unwrap();
        assert_eq!(second["status"]["conditions"][0]["lastTransitionTime"], "t2");
        assert_eq!(second["status"]["conditions"][0]["reason"], "Found");
    }
}
