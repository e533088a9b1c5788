//! `metadata.managedFields`: who owns which fields.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields_v1::{self, FieldsError};
use super::set::Set;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By applying them.
    Apply,
    /// By any other write.
    Update,
}

/// Who wrote: what tells entries apart. An applier has one entry for all versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The name that the client gave.
    pub name: String,
    /// By which kind of write.
    pub operation: Operation,
    /// Through which subresource; empty for the object itself.
    pub subresource: String,
}

/// The fields of one manager.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub manager: Manager,
    /// The version that the fields are named in.
    pub api_version: String,
    /// When they last changed, in RFC 3339.
    pub time: Option<String>,
    fields: Set,
    /// The fields as they were read, while they are the same.
    text: Option<Value>,
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub struct Managed {
    /// In no order.
    pub entries: Vec<Entry>,
}

/// Why a list is none of managed fields.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not a list of objects.
    #[error("managedFields is not a list of entries")]
    Form,
    /// Neither of the two operations.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// No version.
    #[error("apiVersion must not be empty")]
    ApiVersion,
    /// No type of fields.
    #[error("missing fieldsType in managed fields entry {0}")]
    NoType(usize),
    /// Another type of fields.
    #[error("invalid fieldsType {0:?} in managed fields entry {1}")]
    Type(String, usize),
    /// Fields that are none.
    #[error("error decoding manager from {manager:?}: {source}")]
    Fields {
        /// Whose.
        manager: String,
        /// What is wrong with them.
        source: FieldsError,
    },
}

impl Entry {
    /// An entry without time.
    pub fn new(manager: Manager, api_version: &str, fields: Set) -> Self {
        Self { manager, api_version: api_version.to_owned(), time: None, fields, text: None }
    }

    /// What the manager owns.
    pub fn fields(&self) -> &Set {
        &self.fields
    }

    /// Lets the manager own something else.
    pub fn set_fields(&mut self, fields: Set) {
        if fields != self.fields {
            self.fields = fields;
            self.text = None;
        }
    }

    /// What no two entries of an object have in common.
    fn identity(&self) -> (&Manager, Option<&str>) {
        identity(&self.manager, &self.api_version)
    }

    /// The member in the order of its type.
    pub(super) fn write(
        manager: &Manager,
        api_version: &str,
        time: Option<&str>,
        fields: Value,
    ) -> Value {
        let mut entry = Map::with_capacity(7);
        let mut put = |name: &str, value: Value| entry.insert(name.to_owned(), value);
        if !manager.name.is_empty() {
            put("manager", manager.name.as_str().into());
        }
        let operation = match manager.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        put("operation", operation.into());
        put("apiVersion", api_version.into());
        if let Some(time) = time {
            put("time", time.into());
        }
        put("fieldsType", "FieldsV1".into());
        put("fieldsV1", fields);
        if !manager.subresource.is_empty() {
            put("subresource", manager.subresource.as_str().into());
        }
        Value::Object(entry)
    }

    fn read(at: usize, entry: &Value) -> Result<Self, EntryError> {
        let entry = entry.as_object().ok_or(EntryError::Form)?;
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err(EntryError::Operation),
        };
        if text("apiVersion").is_empty() {
            return Err(EntryError::ApiVersion);
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(EntryError::NoType(at)),
            other => return Err(EntryError::Type(other.to_owned(), at)),
        }
        let fields = entry.get("fieldsV1").cloned().unwrap_or_default();
        Ok(Self {
            manager: Manager {
                name: text("manager").to_owned(),
                operation,
                subresource: text("subresource").to_owned(),
            },
            api_version: text("apiVersion").to_owned(),
            time: Some(text("time").to_owned()).filter(|time| !time.is_empty()),
            fields: fields_v1::decode(&fields).map_err(|source| EntryError::Fields {
                manager: text("manager").to_owned(),
                source,
            })?,
            text: Some(fields),
        })
    }
}

impl Managed {
    /// Reads the list; null is an empty one.
    ///
    /// # Errors
    /// When an entry is none.
    pub fn decode(list: &Value) -> Result<Self, EntryError> {
        let list = match list {
            Value::Null => return Ok(Self::default()),
            Value::Array(list) => list,
            _ => return Err(EntryError::Form),
        };
        let read: Vec<Entry> = list
            .iter()
            .enumerate()
            .map(|(at, entry)| Entry::read(at, entry))
            .collect::<Result<_, _>>()?;
        // The last one of the same manager counts.
        let mut seen = BTreeSet::new();
        let last: Vec<bool> =
            read.iter().rev().map(|entry| seen.insert(entry.identity())).collect();
        let entries = read.into_iter().zip(last.into_iter().rev());
        Ok(Self { entries: entries.filter_map(|(entry, last)| last.then_some(entry)).collect() })
    }

    /// The list, appliers first, the oldest first. None when there is no entry.
    pub fn encode(mut self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.manager.operation, entry.time.clone());
            key(a).cmp(&key(b)).then_with(|| {
                let key = |entry: &Entry| {
                    let Entry { manager, api_version, .. } = entry;
                    (manager.name.clone(), api_version.clone(), manager.subresource.clone())
                };
                key(a).cmp(&key(b))
            })
        });
        let entries = self.entries.into_iter().map(|entry| {
            let fields = entry.text.unwrap_or_else(|| fields_v1::encode(&entry.fields));
            Entry::write(&entry.manager, &entry.api_version, entry.time.as_deref(), fields)
        });
        Some(entries.collect())
    }

    /// The place of a manager's entry.
    pub(super) fn find(&self, manager: &Manager, api_version: &str) -> Option<usize> {
        let wanted = identity(manager, api_version);
        self.entries.iter().position(|entry| entry.identity() == wanted)
    }

    pub(super) fn drop_empty(&mut self) {
        self.entries.retain(|entry| !entry.fields.is_empty());
    }
}

/// An applier is the same in all versions.
fn identity<'a>(manager: &'a Manager, api_version: &'a str) -> (&'a Manager, Option<&'a str>) {
    (manager, (manager.operation == Operation::Update).then_some(api_version))
}

/// Whether two lists say the same apart from when.
pub fn same_but_times(a: &Value, b: &Value) -> bool {
    let entries = |list: &Value| -> Vec<Value> {
        let mut entries = list.as_array().cloned().unwrap_or_default();
        for entry in &mut entries {
            if let Some(entry) = entry.as_object_mut() {
                entry.shift_remove("time");
            }
        }
        entries.sort_by(super::element::compare_values);
        entries
    };
    entries(a) == entries(b)
}
