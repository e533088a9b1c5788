//! JSON patches.

use super::*;
use serde_json::json;

#[test]
fn operations() {
    let check = |object: Value, patch: Value, expected: Value| {
        let mut object = object;
        apply(&mut object, &patch).unwrap();
        assert_eq!(object, expected);
    };
    check(
        json!({"a": [1]}),
        json!([{"op": "add", "path": "/a/-", "value": 2}, {"op": "remove", "path": "/a/0"}]),
        json!({"a": [2]}),
    );
    check(
        json!({"a/b": 1}),
        json!([{"op": "test", "path": "/a~1b", "value": 1}, {"op": "replace", "path": "/a~1b", "value": 2}]),
        json!({"a/b": 2}),
    );
}

#[test]
fn what_is_absent_is_null() {
    let check = |object: Value, path: &str, passes: bool| {
        let patch = json!([
            {"op": "test", "path": path, "value": null},
            {"op": "add", "path": "/seen", "value": true},
        ]);
        let mut patched = object.clone();
        assert_eq!(apply(&mut patched, &patch).is_ok(), passes, "{object} {path}");
        assert_eq!(patched.get("seen").is_some(), passes);
    };
    check(json!({"a": {}}), "/a/b", true);
    check(json!({"a": {"b": null}}), "/a/b", true);
    check(json!({"a": {"b": 1}}), "/a/b", false);
    check(json!({}), "/a/b", false);
    check(json!({"a": []}), "/a/0", false);
}

#[test]
fn laxer_than_the_standard() {
    let check = |object: Value, operation: Value, expected: Value| {
        let mut object = object;
        apply(&mut object, &json!([operation])).unwrap();
        assert_eq!(object, expected);
    };
    let replace = json!({"op": "replace", "path": "/a", "value": 1});
    check(json!({}), replace, json!({"a": 1}));
    check(json!({}), json!({"op": "add", "path": "/a"}), json!({"a": null}));
    let at_the_end = json!({"op": "add", "path": "/a/-1", "value": 3});
    check(json!({"a": [1, 2]}), at_the_end, json!({"a": [1, 2, 3]}));
    check(json!({"a": [1, 2]}), json!({"op": "remove", "path": "/a/-2"}), json!({"a": [2]}));
}

#[test]
fn moving_and_copying() {
    let mut object = json!({"a": {"b": [1, 2]}, "c": {}});
    let patch = json!([
        {"op": "copy", "from": "/a/b", "path": "/c/b"},
        {"op": "move", "from": "/a/b/0", "path": "/c/b/1"},
        {"op": "test", "path": "", "value": {"a": {"b": [2]}, "c": {"b": [1, 1, 2]}}},
    ]);
    apply(&mut object, &patch).unwrap();
    assert_eq!(object, json!({"a": {"b": [2]}, "c": {"b": [1, 1, 2]}}));
}

#[test]
fn what_does_not_fit() {
    let object = json!({"a": 1, "l": [1], "o": {}});
    let check = |operation: Value, expected: &str| {
        let mut patched = object.clone();
        let patch = json!([{"op": "remove", "path": "/a"}, operation]);
        let error = apply(&mut patched, &patch).unwrap_err();
        assert_eq!(error.to_string(), expected);
        let failed = expected.ends_with("test failed");
        assert_eq!(matches!(error, Error::TestFailed(_)), failed);
        assert_eq!(matches!(error, Error::Unprocessable(_)), !failed);
        assert_eq!(patched, object, "nothing is done by halves");
    };
    check(
        json!({"op": "remove", "path": "/a"}),
        "error in remove for path: '/a': Unable to remove nonexistent key: a: missing value",
    );
    check(
        json!({"op": "add", "path": "/x/y", "value": 1}),
        "add operation does not apply: doc is missing path: \"/x/y\": missing value",
    );
    check(
        json!({"op": "add", "path": "", "value": 1}),
        "add operation does not apply: doc is missing path: \"\": missing value",
    );
    check(
        json!({"op": "replace", "path": "/l/-", "value": 1}),
        "replace operation does not apply: doc is missing key: /l/-: missing value",
    );
    check(
        json!({"op": "replace", "path": "", "value": 1}),
        "replace operation hit impossible case",
    );
    check(
        json!({"op": "add", "path": "/l/3", "value": 1}),
        "error in add for path: '/l/3': Unable to access invalid index: 3: invalid index referenced",
    );
    check(
        json!({"op": "remove", "path": "/l/-2"}),
        "error in remove for path: '/l/-2': Unable to access invalid index: -2: invalid index referenced",
    );
    check(
        json!({"op": "add", "path": "/l/x", "value": 1}),
        "error in add for path: '/l/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax",
    );
    check(json!({"op": "test", "path": "/o", "value": 1}), "testing value /o failed: test failed");
    check(json!({"op": "test", "path": "/o"}), "testing value /o failed: test failed");
    check(json!({"op": "jump", "path": "/o"}), "Unexpected kind: jump");
    check(json!({"path": "/o"}), "Unexpected kind: unknown");
    check(json!({"op": "add"}), "add operation failed to decode path: missing value");
    check(
        json!({"op": "move", "path": "/o/x", "from": "/x/y"}),
        "move operation does not apply: doc is missing from path: /x/y: missing value",
    );
}

#[test]
fn what_grows_without_bounds() {
    let mut object = json!({"a": ["x".repeat(1024)]});
    let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    let patch = Value::Array(vec![double; 40]);
    let error = apply(&mut object, &patch).unwrap_err().to_string();
    assert!(error.ends_with("exceeding the limit 3145728"), "{error}");
    let many = Value::Array(vec![json!({"op": "test", "path": "/a", "value": 1}); 10_001]);
    assert_eq!(
        apply(&mut object, &many).unwrap_err().to_string(),
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
}

#[test]
fn what_is_no_patch() {
    let check = |patch: Value, expected: &str| {
        let error = apply(&mut json!({}), &patch).unwrap_err();
        assert_eq!(error, Error::Malformed(expected.to_owned()));
    };
    let of = "json: cannot unmarshal object into Go value of type jsonpatch.Patch";
    check(json!({"op": "x"}), of);
    check(json!(["x"]), "json: cannot unmarshal string into Go value of type jsonpatch.Operation");
}
