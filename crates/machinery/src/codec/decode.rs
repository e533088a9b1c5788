//! One visitor for every type and every source of data.

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use smallvec::SmallVec;

use super::keys::{Key, Member, Name};
use super::report::{Path, Report, Source, Step};
use super::zero::{complete, zero};
use super::{
    DecodeError, Decoded, FieldValidation, TypeMismatch, custom, scalar, syntax, verbatim,
};
use crate::schema::{Field, Kind, Raw, TypeRef};

pub(super) fn json(
    text: &str,
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let mut report = Report::new(validation, Source::Json);
    let mut source = serde_json::Deserializer::from_str(text);
    let value = match ty.is_custom() {
        true => custom::read(&mut source, &mut report),
        false => Node::root(ty, &mut report).deserialize(&mut source),
    };
    let value = value.and_then(|value| {
        source.end()?;
        Ok(value)
    });
    match value {
        Ok(value) if ty.is_custom() => custom::finish(value, ty, report, validation),
        Ok(value) => report.finish(value, ty),
        Err(error) => Err(DecodeError::Syntax(syntax::explain(text, &error))),
    }
}

pub(super) fn yaml(
    text: &str,
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let mut report = Report::new(validation, Source::Tree);
    let document = super::yaml::read(text)?;
    if let Some(duplicates) = document.duplicate_keys() {
        report.note(duplicates.to_string());
    }
    if ty.is_custom() {
        let value = custom::read(document.value, &mut report)
            .map_err(|error| DecodeError::Syntax(error.to_string()))?;
        return custom::finish(value, ty, report, validation);
    }
    match Node::root(ty, &mut report).deserialize(document.value) {
        Ok(value) => report.finish(value, ty),
        Err(error) => Err(DecodeError::Syntax(error.to_string())),
    }
}

pub(super) fn cbor(
    bytes: &[u8],
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let mut report = Report::new(validation, Source::Cbor);
    let value = super::cbor::whole(bytes, |source| match ty.is_custom() {
        true => custom::read(source, &mut report),
        false => Node::root(ty, &mut report).deserialize(source),
    });
    match value {
        Ok(value) if ty.is_custom() => custom::finish(value, ty, report, validation),
        Ok(value) => report.finish(value, ty),
        Err(error) => Err(DecodeError::Syntax(error.to_string())),
    }
}

pub(super) fn tree(
    value: Value,
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let mut report = Report::new(validation, Source::Tree);
    if ty.is_custom() {
        return custom::finish(value, ty, report, validation);
    }
    match Node::root(ty, &mut report).deserialize(value) {
        Ok(value) => report.finish(value, ty),
        Err(error) => Err(DecodeError::Syntax(error.to_string())),
    }
}

/// Finds kind and version without decoding the rest.
pub(super) fn peek(text: &str) -> Result<(String, String), DecodeError> {
    #[derive(serde::Deserialize)]
    struct TypeMeta<'t> {
        #[serde(rename = "apiVersion", default, borrow)]
        api_version: Option<std::borrow::Cow<'t, str>>,
        #[serde(default, borrow)]
        kind: Option<std::borrow::Cow<'t, str>>,
    }
    match serde_json::from_str::<TypeMeta<'_>>(text) {
        Ok(meta) => {
            let owned = |part: Option<std::borrow::Cow<'_, str>>| {
                part.map(std::borrow::Cow::into_owned).unwrap_or_default()
            };
            Ok((owned(meta.api_version), owned(meta.kind)))
        }
        Err(error) if error.is_data() => peek_mismatch(text),
        Err(error) => Err(DecodeError::Syntax(syntax::explain(text, &error))),
    }
}

/// Duplicate members and wrong types are left to a slower look.
fn peek_mismatch(text: &str) -> Result<(String, String), DecodeError> {
    let wanted = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                  Kind string \"json:\\\"kind,omitempty\\\"\" }";
    let mismatch = |found: &str, field: Option<&str>, wanted: &str| {
        Err(DecodeError::Type(TypeMismatch {
            found: found.to_owned(),
            field: field.map(|name| (String::new(), name.to_owned())),
            wanted: wanted.to_owned(),
        }))
    };
    let value: Value = serde_json::from_str(text)
        .map_err(|error| DecodeError::Syntax(syntax::explain(text, &error)))?;
    let Value::Object(object) = &value else {
        return mismatch(json_type(&value), None, wanted);
    };
    let mut found = [String::new(), String::new()];
    for (slot, name) in found.iter_mut().zip(["apiVersion", "kind"]) {
        match object.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => slot.clone_from(text),
            Some(other) => return mismatch(json_type(other), Some(name), "string"),
        }
    }
    let [api_version, kind] = found;
    Ok((api_version, kind))
}

/// What Go's decoder calls a value.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A double without a fraction is written without one, so that it is one number however it came.
fn whole(number: Number) -> Number {
    match number.as_f64() {
        Some(float)
            if float.fract() == 0.0
                && float.abs() < 9_007_199_254_740_992.0
                && !(float == 0.0 && float.is_sign_negative()) =>
        {
            (float as i64).into()
        }
        // One with more digits than a double has is the double next to it, as in Go.
        Some(float) => Number::from_f64(float).unwrap_or(number),
        None => number,
    }
}

/// A wrong type in the words of the decoder that finds it upstream; CBOR has its own.
fn type_error(is_cbor: bool, mut mismatch: TypeMismatch) -> DecodeError {
    if !is_cbor {
        return DecodeError::Type(mismatch);
    }
    mismatch.found = cbor_type(&mismatch.found).to_owned();
    DecodeError::Scalar(mismatch.to_string().replacen("json", "cbor", 1))
}

/// What CBOR calls what JSON calls otherwise. Texts are taken for byte strings, which is what
/// Kubernetes' clients send.
fn cbor_type(found: &str) -> &str {
    match found {
        "string" => "byte string",
        "object" => "map",
        "array" => "array",
        "bool" => "primitives",
        number if number.contains('.') => "primitives",
        number if number.contains('-') => "negative integer",
        _ => "positive integer",
    }
}

// === Node ===

/// A place in the object where a value of a known type is expected.
struct Node<'p, 's> {
    ty: TypeRef<'s>,
    path: Path<'p>,
    /// Innermost field on the way here, with the struct that has it.
    field: Option<(TypeRef<'s>, Field<'s>)>,
    /// An element of that field's list or map.
    is_element: bool,
    report: &'p mut Report,
}

impl<'p, 's> Node<'p, 's> {
    fn root(ty: TypeRef<'s>, report: &'p mut Report) -> Self {
        let path = Path { parent: None, step: Step::Root };
        Self { ty, path, field: None, is_element: false, report }
    }

    fn go_name(&self) -> String {
        match (self.field, self.is_element) {
            (Some((_, field)), false) => field.go_name(),
            (Some((_, field)), true) if field.scalar_name().is_some() => {
                let name = field.scalar_name().unwrap_or_default();
                let mut parts = name.rsplit('.');
                let base = parts.next().unwrap_or_default();
                format!("{}.{base}", parts.next().unwrap_or_default())
            }
            _ => self.ty.go_name(),
        }
    }

    /// Notes a wrong type. The value is then as if absent, and the decoding fails in the end.
    #[cold]
    fn mismatch(self, found: &str) -> Value {
        let wanted = self.go_name();
        let is_cbor = self.report.source == Source::Cbor;
        let Self { path, field, report, .. } = self;
        report.fail(|| {
            let field = field.map(|(owner, _)| {
                (owner.short_name().unwrap_or_default().to_owned(), path.fields_only())
            });
            type_error(is_cbor, TypeMismatch { found: found.to_owned(), field, wanted })
        });
        Value::Null
    }

    /// Types that decode themselves know nothing of the field they stand in.
    #[cold]
    fn bare_mismatch(self, found: &str, wanted: &str) -> Value {
        let is_cbor = self.report.source == Source::Cbor;
        self.report.fail(|| {
            let mismatch =
                TypeMismatch { found: found.to_owned(), field: None, wanted: wanted.to_owned() };
            type_error(is_cbor, mismatch)
        });
        Value::Null
    }

    #[cold]
    fn refuse(self, text: String) -> Value {
        self.report.fail(|| DecodeError::Scalar(text));
        Value::Null
    }

    fn scalar<E>(self, decoded: Result<String, E>) -> Value
    where
        E: std::fmt::Display,
    {
        match decoded {
            Ok(text) => Value::String(text),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    fn text(self, text: &str) -> Value {
        match self.ty.kind() {
            Kind::String | Kind::Any | Kind::Raw(_) | Kind::IntOrString => {
                Value::String(text.to_owned())
            }
            Kind::Bytes => self.scalar(scalar::bytes(text)),
            Kind::Quantity => self.scalar(scalar::quantity(text)),
            Kind::Time => self.scalar(scalar::time(text)),
            Kind::MicroTime => self.scalar(scalar::micro_time(text)),
            Kind::Duration => self.scalar(scalar::duration(text)),
            Kind::SchemaOrBool(_) => self.refuse("boolean or JSON schema expected".into()),
            Kind::SchemaOrArray(schema) | Kind::SchemaOrStrings(schema) => {
                self.bare_mismatch("string", &schema.go_name())
            }
            _ => self.mismatch("string"),
        }
    }

    fn number(self, number: Number) -> Value {
        match self.ty.kind() {
            Kind::Int64 => match self.integer(&number) {
                Some(n) => Value::from(n),
                None => self.mismatch(&format!("number {number}")),
            },
            Kind::Int32 => match self.integer(&number).and_then(|n| i32::try_from(n).ok()) {
                Some(n) => Value::from(n),
                None => self.mismatch(&format!("number {number}")),
            },
            Kind::IntOrString => match self.integer(&number).and_then(|n| i32::try_from(n).ok()) {
                Some(n) => Value::from(n),
                None => self.bare_mismatch(&format!("number {number}"), "int32"),
            },
            Kind::Double => Value::Number(whole(number)),
            Kind::Any | Kind::Raw(_) => Value::Number(number),
            Kind::Quantity => self.scalar(scalar::quantity(&number.to_string())),
            Kind::Time | Kind::MicroTime | Kind::Duration => self.bare_mismatch("number", "string"),
            Kind::SchemaOrBool(_) => self.refuse("boolean or JSON schema expected".into()),
            Kind::SchemaOrArray(schema) | Kind::SchemaOrStrings(schema) => {
                self.bare_mismatch("number", &schema.go_name())
            }
            _ => self.mismatch("number"),
        }
    }

    /// YAML and trees have lost the difference between `1` and `1.0`.
    fn integer(&self, number: &Number) -> Option<i64> {
        // The parser takes `-0` for a float, though it is a good integer in Go.
        let is_zero = number.as_f64().is_some_and(|n| n == 0.0 && n.is_sign_negative());
        number.as_i64().or(is_zero.then_some(0)).or_else(|| {
            let lossy = self.report.source == Source::Tree;
            let float = number.as_f64().filter(|_| lossy)?;
            let whole = float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0;
            whole.then_some(float as i64)
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        let kept = matches!(self.ty.kind(), Kind::Raw(Raw::Extension | Raw::Json));
        if kept && self.report.source == Source::Json {
            let raw = <&RawValue>::deserialize(source)?;
            return verbatim::read(raw.get()).map_err(serde::de::Error::custom);
        }
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
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
        Ok(match self.ty.kind() {
            Kind::Bool | Kind::Any | Kind::Raw(_) | Kind::SchemaOrBool(_) => Value::Bool(on),
            Kind::IntOrString => self.bare_mismatch("bool", "int32"),
            Kind::Time | Kind::MicroTime | Kind::Duration => self.bare_mismatch("bool", "string"),
            Kind::Quantity => self.scalar(scalar::quantity(if on { "true" } else { "false" })),
            Kind::SchemaOrArray(schema) | Kind::SchemaOrStrings(schema) => {
                self.bare_mismatch("bool", &schema.go_name())
            }
            _ => self.mismatch("bool"),
        })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(self.number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(self.number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        match Number::from_f64(number) {
            Some(number) => Ok(self.number(number)),
            None => Ok(self.mismatch("number")),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(self.text(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        match self.ty.kind() {
            Kind::String | Kind::Any | Kind::Raw(_) => Ok(Value::String(text)),
            _ => Ok(self.text(&text)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let ty = self.ty;
        match ty.kind() {
            Kind::List(item) => self.list(items, item),
            Kind::Any | Kind::Raw(_) => {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Value>()? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }
            Kind::SchemaOrArray(schema) => {
                self.report.muted += 1;
                let report = self.report;
                let node = Node { report: &mut *report, ..self };
                let list = node.list(items, schema);
                report.muted -= 1;
                list
            }
            Kind::SchemaOrStrings(_) => {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Value>()? {
                    match item {
                        Value::String(_) => list.push(item),
                        other => return Ok(self.bare_mismatch(json_type(&other), "string")),
                    }
                }
                Ok(Value::Array(list))
            }
            kind => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(match kind {
                    Kind::IntOrString => self.bare_mismatch("array", "int32"),
                    Kind::Time | Kind::MicroTime | Kind::Duration => {
                        self.bare_mismatch("array", "string")
                    }
                    Kind::Quantity => self.scalar(scalar::quantity("[]")),
                    Kind::SchemaOrBool(_) => self.refuse("boolean or JSON schema expected".into()),
                    _ => self.mismatch("array"),
                })
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        match self.ty.kind() {
            Kind::Struct => self.object(entries),
            Kind::Map(item) => self.map(entries, item),
            Kind::Any | Kind::Raw(_) => {
                let mut map = Map::new();
                while let Some(Key(key)) = entries.next_key::<Key>()? {
                    map.insert(key, entries.next_value()?);
                }
                let mut object = Value::Object(map);
                if self.report.source == Source::Cbor {
                    // On its way to raw JSON, upstream's decoder loses the order.
                    object.sort_all_objects();
                }
                Ok(object)
            }
            Kind::SchemaOrBool(schema)
            | Kind::SchemaOrArray(schema)
            | Kind::SchemaOrStrings(schema) => {
                self.report.muted += 1;
                let report = self.report;
                let node = Node { ty: schema, report: &mut *report, ..self };
                let object = node.object(entries);
                report.muted -= 1;
                object
            }
            kind => {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(match kind {
                    Kind::IntOrString => self.bare_mismatch("object", "int32"),
                    Kind::Time | Kind::MicroTime | Kind::Duration => {
                        self.bare_mismatch("object", "string")
                    }
                    Kind::Quantity => self.scalar(scalar::quantity("{}")),
                    _ => self.mismatch("object"),
                })
            }
        }
    }
}

impl<'s> Node<'_, 's> {
    fn list<'de, A>(self, mut items: A, item: TypeRef<'s>) -> Result<Value, A::Error>
    where
        A: SeqAccess<'de>,
    {
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(1024));
        loop {
            let node = Node {
                ty: item,
                path: Path { parent: Some(&self.path), step: Step::Index(list.len()) },
                field: self.field,
                is_element: true,
                report: &mut *self.report,
            };
            match items.next_element_seed(node)? {
                Some(Value::Null) => list.push(zero(item)),
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn map<'de, A>(self, mut entries: A, item: TypeRef<'s>) -> Result<Value, A::Error>
    where
        A: MapAccess<'de>,
    {
        let mut map = Map::new();
        let mut sorted = true;
        while let Some(Key(key)) = entries.next_key::<Key>()? {
            let node = Node {
                ty: item,
                path: Path { parent: Some(&self.path), step: Step::Key(&key) },
                field: self.field,
                is_element: true,
                report: &mut *self.report,
            };
            let mut value = entries.next_value_seed(node)?;
            if value.is_null() {
                value = zero(item);
            }
            sorted = sorted && map.keys().next_back().is_none_or(|last| *last < key);
            if !sorted && map.contains_key(&key) {
                self.report.strict("duplicate", &self.path, &key);
            }
            map.insert(key, value);
        }
        if !sorted {
            map.sort_keys();
        }
        Ok(Value::Object(map))
    }

    fn object<'de, A>(self, mut entries: A) -> Result<Value, A::Error>
    where
        A: MapAccess<'de>,
    {
        let ty = self.ty;
        let mut members: SmallVec<[(u16, Value); 16]> = SmallVec::new();
        let mut sorted = true;
        let mut next = 0;
        while let Some(name) = entries.next_key_seed(Member { ty, guess: next })? {
            let position = match name {
                Name::Known(position) => position,
                Name::Unknown(name) => {
                    entries.next_value::<IgnoredAny>()?;
                    self.report.strict("unknown", &self.path, &name);
                    continue;
                }
            };
            let field = ty.field_at(position);
            let node = Node {
                ty: field.type_ref(),
                path: Path { parent: Some(&self.path), step: Step::Field(field.name()) },
                field: Some((ty, field)),
                is_element: false,
                report: &mut *self.report,
            };
            let value = entries.next_value_seed(node)?;
            let position = position as u16;
            sorted = sorted && members.last().is_none_or(|(last, _)| *last < position);
            if !sorted && let Some(earlier) = members.iter_mut().find(|(at, _)| *at == position) {
                self.report.strict("duplicate", &self.path, field.name());
                earlier.1 = value;
                continue;
            }
            next = usize::from(position) + 1;
            members.push((position, value));
        }
        if !sorted {
            members.sort_by_key(|(position, _)| *position);
        }
        Ok(Value::Object(complete(ty, members)))
    }
}
