//! Lists taken as sets.

use super::{Answer, Declared, list};
use crate::eval::Scope;
use crate::value::Value;

pub(super) const DECLARED: &[Declared] = &[
    Declared("list_sets_contains_list", "sets.contains(list(T), list(T)) -> bool", |_, args| {
        holds(args, |all, part| part.iter().all(|item| has(all, item)))
    }),
    Declared(
        "list_sets_equivalent_list",
        "sets.equivalent(list(T), list(T)) -> bool",
        |_, args| {
            holds(args, |a, b| {
                a.iter().all(|item| has(b, item)) && b.iter().all(|item| has(a, item))
            })
        },
    ),
    Declared(
        "list_sets_intersects_list",
        "sets.intersects(list(T), list(T)) -> bool",
        |_: &mut Scope, args| holds(args, |a, b| a.iter().any(|item| has(b, item))),
    ),
];

fn has(items: &[Value], item: &Value) -> bool {
    items.iter().any(|candidate| candidate.equals(item))
}

fn holds(args: &[Value], test: fn(&[Value], &[Value]) -> bool) -> Answer {
    Ok(Value::Bool(test(&list(args, 0)?.items, &list(args, 1)?.items)))
}
