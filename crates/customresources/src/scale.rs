//! What the scale subresource reads of an object is what a Scale can carry.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use resources::ScalePaths;

/// Checks the wished number of replicas.
pub(crate) fn check_spec(object: &Value, paths: &ScalePaths, errors: &mut ErrorList) {
    replicas(object, &paths.spec_replicas, errors);
}

/// Checks the actual number of replicas and the selector.
pub(crate) fn check_status(object: &Value, paths: &ScalePaths, errors: &mut ErrorList) {
    replicas(object, &paths.status_replicas, errors);
    if let Some(path) = &paths.label_selector {
        match find(object, path) {
            Ok(Some(value)) if !value.is_string() => {
                errors.push(Error::invalid(&field(path), "", wrong_type(path, value, "string")));
            }
            Ok(_) => {}
            Err(detail) => errors.push(Error::invalid(&field(path), "", detail)),
        }
    }
}

fn replicas(object: &Value, path: &str, errors: &mut ErrorList) {
    let found = match find(object, path) {
        Ok(None) => return,
        Ok(Some(value)) => value.as_i64().ok_or_else(|| wrong_type(path, value, "int64")),
        Err(detail) => Err(detail),
    };
    let (number, detail) = match found {
        Err(detail) => (0, detail),
        Ok(number) if number < 0 => (number, "should be a non-negative integer".to_owned()),
        Ok(number) if number > i64::from(i32::MAX) => {
            (number, format!("should be less than or equal to {}", i32::MAX))
        }
        Ok(_) => return,
    };
    errors.push(Error::invalid(&field(path), number, detail));
}

/// The path as it is written names the field.
fn field(path: &str) -> Path {
    Path::new(path.to_owned())
}

/// The value at a path.
///
/// # Errors
/// When something on the way is no object.
fn find<'v>(object: &'v Value, path: &str) -> Result<Option<&'v Value>, String> {
    let mut value = object;
    let mut seen = String::new();
    for step in path.strip_prefix('.').unwrap_or(path).split('.') {
        seen = format!("{seen}.{step}");
        value = match value {
            Value::Null => return Ok(None),
            Value::Object(members) => match members.get(step) {
                Some(member) => member,
                None => return Ok(None),
            },
            other => return Err(wrong_type(&seen, other, "map[string]interface {}")),
        };
    }
    Ok(Some(value))
}

fn wrong_type(path: &str, value: &Value, wanted: &str) -> String {
    let (shown, ty) = match value {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(on) => (on.to_string(), "bool"),
        Value::Number(number) if number.is_i64() => (number.to_string(), "int64"),
        Value::Number(number) => (number.to_string(), "float64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(_) => (value.to_string(), "[]interface {}"),
        Value::Object(_) => (value.to_string(), "map[string]interface {}"),
    };
    let dot = if path.starts_with('.') { "" } else { "." };
    format!("{dot}{path} accessor error: {shown} is of the type {ty}, expected {wanted}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_scale_can_carry() {
        let paths = ScalePaths {
            spec_replicas: ".spec.replicas".into(),
            status_replicas: ".status.replicas".into(),
            label_selector: Some(".status.selector".into()),
        };
        let check = |object: Value, expected: &[&str]| {
            let mut errors = ErrorList::new();
            check_spec(&object, &paths, &mut errors);
            check_status(&object, &paths, &mut errors);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        check(json!({}), &[]);
        check(
            json!({"spec": {"replicas": 0}, "status": {"replicas": 2147483647, "selector": "a=b"}}),
            &[],
        );
        check(
            json!({"spec": {"replicas": -1}, "status": {"replicas": 2147483648_i64}}),
            &[
                ".spec.replicas: Invalid value: -1: should be a non-negative integer",
                ".status.replicas: Invalid value: 2147483648: should be less than or equal to 2147483647",
            ],
        );
        check(
            json!({"spec": {"replicas": "x"}, "status": {"replicas": 1.5, "selector": 1}}),
            &[
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: x is of the type string, expected int64",
                ".status.replicas: Invalid value: 0: .status.replicas accessor error: 1.5 is of the type float64, expected int64",
                ".status.selector: Invalid value: \"\": .status.selector accessor error: 1 is of the type int64, expected string",
            ],
        );
        check(
            json!({"spec": 1}),
            &[
                ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: 1 is of the type int64, expected map[string]interface {}",
            ],
        );
    }
}
