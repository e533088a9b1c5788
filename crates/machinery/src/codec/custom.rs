//! Custom objects: decoded leniently, because a wrong type is for validation to report, then
//! pruned to what their schema declares. Metadata alone is held to its type at once.
//!
//! Their canonical form has all keys in order of name, as upstream writes its untyped maps.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::keys::Key;
use super::report::{Path, Report, Source, Step};
use super::{DecodeError, Decoded, FieldValidation, TypeMismatch, decode, encode};
use crate::field;
use crate::schema::{Kind, TypeRef, builtin};

/// A struct with nothing but type and metadata.
const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";

/// Reads a tree from a source, noting members that stand there twice.
pub(super) fn read<'de, D: Deserializer<'de>>(
    source: D,
    report: &mut Report,
) -> Result<Value, D::Error> {
    let path = Path { parent: None, step: Step::Root };
    Tree { path, report }.deserialize(source)
}

/// Makes an object of a tree that has been read.
pub(super) fn finish(
    mut value: Value,
    ty: TypeRef<'_>,
    mut report: Report,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    let Value::Object(object) = &mut value else {
        return Err(DecodeError::Type(TypeMismatch {
            found: decode::json_type(&value).to_owned(),
            field: None,
            wanted: "map[string]interface {}".to_owned(),
        }));
    };
    let mut unknown = Vec::new();
    if let Some(metadata) = object.get_mut("metadata") {
        *metadata = own_metadata(metadata.take(), "", validation, &mut unknown)?;
    }
    for field in ["apiVersion", "kind"] {
        if let Some(other) = object.get(field).filter(|value| !value.is_string()) {
            return Err(DecodeError::Type(TypeMismatch {
                found: decode::json_type(other).to_owned(),
                field: Some((String::new(), field.to_owned())),
                wanted: "string".to_owned(),
            }));
        }
    }
    let mut pruner = Pruner { validation, unknown, is_kept: false, failed: None };
    pruner.object(&mut value, ty, "", true);
    if let Some(error) = pruner.failed {
        return Err(error);
    }
    let mut unknown = pruner.unknown;
    unknown.sort();
    for path in unknown {
        report.note(format!("unknown field {path:?}"));
    }
    value.sort_all_objects();
    report.finish(value, ty)
}

/// Drops what the type does not declare, from an object that has been accepted before: what its
/// embedded objects could not be written with today goes, too. Its own metadata is left alone.
pub(super) fn prune(value: &mut Value, ty: TypeRef<'_>) {
    let validation = FieldValidation::Ignore;
    let mut pruner = Pruner { validation, unknown: Vec::new(), is_kept: true, failed: None };
    pruner.object(value, ty, "", true);
}

/// Metadata in its canonical form.
fn own_metadata(
    metadata: Value,
    place: &str,
    validation: FieldValidation,
    unknown: &mut Vec<String>,
) -> Result<Value, DecodeError> {
    let ty = builtin().named_type(METADATA).expect("a built-in type");
    let mut whole = Map::new();
    whole.insert("metadata".to_owned(), metadata);
    // Unknown members are collected here and judged with those of the rest.
    let lenient = match validation {
        FieldValidation::Ignore => FieldValidation::Ignore,
        _ => FieldValidation::Warn,
    };
    let decoded = decode::tree(Value::Object(whole), ty, lenient).map_err(|error| match error {
        DecodeError::Type(TypeMismatch { found, field, wanted }) => {
            // Upstream decodes metadata by itself.
            let field = field.map(|(owner, path)| {
                (owner, path.strip_prefix("metadata.").unwrap_or(&path).to_owned())
            });
            DecodeError::Type(TypeMismatch { found, field, wanted })
        }
        other => other,
    })?;
    for warning in decoded.warnings {
        if let Some(path) = warning.strip_prefix("unknown field ") {
            unknown.push(format!("{place}{}", path.trim_matches('"')));
        }
    }
    let mut metadata = decoded.value.get("metadata").cloned().unwrap_or_default();
    if let Some(members) = metadata.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    Ok(metadata)
}

struct Pruner {
    validation: FieldValidation,
    unknown: Vec<String>,
    /// Whether the object is served whatever is wrong with it.
    is_kept: bool,
    failed: Option<DecodeError>,
}

impl Pruner {
    fn object(&mut self, value: &mut Value, ty: TypeRef<'_>, path: &str, root: bool) {
        match value {
            Value::Object(members) => match ty.kind() {
                Kind::Any => {}
                Kind::Map(item) => {
                    for (name, member) in members {
                        self.object(member, item, &joined(path, name), false);
                    }
                }
                _ => self.members(members, ty, path, root),
            },
            Value::Array(items) => {
                if let Kind::List(item) = ty.kind() {
                    for (at, item_value) in items.iter_mut().enumerate() {
                        self.object(item_value, item, &format!("{path}[{at}]"), false);
                    }
                }
            }
            _ => {}
        }
    }

    fn members(
        &mut self,
        members: &mut Map<String, Value>,
        ty: TypeRef<'_>,
        path: &str,
        root: bool,
    ) {
        let (embedded, preserves) = (ty.is_embedded_resource(), ty.preserves_unknown_fields());
        members.retain(|name, member| {
            if root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                return true;
            }
            if embedded && matches!(name.as_str(), "apiVersion" | "kind") {
                if !(member.is_string() || self.is_kept) {
                    self.fail(path, name, member, "must be a string");
                }
                return member.is_string() || !self.is_kept;
            }
            if embedded && name == "metadata" {
                self.embedded_metadata(member, path);
                return true;
            }
            match ty.field(name) {
                Some(field) => {
                    self.object(member, field.type_ref(), &joined(path, name), false);
                    true
                }
                None if preserves => true,
                None => {
                    self.unknown.push(joined(path, name));
                    false
                }
            }
        });
    }
}

impl Pruner {
    fn embedded_metadata(&mut self, metadata: &mut Value, path: &str) {
        let place = format!("{path}.");
        let whole = own_metadata(metadata.clone(), &place, self.validation, &mut self.unknown);
        match whole {
            Ok(whole) => *metadata = whole,
            Err(error) if !self.is_kept => {
                self.fail(path, "metadata", metadata, &error.to_string())
            }
            Err(_) => {
                // What is well-formed by itself stays.
                if let Some(members) = metadata.as_object_mut() {
                    members.retain(|name, value| {
                        let mut one = Map::new();
                        one.insert(name.clone(), value.clone());
                        let ignore = FieldValidation::Ignore;
                        own_metadata(Value::Object(one), "", ignore, &mut Vec::new()).is_ok()
                    });
                }
                if let Ok(whole) =
                    own_metadata(metadata.clone(), &place, self.validation, &mut self.unknown)
                {
                    *metadata = whole;
                }
            }
        }
    }

    /// Notes the first thing for which the object is refused.
    fn fail(&mut self, path: &str, name: &str, value: &Value, detail: &str) {
        let path = field::Path::new(joined(path, name));
        let text = field::Error::invalid(&path, value.clone(), detail).to_string();
        self.failed.get_or_insert(DecodeError::Scalar(text));
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Appends a tree with all keys in order of name.
pub(super) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => encode::write_double(out, number),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            if !members.keys().is_sorted() {
                sorted.sort_by_key(|(key, _)| *key);
            }
            out.push(b'{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                encode::write_key(out, at == 0, key);
                write(out, value);
            }
            out.push(b'}');
        }
        other => encode::write_untyped(out, other),
    }
}

/// A place in a tree without types.
struct Tree<'p> {
    path: Path<'p>,
    report: &'p mut Report,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    /// What is too large for 64 bits with a sign is a float, as upstream decodes it.
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(match i64::try_from(number) {
            Ok(number) => number.into(),
            #[expect(clippy::cast_precision_loss, reason = "so it is upstream")]
            Err(_) => Number::from_f64(number as f64).map_or(Value::Null, Value::Number),
        })
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        // YAML and patches have lost the difference between `1` and `1.0`.
        let whole = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
        if whole && self.report.source != Source::Json {
            return Ok((number as i64).into());
        }
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Path { parent: Some(&self.path), step: Step::Index(list.len()) };
            match items.next_element_seed(Tree { path, report: &mut *self.report })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Key(key)) = entries.next_key::<Key>()? {
            let path = Path { parent: Some(&self.path), step: Step::Key(&key) };
            let value = entries.next_value_seed(Tree { path, report: &mut *self.report })?;
            if map.contains_key(&key) {
                self.report.strict("duplicate", &self.path, &key);
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests;
