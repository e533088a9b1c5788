//! What a Pod, or a template of one, means where it is silent.

use machinery::Value;
use serde_json::{Map, json};

use super::{requirements, resources};
use crate::cursor::{At, items_mut, set_default, set_default_zero};

const MODE: i64 = 0o644;

/// Defaults of a Pod itself, on top of those it shares with templates.
pub(super) fn pod(pod: &mut Value) {
    drop_init_annotations(pod);
    if let Some(status) = pod.get_mut("status").filter(|status| status.is_object()) {
        one_address(status);
    }
    let Some(spec) = pod.get_mut("spec").filter(|s| s.is_object()) else {
        return;
    };
    self::spec(spec);
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            requests_from_limits(container);
        }
    }
    pod_level_huge_pages(spec);
    pod_level_requests(spec);
    set_default(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for list in ["containers", "initContainers"] {
            for container in items_mut(spec, list) {
                for port in items_mut(container, "ports") {
                    if let Some(number) = port.get("containerPort").cloned() {
                        set_default_zero(port, "hostPort", number);
                    }
                }
            }
        }
    }
}

/// `podIP` and the first of `podIPs` say the same; the older field leads where they differ.
fn one_address(status: &mut Value) {
    let first = status.pointer("/podIPs/0/ip").filter(|ip| ip.is_string()).cloned();
    let one = status.get("podIP").filter(|ip| ip.as_str().is_some_and(|ip| !ip.is_empty()));
    match (one.cloned(), first) {
        (Some(ip), first) if first.as_ref() != Some(&ip) => {
            status["podIPs"] = json!([{"ip": ip}]);
        }
        (None, Some(ip)) => status["podIP"] = ip,
        _ => {}
    }
}

/// Init containers stood in annotations once; what is left of that is dropped.
fn drop_init_annotations(holder: &mut Value) {
    let annotations = holder.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(annotations) = annotations else { return };
    for stage in ["alpha", "beta"] {
        for what in ["init-containers", "init-container-statuses"] {
            annotations.shift_remove(&format!("pod.{stage}.kubernetes.io/{what}"));
        }
    }
}

/// Defaults of a Pod template.
pub(crate) fn template(template: &mut Value) {
    drop_init_annotations(template);
    if let Some(spec) = template.get_mut("spec").filter(|s| s.is_object()) {
        self::spec(spec);
    }
}

/// Defaults of a Pod's spec, wherever it stands.
pub(crate) fn spec(spec: &mut Value) {
    for volume in items_mut(spec, "volumes") {
        self::volume(volume);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items_mut(spec, list) {
            self::container(container);
        }
    }
    set_default_zero(spec, "restartPolicy", "Always");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default_zero(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "securityContext", json!({}));
    set_default_zero(spec, "schedulerName", "default-scheduler");
    // The older name of the same field, filled for older readers.
    let account = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or_default();
    let older = spec.get("serviceAccount").and_then(Value::as_str).unwrap_or_default();
    match (account.to_owned(), older.to_owned()) {
        (name, _) if !name.is_empty() => spec["serviceAccount"] = json!(name),
        (_, name) if !name.is_empty() => spec["serviceAccountName"] = json!(name),
        _ => {}
    }
}

fn container(container: &mut Value) {
    for variable in items_mut(container, "env") {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            set_default_zero(reference, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|p| p.is_object()) {
            self::probe(probe);
        }
    }
    for hook in ["/lifecycle/postStart", "/lifecycle/preStop"] {
        if let Some(hook) = container.pointer_mut(hook) {
            http_get(hook);
        }
    }
    set_default_zero(container, "terminationMessagePath", "/dev/termination-log");
    set_default_zero(container, "terminationMessagePolicy", "File");
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = pull_policy(image);
    set_default_zero(container, "imagePullPolicy", policy);
}

/// `Always` for images of the tag `latest`, named or implied.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let (name, has_digest) = match last.split_once('@') {
        Some((name, _)) => (name, true),
        None => (last, false),
    };
    match name.split_once(':') {
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if has_digest || image.is_empty() => "IfNotPresent",
        None => "Always",
    }
}

fn probe(probe: &mut Value) {
    http_get(probe);
    set_default_zero(probe, "timeoutSeconds", 1);
    set_default_zero(probe, "periodSeconds", 10);
    set_default_zero(probe, "successThreshold", 1);
    set_default_zero(probe, "failureThreshold", 3);
}

fn http_get(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet").filter(|g| g.is_object()) {
        set_default_zero(get, "path", "/");
        set_default_zero(get, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let Some(fields) = volume.as_object_mut() else {
        return;
    };
    if !fields.iter().any(|(name, source)| name != "name" && !source.is_null()) {
        fields.insert("emptyDir".to_owned(), json!({}));
    }
    for (name, source) in fields.iter_mut().filter(|(_, source)| source.is_object()) {
        match name.as_str() {
            "secret" | "configMap" => set_default(source, "defaultMode", MODE),
            "downwardAPI" => {
                set_default(source, "defaultMode", MODE);
                field_refs(source);
            }
            "projected" => {
                set_default(source, "defaultMode", MODE);
                for source in items_mut(source, "sources") {
                    if let Some(token) =
                        source.get_mut("serviceAccountToken").filter(|t| t.is_object())
                    {
                        set_default(token, "expirationSeconds", 3600);
                    }
                    if let Some(downward) = source.get_mut("downwardAPI") {
                        field_refs(downward);
                    }
                }
            }
            "hostPath" => set_default(source, "type", ""),
            "ephemeral" => {
                if let Some(spec) = source.pointer_mut("/volumeClaimTemplate/spec") {
                    claim_spec(spec);
                }
            }
            "image" => {
                let reference = source.get("reference").and_then(Value::as_str).unwrap_or_default();
                let policy = pull_policy(reference);
                set_default_zero(source, "pullPolicy", policy);
            }
            _ => {}
        }
    }
}

fn field_refs(downward: &mut Value) {
    for item in items_mut(downward, "items") {
        if let Some(reference) = item.get_mut("fieldRef").filter(|r| r.is_object()) {
            set_default_zero(reference, "apiVersion", "v1");
        }
    }
}

/// Defaults of the spec of a claim or of a template of claims.
pub(in crate::kinds) fn claim_spec(spec: &mut Value) {
    set_default(spec, "volumeMode", "Filesystem");
}

fn requests_from_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    let limits = resources.get("limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|l| !l.is_empty()) else {
        return;
    };
    add_missing(resources, "requests", limits);
}

fn add_missing(resources: &mut Map<String, Value>, list: &str, amounts: Map<String, Value>) {
    let list = resources.entry(list).or_insert_with(|| json!({}));
    if !list.is_object() {
        *list = json!({});
    }
    if let Some(list) = list.as_object_mut() {
        for (name, amount) in amounts {
            list.entry(name).or_insert(amount);
        }
    }
}

/// Huge pages of the Pod as a whole: what its containers may use, unless it says something else.
fn pod_level_huge_pages(spec: &mut Value) {
    let is_used = |list| !At::root(spec).get("resources").get(list).is_empty();
    if !is_used("limits") && !is_used("requests") {
        return;
    }
    let asked = spec.pointer("/resources/requests").cloned().unwrap_or_default();
    let amounts: Map<String, Value> = resources::container_limits(spec)
        .into_iter()
        .filter(|(name, _)| requirements::is_huge(name) && asked.get(name).is_none())
        .map(|(name, quantity)| (name, json!(quantity.to_string())))
        .collect();
    if let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut)
        && !amounts.is_empty()
    {
        add_missing(resources, "limits", amounts);
    }
}

/// Requests of the Pod as a whole: what its containers ask for, or else its limits.
fn pod_level_requests(spec: &mut Value) {
    let limits = spec.pointer("/resources/limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|l| !l.is_empty()) else {
        return;
    };
    let mut amounts = Map::new();
    for (name, quantity) in resources::container_requests(spec) {
        if requirements::is_pod_level(&name) && requirements::overcommits(&name) {
            amounts.insert(name, json!(quantity.to_string()));
        }
    }
    for (name, limit) in limits {
        if requirements::is_pod_level(&name) && !amounts.contains_key(&name) {
            amounts.insert(name, limit);
        }
    }
    if let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) {
        add_missing(resources, "requests", amounts);
    }
}
