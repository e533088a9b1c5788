//! JSON patch, RFC 6902.

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
    json_patch::patch(object, &operations).map_err(|e| Error::Unprocessable(e.to_string()))
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
