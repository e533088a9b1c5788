//! Paths of fields and the errors that validation reports about them.
//!
//! The texts are those of the Kubernetes API, because users and tests read them:
//! `spec.replicas: Invalid value: -1: must be greater than or equal to 0`.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

use serde_json::Value;

/// Where a field stands in an object. Cheap to clone and to extend.
#[derive(Clone, Default)]
pub struct Path(Option<Arc<Node>>);

struct Node {
    parent: Path,
    element: Element,
}

enum Element {
    Name(Cow<'static, str>),
    Index(usize),
    Key(String),
}

/// What kind of mistake a field holds; the texts of the variants are `StatusCause` reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// A referenced value does not exist.
    NotFound,
    /// The field must be set.
    Required,
    /// The value must be unique and is not.
    Duplicate,
    /// The value is malformed or out of range.
    Invalid,
    /// The value is not one of the enumerated ones.
    NotSupported,
    /// The value is well-formed but not permitted here.
    Forbidden,
    /// The value is too long.
    TooLong,
    /// The value is too short.
    TooShort,
    /// The list has too many items.
    TooMany,
    /// The list has too few items.
    TooFew,
    /// Not the fault of the field.
    Internal,
    /// The value has the wrong JSON type.
    TypeInvalid,
}

/// A mistake in one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What kind of mistake.
    pub kind: ErrorType,
    /// The field's path as text.
    pub field: String,
    /// The offending value; `None` where the text leaves it out.
    pub value: Option<Value>,
    /// What is wrong, may be empty.
    pub detail: String,
}

/// The mistakes found in one object, in the order of discovery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorList(Vec<Error>);

/// The text used when a field that cannot change did change.
pub const IMMUTABLE: &str = "field is immutable";

// === impl Path ===

impl Path {
    /// A path of one name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self::root().child(name)
    }

    /// The empty path.
    pub const fn root() -> Self {
        Self(None)
    }

    /// The field `name` below this one; a name with dots gives the text several steps at once.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.push(Element::Name(name.into()))
    }

    /// An item of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.push(Element::Index(index))
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.push(Element::Key(key.into()))
    }

    fn push(&self, element: Element) -> Self {
        Self(Some(Arc::new(Node { parent: self.clone(), element })))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(node) = &self.0 else {
            return f.write_str("<nil>");
        };
        if node.parent.0.is_some() {
            node.parent.fmt(f)?;
        }
        match &node.element {
            Element::Name(name) if node.parent.0.is_some() => write!(f, ".{name}"),
            Element::Name(name) => f.write_str(name),
            Element::Index(index) => write!(f, "[{index}]"),
            Element::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({self})")
    }
}

// === impl ErrorType ===

impl ErrorType {
    /// The reason used in a `StatusCause`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }

    /// Whether the text shows the offending value.
    const fn shows_value(self) -> bool {
        !matches!(
            self,
            Self::Required | Self::Forbidden | Self::TooLong | Self::TooShort | Self::Internal
        )
    }
}

// === impl Error ===

impl Error {
    fn new(kind: ErrorType, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// The field is missing; `detail` may be empty.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    /// The value is malformed or out of range.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, Some(value.into()), detail)
    }

    /// The value is wrong, and the text does not show it: it is large, or only part of what is wrong.
    pub fn invalid_without_value(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, None, detail)
    }

    /// The value has the wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(value.into()), detail)
    }

    /// The value is not one of `supported`.
    pub fn not_supported<S: AsRef<str>>(
        path: &Path,
        value: impl Into<Value>,
        supported: &[S],
    ) -> Self {
        let mut detail = String::new();
        for (i, s) in supported.iter().enumerate() {
            detail.push_str(if i == 0 { "supported values: " } else { ", " });
            detail.push_str(&quote(s.as_ref()));
        }
        Self::new(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// The field may not be set, or not like this.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    /// The value occurs twice.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(value.into()), "")
    }

    /// What the value refers to does not exist.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, Some(value.into()), "")
    }

    /// The text is longer than `max` bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// The text is longer than `max` characters.
    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// The list has more than `max` items.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::new(ErrorType::TooMany, path, Some(actual.into()), detail)
    }

    /// Something failed that is not the field's fault.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, path, None, detail)
    }

    /// The field changed but cannot.
    pub fn immutable(path: &Path, value: impl Into<Value>) -> Self {
        Self::invalid(path, value, IMMUTABLE)
    }

    /// The message without the field's path, as in a `StatusCause`.
    pub fn body(&self) -> String {
        let mut out = self.kind.words().to_owned();
        if let Some(value) = self.value.as_ref().filter(|_| self.kind.shows_value()) {
            out.push_str(": ");
            match value {
                Value::String(s) => out.push_str(&quote(s)),
                other => out.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

// === impl ErrorList ===

impl ErrorList {
    /// No errors.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one error.
    pub fn push(&mut self, error: Error) {
        self.0.push(error);
    }

    /// The text of all errors: one alone, several in brackets, repetitions once.
    pub fn aggregate(&self) -> String {
        let mut texts: Vec<String> = Vec::new();
        for error in &self.0 {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.len() {
            1 => texts.swap_remove(0),
            _ => format!("[{}]", texts.join(", ")),
        }
    }
}

impl std::ops::Deref for ErrorList {
    type Target = [Error];

    fn deref(&self) -> &[Error] {
        &self.0
    }
}

impl From<Error> for ErrorList {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

impl Extend<Error> for ErrorList {
    fn extend<T: IntoIterator<Item = Error>>(&mut self, errors: T) {
        self.0.extend(errors);
    }
}

impl FromIterator<Error> for ErrorList {
    fn from_iter<T: IntoIterator<Item = Error>>(errors: T) -> Self {
        Self(errors.into_iter().collect())
    }
}

impl IntoIterator for ErrorList {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A text in double quotes with the escapes that Go's `%q` uses.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x80 && c.is_control() => {
                write!(out, "\\x{:02x}", c as u32).expect("writing to a String cannot fail");
            }
            c if c.is_control() || c == '\u{feff}' || ('\u{2028}'..='\u{202e}').contains(&c) => {
                write!(out, "\\u{:04x}", c as u32).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        let spec = Path::new("spec");
        let port = spec.child("containers").index(2).child("ports").index(0);
        assert_eq!(port.to_string(), "spec.containers[2].ports[0]");
        assert_eq!(Path::new("data").key("a.b").to_string(), "data[a.b]");
        assert_eq!(Path::root().to_string(), "<nil>");
    }

    #[test]
    fn texts() {
        let p = Path::new("spec").child("x");
        let check = |error: Error, expected: &str| assert_eq!(error.to_string(), expected);
        check(Error::required(&p, ""), "spec.x: Required value");
        check(Error::required(&p, "why"), "spec.x: Required value: why");
        check(Error::invalid(&p, -1, "too small"), "spec.x: Invalid value: -1: too small");
        check(Error::invalid(&p, "a\"b", ""), r#"spec.x: Invalid value: "a\"b""#);
        check(Error::invalid(&p, json!({"a": "b"}), "m"), r#"spec.x: Invalid value: {"a":"b"}: m"#);
        check(Error::invalid(&p, Value::Null, "m"), "spec.x: Invalid value: null: m");
        check(
            Error::not_supported(&p, "c", &["a", "b"]),
            r#"spec.x: Unsupported value: "c": supported values: "a", "b""#,
        );
        check(Error::forbidden(&p, "no"), "spec.x: Forbidden: no");
        check(Error::duplicate(&p, "a"), r#"spec.x: Duplicate value: "a""#);
        check(Error::not_found(&p, "a"), r#"spec.x: Not found: "a""#);
        check(Error::too_long(&p, 63), "spec.x: Too long: may not be more than 63 bytes");
        check(Error::too_many(&p, 4, 1), "spec.x: Too many: 4: must have at most 1 item");
    }

    #[test]
    fn aggregates() {
        let p = Path::new("a");
        let mut list = ErrorList::from(Error::required(&p, ""));
        assert_eq!(list.aggregate(), "a: Required value");
        list.push(Error::required(&p, ""));
        assert_eq!(list.aggregate(), "a: Required value");
        list.push(Error::forbidden(&p, "x"));
        assert_eq!(list.aggregate(), "[a: Required value, a: Forbidden: x]");
    }

    #[test]
    fn quoting() {
        assert_eq!(quote("a\n\u{1}é"), "\"a\\n\\x01é\"");
    }
}
