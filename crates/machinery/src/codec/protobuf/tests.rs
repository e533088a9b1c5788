use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::codec::{FieldValidation, decode_json, encode_json, normalize, pretty};
use crate::schema::{self, TypeRef};

fn ty(group: &str, version: &str, kind: &str) -> TypeRef<'static> {
    schema::builtin().kind(group, version, kind).unwrap()
}

#[test]
fn a_config_map() {
    // As kubectl sends it.
    let mut bytes = MAGIC.to_vec();
    bytes.extend(b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap");
    bytes.extend(b"\x12\x0f\x0a\x05\x0a\x03abc\x12\x06\x0a\x01k\x12\x01v\x1a\x00\x22\x00");
    let decoded = decode(&bytes, ty("", "v1", "ConfigMap")).unwrap();
    assert_eq!(
        decoded.value,
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "abc"},
            "data": {"k": "v"}})
    );
}

#[test]
fn nonsense_is_refused() {
    let pod = ty("", "v1", "Pod");
    let check = |bytes: &[u8], want: &str| {
        assert_eq!(decode(bytes, pod).unwrap_err().to_string(), want);
    };
    check(b"{}", &Error::Magic.to_string());
    check(b"k8s\0\x12\x05abc", "unexpected EOF");
    check(b"k8s\0\x12\x02\x08\x01", "proto: wrong wireType = 0 for field 1");
    check(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "proto: integer overflow");
    check(b"k8s\0\x0b", "proto: illegal wireType 3");
}

/// Every kind of upstream's wire data, where that is at hand: from protobuf to upstream's JSON, and
/// from JSON to the very bytes of upstream's protobuf.
#[test]
fn golden_data() {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/golden-1.36.tar.xz");
    if !Path::new(archive).exists() {
        eprintln!("NOT RUN: no golden objects at {archive}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let status =
        Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    let (mut seen, mut differing) = (0, Vec::new());
    for entry in std::fs::read_dir(folder.path().join("HEAD")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        // Files are named group.version.Kind.pb; a few objects do not say their kind.
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut parts = stem.rsplitn(3, '.');
        let (kind, version) = (parts.next().unwrap(), parts.next().unwrap());
        let group = parts.next().filter(|group| *group != "core").unwrap_or_default();
        let ty = ty(group, version, kind);
        let bytes = std::fs::read(&path).unwrap();
        let json = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let want = decode_json(json.as_bytes(), ty, FieldValidation::Strict).unwrap().value;
        seen += 1;
        let written = encode(&want, ty).unwrap();
        if written != bytes {
            let at = written.iter().zip(&bytes).position(|(ours, theirs)| ours != theirs);
            differing.push(format!("{stem}: written otherwise from byte {at:?}"));
        }
        // A watch event has its object in protobuf where its JSON has it in JSON.
        if kind == "WatchEvent" {
            continue;
        }
        let got = decode(&bytes, ty).unwrap_or_else(|error| panic!("{stem}: {error}"));
        let shown = String::from_utf8(pretty(&encode_json(&got.value, ty))).unwrap();
        if shown != json.trim_end() {
            let line = shown.lines().zip(json.lines()).find(|(ours, theirs)| ours != theirs);
            differing.push(format!("{stem}: read otherwise: {line:?}"));
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(seen > 180, "{seen}");
}

/// An empty object of every kind comes back as it was.
#[test]
fn zero_values_round_trip() {
    for (group, version, kind, ty) in schema::builtin().kinds() {
        let mut value = json!({});
        normalize(&mut value, ty).unwrap();
        let Ok(bytes) = encode(&value, ty) else { continue };
        let back = decode(&bytes, ty).unwrap().value;
        assert_eq!(back, value, "{group}/{version} {kind}");
    }
}

#[test]
fn lists_from_their_items() {
    let (item, list) = (ty("", "v1", "ConfigMap"), ty("", "v1", "ConfigMapList"));
    // Long enough that lengths take more than one byte.
    let items: Vec<Value> = (0..3)
        .map(|n| {
            let (kind, text) = ("ConfigMap", "x".repeat(100 * n));
            json!({"kind": kind, "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": text}})
        })
        .collect();
    let whole = json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7"}, "items": items});
    let messages: Vec<Vec<u8>> = items.iter().map(|v| encode(v, item).unwrap()).collect();
    let raw: Vec<&[u8]> = messages.iter().map(|bytes| open(bytes).unwrap().raw).collect();
    let frame = ListFrame::new(list, &whole["metadata"]).unwrap();
    let len = raw.iter().map(|raw| frame.item_len(raw.len())).sum();
    let mut bytes = frame.head("v1", "ConfigMapList", len);
    raw.iter().for_each(|raw| frame.put_item(&mut bytes, raw));
    bytes.extend_from_slice(frame.tail());
    assert_eq!(bytes, encode(&whole, list).unwrap());
}

/// All kinds of lists can be put together that way.
#[test]
fn list_frames() {
    let with_metadata = schema::builtin().kinds().filter(|(.., ty)| ty.field("metadata").is_some());
    for (group, version, kind, _) in with_metadata {
        let Some(list) = schema::builtin().kind(group, version, &format!("{kind}List")) else {
            continue;
        };
        let frame = ListFrame::new(list, &json!({}));
        assert!(frame.is_ok() || group == "meta.k8s.io", "{group}/{version} {kind}");
    }
}

#[test]
fn watch_frames() {
    let event = watch_event("ADDED", b"k8s\0x");
    assert_eq!(event, b"\0\0\0\x10\x0a\x05ADDED\x12\x07\x0a\x05k8s\0x");
}

proptest::proptest! {
    /// Whatever comes in, the answer is a value or an error.
    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut message = MAGIC.to_vec();
        message.extend_from_slice(&bytes);
        let mut envelope = MAGIC.to_vec();
        envelope.extend([0x12, bytes.len() as u8 & 0x7f]);
        envelope.extend_from_slice(&bytes);
        for kind in ["Pod", "Service", "Event", "PodList", "Secret", "DeleteOptions"] {
            decode(&message, ty("", "v1", kind)).ok();
            decode(&envelope, ty("", "v1", kind)).ok();
        }
        decode(&envelope, ty("apiextensions.k8s.io", "v1", "CustomResourceDefinition")).ok();
    }

    /// Damage to a good message is no worse.
    #[test]
    fn damage_never_panics(at in 0_usize..400, byte in proptest::num::u8::ANY) {
        let pod = ty("", "v1", "Pod");
        let value = json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "a", "labels": {"k": "v"}, "creationTimestamp": "2024-01-02T03:04:05Z"},
            "spec": {"containers": [{"name": "c", "image": "i",
                "resources": {"limits": {"cpu": "1500m"}},
                "livenessProbe": {"httpGet": {"port": "http"}},
                "ports": [{"containerPort": 80}]}]}});
        let mut bytes = encode(&value, pod).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        decode(&bytes, pod).ok();
        decode(&bytes[..at], pod).ok();
    }
}

#[test]
fn nesting_has_an_end() {
    let definition = ty("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let step = |ty: TypeRef<'static>, name: &str| {
        let field = ty.field(name).unwrap();
        let ty = field.type_ref();
        (field.tag().unwrap(), ty.element().unwrap_or(ty))
    };
    let (mut tags, mut at) = (Vec::new(), definition);
    let path = ["spec", "versions", "schema", "openAPIV3Schema"];
    for name in path.into_iter().chain(std::iter::repeat_n("not", 100)) {
        let (tag, ty) = step(at, name);
        tags.push(tag);
        at = ty;
    }
    let mut nested = Vec::new();
    for tag in tags.into_iter().rev() {
        let mut outer = Vec::new();
        wire::put_bytes(&mut outer, tag, &nested);
        nested = outer;
    }
    let error = decode(&frame::envelope("", "", &nested), definition).unwrap_err();
    assert_eq!(error.to_string(), Error::Depth.to_string());
}
