use crate::checks::{check, check_warnings};

fn pod(metadata: &str, spec: &str, container: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, {metadata}}}, spec: {{{spec}, \
         containers: [{{name: c, image: i, {container}}}]}}}}"
    )
}

#[test]
fn containers() {
    let warned = |container: &str, want: &[&str]| {
        check_warnings(&pod("", "dnsPolicy: Default", container), want)
    };
    warned("env: [{name: a, value: x}, {name: a, value: $(a)y}]", &[]);
    let hides = "spec.containers[0].env[1]: hides previous definition of \"a\", which may be dropped when using apply";
    warned("env: [{name: a, value: x}, {name: a, value: $(a)}]", &[hides]);
    warned(
        "env: [{name: a}, {name: a, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
        &[hides],
    );
    warned(
        "resources: {limits: {memory: 100m}}",
        &[
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
        ],
    );
    let ports = |ports: &str, want: &[&str]| warned(&format!("ports: [{ports}]"), want);
    ports("{containerPort: 80}, {containerPort: 80, protocol: UDP}", &[]);
    let ports1 = |what: &str| {
        format!(
            "spec.containers[0].ports[1]: {what} port definition with spec.containers[0].ports[0]"
        )
    };
    ports("{containerPort: 80}, {containerPort: 80}", &[&ports1("duplicate")]);
    ports("{containerPort: 80}, {containerPort: 80, hostPort: 8}", &[&ports1("overlapping")]);
    ports(
        "{containerPort: 80, hostPort: 8}, {containerPort: 80, hostPort: 8, hostIP: 10.0.0.1}",
        &[&ports1("dangerously ambiguous")],
    );
    ports(
        "{containerPort: 80, hostIP: 10.0.0.1}",
        &[
            "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:10.0.0.1}",
        ],
    );
}

#[test]
fn pods() {
    let warned =
        |metadata: &str, spec: &str, want: &[&str]| check_warnings(&pod(metadata, spec, ""), want);
    warned(
        "",
        "nodeSelector: {beta.kubernetes.io/os: linux}",
        &[
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        ],
    );
    warned(
        "annotations: {scheduler.alpha.kubernetes.io/critical-pod: ''}",
        "dnsPolicy: Default",
        &[
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ],
    );
    warned(
        "annotations: {seccomp.security.alpha.kubernetes.io/pod: a, container.seccomp.security.alpha.kubernetes.io/c: a}",
        "dnsPolicy: Default",
        &[
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
        ],
    );
    warned(
        "",
        "volumes: [{name: g, gitRepo: {repository: r}}]",
        &["spec.volumes[0].gitRepo: deprecated in v1.11"],
    );
    warned(
        "",
        "imagePullSecrets: [{name: a}, {name: a}, {}]",
        &[
            "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.imagePullSecrets[2].name: invalid empty name \"\"",
        ],
    );
    warned(
        "",
        "hostAliases: [{ip: 10.0.0.1}, {ip: 10.0.0.1}], terminationGracePeriodSeconds: -1",
        &[
            "spec.hostAliases[1].ip: duplicate ip \"10.0.0.1\"",
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ],
    );
    warned(
        "",
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: failure-domain.beta.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]",
        &[
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ],
    );
    warned(
        "",
        "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]}}",
        &[
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
        ],
    );
    warned(
        "",
        "volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}, {name: w, projected: {sources: [{configMap: {name: m, items: [{key: k, path: t}]}}]}}]",
        &[
            "spec.volumes[1].projected.sources.configMap[0]: has duplicated path with ServiceAccountToken \"t\"",
        ],
    );
}

#[test]
fn names_and_templates() {
    let deployment = |name: &str, template: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}, {template}}}, spec: {{containers: [{{name: c, image: i}}]}}}}}}}}"
        )
    };
    check_warnings(&deployment("d", ""), &[]);
    let host = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]";
    check_warnings(&deployment("d.e", ""), &[host]);
    check_warnings(
        &deployment("d", "annotations: {container.apparmor.security.beta.kubernetes.io/c: x}"),
        &[
            "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead",
        ],
    );
}

#[test]
fn volume_sources() {
    let source = |source: &str, want: &[&str]| {
        check(&pod("", &format!("volumes: [{{name: v, {source}}}]"), ""), want);
    };
    source("iscsi: {targetPortal: p, iqn: 'iqn.2001-04.com.example:a', lun: 1}", &[]);
    source(
        "iscsi: {targetPortal: p, iqn: x, lun: 256, chapAuthSession: true}",
        &[
            "spec.volumes[0].iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
            "spec.volumes[0].iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            "spec.volumes[0].iscsi.secretRef: Required value",
        ],
    );
    source(
        "fc: {}",
        &[
            "spec.volumes[0].fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both",
        ],
    );
    source(
        "fc: {targetWWNs: [a]}",
        &["spec.volumes[0].fc.lun: Required value: lun is required if targetWWNs is specified"],
    );
    source("fc: {wwids: [a]}", &[]);
    source(
        "csi: {driver: d.example, nodePublishSecretRef: {}}",
        &["spec.volumes[0].csi.nodePublishSecretRef.name: Required value"],
    );
    source("azureFile: {secretName: s}", &["spec.volumes[0].azureFile.shareName: Required value"]);
    source(
        "flocker: {}",
        &[
            "spec.volumes[0].flocker: Required value: one of datasetName and datasetUUID is required",
        ],
    );
    source(
        "ephemeral: {volumeClaimTemplate: {metadata: {name: x}, spec: {resources: {requests: {storage: 1Gi}}}}}",
        &[
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required",
        ],
    );
}
