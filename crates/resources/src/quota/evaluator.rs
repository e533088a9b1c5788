//! What objects of a resource use.

use machinery::Value;
use machinery::meta;
use machinery::quantity::{Format, Quantity};
use machinery::time::{self, Timestamp};

use super::Amounts;
use super::scope::{Operator, Selector};
use crate::kinds::pod::resources::{self as pods, qos_class};

/// How a resource is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Evaluator {
    /// Pods: number, requests and limits, as long as they run.
    Pods,
    /// Services: number, node ports, load balancers.
    Services,
    /// PersistentVolumeClaims: number and storage, also by storage class.
    Claims,
    /// ResourceClaims: number and devices by class.
    ResourceClaims,
    /// Any other: only how many there are.
    Count {
        /// API group.
        group: String,
        /// Plural name.
        resource: String,
    },
}

/// Core resources that are counted under their plain names too.
const ALIASES: [&str; 4] = ["replicationcontrollers", "resourcequotas", "secrets", "configmaps"];
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE: &str = "hugepages-";
const REQUESTS: &str = "requests.";
const LIMITS: &str = "limits.";
const COUNT: &str = "count/";
/// Followed by `persistentvolumeclaims` or `requests.storage`.
const OF_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const OF_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// What must be said of each container if it is limited.
const REQUIRED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// The devices that a request for all of them is charged.
const ALL_DEVICES: i64 = 32;

// === impl Evaluator ===

impl Evaluator {
    /// The evaluator of a resource; none of those that no quota limits.
    #[must_use]
    pub fn of(group: &str, resource: &str) -> Option<Self> {
        Some(match (group, resource) {
            ("" | "events.k8s.io", "events") => return None,
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            ("resource.k8s.io", "resourceclaims") => Self::ResourceClaims,
            _ => Self::Count { group: group.to_owned(), resource: resource.to_owned() },
        })
    }

    /// The evaluator that counts what a quota limits under this name, as far as the name tells.
    #[must_use]
    pub fn that_counts(name: &str) -> Option<Self> {
        if let Some(counted) = name.strip_prefix(COUNT) {
            let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
            return Self::of(group, resource);
        }
        if ALIASES.contains(&name) {
            return Self::of("", name);
        }
        [Self::Pods, Self::Services, Self::Claims, Self::ResourceClaims]
            .into_iter()
            .find(|evaluator| evaluator.counts(name))
    }

    /// Group and plural name of the resource.
    #[must_use]
    pub fn resource(&self) -> (&str, &str) {
        match self {
            Self::Pods => ("", "pods"),
            Self::Services => ("", "services"),
            Self::Claims => ("", "persistentvolumeclaims"),
            Self::ResourceClaims => ("resource.k8s.io", "resourceclaims"),
            Self::Count { group, resource } => (group, resource),
        }
    }

    fn count_name(&self) -> String {
        match self.resource() {
            ("", resource) => format!("{COUNT}{resource}"),
            (group, resource) => format!("{COUNT}{resource}.{group}"),
        }
    }

    /// Whether something that a quota limits is counted in objects of this resource.
    #[must_use]
    pub fn counts(&self, name: &str) -> bool {
        if let Some(counted) = name.strip_prefix(COUNT) {
            let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
            return (group, resource) == self.resource();
        }
        match self {
            Self::Pods => {
                let plain = name.strip_prefix(REQUESTS).unwrap_or(name);
                let plain = name.strip_prefix(LIMITS).unwrap_or(plain);
                name == "pods"
                    || COMPUTE.contains(&plain)
                    || (plain.starts_with(HUGE) && !name.starts_with(LIMITS))
                    || name.strip_prefix(REQUESTS).is_some_and(|name| name.contains('/'))
                        && !is_native(name)
            }
            Self::Services => {
                matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
            }
            Self::Claims => {
                let plain = name.split_once(OF_STORAGE_CLASS).map_or(name, |(_, plain)| plain);
                matches!(plain, "persistentvolumeclaims" | "requests.storage")
            }
            Self::ResourceClaims => name.ends_with(OF_DEVICE_CLASS),
            Self::Count { group, resource } => {
                group.is_empty() && name == resource && ALIASES.contains(&name)
            }
        }
    }

    /// Whether a write can change what is used. `operation` is `CREATE` or `UPDATE`.
    #[must_use]
    pub fn handles(&self, operation: &str, subresource: &str) -> bool {
        let (create, update) = (operation == "CREATE", operation == "UPDATE");
        match self {
            Self::Pods => create && subresource.is_empty() || update && subresource == "resize",
            Self::Services | Self::ResourceClaims => (create || update) && subresource.is_empty(),
            Self::Claims => {
                create && subresource.is_empty() || update && matches!(subresource, "" | "status")
            }
            Self::Count { .. } => create && subresource.is_empty(),
        }
    }

    /// What an object has to say for quotas on `names`.
    ///
    /// # Errors
    /// What it does not say.
    pub(super) fn check(&self, names: &[&String], object: &Value) -> Result<(), String> {
        if *self != Self::Pods {
            return Ok(());
        }
        let mut missing = Vec::new();
        for name in REQUIRED.iter().filter(|name| names.iter().any(|known| known == *name)) {
            let (list, plain) = match name.strip_prefix(LIMITS) {
                Some(plain) => ("limits", plain),
                None => ("requests", name.strip_prefix(REQUESTS).unwrap_or(name)),
            };
            let containers = ["containers", "initContainers"]
                .into_iter()
                .flat_map(|containers| object["spec"][containers].as_array().into_iter().flatten());
            let mut silent: Vec<&str> = containers
                .filter(|container| container["resources"][list].get(plain).is_none())
                .filter_map(|container| container["name"].as_str())
                .collect();
            silent.sort_unstable();
            silent.dedup();
            if !silent.is_empty() {
                missing.push((*name, format!("{name} for: {}", silent.join(","))));
            }
        }
        missing.sort();
        let texts: Vec<String> = missing.into_iter().map(|(_, text)| text).collect();
        if texts.is_empty() { Ok(()) } else { Err(format!("must specify {}", texts.join("; "))) }
    }

    /// Whether an object is within a scope.
    pub(super) fn is_in_scope(&self, selector: &Selector, object: &Value) -> bool {
        let spec = &object["spec"];
        match (self, selector.scope.as_str()) {
            (Self::Pods, "Terminating") => is_terminating(spec),
            (Self::Pods, "NotTerminating") => !is_terminating(spec),
            (Self::Pods, "BestEffort") => qos_class(object) == "BestEffort",
            (Self::Pods, "NotBestEffort") => qos_class(object) != "BestEffort",
            (Self::Pods, "PriorityClass") => selector.selects(some(&spec["priorityClassName"])),
            (Self::Pods, "CrossNamespacePodAffinity") => is_near_other_namespaces(spec),
            (Self::Claims, "VolumeAttributesClass") => {
                let status = &object["status"];
                let names = [
                    &spec["volumeAttributesClassName"],
                    &status["currentVolumeAttributesClassName"],
                    &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
                ];
                let names: Vec<&str> = names.into_iter().filter_map(some).collect();
                match selector.operator {
                    Operator::Exists => !names.is_empty(),
                    _ if names.is_empty() => selector.selects(None),
                    _ => names.into_iter().any(|name| selector.selects(Some(name))),
                }
            }
            _ => false,
        }
    }

    /// What an object uses.
    #[must_use]
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        let mut used = Amounts::new();
        let one = whole(1);
        used.insert(self.count_name(), one);
        match self {
            Self::Pods => {
                if is_charged(object, now) {
                    used.insert("pods".to_owned(), one);
                    pod(object, &mut used);
                }
            }
            Self::Services => {
                used.insert("services".to_owned(), one);
                service(&object["spec"], &mut used);
            }
            Self::Claims => {
                used.insert("persistentvolumeclaims".to_owned(), one);
                claim(object, &mut used);
            }
            Self::ResourceClaims => devices(&object["spec"]["devices"], &mut used),
            Self::Count { group, resource } => {
                if group.is_empty() && ALIASES.contains(&resource.as_str()) {
                    used.insert(resource.clone(), one);
                }
            }
        }
        used
    }
}

fn whole(count: i64) -> Quantity {
    Quantity::new(count, Format::DecimalSi)
}

fn some(text: &Value) -> Option<&str> {
    text.as_str().filter(|text| !text.is_empty())
}

fn is_native(name: &str) -> bool {
    let domain = name.split('/').next().unwrap_or_default();
    !name.contains('/') || domain.ends_with("kubernetes.io")
}

fn is_terminating(spec: &Value) -> bool {
    spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn is_near_other_namespaces(spec: &Value) -> bool {
    let affinity = &spec["affinity"];
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let list = |field: &str| affinity[kind][field].as_array().into_iter().flatten();
        let required = list("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = list("preferredDuringSchedulingIgnoredDuringExecution");
        let mut terms = required.chain(preferred.map(|weighted| &weighted["podAffinityTerm"]));
        terms.any(|term| {
            term["namespaces"].as_array().is_some_and(|names| !names.is_empty())
                || term["namespaceSelector"].is_object()
        })
    })
}

/// Pods at the end of their life use nothing but their place in the store.
fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        return false;
    }
    let deleted = meta::deletion_timestamp(pod).and_then(time::parse);
    match (deleted, meta::deletion_grace_period_seconds(pod)) {
        (Some(deleted), Some(grace)) => now.as_second() <= deleted.as_second() + grace,
        _ => true,
    }
}

fn pod(object: &Value, used: &mut Amounts) {
    for (name, amount) in pods::in_use(object, "requests") {
        if COMPUTE.contains(&name.as_str()) || name.starts_with(HUGE) {
            used.insert(format!("{REQUESTS}{name}"), amount);
            used.insert(name, amount);
        } else if !is_native(&name) {
            used.insert(format!("{REQUESTS}{name}"), amount);
        }
    }
    for (name, amount) in pods::in_use(object, "limits") {
        if COMPUTE.contains(&name.as_str()) {
            used.insert(format!("{LIMITS}{name}"), amount);
        }
    }
}

fn service(spec: &Value, used: &mut Amounts) {
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = ports.len();
    let chosen = ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
    let (node_ports, balancers) = match spec["type"].as_str() {
        Some("NodePort") => (all, 0),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => (chosen, 1),
        Some("LoadBalancer") => (all, 1),
        _ => (0, 0),
    };
    let number = |count: usize| whole(i64::try_from(count).unwrap_or(i64::MAX));
    used.insert("services.nodeports".to_owned(), number(node_ports));
    used.insert("services.loadbalancers".to_owned(), whole(balancers));
}

fn claim(claim: &Value, used: &mut Amounts) {
    let spec = &claim["spec"];
    let annotated = meta::annotation(claim, "volume.beta.kubernetes.io/storage-class");
    let class = annotated.or(spec["storageClassName"].as_str()).filter(|class| !class.is_empty());
    let storage = |value: &Value| Quantity::from_value(&value["storage"]);
    let mut storage_used = storage(&spec["resources"]["requests"]);
    if let (Some(asked), Some(allocated)) =
        (storage_used, storage(&claim["status"]["allocatedResources"]))
    {
        storage_used = Some(asked.max(allocated));
    }
    if let Some(class) = class {
        used.insert(format!("{class}{OF_STORAGE_CLASS}persistentvolumeclaims"), whole(1));
    }
    let Some(amount) = storage_used else { return };
    // Part of a byte is a byte.
    let amount =
        if amount.is_integer() { amount } else { Quantity::new(amount.value(), amount.format()) };
    used.insert("requests.storage".to_owned(), amount);
    if let Some(class) = class {
        used.insert(format!("{class}{OF_STORAGE_CLASS}requests.storage"), amount);
    }
}

fn devices(devices: &Value, used: &mut Amounts) {
    for request in devices["requests"].as_array().into_iter().flatten() {
        let mut by_class = Amounts::new();
        let exactly = request.get("exactly").into_iter();
        let alternatives = request["firstAvailable"].as_array().into_iter().flatten();
        for wanted in exactly.chain(alternatives) {
            let Some(class) = some(&wanted["deviceClassName"]) else { continue };
            let count = match wanted["allocationMode"].as_str() {
                Some("All") => ALL_DEVICES,
                _ => wanted["count"].as_i64().unwrap_or(1),
            };
            // Of alternatives, one is taken: the dearest is charged.
            let slot = by_class.entry(format!("{class}{OF_DEVICE_CLASS}")).or_default();
            *slot = (*slot).max(whole(count));
        }
        for (name, amount) in by_class {
            *used.entry(name).or_default() += amount;
        }
    }
}
