//! A field of an object together with its path, so that a rule can read and report in one line.
//!
//! Absent, null and zero look the same unless a rule asks, as they do to a Go server.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::names;

static NULL: Value = Value::Null;

/// A field, which may be absent, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: Path,
}

impl<'a> At<'a> {
    /// The object itself.
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, path: Path::root() }
    }

    pub(crate) fn new(value: &'a Value, path: Path) -> Self {
        Self { value, path }
    }

    /// The field `name` below this one.
    pub(crate) fn get(&self, name: &'static str) -> At<'a> {
        At { value: self.value.get(name).unwrap_or(&NULL), path: self.path.child(name) }
    }

    /// Whether the field is set at all.
    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether the field is absent or has the zero value of its type.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Number(n) => n.as_i64() == Some(0),
            Value::String(s) => s.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
        }
    }

    pub(crate) fn str(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub(crate) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub(crate) fn int_or_zero(&self) -> i64 {
        self.value.as_i64().unwrap_or_default()
    }

    pub(crate) fn bool(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    pub(crate) fn items(&self) -> &'a [Value] {
        self.value.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        }
    }

    /// The items of a list, each with its index.
    pub(crate) fn list(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path.clone();
        self.items().iter().enumerate().map(move |(i, value)| At { value, path: path.index(i) })
    }

    /// The entries of a map, each with its key.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let path = self.path.clone();
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(key, value)| (key.as_str(), At { value, path: path.key(key.as_str()) }))
    }

    // Reports about this field.

    pub(crate) fn required(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(Error::required(&self.path, detail));
    }

    pub(crate) fn invalid(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(Error::invalid(&self.path, self.value.clone(), detail));
    }

    pub(crate) fn forbidden(&self, errors: &mut ErrorList, detail: impl Into<String>) {
        errors.push(Error::forbidden(&self.path, detail));
    }

    pub(crate) fn duplicate(&self, errors: &mut ErrorList) {
        errors.push(Error::duplicate(&self.path, self.value.clone()));
    }

    pub(crate) fn not_found(&self, errors: &mut ErrorList) {
        errors.push(Error::not_found(&self.path, self.value.clone()));
    }

    // Rules of one line.

    /// The field must not be empty.
    pub(crate) fn must(&self, errors: &mut ErrorList) -> bool {
        let empty = self.is_empty();
        if empty {
            self.required(errors, "");
        }
        !empty
    }

    /// The text must have a form; one error per message.
    pub(crate) fn form(&self, errors: &mut ErrorList, rule: fn(&str) -> Vec<String>) {
        for message in rule(self.str()) {
            errors.push(Error::invalid(&self.path, self.str(), message));
        }
    }

    /// The text must be there and have a form.
    pub(crate) fn must_form(&self, errors: &mut ErrorList, rule: fn(&str) -> Vec<String>) {
        if self.must(errors) {
            self.form(errors, rule);
        }
    }

    /// The text must have a form when it is there.
    pub(crate) fn may_form(&self, errors: &mut ErrorList, rule: fn(&str) -> Vec<String>) {
        if !self.is_empty() {
            self.form(errors, rule);
        }
    }

    /// The text must be one of a set, and there.
    pub(crate) fn one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if self.is_empty() {
            self.required(errors, "");
        } else if !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }

    /// The text must be one of a set when it is there.
    pub(crate) fn may_be_one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if !self.is_empty() && !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }

    /// The text, where a pointer leads to one, must be one of a set; the empty text is none of it.
    pub(crate) fn set_to_one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if self.is_set() && !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }

    /// The value is not one of a set.
    pub(crate) fn unsupported(&self, errors: &mut ErrorList, supported: &[&str]) {
        let value = if self.value.is_null() { Value::from("") } else { self.value.clone() };
        errors.push(Error::not_supported(&self.path, value, supported));
    }

    /// The number must not be negative.
    pub(crate) fn non_negative(&self, errors: &mut ErrorList) {
        if self.int_or_zero() < 0 {
            self.invalid(errors, "must be greater than or equal to 0");
        }
    }

    /// The number must be above zero.
    pub(crate) fn positive(&self, errors: &mut ErrorList) {
        if self.int_or_zero() <= 0 {
            errors.push(Error::invalid(
                &self.path,
                self.int_or_zero(),
                "must be greater than zero",
            ));
        }
    }

    /// The number must lie in a closed range when it is there.
    pub(crate) fn within(&self, errors: &mut ErrorList, low: i64, high: i64) {
        if let Some(n) = self.int() {
            for message in names::in_range(n, low, high) {
                self.invalid(errors, message);
            }
        }
    }

    /// The field must be what it was.
    pub(crate) fn unchanged(&self, old: &At<'_>, errors: &mut ErrorList) {
        if !same(self.value, old.value) {
            errors.push(Error::immutable(&self.path, self.value.clone()));
        }
    }
}

/// Whether two values are the same to the API: order of members, nulls and empty collections do
/// not count.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(k, v)| same(v, b.get(k).unwrap_or(&NULL)))
                && b.iter().all(|(k, v)| a.contains_key(k) || same(v, &NULL))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Array(list), Value::Null) | (Value::Null, Value::Array(list)) => list.is_empty(),
        // Every member of an empty struct is absent; a pointer to it differs from none only for
        // the few unions that are compared elsewhere.
        (Value::Object(map), Value::Null) | (Value::Null, Value::Object(map)) => map.is_empty(),
        (a, b) => a == b,
    }
}

/// Defaulting: a field that is absent or null gets a value.
pub(crate) fn set_default(object: &mut Value, field: &str, default: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        let slot = fields.entry(field).or_insert(Value::Null);
        if slot.is_null() {
            *slot = default.into();
        }
    }
}

/// Defaulting: a field that is absent or has its zero value gets a value.
pub(crate) fn set_default_zero(object: &mut Value, field: &str, default: impl Into<Value>) {
    let empty = object.get(field).is_none_or(|value| At::root(value).is_empty());
    if let (true, Some(fields)) = (empty, object.as_object_mut()) {
        fields.insert(field.to_owned(), default.into());
    }
}

/// The items of a list field, for changing them.
pub(crate) fn items_mut<'a>(object: &'a mut Value, field: &str) -> &'a mut [Value] {
    object.get_mut(field).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

/// Removes a field.
pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove(field);
    }
}

/// Sets a field to what another object has there, or removes it.
pub(crate) fn copy_field(to: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => {
            if let Some(fields) = to.as_object_mut() {
                fields.insert(field.to_owned(), value.clone());
            }
        }
        None => remove(to, field),
    }
}
