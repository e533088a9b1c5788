//! Types of expressions, as the checker knows them and as errors spell them.

use std::fmt;
use std::sync::Arc;

/// The type of an expression or of a declared variable.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Type {
    /// Anything: checked while evaluating.
    #[default]
    Dyn,
    /// What a part with an error has, so that one mistake is reported once.
    Error,
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// 64 bits, signed
    Int,
    /// 64 bits, unsigned
    Uint,
    /// IEEE 754, 64 bits
    Double,
    /// Unicode text
    String,
    /// Octets
    Bytes,
    /// A length of time
    Duration,
    /// A point in time
    Timestamp,
    /// A list of one type.
    List(Arc<Type>),
    /// A map from one type to another.
    Map(Arc<Type>, Arc<Type>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// A value with declared fields.
    Object(Object),
    /// A type of a function library.
    Opaque(&'static str),
    /// A type parameter in the declaration of a function.
    Param(char),
    /// A type parameter of one call, to be found out.
    Var(u32),
}

/// A type with declared fields. Two are the same when their names are.
#[derive(Clone)]
pub struct Object {
    name: Arc<str>,
    fields: Arc<dyn Fields>,
}

/// Where the fields of an object type come from. Looked up one by one, so that types may refer to
/// themselves.
pub trait Fields: Send + Sync {
    /// The type of the field that expressions call `name`; `None` when there is none.
    fn field(&self, name: &str) -> Option<Type>;
}

// === impl Type ===

impl Type {
    /// A list of `element`s.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map from `key` to `value`.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// A `value` that may be absent.
    pub fn optional(value: Self) -> Self {
        Self::Optional(Arc::new(value))
    }

    /// Whether the checker leaves this type alone.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// The name by which expressions know the type itself, such as `int` in `type(x) == int`.
    pub(crate) fn runtime_name(&self) -> String {
        match self {
            Self::Null => "null_type".to_owned(),
            Self::List(_) => "list".to_owned(),
            Self::Map(..) => "map".to_owned(),
            Self::Type(_) => "type".to_owned(),
            Self::Optional(_) => "optional_type".to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(value) => write!(f, "optional_type({value})"),
            Self::Type(of) => write!(f, "type({of})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(name) => write!(f, "{name}"),
            Self::Var(number) => write!(f, "_var{number}"),
        }
    }
}

// === impl Object ===

impl Object {
    /// An object type of this name.
    pub fn new(name: impl Into<Arc<str>>, fields: Arc<dyn Fields>) -> Self {
        Self { name: name.into(), fields }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of a field.
    pub fn field(&self, name: &str) -> Option<Type> {
        self.fields.field(name)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Object").field(&self.name).finish()
    }
}
