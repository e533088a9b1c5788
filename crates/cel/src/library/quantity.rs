//! Quantities such as `100m` and `1Gi`.

use std::cmp::Ordering;

use machinery::quantity::Quantity;

use super::{Declared, no_overload, opaque, text};
use crate::eval::{EvalError, Scope};
use crate::value::{Opaque, Value};

pub(super) const DECLARED: &[Declared] = &[
    Declared("string_to_quantity", "quantity(string) -> kubernetes.Quantity", |_, args| {
        Quantity::parse(text(args, 0)?)
            .map(quantity)
            .map_err(|error| EvalError::message(error.to_string()))
    }),
    Declared("is_quantity_string", "isQuantity(string) -> bool", |_, args| {
        Ok(Value::Bool(Quantity::parse(text(args, 0)?).is_ok()))
    }),
    Declared("quantity_sign", "kubernetes.Quantity::sign() -> int", |_, args| {
        let zero = Quantity::ZERO;
        Ok(Value::Int(order(of(args, 0)?.cmp(&zero))))
    }),
    Declared("quantity_is_integer", "kubernetes.Quantity::isInteger() -> bool", |_, args| {
        Ok(Value::Bool(of(args, 0)?.is_integer()))
    }),
    Declared("quantity_as_integer", "kubernetes.Quantity::asInteger() -> int", |_, args| {
        let quantity = of(args, 0)?;
        if !quantity.is_integer() {
            return Err(EvalError::message("cannot convert value to integer"));
        }
        Ok(Value::Int(quantity.value()))
    }),
    Declared(
        "quantity_as_float",
        "kubernetes.Quantity::asApproximateFloat() -> double",
        |_, args| Ok(Value::Double(of(args, 0)?.as_f64())),
    ),
    Declared(
        "quantity_add",
        "kubernetes.Quantity::add(kubernetes.Quantity) -> kubernetes.Quantity",
        |_, args| Ok(quantity(of(args, 0)? + of(args, 1)?)),
    ),
    Declared(
        "quantity_add_int",
        "kubernetes.Quantity::add(int) -> kubernetes.Quantity",
        |_, args| Ok(quantity(of(args, 0)? + whole(args)?)),
    ),
    Declared(
        "quantity_sub",
        "kubernetes.Quantity::sub(kubernetes.Quantity) -> kubernetes.Quantity",
        |_, args| Ok(quantity(of(args, 0)? - of(args, 1)?)),
    ),
    Declared(
        "quantity_sub_int",
        "kubernetes.Quantity::sub(int) -> kubernetes.Quantity",
        |_, args| Ok(quantity(of(args, 0)? - whole(args)?)),
    ),
    Declared(
        "quantity_is_less_than",
        "kubernetes.Quantity::isLessThan(kubernetes.Quantity) -> bool",
        |_, args| Ok(Value::Bool(of(args, 0)? < of(args, 1)?)),
    ),
    Declared(
        "quantity_is_greater_than",
        "kubernetes.Quantity::isGreaterThan(kubernetes.Quantity) -> bool",
        |_, args| Ok(Value::Bool(of(args, 0)? > of(args, 1)?)),
    ),
    Declared(
        "quantity_compare_to",
        "kubernetes.Quantity::compareTo(kubernetes.Quantity) -> int",
        |_: &mut Scope, args| Ok(Value::Int(order(of(args, 0)?.cmp(&of(args, 1)?)))),
    ),
];

fn quantity(quantity: Quantity) -> Value {
    Value::Opaque(Opaque::Quantity(quantity))
}

fn of(args: &[Value], at: usize) -> Result<Quantity, EvalError> {
    match opaque(args, at)? {
        Opaque::Quantity(quantity) => Ok(*quantity),
        _ => Err(no_overload()),
    }
}

fn whole(args: &[Value]) -> Result<Quantity, EvalError> {
    super::int(args, 1).map(|number| Quantity::new(number, machinery::quantity::Format::DecimalSi))
}

/// -1, 0 or 1.
pub(super) fn order(order: Ordering) -> i64 {
    order as i64
}
