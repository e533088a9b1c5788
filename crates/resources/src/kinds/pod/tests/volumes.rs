//! Volumes and what they are made of.

use crate::checks::{check, check_below, check_in_use, check_update};

fn with(volumes: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, spec: {{serviceAccountName: s, containers: [{{name: c, image: i}}], volumes: [{volumes}]}}}}"
    )
}

/// What is wrong with the only volume; paths are below it.
#[track_caller]
fn volume(source: &str, expected: &[&str]) {
    check_below(&with(&format!("{{name: v, {source}}}")), "spec.volumes[0].", expected);
}

#[test]
fn names_and_kinds() {
    check(
        &with("{name: a}, {name: a}, {}, {name: B}"),
        &[
            r#"spec.volumes[1].name: Duplicate value: "a""#,
            "spec.volumes[2].name: Required value",
            "spec.volumes[3].name: Invalid value: \"B\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    let two = "may not specify more than 1 volume type";
    volume(
        "emptyDir: {}, downwardAPI: {}, cephfs: {monitors: []}, secret: {secretName: s}",
        &[
            &format!("secret: Forbidden: {two}"),
            &format!("cephFS: Forbidden: {two}"),
            &format!("downwarAPI: Forbidden: {two}"),
        ],
    );
    volume(
        "emptyDir: {sizeLimit: -1}",
        &["emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"],
    );
}

#[test]
fn files() {
    volume("hostPath: {path: /x, type: File}", &[]);
    volume(
        "hostPath: {path: /x, type: X}",
        &[
            r#"hostPath.type: Unsupported value: "X": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket""#,
        ],
    );
    volume(
        "gitRepo: {repository: '', directory: /x}",
        &[
            "gitRepo.repository: Required value",
            r#"gitRepo.directory: Invalid value: "/x": must be a relative path"#,
        ],
    );
    volume(
        "configMap: {name: m, defaultMode: 512, items: [{key: '', path: ''}, {key: k, path: ..x, mode: -1}]}",
        &[
            "configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "configMap.items[0].key: Required value",
            "configMap.items[0].path: Required value",
            r#"configMap.items[1].path: Invalid value: "..x": must not start with '..'"#,
            "configMap.items[1].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
        ],
    );
    volume(
        "downwardAPI: {items: [{path: '', fieldRef: {fieldPath: spec.nodeName}, resourceFieldRef: {resource: limits.cpu}}, {path: a}, {path: b, resourceFieldRef: {resource: limits.cpu}}]}",
        &[
            "downwardAPI.path: Required value",
            r#"downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid""#,
            r#"downwardAPI: Invalid value: "resource": fieldRef and resourceFieldRef can not be specified simultaneously"#,
            "downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
            "downwardAPI.resourceFieldRef.containerName: Required value",
        ],
    );
    volume(
        "nfs: {server: s, path: ''}",
        &["nfs.path: Required value", "nfs.path: Invalid value: \"\": must be an absolute path"],
    );
    volume(
        "image: {reference: '', pullPolicy: X}",
        &[
            "image.reference: Required value",
            r#"image.pullPolicy: Unsupported value: "X": supported values: "Always", "IfNotPresent", "Never""#,
        ],
    );
}

#[test]
fn claims() {
    let spec = "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    volume(&format!("ephemeral: {{volumeClaimTemplate: {{{spec}}}}}"), &[]);
    volume("ephemeral: {}", &["ephemeral.volumeClaimTemplate: Required value"]);
    volume(
        &format!(
            "ephemeral: {{volumeClaimTemplate: {{metadata: {{name: x, uid: y, annotations: {{'/': a}}, labels: {{a: -}}}}, {spec}}}}}"
        ),
        &[
            "ephemeral.volumeClaimTemplate.metadata.annotations: Invalid value: \"/\": prefix part must be non-empty",
            "ephemeral.volumeClaimTemplate.metadata.annotations: Invalid value: \"/\": name part must be non-empty",
            "ephemeral.volumeClaimTemplate.metadata.annotations: Invalid value: \"/\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "ephemeral.volumeClaimTemplate.metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            "ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            "ephemeral.volumeClaimTemplate.metadata.uID: Forbidden: cannot be set",
        ],
    );
    // Pods of the tests are named x.
    check(
        &with(&format!(
            "{{name: e, ephemeral: {{volumeClaimTemplate: {{{spec}}}}}}}, {{name: p, persistentVolumeClaim: {{claimName: x-e}}}}"
        )),
        &[
            r#"spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: "x-e": must not reference a PVC that gets created for an ephemeral volume"#,
        ],
    );
    volume(
        "persistentVolumeClaim: {claimName: ''}",
        &["persistentVolumeClaim.claimName: Required value"],
    );
    volume(
        "csi: {driver: '', nodePublishSecretRef: {name: A}}",
        &[
            "csi.driver: Required value",
            "csi.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
}

#[test]
fn disks() {
    for iqn in [
        "iqn.2001-04.com.example:storage",
        "eui.0123456789abcdef",
        "naa.0123456789abcdef0123456789abcdef",
    ] {
        volume(&format!("iscsi: {{targetPortal: p, iqn: '{iqn}', lun: 0}}"), &[]);
    }
    for iqn in ["iqn.2001.a:b", "iqn.2001-04.com:", "eui.12", "naa.x"] {
        let text = format!("iscsi.iqn: Invalid value: \"{iqn}\": must be valid format");
        volume(&format!("iscsi: {{targetPortal: p, iqn: '{iqn}', lun: 0}}"), &[&text]);
    }
    let portal = "p".repeat(63);
    volume(
        &format!(
            "iscsi: {{targetPortal: {portal}, iqn: 'iqn.2001-04.com.example:storage', lun: 0, initiatorName: x}}"
        ),
        &[
            r#"iscsi.initiatorname: Invalid value: "x": must be valid format starting with iqn, eui, or naa"#,
            r#"name: Invalid value: "v": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."#,
        ],
    );
    volume(
        "gcePersistentDisk: {pdName: '', partition: 256}",
        &[
            "persistentDisk.pdName: Required value",
            "persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
        ],
    );
    volume(
        "fc: {targetWWNs: [a], wwids: [b], lun: 256}",
        &[
            r#"fc.targetWWNs: Invalid value: ["a"]: targetWWNs and wwids can not be specified simultaneously"#,
            "fc.lun: Invalid value: 256: must be between 0 and 255, inclusive",
        ],
    );
    volume(
        "flocker: {datasetName: a/b, datasetUUID: u}",
        &[
            r#"flocker: Invalid value: "resource": datasetName and datasetUUID can not be specified simultaneously"#,
            r#"flocker.datasetName: Invalid value: "a/b": must not contain '/'"#,
        ],
    );
    let pairs = "must be a host:port pair or multiple pairs separated by commas";
    volume("quobyte: {registry: 'a:1,[::1]:2', volume: v}", &[]);
    volume(
        "quobyte: {registry: 'a:1,b', volume: ''}",
        &[
            &format!("quobyte.registry: Invalid value: \"a:1,b\": {pairs}"),
            "quobyte.volume: Required value",
        ],
    );
    volume(
        "quobyte: {registry: '', volume: v}",
        &[&format!("quobyte.registry: Required value: {pairs}")],
    );
    volume("azureDisk: {diskName: d, diskURI: 'https://a'}", &[]);
    volume(
        "azureDisk: {diskName: d, diskURI: x, kind: Managed, cachingMode: X}",
        &[
            r#"azureDisk.cachingMode: Unsupported value: "X": supported values: "None", "ReadOnly", "ReadWrite""#,
            r#"azureDisk.diskURI: Unsupported value: "x": supported values: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}""#,
        ],
    );
    volume(
        "flexVolume: {driver: d, options: {a.k8s.io/b: c, x/kubernetes.io: d}}",
        &[
            r#"flexVolume.options[a.k8s.io/b]: Invalid value: "a.k8s.io/b": kubernetes.io and k8s.io namespaces are reserved"#,
        ],
    );
    volume("cinder: {volumeID: v, secretRef: {}}", &["cinder.secretRef.name: Required value"]);
    volume(
        "storageos: {volumeName: '', volumeNamespace: n, secretRef: {}}",
        &["storageos.volumeName: Required value", "storageos.secretRef.name: Required value"],
    );
}

#[test]
fn projections() {
    volume("projected: {sources: []}", &[]);
    volume(
        "projected: {sources: [{secret: {name: a, items: [{key: k, path: p}]}, configMap: {name: b, items: [{key: k, path: p}]}}, {downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}]}",
        &[
            r#"projected: Invalid value: "b": conflicting duplicate paths"#,
            "projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
            r#"projected: Invalid value: "p": conflicting duplicate paths"#,
        ],
    );
    let token = "projected.sources[0].serviceAccountToken";
    volume(
        "projected: {sources: [{serviceAccountToken: {path: /t, expirationSeconds: 4294967297}}]}",
        &[
            &format!(
                "{token}.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"
            ),
            r#"projected.path: Invalid value: "/t": must be a relative path"#,
        ],
    );
    // Tokens that are put outside already stay there.
    let outside = with("{name: v, projected: {sources: [{serviceAccountToken: {path: /t}}]}}");
    check_update(&outside, "{metadata: {labels: {a: b}}}", &[]);
    let used = |source: &str, expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|text| format!("spec.volumes[0].projected.sources[0]{text}"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check_in_use(
            &with(&format!("{{name: v, projected: {{sources: [{{{source}}}]}}}}")),
            &expected,
        );
    };
    used("clusterTrustBundle: {name: 'a:b:c', path: p}", &[]);
    used("clusterTrustBundle: {signerName: a.b/c, labelSelector: {}, path: p}", &[]);
    used(
        "clusterTrustBundle: {path: ''}",
        &[
            ".clusterTrustBundle: Required value: either name or signerName must be specified",
            ".clusterTrustBundle.path: Required value",
        ],
    );
    used(
        "clusterTrustBundle: {name: n, signerName: a.b/c, path: p}",
        &[
            r#".clusterTrustBundle: Invalid value: {"Name":"n","SignerName":"a.b/c","LabelSelector":null,"Optional":null,"Path":"p"}: only one of name and signerName may be used"#,
        ],
    );
    used(
        "clusterTrustBundle: {name: n, labelSelector: {}, path: p}",
        &[
            ".clusterTrustBundle.labelSelector: Invalid value: {}: labelSelector must be unset if name is specified",
        ],
    );
    used("podCertificate: {signerName: a.b/c, keyType: ED25519, keyPath: k}", &[]);
    used(
        "podCertificate: {signerName: a.kubernetes.io/c, keyType: X, maxExpirationSeconds: 86401, userAnnotations: {a: b}}",
        &[
            ".podCertificate.userAnnotations: Invalid value: \"a\": must be a domain-prefixed key (such as \"acme.io/foo\")",
            r#".podCertificate.keyType: Unsupported value: "X": supported values: "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519""#,
            ".podCertificate.maxExpirationSeconds: Invalid value: 86401: if provided, maxExpirationSeconds must be <= 86400",
            ".podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
        ],
    );
}
