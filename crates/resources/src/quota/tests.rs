use machinery::Value;
use machinery::time::Timestamp;
use serde_json::json;

use super::*;

fn quota(name: &str, spec: Value, used: Value) -> Quota {
    let hard = spec["hard"].clone();
    Quota::of(&json!({"metadata": {"name": name}, "spec": spec,
        "status": {"hard": hard, "used": used}}))
}

#[track_caller]
fn used_by(group: &str, resource: &str, object: Value, want: Value) {
    let evaluator = Evaluator::of(group, resource).unwrap();
    let usage = evaluator.usage(&object, Timestamp::UNIX_EPOCH);
    assert_eq!(to_value(&usage), want);
    // What is counted is what is found again by name.
    for name in usage.keys().filter(|name| !name.ends_with("/x")) {
        assert!(evaluator.counts(name), "{name}");
    }
}

#[test]
fn what_pods_use() {
    let pod = json!({"spec": {
        "containers": [
            {"name": "a", "resources": {
                "requests": {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "2"},
                "limits": {"cpu": "1", "example.com/gpu": "2"}}},
            {"name": "b", "resources": {"requests": {"cpu": "200m", "hugepages-2Mi": "4Mi"}}}],
        "initContainers": [
            {"name": "i", "resources": {"requests": {"cpu": "2", "ephemeral-storage": "1Gi"}}}],
        "overhead": {"cpu": "50m"}}});
    used_by(
        "",
        "pods",
        pod.clone(),
        json!({
        "count/pods": "1", "cpu": "2050m", "ephemeral-storage": "1Gi", "hugepages-2Mi": "4Mi",
        "limits.cpu": "1050m", "memory": "1Gi", "pods": "1", "requests.cpu": "2050m",
        "requests.ephemeral-storage": "1Gi", "requests.example.com/gpu": "2",
        "requests.hugepages-2Mi": "4Mi", "requests.memory": "1Gi"}),
    );
    let mut done = pod.clone();
    done["status"] = json!({"phase": "Succeeded"});
    used_by("", "pods", done, json!({"count/pods": "1"}));
    let mut overdue = pod;
    overdue["metadata"] = json!({"deletionTimestamp": "1969-12-31T23:59:00Z",
        "deletionGracePeriodSeconds": 30});
    used_by("", "pods", overdue, json!({"count/pods": "1"}));
}

#[test]
fn what_pods_that_are_resized_use() {
    let check = |status: Value, cpu: &str, limit: &str| {
        let list = |cpu: &str| json!({"cpu": cpu});
        let mut pod = json!({"spec": {"containers": [{"name": "a",
            "resources": {"requests": list("200m"), "limits": list("400m")}}]}});
        pod["status"] = status;
        let usage = Evaluator::of("", "pods").unwrap().usage(&pod, Timestamp::UNIX_EPOCH);
        let usage = to_value(&usage);
        assert_eq!((&usage["requests.cpu"], &usage["limits.cpu"]), (&json!(cpu), &json!(limit)));
    };
    let status = |granted: &str, has: &str, conditions: Value| {
        json!({"conditions": conditions, "containerStatuses": [{"name": "a",
            "allocatedResources": {"cpu": granted},
            "resources": {"requests": {"cpu": has}, "limits": {"cpu": has}}}]})
    };
    check(json!({}), "200m", "400m");
    check(status("100m", "100m", json!([])), "200m", "400m");
    check(status("100m", "500m", json!([])), "500m", "500m");
    check(status("600m", "500m", json!([])), "600m", "500m");
    let never = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
    check(status("100m", "100m", never), "100m", "100m");
}

#[test]
fn what_other_objects_use() {
    let service = |kind: &str, allocate: bool| {
        json!({"spec": {"type": kind, "allocateLoadBalancerNodePorts": allocate,
            "ports": [{"port": 1, "nodePort": 30001}, {"port": 2}]}})
    };
    let used = |ports: &str, balancers: &str| {
        json!({"count/services": "1", "services": "1", "services.loadbalancers": balancers,
            "services.nodeports": ports})
    };
    used_by("", "services", service("ClusterIP", true), used("0", "0"));
    used_by("", "services", service("NodePort", true), used("2", "0"));
    used_by("", "services", service("LoadBalancer", true), used("2", "1"));
    used_by("", "services", service("LoadBalancer", false), used("1", "1"));
    let claim = json!({"spec": {"storageClassName": "gold",
        "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"allocatedResources": {"storage": "2Gi"}}});
    used_by(
        "",
        "persistentvolumeclaims",
        claim,
        json!({
        "count/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "2Gi",
        "persistentvolumeclaims": "1", "requests.storage": "2Gi"}),
    );
    used_by("", "secrets", json!({}), json!({"count/secrets": "1", "secrets": "1"}));
    used_by("apps", "deployments", json!({}), json!({"count/deployments.apps": "1"}));
    let claim = json!({"spec": {"devices": {"requests": [
        {"exactly": {"deviceClassName": "gpu", "count": 2}},
        {"firstAvailable": [{"deviceClassName": "gpu"}, {"deviceClassName": "gpu",
            "allocationMode": "All"}]}]}}});
    used_by(
        "resource.k8s.io",
        "resourceclaims",
        claim,
        json!({
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "34"}),
    );
    assert_eq!(Evaluator::of("events.k8s.io", "events"), None);
}

#[test]
fn evaluators_are_found_by_what_is_limited() {
    let check = |name: &str, want: Option<(&str, &str)>| {
        let found = Evaluator::that_counts(name);
        assert_eq!(found.as_ref().map(Evaluator::resource), want, "{name}");
    };
    check("requests.cpu", Some(("", "pods")));
    check("limits.ephemeral-storage", Some(("", "pods")));
    check("requests.example.com/gpu", Some(("", "pods")));
    check("example.com/gpu", None);
    check("services.nodeports", Some(("", "services")));
    check("requests.storage", Some(("", "persistentvolumeclaims")));
    check("x.storageclass.storage.k8s.io/requests.storage", Some(("", "persistentvolumeclaims")));
    check("count/widgets.example.com", Some(("example.com", "widgets")));
    check("configmaps", Some(("", "configmaps")));
    check("nonsense", None);
}

fn pod(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[track_caller]
fn charged(quotas: &[Quota], object: &Value, old: Option<&Value>) -> Result<Vec<Value>, String> {
    let write = Charge { evaluator: &Evaluator::Pods, object, old, subresource: "", limited: &[] };
    let changes = charge(quotas, &write, Timestamp::UNIX_EPOCH)?;
    Ok(changes.iter().map(|change| to_value(&change.used)).collect())
}

#[test]
fn what_fits_is_charged_and_what_does_not_is_refused() {
    let hard = json!({"hard": {"pods": "2", "requests.cpu": "1", "configmaps": "1"}});
    let used = json!({"pods": "1", "requests.cpu": "500m", "configmaps": "0"});
    let quotas = [quota("q", hard.clone(), used)];
    assert_eq!(
        charged(&quotas, &pod("500m"), None).unwrap(),
        [json!({"configmaps": "0", "pods": "2", "requests.cpu": "1"})]
    );
    assert_eq!(
        charged(&quotas, &pod("501m"), None).unwrap_err(),
        "exceeded quota: q, requested: requests.cpu=501m, used: requests.cpu=500m, limited: \
         requests.cpu=1"
    );
    // Only what comes on top is charged.
    assert_eq!(
        charged(&quotas, &pod("700m"), Some(&pod("500m"))).unwrap(),
        [json!({"configmaps": "0", "pods": "1", "requests.cpu": "700m"})]
    );
    assert_eq!(charged(&quotas, &pod("100m"), Some(&pod("500m"))).unwrap(), Vec::<Value>::new());
    let silent = json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}});
    assert_eq!(
        charged(&quotas, &silent, None).unwrap_err(),
        "failed quota: q: must specify requests.cpu for: a,b"
    );
    let unknown = [quota("q", hard, json!({}))];
    assert_eq!(
        charged(&unknown, &pod("1"), None).unwrap_err(),
        "status unknown for quota: q, resources: pods,requests.cpu"
    );
    assert_eq!(charged(&[], &pod("1"), None).unwrap(), Vec::<Value>::new());
}

#[test]
fn scopes_narrow_quotas() {
    let check = |scope: Value, object: &Value, concerned: bool| {
        let mut spec = json!({"hard": {"pods": "9"}});
        for (field, value) in scope.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let quotas = [quota("q", spec, json!({"pods": "0"}))];
        let changes = charged(&quotas, object, None).unwrap();
        assert_eq!(changes.len(), usize::from(concerned), "{scope} {object}");
    };
    let scopes = |scope: &str| json!({"scopes": [scope]});
    let best_effort = json!({"spec": {"containers": [{"name": "a"}]}});
    let mut ending = pod("1");
    ending["spec"]["activeDeadlineSeconds"] = 5.into();
    let mut important = pod("1");
    important["spec"]["priorityClassName"] = "high".into();
    let mut near = pod("1");
    near["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] =
        json!([{"weight": 1, "podAffinityTerm": {"namespaceSelector": {}}}]);
    check(scopes("BestEffort"), &best_effort, true);
    check(scopes("BestEffort"), &pod("1"), false);
    check(scopes("NotBestEffort"), &pod("1"), true);
    check(scopes("Terminating"), &ending, true);
    check(scopes("Terminating"), &pod("1"), false);
    check(scopes("NotTerminating"), &pod("1"), true);
    check(scopes("CrossNamespacePodAffinity"), &near, true);
    check(scopes("CrossNamespacePodAffinity"), &pod("1"), false);
    let class = |operator: &str, values: Value| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
    };
    check(class("Exists", json!([])), &important, true);
    check(class("Exists", json!([])), &pod("1"), false);
    check(class("In", json!(["high"])), &important, true);
    check(class("In", json!(["low"])), &important, false);
    check(class("NotIn", json!(["low"])), &important, true);
    check(class("NotIn", json!(["low"])), &pod("1"), true);
    check(class("DoesNotExist", json!([])), &pod("1"), true);
}

#[test]
fn usage_is_counted_anew() {
    let quota = quota(
        "q",
        json!({"hard": {"pods": "9", "requests.cpu": "9", "count/secrets": "3", "what": "1"}}),
        json!({}),
    );
    let evaluators = quota.evaluators();
    assert_eq!(evaluators.len(), 2);
    let pods = [pod("1"), pod("500m")];
    let used = quota.usage(
        &evaluators,
        |evaluator| match evaluator {
            Evaluator::Pods => pods.iter().collect(),
            _ => Vec::new(),
        },
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(
        to_value(&used),
        json!({"count/secrets": "0", "pods": "2", "requests.cpu": "1500m"})
    );
}

#[test]
fn some_uses_need_a_quota() {
    let limited = [
        Limited::of(&json!({"resource": "pods", "matchContains": ["cpu"]})),
        Limited::of(&json!({"resource": "pods", "matchScopes": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high", "higher"]}]})),
        Limited::of(&json!({"resource": "services", "matchContains": [""]})),
    ];
    let charged = |quotas: &[Quota], object: &Value, old: Option<&Value>| {
        let write =
            Charge { evaluator: &Evaluator::Pods, object, old, subresource: "", limited: &limited };
        charge(quotas, &write, Timestamp::UNIX_EPOCH).map(|changes| changes.len())
    };
    let pod = |class: &str, cpu: &str| {
        json!({"spec": {"priorityClassName": class,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    };
    let why = "insufficient quota to consume: cpu,requests.cpu";
    assert_eq!(charged(&[], &pod("", "1"), None).unwrap_err(), why);
    // What is used already is not asked for again.
    assert_eq!(charged(&[], &pod("", "1"), Some(&pod("", "1"))), Ok(0));
    assert_eq!(charged(&[], &json!({"spec": {}}), None), Ok(0));
    let quota = |spec: Value| {
        let hard = json!({"cpu": "9", "requests.cpu": "9"});
        let used = json!({"cpu": "0", "requests.cpu": "0"});
        Quota::of(&json!({"metadata": {"name": "q"}, "spec": spec,
            "status": {"hard": hard, "used": used}}))
    };
    let all = quota(json!({}));
    assert_eq!(charged(std::slice::from_ref(&all), &pod("", "1"), None), Ok(1));
    let why = "insufficient quota to match these scopes: [{PriorityClass In [high higher]}]";
    let quotas = [all.clone()];
    assert_eq!(charged(&quotas, &pod("high", "1"), None).unwrap_err(), why);
    let high = quota(json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "Exists"}]}}));
    assert_eq!(charged(&[all, high], &pod("high", "1"), None), Ok(2));
}
