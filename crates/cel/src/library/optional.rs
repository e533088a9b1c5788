//! Values that may be absent.

use super::{Answer, Declared, list, no_overload};
use crate::eval::{EvalError, Scope};
use crate::value::Value;

pub(super) const DECLARED: &[Declared] = &[
    Declared("optional_of", "optional.of(V) -> optional(V)", |_, args| {
        Ok(Value::some(args[0].clone()))
    }),
    Declared("optional_ofNonZeroValue", "optional.ofNonZeroValue(V) -> optional(V)", |_, args| {
        Ok(if args[0].is_zero() { Value::none() } else { Value::some(args[0].clone()) })
    }),
    Declared("optional_none", "optional.none() -> optional(V)", |_, _| Ok(Value::none())),
    Declared("optional_value", "optional(V)::value() -> V", value),
    Declared("optional_hasValue", "optional(V)::hasValue() -> bool", |_, args| match &args[0] {
        Value::Optional(value) => Ok(Value::Bool(value.is_some())),
        _ => Err(no_overload()),
    }),
    Declared("optional_or_optional", "optional(V)::or(optional(V)) -> optional(V)", |_, args| {
        match &args[0] {
            Value::Optional(None) => Ok(args[1].clone()),
            value => Ok(value.clone()),
        }
    }),
    Declared("optional_orValue_value", "optional(V)::orValue(V) -> V", |_, args| match &args[0] {
        Value::Optional(Some(value)) => Ok((**value).clone()),
        _ => Ok(args[1].clone()),
    }),
    Declared("optional_unwrap", "optional.unwrap(list(optional(V))) -> list(V)", unwrap),
    Declared("optional_unwrapOpt", "list(optional(V))::unwrapOpt() -> list(V)", unwrap),
    Declared("list_first", "list(V)::first() -> optional(V)", |_, args| {
        Ok(list(args, 0)?.items.first().cloned().map_or_else(Value::none, Value::some))
    }),
    Declared("list_last", "list(V)::last() -> optional(V)", |_, args| {
        Ok(list(args, 0)?.items.last().cloned().map_or_else(Value::none, Value::some))
    }),
];

fn value(_: &mut Scope, args: &[Value]) -> Answer {
    match &args[0] {
        Value::Optional(Some(value)) => Ok((**value).clone()),
        Value::Optional(None) => Err(EvalError::message("optional.none() dereference")),
        _ => Err(no_overload()),
    }
}

fn unwrap(_: &mut Scope, args: &[Value]) -> Answer {
    let mut values = Vec::new();
    for item in &list(args, 0)?.items {
        match item {
            Value::Optional(Some(value)) => values.push((**value).clone()),
            Value::Optional(None) => {}
            _ => return Err(no_overload()),
        }
    }
    Ok(Value::list(values))
}
