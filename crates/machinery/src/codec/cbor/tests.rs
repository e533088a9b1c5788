//! Bytes both ways, and bytes that are refused.

use serde_json::{Value, json};

use super::*;
use crate::schema::builtin;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[track_caller]
fn check_read(bytes: &str, want: Value) {
    assert_eq!(decode_untyped(&hex(bytes)).unwrap(), want, "{bytes}");
}

#[test]
fn well_formed_items() {
    check_read("00", json!(0));
    check_read("d9d9f7 1818", json!(24));
    check_read("3903e7", json!(-1000));
    check_read("1b7fffffffffffffff", json!(i64::MAX));
    check_read("3b7fffffffffffffff", json!(i64::MIN));
    check_read("f93c00", json!(1.0));
    check_read("f90001", json!(5.960_464_477_539_063e-8));
    check_read("fa47c35000", json!(100_000.0));
    check_read("fbc010666666666666", json!(-4.1));
    check_read("f4", json!(false));
    check_read("f6", json!(null));
    check_read("6161", json!("a"));
    check_read("4161", json!("a"));
    check_read("41ff", json!("\u{fffd}"));
    check_read("5f 4161 4162 ff", json!("ab"));
    check_read("7f 6161 6162 ff", json!("ab"));
    check_read("83010203", json!([1, 2, 3]));
    check_read("9f 01 82 02 03 ff", json!([1, [2, 3]]));
    check_read("bf 6161 01 4162 02 ff", json!({"a": 1, "b": 2}));
    check_read("a2 4162 02 4161 01", json!({"a": 1, "b": 2}));
    // Binary data as text, by tag; inside of tagged items too.
    check_read("d6 4568656c6c6f", json!("aGVsbG8="));
    check_read("d5 4568656c6c6f", json!("aGVsbG8"));
    check_read("d7 426869", json!("6869"));
    check_read("d6 81 4568656c6c6f", json!(["aGVsbG8="]));
    check_read("82 d6 4568656c6c6f 4161", json!(["aGVsbG8=", "a"]));
    // Times, and a tag that means nothing here.
    check_read("c0 74 323031332d30332d32315432303a30343a30305a", json!("2013-03-21T20:04:00Z"));
    check_read("c1 1a514b67b0", json!("2013-03-21T20:04:00Z"));
    check_read("c1 fb41d452d9ec200000", json!("2013-03-21T20:04:00.5Z"));
    check_read("d820 6161", json!("a"));
}

#[track_caller]
fn check_refused(bytes: &str, want: &str) {
    assert_eq!(decode_untyped(&hex(bytes)).unwrap_err().to_string(), want, "{bytes}");
}

#[test]
fn what_is_refused() {
    check_refused("", "EOF");
    check_refused("a1", "unexpected EOF");
    check_refused("5affffffff", "unexpected EOF");
    check_refused("0001", "cbor: 1 bytes of extraneous data starting at index 1");
    check_refused("1c", "cbor: invalid additional information 28 for type positive integer");
    check_refused("ff", "cbor: unexpected \"break\" code");
    check_refused("f81f", "cbor: invalid additional information 24 for type primitives");
    check_refused(
        "f7",
        "cbor: data item of cbor type primitives is not accepted by protocol: simple value 23 is not recognized",
    );
    check_refused(
        "f97e00",
        "cbor: data item of cbor type primitives is not accepted by protocol: floating-point NaN",
    );
    check_refused(
        "f97c00",
        "cbor: data item of cbor type primitives is not accepted by protocol: floating-point infinity",
    );
    check_refused(
        "c2 41ff",
        "cbor: data item of cbor type tag is not accepted by protocol: bignum",
    );
    check_refused("61ff", "cbor: invalid UTF-8 string");
    check_refused(
        "7f 4161 ff",
        "cbor: wrong element type byte string for indefinite-length UTF-8 text string",
    );
    check_refused(
        "a2 6161 01 4161 02",
        "cbor: found duplicate map key \"a\" at map element index 1",
    );
    check_refused(
        "bf 4162 01 4161 01 4162 02 ff",
        "cbor: found duplicate map key \"b\" at map element index 2",
    );
    check_refused(
        "a1 01 02",
        "cbor: cannot unmarshal positive integer into Go value of type string",
    );
    check_refused(
        "1bffffffffffffffff",
        "cbor: cannot unmarshal positive integer into Go value of type int64 (18446744073709551615 overflows int64)",
    );
    check_refused(&"81".repeat(65), "cbor: exceeded max nested level 64");
    check_refused(&"c8".repeat(70), "cbor: exceeded max nested level 64");
    check_refused("9affffffff", "cbor: exceeded max number of elements 1024 for CBOR array");
    check_refused(
        &format!("9f{}", "00".repeat(1025)),
        "cbor: exceeded max number of elements 1024 for CBOR array",
    );
    check_refused("b90401", "cbor: exceeded max number of key-value pairs 1024 for CBOR map");
}

#[track_caller]
fn check_written(value: Value, want: &str) {
    let mut out = Vec::new();
    write::untyped(&mut out, &value);
    assert_eq!(out, hex(want), "{value}: {out:02x?}");
    let mut back = decode_untyped(&out).unwrap();
    back.sort_all_objects();
    assert_eq!(back, value);
}

#[test]
fn the_shortest_form_is_written() {
    check_written(json!(23), "17");
    check_written(json!(24), "1818");
    check_written(json!(-256), "38ff");
    check_written(json!(65_536), "1a00010000");
    check_written(json!(1.5), "f93e00");
    check_written(json!(-0.0), "f98000");
    check_written(json!(5.960_464_477_539_063e-8), "f90001");
    check_written(json!(100_000.0), "fa47c35000");
    check_written(json!(1.1), "fb3ff199999999999a");
    check_written(json!({"a": [], "b": "", "aa": true}), "a3 4161 80 4162 40 426161 f5");
    check_written(json!("é"), "42c3a9");
}

#[test]
fn objects_follow_their_type() {
    let secret =
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {}, "data": {"k": "aGVsbG8="}});
    let bytes = encode_object(&secret);
    let want = format!(
        "d9d9f7 a4 44{} a1 416b d6 4568656c6c6f 44{} 46{} 48{} a0 4a{} 427631",
        "64617461", "6b696e64", "536563726574", "6d65746164617461", "61706956657273696f6e"
    );
    assert_eq!(bytes, hex(&want), "{bytes:02x?}");
    let ty = builtin().kind("", "v1", "Secret").unwrap();
    assert_eq!(decode(&bytes, ty, FieldValidation::Strict).unwrap().value, secret);
    assert_eq!(peek_type_meta(&bytes).unwrap(), ("v1".into(), "Secret".into()));
    // An untagged byte string in a field of bytes is base64 already.
    let plain = hex("a1 4464617461 a1 416b 486147567362473 83d");
    let decoded = decode(&plain, ty, FieldValidation::Strict).unwrap().value;
    assert_eq!(decoded["data"]["k"], "aGVsbG8=");

    let error =
        |bytes: &str| decode(&hex(bytes), ty, FieldValidation::Strict).unwrap_err().to_string();
    assert_eq!(error("a1 43666f6f 01"), "strict decoding error: unknown field \"foo\"");
    assert_eq!(
        error("a1 4464617461 01"),
        "cbor: cannot unmarshal positive integer into Go struct field Secret.data of type map[string][]uint8"
    );
    let error = peek_type_meta(&hex("a1 446b696e64 01")).unwrap_err().to_string();
    assert!(error.starts_with("unable to determine group/version/kind: "), "{error}");
}

#[test]
fn lists_and_events_are_put_together() {
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let object = encode_object(&map);
    let metadata = json!({"resourceVersion": "7"});
    for with_type in [true, false] {
        let frame = ListFrame::new("v1", "ConfigMapList", &metadata, 1, with_type);
        let mut list = frame.head().to_vec();
        let before = list.len();
        frame.put_item(&mut list, &object);
        assert_eq!(list.len() - before, frame.item_len(&object));
        list.extend_from_slice(frame.tail());
        let mut item = map.clone();
        if !with_type {
            item.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
        }
        let want = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": [item]});
        assert_eq!(decode_untyped(&list).unwrap(), want);
    }
    let event = decode_untyped(&watch_event("ADDED", &object)).unwrap();
    assert_eq!(event, json!({"type": "ADDED", "object": map}));
}
