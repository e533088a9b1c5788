//! The types in which expressions write changes: `Object` and the types of its fields for what is
//! to be merged, `JSONPatch` for operations,
//! <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>.
//!
//! Nothing is known of an object's fields while an expression is compiled, so any name will do.
//! [`misnamed`] finds values that stand where another type belongs.

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::Value as Json;
use serde_json::json;

use crate::eval::EvalError;
use crate::types::{Fields, Object as ObjectType, Type};
use crate::value::{Object, Value};

/// The only function that is there with these types and not without.
pub(crate) const ESCAPE_KEY: &str = "jsonpatch.escapeKey";

const OBJECT: &str = "Object";
const OPERATION: &str = "JSONPatch";

/// The type of the whole of what is to be merged.
pub(crate) fn object() -> Type {
    Type::Object(ObjectType::new(OBJECT, Arc::new(AnyFields)))
}

/// The type of a list of operations.
pub(crate) fn operations() -> Type {
    Type::list(Type::Object(ObjectType::new(OPERATION, Arc::new(OperationFields))))
}

/// The type of a message.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    if name == OPERATION {
        return Some(Type::Object(ObjectType::new(OPERATION, Arc::new(OperationFields))));
    }
    let below = name.strip_prefix(OBJECT)?;
    let is_object = below.is_empty() || below.starts_with('.');
    is_object.then(|| Type::Object(ObjectType::new(name, Arc::new(AnyFields))))
}

struct AnyFields;

impl Fields for AnyFields {
    fn field(&self, _name: &str) -> Option<Type> {
        Some(Type::Dyn)
    }
}

struct OperationFields;

impl Fields for OperationFields {
    fn field(&self, name: &str) -> Option<Type> {
        match name {
            "op" | "path" | "from" => Some(Type::String),
            "value" => Some(Type::Dyn),
            _ => None,
        }
    }
}

/// A message of these fields.
pub(crate) fn message(
    name: &Arc<str>,
    mut fields: BTreeMap<Arc<str>, Value>,
) -> Result<Value, EvalError> {
    if **name == *OPERATION {
        for text in ["op", "path", "from"] {
            match fields.get(text) {
                None => {}
                // Unset and empty are the same here.
                Some(Value::String(given)) if given.is_empty() => {
                    fields.remove(text);
                }
                Some(Value::String(_)) => {}
                Some(other) => {
                    let ty = other.type_of();
                    return Err(EvalError::message(format!(
                        "unexpected type {ty} for JSONPatchType '{text}' field"
                    )));
                }
            }
        }
    }
    Ok(Value::Object(Arc::new(Object { name: name.clone(), fields, hidden: Vec::new() })))
}

/// The value of a field that is not set, where that is not a mistake.
pub(crate) fn unset(of: &Value, field: &str) -> Option<Value> {
    let Value::Object(object) = of else { return None };
    let text = *object.name == *OPERATION && matches!(field, "op" | "path" | "from");
    text.then(|| Value::string(""))
}

/// The objects that do not have the type of the field they stand in, each with the type that
/// belongs there; one line for each.
pub(crate) fn misnamed(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Value::Object(object) = value {
        look(value, &mut object.name.to_string(), &mut found);
    }
    found
}

fn look(value: &Value, path: &mut String, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if *object.name != **path {
                found.push(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    object.name
                ));
            }
            for (name, value) in &object.fields {
                let outside = path.len();
                path.push('.');
                path.push_str(name);
                look(value, path, found);
                path.truncate(outside);
            }
        }
        Value::List(list) => list.items.iter().for_each(|item| look(item, path, found)),
        Value::Map(map) => map.values().for_each(|value| look(value, path, found)),
        _ => {}
    }
}

/// The list of operations as a JSON patch.
///
/// # Errors
/// What is not an operation, or has no JSON form.
pub(crate) fn to_json_patch(value: &Value) -> Result<Json, String> {
    let Value::List(list) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    list.items.iter().map(operation).collect::<Result<Vec<_>, _>>().map(Json::Array)
}

fn operation(value: &Value) -> Result<Json, String> {
    let Value::Object(operation) = value else {
        return Err(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch"
                .to_owned(),
        );
    };
    let text = |name: &str| match operation.fields.get(name) {
        Some(Value::String(text)) => text.to_string(),
        _ => String::new(),
    };
    let mut made = json!({"op": text("op"), "path": text("path")});
    let from = text("from");
    if !from.is_empty() {
        made["from"] = from.into();
    }
    if let Some(value) = operation.fields.get("value") {
        let misnamed = misnamed(value);
        if !misnamed.is_empty() {
            return Err(format!("type mismatch: {}", misnamed.join("\n")));
        }
        made["value"] = value.to_json().ok_or_else(|| {
            let ty = value.type_of();
            format!(
                "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {ty}"
            )
        })?;
    }
    Ok(made)
}
