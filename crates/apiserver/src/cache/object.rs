//! One immutable object, shared by everybody who reads it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use machinery::Value;
use machinery::codec::{self, cbor, protobuf};
use machinery::selector::Labels;
use machinery::status::Status;
use resources::SelectableFields;
use resources::selectable::Read;

use super::encoded::{Binary, Encoded};
use super::mark::Mark;
use super::scan::{LabelSpan, Paths, scan};

/// What selectors can ask of the objects of one stored resource, and where it is found.
#[derive(Debug, Default, PartialEq)]
pub struct FieldSet {
    fields: Vec<Field>,
    paths: Paths,
}

#[derive(Debug, PartialEq)]
struct Field {
    name: String,
    read: Read,
    first: usize,
    second: Option<usize>,
}

impl FieldSet {
    /// The canonical fields of `selectable`. Name and namespace need no place: they are in the key.
    pub fn new(selectable: &SelectableFields) -> Self {
        let mut set = Self::default();
        for field in &selectable.fields {
            if matches!(&*field.canonical, "metadata.name" | "metadata.namespace") {
                continue;
            }
            let (first, second) = match field.read {
                Read::EventSource => {
                    (set.paths.add("source.component"), Some(set.paths.add("reportingComponent")))
                }
                _ => (set.paths.add(&field.canonical), None),
            };
            let name = field.canonical.to_string();
            set.fields.push(Field { name, read: field.read, first, second });
        }
        set
    }

    /// Whether the objects have a field of this canonical name, name and namespace aside.
    pub(super) fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

/// What stands before the digits of the resourceVersion.
const MEMBER: &[u8] = br#""resourceVersion":""#;

#[derive(Debug)]
enum FieldValue {
    Fixed(&'static str),
    Span(u32, u32),
    Owned(Box<str>),
}

/// An object as it goes over the wire, with its resourceVersion.
#[derive(Debug)]
pub struct Object {
    json: Bytes,
    encoded: Encoded,
    revision: u64,
    mark: Mark,
    /// `namespace/name`, or `name` in cluster scope: the key behind the resource's prefix.
    key: Box<str>,
    namespace_len: u16,
    items_from: u16,
    version_digits: Range<u32>,
    labels: Box<[LabelSpan]>,
    fields: Box<[FieldValue]>,
    set: Arc<FieldSet>,
    /// The presentation that shows the object as it is stored; 0 if none is known to.
    unchanged_under: AtomicU64,
}

impl Object {
    /// From stored JSON, which has no resourceVersion. `key` is what stands behind the resource's
    /// prefix. `None` when the JSON is none of ours.
    pub fn new(key: &str, stored: &[u8], revision: u64, set: &Arc<FieldSet>) -> Option<Self> {
        let found = scan(stored, &set.paths)?;
        let digits = revision.to_string();
        let at = found.version_at;
        let mut json = Vec::with_capacity(stored.len() + digits.len() + 22);
        json.extend_from_slice(&stored[..at]);
        if found.member_precedes && !found.member_follows {
            json.push(b',');
        }
        json.extend_from_slice(MEMBER);
        let start = u32::try_from(json.len()).ok()?;
        json.extend_from_slice(digits.as_bytes());
        let version_digits = start..start + u32::try_from(digits.len()).ok()?;
        json.push(b'"');
        if found.member_follows {
            json.push(b',');
        }
        let added = json.len() - at;
        json.extend_from_slice(&stored[at..]);

        // Places behind the new member have moved.
        let moved = |offset: usize| if offset >= at { offset + added } else { offset };
        let shift = |offset: u32| u32::try_from(moved(offset as usize)).unwrap_or(u32::MAX);
        let labels = found
            .labels
            .iter()
            .map(|(k, v)| (shift(k.start)..shift(k.end), shift(v.start)..shift(v.end)))
            .collect();
        let fields = set
            .fields
            .iter()
            .map(|field| {
                let raw = |index: usize| {
                    found.values[index]
                        .clone()
                        .map(|range| moved(range.start)..moved(range.end - 1) + 1)
                };
                field_value(field, &json, raw(field.first), field.second.and_then(raw))
            })
            .collect();
        let mut object = Self {
            json: shared(json),
            encoded: Encoded::default(),
            revision,
            mark: Mark::default(),
            key: key.into(),
            namespace_len: u16::try_from(key.find('/').unwrap_or(0)).ok()?,
            items_from: u16::try_from(found.after_type).ok()?,
            version_digits,
            labels,
            fields,
            set: set.clone(),
            unchanged_under: AtomicU64::new(0),
        };
        object.mark = object.marked();
        Some(object)
    }

    /// What selectors can demand of it.
    fn marked(&self) -> Mark {
        let mut mark = Mark::default();
        for (key, value) in &self.labels {
            mark.add(self.text(key), self.text(value));
        }
        for (field, value) in self.set.fields.iter().zip(&self.fields) {
            mark.add(&field.name, self.field_text(value));
        }
        mark
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// The whole object as compact JSON.
    pub fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// Bytes of [`Self::json`].
    pub(super) fn json_len(&self) -> usize {
        self.json.len()
    }

    /// The whole object as a protobuf message in its envelope, shared like the JSON while somebody
    /// asks for it. `None` for kinds that have no such form.
    pub fn protobuf(self: &Arc<Self>) -> Option<Bytes> {
        Some(self.binary(Binary::Protobuf)).filter(|message| !message.is_empty())
    }

    /// The whole object in CBOR, shared like the JSON while somebody asks for it.
    pub fn cbor(self: &Arc<Self>) -> Bytes {
        self.binary(Binary::Cbor)
    }

    fn binary(self: &Arc<Self>, form: Binary) -> Bytes {
        self.encoded.get(form).unwrap_or_else(|| {
            let bytes = shared(self.encode(form));
            self.encoded.keep(self, form, &bytes);
            bytes
        })
    }

    /// The bytes of a form, for something that is kept itself: they are not.
    pub(super) fn binary_once(&self, form: Binary) -> Bytes {
        self.encoded.get(form).unwrap_or_else(|| self.encode(form).into())
    }

    /// Empty if it has no such form.
    fn encode(&self, form: Binary) -> Vec<u8> {
        match form {
            Binary::Protobuf => protobuf::encode_builtin(&self.value()).unwrap_or_default(),
            Binary::Cbor => cbor::encode_object(&self.value()),
        }
    }

    pub(super) fn encoded(&self) -> &Encoded {
        &self.encoded
    }

    /// The object as a tree.
    pub fn value(&self) -> Value {
        codec::read_object(&self.json).expect("the cache holds well-formed JSON")
    }

    /// Its resourceVersion as a number.
    pub fn resource_version(&self) -> u64 {
        self.revision
    }

    /// `namespace/name`, or `name` in cluster scope.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its namespace; empty in cluster scope.
    pub fn namespace(&self) -> &str {
        &self.key[..usize::from(self.namespace_len)]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self.namespace_len {
            0 => &self.key,
            namespace => &self.key[usize::from(namespace) + 1..],
        }
    }

    /// A selectable field by its canonical name; `None` when it is not selectable.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => Some(self.field_text(&self.fields[self.set.position(name)?])),
        }
    }

    fn field_text<'a>(&'a self, value: &'a FieldValue) -> &'a str {
        match value {
            FieldValue::Fixed(text) => text,
            FieldValue::Span(start, end) => self.text(&(*start..*end)),
            FieldValue::Owned(text) => text,
        }
    }

    fn text(&self, span: &Range<u32>) -> &str {
        let bytes = &self.json[span.start as usize..span.end as usize];
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The JSON as an item of a list: members of it without the opening brace, and without kind
    /// and apiVersion when they are known from the list.
    pub(super) fn item(&self, with_type: bool) -> &[u8] {
        let from = if with_type { 1 } else { usize::from(self.items_from).max(1) };
        &self.json[from..]
    }

    /// The same object with another resourceVersion, as in the event of its deletion.
    pub(crate) fn at_revision(&self, revision: u64) -> Self {
        let digits = revision.to_string();
        let old = self.version_digits.start as usize..self.version_digits.end as usize;
        let mut json = Vec::with_capacity(self.json.len() + digits.len());
        json.extend_from_slice(&self.json[..old.start]);
        json.extend_from_slice(digits.as_bytes());
        json.extend_from_slice(&self.json[old.end..]);
        let grown = i64::try_from(digits.len()).unwrap_or(0) - i64::from(old.len() as u32);
        let shift = |offset: u32| {
            if offset as usize >= old.end {
                u32::try_from(i64::from(offset) + grown).unwrap_or(u32::MAX)
            } else {
                offset
            }
        };
        let labels = self
            .labels
            .iter()
            .map(|(k, v)| (shift(k.start)..shift(k.end), shift(v.start)..shift(v.end)))
            .collect();
        let fields = self
            .fields
            .iter()
            .map(|value| match value {
                FieldValue::Fixed(text) => FieldValue::Fixed(text),
                FieldValue::Span(start, end) => FieldValue::Span(shift(*start), shift(*end)),
                FieldValue::Owned(text) => FieldValue::Owned(text.clone()),
            })
            .collect();
        Self {
            json: shared(json),
            encoded: Encoded::default(),
            revision,
            mark: self.mark,
            key: self.key.clone(),
            namespace_len: self.namespace_len,
            items_from: self.items_from,
            version_digits: self.version_digits.start
                ..self.version_digits.start + u32::try_from(digits.len()).unwrap_or(0),
            labels,
            fields,
            set: self.set.clone(),
            unchanged_under: AtomicU64::new(self.unchanged_under.load(Ordering::Relaxed)),
        }
    }

    /// The JSON as it is stored: without resourceVersion.
    pub(crate) fn stored(&self) -> Vec<u8> {
        let digits = self.version_digits.start as usize..self.version_digits.end as usize;
        let mut start = digits.start - MEMBER.len();
        let mut end = digits.end + 1;
        if self.json[end] == b',' {
            end += 1;
        } else if self.json[start - 1] == b',' {
            start -= 1;
        }
        let mut stored = Vec::with_capacity(self.json.len());
        stored.extend_from_slice(&self.json[..start]);
        stored.extend_from_slice(&self.json[end..]);
        stored
    }

    /// The same object with the JSON, without resourceVersion, that it has in another version;
    /// `None` when that is what is stored.
    pub(super) fn shown_as(&self, json: &[u8]) -> Result<Option<Arc<Self>>, Box<Status>> {
        if self.stored() == json {
            return Ok(None);
        }
        let object = Self::new(&self.key, json, self.revision, &self.set)
            .ok_or_else(|| Status::internal("a conversion gave what is not an object"))?;
        Ok(Some(Arc::new(object)))
    }

    pub(super) fn is_unchanged_under(&self, presentation: u64) -> bool {
        self.unchanged_under.load(Ordering::Relaxed) == presentation
    }

    pub(super) fn mark_unchanged_under(&self, presentation: u64) {
        self.unchanged_under.store(presentation, Ordering::Relaxed);
    }
}

impl Labels for Object {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| self.text(k) == key).map(|(_, v)| self.text(v))
    }
}

/// Bytes without spare room: they may stay for long.
fn shared(json: Vec<u8>) -> Bytes {
    json.into_boxed_slice().into()
}

fn field_value(
    field: &Field,
    json: &[u8],
    first: Option<Range<usize>>,
    second: Option<Range<usize>>,
) -> FieldValue {
    let scalar = |range: Option<Range<usize>>| scalar(json, range?);
    match field.read {
        Read::Path => scalar(first).unwrap_or(FieldValue::Fixed("")),
        Read::Bool => scalar(first).unwrap_or(FieldValue::Fixed("false")),
        Read::Number => scalar(first).unwrap_or(FieldValue::Fixed("0")),
        Read::EventSource => {
            scalar(first).or_else(|| scalar(second)).unwrap_or(FieldValue::Fixed(""))
        }
        Read::PodIps => {
            let list: Option<Vec<Value>> =
                first.and_then(|range| serde_json::from_slice(&json[range]).ok());
            let ips: Vec<&str> =
                list.iter().flatten().filter_map(|ip| ip.get("ip")?.as_str()).collect();
            FieldValue::Owned(ips.join(",").into())
        }
    }
}

/// The text of a scalar; `None` for null, an empty string and what is no scalar.
fn scalar(json: &[u8], range: Range<usize>) -> Option<FieldValue> {
    let raw = &json[range.clone()];
    let inner = match raw.first()? {
        b'"' => range.start + 1..range.end - 1,
        b'{' | b'[' | b'n' => return None,
        _ => range.clone(),
    };
    if inner.is_empty() {
        return None;
    }
    if json[inner.clone()].contains(&b'\\') {
        let text: Cow<'_, str> = serde_json::from_slice(raw).ok()?;
        return Some(FieldValue::Owned(text.into()));
    }
    Some(FieldValue::Span(u32::try_from(inner.start).ok()?, u32::try_from(inner.end).ok()?))
}
