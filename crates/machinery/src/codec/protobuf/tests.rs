use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::*;
use crate::codec::decode_json;
use crate::schema;

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

/// Every kind of upstream's wire data, where that is at hand.
#[test]
fn golden_data() {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/golden-1.36.tar.xz");
    if !Path::new(archive).exists() {
        eprintln!("skipped: {archive} is not there");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let status =
        Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path().join("HEAD")).unwrap() {
        let path = entry.unwrap().path();
        // A watch event is the frame around an object, no object itself.
        let frame = path.to_string_lossy().contains("WatchEvent");
        if frame || path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let envelope = open(&bytes).unwrap();
        let (group, version) =
            envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
        let Some(ty) = schema::builtin().kind(group, version, &envelope.kind) else {
            panic!("no type for {}", path.display());
        };
        let json = std::fs::read(path.with_extension("json")).unwrap();
        let want = decode_json(&json, ty, FieldValidation::Strict).unwrap().value;
        let got = decode(&bytes, ty).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(got.value, want, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 150, "{seen}");
}
