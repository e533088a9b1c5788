//! Types and values of structural schemas.
//!
//! A schema becomes a declaration: its type, how large its values may get, and how JSON becomes a
//! value. What no schema describes cannot be reached by expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use machinery::Value as Json;

use crate::library::time;
use crate::syntax::RESERVED;
use crate::types::{Fields, Object as ObjectType, Type};
use crate::value::{Key, List, ListKind, Object, Value};

/// Bytes of the largest request.
const MAX_REQUEST: u64 = 3 << 20;

/// A schema as expressions see it.
#[derive(Debug)]
pub struct Decl {
    ty: Type,
    shape: Shape,
    max_elements: u64,
    /// Bytes of the shortest JSON.
    min_size: u64,
}

#[derive(Debug)]
enum Shape {
    Scalar,
    Text(Format),
    List(Arc<Decl>, ListKind),
    /// What the values are, and the largest size of a key where that is declared.
    Map(Arc<Decl>, u64),
    Object(Arc<ObjectDecl>),
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Plain,
    Byte,
    Duration,
    Date,
    DateTime,
}

#[derive(Debug)]
struct ObjectDecl {
    name: Arc<str>,
    /// By the names that expressions use.
    fields: BTreeMap<Arc<str>, Arc<Decl>>,
}

impl Decl {
    /// The declaration of a schema; `None` when expressions cannot see its values. `root` is for
    /// whole objects, which have `apiVersion`, `kind` and `metadata` whatever their schema says.
    pub fn of_schema(schema: &Json, root: bool, name: &str) -> Option<Self> {
        if is_one_of_several(schema) {
            let most = match number(schema, "maxLength") {
                Some(length) => length.saturating_mul(4),
                None => MAX_REQUEST - 2,
            };
            return Some(Self::new(Type::Dyn, Shape::Scalar, most, 1));
        }
        match type_name(schema, root) {
            "array" => Self::array(schema, name),
            "object" => Self::object(schema, root, name),
            "string" => Some(Self::text(schema)),
            "boolean" => Some(Self::new(Type::Bool, Shape::Scalar, 0, 4)),
            "number" => Some(Self::new(Type::Double, Shape::Scalar, 0, 1)),
            "integer" => Some(Self::new(Type::Int, Shape::Scalar, 0, 1)),
            _ => None,
        }
    }

    /// Values of a type that are at most `max_elements` large: texts in bytes, lists and maps in
    /// items, anything else not at all.
    pub fn of_type(ty: Type, max_elements: u64) -> Self {
        Self::new(ty, Shape::Scalar, max_elements, 0)
    }

    /// Maps of at most `max_entries` values whose keys are at most `max_key` bytes long.
    pub fn of_map(value: Self, max_key: u64, max_entries: u64) -> Self {
        let ty = Type::map(Type::String, value.ty.clone());
        Self::new(ty, Shape::Map(Arc::new(value), max_key), max_entries, 2)
    }

    /// Objects with these fields.
    pub fn of_object<const N: usize>(name: &str, fields: [(&str, Self); N]) -> Self {
        let fields = fields.into_iter().map(|(name, decl)| (name.into(), Arc::new(decl)));
        Self::declared(name, fields.collect(), 2)
    }

    /// The type.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// How often such a value fits into a request.
    pub(crate) fn max_cardinality(&self) -> u64 {
        MAX_REQUEST / (self.min_size + 1)
    }

    pub(crate) fn max_elements(&self) -> u64 {
        self.max_elements
    }

    /// What the items of a list or the values of a map are.
    pub(crate) fn element(&self) -> Option<&Arc<Self>> {
        match &self.shape {
            Shape::List(element, _) | Shape::Map(element, _) => Some(element),
            _ => None,
        }
    }

    /// What a field is, by the name that expressions use.
    pub(crate) fn field(&self, name: &str) -> Option<&Arc<Self>> {
        match &self.shape {
            Shape::Object(object) => object.fields.get(name),
            // Values of any type are all of one size, whatever they are called.
            Shape::Map(element, keys) if *keys > 0 && element.ty.is_dyn() => Some(element),
            _ => None,
        }
    }

    /// The largest size of a key of a map.
    pub(crate) fn key_size(&self) -> Option<u64> {
        match &self.shape {
            Shape::Map(_, keys) => Some(*keys),
            _ => None,
        }
    }

    /// The value that JSON of this schema is.
    pub fn value(&self, json: &Json) -> Value {
        match (&self.shape, json) {
            (_, Json::Null) => Value::Null,
            (Shape::List(element, kind), Json::Array(items)) => {
                let items = items.iter().map(|item| element.value(item)).collect();
                Value::List(Arc::new(List { items, kind: kind.clone() }))
            }
            (Shape::Map(element, _), Json::Object(entries)) => Value::Map(Arc::new(
                entries
                    .iter()
                    .map(|(key, value)| (Key::string(key.as_str()), element.value(value)))
                    .collect(),
            )),
            (Shape::Object(decl), Json::Object(entries)) => {
                let mut object =
                    Object { name: decl.name.clone(), fields: BTreeMap::new(), hidden: Vec::new() };
                for (name, value) in entries {
                    match escape(name).and_then(|name| decl.fields.get_key_value(&*name)) {
                        Some((name, field)) => {
                            object.fields.insert(name.clone(), field.value(value));
                        }
                        None => object.hidden.push((name.clone(), value.clone())),
                    }
                }
                Value::Object(Arc::new(object))
            }
            (Shape::Text(format), Json::String(text)) => formatted(*format, text),
            (Shape::Scalar, Json::Number(number)) => match self.ty {
                Type::Double => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
                Type::Int => whole(number),
                _ => Value::from_json(json),
            },
            _ => Value::from_json(json),
        }
    }

    fn new(ty: Type, shape: Shape, max_elements: u64, min_size: u64) -> Self {
        Self { ty, shape, max_elements, min_size }
    }

    fn array(schema: &Json, name: &str) -> Option<Self> {
        let items = schema.get("items")?;
        let root = flag(items, "x-kubernetes-embedded-resource");
        let element = Arc::new(Self::of_schema(items, root, &format!("{name}.@idx"))?);
        let most = match number(schema, "maxItems") {
            Some(most) => most,
            // Two bytes are the brackets, and each item but the last has a comma.
            None => (MAX_REQUEST - 2) / (element.min_size + 1),
        };
        let kind = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
            Some("set") => ListKind::Set,
            Some("map") => ListKind::Map(list_keys(schema)),
            _ => ListKind::Atomic,
        };
        let ty = Type::list(element.ty.clone());
        Some(Self::new(ty, Shape::List(element, kind), most, 2))
    }

    fn object(schema: &Json, root: bool, name: &str) -> Option<Self> {
        if !root && let Some(values) = schema.get("additionalProperties").filter(|s| s.is_object())
        {
            let embedded = flag(values, "x-kubernetes-embedded-resource");
            let element = Arc::new(Self::of_schema(values, embedded, &format!("{name}.@elem"))?);
            let most = match number(schema, "maxProperties") {
                Some(most) => most,
                // An entry has at least a key of no characters, a colon, a comma and its value.
                None => (MAX_REQUEST - 2) / (element.min_size + 6),
            };
            let ty = Type::map(Type::String, element.ty.clone());
            return Some(Self::new(ty, Shape::Map(element, 0), most, 2));
        }
        let mut fields = BTreeMap::new();
        let mut min_size = 2;
        let required: Vec<&str> = strings(schema.get("required")).collect();
        let empty = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
        let implied = root && !says_what_roots_are(schema);
        for (property, of) in properties {
            if implied && matches!(property.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let embedded = flag(of, "x-kubernetes-embedded-resource");
            let Some(decl) = Self::of_schema(of, embedded, &format!("{name}.{property}")) else {
                continue;
            };
            if required.contains(&property.as_str()) && of.get("default").is_none() {
                min_size += property.len() as u64 + decl.min_size + 4;
            }
            if let Some(escaped) = escape(property) {
                fields.insert(escaped.into(), Arc::new(decl));
            }
        }
        if implied {
            let text = || Arc::new(Self::text(&Json::Null));
            fields.insert("apiVersion".into(), text());
            fields.insert("kind".into(), text());
            let names = ["name", "generateName"].map(|field| (field.into(), text()));
            let metadata = Self::declared(&format!("{name}.metadata"), names.into(), 2);
            fields.insert("metadata".into(), Arc::new(metadata));
        }
        Some(Self::declared(name, fields, min_size))
    }

    fn declared(name: &str, fields: BTreeMap<Arc<str>, Arc<Self>>, min_size: u64) -> Self {
        let object = Arc::new(ObjectDecl { name: name.into(), fields });
        let ty = Type::Object(ObjectType::new(object.name.clone(), object.clone()));
        Self::new(ty, Shape::Object(object), 0, min_size)
    }

    fn text(schema: &Json) -> Self {
        let length = number(schema, "maxLength");
        let any = MAX_REQUEST - 2;
        let (ty, format, most, least) = match schema.get("format").and_then(Json::as_str) {
            Some("byte") => (Type::Bytes, Format::Byte, length.unwrap_or(any), 2),
            Some("duration") => (Type::Duration, Format::Duration, 32, 5),
            Some("date") => (Type::Timestamp, Format::Date, 12, 12),
            Some("date-time") => (Type::Timestamp, Format::DateTime, 37, 21),
            _ => {
                let longest = strings(schema.get("enum")).map(|value| value.len() as u64).max();
                // Lengths are declared in characters, sizes are counted in bytes.
                let most = length.map(|length| length.saturating_mul(4)).or(longest);
                (Type::String, Format::Plain, most.unwrap_or(any), 2)
            }
        };
        Self::new(ty, Shape::Text(format), most, least)
    }
}

impl Fields for ObjectDecl {
    fn field(&self, name: &str) -> Option<Type> {
        let field = self.fields.get(name).or_else(|| {
            // Keywords may be written as they are where they name a field.
            is_keyword(name).then(|| self.fields.get(&*format!("__{name}__")))?
        });
        field.map(|field| field.ty.clone())
    }
}

fn formatted(format: Format, text: &str) -> Value {
    let value = match format {
        Format::Plain => None,
        Format::Byte => base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()
            .map(|bytes| Value::Bytes(bytes.into())),
        Format::Duration => machinery::duration::parse_nanos(text).ok().map(Value::Duration),
        Format::Date => time::parse_date(text).map(Value::Timestamp),
        Format::DateTime => time::parse_timestamp(text).map(Value::Timestamp),
    };
    value.unwrap_or_else(|| Value::string(text))
}

fn whole(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(value), _) => Value::Int(value),
        (None, Some(value)) if value.fract() == 0.0 && value.abs() < 9e15 => {
            Value::Int(value as i64)
        }
        (None, value) => Value::Double(value.unwrap_or(f64::NAN)),
    }
}

/// Whether values may be of several scalar types: integers or strings, and quantities in documents
/// of version 3, which have no type.
fn is_one_of_several(schema: &Json) -> bool {
    let is_format = || schema.get("format").and_then(Json::as_str) == Some("int-or-string");
    let is_quantity = || schema.get("type").is_none() && schema.get("oneOf").is_some();
    flag(schema, "x-kubernetes-int-or-string") || is_format() || is_quantity()
}

/// Whether the schema of a whole object has all that every one has, so that it can be taken at its
/// word.
fn says_what_roots_are(schema: &Json) -> bool {
    let is = |path: &str, ty: &str| {
        schema.pointer(&format!("/properties{path}/type")).and_then(Json::as_str) == Some(ty)
    };
    is("/kind", "string")
        && is("/apiVersion", "string")
        && is("/metadata", "object")
        && is("/metadata/properties/name", "string")
        && is("/metadata/properties/generateName", "string")
}

/// The type that a schema declares; whole objects need not say that they are.
fn type_name(schema: &Json, root: bool) -> &str {
    match schema.get("type").and_then(Json::as_str) {
        None | Some("") if root => "object",
        ty => ty.unwrap_or_default(),
    }
}

fn list_keys(schema: &Json) -> Arc<[Arc<str>]> {
    strings(schema.get("x-kubernetes-list-map-keys"))
        .filter_map(|key| Some(escape(key)?.into()))
        .collect()
}

pub(crate) fn strings(list: Option<&Json>) -> impl Iterator<Item = &str> {
    list.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

pub(crate) fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

/// A limit of a schema; below zero it is zero.
pub(crate) fn number(schema: &Json, name: &str) -> Option<u64> {
    let value = schema.get(name)?;
    value.as_u64().or_else(|| value.as_f64().map(|value| value.max(0.0) as u64))
}

/// Whether a word cannot be a name in expressions: it is reserved, a literal or an operator.
fn is_keyword(word: &str) -> bool {
    RESERVED.contains(&word) || ["true", "false", "null", "in"].contains(&word)
}

/// Whether a word can be the name of a variable in expressions.
pub fn is_identifier(word: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts = word.bytes().next().is_some_and(|b| fits(b) && !b.is_ascii_digit());
    starts && word.bytes().all(fits) && !is_keyword(word)
}

/// The name by which expressions know a property; `None` when they cannot name it.
pub fn escape(name: &str) -> Option<String> {
    if is_keyword(name) {
        return Some(format!("__{name}__"));
    }
    let start = |c: char| c.is_ascii_alphabetic() || "_.-/".contains(c);
    if !name.starts_with(start) || !name.chars().all(|c| start(c) || c.is_ascii_digit()) {
        return None;
    }
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (text, length) = match c {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            _ => (&rest[..1], 1),
        };
        escaped.push_str(text);
        rest = &rest[length..];
    }
    Some(escaped)
}
