use crate::checks::{
    check, check_below, check_default, check_status, check_update, created, updated,
};

fn volume(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: PersistentVolume, spec: {{{spec}}}}}")
}

fn claim(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: PersistentVolumeClaim, spec: {{{spec}}}}}")
}

fn storage(kind: &str, rest: &str) -> String {
    format!("{{apiVersion: storage.k8s.io/v1, kind: {kind}, {rest}}}")
}

const VOLUME: &str = "capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce]";
const CLAIM: &str = "accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}";

#[test]
fn volumes() {
    let good = volume(&format!("{VOLUME}, hostPath: {{path: /x}}"));
    check(&good, &[]);
    check_default(
        &good,
        "/spec",
        "{capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x, type: ''}, persistentVolumeReclaimPolicy: Retain, volumeMode: Filesystem}",
    );
    assert_eq!(created(&good)["status"]["phase"], "Pending");
    check(
        &volume(
            "accessModes: [ReadWriteOncePod, ReadOnlyMany, X], capacity: {storage: 0}, hostPath: {path: a/../b}, nfs: {server: s, path: /}",
        ),
        &[
            r#"spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#,
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            r#"spec.capacity[storage]: Invalid value: "0": must be greater than zero"#,
            "spec.hostPath.path: Invalid value: \"a/../b\": must not contain '..'",
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        ],
    );
    check(&volume(VOLUME), &["spec: Required value: must specify a volume type"]);
    check(
        &volume(&format!("{VOLUME}, local: {{path: /x}}")),
        &["spec.nodeAffinity: Required value: Local volume requires node affinity"],
    );
    check_update(
        &good,
        "{spec: {hostPath: {path: /y}, volumeMode: Block}}",
        &[
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n- hostPath.path: \"/x\"\n+ hostPath.path: \"/y\"\n",
            r#"volumeMode: Invalid value: "Block": field is immutable"#,
        ],
    );
    let csi = volume(&format!("{VOLUME}, csi: {{driver: a.b, volumeHandle: h}}"));
    check_update(
        &csi,
        "{spec: {csi: {controllerExpandSecretRef: {name: s, namespace: n}}, persistentVolumeReclaimPolicy: Delete}}",
        &[],
    );
}

#[test]
fn claims() {
    check(&claim(CLAIM), &[]);
    check(
        &claim("dataSource: {kind: PersistentVolumeClaim, name: ''}"),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
            "spec.dataSource.name: Required value",
            "spec.dataSourceRef.name: Required value",
        ],
    );
    let from = |source: &str| created(&claim(&format!("{CLAIM}, {source}")))["spec"].clone();
    let spec = from("dataSource: {kind: PersistentVolumeClaim, name: a}");
    assert_eq!(spec["dataSourceRef"], spec["dataSource"]);
    let spec = from("dataSource: {apiGroup: a.b, kind: C, name: a}");
    assert!(spec.get("dataSource").is_none() && spec.get("dataSourceRef").is_none());
    let spec = from("dataSourceRef: {apiGroup: a.b, kind: C, name: a}");
    assert_eq!(spec["dataSourceRef"], spec["dataSource"]);
    let spec = from("dataSourceRef: {apiGroup: a.b, kind: C, name: a, namespace: other}");
    assert!(spec.get("dataSource").is_none() && spec.get("dataSourceRef").is_none());
}

fn fixed(difference: &str) -> String {
    format!(
        "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
    )
}

#[test]
fn changes_of_claims() {
    check_update(&claim(CLAIM), "{spec: {volumeName: v, storageClassName: c}}", &[]);
    check_update(
        &claim(CLAIM),
        "{spec: {accessModes: [ReadWriteMany]}}",
        &[&fixed("- accessModes[0]: \"ReadWriteOnce\"\n+ accessModes[0]: \"ReadWriteMany\"\n")],
    );
    // Only bound claims grow, and their status says how far they may shrink.
    check_update(
        &claim(CLAIM),
        "{spec: {resources: {requests: {storage: 3Gi}}}}",
        &[&fixed("- resources.requests.storage: \"2Gi\"\n+ resources.requests.storage: \"3Gi\"\n")],
    );
    let class = claim(&format!("{CLAIM}, storageClassName: a"));
    check_update(
        &class,
        "{spec: {storageClassName: b}}",
        &[&fixed("- storageClassName: \"a\"\n+ storageClassName: \"b\"\n")],
    );
    // The class that an annotation named moves to its field, and not elsewhere.
    let noted = format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{annotations: {{volume.beta.kubernetes.io/storage-class: a}}}}, spec: {{{CLAIM}}}}}"
    );
    check_update(&noted, "{spec: {storageClassName: a}}", &[]);
    check_update(
        &noted,
        "{metadata: {annotations: {volume.beta.kubernetes.io/storage-class: b}}}",
        &[
            r#"metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "b": field is immutable"#,
        ],
    );
}

#[test]
fn statuses_of_claims() {
    check_status(
        &claim(CLAIM),
        "{status: {capacity: {storage: -1}, allocatedResourceStatuses: {storage: X, cpu: NodeResizePending}, allocatedResources: {storage: -1, a.b/c: 1, cpu: 1}}}",
        &[
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            r#"status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending""#,
            r#"status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "storage""#,
            "status.allocatedResources[storage]: Invalid value: -1: must be a valid resource quantity",
            r#"status.allocatedResources: Unsupported value: "cpu": supported values: "storage""#,
        ],
    );
}

#[test]
fn sources_of_volumes() {
    let source = |source: &str, expected: &[&str]| {
        check_below(&volume(&format!("{VOLUME}, {source}")), "spec.", expected);
    };
    source(
        "csi: {driver: a.b, volumeHandle: h, nodeExpandSecretRef: {name: A, namespace: ''}, nodeStageSecretRef: {}}",
        &[
            "csi.nodeExpandSecretRef.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "csi.nodeExpandSecretRef.namespace: Required value",
        ],
    );
    source(
        "cinder: {volumeID: v, secretRef: {name: s}}",
        &["cinder.secretRef.namespace: Required value"],
    );
    source(
        "glusterfs: {endpoints: e, path: p, endpointsNamespace: ''}",
        &[
            "glusterfs.endpointsNamespace: Invalid value: \"\": if the endpointnamespace is set, it must be a valid namespace name",
        ],
    );
    source(
        "azureFile: {secretName: s, shareName: s, secretNamespace: ''}",
        &["azureFile.secretNamespace: Required value"],
    );
    source(
        "iscsi: {targetPortal: p, iqn: x, lun: 1, secretRef: {}}",
        &[
            "iscsi.iqn: Invalid value: \"x\": must be valid format",
            "iscsi.secretRef.name: Required value",
        ],
    );
    source("flexVolume: {driver: d}, nfs: {server: s, path: /}", &[]);
    source(
        "flexVolume: {driver: d}, csi: {driver: a.b, volumeHandle: h}",
        &["csi: Forbidden: may not specify more than 1 volume type"],
    );
    source(
        "hostPath: {path: /a/..}, persistentVolumeReclaimPolicy: Recycle",
        &[
            "hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
            "persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ],
    );
    let local = |key: &str| {
        format!(
            "nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: {key}, operator: Exists}}]}}]}}}}"
        )
    };
    let beta =
        volume(&format!("{VOLUME}, local: {{path: /x}}, {}", local("beta.kubernetes.io/os")));
    check_update(&beta, &format!("{{spec: {{{}}}}}", local("kubernetes.io/os")), &[]);
    check_update(
        &beta,
        &format!("{{spec: {{{}}}}}", local("a")),
        &[
            r#"nodeAffinity: Invalid value: {"Required":{"NodeSelectorTerms":[{"MatchExpressions":[{"Key":"a","Operator":"Exists","Values":null}],"MatchFields":null}]}}: field is immutable, except for updating from beta label to GA"#,
        ],
    );
}

#[test]
fn volumes_of_attachments() {
    let inline = |spec: &str, expected: &[&str]| {
        check_below(
            &storage(
                "VolumeAttachment",
                &format!(
                    "spec: {{attacher: a.b, nodeName: w1, source: {{inlineVolumeSpec: {{{spec}}}}}}}"
                ),
            ),
            "spec.source.inlineVolumeSpec.",
            expected,
        );
    };
    let csi = "accessModes: [ReadWriteOnce], csi: {driver: a.b, volumeHandle: h}";
    inline(csi, &[]);
    inline(
        &format!(
            "{csi}, persistentVolumeReclaimPolicy: Delete, volumeMode: Block, storageClassName: c, nodeAffinity: {{}}"
        ),
        &[
            "persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
            "nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
            "storageClassName: Forbidden: may not be specified in the context of inline volumes",
            "volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
        ],
    );
}

#[test]
fn classes() {
    let class = |rest: &str| storage("StorageClass", rest);
    check(&class("provisioner: kubernetes.io/No-Provisioner"), &[]);
    check_default(&class("provisioner: a/b"), "/volumeBindingMode", "Immediate");
    check_default(&class("provisioner: a/b"), "/reclaimPolicy", "Delete");
    check(
        &class("provisioner: '', reclaimPolicy: Recycle, volumeBindingMode: X"),
        &[
            "provisioner: Required value",
            r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#,
            r#"volumeBindingMode: Unsupported value: "X": supported values: "Immediate", "WaitForFirstConsumer""#,
        ],
    );
    check_update(
        &class("provisioner: a/b"),
        "{provisioner: c/d, parameters: {a: b}, reclaimPolicy: Retain, volumeBindingMode: WaitForFirstConsumer, allowVolumeExpansion: true}",
        &[
            "parameters: Forbidden: updates to parameters are forbidden.",
            "provisioner: Forbidden: updates to provisioner are forbidden.",
            "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
            r#"volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable"#,
        ],
    );
    check(
        &storage("VolumeAttributesClass", "driverName: a.b"),
        &["parameters: Required value: must contain at least one key/value pair"],
    );
}

#[test]
fn drivers() {
    let driver = |spec: &str| storage("CSIDriver", &format!("spec: {{{spec}}}"));
    check_default(
        &driver(""),
        "/spec",
        "{attachRequired: true, podInfoOnMount: false, storageCapacity: false, fsGroupPolicy: ReadWriteOnceWithFSType, volumeLifecycleModes: [Persistent], requiresRepublish: false, seLinuxMount: false}",
    );
    check(
        &driver(
            "tokenRequests: [{audience: a, expirationSeconds: 1}, {audience: a}], volumeLifecycleModes: [X]",
        ),
        &[
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
            r#"spec.tokenRequests[1].audience: Duplicate value: "a""#,
            r#"spec.volumeLifecycleModes: Unsupported value: "X": supported values: "Persistent", "Ephemeral""#,
        ],
    );
    check(
        &driver("fsGroupPolicy: '', serviceAccountTokenInSecrets: true"),
        &[
            r#"spec.fsGroupPolicy: Unsupported value: "": supported values: "File", "None", "ReadWriteOnceWithFSType""#,
            "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
        ],
    );
    check(&driver("serviceAccountTokenInSecrets: false, tokenRequests: [{audience: a}]"), &[]);
    check_update(
        &driver(""),
        "{spec: {attachRequired: false}}",
        &["spec.attachedRequired: Invalid value: false: field is immutable"],
    );
    let changed = updated(&driver(""), "{spec: {requiresRepublish: true}}");
    assert_eq!(changed["metadata"]["generation"], 2);
    check_update(
        &storage("CSINode", "spec: {drivers: [{name: a, nodeID: b, allocatable: {count: 1}}]}"),
        "{spec: {drivers: [{name: a, nodeID: c, allocatable: {count: 2}}]}}",
        &[
            r#"spec.drivers: Invalid value: {"Name":"a","NodeID":"c","TopologyKeys":null,"Allocatable":null}: field is immutable"#,
        ],
    );
    check(
        &storage("CSINode", "spec: {drivers: [{name: a, nodeID: ''}, {name: a, nodeID: b}]}"),
        &[
            "spec.drivers[0].nodeID: Required value",
            r#"spec.drivers[1].name: Duplicate value: "a""#,
        ],
    );
    check_update(
        &storage("CSIStorageCapacity", "storageClassName: a"),
        "{storageClassName: b}",
        &[r#"storageClassName: Invalid value: "b": field is immutable"#],
    );
}

#[test]
fn attachments() {
    let attachment = |spec: &str| storage("VolumeAttachment", &format!("spec: {{{spec}}}"));
    let good = attachment("attacher: a.b, nodeName: w1, source: {persistentVolumeName: v}");
    check(&good, &[]);
    check(
        &attachment("attacher: a, nodeName: w1, source: {}"),
        &[
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ],
    );
    check_update(
        &good,
        "{spec: {nodeName: w2}}",
        &[
            r#"spec: Invalid value: {"Attacher":"a.b","Source":{"PersistentVolumeName":"v","InlineVolumeSpec":null},"NodeName":"w2"}: field is immutable"#,
        ],
    );
    check_status(
        &good,
        "{status: {attachError: {errorCode: -1}, detachError: {errorCode: 0}}}",
        &[
            "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    );
}

#[test]
fn topologies_of_classes() {
    let class = |terms: &str| {
        storage("StorageClass", &format!("provisioner: p, allowedTopologies: [{terms}]"))
    };
    let term =
        |values: &str| format!("{{matchLabelExpressions: [{{key: a, values: [{values}]}}]}}");
    check(&class(&format!("{}, {}", term("x"), term("y"))), &[]);
    let twice = r#"allowedTopologies[1].matchLabelExpressions: Duplicate value: """#;
    check(&class(&format!("{}, {}", term("x, y"), term("y, x"))), &[twice]);
    check(
        &class("{matchLabelExpressions: [{key: a, values: [x, x]}, {key: a, values: []}]}"),
        &[
            r#"allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "x""#,
            "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
            r#"allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: "a""#,
        ],
    );
    check(&class("{}"), &[r#"allowedTopologies[0].matchLabelExpressions: Duplicate value: """#]);
}

#[test]
fn warnings() {
    use crate::checks::check_warnings;
    check_warnings(
        "{apiVersion: v1, kind: PersistentVolume, metadata: {annotations: {volume.beta.kubernetes.io/mount-options: a}}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 100m}, persistentVolumeReclaimPolicy: Recycle, rbd: {monitors: [m], image: i}}}",
        &[
            "metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use \"mountOptions\" attribute instead",
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            "spec.capacity[storage]: fractional byte value \"100m\" is invalid, must be an integer",
        ],
    );
    check_warnings(
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: p, allowedTopologies: [{matchLabelExpressions: [{key: beta.kubernetes.io/arch, values: [a]}]}]}",
        &[
            "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        ],
    );
    check_warnings(
        "{apiVersion: storage.k8s.io/v1, kind: CSIStorageCapacity, storageClassName: c, nodeTopology: {matchLabels: {beta.kubernetes.io/os: a}}}",
        &[
            "nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        ],
    );
}
