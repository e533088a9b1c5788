//! An applied configuration laid over a live object, and items taken out of an object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::Element;
use super::node::{Node, Place};
use super::set::Set;

/// The live value with the applied one over it. Nothing is taken away: what a manager no longer
/// applies is removed by [`without`] afterwards.
pub fn merge(live: &Value, applied: &Value, place: Place<'_>) -> Value {
    both(Some(live), Some(applied), place).unwrap_or_default()
}

/// None when nothing is left, which is how empty results of merges are dropped.
fn both(live: Option<&Value>, applied: Option<&Value>, place: Place<'_>) -> Option<Value> {
    let (live, applied) = match (live, applied) {
        (Some(live), Some(applied)) => (live, applied),
        (one, other) => return one.or(other).cloned(),
    };
    let node = place.node();
    if node.is_leaf(applied) || node.is_leaf(live) {
        return Some(applied.clone());
    }
    match (live, applied) {
        (Value::Object(live), Value::Object(applied))
            if !(live.is_empty() && applied.is_empty()) =>
        {
            let merged = members(live, applied, &node);
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
        (Value::Array(live), Value::Array(applied)) if !(live.is_empty() && applied.is_empty()) => {
            let merged = list(live, applied, &node);
            (!merged.is_empty()).then_some(Value::Array(merged))
        }
        // Null or empty over something: nothing of it is taken away.
        (Value::Object(_) | Value::Array(_), Value::Null) if !is_empty(live) => Some(live.clone()),
        (_, applied) => Some(applied.clone()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        value => value.is_null(),
    }
}

fn members(
    live: &Map<String, Value>,
    applied: &Map<String, Value>,
    node: &Node<'_>,
) -> Map<String, Value> {
    let mut merged = Map::with_capacity(live.len() + applied.len());
    let mut put = |name: &str, live: Option<&Value>, applied: Option<&Value>| {
        let Some(place) = node.member(name) else { return };
        if let Some(value) = both(live, applied, place) {
            merged.insert(name.to_owned(), value);
        }
    };
    for (name, value) in live {
        put(name, Some(value), applied.get(name));
    }
    for (name, value) in applied {
        if !live.contains_key(name) {
            put(name, None, Some(value));
        }
    }
    merged
}

/// Items that both lists have come in the order of the applied list; the others keep their place
/// among their neighbours.
fn list(live: &[Value], applied: &[Value], node: &Node<'_>) -> Vec<Value> {
    let place = node.items();
    let steps = |items: &[Value]| -> Vec<Option<Element>> {
        items.iter().map(|item| node.step(item).ok()).collect()
    };
    let (live_steps, applied_steps) = (steps(live), steps(applied));
    // Items that are there twice have no counterpart.
    let mut live_at: BTreeMap<&Element, Option<usize>> = BTreeMap::new();
    for (at, step) in live_steps.iter().enumerate() {
        if let Some(step) = step {
            live_at.entry(step).and_modify(|found| *found = None).or_insert(Some(at));
        }
    }
    let applied_at: BTreeMap<&Element, usize> = applied_steps
        .iter()
        .enumerate()
        .filter_map(|(at, step)| Some((step.as_ref()?, at)))
        .collect();
    // From each place of the applied list, the next item that the live list has too.
    let mut awaited = vec![None; applied.len() + 1];
    for (at, step) in applied_steps.iter().enumerate().rev() {
        let shared = step.as_ref().is_some_and(|step| live_at.contains_key(step));
        awaited[at] = if shared { Some(at) } else { awaited[at + 1] };
    }

    let mut merged = Vec::with_capacity(live.len() + applied.len());
    let (mut left, mut right) = (0, 0);
    while left < live.len() || right < applied.len() {
        if let Some(item) = live.get(left) {
            let counterpart = live_steps[left].as_ref().and_then(|step| applied_at.get(step));
            match counterpart.copied() {
                None => {
                    merged.push(item.clone());
                    left += 1;
                    continue;
                }
                Some(at) if at == right => left += 1,
                Some(at) if awaited[right] == Some(at) => {}
                // It is there already, or comes when its turn in the applied order is.
                Some(_) => {
                    left += 1;
                    if awaited[right].is_some() || right >= applied.len() {
                        continue;
                    }
                }
            }
        }
        let counterpart = applied_steps[right].as_ref().and_then(|step| *live_at.get(step)?);
        merged.extend(both(counterpart.map(|at| &live[at]), Some(&applied[right]), place));
        right += 1;
    }
    merged
}

/// The value without what is in the set: members, entries and items, each with all below it.
/// What becomes empty goes too.
pub fn without(value: &Value, set: &Set, place: Place<'_>) -> Value {
    if set.is_empty() {
        return value.clone();
    }
    let node = place.node();
    if node.is_leaf(value) {
        return value.clone();
    }
    match value {
        Value::Object(members) if !members.is_empty() => {
            let mut kept = Map::with_capacity(members.len());
            for (name, value) in members {
                let value = match set.node(&Element::field(name)) {
                    Some(found) if found.member => continue,
                    Some(found) => match node.member(name) {
                        Some(place) => without(value, &found.below, place),
                        None => value.clone(),
                    },
                    None => value.clone(),
                };
                kept.insert(name.clone(), value);
            }
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        Value::Array(items) if !items.is_empty() => {
            let place = node.items();
            let kept: Vec<Value> = items
                .iter()
                .filter_map(|item| {
                    let found = node.step(item).ok().and_then(|step| set.node(&step));
                    match found {
                        Some(found) if found.member => None,
                        Some(found) => Some(without(item, &found.below, place)),
                        None => Some(item.clone()),
                    }
                })
                .collect();
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        _ => Value::Null,
    }
}
