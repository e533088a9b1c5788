//! Owners of `spec.replicas`, as the `scale` subresource shows them.
//!
//! A Scale has one field that counts. Who owns the replicas of the workload owns that field, and
//! what becomes of its owners there is carried back.

use serde_json::Value;

use super::element::Element;
use super::entry::{Entry, EntryError, Managed};
use super::set::Set;

const SCALE: &str = "autoscaling/v1";

/// Where a kind has its replicas.
#[derive(Clone, Copy, Debug)]
pub struct Replicas<'a> {
    /// The version of the request.
    pub api_version: &'a str,
    /// The path of the number, `["spec", "replicas"]`.
    pub path: &'a [&'a str],
}

/// The entries of the Scale of an object with the given entries.
///
/// # Errors
/// When these are none.
pub fn of_scale(list: &Value, replicas: Replicas<'_>) -> Result<Option<Value>, EntryError> {
    let path = steps(replicas.path);
    let entries = Managed::decode(list)?.entries.into_iter().filter(|e| e.fields().has(&path));
    let entries = entries.map(|entry| {
        let mut shown = Entry::new(entry.manager, SCALE, in_scale());
        shown.time = entry.time;
        shown
    });
    Ok(Managed { entries: entries.collect() }.encode())
}

/// The entries of the object, after its Scale was written and has the entries of `scale`.
///
/// # Errors
/// When either list is none.
pub fn of_parent(
    list: &Value,
    scale: &Value,
    replicas: Replicas<'_>,
) -> Result<Option<Value>, EntryError> {
    let path = steps(replicas.path);
    let number = Set::of([replicas.path]);
    let mut in_scale = Managed::decode(scale)?;
    in_scale.entries.retain(|entry| entry.fields().has(&steps(&["spec", "replicas"])));
    let mut managed = Managed::decode(list)?;
    for entry in &mut managed.entries {
        if !entry.fields().has(&path) {
            continue;
        }
        match in_scale.entries.iter().position(|other| other.manager == entry.manager) {
            Some(at) => drop(in_scale.entries.remove(at)),
            // Somebody else has it now.
            None => entry.set_fields(entry.fields().difference(&number)),
        }
    }
    managed.drop_empty();
    for entry in in_scale.entries {
        managed.entries.push(Entry::new(entry.manager, replicas.api_version, number.clone()));
    }
    Ok(managed.encode())
}

fn in_scale() -> Set {
    Set::of([["spec", "replicas"].as_slice()])
}

fn steps(path: &[&str]) -> Vec<Element> {
    path.iter().map(|name| Element::field(name)).collect()
}
