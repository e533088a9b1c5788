//! Swagger documents of several servers as one, by the rules of upstream's kube-aggregator.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

const GVK: &str = "x-kubernetes-group-version-kind";
const PATHS: &str = "paths";

/// What a reference can lead to.
const SECTIONS: [&str; 2] = ["definitions", "parameters"];

/// Names of an object's members that are chosen by who wrote the document.
const NAMED: [&str; 6] =
    ["definitions", "properties", "patternProperties", "parameters", "responses", "headers"];
/// Members that are values, and so refer to nothing.
const VALUES: [&str; 4] = ["default", "enum", "example", "examples"];

/// A Swagger document whose parts stay text unless they are looked at.
#[derive(Deserialize, Serialize)]
struct Document<'d> {
    #[serde(borrow)]
    swagger: Part<'d>,
    #[serde(borrow)]
    info: Part<'d>,
    #[serde(borrow)]
    paths: BTreeMap<String, Part<'d>>,
    #[serde(borrow)]
    definitions: BTreeMap<String, Part<'d>>,
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, Part<'d>>,
    #[serde(borrow, rename = "securityDefinitions", skip_serializing_if = "Option::is_none")]
    security_definitions: Option<Part<'d>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    security: Option<Part<'d>>,
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Part<'d> {
    Text(&'d RawValue),
    Tree(Value),
}

impl<'de: 'd, 'd> Deserialize<'de> for Part<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de RawValue>::deserialize(deserializer).map(Self::Text)
    }
}

impl Part<'_> {
    fn tree(&self) -> Value {
        match self {
            Self::Text(text) => serde_json::from_str(text.get()).unwrap_or_default(),
            Self::Tree(value) => value.clone(),
        }
    }
}

/// Leaves only some paths in a document, and of what is referred to only what they need, besides
/// what nothing referred to before.
pub fn keep_paths(document: &mut Value, keep: impl Fn(&str) -> bool) {
    let before = referred(document);
    if let Some(paths) = document.get_mut(PATHS).and_then(Value::as_object_mut) {
        paths.retain(|path, _| keep(path));
    }
    let needed = referred(document);
    for section in SECTIONS {
        if let Some(parts) = document.get_mut(section).and_then(Value::as_object_mut) {
            parts.retain(|name, _| {
                let reference = format!("#/{section}/{name}");
                needed.contains(&reference) || !before.contains(&reference)
            });
        }
    }
}

/// Adds the paths of others to the document `own` of [`super::v2`], with what they refer to. Paths
/// that are there already stay as they are; what has a name that something else has gets another.
///
/// # Errors
/// `own` is no such document. What is wrong with others is left out.
pub fn merge<'o>(
    own: &[u8],
    others: impl IntoIterator<Item = &'o Value>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut document: Document<'_> = serde_json::from_slice(own)?;
    for other in others {
        add(&mut document, other.clone());
    }
    serde_json::to_vec(&document)
}

fn add(document: &mut Document<'_>, mut other: Value) {
    let Some(paths) = other.get(PATHS).and_then(Value::as_object) else { return };
    let known = paths.keys().filter(|path| document.paths.contains_key(*path)).count();
    if known == paths.len() {
        return;
    }
    if known > 0 {
        keep_paths(&mut other, |path| !document.paths.contains_key(path));
    }
    let mut renames = BTreeMap::new();
    for section in SECTIONS {
        let Some(parts) = other.get(section).and_then(Value::as_object) else { continue };
        let known =
            if section == "definitions" { &document.definitions } else { &document.parameters };
        for (from, to) in new_names(known, parts) {
            renames.insert(format!("#/{section}/{from}"), (section, from, to));
        }
    }
    rename(&mut other, &renames);
    let Value::Object(mut other) = other else { return };
    for (name, part) in members(other.remove("definitions")) {
        match document.definitions.get_mut(&name) {
            None => drop(document.definitions.insert(name, Part::Tree(part))),
            Some(known) => add_kinds(known, &part),
        }
    }
    for (name, part) in members(other.remove("parameters")) {
        document.parameters.entry(name).or_insert(Part::Tree(part));
    }
    for (path, part) in members(other.remove(PATHS)) {
        document.paths.insert(path, Part::Tree(part));
    }
}

fn members(section: Option<Value>) -> Map<String, Value> {
    match section {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// New names of parts whose names belong to something else.
fn new_names(
    known: &BTreeMap<String, Part<'_>>,
    parts: &Map<String, Value>,
) -> Vec<(String, String)> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut renames = Vec::new();
    let is_same =
        |name: &str, part: &Value| known.get(name).map(|known| is_same(&known.tree(), part));
    for (name, part) in parts {
        if is_same(name, part) != Some(false) {
            continue;
        }
        let mut numbered = (2..).map(|number| format!("{name}_v{number}"));
        let new = numbered.find(|new| match is_same(new, part) {
            Some(same) => same,
            None => !taken.contains(new) && !parts.contains_key(new),
        });
        let new = new.expect("there are more numbers than names");
        taken.insert(new.clone());
        renames.push((name.clone(), new));
    }
    renames
}

/// Whether two parts say the same but for the kinds that they are of.
fn is_same(one: &Value, other: &Value) -> bool {
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return one == other };
    let said = |part: &Map<String, Value>| part.keys().filter(|key| *key != GVK).count();
    said(one) == said(other)
        && one
            .iter()
            .filter(|(key, _)| *key != GVK)
            .all(|(key, value)| other.get(key) == Some(value))
}

/// Adds the kinds of a definition to those of the same one that is there.
fn add_kinds(known: &mut Part<'_>, other: &Value) {
    let Some(Value::Array(kinds)) = other.get(GVK) else { return };
    let mut tree = known.tree();
    let Some(object) = tree.as_object_mut() else { return };
    let Value::Array(all) = object.entry(GVK).or_insert_with(|| Value::Array(Vec::new())) else {
        return;
    };
    let before = all.len();
    for kind in kinds {
        if !all.contains(kind) {
            all.push(kind.clone());
        }
    }
    if all.len() > before {
        *known = Part::Tree(tree);
    }
}

fn rename(document: &mut Value, renames: &BTreeMap<String, (&str, String, String)>) {
    if renames.is_empty() {
        return;
    }
    references(document, false, &mut |reference| {
        if let Some((section, _, to)) = renames.get(reference.as_str()) {
            *reference = format!("#/{section}/{to}");
        }
    });
    for (section, from, to) in renames.values() {
        if let Some(parts) = document.get_mut(*section).and_then(Value::as_object_mut)
            && let Some(part) = parts.remove(from)
        {
            parts.insert(to.clone(), part);
        }
    }
}

/// All that the paths of a document refer to, directly or not.
fn referred(document: &mut Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = Vec::new();
    let mut collect = |value: &mut Value, waiting: &mut Vec<String>| {
        references(value, false, &mut |reference| {
            if found.insert(reference.clone()) {
                waiting.push(reference.clone());
            }
        });
    };
    if let Some(paths) = document.get_mut(PATHS) {
        collect(paths, &mut waiting);
    }
    while let Some(reference) = waiting.pop() {
        let part = reference.strip_prefix("#/").and_then(|place| place.split_once('/'));
        let Some((section, name)) = part.filter(|(section, _)| SECTIONS.contains(section)) else {
            continue;
        };
        if let Some(part) = document.get_mut(section).and_then(|parts| parts.get_mut(name)) {
            collect(part, &mut waiting);
        }
    }
    found
}

/// Visits the references within a value. Members of one with `names` are called as somebody likes.
fn references(value: &mut Value, names: bool, visit: &mut dyn FnMut(&mut String)) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(reference) if !names && key == "$ref" => visit(reference),
                    _ if !names && (VALUES.contains(&key.as_str()) || key.starts_with("x-")) => {}
                    _ => references(member, !names && NAMED.contains(&key.as_str()), visit),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| references(item, false, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
