//! Rows of the kinds of the smaller groups.

use machinery::Value;
use machinery::meta;
use machinery::time::{self, Timestamp};
use serde_json::json;

use super::apps::condition_status;
use super::cell::{
    age, condition, count, first_three, flag, int, is_true, items, joined_or, label_selector, name,
    scalar, since, text, text_or, texts,
};

type Row = fn(&Value, Timestamp) -> Vec<Value>;

pub(super) fn of_kind(group: &str, kind: &str) -> Option<Row> {
    Some(match (group, kind) {
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => mutating_policy,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => validating_policy,
        (
            "admissionregistration.k8s.io",
            "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding",
        ) => policy_binding,
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => webhooks,
        ("apiregistration.k8s.io", "APIService") => api_service,
        ("autoscaling", "Scale") => scale,
        ("certificates.k8s.io", "CertificateSigningRequest") => signing_request,
        ("certificates.k8s.io", "ClusterTrustBundle") => trust_bundle,
        ("certificates.k8s.io", "PodCertificateRequest") => pod_certificate,
        ("coordination.k8s.io", "Lease") => lease,
        ("coordination.k8s.io", "LeaseCandidate") => lease_candidate,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow_schema,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => priority_level,
        ("internal.apiserver.k8s.io", "StorageVersion") => storage_version,
        ("networking.k8s.io", "IPAddress") => ip_address,
        ("networking.k8s.io", "IngressClass") => ingress_class,
        ("networking.k8s.io", "NetworkPolicy") => network_policy,
        ("networking.k8s.io", "ServiceCIDR") => service_cidr,
        ("node.k8s.io", "RuntimeClass") => runtime_class,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding") => role_binding,
        ("resource.k8s.io", "DeviceTaintRule") => device_taint,
        ("resource.k8s.io", "ResourceClaim") => resource_claim,
        ("resource.k8s.io", "ResourcePoolStatusRequest") => pool_status_request,
        ("resource.k8s.io", "ResourceSlice") => resource_slice,
        ("scheduling.k8s.io", "PodGroup") => pod_group,
        ("scheduling.k8s.io", "PriorityClass") => priority_class,
        ("storagemigration.k8s.io", "StorageVersionMigration") => migration,
        _ => return None,
    })
}

pub(super) fn name_age(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

fn param_kind(policy: &Value) -> String {
    match (text(policy, "/spec/paramKind/apiVersion"), text(policy, "/spec/paramKind/kind")) {
        ("", "") => "<unset>".to_owned(),
        (version, kind) => format!("{version}/{kind}"),
    }
}

fn mutating_policy(policy: &Value, now: Timestamp) -> Vec<Value> {
    let mutations = count(policy, "/spec/mutations");
    vec![name(policy), json!(mutations), json!(param_kind(policy)), age(policy, now)]
}

fn validating_policy(policy: &Value, now: Timestamp) -> Vec<Value> {
    let validations = count(policy, "/spec/validations");
    vec![name(policy), json!(validations), json!(param_kind(policy)), age(policy, now)]
}

fn policy_binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let reference = match binding.pointer("/spec/paramRef") {
        None | Some(Value::Null) => "<unset>".to_owned(),
        Some(r) if !text(r, "/name").is_empty() => {
            format!("{}/{}", text_or(r, "/namespace", "*"), text(r, "/name"))
        }
        Some(r) => label_selector(r.get("selector"), "<unset>"),
    };
    vec![
        name(binding),
        json!(text(binding, "/spec/policyName")),
        json!(reference),
        age(binding, now),
    ]
}

fn webhooks(configuration: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(configuration), json!(count(configuration, "/webhooks")), age(configuration, now)]
}

fn api_service(service: &Value, now: Timestamp) -> Vec<Value> {
    let backend = match text(service, "/spec/service/name") {
        "" => "Local".to_owned(),
        name => format!("{}/{name}", text(service, "/spec/service/namespace")),
    };
    let available = match condition(service, "Available") {
        None => "Unknown".to_owned(),
        Some(_) if is_true(service, "Available") => "True".to_owned(),
        Some(c) => format!("{} ({})", text(c, "/status"), text(c, "/reason")),
    };
    vec![name(service), json!(backend), json!(available), age(service, now)]
}

fn scale(scale: &Value, now: Timestamp) -> Vec<Value> {
    let (desired, available) = (int(scale, "/spec/replicas"), int(scale, "/status/replicas"));
    vec![name(scale), json!(desired), json!(available), age(scale, now)]
}

fn signing_request(csr: &Value, now: Timestamp) -> Vec<Value> {
    let has = |kind: &str| condition(csr, kind).is_some();
    let mut status = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !text(csr, "/status/certificate").is_empty() {
        status.push_str(",Issued");
    }
    let duration = match csr.pointer("/spec/expirationSeconds").and_then(Value::as_u64) {
        Some(seconds) => time::human(std::time::Duration::from_secs(seconds)),
        None => "<none>".to_owned(),
    };
    vec![
        name(csr),
        age(csr, now),
        json!(text_or(csr, "/spec/signerName", "<none>")),
        json!(text(csr, "/spec/username")),
        json!(duration),
        json!(status),
    ]
}

fn trust_bundle(bundle: &Value, _now: Timestamp) -> Vec<Value> {
    vec![name(bundle), json!(text_or(bundle, "/spec/signerName", "<none>"))]
}

fn pod_certificate(request: &Value, _now: Timestamp) -> Vec<Value> {
    let part = |field: &str| json!(text(request, &format!("/spec/{field}")));
    let states = ["Denied", "Failed", "Issued"];
    let state = states.into_iter().find(|state| is_true(request, state));
    vec![
        name(request),
        part("podName"),
        part("serviceAccountName"),
        part("nodeName"),
        part("signerName"),
        json!(state.unwrap_or("Pending")),
    ]
}

fn lease(lease: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(lease), json!(text(lease, "/spec/holderIdentity")), age(lease, now)]
}

fn lease_candidate(candidate: &Value, now: Timestamp) -> Vec<Value> {
    let part = |field: &str| json!(text(candidate, &format!("/spec/{field}")));
    vec![
        name(candidate),
        part("leaseName"),
        part("binaryVersion"),
        part("emulationVersion"),
        age(candidate, now),
    ]
}

fn flow_schema(schema: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(schema),
        json!(text(schema, "/spec/priorityLevelConfiguration/name")),
        json!(int(schema, "/spec/matchingPrecedence")),
        json!(text_or(schema, "/spec/distinguisherMethod/type", "<none>")),
        age(schema, now),
        json!(condition_status(schema, "Dangling", "?")),
    ]
}

fn priority_level(level: &Value, now: Timestamp) -> Vec<Value> {
    let queuing = |field: &str| {
        let pointer = format!("/spec/limited/limitResponse/queuing/{field}");
        json!(scalar(level.pointer(&pointer)).unwrap_or_else(|| "<none>".to_owned()))
    };
    let shares = scalar(level.pointer("/spec/limited/nominalConcurrencyShares"));
    vec![
        name(level),
        json!(text(level, "/spec/type")),
        json!(shares.unwrap_or_else(|| "<none>".to_owned())),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        age(level, now),
    ]
}

fn storage_version(version: &Value, now: Timestamp) -> Vec<Value> {
    let versions: Vec<String> = items(version, "/status/storageVersions")
        .iter()
        .map(|v| format!("{}={}", text(v, "/apiServerID"), text(v, "/encodingVersion")))
        .collect();
    vec![
        name(version),
        json!(text_or(version, "/status/commonEncodingVersion", "<unset>")),
        json!(first_three(&versions, "<unset>")),
        age(version, now),
    ]
}

fn ip_address(address: &Value, _now: Timestamp) -> Vec<Value> {
    let part = |field: &str| text(address, &format!("/spec/parentRef/{field}"));
    let reference = if part("resource").is_empty() {
        "<none>".to_owned()
    } else {
        let mut resource = part("resource").to_lowercase();
        if !part("group").is_empty() {
            resource = format!("{resource}.{}", part("group").to_lowercase());
        }
        match part("namespace") {
            "" => format!("{resource}/{}", part("name")),
            namespace => format!("{resource}/{namespace}/{}", part("name")),
        }
    };
    vec![name(address), json!(reference)]
}

fn ingress_class(class: &Value, now: Timestamp) -> Vec<Value> {
    let part = |field: &str| text(class, &format!("/spec/parameters/{field}"));
    let parameters = match (part("kind"), part("apiGroup")) {
        ("", _) => "<none>".to_owned(),
        (kind, "") => format!("{kind}/{}", part("name")),
        (kind, group) => format!("{kind}.{group}/{}", part("name")),
    };
    vec![name(class), json!(text(class, "/spec/controller")), json!(parameters), age(class, now)]
}

fn network_policy(policy: &Value, now: Timestamp) -> Vec<Value> {
    let selector = label_selector(policy.pointer("/spec/podSelector"), "<none>");
    vec![name(policy), json!(selector), age(policy, now)]
}

fn service_cidr(cidr: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(cidr), json!(texts(cidr, "/spec/cidrs", "").join(",")), age(cidr, now)]
}

fn runtime_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(class), json!(text(class, "/handler")), age(class, now)]
}

fn role_binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
    let subjects = |kind: &str| {
        let named: Vec<String> = items(binding, "/subjects")
            .iter()
            .filter(|s| text(s, "/kind") == kind)
            .map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
                _ => text(s, "/name").to_owned(),
            })
            .collect();
        json!(named.join(", "))
    };
    vec![
        name(binding),
        json!(role),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn device_taint(rule: &Value, now: Timestamp) -> Vec<Value> {
    let part = |field: &str| text(rule, &format!("/spec/taint/{field}"));
    let added = match part("timeAdded") {
        "" => String::new(),
        _ => since(rule, "/spec/taint/timeAdded", now),
    };
    let [key, value, effect] = ["key", "value", "effect"].map(|field| json!(part(field)));
    vec![name(rule), key, value, effect, json!(added), age(rule, now)]
}

fn pool_status_request(request: &Value, now: Timestamp) -> Vec<Value> {
    let pools = items(request, "/status/pools");
    let failed = is_true(request, "Failed");
    let complete = condition(request, "Complete").filter(|_| is_true(request, "Complete"));
    let count = int(request, "/status/poolCount");
    let status = match complete {
        Some(_) if count > pools.len() as i64 => {
            format!("Complete ({}/{count} pools)", pools.len())
        }
        Some(_) => "Complete".to_owned(),
        None if failed => "Failed".to_owned(),
        None => "Pending".to_owned(),
    };
    let is_counted =
        request.get("status").is_some_and(Value::is_object) && (complete.is_some() || !failed);
    let counted = |number: i64| if is_counted { json!(number) } else { json!("-") };
    let sum = |field: &str| counted(pools.iter().map(|pool| int(pool, &format!("/{field}"))).sum());
    let errors = pools.iter().filter(|pool| pool.get("validationError").is_some()).count();
    let completed =
        complete.map_or_else(|| "<none>".to_owned(), |c| since(c, "/lastTransitionTime", now));
    vec![
        name(request),
        json!(text(request, "/spec/driver")),
        sum("totalDevices"),
        sum("availableDevices"),
        sum("allocatedDevices"),
        sum("unavailableDevices"),
        counted(errors as i64),
        json!(count),
        json!(status),
        json!(completed),
    ]
}

fn resource_claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let mut states = Vec::new();
    let deleted = meta::deletion_timestamp(claim).is_some();
    if deleted {
        states.push("deleted");
    }
    if claim.pointer("/status/allocation").is_none_or(Value::is_null) {
        if !deleted {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        if count(claim, "/status/reservedFor") > 0 {
            states.push("reserved");
        }
    }
    vec![name(claim), json!(joined_or(&states, "")), age(claim, now)]
}

fn resource_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let part = |pointer: &str| json!(text(slice, pointer));
    vec![
        name(slice),
        part("/spec/nodeName"),
        part("/spec/driver"),
        part("/spec/pool/name"),
        age(slice, now),
    ]
}

fn pod_group(group: &Value, now: Timestamp) -> Vec<Value> {
    let is_gang = group.pointer("/spec/schedulingPolicy/gang").is_some_and(Value::is_object);
    let status = match (condition(group, "DisruptionTarget"), condition(group, "PodGroupScheduled"))
    {
        (Some(target), _) => text(target, "/reason"),
        (None, Some(_)) if is_true(group, "PodGroupScheduled") => "Scheduled",
        (None, Some(_)) => "Unschedulable",
        (None, None) => "Pending",
    };
    let reference = group.pointer("/spec/podGroupTemplateRef").filter(|r| r.is_object());
    let workload = reference.map_or("<none>", |r| text(r, "/workload/workloadName"));
    let policy = if is_gang { "Gang" } else { "Basic" };
    vec![name(group), json!(policy), json!(workload), json!(status), age(group, now)]
}

fn priority_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(class),
        json!(int(class, "/value")),
        json!(flag(class, "/globalDefault")),
        age(class, now),
        json!(text(class, "/preemptionPolicy")),
    ]
}

fn migration(migration: &Value, _now: Timestamp) -> Vec<Value> {
    let part = |field: &str| text(migration, &format!("/spec/resource/{field}"));
    let conditions = items(migration, "/status/conditions");
    let last = conditions.iter().rev().filter(|c| text(c, "/status") == "True");
    let mut last = last.map(|c| text(c, "/type"));
    let status = last.find(|kind| ["Running", "Failed", "Succeeded"].contains(kind));
    let resource = match part("group") {
        "" => part("resource").to_owned(),
        group => format!("{}.{group}", part("resource")),
    };
    vec![name(migration), json!(resource), json!(status.unwrap_or("Unknown"))]
}
