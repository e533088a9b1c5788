//! The table of API types.
//!
//! One arena holds every type and field; [`TypeRef`] and [`Field`] are cheap, copyable
//! views into it. The table of built-in types is read once from the crate's data file and
//! lives as long as the process ([`builtin`]); a table made at run time has the same form
//! and is kept by whoever made it.
//!
//! Strings are never copied: every name is a slice of the table's own text.

mod build;
mod defaults;
mod field;
mod lifecycle;
mod load;
mod owned;
#[cfg(test)]
mod tests;
mod type_ref;

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

pub use build::{Builder, Facts, Leaf, Member, Node};
pub use defaults::apply_defaults;
pub use lifecycle::Lifecycle;
pub use load::LoadError;
pub use owned::Type;

/// The types, kinds and enumerations of one set of APIs.
pub struct Schema {
    text: Cow<'static, str>,
    version: Text,
    types: Vec<TypeData>,
    fields: Vec<FieldData>,
    /// JSON members of all struct types: inlined structs replaced by their fields.
    members: Vec<u32>,
    /// For each type, positions within its members in order of name.
    by_name: Vec<u16>,
    /// Strings of list keys, enumerations and markers.
    lists: Vec<Text>,
    /// Sorted by name.
    named: Vec<NamedData>,
    /// Sorted by group, version, kind.
    kinds: Vec<KindData>,
    /// Made at run time, from the schema of a custom resource.
    custom: bool,
}

/// The built-in API types, read once.
///
/// # Panics
/// Never in a released program: a test reads the same data.
pub fn builtin() -> &'static Schema {
    static BUILTIN: LazyLock<Schema> = LazyLock::new(|| {
        Schema::parse(Cow::Borrowed(include_str!("../../data/schema.txt")))
            .expect("the data file of the crate is well-formed")
    });
    &BUILTIN
}

/// A type as it stands in a field: a scalar, a struct, or a list or map of something.
#[derive(Clone, Copy)]
pub struct TypeRef<'s> {
    schema: &'s Schema,
    form: Form,
    /// The named list, map or scalar that the form stands for; [`UNNAMED`] if none.
    alias: u32,
}

const UNNAMED: u32 = u32::MAX;

/// A field of a struct.
#[derive(Clone, Copy)]
pub struct Field<'s> {
    schema: &'s Schema,
    id: u32,
}

/// What a value of a type looks like.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'s> {
    /// true or false.
    Bool,
    /// Integer of 32 bits.
    Int32,
    /// Integer of 64 bits.
    Int64,
    /// Floating point number.
    Double,
    /// Text.
    String,
    /// Base64 text in JSON.
    Bytes,
    /// Any JSON value without a type of its own.
    Any,
    /// Amount with unit, `100m`.
    Quantity,
    /// RFC 3339, whole seconds, or null.
    Time,
    /// RFC 3339 with six decimals, or null.
    MicroTime,
    /// Go duration text.
    Duration,
    /// Number or text.
    IntOrString,
    /// JSON passed through untouched.
    Raw(Raw),
    /// Schema or bool.
    SchemaOrBool(TypeRef<'s>),
    /// Schema or list of schemas.
    SchemaOrArray(TypeRef<'s>),
    /// Schema or list of strings.
    SchemaOrStrings(TypeRef<'s>),
    /// Struct; ask the type for its fields.
    Struct,
    /// List with its element type.
    List(TypeRef<'s>),
    /// Map from string with its element type.
    Map(TypeRef<'s>),
}

/// Which of the raw JSON types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// An object of a kind unknown here.
    Extension,
    /// The field set of a manager.
    FieldsV1,
    /// A literal in a custom resource's schema.
    Json,
}

/// How server-side apply treats a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Distinct scalars.
    Set,
    /// Structs identified by key fields.
    Map,
}

/// How server-side apply treats a map or struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructType {
    /// Replaced as a whole.
    Atomic,
    /// Each entry has its own owner.
    Granular,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    shape: Shape,
    base: Base,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One,
    Pointer,
    List,
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Bool,
    Int32,
    Int64,
    Double,
    String,
    Bytes,
    Any,
    Quantity,
    Time,
    MicroTime,
    Duration,
    IntOrString,
    Raw(Raw),
    Type(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    None,
    Scalar(Base),
    SchemaOrBool,
    SchemaOrArray,
    SchemaOrStrings,
}

#[derive(Clone, Debug)]
struct TypeData {
    name: Text,
    fields: Span,
    members: Span,
    alias: Option<Form>,
    special: Special,
    flags: TypeFlags,
    struct_type: Option<StructType>,
    list_type: Option<ListType>,
    list_keys: Span,
    /// JSON texts, as many as keys or none.
    key_defaults: Span,
    introduced: Text,
    deprecated: Text,
    removed: Text,
    replacement: Text,
    markers: Span,
}

#[derive(Clone, Copy, Debug, Default)]
struct TypeFlags {
    wrapped: bool,
    no_protobuf: bool,
    /// It or something below has a default.
    defaults: bool,
    nullable: bool,
    preserves: bool,
    embedded: bool,
}

#[derive(Clone, Debug)]
struct FieldData {
    name: Text,
    protobuf_name: Text,
    tag: u16,
    form: Form,
    flags: FieldFlags,
    list_type: Option<ListType>,
    struct_type: Option<StructType>,
    list_keys: Span,
    merge_key: Text,
    /// JSON text.
    default: Text,
    values: Span,
    scalar_name: Text,
    key_name: Text,
    collection_name: Text,
    markers: Span,
}

#[derive(Clone, Copy, Debug, Default)]
struct FieldFlags {
    inlined: bool,
    omit_empty: bool,
    omit_zero: bool,
    required: bool,
    patch_merge: bool,
    patch_replace: bool,
    retain_keys: bool,
    has_default: bool,
    has_enum: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct NamedData {
    name: Text,
    values: Span,
    markers: Span,
}

#[derive(Clone, Copy, Debug)]
struct KindData {
    group: Text,
    version: Text,
    kind: Text,
    ty: u32,
}

// === impl Schema ===

impl Schema {
    /// Release the table was made from, `1.36.3`.
    pub fn version(&self) -> &str {
        self.text(self.version)
    }

    /// The type registered for a kind; `group` is empty for the core group.
    ///
    /// Every group and version also accepts the options types of `meta/v1` and `WatchEvent`.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef<'_>> {
        self.registered(group, version, kind).or_else(|| {
            const EVERYWHERE: [&str; 7] = [
                "WatchEvent",
                "ListOptions",
                "GetOptions",
                "CreateOptions",
                "UpdateOptions",
                "PatchOptions",
                "DeleteOptions",
            ];
            EVERYWHERE.contains(&kind).then(|| self.registered("", "v1", kind)).flatten()
        })
    }

    /// The type of the kind that an object names itself.
    pub fn kind_of(&self, object: &serde_json::Value) -> Option<TypeRef<'_>> {
        let text = |name: &str| object.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        let api_version = text("apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.kind(group, version, text("kind"))
    }

    fn registered(&self, group: &str, version: &str, kind: &str) -> Option<TypeRef<'_>> {
        let at = self
            .kinds
            .binary_search_by(|k| {
                (self.text(k.group), self.text(k.version), self.text(k.kind))
                    .cmp(&(group, version, kind))
            })
            .ok()?;
        Some(self.type_ref(self.kinds[at].ty))
    }

    /// All registered kinds as group, version, kind and type, in that order.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &str, &str, TypeRef<'_>)> {
        self.kinds.iter().map(|k| {
            (self.text(k.group), self.text(k.version), self.text(k.kind), self.type_ref(k.ty))
        })
    }

    /// A type by its full name, `io.k8s.api.core.v1.Pod`.
    pub fn named_type(&self, name: &str) -> Option<TypeRef<'_>> {
        let at = self.types.binary_search_by(|t| self.text(t.name).cmp(name)).ok()?;
        Some(self.type_ref(at as u32))
    }

    /// All types in order of name.
    pub fn types(&self) -> impl Iterator<Item = TypeRef<'_>> {
        (0..self.types.len() as u32).map(|id| self.type_ref(id))
    }

    /// Allowed values of a named scalar type such as `io.k8s.api.core.v1.Protocol`; none if
    /// its set of values is open.
    pub fn enum_values(&self, name: &str) -> impl Iterator<Item = &str> {
        let span = self.named_scalar(name).map(|n| n.values).unwrap_or_default();
        self.list(span)
    }

    /// Validation markers of a named scalar type.
    pub fn named_markers(&self, name: &str) -> impl Iterator<Item = &str> {
        let span = self.named_scalar(name).map(|n| n.markers).unwrap_or_default();
        self.list(span)
    }

    fn named_scalar(&self, name: &str) -> Option<&NamedData> {
        let at = self.named.binary_search_by(|n| self.text(n.name).cmp(name)).ok()?;
        Some(&self.named[at])
    }

    fn type_ref(&self, id: u32) -> TypeRef<'_> {
        TypeRef::new(self, Form { shape: Shape::One, base: Base::Type(id) })
    }

    fn text(&self, text: Text) -> &str {
        &self.text[text.start as usize..(text.start + text.len) as usize]
    }

    fn some_text(&self, text: Text) -> Option<&str> {
        (text.len > 0).then(|| self.text(text))
    }

    fn list(&self, span: Span) -> impl Iterator<Item = &str> + Clone {
        self.lists[span.range()].iter().map(|t| self.text(*t))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({} types, {} kinds)", self.types.len(), self.kinds.len())
    }
}
