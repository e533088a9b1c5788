//! The JSON shapes behind the projections: only the fields that are read.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use machinery::selector::LabelSelector;
use serde::Deserialize;

use super::resources::{DEFAULT_MEMORY, DEFAULT_MILLI_CPU};
use super::{HostPort, NodeAffinity, PodAffinity, Resources, ScheduledCondition, Spread, affinity};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Pod {
    metadata: meta::ObjectMeta,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: Option<String>,
    scheduler_name: Option<String>,
    priority: Option<i32>,
    preemption_policy: Option<String>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    resources: Option<Requirements>,
    overhead: Option<BTreeMap<String, Quantity>>,
    tolerations: Vec<api::Toleration>,
    node_selector: BTreeMap<String, String>,
    affinity: Option<api::Affinity>,
    topology_spread_constraints: Vec<api::TopologySpreadConstraint>,
    scheduling_gates: Vec<api::PodSchedulingGate>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    image: Option<String>,
    ports: Vec<api::ContainerPort>,
    resources: Requirements,
    restart_policy: Option<String>,
    restart_policy_rules: Vec<RestartRule>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RestartRule {
    action: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Requirements {
    requests: Option<BTreeMap<String, Quantity>>,
    limits: Option<BTreeMap<String, Quantity>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: Option<String>,
    nominated_node_name: Option<String>,
    conditions: Vec<Condition>,
    start_time: Option<meta::Time>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    allocated_resources: Option<BTreeMap<String, Quantity>>,
    resources: Option<Requirements>,
}

/// What a container was granted, and what it has.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    allocated_resources: Option<BTreeMap<String, Quantity>>,
    resources: Option<Requirements>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Node {
    metadata: meta::ObjectMeta,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeSpec {
    unschedulable: Option<bool>,
    taints: Vec<api::Taint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeStatus {
    allocatable: BTreeMap<String, Quantity>,
    images: Vec<Image>,
    #[serde(rename = "declaredFeatures")]
    declared_features: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Image {
    names: Vec<String>,
    size_bytes: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Selecting {
    metadata: meta::ObjectMeta,
    spec: SelectingSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SelectingSpec {
    selector: Option<Selector>,
}

/// Services and ReplicationControllers have a plain map, the others the object form.
#[derive(Deserialize)]
#[serde(untagged)]
enum Selector {
    Map(BTreeMap<String, String>),
    Object(meta::LabelSelector),
}

impl From<Pod> for super::Pod {
    fn from(pod: Pod) -> Self {
        let Pod { metadata, mut spec, status } = pod;
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let best_effort = spec.containers.iter().chain(&spec.init_containers).all(|c| {
            let none = |list: &Option<BTreeMap<_, _>>| list.as_ref().is_none_or(BTreeMap::is_empty);
            none(&c.resources.requests) && none(&c.resources.limits)
        }) && spec
            .resources
            .as_ref()
            .is_none_or(|r| r.requests.is_none() && r.limits.is_none());
        count_resize(&mut spec, &status);
        let (requests, nonzero_cpu, nonzero_memory) = requests(&spec);
        let restarts_all = spec.containers.iter().chain(&spec.init_containers).any(|c| {
            c.restart_policy_rules.iter().any(|rule| rule.action == "RestartAllContainers")
        });
        let sidecars = spec.init_containers.iter().filter(|c| c.is_sidecar());
        let host_ports = spec
            .containers
            .iter()
            .chain(sidecars)
            .flat_map(|c| &c.ports)
            .filter_map(|port| {
                let number = port.host_port.filter(|p| *p > 0)?;
                let ip = port.host_ip.clone().filter(|ip| !ip.is_empty());
                Some(HostPort {
                    ip: ip.unwrap_or_else(|| "0.0.0.0".to_owned()),
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                    port: number,
                })
            })
            .collect();
        let images = spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .filter_map(|c| c.image.as_deref())
            .map(normalized_image)
            .collect();
        let spread = std::mem::take(&mut spec.topology_spread_constraints)
            .into_iter()
            .map(|c| Spread::compile(c, metadata.labels.as_ref()))
            .collect();
        let pod_affinity = spec.affinity.as_mut().and_then(|a| PodAffinity::compile(a, &namespace));
        let node_affinity =
            spec.affinity.and_then(|a| a.node_affinity).map(|a| Box::new(NodeAffinity::compile(a)));
        let scheduled = status.conditions.into_iter().find(|c| c.type_ == "PodScheduled");
        super::Pod {
            metadata: slim(metadata),
            node_name: spec.node_name.filter(|n| !n.is_empty()),
            scheduler_name: spec.scheduler_name.unwrap_or_else(|| "default-scheduler".to_owned()),
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            requests,
            nonzero_cpu,
            nonzero_memory,
            best_effort,
            host_ports,
            tolerations: spec.tolerations,
            node_selector: spec.node_selector,
            node_affinity,
            pod_affinity,
            spread,
            images,
            features: restarts_all
                .then_some("RestartAllContainersOnContainerExits")
                .into_iter()
                .collect(),
            gated: !spec.scheduling_gates.is_empty(),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            nominated_node: status.nominated_node_name.filter(|n| !n.is_empty()),
            scheduled: scheduled.map(|c| ScheduledCondition {
                status: c.status,
                reason: c.reason.unwrap_or_default(),
                message: c.message.unwrap_or_default(),
                transition: c.last_transition_time,
            }),
            started: status.start_time.map(|t| t.0),
        }
    }
}

impl From<Node> for super::Node {
    fn from(node: Node) -> Self {
        let images = node.status.images.into_iter().flat_map(|image| {
            let size = image.size_bytes;
            image.names.into_iter().map(move |name| (name, size))
        });
        super::Node {
            metadata: slim(node.metadata),
            unschedulable: node.spec.unschedulable.unwrap_or(false),
            taints: node.spec.taints,
            allocatable: Resources::from_list(&node.status.allocatable),
            images: images.collect(),
            features: node.status.declared_features,
        }
    }
}

impl<K> From<Selecting> for super::Selecting<K> {
    fn from(object: Selecting) -> Self {
        let selector = match object.spec.selector {
            None => LabelSelector::nothing(),
            Some(Selector::Map(map)) if map.is_empty() => LabelSelector::nothing(),
            Some(Selector::Map(map)) => {
                LabelSelector::from_set(map.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            }
            Some(Selector::Object(object)) => affinity::selector(Some(&object)),
        };
        super::Selecting { metadata: slim(object.metadata), selector, kind: PhantomData }
    }
}

impl Container {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

fn slim(mut metadata: meta::ObjectMeta) -> meta::ObjectMeta {
    metadata.annotations = None;
    metadata.managed_fields = None;
    metadata
}

/// Has what was granted and what is there count while it is more than what is asked for, as long as
/// a resize is not done; what a node can never grant does not count. KEP-1287.
fn count_resize(spec: &mut PodSpec, status: &PodStatus) {
    let infeasible = status.conditions.iter().any(|c| {
        c.type_ == "PodResizePending"
            && c.status == "True"
            && c.reason.as_deref() == Some("Infeasible")
    });
    type Granted = Option<BTreeMap<String, Quantity>>;
    let count = |own: &mut Requirements, has: &Option<Requirements>, granted: &Granted| {
        let Some(resources) = has else { return };
        if infeasible {
            own.requests = None;
        }
        let lists = [&resources.requests, granted];
        for (name, amount) in lists.into_iter().flatten().flatten() {
            let list = own.requests.get_or_insert_default();
            let value = |text: &Quantity| machinery::quantity::Quantity::parse(&text.0).ok();
            if list.get(name).is_none_or(|here| value(here) < value(amount)) {
                list.insert(name.clone(), amount.clone());
            }
        }
    };
    let lists = [
        (&mut spec.containers, &status.container_statuses),
        (&mut spec.init_containers, &status.init_container_statuses),
    ];
    for (containers, statuses) in lists {
        for container in containers {
            if let Some(seen) = statuses.iter().find(|seen| seen.name == container.name) {
                count(&mut container.resources, &seen.resources, &seen.allocated_resources);
            }
        }
    }
    if let Some(own) = &mut spec.resources {
        count(own, &status.resources, &status.allocated_resources);
    }
}

/// What the Pod needs at its peak: the containers and sidecars together, or an init container beside
/// the sidecars started before it, whichever is more; plus overhead. Requests at Pod level replace
/// those of the containers. The second and third value are CPU and memory with the assumed minimum.
fn requests(spec: &PodSpec) -> (Resources, i64, i64) {
    let with_minimum = |container: &Container| {
        let mut own =
            container.resources.requests.as_ref().map(Resources::from_list).unwrap_or_default();
        let named =
            |name| container.resources.requests.as_ref().is_some_and(|r| r.contains_key(name));
        let plain = own.clone();
        if !named("cpu") {
            own.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !named("memory") {
            own.memory = DEFAULT_MEMORY;
        }
        (plain, own)
    };
    let mut sums = (Resources::default(), Resources::default());
    for container in &spec.containers {
        let own = with_minimum(container);
        sums.0.add(&own.0);
        sums.1.add(&own.1);
    }
    let mut sidecars = (Resources::default(), Resources::default());
    let mut peaks = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let mut own = with_minimum(container);
        if container.is_sidecar() {
            sums.0.add(&own.0);
            sums.1.add(&own.1);
            sidecars.0.add(&own.0);
            sidecars.1.add(&own.1);
            own = sidecars.clone();
        } else {
            own.0.add(&sidecars.0);
            own.1.add(&sidecars.1);
        }
        peaks.0.raise(&own.0);
        peaks.1.raise(&own.1);
    }
    sums.0.raise(&peaks.0);
    sums.1.raise(&peaks.1);
    if let Some(list) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Resources::from_list(list);
        for sum in [&mut sums.0, &mut sums.1] {
            if list.contains_key("cpu") {
                sum.milli_cpu = whole.milli_cpu;
            }
            if list.contains_key("memory") {
                sum.memory = whole.memory;
            }
        }
    }
    if let Some(overhead) = &spec.overhead {
        let overhead = Resources::from_list(overhead);
        sums.0.add(&overhead);
        sums.1.add(&overhead);
    }
    (sums.0, sums.1.milli_cpu, sums.1.memory)
}

/// Image names without a tag mean `:latest`, which is how nodes report them.
fn normalized_image(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}
