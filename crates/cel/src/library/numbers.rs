//! Greatest, least and rounding.

use std::cmp::Ordering;

use super::{Answer, Declared, list, no_overload};
use crate::eval::{EvalError, Scope};
use crate::value::Value;

pub(super) const DECLARED: &[Declared] = &[
    Declared("math_greatest_pair", "math.greatest(A, A) -> A", greatest),
    Declared("math_greatest_triple", "math.greatest(A, A, A) -> A", greatest),
    Declared("math_greatest_list", "math.greatest(list(A)) -> A", greatest),
    Declared("math_least_pair", "math.least(A, A) -> A", least),
    Declared("math_least_triple", "math.least(A, A, A) -> A", least),
    Declared("math_least_list", "math.least(list(A)) -> A", least),
    Declared("math_ceil_double", "math.ceil(double) -> double", |_, args| rounded(args, f64::ceil)),
    Declared("math_floor_double", "math.floor(double) -> double", |_, args| {
        rounded(args, f64::floor)
    }),
    Declared("math_round_double", "math.round(double) -> double", |_, args| {
        rounded(args, f64::round)
    }),
    Declared("math_trunc_double", "math.trunc(double) -> double", |_, args| {
        rounded(args, f64::trunc)
    }),
    Declared("math_abs_double", "math.abs(double) -> double", |_, args| rounded(args, f64::abs)),
    Declared("math_abs_int", "math.abs(int) -> int", |_, args| match &args[0] {
        Value::Int(number) => number
            .checked_abs()
            .map(Value::Int)
            .ok_or_else(|| EvalError::message("integer overflow")),
        _ => Err(no_overload()),
    }),
    Declared("math_isnan_double", "math.isNaN(double) -> bool", |_, args| match &args[0] {
        Value::Double(number) => Ok(Value::Bool(number.is_nan())),
        _ => Err(no_overload()),
    }),
];

fn rounded(args: &[Value], round: fn(f64) -> f64) -> Answer {
    match &args[0] {
        Value::Double(number) => Ok(Value::Double(round(*number))),
        _ => Err(no_overload()),
    }
}

fn extreme(args: &[Value], wanted: Ordering) -> Answer {
    let items = match args {
        [_] => &list(args, 0)?.items[..],
        items => items,
    };
    let number =
        |value: &&Value| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
    let mut items = items.iter();
    let mut best = items.next().filter(number).ok_or_else(no_overload)?;
    for item in items {
        match number(&item).then(|| item.compare(best)).flatten() {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return Err(no_overload()),
        }
    }
    Ok(best.clone())
}

fn greatest(_: &mut Scope, args: &[Value]) -> Answer {
    extreme(args, Ordering::Greater)
}

fn least(_: &mut Scope, args: &[Value]) -> Answer {
    extreme(args, Ordering::Less)
}
