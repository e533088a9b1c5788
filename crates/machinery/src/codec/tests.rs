use serde_json::json;

use super::*;
use crate::schema::builtin;

fn kind(group_version: &str, kind: &str) -> TypeRef<'static> {
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
    builtin().kind(group, version, kind).unwrap_or_else(|| panic!("no {group_version} {kind}"))
}

/// Decodes an object of its own kind.
fn decode(text: &str, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let (api_version, name) = peek_type_meta(text.as_bytes())?;
    decode_json(text.as_bytes(), kind(&api_version, &name), validation)
}

#[track_caller]
fn check_roundtrip(input: &str, expected: &str) {
    let decoded = decode(input, FieldValidation::Strict).unwrap();
    let (api_version, name) = peek_type_meta(input.as_bytes()).unwrap();
    let encoded = encode_json(&decoded.value, kind(&api_version, &name));
    assert_eq!(String::from_utf8(encoded).unwrap(), expected);
}

#[test]
fn canonical_form() {
    check_roundtrip(
        r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"b":"<&>","a":""},"metadata":{"name":"x"}}"#,
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"data":{"a":"","b":"\u003c\u0026\u003e"}}"#,
    );
    check_roundtrip(
        r#"{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"resources":null,"name":"a",
            "command":[],"args":null,"ports":[null]}],"volumes":[],"nodeSelector":{}}}"#,
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":[{"name":"a","ports":[{"containerPort":0}],"resources":{}}]},"status":{}}"#,
    );
    check_roundtrip(
        r#"{"kind":"Pod","apiVersion":"v1"}"#,
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":null},"status":{}}"#,
    );
    check_roundtrip(
        r#"{"kind":"Service","apiVersion":"v1","spec":{"ports":[{"port":1,"nodePort":0}]}}"#,
        r#"{"kind":"Service","apiVersion":"v1","metadata":{},"spec":{"ports":[{"port":1,"targetPort":0}]},"status":{"loadBalancer":{}}}"#,
    );
}

#[test]
fn scalars() {
    check_roundtrip(
        r#"{"kind":"ResourceQuota","apiVersion":"v1","spec":{"hard":{"cpu":0.5,"memory":"1024Mi","pods":10}},
            "metadata":{"creationTimestamp":"2024-02-29T10:00:00.9+02:00"}}"#,
        r#"{"kind":"ResourceQuota","apiVersion":"v1","metadata":{"creationTimestamp":"2024-02-29T08:00:00Z"},"spec":{"hard":{"cpu":"500m","memory":"1Gi","pods":"10"}},"status":{}}"#,
    );
    check_roundtrip(
        r#"{"kind":"Secret","apiVersion":"v1","data":{"a":"aGVs\nbG8=","b":""}}"#,
        r#"{"kind":"Secret","apiVersion":"v1","metadata":{},"data":{"a":"aGVsbG8=","b":""}}"#,
    );
    check_roundtrip(
        r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","spec":{"renewTime":"2024-01-01T00:00:00.120000Z"}}"#,
        r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{},"spec":{"renewTime":"2024-01-01T00:00:00.120000Z"}}"#,
    );
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = decode(text, FieldValidation::Strict).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn unknown_and_duplicate_fields() {
    let pod = r#"{"kind":"Pod","apiVersion":"v1","spec":{"foo":{"a":[1]},"hostname":"a","hostname":"b",
        "containers":[{"name":"a","limits":1}],"nodeSelector":{"x":"1","x":"2"}}}"#;
    check_error(
        pod,
        "strict decoding error: unknown field \"spec.foo\", duplicate field \"spec.hostname\", \
         unknown field \"spec.containers[0].limits\", duplicate field \"spec.nodeSelector.x\"",
    );
    let warned = decode(pod, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings[0], "unknown field \"spec.foo\"");
    assert_eq!(warned.warnings.len(), 4);
    assert_eq!(warned.value["spec"]["hostname"], "b");
    let ignored = decode(pod, FieldValidation::Ignore).unwrap();
    assert!(ignored.warnings.is_empty());
    assert!(ignored.value["spec"].get("foo").is_none());
}

#[test]
fn strict_errors_are_capped() {
    let fields: Vec<String> = (0..300).map(|n| format!("\"f{n}\":1")).collect();
    let text = format!("{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",{}}}", fields.join(","));
    let Err(DecodeError::Strict(errors)) = decode(&text, FieldValidation::Strict) else {
        panic!("unknown fields are refused");
    };
    assert_eq!(errors.len(), 100);
}

#[test]
fn wrong_types() {
    let deployment =
        |spec: &str| format!(r#"{{"kind":"Deployment","apiVersion":"apps/v1","spec":{spec}}}"#);
    check_error(
        &deployment(r#"{"replicas":"3"}"#),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check_error(
        &deployment(r#"{"replicas":3.5,"paused":1}"#),
        "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check_error(
        &deployment(r#"{"replicas":3000000000}"#),
        "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check_error(
        &deployment(r#"{"template":{"spec":{"containers":{}}}}"#),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
    );
    check_error(
        &deployment(r#"{"template":{"spec":{"containers":["a"]}}}"#),
        "json: cannot unmarshal string into Go struct field PodSpec.spec.template.spec.containers of type v1.Container",
    );
    check_error(
        &deployment(r#"{"template":{"metadata":{"labels":{"a":1}}}}"#),
        "json: cannot unmarshal number into Go struct field ObjectMeta.spec.template.metadata.labels of type string",
    );
    check_error(
        &deployment(r#"{"template":{"spec":{"restartPolicy":true}}}"#),
        "json: cannot unmarshal bool into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
    );
    check_error(
        &deployment(r#"[]"#),
        "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
    );
    check_error(
        r#"{"kind":"Service","apiVersion":"v1","spec":{"ports":[{"targetPort":true}]}}"#,
        "json: cannot unmarshal bool into Go value of type int32",
    );
}

#[test]
fn malformed_scalars() {
    let quota = |hard: &str| {
        format!(
            r#"{{"kind":"ResourceQuota","apiVersion":"v1","spec":{{"hard":{{"cpu":{hard}}}}}}}"#
        )
    };
    check_error(
        &quota(r#""much""#),
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    check_error(
        r#"{"kind":"Secret","apiVersion":"v1","data":{"a":"a*b="}}"#,
        "illegal base64 data at input byte 1",
    );
    let meta = |time: &str| {
        format!(r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"creationTimestamp":{time}}}}}"#)
    };
    check_error(
        &meta(r#""yesterday""#),
        "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
    );
    check_error(
        &meta(r#""2024-13-01T00:00:00Z""#),
        "parsing time \"2024-13-01T00:00:00Z\": month out of range",
    );
    check_error(
        &meta(r#""2023-02-29T00:00:00Z""#),
        "parsing time \"2023-02-29T00:00:00Z\": day out of range",
    );
    check_error(
        &meta(r#""2024-01-01T00:00:00Zx""#),
        "parsing time \"2024-01-01T00:00:00Zx\": extra text: \"x\"",
    );
    check_error(&meta("5"), "json: cannot unmarshal number into Go value of type string");
}

#[track_caller]
fn check_syntax(text: &str, expected: &str) {
    let error = decode_json(text.as_bytes(), kind("v1", "Pod"), FieldValidation::Strict);
    assert_eq!(error.unwrap_err().to_string(), expected, "{text}");
}

#[test]
fn malformed_json() {
    check_syntax("", "unexpected end of JSON input");
    check_syntax("{", "unexpected end of JSON input");
    check_syntax("hello", "invalid character 'h' looking for beginning of value");
    check_syntax("{a:1}", "invalid character 'a' looking for beginning of object key string");
    check_syntax(r#"{"a" 1}"#, "invalid character '1' after object key");
    check_syntax(r#"{"a":1 2}"#, "invalid character '2' after object key:value pair");
    check_syntax(r#"{"a":[1 2]}"#, "invalid character '2' after array element");
    check_syntax(r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string");
    check_syntax("{} x", "invalid character 'x' after top-level value");
    check_syntax(r#"{"a":tru}"#, "invalid character '}' in literal true (expecting 'e')");
    check_syntax("{\"a\":\"b\nc\"}", r"invalid character '\n' in string literal");
    check_syntax(r#"{"a":"\x"}"#, "invalid character 'x' in string escape code");
    check_syntax(r#"{"a":01}"#, "invalid character '1' after object key:value pair");
    check_syntax(r#"{"a":1.}"#, "invalid character '}' after decimal point in numeric literal");
    let deep = "[".repeat(500) + &"]".repeat(500);
    check_syntax(
        &format!(r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{deep}}}]}}}}"#),
        "exceeded max depth",
    );
}

#[track_caller]
fn check_peek(text: &str, expected: Result<(&str, &str), &str>) {
    let peeked = peek_type_meta(text.as_bytes()).map_err(|e| e.to_string());
    let expected = expected.map(|(a, k)| (a.to_owned(), k.to_owned())).map_err(str::to_owned);
    assert_eq!(peeked, expected);
}

#[test]
fn peeking() {
    check_peek(r#"{"spec":{"kind":1},"kind":"Pod","apiVersion":"v1"}"#, Ok(("v1", "Pod")));
    check_peek(r#"{"kind":"A","kind":"B"}"#, Ok(("", "B")));
    check_peek("{}", Ok(("", "")));
    check_peek(
        r#"{"kind":1}"#,
        Err("couldn't get version/kind; json parse error: json: cannot unmarshal number into Go \
             struct field .kind of type string"),
    );
    check_peek(
        "{",
        Err("couldn't get version/kind; json parse error: unexpected end of JSON input"),
    );
}

#[test]
fn yaml_takes_the_same_path() {
    let yaml = "kind: Pod\napiVersion: v1\nspec:\n  foo: 1\n  containers:\n  - name: a\n    \
                command: [sh, -c]\n    env: [{name: 1, value: x}]\n";
    let error = decode_yaml(yaml.as_bytes(), kind("v1", "Pod"), FieldValidation::Strict);
    assert_eq!(
        error.unwrap_err().to_string(),
        "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.name of type string"
    );
    let yaml = yaml.replace("name: 1", "name: '1'").replace("foo: 1", "foo: 1\n  foo: 2");
    let error = decode_yaml(yaml.as_bytes(), kind("v1", "Pod"), FieldValidation::Strict);
    assert_eq!(
        error.unwrap_err().to_string(),
        "strict decoding error: error converting YAML to JSON: yaml: unmarshal errors:\n  line 5: \
         key \"foo\" already set in map, unknown field \"spec.foo\""
    );
    let yaml = yaml.replace("- name: a", "- name: a\n    name: b");
    let decoded = decode_yaml(yaml.as_bytes(), kind("v1", "Pod"), FieldValidation::Warn).unwrap();
    assert_eq!(
        decoded.warnings,
        [
            "error converting YAML to JSON: yaml: unmarshal errors:\n  line 5: key \"foo\" already \
             set in map\n  line 8: key \"name\" already set in map",
            "unknown field \"spec.foo\""
        ]
    );
    assert_eq!(decoded.value["spec"]["containers"][0]["command"], json!(["sh", "-c"]));
    let error = decode_yaml(b"a: [b", kind("v1", "Pod"), FieldValidation::Strict).unwrap_err();
    assert!(error.to_string().starts_with("error converting YAML to JSON: yaml: "), "{error}");
}

/// Raw fields keep their numbers as they are written, on every way through the server.
#[test]
fn raw_fields_keep_their_bytes() {
    let ty = kind("apps/v1", "ControllerRevision");
    let text = r#"{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{},"data":{"a":123456789012345678901234567890,"b":1.10,"c":[1e3,{"d":-0}],"e":18446744073709551615},"revision":1}"#;
    let decoded = decode_json(text.as_bytes(), ty, FieldValidation::Strict).unwrap();
    assert_eq!(String::from_utf8(encode_json(&decoded.value, ty)).unwrap(), text);
    let stored = super::read_object(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(encode_json(&stored, ty)).unwrap(), text);
    let message = protobuf::encode_builtin(&stored).unwrap();
    let back = protobuf::decode(&message, ty).unwrap();
    assert_eq!(String::from_utf8(encode_json(&back.value, ty)).unwrap(), text);
    let yaml = encode_yaml(&stored, ty);
    assert!(yaml.contains("\n  a: 123456789012345678901234567890\n  b: 1.10\n"), "{yaml}");
    // Numbers of other fields are numbers.
    let crd = r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","spec":{"versions":[{"schema":{"openAPIV3Schema":{"maximum":1e21,"default":1.10}}}]}}"#;
    let value = super::read_object(crd.as_bytes()).unwrap();
    let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert_eq!(schema["maximum"], json!(1e21));
    assert!(schema["default"].is_object());
}

#[test]
fn trees_are_normalized() {
    let ty = kind("v1", "ConfigMap");
    let mut tree = json!({"data": {"b": "1", "a": null}, "kind": "ConfigMap", "junk": 1});
    normalize(&mut tree, ty).unwrap();
    assert_eq!(tree.to_string(), r#"{"kind":"ConfigMap","metadata":{},"data":{"a":"","b":"1"}}"#);
    let mut tree = json!({"metadata": {"generation": 2.0}});
    normalize(&mut tree, ty).unwrap();
    assert_eq!(tree, json!({"metadata": {"generation": 2}}));
    assert!(normalize(&mut json!({"data": [1]}), ty).is_err());
    let mut tree = Value::Null;
    normalize(&mut tree, ty).unwrap();
    assert_eq!(tree, json!({"metadata": {}}));
}

#[test]
fn encoding_does_not_need_a_canonical_tree() {
    let tree = json!({
        "spec": {"volumes": [], "containers": [{"image": "b", "name": "a"}], "hostname": null},
        "junk": 1,
        "kind": "Pod",
        "metadata": {"labels": {"b": "", "a": ""}},
    });
    assert_eq!(
        String::from_utf8(encode_json(&tree, kind("v1", "Pod"))).unwrap(),
        r#"{"kind":"Pod","metadata":{"labels":{"a":"","b":""}},"spec":{"containers":[{"name":"a","image":"b","resources":{}}]},"status":{}}"#
    );
}

#[test]
fn strings_are_escaped_as_go_does() {
    let mut out = Vec::new();
    write_untyped(&mut out, &json!("a\"\\\n\t\u{1}\u{8}\u{2028}é€<"));
    let expected = r#""a\"\\\n\t\u0001\b\u2028é€\u003c""#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn custom_resource_schemas() {
    check_roundtrip(
        r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","spec":{
            "group":"g","names":{"plural":"p","kind":"K"},"scope":"Cluster","versions":[{"name":"v1",
            "served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object",
            "additionalProperties":{"type":"string"},"properties":{"a":{"default":{"z":1,"b":null},
            "minimum":1.0,"maximum":2.5,"items":{"type":"string"}}}}}}]}}"#,
        r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{},"spec":{"group":"g","names":{"plural":"p","kind":"K"},"scope":"Cluster","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"default":{"z":1,"b":null},"maximum":2.5,"minimum":1,"items":{"type":"string"}}},"additionalProperties":{"type":"string"}}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#,
    );
}

#[test]
fn pretty_printing() {
    let compact = br#"{"a":{},"b":[],"c":[1,{"d":"{\"x\":,"}]}"#;
    let expected = "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \
                    \"d\": \"{\\\"x\\\":,\"\n    }\n  ]\n}";
    assert_eq!(String::from_utf8(pretty(compact)).unwrap(), expected);
}

/// An object that is written in YAML and CBOR is read back as it was.
#[track_caller]
fn check_forms(object: &Value, ty: TypeRef<'_>) {
    let strict = FieldValidation::Strict;
    let yaml = decode_yaml(encode_yaml(object, ty).as_bytes(), ty, strict).unwrap();
    assert_eq!(yaml.value, *object, "as YAML");
    let bytes = cbor::encode(object, ty);
    let back = cbor::decode(&bytes, ty, strict).unwrap();
    assert_eq!(back.value, *object, "as CBOR");
    assert_eq!(cbor::encode(&back.value, ty), bytes, "as CBOR, written again");
}

#[test]
fn zero_values_in_every_form() {
    let mut checked = 0;
    for (.., ty) in builtin().kinds() {
        let mut object = json!({});
        normalize(&mut object, ty).unwrap();
        let text = encode_json(&object, ty);
        let again = decode_json(&text, ty, FieldValidation::Strict).unwrap();
        assert_eq!(again.value, object);
        check_forms(&object, ty);
        checked += 1;
    }
    assert!(checked > 300, "{checked}");
}

/// Every object of upstream's test data, decoded and encoded again, must come out the same.
#[test]
fn golden_objects() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let archive = folder.join("golden-1.36.tar.xz");
    if !archive.exists() {
        eprintln!("NOT RUN: no golden objects at {}", archive.display());
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("tar")
        .args(["-xJf", archive.to_str().unwrap(), "-C", target.path().to_str().unwrap()])
        .status()
        .unwrap();
    assert!(status.success(), "tar cannot unpack {}", archive.display());

    let mut checked = 0;
    let mut differing = Vec::new();
    for entry in std::fs::read_dir(target.path().join("HEAD")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Files are named group.version.Kind.json; a few objects do not say their kind.
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut parts = stem.rsplitn(3, '.');
        let (name, version) = (parts.next().unwrap(), parts.next().unwrap());
        let group = parts.next().filter(|group| *group != "core").unwrap_or_default();
        let ty = builtin().kind(group, version, name).unwrap_or_else(|| panic!("no type: {stem}"));
        let decoded = decode_json(text.as_bytes(), ty, FieldValidation::Strict)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let encoded = String::from_utf8(pretty(&encode_json(&decoded.value, ty))).unwrap();
        if encoded != text.trim_end() {
            let line = encoded.lines().zip(text.lines()).find(|(ours, theirs)| ours != theirs);
            differing.push(format!("{}: {line:?}", path.file_name().unwrap().display()));
        }
        let yaml = std::fs::read(path.with_extension("yaml")).unwrap();
        let from_yaml = decode_yaml(&yaml, ty, FieldValidation::Strict)
            .unwrap_or_else(|error| panic!("{} as YAML: {error}", path.display()));
        assert_eq!(from_yaml.value, decoded.value, "{} as YAML", path.display());
        check_forms(&decoded.value, ty);
        checked += 1;
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(checked > 180, "only {checked} objects found");
}
