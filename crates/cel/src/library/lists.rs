//! Lists.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::{Answer, Declared, int, list, no_overload};
use crate::eval::{EvalError, Scope};
use crate::value::{Key, Value};

pub(super) const DECLARED: &[Declared] = &[
    Declared("list_int_is_sorted_bool", "list(int)::isSorted() -> bool", is_sorted),
    Declared("list_uint_is_sorted_bool", "list(uint)::isSorted() -> bool", is_sorted),
    Declared("list_double_is_sorted_bool", "list(double)::isSorted() -> bool", is_sorted),
    Declared("list_bool_is_sorted_bool", "list(bool)::isSorted() -> bool", is_sorted),
    Declared("list_string_is_sorted_bool", "list(string)::isSorted() -> bool", is_sorted),
    Declared("list_bytes_is_sorted_bool", "list(bytes)::isSorted() -> bool", is_sorted),
    Declared("list_duration_is_sorted_bool", "list(duration)::isSorted() -> bool", is_sorted),
    Declared("list_timestamp_is_sorted_bool", "list(timestamp)::isSorted() -> bool", is_sorted),
    Declared("list_int_sum_int", "list(int)::sum() -> int", |_, args| sum(args, Value::Int(0))),
    Declared("list_uint_sum_uint", "list(uint)::sum() -> uint", |_, args| {
        sum(args, Value::Uint(0))
    }),
    Declared("list_double_sum_double", "list(double)::sum() -> double", |_, args| {
        sum(args, Value::Double(0.0))
    }),
    Declared("list_duration_sum_duration", "list(duration)::sum() -> duration", |_, args| {
        sum(args, Value::Duration(0))
    }),
    Declared("list_int_min_int", "list(int)::min() -> int", min),
    Declared("list_uint_min_uint", "list(uint)::min() -> uint", min),
    Declared("list_double_min_double", "list(double)::min() -> double", min),
    Declared("list_bool_min_bool", "list(bool)::min() -> bool", min),
    Declared("list_string_min_string", "list(string)::min() -> string", min),
    Declared("list_bytes_min_bytes", "list(bytes)::min() -> bytes", min),
    Declared("list_duration_min_duration", "list(duration)::min() -> duration", min),
    Declared("list_timestamp_min_timestamp", "list(timestamp)::min() -> timestamp", min),
    Declared("list_int_max_int", "list(int)::max() -> int", max),
    Declared("list_uint_max_uint", "list(uint)::max() -> uint", max),
    Declared("list_double_max_double", "list(double)::max() -> double", max),
    Declared("list_bool_max_bool", "list(bool)::max() -> bool", max),
    Declared("list_string_max_string", "list(string)::max() -> string", max),
    Declared("list_bytes_max_bytes", "list(bytes)::max() -> bytes", max),
    Declared("list_duration_max_duration", "list(duration)::max() -> duration", max),
    Declared("list_timestamp_max_timestamp", "list(timestamp)::max() -> timestamp", max),
    Declared("list_a_index_of_int", "list(A)::indexOf(A) -> int", |_, args| {
        let found = list(args, 0)?.items.iter().position(|item| item.equals(&args[1]));
        Ok(Value::Int(found.map_or(-1, |at| at as i64)))
    }),
    Declared("list_a_last_index_of_int", "list(A)::lastIndexOf(A) -> int", |_, args| {
        let found = list(args, 0)?.items.iter().rposition(|item| item.equals(&args[1]));
        Ok(Value::Int(found.map_or(-1, |at| at as i64)))
    }),
    Declared("list_slice", "list(T)::slice(int, int) -> list(T)", slice),
    Declared("list_flatten", "list(list(T))::flatten() -> list(T)", flatten),
    Declared("list_flatten_int", "list(dyn)::flatten(int) -> list(dyn)", flatten),
    Declared("list_distinct", "list(T)::distinct() -> list(T)", distinct),
    Declared("list_reverse", "list(T)::reverse() -> list(T)", |_, args| {
        Ok(Value::list(list(args, 0)?.items.iter().rev().cloned().collect()))
    }),
    Declared("list_sort", "list(T)::sort() -> list(T)", |_, args| {
        sorted(&list(args, 0)?.items, &list(args, 0)?.items)
    }),
    Declared("list_sort_by", "list(T)::@sortByAssociatedKeys(list(U)) -> list(T)", |_, args| {
        sorted(&list(args, 0)?.items, &list(args, 1)?.items)
    }),
    Declared("lists_range", "lists.range(int) -> list(int)", range),
];

/// Most numbers that `lists.range` makes.
const MAX_RANGE: i64 = 1_000_000;

fn ordered(a: &Value, b: &Value) -> Result<Ordering, EvalError> {
    a.compare(b).ok_or_else(no_overload)
}

fn is_sorted(_: &mut Scope, args: &[Value]) -> Answer {
    for pair in list(args, 0)?.items.windows(2) {
        if ordered(&pair[0], &pair[1])?.is_gt() {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum(args: &[Value], zero: Value) -> Answer {
    let overflow = || EvalError::message("integer overflow");
    list(args, 0)?.items.iter().try_fold(zero, |total, item| {
        Ok(match (total, item) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(*b).ok_or_else(overflow)?),
            (Value::Uint(a), Value::Uint(b)) => Value::Uint(
                a.checked_add(*b).ok_or_else(|| EvalError::message("unsigned integer overflow"))?,
            ),
            (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
            (Value::Duration(a), Value::Duration(b)) => Value::Duration(
                a.checked_add(*b).ok_or_else(|| EvalError::message("duration overflow"))?,
            ),
            // A list whose type was not known chose the first meaning that fits.
            (Value::Int(0), other) => other.clone(),
            _ => return Err(no_overload()),
        })
    })
}

fn extreme(args: &[Value], name: &str, wanted: Ordering) -> Answer {
    let items = &list(args, 0)?.items;
    let Some(mut best) = items.first() else {
        return Err(EvalError::message(format!("{name} called on empty list")));
    };
    for item in &items[1..] {
        if ordered(item, best)? == wanted {
            best = item;
        }
    }
    Ok(best.clone())
}

fn min(_: &mut Scope, args: &[Value]) -> Answer {
    extreme(args, "min", Ordering::Less)
}

fn max(_: &mut Scope, args: &[Value]) -> Answer {
    extreme(args, "max", Ordering::Greater)
}

fn slice(_: &mut Scope, args: &[Value]) -> Answer {
    let (items, start, end) = (&list(args, 0)?.items, int(args, 1)?, int(args, 2)?);
    let negative = |at: i64| {
        EvalError::message(format!(
            "cannot slice({start}, {end}), negative indexes not supported: {at}"
        ))
    };
    let from = usize::try_from(start).map_err(|_| negative(start))?;
    let to = usize::try_from(end).map_err(|_| negative(end))?;
    if from > to {
        return Err(EvalError::message(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        )));
    }
    match items.get(from..to) {
        Some(part) => Ok(Value::list(part.to_vec())),
        None => Err(EvalError::message(format!(
            "cannot slice({start}, {end}), list is length {}",
            items.len()
        ))),
    }
}

fn flatten(_: &mut Scope, args: &[Value]) -> Answer {
    let depth = if args.len() == 2 { int(args, 1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::message("level must be non-negative"));
    }
    let mut flat = Vec::new();
    flatten_into(&mut flat, &list(args, 0)?.items, depth);
    Ok(Value::list(flat))
}

fn flatten_into(flat: &mut Vec<Value>, items: &[Value], depth: i64) {
    for item in items {
        match item {
            Value::List(inner) if depth > 0 => flatten_into(flat, &inner.items, depth - 1),
            item => flat.push(item.clone()),
        }
    }
}

fn distinct(_: &mut Scope, args: &[Value]) -> Answer {
    let mut keys = BTreeSet::new();
    let mut distinct: Vec<Value> = Vec::new();
    for item in &list(args, 0)?.items {
        let fresh = match (item, Key::from_value(item)) {
            // What can be a key is found fast; the rest is compared one by one.
            (Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_), Some(key)) => {
                keys.insert(key)
            }
            _ => !distinct.iter().any(|seen| seen.equals(item)),
        };
        if fresh {
            distinct.push(item.clone());
        }
    }
    Ok(Value::list(distinct))
}

fn sorted(items: &[Value], keys: &[Value]) -> Answer {
    if items.len() != keys.len() {
        return Err(EvalError::message("@sortByAssociatedKeys() expected a list of the same size"));
    }
    if let Some(first) = keys.first()
        && let Some(other) = keys.iter().find(|key| {
            std::mem::discriminant(*key) != std::mem::discriminant(first)
                || key.compare(first).is_none()
        })
    {
        let message = if std::mem::discriminant(other) == std::mem::discriminant(first) {
            "list elements must be comparable"
        } else {
            "list elements must have the same type"
        };
        return Err(EvalError::message(message));
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|a, b| keys[*a].compare(&keys[*b]).unwrap_or(Ordering::Equal));
    Ok(Value::list(order.into_iter().map(|at| items[at].clone()).collect()))
}

fn range(_: &mut Scope, args: &[Value]) -> Answer {
    let end = int(args, 0)?;
    if end > MAX_RANGE {
        return Err(EvalError::message(format!("range of {end} is too large")));
    }
    Ok(Value::list((0..end).map(Value::Int).collect()))
}
