use machinery::field::ErrorList;
use machinery::time::{self, Timestamp};
use machinery::{Value, meta};
use serde_json::json;

use crate::strategy::Ctx;
use crate::{Registration, find_kind};

fn ctx() -> Ctx<'static> {
    static NULL: Value = Value::Null;
    Ctx { now: Timestamp::UNIX_EPOCH, user: &NULL }
}

fn kind(api: &str) -> &'static Registration {
    let (group_version, kind) = api.rsplit_once('/').unwrap();
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
    find_kind(group, version, kind).unwrap_or_else(|| panic!("{api}"))
}

fn object(registration: &Registration, yaml: &str) -> Value {
    let mut object: Value = serde_yaml::from_str(yaml).unwrap();
    if meta::name(&object).is_empty() {
        meta::set_name(&mut object, "x");
    }
    if registration.namespaced && meta::namespace(&object).is_empty() {
        meta::set_namespace(&mut object, "n");
    }
    meta::set_uid(&mut object, "u");
    registration.default(&mut object);
    object
}

fn created(api: &str, yaml: &str) -> (Value, ErrorList) {
    let registration = kind(api);
    let mut object = object(registration, yaml);
    registration.prepare_create(&ctx(), &mut object);
    let errors = registration.check_create(&ctx(), &object);
    meta::set_resource_version(&mut object, "1");
    (object, errors)
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(api: &str, yaml: &str, expected: &[&str]) {
    assert_eq!(texts(&created(api, yaml).1), expected, "{api} {yaml}");
}

#[track_caller]
fn check_update(api: &str, old: &str, new: &str, expected: &[&str]) {
    let registration = kind(api);
    let (old, errors) = created(api, old);
    assert_eq!(texts(&errors), [""; 0]);
    let mut new = object(registration, new);
    meta::set_resource_version(&mut new, "1");
    registration.prepare_update(&ctx(), &mut new, &old);
    assert_eq!(texts(&registration.check_update(&ctx(), &new, &old)), expected);
}

#[track_caller]
fn check_defaults(api: &str, yaml: &str, pointer: &str, expected: Value) {
    let object = object(kind(api), yaml);
    assert_eq!(object.pointer(pointer), Some(&expected), "{api} {object}");
}

const TEMPLATE: &str =
    "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}";
const SELECTOR: &str = "selector: {matchLabels: {a: b}}";

fn workload(more: &str) -> String {
    format!("spec: {{{SELECTOR}, {TEMPLATE}, {more}}}")
}

#[test]
fn metadata() {
    check("v1/ConfigMap", "metadata: {name: x}", &[]);
    check(
        "v1/ConfigMap",
        "metadata: {name: X, labels: {a: '-'}, finalizers: [foo]}",
        &[
            "metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            "metadata.finalizers[0]: Invalid value: \"foo\": name is neither a standard finalizer name nor is it fully qualified",
        ],
    );
    check(
        "v1/ConfigMap",
        "metadata: {name: x, ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u, controller: true}, {apiVersion: v1, kind: Pod, name: q, uid: v, controller: true}]}",
        &[
            "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"q\",\"uid\":\"v\",\"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in references for Pod/p and Pod/q",
        ],
    );
    check(
        "v1/Node",
        "metadata: {name: x, namespace: n}",
        &["metadata.namespace: Forbidden: not allowed on this type"],
    );
}

#[test]
fn metadata_updates() {
    check_update("v1/ConfigMap", "{}", "metadata: {labels: {a: b}}", &[]);
    check_update(
        "v1/ConfigMap",
        "metadata: {name: x}",
        "metadata: {name: y}",
        &[r#"metadata.name: Invalid value: "y": field is immutable"#],
    );
    let registration = kind("v1/ConfigMap");
    let (mut old, _) = created("v1/ConfigMap", "metadata: {name: x, finalizers: [a/b]}");
    meta::set_deletion(&mut old, "2024-01-01T00:00:00Z", 0);
    let mut new = old.clone();
    meta::set_finalizers(&mut new, ["a/b", "c/d"]);
    meta::set_resource_version(&mut new, "");
    assert_eq!(
        texts(&registration.check_update(&ctx(), &new, &old)),
        [
            r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"c/d"}"#,
            r#"metadata.resourceVersion: Invalid value: "": must be specified for an update"#,
        ]
    );
}

#[test]
fn generations_and_status() {
    let registration = kind("apps/v1/Deployment");
    let yaml = format!("{}\nstatus: {{replicas: 3}}", workload(""));
    let (old, errors) = created("apps/v1/Deployment", &yaml);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(meta::generation(&old), 1);
    assert!(old.get("status").is_none());

    let mut new = old.clone();
    meta::set_label(&mut new, "k", "v");
    new["status"] = json!({"replicas": 5});
    registration.prepare_update(&ctx(), &mut new, &old);
    assert_eq!(meta::generation(&new), 1);
    assert!(new.get("status").is_none());

    new["spec"]["replicas"] = json!(4);
    meta::set_generation(&mut new, 77);
    registration.prepare_update(&ctx(), &mut new, &old);
    assert_eq!(meta::generation(&new), 2);

    let mut status = old.clone();
    status["spec"]["replicas"] = json!(9);
    status["status"] = json!({"replicas": 1, "readyReplicas": 2});
    registration.prepare_status_update(&ctx(), &mut status, &old);
    assert_eq!(status["spec"]["replicas"], 1);
    assert_eq!(meta::generation(&status), 1);
    assert_eq!(
        texts(&registration.check_status_update(&ctx(), &status, &old)),
        ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
    );
}

#[test]
fn namespaces() {
    let (namespace, errors) = created("v1/Namespace", "metadata: {name: x}");
    assert!(errors.is_empty());
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(namespace["status"]["phase"], "Active");
    assert_eq!(meta::label(&namespace, "kubernetes.io/metadata.name"), Some("x"));
    check(
        "v1/Namespace",
        "metadata: {name: a.b}",
        &[r#"metadata.name: Invalid value: "a.b": must not contain dots"#],
    );
}

#[test]
fn config_maps_and_secrets() {
    check(
        "v1/ConfigMap",
        "{data: {a/b: c, d: e}, binaryData: {d: ''}}",
        &[
            "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            "data[d]: Invalid value: \"d\": duplicate of key present in binaryData",
        ],
    );
    check_update(
        "v1/ConfigMap",
        "{immutable: true, data: {a: b}}",
        "{data: {a: c}}",
        &[
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set",
        ],
    );
    let (secret, errors) =
        created("v1/Secret", "{stringData: {a: hello}, data: {a: eA==, b: eQ==}}");
    assert!(errors.is_empty());
    assert_eq!(secret["data"], json!({"a": "aGVsbG8=", "b": "eQ=="}));
    assert_eq!(secret["type"], "Opaque");
    assert!(secret.get("stringData").is_none());
    check(
        "v1/Secret",
        "type: kubernetes.io/tls",
        &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
    );
    check_update(
        "v1/Secret",
        "type: a/b",
        "type: c/d",
        &[r#"type: Invalid value: "c/d": field is immutable"#],
    );
}

#[test]
fn access() {
    let binding = |role: &str| {
        format!(
            "{{roleRef: {{kind: ClusterRole, name: {role}}}, subjects: [{{kind: User, name: u}}]}}"
        )
    };
    let api = "rbac.authorization.k8s.io/v1/ClusterRoleBinding";
    check_defaults(api, &binding("a"), "/roleRef/apiGroup", json!("rbac.authorization.k8s.io"));
    check_defaults(api, &binding("a"), "/subjects/0/apiGroup", json!("rbac.authorization.k8s.io"));
    check_update(
        api,
        &binding("a"),
        &binding("b"),
        &[
            r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"b"}: cannot change roleRef"#,
        ],
    );
    check(
        "rbac.authorization.k8s.io/v1/Role",
        "rules: [{apiGroups: ['']}]",
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
        ],
    );
    check("rbac.authorization.k8s.io/v1/ClusterRole", "metadata: {name: 'system:a'}", &[]);
}

#[test]
fn storage() {
    let claim = "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    check("v1/PersistentVolumeClaim", claim, &[]);
    check_defaults("v1/PersistentVolumeClaim", claim, "/spec/volumeMode", json!("Filesystem"));
    check(
        "v1/PersistentVolumeClaim",
        "spec: {}",
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
    check_update(
        "v1/PersistentVolumeClaim",
        claim,
        "spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}",
        &[
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n- accessModes[0]: \"ReadWriteOnce\"\n+ accessModes[0]: \"ReadWriteMany\"\n",
        ],
    );
    check(
        "v1/PersistentVolume",
        "spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}}",
        &[],
    );
    check_update(
        "storage.k8s.io/v1/StorageClass",
        "provisioner: a/b",
        "provisioner: c/d",
        &["provisioner: Forbidden: updates to provisioner are forbidden."],
    );
}

#[test]
fn networking() {
    let path = "path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}";
    let ingress = |path: &str| format!("spec: {{rules: [{{http: {{paths: [{{{path}}}]}}}}]}}");
    check("networking.k8s.io/v1/Ingress", &ingress(path), &[]);
    check(
        "networking.k8s.io/v1/Ingress",
        "spec: {}",
        &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    );
    check(
        "networking.k8s.io/v1/Ingress",
        &ingress("path: x, backend: {service: {name: s, port: {}}}"),
        &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
    );
    check_defaults(
        "networking.k8s.io/v1/NetworkPolicy",
        "spec: {podSelector: {}, egress: [{}]}",
        "/spec/policyTypes",
        json!(["Ingress", "Egress"]),
    );
    check(
        "discovery.k8s.io/v1/EndpointSlice",
        "{addressType: IPv4, endpoints: [{addresses: ['2001:db8::1']}]}",
        &[
            r#"endpoints[0].addresses[0]: Invalid value: "2001:db8::1": must be a valid IPv4 address"#,
        ],
    );
}

#[test]
fn definitions() {
    let crd = "
metadata: {name: foos.a.b}
spec:
  group: a.b
  scope: Namespaced
  names: {plural: foos, kind: Foo}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
";
    let api = "apiextensions.k8s.io/v1/CustomResourceDefinition";
    let (created_crd, errors) = created(api, crd);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(created_crd["spec"]["names"]["listKind"], "FooList");
    assert_eq!(created_crd["spec"]["conversion"]["strategy"], "None");
    assert_eq!(created_crd["status"]["storedVersions"], json!(["v1"]));
    check(
        api,
        &crd.replace("foos.a.b", "x.a.b"),
        &[r#"metadata.name: Invalid value: "x.a.b": must be spec.names.plural+"."+spec.group"#],
    );
}

#[test]
fn small_kinds() {
    check(
        "coordination.k8s.io/v1/Lease",
        "spec: {leaseDurationSeconds: 0}",
        &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    );
    check(
        "v1/Node",
        "spec: {taints: [{key: a, effect: X}]}",
        &[
            r#"metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
        ],
    );
    check_update(
        "v1/Node",
        "spec: {podCIDR: 10.0.0.0/24}",
        "spec: {podCIDR: 10.0.1.0/24, podCIDRs: [10.0.1.0/24]}",
        &[
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
        ],
    );
    check(
        "scheduling.k8s.io/v1/PriorityClass",
        "{metadata: {name: x}, value: 2000000000}",
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    check(
        "v1/Event",
        "involvedObject: {namespace: other}",
        &[r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#],
    );
    check_defaults(
        "v1/LimitRange",
        "spec: {limits: [{type: Container, max: {cpu: 2}, min: {memory: 1Mi}}]}",
        "/spec/limits/0/defaultRequest",
        json!({"cpu": 2, "memory": "1Mi"}),
    );
}

#[test]
fn requests_for_certificates() {
    let user = json!({"username": "jane", "groups": ["g"]});
    let ctx = Ctx { now: Timestamp::UNIX_EPOCH, user: &user };
    let registration = kind("certificates.k8s.io/v1/CertificateSigningRequest");
    let mut csr = object(
        registration,
        "spec: {request: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], username: root}",
    );
    registration.prepare_create(&ctx, &mut csr);
    assert_eq!(csr["spec"]["username"], "jane");
    let mut approved = csr.clone();
    approved["status"] = json!({"conditions": [{"type": "Approved", "reason": "r"}]});
    let mut status = approved.clone();
    registration.prepare_status_update(&ctx, &mut status, &csr);
    assert!(status.pointer("/status/conditions/0").is_none(), "{status}");
    registration.prepare_subresource_update(&ctx, "approval", &mut approved, &csr);
    assert_eq!(approved["status"]["conditions"][0]["status"], "True");
    assert_eq!(
        approved["status"]["conditions"][0]["lastUpdateTime"],
        time::format(Timestamp::UNIX_EPOCH)
    );
}

#[test]
fn defaults_of_every_kind_settle() {
    for registration in crate::all() {
        let mut once = json!({"metadata": {"name": "x"}, "spec": {}, "status": {}});
        registration.default(&mut once);
        let mut twice = once.clone();
        registration.default(&mut twice);
        assert_eq!(once, twice, "{registration:?}");
    }
}

/// Objects of any shape come out with errors, never with a panic.
#[test]
fn odd_shapes_are_taken() {
    let shapes = [
        json!({}),
        json!({"metadata": null, "spec": null, "status": null}),
        json!({"metadata": {"name": "x"}, "spec": {}, "status": {}}),
    ];
    for registration in crate::all() {
        for (shape, before) in shapes.iter().flat_map(|s| shapes.iter().map(move |b| (s, b))) {
            let mut new = shape.clone();
            registration.default(&mut new);
            registration.prepare_create(&ctx(), &mut new);
            registration.check_create(&ctx(), &new);
            registration.prepare_update(&ctx(), &mut new, before);
            assert_ne!(registration.check_update(&ctx(), &new, before).len(), 0);
            registration.prepare_status_update(&ctx(), &mut new, before);
            registration.check_status_update(&ctx(), &new, before);
            for subresource in &registration.subresources {
                let name = &subresource.name;
                registration.prepare_subresource_update(&ctx(), name, &mut new, before);
                registration.check_subresource_update(&ctx(), name, &new, before);
            }
            registration.strategy.warnings(&ctx(), &new, Some(before));
        }
    }
}

#[test]
fn metadata_that_writes_of_the_status_leave() {
    let kept = |kind: &str, expected: [bool; 4]| {
        let old = format!("{{{kind}, metadata: {{labels: {{a: old}}}}}}");
        let new = "metadata: {labels: {a: new}, annotations: {b: c}, finalizers: [d/e], ownerReferences: [{kind: K}]}";
        let after = crate::checks::status_updated(&old, new);
        let metadata = &after["metadata"];
        let found = [
            metadata["labels"]["a"] == "old",
            metadata.get("annotations").is_none_or(|annotations| annotations.get("b").is_none()),
            metadata.get("finalizers").is_none(),
            metadata.get("ownerReferences").is_none(),
        ];
        assert_eq!(found, expected, "{kind}: {metadata}");
    };
    kept("apiVersion: v1, kind: Service", [false; 4]);
    kept("apiVersion: v1, kind: Pod", [false, false, false, true]);
    kept("apiVersion: apps/v1, kind: Deployment", [true, false, false, false]);
    kept("apiVersion: apiregistration.k8s.io/v1, kind: APIService", [true; 4]);
    kept("apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema", [true; 4]);
    kept(
        "apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration",
        [true; 4],
    );
    kept("apiVersion: storage.k8s.io/v1, kind: VolumeAttachment", [true; 4]);
    kept("apiVersion: resource.k8s.io/v1alpha3, kind: DeviceTaintRule", [true; 4]);
    let definitions = "apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition";
    kept(definitions, [true, true, false, true]);
}

#[test]
fn finalizers_say_whose_they_are() {
    let odd = r#"metadata.finalizers[1]: Invalid value: "c": name is neither a standard finalizer name nor is it fully qualified"#;
    let with = |kind: &str| format!("{{{kind}, metadata: {{finalizers: [a.b/c, c]}}}}");
    crate::checks::check(&with("apiVersion: v1, kind: ConfigMap"), &[odd]);
    let service = "apiVersion: apiregistration.k8s.io/v1, kind: APIService, spec: {}";
    let (registration, object) = crate::checks::decoded(&with(service));
    let errors = registration.check_create(&ctx(), &object);
    assert!(errors.iter().all(|error| !error.field.starts_with("metadata.finalizers")));
}

#[test]
fn times_of_creation_and_deletion_are_not_the_clients() {
    let old =
        "{apiVersion: v1, kind: ConfigMap, metadata: {creationTimestamp: '2024-01-01T00:00:00Z'}}";
    let new = "metadata: {creationTimestamp: '2025-01-01T00:00:00Z'}";
    let after = crate::checks::updated(old, new);
    assert_eq!(after["metadata"]["creationTimestamp"], "2024-01-01T00:00:00Z");
    crate::checks::check_update(old, new, &[]);
}
