use machinery::time;

use super::*;

const NOW: &str = "2024-01-01T01:00:00Z";

fn row(group: &str, version: &str, kind: &str, yaml: &str) -> Vec<String> {
    let object: Value = serde_yaml::from_str(yaml).unwrap();
    let registration = crate::find_kind(group, version, kind).unwrap();
    let cells = registration.cells(&object, time::parse(NOW).unwrap());
    assert_eq!(cells.len(), registration.columns.definitions.len(), "{kind}");
    cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect()
}

fn check_pod(yaml: &str, ready: &str, status: &str, restarts: &str) {
    let cells = row("", "v1", "Pod", yaml);
    assert_eq!(cells[1..4], [ready, status, restarts], "{yaml}");
}

#[test]
fn every_row_has_a_cell_per_column() {
    let now = time::parse(NOW).unwrap();
    for registration in crate::all() {
        let object = json!({"metadata": {"name": "x", "creationTimestamp": NOW}});
        let cells = registration.cells(&object, now);
        assert_eq!(cells.len(), registration.columns.definitions.len(), "{registration:?}");
    }
}

#[test]
fn pod_status() {
    check_pod("{status: {phase: Pending}, spec: {containers: [{name: a}]}}", "0/1", "Pending", "0");
    check_pod(
        "{status: {phase: Running, reason: Evicted}, spec: {containers: [{name: a}]}}",
        "0/1",
        "Evicted",
        "0",
    );
    check_pod(
        "
spec: {containers: [{name: a}, {name: b}]}
status:
  phase: Running
  conditions: [{type: Ready, status: 'True'}]
  containerStatuses:
  - {name: a, ready: true, restartCount: 2, state: {running: {}},
     lastState: {terminated: {finishedAt: '2024-01-01T00:55:00Z'}}}
  - {name: b, restartCount: 1, state: {waiting: {reason: CrashLoopBackOff}},
     lastState: {terminated: {finishedAt: '2024-01-01T00:50:00Z'}}}
",
        "1/2",
        "CrashLoopBackOff",
        "3 (5m ago)",
    );
    check_pod(
        "
spec: {containers: [{name: a}, {name: b}]}
status:
  phase: Running
  containerStatuses:
  - {name: a, ready: false, restartCount: 0, state: {terminated: {reason: Completed}}}
  - {name: b, ready: true, restartCount: 0, state: {running: {}}}
",
        "1/2",
        "NotReady",
        "0",
    );
    check_pod(
        "
spec: {containers: [{name: a}]}
status:
  phase: Failed
  containerStatuses: [{name: a, restartCount: 0, state: {terminated: {exitCode: 3}}}]
",
        "0/1",
        "ExitCode:3",
        "0",
    );
}

#[test]
fn pod_initializing() {
    let spec = "spec: {containers: [{name: a}], initContainers: [{name: i}, {name: s, restartPolicy: Always}]}";
    let check = |status: &str, ready: &str, text: &str, restarts: &str| {
        check_pod(&format!("{spec}\nstatus: {{phase: Pending, {status}}}"), ready, text, restarts);
    };
    check(
        "initContainerStatuses: [{name: i, restartCount: 1, state: {running: {}}}]",
        "0/2",
        "Init:0/2",
        "1",
    );
    check(
        "initContainerStatuses: [{name: i, restartCount: 0, state: {terminated: {exitCode: 2, reason: Error}}}]",
        "0/2",
        "Init:Error",
        "0",
    );
    check(
        "initContainerStatuses: [{name: i, restartCount: 0, state: {waiting: {reason: ImagePullBackOff}}}]",
        "0/2",
        "Init:ImagePullBackOff",
        "0",
    );
    check(
        "initContainerStatuses: [{name: i, restartCount: 4, state: {terminated: {exitCode: 0}}}, {name: s, restartCount: 1, started: true, ready: true, state: {running: {}}}], containerStatuses: [{name: a, restartCount: 0, state: {waiting: {reason: PodInitializing}}}]",
        "1/2",
        "PodInitializing",
        "1",
    );
}

#[test]
fn pod_deletion() {
    let pod =
        "metadata: {deletionTimestamp: '2024-01-01T00:00:00Z'}\nspec: {containers: [{name: a}]}\n";
    check_pod(&format!("{pod}status: {{phase: Running}}"), "0/1", "Terminating", "0");
    check_pod(&format!("{pod}status: {{phase: Running, reason: NodeLost}}"), "0/1", "Unknown", "0");
    check_pod(&format!("{pod}status: {{phase: Succeeded}}"), "0/1", "Succeeded", "0");
}

#[test]
fn wide_pod() {
    let cells = row(
        "",
        "v1",
        "Pod",
        "
metadata: {name: p, creationTimestamp: '2024-01-01T00:58:30Z'}
spec: {nodeName: w1, containers: [{name: a}], readinessGates: [{conditionType: x/y}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}], conditions: [{type: x/y, status: 'True'}]}
",
    );
    assert_eq!(cells, ["p", "0/1", "Running", "0", "90s", "10.0.0.1", "w1", "<none>", "1/1"]);
}

#[test]
fn nodes() {
    let cells = row(
        "",
        "v1",
        "Node",
        "
metadata:
  name: m1
  creationTimestamp: '2024-01-01T00:00:00Z'
  labels: {node-role.kubernetes.io/control-plane: '', kubernetes.io/role: big}
spec: {unschedulable: true}
status:
  conditions: [{type: Ready, status: 'True'}]
  nodeInfo: {kubeletVersion: v1.36.0, osImage: Debian, kernelVersion: '6', containerRuntimeVersion: containerd://1}
  addresses: [{type: InternalIP, address: 10.0.0.2}]
",
    );
    let expected = [
        "m1",
        "Ready,SchedulingDisabled",
        "big,control-plane",
        "60m",
        "v1.36.0",
        "10.0.0.2",
        "<none>",
        "Debian",
        "6",
        "containerd://1",
    ];
    assert_eq!(cells, expected);
}

#[test]
fn services() {
    let check = |spec: &str, expected: [&str; 5]| {
        let cells = row("", "v1", "Service", &format!("metadata: {{name: s}}\nspec: {spec}"));
        assert_eq!([&cells[1], &cells[2], &cells[3], &cells[4], &cells[6]], expected);
    };
    check(
        "{type: ClusterIP, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{port: 80, protocol: TCP}], selector: {b: c, a: b}}",
        ["ClusterIP", "10.96.0.1", "<none>", "80/TCP", "a=b,b=c"],
    );
    check(
        "{type: NodePort, clusterIP: None, ports: [{port: 80, nodePort: 30080, protocol: TCP}, {port: 53, protocol: UDP}]}",
        ["NodePort", "None", "<none>", "80:30080/TCP,53/UDP", "<none>"],
    );
    check(
        "{type: LoadBalancer, clusterIP: 1.2.3.4}",
        ["LoadBalancer", "1.2.3.4", "<pending>", "<none>", "<none>"],
    );
    check(
        "{type: ExternalName, externalName: a.b}",
        ["ExternalName", "<none>", "a.b", "<none>", "<none>"],
    );
}

#[test]
fn workloads() {
    let template = "template: {spec: {containers: [{name: a, image: x:1}, {name: b, image: y}]}}";
    let cells = row(
        "apps",
        "v1",
        "Deployment",
        &format!(
            "{{metadata: {{name: d}}, spec: {{replicas: 3, selector: {{matchLabels: {{app: d}}}}, {template}}}, status: {{readyReplicas: 2, updatedReplicas: 3, availableReplicas: 1}}}}"
        ),
    );
    assert_eq!(cells, ["d", "2/3", "3", "1", "<unknown>", "a,b", "x:1,y", "app=d"]);
    let cells = row(
        "batch",
        "v1",
        "Job",
        &format!(
            "{{metadata: {{name: j}}, spec: {{completions: 5, {template}}}, status: {{succeeded: 1, startTime: '2024-01-01T00:59:00Z'}}}}"
        ),
    );
    assert_eq!(cells[..4], ["j", "Running", "1/5", "60s"]);
    let cells = row(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "
metadata: {name: h}
spec:
  scaleTargetRef: {kind: Deployment, name: d}
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
",
    );
    assert_eq!(cells[1..4], ["Deployment/d", "cpu: <unknown>/80%", "<unset>"]);
}

#[test]
fn events() {
    let cells = row(
        "",
        "v1",
        "Event",
        "
metadata: {name: e}
type: Normal
reason: Started
message: ' hello '
count: 3
firstTimestamp: '2024-01-01T00:30:00Z'
lastTimestamp: '2024-01-01T00:58:00Z'
source: {component: kubelet, host: w1}
involvedObject: {kind: Pod, name: p}
",
    );
    let expected =
        ["2m", "Normal", "Started", "pod/p", "", "kubelet, w1", "hello", "30m", "3", "e"];
    assert_eq!(cells, expected);
}

#[test]
fn endpoints() {
    let cells = row(
        "",
        "v1",
        "Endpoints",
        "{metadata: {name: e}, subsets: [{addresses: [{ip: 1.1.1.1}, {ip: 1.1.1.2}], ports: [{port: 1}, {port: 2}]}]}",
    );
    assert_eq!(cells[1], "1.1.1.1:1,1.1.1.1:2,1.1.1.2:1 + 1 more...");
    let cells = row(
        "discovery.k8s.io",
        "v1",
        "EndpointSlice",
        "{metadata: {name: e}, addressType: IPv4, ports: [{port: 53}], endpoints: [{addresses: [1.1.1.1]}]}",
    );
    assert_eq!(cells[1..4], ["IPv4", "53", "1.1.1.1"]);
}

#[test]
fn certificates_of_pods_taints_of_devices_and_migrations() {
    let request = "spec: {podName: p, serviceAccountName: s, nodeName: n, signerName: a.b/c}";
    let check = |status: &str, state: &str| {
        let yaml =
            format!("{{metadata: {{name: x}}, {request}, status: {{conditions: [{status}]}}}}");
        let cells = row("certificates.k8s.io", "v1beta1", "PodCertificateRequest", &yaml);
        assert_eq!(cells, ["x", "p", "s", "n", "a.b/c", state]);
    };
    check("", "Pending");
    check("{type: Issued, status: 'True'}", "Issued");
    check("{type: Denied, status: 'True'}", "Denied");
    check("{type: Failed, status: 'True'}", "Failed");

    let rule = "{metadata: {name: r, creationTimestamp: '2024-01-01T00:00:00Z'}, spec: {taint: {key: k, effect: NoExecute, timeAdded: '2024-01-01T00:30:00Z'}}}";
    let cells = row("resource.k8s.io", "v1beta2", "DeviceTaintRule", rule);
    assert_eq!(cells, ["r", "k", "", "NoExecute", "30m", "60m"]);
    let rule = "{metadata: {name: r}, spec: {taint: {key: k, value: v, effect: None}}}";
    let cells = row("resource.k8s.io", "v1beta2", "DeviceTaintRule", rule);
    assert_eq!(cells[2..5], ["v", "None", ""]);

    let check = |conditions: &str, status: &str| {
        let yaml = format!(
            "{{metadata: {{name: m}}, spec: {{resource: {{group: apps, resource: deployments}}}}, status: {{conditions: [{conditions}]}}}}"
        );
        let cells = row("storagemigration.k8s.io", "v1beta1", "StorageVersionMigration", &yaml);
        assert_eq!(cells, ["m", "deployments.apps", status]);
    };
    check("", "Unknown");
    check("{type: Running, status: 'True'}", "Running");
    check("{type: Running, status: 'False'}, {type: Succeeded, status: 'True'}", "Succeeded");
}

#[test]
fn groups_of_pods_and_what_pools_have() {
    let check = |spec: &str, conditions: &str, expected: [&str; 3]| {
        let yaml = format!(
            "{{metadata: {{name: g}}, spec: {spec}, status: {{conditions: [{conditions}]}}}}"
        );
        let cells = row("scheduling.k8s.io", "v1alpha2", "PodGroup", &yaml);
        assert_eq!(cells[1..4], expected);
    };
    check("{schedulingPolicy: {basic: {}}}", "", ["Basic", "<none>", "Pending"]);
    let of = "{schedulingPolicy: {gang: {minCount: 2}}, podGroupTemplateRef: {workload: {workloadName: w}}}";
    let waits = "{type: PodGroupScheduled, status: 'False'}";
    check(of, waits, ["Gang", "w", "Unschedulable"]);
    let runs = "{type: PodGroupScheduled, status: 'True'}";
    check(of, runs, ["Gang", "w", "Scheduled"]);
    let goes = format!("{runs}, {{type: DisruptionTarget, status: 'True', reason: Preempted}}");
    check(of, &goes, ["Gang", "w", "Preempted"]);

    let check = |status: &str, expected: [&str; 8]| {
        let yaml = format!("{{metadata: {{name: r}}, spec: {{driver: d}}, status: {status}}}");
        let cells = row("resource.k8s.io", "v1alpha3", "ResourcePoolStatusRequest", &yaml);
        assert_eq!(cells[2..], expected);
    };
    check("null", ["-", "-", "-", "-", "-", "0", "Pending", "<none>"]);
    let pools = "pools: [{totalDevices: 4, allocatedDevices: 3, availableDevices: 1}, {validationError: x}]";
    let done = "{type: Complete, status: 'True', lastTransitionTime: '2024-01-01T00:30:00Z'}";
    let all = format!("{{poolCount: 2, {pools}, conditions: [{done}]}}");
    check(&all, ["4", "1", "3", "0", "1", "2", "Complete", "30m"]);
    let some = format!("{{poolCount: 9, {pools}, conditions: [{done}]}}");
    check(&some, ["4", "1", "3", "0", "1", "9", "Complete (2/9 pools)", "30m"]);
    let failed = "{conditions: [{type: Failed, status: 'True'}]}";
    check(failed, ["-", "-", "-", "-", "-", "0", "Failed", "<none>"]);
}
