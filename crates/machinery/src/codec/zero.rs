//! Which members Go leaves out and which it writes though nobody gave them.

use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::schema::{Field, Kind, TypeRef};

/// Builds a struct from its decoded members, sorted by position: empty optional ones are left
/// out and mandatory ones that are missing get their zero value.
pub(super) fn complete(
    ty: TypeRef<'_>,
    members: SmallVec<[(u16, Value); 16]>,
) -> Map<String, Value> {
    let mut object = Map::with_capacity(members.len() + 1);
    let mut members = members.into_iter().peekable();
    for (position, field) in ty.fields().enumerate() {
        let given = members.next_if(|(at, _)| usize::from(*at) == position);
        match given {
            Some((_, value)) if !value.is_null() => {
                if !is_omitted(field, &value) {
                    object.insert(field.name().to_owned(), value);
                }
            }
            _ => {
                if let Some(zero) = absent(field) {
                    object.insert(field.name().to_owned(), zero);
                }
            }
        }
    }
    object
}

/// Whether a value that is present is left out because it is empty.
pub(super) fn is_omitted(field: Field<'_>, value: &Value) -> bool {
    if !field.omit_empty() || field.is_pointer() {
        return false;
    }
    match value {
        Value::String(text) if text.is_empty() => {
            matches!(field.type_ref().kind(), Kind::String | Kind::Bytes)
        }
        Value::Bool(on) => !on && matches!(field.type_ref().kind(), Kind::Bool),
        Value::Number(number) => {
            number.as_f64() == Some(0.0)
                && matches!(field.type_ref().kind(), Kind::Int32 | Kind::Int64 | Kind::Double)
        }
        Value::Array(items) => items.is_empty() && matches!(field.type_ref().kind(), Kind::List(_)),
        Value::Object(entries) => {
            entries.is_empty() && matches!(field.type_ref().kind(), Kind::Map(_))
        }
        _ => false,
    }
}

/// What is written for a member that is absent; none if nothing is.
pub(super) fn absent(field: Field<'_>) -> Option<Value> {
    is_always_written(field)
        .then(|| if field.is_pointer() { Value::Null } else { zero(field.type_ref()) })
}

/// Whether something is written for a member that is absent.
pub(crate) fn is_always_written(field: Field<'_>) -> bool {
    if field.omit_zero() || (field.is_pointer() && field.omit_empty()) {
        return false;
    }
    if field.is_pointer() {
        return true;
    }
    let is_struct_in_go = matches!(
        field.type_ref().kind(),
        Kind::Struct
            | Kind::Quantity
            | Kind::Time
            | Kind::MicroTime
            | Kind::Duration
            | Kind::IntOrString
            | Kind::Raw(_)
            | Kind::SchemaOrBool(_)
            | Kind::SchemaOrArray(_)
            | Kind::SchemaOrStrings(_)
    );
    is_struct_in_go || !field.omit_empty()
}

/// The zero value of a type as Go writes it.
pub(crate) fn zero(ty: TypeRef<'_>) -> Value {
    match ty.kind() {
        Kind::Bool | Kind::SchemaOrBool(_) => Value::Bool(false),
        Kind::Int32 | Kind::Int64 | Kind::Double | Kind::IntOrString => Value::from(0),
        Kind::String => Value::String(String::new()),
        Kind::Quantity => Value::String("0".into()),
        Kind::Duration => Value::String("0s".into()),
        Kind::Struct => Value::Object(complete(ty, SmallVec::new())),
        Kind::Bytes
        | Kind::Any
        | Kind::Time
        | Kind::MicroTime
        | Kind::Raw(_)
        | Kind::SchemaOrArray(_)
        | Kind::SchemaOrStrings(_)
        | Kind::List(_)
        | Kind::Map(_) => Value::Null,
    }
}
