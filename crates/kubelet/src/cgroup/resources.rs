//! From requests and limits to what the kernel is told; pure.
//!
//! <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::cri::proto;

/// CFS period in microseconds.
const PERIOD: i64 = 100_000;
/// Smallest quota that the kernel takes, in microseconds.
const MIN_QUOTA: i64 = 1000;
/// CPU limit that the smallest quota stands for, in thousandths of a core.
pub const MIN_MILLI_LIMIT: i64 = MIN_QUOTA * 1000 / PERIOD;
/// CPU shares of a container that asked for nothing.
pub const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// `oom_score_adj` of Pods that are killed last, and first.
const GUARANTEED_OOM: i64 = -997;
const BEST_EFFORT_OOM: i64 = 1000;
/// Priority from which on a Pod is critical to the node or the cluster.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// Quality of service class of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Every container has equal requests and limits for CPU and memory.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

/// What the functions here need to know of the node.
#[derive(Clone, Copy, Debug)]
pub struct NodeMemory {
    /// Memory of the machine in bytes.
    pub capacity: i64,
    /// Whether control groups are of version 2.
    pub unified_cgroups: bool,
}

/// Limits of a control group; absent ones are left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// CPU shares of v1.
    pub cpu_shares: Option<i64>,
    /// CPU time per period in microseconds; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// Period of the quota in microseconds.
    pub cpu_period: i64,
    /// Memory in bytes.
    pub memory: Option<i64>,
    /// Processes and threads.
    pub pids: Option<i64>,
}

/// CPU and memory of one container; 0 for what it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// CPU request in thousandths of a core; the limit where there is none.
    pub cpu_request: i64,
    /// CPU limit in thousandths of a core.
    pub cpu_limit: i64,
    /// Memory request in bytes.
    pub memory_request: i64,
    /// Memory limit in bytes.
    pub memory_limit: i64,
}

/// CPU and memory of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU in thousandths of a core.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory: i64,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self { cpu_shares: None, cpu_quota: None, cpu_period: PERIOD, memory: None, pids: None }
    }
}

impl Qos {
    /// Name as in `status.qosClass`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Thousandths of a quantity, rounded up; 0 for what is no quantity.
pub fn milli_value(quantity: &Quantity) -> i64 {
    quantity.0.parse::<machinery::quantity::Quantity>().map_or(0, |quantity| quantity.milli_value())
}

/// A quantity rounded up to a whole number; 0 for what is no quantity.
pub fn value(quantity: &Quantity) -> i64 {
    quantity.0.parse::<machinery::quantity::Quantity>().map_or(0, |quantity| quantity.value())
}

/// CPU shares for a request in thousandths of a core.
pub fn shares(millis: i64) -> i64 {
    if millis <= 0 {
        return MIN_SHARES;
    }
    (millis * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The request in thousandths of a core that CPU shares stand for.
pub fn millis_of_shares(shares: i64) -> i64 {
    (shares * 1000 + 1023) / 1024
}

/// The limit in thousandths of a core that a CFS quota stands for.
pub fn millis_of_quota(quota: i64, period: i64) -> i64 {
    quota * 1000 / period.max(1)
}

/// CFS quota in microseconds for a limit in thousandths of a core; `None` without limit.
pub fn quota(millis: i64) -> Option<i64> {
    (millis > 0).then(|| (millis * PERIOD / 1000).max(MIN_QUOTA))
}

type Resources = Option<ResourceRequirements>;

// === impl Sizes ===

impl Sizes {
    /// Those of a container with `own` resources, in a Pod with those of `whole`, whose limits hold
    /// for a container that has none of its own.
    pub fn of(own: Option<&ResourceRequirements>, whole: Option<&ResourceRequirements>) -> Self {
        let limit = |name: &str| {
            let limit =
                |all: Option<&ResourceRequirements>| entry(all?.limits.as_ref(), name).cloned();
            limit(own).or_else(|| limit(whole))
        };
        let request = |name: &str| entry(own?.requests.as_ref(), name);
        let cpu_limit = limit("cpu").as_ref().map_or(0, milli_value);
        Self {
            cpu_request: request("cpu").map_or(cpu_limit, milli_value),
            cpu_limit,
            memory_request: request("memory").map_or(0, value),
            memory_limit: limit("memory").as_ref().map_or(0, value),
        }
    }

    /// Limit and request of CPU.
    pub fn cpu(&self) -> (i64, i64) {
        (self.cpu_limit, self.cpu_request)
    }

    /// Limit and request of memory.
    pub fn memory(&self) -> (i64, i64) {
        (self.memory_limit, self.memory_request)
    }
}

fn entry<'a>(map: Option<&'a BTreeMap<String, Quantity>>, name: &str) -> Option<&'a Quantity> {
    map?.get(name).filter(|quantity| milli_value(quantity) > 0)
}

fn request<'a>(resources: &'a Resources, name: &str) -> Option<&'a Quantity> {
    entry(resources.as_ref()?.requests.as_ref(), name)
}

fn limit<'a>(resources: &'a Resources, name: &str) -> Option<&'a Quantity> {
    entry(resources.as_ref()?.limits.as_ref(), name)
}

/// Whether a node must not be without the Pod.
pub fn is_critical(pod: &Pod) -> bool {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY) || is_static(pod)
}

/// Quality of service class of a Pod. The one in its status is kept once it is there, because it
/// never changes.
pub fn qos(pod: &Pod) -> Qos {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => return Qos::Guaranteed,
        Some("Burstable") => return Qos::Burstable,
        Some("BestEffort") => return Qos::BestEffort,
        _ => {}
    }
    let Some(spec) = &pod.spec else { return Qos::BestEffort };
    let all: Vec<&Resources> = if spec.resources.as_ref().is_some_and(|r| {
        r.requests.as_ref().is_some_and(|map| !map.is_empty())
            || r.limits.as_ref().is_some_and(|map| !map.is_empty())
    }) {
        vec![&spec.resources]
    } else {
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        containers.map(|container| &container.resources).collect()
    };
    const COMPUTE: [&str; 2] = ["cpu", "memory"];
    let named = |resources: &&Resources| {
        COMPUTE
            .iter()
            .any(|name| request(resources, name).is_some() || limit(resources, name).is_some())
    };
    if !all.iter().any(named) {
        return Qos::BestEffort;
    }
    let guaranteed = all.iter().all(|resources| {
        COMPUTE.iter().all(|name| match (request(resources, name), limit(resources, name)) {
            // The API server sets a missing request to the limit; static Pods lack that.
            (None, Some(_)) => true,
            (Some(request), Some(limit)) => milli_value(request) == milli_value(limit),
            _ => false,
        })
    });
    if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Sum over the containers that run together, at least what each init container needs with the
/// sidecars started before it.
fn aggregate(pod: &Pod, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let add = |a: Amounts, b: Amounts| Amounts {
        cpu_millis: a.cpu_millis + b.cpu_millis,
        memory: a.memory + b.memory,
    };
    let max = |a: Amounts, b: Amounts| Amounts {
        cpu_millis: a.cpu_millis.max(b.cpu_millis),
        memory: a.memory.max(b.memory),
    };
    let mut running = spec.containers.iter().map(&of).fold(Amounts::default(), add);
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            sidecars = add(sidecars, of(container));
            running = add(running, of(container));
            peak = max(peak, sidecars);
        } else {
            peak = max(peak, add(of(container), sidecars));
        }
    }
    let overhead = spec.overhead.as_ref();
    let overhead = Amounts {
        cpu_millis: entry(overhead, "cpu").map_or(0, milli_value),
        memory: entry(overhead, "memory").map_or(0, value),
    };
    add(max(running, peak), overhead)
}

/// What a Pod requests.
pub fn pod_requests(pod: &Pod) -> Amounts {
    let own = pod.spec.as_ref().map(|spec| &spec.resources);
    let mut amounts = aggregate(pod, |container| {
        let of = |name| {
            request(&container.resources, name).or_else(|| limit(&container.resources, name))
        };
        Amounts {
            cpu_millis: of("cpu").map_or(0, milli_value),
            memory: of("memory").map_or(0, value),
        }
    });
    if let Some(own) = own {
        if let Some(cpu) = request(own, "cpu") {
            amounts.cpu_millis = milli_value(cpu);
        }
        if let Some(memory) = request(own, "memory") {
            amounts.memory = value(memory);
        }
    }
    amounts
}

/// Limits of a Pod's control group.
pub fn pod_limits(pod: &Pod) -> GroupLimits {
    let class = qos(pod);
    let mut limits = GroupLimits {
        cpu_shares: Some(match class {
            Qos::BestEffort => MIN_SHARES,
            _ => shares(pod_requests(pod).cpu_millis),
        }),
        ..GroupLimits::default()
    };
    let Some(spec) = &pod.spec else { return limits };
    if class == Qos::BestEffort {
        return limits;
    }
    // A limit for the Pod exists only where every container has one.
    let everywhere = |name: &str| {
        limit(&spec.resources, name).is_some()
            || spec
                .containers
                .iter()
                .chain(spec.init_containers.iter().flatten())
                .all(|container| limit(&container.resources, name).is_some())
    };
    let sum = aggregate(pod, |container| Amounts {
        cpu_millis: limit(&container.resources, "cpu").map_or(0, milli_value),
        memory: limit(&container.resources, "memory").map_or(0, value),
    });
    if everywhere("cpu") {
        let millis = limit(&spec.resources, "cpu").map_or(sum.cpu_millis, milli_value);
        limits.cpu_quota = quota(millis);
    }
    if everywhere("memory") {
        limits.memory = Some(limit(&spec.resources, "memory").map_or(sum.memory, value));
    }
    limits
}

/// What the runtime is told for one container.
pub fn container(
    pod: &Pod,
    container: &Container,
    node: &NodeMemory,
) -> proto::LinuxContainerResources {
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    sized(pod, container, &Sizes::of(container.resources.as_ref(), whole), node)
}

/// What the runtime is told for one container of these sizes.
pub fn sized(
    pod: &Pod,
    container: &Container,
    sizes: &Sizes,
    node: &NodeMemory,
) -> proto::LinuxContainerResources {
    let mut unified = HashMap::new();
    if node.unified_cgroups {
        // One process killed for memory takes its container along, so that it restarts as a whole.
        unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    let page_sizes = container.resources.iter().flat_map(|r| r.limits.iter().flatten());
    let hugepage_limits = page_sizes
        .filter_map(|(name, quantity)| {
            let size = name.strip_prefix("hugepages-")?;
            Some(proto::HugepageLimit {
                page_size: format!("{}B", size.trim_end_matches('i')),
                limit: u64::try_from(value(quantity)).unwrap_or(0),
            })
        })
        .collect();
    proto::LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: quota(sizes.cpu_limit).unwrap_or(0),
        cpu_shares: shares(sizes.cpu_request),
        memory_limit_in_bytes: sizes.memory_limit,
        oom_score_adj: oom_score_adj(pod, container, node),
        hugepage_limits,
        unified,
        ..proto::LinuxContainerResources::default()
    }
}

/// `oom_score_adj` of a container: the less of its memory a burstable container requested, the
/// sooner it goes.
pub fn oom_score_adj(pod: &Pod, container: &Container, node: &NodeMemory) -> i64 {
    let spec = pod.spec.as_ref();
    match qos(pod) {
        _ if is_critical(pod) => return GUARANTEED_OOM,
        Qos::Guaranteed => return GUARANTEED_OOM,
        Qos::BestEffort => return BEST_EFFORT_OOM,
        Qos::Burstable => {}
    }
    let requested =
        |container: &Container| request(&container.resources, "memory").map_or(0, value);
    let score = |memory: i64| 1000 - (1000 * memory) / node.capacity.max(1);
    let mut adjust = score(requested(container));
    let sidecar = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .any(|init| init.name == container.name && is_sidecar(init));
    if sidecar {
        // A sidecar must not go before the containers that it serves.
        let least = spec.into_iter().flat_map(|spec| &spec.containers).map(requested).min();
        adjust = adjust.min(score(least.unwrap_or(0)));
    }
    if adjust < 1000 + GUARANTEED_OOM {
        return 1000 + GUARANTEED_OOM;
    }
    adjust.min(BEST_EFFORT_OOM - 1)
}

fn is_static(pod: &Pod) -> bool {
    let source = pod.metadata.annotations.as_ref();
    let source = source.and_then(|all| all.get("kubernetes.io/config.source"));
    source.is_some_and(|source| source != "api")
}
