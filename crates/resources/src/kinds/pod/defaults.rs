//! What a Pod, or a template of one, means where it is silent.

use machinery::Value;
use machinery::quantity::Quantity;
use serde_json::{Map, json};

use super::resources;
use crate::cursor::{items_mut, set_default, set_default_zero};

const MODE: i64 = 0o644;

/// Defaults of a Pod itself, on top of those it shares with templates.
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").filter(|s| s.is_object()) else {
        return;
    };
    self::spec(spec);
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            requests_from_limits(container);
        }
    }
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

/// Defaults of a Pod template.
pub(crate) fn template(template: &mut Value) {
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
    if let Some(overhead) = spec.get_mut("overhead") {
        round_up(overhead);
    }
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
    for port in items_mut(container, "ports") {
        set_default_zero(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            set_default_zero(reference, "apiVersion", "v1");
        }
    }
    for list in ["/resources/limits", "/resources/requests"] {
        if let Some(list) = container.pointer_mut(list) {
            round_up(list);
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
    if let Some(grpc) = probe.get_mut("grpc").filter(|g| g.is_object()) {
        set_default(grpc, "service", "");
    }
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
            "iscsi" => set_default_zero(source, "iscsiInterface", "default"),
            "rbd" => {
                set_default_zero(source, "pool", "rbd");
                set_default_zero(source, "user", "admin");
                set_default_zero(source, "keyring", "/etc/ceph/keyring");
            }
            "azureDisk" => {
                set_default(source, "cachingMode", "ReadWrite");
                set_default(source, "kind", "Shared");
                set_default(source, "fsType", "ext4");
                set_default(source, "readOnly", false);
            }
            "scaleIO" => {
                set_default_zero(source, "storageMode", "ThinProvisioned");
                set_default_zero(source, "fsType", "xfs");
            }
            "ephemeral" => {
                if let Some(spec) = source.pointer_mut("/volumeClaimTemplate/spec") {
                    set_default(spec, "volumeMode", "Filesystem");
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

/// Amounts are kept in thousandths at the finest.
fn round_up(list: &mut Value) {
    for amount in list.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(quantity) = Quantity::from_value(amount)
            && !quantity.is_milli_precise()
        {
            *amount = json!(Quantity::from_millis(quantity.milli_value()).to_string());
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    let limits = resources.get("limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|l| !l.is_empty()) else {
        return;
    };
    add_missing(resources, limits);
}

fn add_missing(resources: &mut Map<String, Value>, amounts: Map<String, Value>) {
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if !requests.is_object() {
        *requests = json!({});
    }
    if let Some(requests) = requests.as_object_mut() {
        for (name, amount) in amounts {
            requests.entry(name).or_insert(amount);
        }
    }
}

/// Requests of the Pod as a whole: what its containers ask for, or else its limits.
fn pod_level_requests(spec: &mut Value) {
    let limits = spec.pointer("/resources/limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|l| !l.is_empty()) else {
        return;
    };
    let supported = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let mut amounts = Map::new();
    for (name, quantity) in resources::container_requests(spec) {
        if supported(&name) && !name.starts_with("hugepages-") {
            amounts.insert(name, json!(quantity.to_string()));
        }
    }
    for (name, limit) in limits {
        if supported(&name) && !amounts.contains_key(&name) {
            amounts.insert(name, limit);
        }
    }
    if let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) {
        add_missing(resources, amounts);
    }
}
