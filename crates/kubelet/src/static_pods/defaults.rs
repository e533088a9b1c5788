//! Defaults of static Pods, which no API server has filled in.

use k8s_openapi::api::core::v1::{Container, Pod, Probe, Toleration};

/// Priority of `system-node-critical`.
const NODE_CRITICAL: i32 = 2_000_001_000;
/// Priority of `system-cluster-critical`.
const CLUSTER_CRITICAL: i32 = 2_000_000_000;

fn or<T: Clone>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

/// Fills in what the API server would have.
pub fn apply(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    or(&mut spec.restart_policy, "Always".into());
    or(&mut spec.dns_policy, "ClusterFirst".into());
    or(&mut spec.termination_grace_period_seconds, 30);
    or(&mut spec.scheduler_name, "default-scheduler".into());
    or(&mut spec.enable_service_links, true);
    spec.security_context.get_or_insert_default();
    let priority = match spec.priority_class_name.as_deref() {
        Some("system-node-critical") => NODE_CRITICAL,
        Some("system-cluster-critical") => CLUSTER_CRITICAL,
        _ => 0,
    };
    or(&mut spec.priority, priority);
    or(&mut spec.preemption_policy, "PreemptLowerPriority".into());
    // A static Pod stays on its node whatever the taints.
    let stays = Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Default::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&stays) {
        tolerations.push(stays);
    }
    let host_network = spec.host_network == Some(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        apply_to_container(container, host_network);
    }
}

fn apply_to_container(container: &mut Container, host_network: bool) {
    or(&mut container.termination_message_path, "/dev/termination-log".into());
    or(&mut container.termination_message_policy, "File".into());
    let image = container.image.clone().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    or(&mut container.image_pull_policy, if latest { "Always" } else { "IfNotPresent" }.into());
    container.resources.get_or_insert_default();
    if let Some(resources) = &mut container.resources
        && let Some(limits) = resources.limits.clone()
    {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
    for port in container.ports.iter_mut().flatten() {
        or(&mut port.protocol, "TCP".into());
        if host_network {
            or(&mut port.host_port, port.container_port);
        }
    }
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    for probe in probes.into_iter().flatten() {
        apply_to_probe(probe);
    }
}

fn apply_to_probe(probe: &mut Probe) {
    or(&mut probe.timeout_seconds, 1);
    or(&mut probe.period_seconds, 10);
    or(&mut probe.success_threshold, 1);
    or(&mut probe.failure_threshold, 3);
    if let Some(http) = &mut probe.http_get {
        or(&mut http.path, "/".into());
        or(&mut http.scheme, "HTTP".into());
    }
}
