//! Strategic merge patch: a merge patch that knows which lists are sets and maps.
//!
//! See "Use a strategic merge patch" in the Kubernetes documentation. Directives are members
//! whose names start with `$`: `$patch`, `$retainKeys`, `$setElementOrder/LIST` and
//! `$deleteFromPrimitiveList/LIST`.

use serde_json::{Map, Value};

use super::Error;
use crate::schema::{Field, TypeRef};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER_PREFIX: &str = "$setElementOrder/";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";

/// Applies a patch to an object of the given type.
///
/// # Errors
/// When a directive is malformed or an item of a list lacks its merge key.
pub fn apply(object: &mut Value, patch: &Value, ty: TypeRef<'_>) -> Result<(), Error> {
    let Value::Object(patch) = patch else {
        return Err(malformed("unable to find object fields in the patch".to_owned()));
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let fields = object.as_object_mut().expect("made an object above");
    merge_map(fields, patch, Some(ty))
}

fn malformed(text: String) -> Error {
    Error::Malformed(text)
}

/// What is known about a member of a map or struct.
#[derive(Clone, Copy, Default)]
struct Facts<'s> {
    ty: Option<TypeRef<'s>>,
    field: Option<Field<'s>>,
}

impl<'s> Facts<'s> {
    fn of(parent: Option<TypeRef<'s>>, name: &str) -> Self {
        let field = parent.and_then(|ty| ty.field(name));
        let ty = field.map(|f| f.type_ref()).or_else(|| parent.and_then(TypeRef::element));
        Self { ty, field }
    }

    fn merges(self) -> bool {
        self.field.is_some_and(Field::patch_merges)
    }

    fn replaces(self) -> bool {
        self.field.is_some_and(Field::patch_replaces)
    }

    fn merge_key(self) -> Option<&'s str> {
        self.field.and_then(Field::merge_key)
    }

    fn element(self) -> Option<TypeRef<'s>> {
        self.ty.and_then(TypeRef::element)
    }
}

fn merge_map(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    ty: Option<TypeRef<'_>>,
) -> Result<(), Error> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(s)) if s == "merge" => {}
        Some(Value::String(s)) if s == "replace" => {
            object.clear();
            for (name, value) in patch.iter().filter(|(name, _)| *name != DIRECTIVE) {
                object.insert(name.clone(), value.clone());
            }
            return Ok(());
        }
        Some(Value::String(s)) if s == "delete" => {
            object.clear();
            return Ok(());
        }
        Some(other) => return Err(bad_directive(other, patch)),
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain(object, patch, keys)?;
    }
    for (name, value) in patch {
        if name == DIRECTIVE || name == RETAIN_KEYS {
            continue;
        }
        if let Some(list) = name.strip_prefix(DELETE_PREFIX) {
            delete_scalars(object, list, value)?;
        } else if let Some(list) = name.strip_prefix(ORDER_PREFIX) {
            // With the list itself in the patch, it takes care of the order.
            if !patch.contains_key(list) {
                reorder(object, list, value, None, Facts::of(ty, list))?;
            }
        } else {
            let order = patch.get(&format!("{ORDER_PREFIX}{name}"));
            merge_member(object, name, value, order, Facts::of(ty, name))?;
        }
    }
    // Deletions come before the order is set, whatever the order of directives.
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(ORDER_PREFIX)
            && patch.contains_key(&format!("{DELETE_PREFIX}{list}"))
            && !patch.contains_key(list)
        {
            reorder(object, list, value, None, Facts::of(ty, list))?;
        }
    }
    Ok(())
}

fn bad_directive(directive: &Value, patch: &Map<String, Value>) -> Error {
    let text = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    malformed(format!("unknown patch type '{text}' in map: {}", Value::Object(patch.clone())))
}

fn retain(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    keys: &Value,
) -> Result<(), Error> {
    let Some(keys) = keys.as_array() else {
        return Err(malformed("invalid patch format of retainKeys".to_owned()));
    };
    let kept = |name: &str| keys.iter().any(|k| k.as_str() == Some(name));
    if patch.keys().any(|name| !name.starts_with('$') && !patch[name].is_null() && !kept(name)) {
        return Err(malformed("invalid patch format of retainKeys".to_owned()));
    }
    object.retain(|name, _| kept(name));
    Ok(())
}

fn merge_member(
    object: &mut Map<String, Value>,
    name: &str,
    patch: &Value,
    order: Option<&Value>,
    facts: Facts<'_>,
) -> Result<(), Error> {
    if patch.is_null() {
        object.shift_remove(name);
        return Ok(());
    }
    match patch {
        Value::Object(fields) => {
            let deletes = fields.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
            if deletes && !object.contains_key(name) {
                return Ok(());
            }
            let target = object.entry(name).or_insert(Value::Null);
            if !target.is_object() || facts.replaces() {
                *target = Value::Object(Map::new());
            }
            if let Value::Object(target) = target {
                merge_map(target, fields, facts.ty)?;
            }
        }
        Value::Array(items) if facts.merges() => {
            let before = object.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            let target = object.entry(name).or_insert(Value::Null);
            if !target.is_array() {
                *target = Value::Array(Vec::new());
            }
            if let Value::Array(target) = target {
                let special = merge_list(target, items, facts)?;
                if special {
                    return Ok(());
                }
            }
            if let Some(order) = order {
                check_order(items, order, facts)?;
                reorder(object, name, order, Some(&before), facts)?;
            }
        }
        other => {
            object.insert(name.to_owned(), other.clone());
        }
    }
    Ok(())
}

/// Merges items by key, or scalars as a set. Says whether the patch replaced the whole list.
fn merge_list(target: &mut Vec<Value>, patch: &[Value], facts: Facts<'_>) -> Result<bool, Error> {
    let maps = patch.iter().chain(target.iter()).any(Value::is_object);
    if !maps {
        for item in patch {
            if !target.contains(item) {
                target.push(item.clone());
            }
        }
        return Ok(false);
    }
    let Some(key) = facts.merge_key() else {
        let name = facts.element().and_then(TypeRef::short_name).unwrap_or("list");
        return Err(malformed(format!("cannot merge lists without merge key for {name}")));
    };
    let directive = |item: &Value| item.get(DIRECTIVE).cloned();
    if patch.iter().any(|item| directive(item).is_some_and(|d| d == "replace")) {
        *target = patch.iter().filter(|i| directive(i).is_none()).cloned().collect();
        return Ok(true);
    }
    for item in patch {
        let Some(fields) = item.as_object() else {
            return Err(malformed("invalid list type in patch: expected a map".to_owned()));
        };
        let wanted = key_of(item, key)?;
        match fields.get(DIRECTIVE) {
            Some(Value::String(s)) if s == "delete" => {
                target.retain(|t| t.get(key) != Some(wanted));
                continue;
            }
            Some(Value::String(s)) if s == "merge" => {}
            Some(other) => return Err(bad_directive(other, fields)),
            None => {}
        }
        let found = target.iter_mut().find(|t| t.get(key) == Some(wanted));
        let slot = match found {
            Some(slot) => slot,
            None => {
                target.push(Value::Object(Map::new()));
                target.last_mut().expect("pushed above")
            }
        };
        if let Value::Object(slot) = slot {
            merge_map(slot, fields, facts.element())?;
        }
    }
    Ok(false)
}

fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, Error> {
    item.get(key)
        .ok_or_else(|| malformed(format!("map: {item} does not contain declared merge key: {key}")))
}

fn delete_scalars(
    object: &mut Map<String, Value>,
    list: &str,
    deleted: &Value,
) -> Result<(), Error> {
    let Some(deleted) = deleted.as_array() else {
        return Err(malformed(format!("expecting {DELETE_PREFIX}{list} to be a list")));
    };
    if let Some(Value::Array(items)) = object.get_mut(list) {
        items.retain(|item| !deleted.contains(item));
    }
    Ok(())
}

/// The items of the patch must come in the order that the directive gives.
fn check_order(patch: &[Value], order: &Value, facts: Facts<'_>) -> Result<(), Error> {
    let order = order.as_array().map(Vec::as_slice).unwrap_or_default();
    let identity = |item: &Value| match facts.merge_key() {
        Some(key) => item.get(key).cloned(),
        None => Some(item.clone()),
    };
    let mut rest = order.iter();
    for item in patch.iter().filter(|i| i.get(DIRECTIVE).is_none()) {
        let wanted = identity(item);
        if !rest.any(|o| identity(o) == wanted) {
            let list = |items: &[Value]| Value::Array(items.to_vec()).to_string();
            return Err(malformed(format!(
                "The order in patch list:\n{}\n doesn't match {ORDER_PREFIX} list:\n{}\n",
                list(patch),
                list(order)
            )));
        }
    }
    Ok(())
}

/// Sorts a list: named items as the directive says, others where they stood among them.
fn reorder(
    object: &mut Map<String, Value>,
    name: &str,
    order: &Value,
    before: Option<&[Value]>,
    facts: Facts<'_>,
) -> Result<(), Error> {
    let Some(order) = order.as_array() else {
        return Err(malformed(format!("expecting {ORDER_PREFIX}{name} to be a list")));
    };
    let Some(Value::Array(items)) = object.get_mut(name) else {
        return Ok(());
    };
    let key = facts.merge_key();
    let identity = |item: &Value| match key {
        Some(key) if item.is_object() => item.get(key).cloned().unwrap_or_default(),
        _ => item.clone(),
    };
    let order: Vec<Value> = order.iter().map(identity).collect();
    let before: Vec<Value> = before.unwrap_or(items).iter().map(identity).collect();
    let place = |list: &[Value], item: &Value| list.iter().position(|i| *i == identity(item));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        std::mem::take(items).into_iter().partition(|item| place(&order, item).is_some());
    named.sort_by_key(|item| place(&order, item));
    others.sort_by_key(|item| place(&before, item).unwrap_or(usize::MAX));
    let mut named = named.into_iter().peekable();
    let mut others = others.into_iter().peekable();
    loop {
        let take_other = match (others.peek(), named.peek()) {
            (None, None) => break,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(named)) => {
                matches!((place(&before, other), place(&before, named)), (Some(o), Some(n)) if o < n)
            }
        };
        items.extend(if take_other { others.next() } else { named.next() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
