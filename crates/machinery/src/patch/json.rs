//! JSON patch, RFC 6902.

use json_patch::PatchOperation;
use serde_json::Value;

use super::Error;

/// More operations than this are refused.
pub const MAX_OPERATIONS: usize = 10_000;

/// Applies the operations in order; on an error the object is as before.
///
/// # Errors
/// When the patch is malformed, too long, or does not fit the object.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), Error> {
    let got = patch.as_array().map(Vec::len).unwrap_or_default();
    if got > MAX_OPERATIONS {
        return Err(Error::TooManyOperations { max: MAX_OPERATIONS, got });
    }
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|e| Error::Malformed(format!("error decoding patch: {e}")))?;
    let fit = |e: json_patch::PatchError| Error::Unprocessable(e.to_string());
    if !operations.iter().any(tests_absence) {
        return json_patch::patch(object, &operations).map_err(fit);
    }
    let mut patched = object.clone();
    for operation in operations.iter() {
        if !(tests_absence(operation) && is_absent(&patched, operation.path().as_str())) {
            json_patch::patch(&mut patched, std::slice::from_ref(operation)).map_err(fit)?;
        }
    }
    *object = patched;
    Ok(())
}

/// Upstream, unlike the RFC, lets a test for null pass where there is no such member; clients use
/// it to say that they are the first to set one.
fn tests_absence(operation: &PatchOperation) -> bool {
    matches!(operation, PatchOperation::Test(test) if test.value.is_null())
}

fn is_absent(object: &Value, path: &str) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else { return false };
    object.pointer(parent).is_some_and(Value::is_object) && object.pointer(path).is_none()
}

#[cfg(test)]
mod tests {
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
    fn errors() {
        let mut object = json!({"a": 1});
        let before = object.clone();
        let remove = json!([{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/b"}]);
        assert!(matches!(apply(&mut object, &remove), Err(Error::Unprocessable(_))));
        assert_eq!(object, before);
        assert!(matches!(apply(&mut object, &json!({"op": "x"})), Err(Error::Malformed(_))));
        let many = Value::Array(vec![json!({"op": "test", "path": "/a", "value": 1}); 10_001]);
        assert_eq!(
            apply(&mut object, &many).unwrap_err().to_string(),
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }
}
