//! Operators and the functions of the language itself.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Answer, Declared, key, no_overload};
use crate::eval::{EvalError, Scope};
use crate::value::{ListKind, Value};

pub(super) const DECLARED: &[Declared] = &[
    // The evaluator looks at these itself, since it does not compute all their arguments.
    Declared("conditional", "_?_:_(bool, A, A) -> A", lazy),
    Declared("logical_and", "_&&_(bool, bool) -> bool", lazy),
    Declared("logical_or", "_||_(bool, bool) -> bool", lazy),
    Declared("not_strictly_false", "@not_strictly_false(bool) -> bool", lazy),
    Declared("select_optional_field", "_?._(dyn, string) -> optional(dyn)", lazy),
    Declared("logical_not", "!_(bool) -> bool", not),
    Declared("equals", "_==_(A, A) -> bool", |_, args| Ok(Value::Bool(args[0].equals(&args[1])))),
    Declared("not_equals", "_!=_(A, A) -> bool", |_, args| {
        Ok(Value::Bool(!args[0].equals(&args[1])))
    }),
    Declared("add_bytes", "_+_(bytes, bytes) -> bytes", add),
    Declared("add_double", "_+_(double, double) -> double", add),
    Declared("add_duration_duration", "_+_(duration, duration) -> duration", add),
    Declared("add_duration_timestamp", "_+_(duration, timestamp) -> timestamp", add),
    Declared("add_timestamp_duration", "_+_(timestamp, duration) -> timestamp", add),
    Declared("add_int64", "_+_(int, int) -> int", add),
    Declared("add_list", "_+_(list(A), list(A)) -> list(A)", add),
    Declared("add_string", "_+_(string, string) -> string", add),
    Declared("add_uint64", "_+_(uint, uint) -> uint", add),
    Declared("subtract_double", "_-_(double, double) -> double", subtract),
    Declared("subtract_duration_duration", "_-_(duration, duration) -> duration", subtract),
    Declared("subtract_int64", "_-_(int, int) -> int", subtract),
    Declared("subtract_timestamp_duration", "_-_(timestamp, duration) -> timestamp", subtract),
    Declared("subtract_timestamp_timestamp", "_-_(timestamp, timestamp) -> duration", subtract),
    Declared("subtract_uint64", "_-_(uint, uint) -> uint", subtract),
    Declared("multiply_double", "_*_(double, double) -> double", arithmetic_multiply),
    Declared("multiply_int64", "_*_(int, int) -> int", arithmetic_multiply),
    Declared("multiply_uint64", "_*_(uint, uint) -> uint", arithmetic_multiply),
    Declared("divide_double", "_/_(double, double) -> double", divide),
    Declared("divide_int64", "_/_(int, int) -> int", divide),
    Declared("divide_uint64", "_/_(uint, uint) -> uint", divide),
    Declared("modulo_int64", "_%_(int, int) -> int", modulo),
    Declared("modulo_uint64", "_%_(uint, uint) -> uint", modulo),
    Declared("negate_double", "-_(double) -> double", negate),
    Declared("negate_int64", "-_(int) -> int", negate),
    Declared("index_list", "_[_](list(A), int) -> A", index),
    Declared("index_map", "_[_](map(A, B), A) -> B", index),
    Declared("optional_list_index_int", "_[_](optional(list(V)), int) -> optional(V)", index),
    Declared("optional_map_index_value", "_[_](optional(map(K, V)), K) -> optional(V)", index),
    Declared("list_optindex_optional_int", "_[?_](list(V), int) -> optional(V)", optional_index),
    Declared("map_optindex_optional_value", "_[?_](map(K, V), K) -> optional(V)", optional_index),
    Declared(
        "optional_list_optindex_optional_int",
        "_[?_](optional(list(V)), int) -> optional(V)",
        optional_index,
    ),
    Declared(
        "optional_map_optindex_optional_value",
        "_[?_](optional(map(K, V)), K) -> optional(V)",
        optional_index,
    ),
    Declared("in_list", "@in(A, list(A)) -> bool", contained),
    Declared("in_map", "@in(A, map(A, B)) -> bool", contained),
    Declared("size_bytes", "size(bytes) -> int", size),
    Declared("size_list", "size(list(A)) -> int", size),
    Declared("size_map", "size(map(A, B)) -> int", size),
    Declared("size_string", "size(string) -> int", size),
    Declared("bytes_size", "bytes::size() -> int", size),
    Declared("list_size", "list(A)::size() -> int", size),
    Declared("map_size", "map(A, B)::size() -> int", size),
    Declared("string_size", "string::size() -> int", size),
    Declared("type", "type(A) -> type(A)", |_, args| Ok(Value::Type(args[0].type_of()))),
    Declared("less_bool", "_<_(bool, bool) -> bool", less),
    Declared("less_bytes", "_<_(bytes, bytes) -> bool", less),
    Declared("less_double", "_<_(double, double) -> bool", less),
    Declared("less_double_int64", "_<_(double, int) -> bool", less),
    Declared("less_double_uint64", "_<_(double, uint) -> bool", less),
    Declared("less_duration", "_<_(duration, duration) -> bool", less),
    Declared("less_int64", "_<_(int, int) -> bool", less),
    Declared("less_int64_double", "_<_(int, double) -> bool", less),
    Declared("less_int64_uint64", "_<_(int, uint) -> bool", less),
    Declared("less_string", "_<_(string, string) -> bool", less),
    Declared("less_timestamp", "_<_(timestamp, timestamp) -> bool", less),
    Declared("less_uint64", "_<_(uint, uint) -> bool", less),
    Declared("less_uint64_double", "_<_(uint, double) -> bool", less),
    Declared("less_uint64_int64", "_<_(uint, int) -> bool", less),
    Declared("less_equals_bool", "_<=_(bool, bool) -> bool", less_or_equal),
    Declared("less_equals_bytes", "_<=_(bytes, bytes) -> bool", less_or_equal),
    Declared("less_equals_double", "_<=_(double, double) -> bool", less_or_equal),
    Declared("less_equals_double_int64", "_<=_(double, int) -> bool", less_or_equal),
    Declared("less_equals_double_uint64", "_<=_(double, uint) -> bool", less_or_equal),
    Declared("less_equals_duration", "_<=_(duration, duration) -> bool", less_or_equal),
    Declared("less_equals_int64", "_<=_(int, int) -> bool", less_or_equal),
    Declared("less_equals_int64_double", "_<=_(int, double) -> bool", less_or_equal),
    Declared("less_equals_int64_uint64", "_<=_(int, uint) -> bool", less_or_equal),
    Declared("less_equals_string", "_<=_(string, string) -> bool", less_or_equal),
    Declared("less_equals_timestamp", "_<=_(timestamp, timestamp) -> bool", less_or_equal),
    Declared("less_equals_uint64", "_<=_(uint, uint) -> bool", less_or_equal),
    Declared("less_equals_uint64_double", "_<=_(uint, double) -> bool", less_or_equal),
    Declared("less_equals_uint64_int64", "_<=_(uint, int) -> bool", less_or_equal),
    Declared("greater_bool", "_>_(bool, bool) -> bool", greater),
    Declared("greater_bytes", "_>_(bytes, bytes) -> bool", greater),
    Declared("greater_double", "_>_(double, double) -> bool", greater),
    Declared("greater_double_int64", "_>_(double, int) -> bool", greater),
    Declared("greater_double_uint64", "_>_(double, uint) -> bool", greater),
    Declared("greater_duration", "_>_(duration, duration) -> bool", greater),
    Declared("greater_int64", "_>_(int, int) -> bool", greater),
    Declared("greater_int64_double", "_>_(int, double) -> bool", greater),
    Declared("greater_int64_uint64", "_>_(int, uint) -> bool", greater),
    Declared("greater_string", "_>_(string, string) -> bool", greater),
    Declared("greater_timestamp", "_>_(timestamp, timestamp) -> bool", greater),
    Declared("greater_uint64", "_>_(uint, uint) -> bool", greater),
    Declared("greater_uint64_double", "_>_(uint, double) -> bool", greater),
    Declared("greater_uint64_int64", "_>_(uint, int) -> bool", greater),
    Declared("greater_equals_bool", "_>=_(bool, bool) -> bool", greater_or_equal),
    Declared("greater_equals_bytes", "_>=_(bytes, bytes) -> bool", greater_or_equal),
    Declared("greater_equals_double", "_>=_(double, double) -> bool", greater_or_equal),
    Declared("greater_equals_double_int64", "_>=_(double, int) -> bool", greater_or_equal),
    Declared("greater_equals_double_uint64", "_>=_(double, uint) -> bool", greater_or_equal),
    Declared("greater_equals_duration", "_>=_(duration, duration) -> bool", greater_or_equal),
    Declared("greater_equals_int64", "_>=_(int, int) -> bool", greater_or_equal),
    Declared("greater_equals_int64_double", "_>=_(int, double) -> bool", greater_or_equal),
    Declared("greater_equals_int64_uint64", "_>=_(int, uint) -> bool", greater_or_equal),
    Declared("greater_equals_string", "_>=_(string, string) -> bool", greater_or_equal),
    Declared("greater_equals_timestamp", "_>=_(timestamp, timestamp) -> bool", greater_or_equal),
    Declared("greater_equals_uint64", "_>=_(uint, uint) -> bool", greater_or_equal),
    Declared("greater_equals_uint64_double", "_>=_(uint, double) -> bool", greater_or_equal),
    Declared("greater_equals_uint64_int64", "_>=_(uint, int) -> bool", greater_or_equal),
    Declared("map_insert", "cel.@mapInsert(map(K, V), K, V) -> map(K, V)", map_insert),
    Declared("map_insert_map", "cel.@mapInsert(map(K, V), map(K, V)) -> map(K, V)", map_insert),
];

/// Never called: the evaluator has its own way for these.
fn lazy(_: &mut Scope, _: &[Value]) -> Answer {
    Err(no_overload())
}

fn not(_: &mut Scope, args: &[Value]) -> Answer {
    match &args[0] {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        _ => Err(no_overload()),
    }
}

fn overflow() -> EvalError {
    EvalError::message("integer overflow")
}

fn unsigned_overflow() -> EvalError {
    EvalError::message("unsigned integer overflow")
}

fn shifted(time: Timestamp, nanos: i64) -> Answer {
    time.checked_add(jiff::SignedDuration::from_nanos(nanos))
        .ok()
        .filter(super::time::in_range)
        .map(Value::Timestamp)
        .ok_or_else(|| EvalError::message("timestamp overflow"))
}

fn add(_: &mut Scope, args: &[Value]) -> Answer {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => {
            a.checked_add(*b).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => super::new_text(format!("{a}{b}")),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&a[..], &b[..]].concat().into())),
        (Value::List(a), Value::List(b)) => {
            let mut list = (**a).clone();
            if list.items.is_empty() && list.kind == ListKind::Atomic {
                return Ok(Value::List(b.clone()));
            }
            list.extend(&b.items);
            Ok(Value::List(Arc::new(list)))
        }
        (Value::Duration(a), Value::Duration(b)) => a
            .checked_add(*b)
            .map(Value::Duration)
            .ok_or_else(|| EvalError::message("duration overflow")),
        (Value::Timestamp(time), Value::Duration(nanos))
        | (Value::Duration(nanos), Value::Timestamp(time)) => shifted(*time, *nanos),
        _ => Err(no_overload()),
    }
}

fn subtract(_: &mut Scope, args: &[Value]) -> Answer {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => {
            a.checked_sub(*b).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => a
            .checked_sub(*b)
            .map(Value::Duration)
            .ok_or_else(|| EvalError::message("duration overflow")),
        (Value::Timestamp(time), Value::Duration(nanos)) => match nanos.checked_neg() {
            Some(nanos) => shifted(*time, nanos),
            None => Err(EvalError::message("timestamp overflow")),
        },
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            i64::try_from(a.as_nanosecond() - b.as_nanosecond())
                .map(Value::Duration)
                .map_err(|_| EvalError::message("duration overflow"))
        }
        _ => Err(no_overload()),
    }
}

fn arithmetic_multiply(_: &mut Scope, args: &[Value]) -> Answer {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => {
            a.checked_mul(*b).map(Value::Uint).ok_or_else(unsigned_overflow)
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(no_overload()),
    }
}

fn divide(_: &mut Scope, args: &[Value]) -> Answer {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::message("division by zero"))
        }
        (Value::Int(a), Value::Int(b)) => a.checked_div(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(no_overload()),
    }
}

fn modulo(_: &mut Scope, args: &[Value]) -> Answer {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::message("modulus by zero"))
        }
        (Value::Int(a), Value::Int(b)) => a.checked_rem(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => Err(no_overload()),
    }
}

fn negate(_: &mut Scope, args: &[Value]) -> Answer {
    match &args[0] {
        Value::Int(a) => a.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Double(a) => Ok(Value::Double(-a)),
        _ => Err(no_overload()),
    }
}

/// `container[at]`; `Ok(None)` when there is nothing there, with the reason to give.
fn found(container: &Value, at: &Value) -> Result<Result<Value, EvalError>, EvalError> {
    match container {
        Value::List(list) => {
            let missing = || EvalError::message(format!("index out of bounds: {}", shown(at)));
            let index = match at {
                Value::Int(index) => usize::try_from(*index).ok(),
                Value::Uint(index) => usize::try_from(*index).ok(),
                Value::Double(index) if index.fract() == 0.0 && *index >= 0.0 => {
                    Some(*index as usize)
                }
                _ => return Err(no_overload()),
            };
            let item = index.and_then(|index| list.items.get(index)).cloned();
            Ok(item.ok_or_else(missing))
        }
        Value::Map(map) => {
            let value = key(at).ok().and_then(|key| map.get(&key).cloned());
            Ok(value.ok_or_else(|| EvalError::message(format!("no such key: {}", shown(at)))))
        }
        Value::Object(object) => {
            let Value::String(name) = at else {
                return Err(no_overload());
            };
            let value = object.fields.get(name).cloned();
            Ok(value.ok_or_else(|| EvalError::message(format!("no such key: {name}"))))
        }
        _ => Err(no_overload()),
    }
}

fn shown(value: &Value) -> String {
    Value::to_json(value).map_or_else(String::new, |json| match json {
        machinery::Value::String(text) => text,
        other => other.to_string(),
    })
}

fn index(_: &mut Scope, args: &[Value]) -> Answer {
    match &args[0] {
        Value::Optional(None) => Ok(Value::none()),
        Value::Optional(Some(container)) => {
            Ok(found(container, &args[1])?.map_or_else(|_| Value::none(), Value::some))
        }
        container => found(container, &args[1])?,
    }
}

fn optional_index(_: &mut Scope, args: &[Value]) -> Answer {
    let container = match &args[0] {
        Value::Optional(None) => return Ok(Value::none()),
        Value::Optional(Some(container)) => container,
        container => container,
    };
    Ok(found(container, &args[1])?.map_or_else(|_| Value::none(), Value::some))
}

fn contained(_: &mut Scope, args: &[Value]) -> Answer {
    let value = &args[0];
    Ok(Value::Bool(match &args[1] {
        Value::List(list) => list.items.iter().any(|item| item.equals(value)),
        Value::Map(map) => key(value).is_ok_and(|key| map.contains_key(&key)),
        Value::Object(object) => {
            matches!(value, Value::String(name) if object.fields.contains_key(name))
        }
        _ => return Err(no_overload()),
    }))
}

fn size(_: &mut Scope, args: &[Value]) -> Answer {
    Ok(Value::Int(args[0].size() as i64))
}

fn ordered(args: &[Value], test: fn(Ordering) -> bool) -> Answer {
    match args[0].compare(&args[1]) {
        Some(order) => Ok(Value::Bool(test(order))),
        // Only what is not a number has no order.
        None => match (&args[0], &args[1]) {
            (Value::Double(_), _) | (_, Value::Double(_)) => Ok(Value::Bool(false)),
            _ => Err(no_overload()),
        },
    }
}

fn less(_: &mut Scope, args: &[Value]) -> Answer {
    ordered(args, Ordering::is_lt)
}

fn less_or_equal(_: &mut Scope, args: &[Value]) -> Answer {
    ordered(args, Ordering::is_le)
}

fn greater(_: &mut Scope, args: &[Value]) -> Answer {
    ordered(args, Ordering::is_gt)
}

fn greater_or_equal(_: &mut Scope, args: &[Value]) -> Answer {
    ordered(args, Ordering::is_ge)
}

fn map_insert(_: &mut Scope, args: &[Value]) -> Answer {
    let Value::Map(map) = &args[0] else {
        return Err(no_overload());
    };
    let mut map = map.clone();
    insert(Arc::make_mut(&mut map), &args[1..])?;
    Ok(Value::Map(map))
}

/// Puts a key and value, or the entries of a map, into `map`.
pub(crate) fn insert(
    map: &mut std::collections::BTreeMap<crate::value::Key, Value>,
    args: &[Value],
) -> Result<(), EvalError> {
    let mut put = |at: crate::value::Key, value: Value| match map.insert(at.clone(), value) {
        Some(_) => Err(EvalError::message(format!("insert failed: key {at} already exists"))),
        None => Ok(()),
    };
    match args {
        [at, value] => put(key(at)?, value.clone()),
        [Value::Map(entries)] => {
            entries.iter().try_for_each(|(at, value)| put(at.clone(), value.clone()))
        }
        _ => Err(no_overload()),
    }
}
