//! `/stats/summary`: what node, Pods and containers use.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use http::Response;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Server;
use super::response::{Body, json_response};
use crate::cgroup::usage::Usage;
use crate::cri::proto;
use crate::seam::pod_uid;

/// Shortest time over which a rate is computed.
const MIN_RATE_MILLIS: i128 = 1000;

/// A reading of one container.
#[derive(Clone, Debug, Default)]
pub(super) struct ContainerReading {
    pub(super) name: String,
    pub(super) started_at: Option<Timestamp>,
    pub(super) usage: Usage,
    pub(super) root_fs_bytes: Option<u64>,
    pub(super) root_fs_inodes: Option<u64>,
}

/// A reading of one Pod.
#[derive(Clone, Debug, Default)]
pub(super) struct PodReading {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) started_at: Option<Timestamp>,
    pub(super) usage: Usage,
    pub(super) containers: Vec<ContainerReading>,
}

/// A reading of everything.
#[derive(Clone, Debug)]
pub(super) struct Readings {
    pub(super) time: Timestamp,
    pub(super) boot: Option<Timestamp>,
    pub(super) node: Usage,
    pub(super) pods_total: Usage,
    pub(super) memory_capacity: Option<u64>,
    pub(super) pods: Vec<PodReading>,
}

/// CPU counters of the last reading, from which rates are computed.
#[derive(Default)]
pub(super) struct Rates {
    last: Mutex<HashMap<String, Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    time: Timestamp,
    cpu_nanos: u64,
    rate: Option<u64>,
}

impl Rates {
    /// Nano-cores used since the last reading of `key`.
    fn rate(&self, key: &str, time: Timestamp, cpu_nanos: Option<u64>) -> Option<u64> {
        let cpu_nanos = cpu_nanos?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = last.get(key).copied() else {
            last.insert(key.to_owned(), Sample { time, cpu_nanos, rate: None });
            return None;
        };
        let millis = time.duration_since(before.time).as_millis();
        if millis < MIN_RATE_MILLIS {
            return before.rate;
        }
        let used = cpu_nanos.checked_sub(before.cpu_nanos);
        let rate = used.and_then(|used| u64::try_from(i128::from(used) * 1000 / millis).ok());
        last.insert(key.to_owned(), Sample { time, cpu_nanos, rate });
        rate
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|key, _| keep(key));
    }
}

impl Server {
    /// Reads the counters of node, Pods and containers.
    pub(super) async fn readings(&self) -> Readings {
        let time = Timestamp::now();
        let stats = match self.access.runtime().list_container_stats().await {
            Ok(stats) => stats,
            Err(error) => {
                tracing::warn!(%error, "container statistics are not available");
                Vec::new()
            }
        };
        let by_id: HashMap<&str, &proto::ContainerStats> = stats
            .iter()
            .filter_map(|one| Some((one.attributes.as_ref()?.id.as_str(), one)))
            .collect();
        let cgroups = self.options.cgroups.as_ref();
        let mut pods = Vec::new();
        for pod in self.access.pods() {
            let uid = pod_uid(&pod);
            if self.access.sandbox_id(&uid).is_none() {
                continue;
            }
            let containers = super::logs::container_names(&pod)
                .filter_map(|name| {
                    let instance = self.access.container(&uid, name, false)?;
                    let stats = by_id.get(instance.id.as_str())?;
                    let mut reading = container_reading(name, stats);
                    reading.started_at = instance.started_at;
                    Some(reading)
                })
                .collect();
            pods.push(PodReading {
                namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                name: pod.metadata.name.clone().unwrap_or_default(),
                uid: uid.to_string(),
                started_at: started(&pod),
                usage: cgroups.map(|groups| groups.pod_usage(&pod)).unwrap_or_default(),
                containers,
            });
        }
        let (memory_capacity, memory_node) = memory();
        let mut node = cgroups.map(|groups| groups.root_usage()).unwrap_or_default();
        node.working_set = node.working_set.or(memory_node);
        Readings {
            time,
            boot: boot_time(),
            node,
            pods_total: cgroups.map(|groups| groups.pods_usage()).unwrap_or_default(),
            memory_capacity,
            pods,
        }
    }

    pub(super) async fn summary(&self) -> Response<Body> {
        let readings = self.readings().await;
        let keep: BTreeMap<&str, ()> =
            readings.pods.iter().map(|pod| (pod.uid.as_str(), ())).collect();
        self.rates.retain(|key| {
            key.starts_with('/') || keep.contains_key(key.split('/').next().unwrap_or_default())
        });
        json_response(&summary(&self.options.node_name, &readings, &self.rates))
    }
}

fn started(pod: &Pod) -> Option<Timestamp> {
    Some(pod.status.as_ref()?.start_time.as_ref()?.0)
}

fn container_reading(name: &str, stats: &proto::ContainerStats) -> ContainerReading {
    let value = |wrapped: &Option<proto::UInt64Value>| wrapped.as_ref().map(|value| value.value);
    let memory = stats.memory.as_ref();
    let layer = stats.writable_layer.as_ref();
    ContainerReading {
        name: name.to_owned(),
        started_at: None,
        usage: Usage {
            cpu_nanos: stats.cpu.as_ref().and_then(|cpu| value(&cpu.usage_core_nano_seconds)),
            memory: memory.and_then(|memory| value(&memory.usage_bytes)),
            working_set: memory.and_then(|memory| value(&memory.working_set_bytes)),
            rss: memory.and_then(|memory| value(&memory.rss_bytes)),
            page_faults: memory.and_then(|memory| value(&memory.page_faults)),
            major_page_faults: memory.and_then(|memory| value(&memory.major_page_faults)),
            pids: None,
        },
        root_fs_bytes: layer.and_then(|layer| value(&layer.used_bytes)),
        root_fs_inodes: layer.and_then(|layer| value(&layer.inodes_used)),
    }
}

/// Memory of the machine, and how much of it is in use.
fn memory() -> (Option<u64>, Option<u64>) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let entry = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let number: u64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(number * 1024)
    };
    let total = entry("MemTotal");
    (total, total.zip(entry("MemAvailable")).map(|(total, free)| total.saturating_sub(free)))
}

fn boot_time() -> Option<Timestamp> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn cpu(key: &str, time: Timestamp, usage: &Usage, rates: &Rates) -> Value {
    let mut out = json!({ "time": rfc3339(time) });
    if let Some(rate) = rates.rate(key, time, usage.cpu_nanos) {
        out["usageNanoCores"] = rate.into();
    }
    if let Some(total) = usage.cpu_nanos {
        out["usageCoreNanoSeconds"] = total.into();
    }
    out
}

fn memory_json(time: Timestamp, usage: &Usage, capacity: Option<u64>) -> Value {
    let mut out = json!({ "time": rfc3339(time) });
    let available = capacity.zip(usage.working_set).map(|(all, used)| all.saturating_sub(used));
    let all = [
        ("availableBytes", available),
        ("usageBytes", usage.memory),
        ("workingSetBytes", usage.working_set),
        ("rssBytes", usage.rss),
        ("pageFaults", usage.page_faults),
        ("majorPageFaults", usage.major_page_faults),
    ];
    for (name, value) in all {
        if let Some(value) = value {
            out[name] = value.into();
        }
    }
    out
}

fn file_system(time: Timestamp, path: &str) -> Value {
    let mut out = json!({ "time": rfc3339(time) });
    if let Ok(stat) = nix::sys::statvfs::statvfs(path) {
        let unit = stat.fragment_size();
        out["availableBytes"] = (stat.blocks_available() * unit).into();
        out["capacityBytes"] = (stat.blocks() * unit).into();
        out["usedBytes"] = (stat.blocks().saturating_sub(stat.blocks_free()) * unit).into();
        out["inodesFree"] = stat.files_free().into();
        out["inodes"] = stat.files().into();
        out["inodesUsed"] = stat.files().saturating_sub(stat.files_free()).into();
    }
    out
}

pub(super) fn summary(node_name: &str, readings: &Readings, rates: &Rates) -> Value {
    let time = readings.time;
    let mut pods = Vec::new();
    for pod in &readings.pods {
        let key = pod.uid.as_str();
        let containers: Vec<Value> = pod
            .containers
            .iter()
            .map(|container| {
                let own = format!("{key}/{}", container.name);
                let mut root_fs = json!({ "time": rfc3339(time) });
                if let Some(bytes) = container.root_fs_bytes {
                    root_fs["usedBytes"] = bytes.into();
                }
                if let Some(inodes) = container.root_fs_inodes {
                    root_fs["inodesUsed"] = inodes.into();
                }
                json!({
                    "name": container.name,
                    "startTime": container.started_at.map(rfc3339),
                    "cpu": cpu(&own, time, &container.usage, rates),
                    "memory": memory_json(time, &container.usage, None),
                    "rootfs": root_fs,
                })
            })
            .collect();
        let mut out = json!({
            "podRef": { "name": pod.name, "namespace": pod.namespace, "uid": pod.uid },
            "startTime": pod.started_at.map(rfc3339),
            "containers": containers,
            "cpu": cpu(key, time, &pod.usage, rates),
            "memory": memory_json(time, &pod.usage, None),
        });
        if let Some(count) = pod.usage.pids {
            out["process_stats"] = json!({ "process_count": count });
        }
        pods.push(out);
    }
    json!({
        "node": {
            "nodeName": node_name,
            "systemContainers": [{
                "name": "pods",
                "startTime": readings.boot.map(rfc3339),
                "cpu": cpu("/pods", time, &readings.pods_total, rates),
                "memory": memory_json(time, &readings.pods_total, readings.memory_capacity),
            }],
            "startTime": readings.boot.map(rfc3339),
            "cpu": cpu("/", time, &readings.node, rates),
            "memory": memory_json(time, &readings.node, readings.memory_capacity),
            "fs": file_system(time, "/var/lib/kubelet"),
            "runtime": { "imageFs": file_system(time, "/var/lib/containerd") },
        },
        "pods": pods,
    })
}
