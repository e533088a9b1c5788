//! Values while an expression is evaluated.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use jiff::Timestamp;
use machinery::Value as Json;
use machinery::quantity::Quantity;

use crate::library::authorizer;
use crate::library::{cidr::Cidr, format::Format, semver::Semver, url::Url};
use crate::types::Type;

/// A value of an expression.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// Octets.
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list.
    List(Arc<List>),
    /// A map.
    Map(Arc<BTreeMap<Key, Value>>),
    /// A value with declared fields.
    Object(Arc<Object>),
    /// A value that may be absent.
    Optional(Option<Arc<Value>>),
    /// A type.
    Type(Type),
    /// A value of a function library.
    Opaque(Opaque),
}

/// A list and what makes two of its kind equal.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The items.
    pub items: Vec<Value>,
    /// How the list compares and grows.
    pub kind: ListKind,
}

/// `x-kubernetes-list-type` of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// Order matters.
    #[default]
    Atomic,
    /// Order does not matter; `+` is the union.
    Set,
    /// Items are told apart by these fields, in the spelling of expressions; `+` merges by them.
    Map(Arc<[Arc<str>]>),
}

/// A key of a map. Numbers of different types that are equal are the same key.
#[derive(Clone, Debug)]
pub enum Key {
    /// A truth value.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// Text.
    String(Arc<str>),
}

/// A value with declared fields.
#[derive(Clone, Debug)]
pub struct Object {
    /// What `type()` says.
    pub name: Arc<str>,
    /// The fields that are set, by the names that expressions use.
    pub fields: BTreeMap<Arc<str>, Value>,
    /// What no expression can reach, but what still makes two objects differ.
    pub hidden: Vec<(String, Json)>,
}

/// Values that only a function library makes.
#[derive(Clone, Debug)]
pub enum Opaque {
    /// `kubernetes.Quantity`
    Quantity(Quantity),
    /// `net.IP`
    Ip(IpAddr),
    /// `net.CIDR`
    Cidr(Cidr),
    /// `kubernetes.URL`
    Url(Arc<Url>),
    /// `kubernetes.NamedFormat`
    Format(&'static Format),
    /// `kubernetes.Semver`
    Semver(Arc<Semver>),
    /// `kubernetes.authorization.Authorizer`
    Authorizer(authorizer::Authorizer),
    /// `kubernetes.authorization.PathCheck`
    PathCheck(Arc<authorizer::PathCheck>),
    /// `kubernetes.authorization.GroupCheck`
    GroupCheck(Arc<authorizer::GroupCheck>),
    /// `kubernetes.authorization.ResourceCheck`
    ResourceCheck(Arc<authorizer::ResourceCheck>),
    /// `kubernetes.authorization.Decision`
    Decision(Arc<authorizer::Decision>),
}

// === impl Value ===

impl Value {
    /// Text.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// A list whose order matters.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(List { items, kind: ListKind::Atomic }))
    }

    /// A present value.
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// An absent value.
    pub const fn none() -> Self {
        Self::Optional(None)
    }

    /// The value of JSON that no schema describes.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::string(text.as_str()),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            Json::Object(fields) => Self::Map(Arc::new(
                fields
                    .iter()
                    .map(|(name, value)| (Key::string(name.as_str()), Self::from_json(value)))
                    .collect(),
            )),
        }
    }

    /// The JSON form, for audit annotations and for patches; `None` for what has none.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::String(text) => Json::from(&**text),
            Self::Duration(nanos) => Json::from(machinery::duration::format_nanos(*nanos)),
            Self::Timestamp(time) => Json::from(machinery::time::format(*time)),
            Self::List(list) => {
                Json::Array(list.items.iter().map(Self::to_json).collect::<Option<_>>()?)
            }
            Self::Map(map) => Json::Object(
                map.iter()
                    .map(|(key, value)| Some((key.to_string(), value.to_json()?)))
                    .collect::<Option<_>>()?,
            ),
            Self::Object(object) => Json::Object(
                object
                    .fields
                    .iter()
                    .map(|(name, value)| Some((name.to_string(), value.to_json()?)))
                    .collect::<Option<_>>()?,
            ),
            Self::Bytes(bytes) => {
                Json::from(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Self::Optional(_) | Self::Type(_) | Self::Opaque(_) => return None,
        })
    }

    /// The type, as far as the value alone tells it.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Object(object) => {
                Type::Object(crate::types::Object::new(object.name.clone(), Arc::new(NoFields)))
            }
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::Type(Arc::new(Type::Dyn)),
            Self::Opaque(opaque) => Type::Opaque(opaque.type_name()),
        }
    }

    /// Whether the value may stand where a function declares `ty`.
    pub(crate) fn is_a(&self, ty: &Type) -> bool {
        match ty {
            Type::Dyn | Type::Param(_) | Type::Var(_) | Type::Error => true,
            Type::Null => matches!(self, Self::Null),
            Type::Bool => matches!(self, Self::Bool(_)),
            Type::Int => matches!(self, Self::Int(_)),
            Type::Uint => matches!(self, Self::Uint(_)),
            Type::Double => matches!(self, Self::Double(_)),
            Type::String => matches!(self, Self::String(_)),
            Type::Bytes => matches!(self, Self::Bytes(_)),
            Type::Duration => matches!(self, Self::Duration(_)),
            Type::Timestamp => matches!(self, Self::Timestamp(_)),
            Type::List(_) => matches!(self, Self::List(_)),
            Type::Map(..) => matches!(self, Self::Map(_) | Self::Object(_)),
            Type::Optional(_) => matches!(self, Self::Optional(_)),
            Type::Type(_) => matches!(self, Self::Type(_)),
            Type::Object(object) => {
                matches!(self, Self::Object(value) if *value.name == *object.name())
            }
            Type::Opaque(name) => matches!(self, Self::Opaque(value) if value.type_name() == *name),
        }
    }

    /// What the cost of an operation counts: characters, octets, items; one for everything else.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.items.len(),
            Self::Map(map) => map.len(),
            Self::Object(object) => object.fields.len() + object.hidden.len(),
            Self::Opaque(Opaque::Ip(ip)) => octets(ip),
            Self::Opaque(Opaque::Cidr(cidr)) => octets(&cidr.address),
            _ => 1,
        };
        size as u64
    }

    /// Whether the two are equal. Values of different kinds are not, numbers of different types
    /// are when their values are.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::List(a), Self::List(b)) => a.equals(b),
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| b.get(key).is_some_and(|v| value.equals(v)))
            }
            (Self::Object(a), Self::Object(b)) => a.equals(b),
            (Self::Optional(None), Self::Optional(None)) => true,
            (Self::Optional(Some(a)), Self::Optional(Some(b))) => a.equals(b),
            (Self::Type(a), Self::Type(b)) => a.runtime_name() == b.runtime_name(),
            (Self::Opaque(a), Self::Opaque(b)) => a.equals(b),
            _ => compare_numbers(self, other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values; `None` when they have none.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            _ => compare_numbers(self, other),
        }
    }

    /// Whether the value is the zero of its type, which `optional.ofNonZeroValue` asks.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Duration(nanos) => *nanos == 0,
            Self::Timestamp(time) => *time == Timestamp::UNIX_EPOCH,
            Self::List(list) => list.items.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Object(object) => object.fields.is_empty() && object.hidden.is_empty(),
            Self::Optional(value) => value.as_ref().is_none_or(|value| value.is_zero()),
            Self::Type(_) | Self::Opaque(_) => false,
        }
    }
}

struct NoFields;

impl crate::types::Fields for NoFields {
    fn field(&self, _name: &str) -> Option<Type> {
        None
    }
}

fn octets(ip: &IpAddr) -> usize {
    if ip.is_ipv4() { 4 } else { 16 }
}

/// The order of numbers of any type, exact also beyond what a double can hold.
fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    let whole = |value: &Value| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), _) => compare_double(*a, whole(b)?),
        (_, Value::Double(b)) => Some(compare_double(*b, whole(a)?)?.reverse()),
        _ => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn compare_double(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Every 64-bit integer lies within ±2^65, where i128 holds the whole part exactly.
    const LIMIT: f64 = 36_893_488_147_419_103_232.0;
    if double >= LIMIT {
        return Some(Ordering::Greater);
    }
    if double <= -LIMIT {
        return Some(Ordering::Less);
    }
    let floor = double.floor();
    let order = (floor as i128).cmp(&whole);
    Some(if order == Ordering::Equal && double > floor { Ordering::Greater } else { order })
}

// === impl List ===

impl List {
    fn equals(&self, other: &Self) -> bool {
        if self.items.len() != other.items.len() {
            return false;
        }
        match (&self.kind, &other.kind) {
            (ListKind::Set, _) => same_items(&self.items, &other.items),
            (ListKind::Map(keys), _) => self.items.iter().all(|item| {
                other
                    .items
                    .iter()
                    .any(|candidate| same_keys(item, candidate, keys) && item.equals(candidate))
            }),
            _ => self.items.iter().zip(&other.items).all(|(a, b)| a.equals(b)),
        }
    }

    /// Appends as the type of the list says: sets keep one of each, maps replace by keys.
    pub(crate) fn extend(&mut self, items: &[Value]) {
        match &self.kind {
            ListKind::Atomic => self.items.extend_from_slice(items),
            ListKind::Set => {
                for item in items {
                    if !self.items.iter().any(|present| present.equals(item)) {
                        self.items.push(item.clone());
                    }
                }
            }
            ListKind::Map(keys) => {
                for item in items {
                    match self.items.iter_mut().find(|present| same_keys(present, item, keys)) {
                        Some(present) => *present = item.clone(),
                        None => self.items.push(item.clone()),
                    }
                }
            }
        }
    }
}

fn same_items(a: &[Value], b: &[Value]) -> bool {
    a.iter().all(|item| b.iter().any(|candidate| item.equals(candidate)))
}

fn same_keys(a: &Value, b: &Value, keys: &[Arc<str>]) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return a.equals(b);
    };
    keys.iter().all(|key| match (a.fields.get(key), b.fields.get(key)) {
        (Some(a), Some(b)) => a.equals(b),
        (None, None) => true,
        _ => false,
    })
}

// === impl Object ===

impl Object {
    fn equals(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len()
            && self.hidden.len() == other.hidden.len()
            && self
                .fields
                .iter()
                .all(|(name, value)| other.fields.get(name).is_some_and(|v| value.equals(v)))
            && self.hidden.iter().all(|entry| other.hidden.contains(entry))
    }
}

// === impl Key ===

impl Key {
    /// A key that is text.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// The key that a value stands for; `None` when it cannot be one.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Int(*value)),
            Value::Uint(value) => Some(Self::Uint(*value)),
            Value::String(text) => Some(Self::String(text.clone())),
            // A double finds the number that it equals, and nothing when it is not whole.
            Value::Double(value)
                if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 =>
            {
                Some(Self::Int(*value as i64))
            }
            _ => None,
        }
    }

    /// The key as a value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(text) => Value::String(text.clone()),
        }
    }

    fn rank(&self) -> (u8, i128) {
        match self {
            Self::Bool(value) => (0, i128::from(*value)),
            Self::Int(value) => (1, i128::from(*value)),
            Self::Uint(value) => (1, i128::from(*value)),
            Self::String(_) => (2, 0),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Uint(value) => value.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::String(a), Self::String(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

// === impl Opaque ===

impl Opaque {
    /// The name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::PathCheck(_) => "kubernetes.authorization.PathCheck",
            Self::GroupCheck(_) => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck(_) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => std::ptr::eq(*a, *b),
            (Self::Semver(a), Self::Semver(b)) => a.compare(b) == Ordering::Equal,
            (Self::Decision(a), Self::Decision(b)) => a == b,
            _ => false,
        }
    }
}
