use serde_json::{Value, json};

use super::*;
use crate::schema::builtin;

const ALL: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn sub(
    name: &'static str,
    [group, version, kind]: [&'static str; 3],
    verbs: &[&'static str],
) -> SubresourceInfo<'static> {
    let ty = builtin().kind(group, version, kind).unwrap();
    SubresourceInfo { name, group, version, kind, verbs: verbs.to_vec(), ty }
}

fn resource(
    group: &'static str,
    name: &'static str,
    kind: &'static str,
    namespaced: bool,
    subresources: Vec<SubresourceInfo<'static>>,
) -> ResourceInfo<'static> {
    let ty = builtin().kind(group, "v1", kind).unwrap();
    let verbs = ALL.to_vec();
    let published = None;
    ResourceInfo {
        group,
        version: "v1",
        name,
        kind,
        namespaced,
        verbs,
        ty,
        published,
        subresources,
    }
}

fn sample() -> Vec<ResourceInfo<'static>> {
    let status = ["get", "patch", "update"];
    vec![
        resource(
            "",
            "pods",
            "Pod",
            true,
            vec![
                sub("status", ["", "v1", "Pod"], &status),
                sub("exec", ["", "v1", "PodExecOptions"], &["create", "get"]),
                sub("log", ["", "v1", "Pod"], &["get"]),
                sub("eviction", ["policy", "v1", "Eviction"], &["create"]),
                sub("proxy", ["", "v1", "PodProxyOptions"], &["get"]),
            ],
        ),
        resource("", "namespaces", "Namespace", false, vec![]),
        resource("", "services", "Service", true, vec![]),
        resource(
            "apps",
            "deployments",
            "Deployment",
            true,
            vec![sub("scale", ["autoscaling", "v1", "Scale"], &status)],
        ),
        resource("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", false, vec![]),
    ]
}

fn v3(group: &str) -> Value {
    serde_json::from_slice(&v3_group("v1.36.0", group, "v1", &sample())).unwrap()
}

#[track_caller]
fn check(document: &Value, pointer: &str, expected: Value) {
    let found = document.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
    assert_eq!(found, &expected, "{pointer}");
}

#[test]
fn v3_definitions() {
    let document = v3("");
    let core = "/components/schemas/io.k8s.api.core.v1";
    check(
        &document,
        &format!("{core}.Pod"),
        json!({
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {
                    "allOf": [{"$ref":
                        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}],
                    "default": {},
                },
                "spec": {
                    "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}],
                    "default": {},
                },
                "status": {
                    "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodStatus"}],
                    "default": {},
                },
            },
            "x-kubernetes-group-version-kind": [{"group": "", "kind": "Pod", "version": "v1"}],
        }),
    );
    check(
        &document,
        &format!("{core}.ServiceSpec/properties/ports"),
        json!({
            "type": "array",
            "items": {
                "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"}],
                "default": {},
            },
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "x-kubernetes-list-type": "map",
            "x-kubernetes-patch-merge-key": "port",
            "x-kubernetes-patch-strategy": "merge",
        }),
    );
    check(
        &document,
        &format!("{core}.ServicePort/properties"),
        json!({
            "appProtocol": {"type": "string"},
            "name": {"type": "string"},
            "nodePort": {"format": "int32", "type": "integer"},
            "port": {"format": "int32", "type": "integer", "default": 0},
            "protocol": {"enum": ["SCTP", "TCP", "UDP"], "type": "string", "default": "TCP"},
            "targetPort": {"$ref":
                "#/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString"},
        }),
    );
    check(&document, &format!("{core}.ServicePort/required"), json!(["port"]));
    check(
        &document,
        &format!("{core}.ResourceRequirements/properties/limits"),
        json!({
            "type": "object",
            "additionalProperties": {"$ref":
                "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"},
        }),
    );
    check(
        &document,
        "/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
    );
    check(&document, &format!("{core}.SecretKeySelector/x-kubernetes-map-type"), json!("atomic"));
}

#[test]
fn every_reference_is_defined() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let v2: Value = serde_json::from_slice(&v2("v1.36.0", &sample())).unwrap();
    for document in [v2, v3(""), v3("apps"), v3("rbac.authorization.k8s.io")] {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} is not defined");
        }
    }
}

#[test]
fn v3_operations() {
    let document = v3("apps");
    let object = "/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments~1{name}";
    check(
        &document,
        &format!("{object}/patch/operationId"),
        json!("patchAppsV1NamespacedDeployment"),
    );
    check(
        &document,
        &format!("{object}/patch/x-kubernetes-group-version-kind"),
        json!({"group": "apps", "kind": "Deployment", "version": "v1"}),
    );
    check(
        &document,
        &format!("{object}/patch/parameters/2"),
        json!({
            "name": "fieldValidation", "in": "query",
            "schema": {"type": "string", "uniqueItems": true},
        }),
    );
    let content = document.pointer(&format!("{object}/patch/requestBody/content")).unwrap();
    assert!(content.get("application/strategic-merge-patch+json").is_some());
    check(
        &document,
        &format!("{object}~1scale/get/x-kubernetes-group-version-kind/kind"),
        json!("Scale"),
    );
    check(&document, &format!("{object}/parameters/0/name"), json!("name"));
    check(
        &document,
        "/paths/~1apis~1apps~1v1~1deployments/get/operationId",
        json!("listAppsV1DeploymentForAllNamespaces"),
    );
    let list = "/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments";
    check(
        &document,
        &format!("{list}/get/responses/200/content/application~1json/schema/$ref"),
        json!("#/components/schemas/io.k8s.api.apps.v1.DeploymentList"),
    );
    check(&document, &format!("{list}/delete/x-kubernetes-action"), json!("deletecollection"));
    check(&document, &format!("{list}/post/tags"), json!(["apps_v1"]));

    let core = v3("");
    let pod = "/paths/~1api~1v1~1namespaces~1{namespace}~1pods~1{name}";
    check(
        &core,
        &format!("{pod}~1exec/post/operationId"),
        json!("connectPostCoreV1NamespacedPodExec"),
    );
    check(&core, &format!("{pod}~1exec/post/parameters/0/name"), json!("stdin"));
    check(&core, &format!("{pod}~1log/get/parameters/1/name"), json!("follow"));
    assert!(core.pointer(&format!("{pod}~1proxy~1{{path}}/get")).is_some());
    check(
        &core,
        "/paths/~1api~1v1~1namespaces~1{name}/get/operationId",
        json!("readCoreV1Namespace"),
    );
}

#[test]
fn v2_document() {
    let document: Value = serde_json::from_slice(&v2("v1.36.0", &sample())).unwrap();
    check(&document, "/swagger", json!("2.0"));
    check(
        &document,
        "/definitions/io.k8s.api.apps.v1.DeploymentSpec/properties/strategy",
        json!({
            "$ref": "#/definitions/io.k8s.api.apps.v1.DeploymentStrategy",
            "x-kubernetes-patch-strategy": "retainKeys",
        }),
    );
    check(
        &document,
        "/definitions/io.k8s.api.core.v1.ServicePort/properties/port",
        json!({"format": "int32", "type": "integer"}),
    );
    check(
        &document,
        "/paths/~1apis~1rbac.authorization.k8s.io~1v1~1clusterroles/post/parameters/0",
        json!({
            "name": "body", "in": "body", "required": true,
            "schema": {"$ref": "#/definitions/io.k8s.api.rbac.v1.ClusterRole"},
        }),
    );
    check(
        &document,
        "/paths/~1apis~1rbac.authorization.k8s.io~1v1~1clusterroles/post/tags",
        json!(["rbacAuthorization_v1"]),
    );
}

#[test]
fn index_of_v3() {
    let hashes = [(v3_path("", "v1"), hash(b"a")), (v3_path("apps", "v1"), "B".into())];
    let index: Value = serde_json::from_slice(&v3_index(&hashes.into())).unwrap();
    check(
        &index,
        "/paths/apis~1apps~1v1/serverRelativeURL",
        json!("/openapi/v3/apis/apps/v1?hash=B"),
    );
    check(
        &index,
        "/paths/api~1v1/serverRelativeURL",
        json!(format!("/openapi/v3/api/v1?hash={}", hash(b"a"))),
    );
}

/// The fields of a message by number; the rest of the wire format does not occur here.
fn fields(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let content = match key & 7 {
            2 => {
                let len = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(len);
                bytes = rest;
                content.to_vec()
            }
            0 => vec![varint(&mut bytes) as u8],
            other => panic!("wire type {other}"),
        };
        found.push(((key >> 3) as u32, content));
    }
    found
}

#[track_caller]
fn only(bytes: &[u8], tag: u32) -> Vec<u8> {
    let mut all: Vec<_> = fields(bytes).into_iter().filter(|(t, _)| *t == tag).collect();
    assert_eq!(all.len(), 1, "field {tag}");
    all.remove(0).1
}

/// The value of a named entry in a list of named messages.
#[track_caller]
fn named(bytes: &[u8], tag: u32, name: &str) -> Vec<u8> {
    let entry = fields(bytes)
        .into_iter()
        .find(|(t, entry)| *t == tag && only(entry, 1) == name.as_bytes())
        .unwrap_or_else(|| panic!("no entry {name}"));
    only(&entry.1, 2)
}

#[test]
fn v2_as_protobuf() {
    let bytes = v2_protobuf(&v2("v1.36.0", &sample())).unwrap();
    assert_eq!(only(&bytes, 1), b"2.0");
    let definitions = only(&bytes, 9);
    let pod = named(&definitions, 1, "io.k8s.api.core.v1.Pod");
    assert_eq!(only(&only(&pod, 22), 1), b"object");
    let kinds = named(&pod, 31, "x-kubernetes-group-version-kind");
    assert_eq!(only(&kinds, 2), b"[{\"group\":\"\",\"kind\":\"Pod\",\"version\":\"v1\"}]\n");
    let spec = named(&only(&pod, 25), 1, "spec");
    assert_eq!(only(&spec, 1), b"#/definitions/io.k8s.api.core.v1.PodSpec");

    let path =
        named(&only(&bytes, 8), 2, "/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    let patch = only(&path, 8);
    assert_eq!(only(&patch, 5), b"patchAppsV1NamespacedDeployment");
    assert!(v2_protobuf(b"{}").is_err());
}
