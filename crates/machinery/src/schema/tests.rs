use serde_json::{Value, json};

use super::*;

fn kind(group_version: &str, kind: &str) -> TypeRef<'static> {
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
    builtin().kind(group, version, kind).unwrap_or_else(|| panic!("no {group_version} {kind}"))
}

#[test]
fn kinds_are_found() {
    assert_eq!(kind("v1", "Pod").name(), Some("io.k8s.api.core.v1.Pod"));
    assert_eq!(kind("apps/v1", "Deployment").short_name(), Some("Deployment"));
    let options = kind("apps/v1", "DeleteOptions");
    assert_eq!(options.name(), Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"));
    assert!(builtin().kind("apps", "v1", "Pod").is_none());
    assert_eq!(builtin().kinds().count(), 351);
}

#[test]
fn every_name_is_found() {
    for ty in builtin().types() {
        let Some(name) = ty.name().filter(|_| ty.is_struct()) else {
            continue;
        };
        assert_eq!(builtin().named_type(name), Some(ty), "{name}");
        for (position, field) in ty.fields().enumerate() {
            for guess in [0, position, position + 1] {
                assert_eq!(ty.position(field.name(), guess), Some(position), "{name} {field:?}");
            }
            assert!(!field.name().is_empty() && field.name() != "-", "{name}");
            field.default_value();
        }
        assert!(ty.field("no such field").is_none());
    }
}

#[test]
fn fields_of_inlined_structs_are_members() {
    let names: Vec<_> = kind("v1", "Pod").fields().map(Field::name).collect();
    assert_eq!(names, ["kind", "apiVersion", "metadata", "spec", "status"]);
    let probe = builtin().named_type("io.k8s.api.core.v1.Probe").unwrap();
    assert_eq!(probe.fields().next().unwrap().name(), "exec");
    assert!(probe.declared_fields().next().unwrap().is_inlined());
}

#[test]
fn facts_of_fields() {
    let spec = kind("v1", "Service").field("spec").unwrap().type_ref();
    let ports = spec.field("ports").unwrap();
    assert_eq!(ports.list_type(), Some(ListType::Map));
    assert_eq!(ports.list_keys().collect::<Vec<_>>(), ["port", "protocol"]);
    assert_eq!((ports.patch_strategy(), ports.merge_key()), (Some("merge"), Some("port")));
    assert_eq!(ports.tag(), Some(1));
    let protocol = ports.type_ref().element().unwrap().field("protocol").unwrap();
    assert_eq!(protocol.default_value(), Some(json!("TCP")));
    assert_eq!(protocol.enum_values().collect::<Vec<_>>(), ["SCTP", "TCP", "UDP"]);
    assert_eq!(spec.field("selector").unwrap().struct_type(), Some(StructType::Atomic));
    assert_eq!(builtin().enum_values("io.k8s.api.core.v1.IPFamily").next(), Some(""));
    let volumes = kind("v1", "Pod").field("spec").unwrap().type_ref().field("volumes").unwrap();
    assert_eq!(volumes.patch_strategy(), Some("merge,retainKeys"));
}

#[test]
fn go_names() {
    let pod = kind("v1", "Pod").field("spec").unwrap().type_ref();
    let name = |ty: TypeRef<'static>, field| ty.field(field).unwrap().go_name();
    assert_eq!(name(pod, "containers"), "[]v1.Container");
    assert_eq!(name(pod, "nodeSelector"), "map[string]string");
    assert_eq!(name(pod, "restartPolicy"), "v1.RestartPolicy");
    assert_eq!(name(pod, "overhead"), "v1.ResourceList");
    assert_eq!(name(pod, "priority"), "int32");
}

#[test]
fn lifecycles() {
    let life = kind("policy/v1beta1", "PodDisruptionBudget").lifecycle();
    assert_eq!(life.deprecated, Some("1.21"));
    assert_eq!(life.removed, Some("1.25"));
    assert_eq!(life.replacement, Some(("policy", "v1", "PodDisruptionBudget")));
}

#[track_caller]
fn check_warning(api_version: &str, name: &str, expected: Option<&str>) {
    let warning = kind(api_version, name).lifecycle().warning(api_version, name, "1.36");
    assert_eq!(warning.as_deref(), expected);
}

#[test]
fn deprecation_warnings() {
    check_warning("v1", "Pod", None);
    check_warning("v1", "ComponentStatus", Some("v1 ComponentStatus is deprecated in v1.19+"));
    check_warning(
        "v1",
        "Endpoints",
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    );
    check_warning(
        "policy/v1beta1",
        "PodDisruptionBudget",
        Some(
            "policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; \
             use policy/v1 PodDisruptionBudget",
        ),
    );
    // Deprecated only from 1.38 on.
    check_warning("certificates.k8s.io/v1beta1", "PodCertificateRequest", None);
}

#[track_caller]
fn check_defaults(group_version: &str, name: &str, mut value: Value, expected: Value) {
    apply_defaults(&mut value, kind(group_version, name));
    assert_eq!(value, expected);
}

#[test]
fn declared_defaults() {
    check_defaults(
        "v1",
        "Service",
        json!({"spec": {"ports": [{"port": 1}, {"port": 2, "protocol": "UDP"}]}}),
        json!({"spec": {"ports": [
            {"port": 1, "protocol": "TCP"},
            {"port": 2, "protocol": "UDP"},
        ]}}),
    );
    check_defaults(
        "v1",
        "PersistentVolume",
        json!({"spec": {"azureDisk": {"diskName": "a", "diskURI": "b", "fsType": null}}}),
        json!({"spec": {"azureDisk": {
            "diskName": "a", "diskURI": "b", "fsType": "ext4",
            "cachingMode": "ReadWrite", "readOnly": false, "kind": "Shared",
        }}}),
    );
    check_defaults("v1", "ReplicationController", json!({}), json!({"spec": {"replicas": 1}}));
    check_defaults("v1", "Pod", json!({"spec": {}}), json!({"spec": {}}));
}

#[track_caller]
fn check_bad(text: &'static str, expected: &str) {
    let error = Schema::parse(Cow::Borrowed(text)).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn malformed_tables() {
    check_bad("\tname\t1\tstring", "line 1: a field stands before any type");
    check_bad("type\ta.B\ntype\ta.B", "line 2: a type is given twice");
    check_bad("type\ta.B\n\tname\tx\tstring", "line 2: field number is no number");
    check_bad("type\ta.B\n\tname\t1\ta.C", "line 2: unknown type name");
    check_bad("type\ta.B\n\tname\t1\tstring\twhat", "line 2: unknown flag of a field");
    check_bad("nonsense", "line 1: unknown kind of line");
}
