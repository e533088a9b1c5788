//! One step of a path of fields: a member, an item of a list by key or by value, an index.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use crate::codec::write_untyped;

/// A step into a value.
#[derive(Clone, Debug)]
pub enum Element {
    /// A member of a struct or an entry of a map.
    Field(Box<str>),
    /// An item of a list by the values of its key fields, in order of their names.
    Key(Box<[(Box<str>, Value)]>),
    /// An item of a set.
    Value(Value),
    /// An item by its place.
    Index(i64),
}

impl Element {
    /// A member or entry.
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// An item by key fields, in any order.
    pub fn key(mut fields: Vec<(Box<str>, Value)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(fields.into())
    }

    /// The step from its text in `FieldsV1`: `f:name`, `k:{"name":"a"}`, `v:"x"`, `i:3`. None
    /// for kinds of steps that are not known, which readers skip.
    ///
    /// # Errors
    /// When the text behind the colon is not what it must be.
    pub fn parse(text: &str) -> Result<Option<Self>, ElementError> {
        let Some((kind, rest)) = text.split_at_checked(2) else {
            return Err(ElementError::TooShort);
        };
        let json = |rest: &str| serde_json::from_str::<Value>(rest).map_err(ElementError::Json);
        Ok(Some(match kind {
            "f:" => Self::field(rest),
            "v:" => Self::Value(json(rest)?),
            "k:" => {
                let Value::Object(fields) = json(rest)? else { return Err(ElementError::NoObject) };
                Self::key(fields.into_iter().map(|(k, v)| (k.into(), v)).collect())
            }
            "i:" => Self::Index(rest.parse().map_err(ElementError::Index)?),
            _ => return Ok(None),
        }))
    }

    /// The text in `FieldsV1`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let object: Map<String, Value> =
                    fields.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
                format!("k:{}", compact(&Value::Object(object)))
            }
            Self::Value(value) => format!("v:{}", compact(value)),
            Self::Index(at) => format!("i:{at}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// Why a text is no step.
#[derive(Debug, thiserror::Error)]
pub enum ElementError {
    /// There is no room for the prefix.
    #[error("key must be 2 characters long")]
    TooShort,
    /// A value or key that is no JSON.
    #[error("parsing value: {0}")]
    Json(#[source] serde_json::Error),
    /// A key that is no object.
    #[error("key is not an object")]
    NoObject,
    /// An index that is no number.
    #[error("parsing index: {0}")]
    Index(#[source] std::num::ParseIntError),
}

fn compact(value: &Value) -> String {
    let mut out = Vec::new();
    write_untyped(&mut out, value);
    String::from_utf8(out).expect("the encoder writes UTF-8")
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element {}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            (Self::Value(a), Self::Value(b)) => compare_values(a, b),
            (Self::Key(a), Self::Key(b)) => {
                let by_field = a.iter().zip(b.iter()).map(|((name, value), (other, with))| {
                    name.cmp(other).then_with(|| compare_values(value, with))
                });
                by_field
                    .into_iter()
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// As upstream prints paths in conflicts: `.name`, `[name="a"]`, `[="x"]`, `[3]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                f.write_str("[")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={}", shown(value))?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={}]", shown(value)),
            Self::Index(at) => write!(f, "[{at}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => crate::field::quote(text),
        other => compact(other),
    }
}

/// Numbers, then strings, booleans, lists, maps, null.
pub(super) fn compare_values(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => {
                let float = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
                float(a).total_cmp(&float(b))
            }
        },
        (Value::Array(a), Value::Array(b)) => {
            let items = a.iter().zip(b).map(|(a, b)| compare_values(a, b));
            items.into_iter().find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let sorted = |map: &Map<String, Value>| {
                let mut keys: Vec<String> = map.keys().cloned().collect();
                keys.sort_unstable();
                keys
            };
            let (left, right) = (sorted(a), sorted(b));
            let entries = left.iter().zip(&right).map(|(left, right)| {
                left.cmp(right).then_with(|| compare_values(&a[left], &b[right]))
            });
            entries.into_iter().find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Whether two values are the same; 1 and 1.0 are.
pub(super) fn same_value(a: &Value, b: &Value) -> bool {
    a == b || compare_values(a, b) == Ordering::Equal
}
