//! The table of API types.
//!
//! One arena holds every type and field; [`TypeRef`] and [`Field`] are cheap, copyable
//! views into it. The table of built-in types is read once from the crate's data file and
//! lives as long as the process ([`builtin`]); a table made at run time has the same form
//! and is kept by whoever made it.
//!
//! Strings are never copied: every name is a slice of the table's own text.

mod defaults;
mod load;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

pub use defaults::apply_defaults;
pub use load::LoadError;

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
    wrapped: bool,
}

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

/// Releases in which a kind came and goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle<'s> {
    /// Release that brought it, `1.9`.
    pub introduced: Option<&'s str>,
    /// Release from which its use is warned about.
    pub deprecated: Option<&'s str>,
    /// Release that no longer serves it.
    pub removed: Option<&'s str>,
    /// Group, version and kind to use instead.
    pub replacement: Option<(&'s str, &'s str, &'s str)>,
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
            EVERYWHERE
                .contains(&kind)
                .then(|| self.registered("", "v1", kind))
                .flatten()
        })
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
            (
                self.text(k.group),
                self.text(k.version),
                self.text(k.kind),
                self.type_ref(k.ty),
            )
        })
    }

    /// A type by its full name, `io.k8s.api.core.v1.Pod`.
    pub fn named_type(&self, name: &str) -> Option<TypeRef<'_>> {
        let at = self
            .types
            .binary_search_by(|t| self.text(t.name).cmp(name))
            .ok()?;
        Some(self.type_ref(at as u32))
    }

    /// All types in order of name.
    pub fn types(&self) -> impl Iterator<Item = TypeRef<'_>> {
        (0..self.types.len() as u32).map(|id| self.type_ref(id))
    }

    /// Allowed values of a named scalar type such as `io.k8s.api.core.v1.Protocol`; none if
    /// its set of values is open.
    pub fn enum_values(&self, name: &str) -> impl Iterator<Item = &str> {
        let span = self
            .named_scalar(name)
            .map(|n| n.values)
            .unwrap_or_default();
        self.list(span)
    }

    /// Validation markers of a named scalar type.
    pub fn named_markers(&self, name: &str) -> impl Iterator<Item = &str> {
        let span = self
            .named_scalar(name)
            .map(|n| n.markers)
            .unwrap_or_default();
        self.list(span)
    }

    fn named_scalar(&self, name: &str) -> Option<&NamedData> {
        let at = self
            .named
            .binary_search_by(|n| self.text(n.name).cmp(name))
            .ok()?;
        Some(&self.named[at])
    }

    fn type_ref(&self, id: u32) -> TypeRef<'_> {
        TypeRef::new(
            self,
            Form {
                shape: Shape::One,
                base: Base::Type(id),
            },
        )
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
        write!(
            f,
            "Schema({} types, {} kinds)",
            self.types.len(),
            self.kinds.len()
        )
    }
}

// === impl TypeRef ===

impl<'s> TypeRef<'s> {
    /// Named lists and maps are replaced by what they stand for.
    fn new(schema: &'s Schema, form: Form) -> Self {
        let mut form = form;
        let mut wrapped = false;
        while let Form {
            shape: Shape::One | Shape::Pointer,
            base: Base::Type(id),
        } = form
        {
            let ty = &schema.types[id as usize];
            match (ty.alias, ty.special) {
                (Some(alias), _) => {
                    form = alias;
                    wrapped |= ty.flags.wrapped;
                }
                (None, Special::Scalar(base)) => form.base = base,
                _ => break,
            }
        }
        Self {
            schema,
            form,
            wrapped,
        }
    }

    /// The table it belongs to.
    pub fn schema(self) -> &'s Schema {
        self.schema
    }

    /// What its values look like.
    pub fn kind(self) -> Kind<'s> {
        match self.form.shape {
            Shape::List => return Kind::List(self.item()),
            Shape::Map => return Kind::Map(self.item()),
            Shape::One | Shape::Pointer => {}
        }
        match self.form.base {
            Base::Bool => Kind::Bool,
            Base::Int32 => Kind::Int32,
            Base::Int64 => Kind::Int64,
            Base::Double => Kind::Double,
            Base::String => Kind::String,
            Base::Bytes => Kind::Bytes,
            Base::Any => Kind::Any,
            Base::Quantity => Kind::Quantity,
            Base::Time => Kind::Time,
            Base::MicroTime => Kind::MicroTime,
            Base::Duration => Kind::Duration,
            Base::IntOrString => Kind::IntOrString,
            Base::Raw(raw) => Kind::Raw(raw),
            Base::Type(id) => {
                let ty = &self.schema.types[id as usize];
                let schema = || {
                    let field = self.schema.fields[ty.fields.range()]
                        .iter()
                        .find(|f| self.schema.text(f.name) == "schema");
                    let field = field.expect("a union type has a field named schema");
                    TypeRef::new(self.schema, field.form)
                };
                match ty.special {
                    Special::SchemaOrBool => Kind::SchemaOrBool(schema()),
                    Special::SchemaOrArray => Kind::SchemaOrArray(schema()),
                    Special::SchemaOrStrings => Kind::SchemaOrStrings(schema()),
                    Special::None | Special::Scalar(_) => Kind::Struct,
                }
            }
        }
    }

    /// Element type of a list or map.
    pub fn element(self) -> Option<TypeRef<'s>> {
        matches!(self.form.shape, Shape::List | Shape::Map).then(|| self.item())
    }

    fn item(self) -> TypeRef<'s> {
        TypeRef::new(
            self.schema,
            Form {
                shape: Shape::One,
                base: self.form.base,
            },
        )
    }

    /// Whether it is a struct, whose fields have names.
    pub fn is_struct(self) -> bool {
        matches!(self.kind(), Kind::Struct)
    }

    /// Full name of a struct type, `io.k8s.api.core.v1.Pod`; of a list or map, that of its
    /// element.
    pub fn name(self) -> Option<&'s str> {
        self.data().map(|t| self.schema.text(t.name))
    }

    /// Last part of the name, `Pod`.
    pub fn short_name(self) -> Option<&'s str> {
        self.name().map(|n| n.rsplit('.').next().unwrap_or(n))
    }

    /// The JSON members of a struct in the order in which they are written. Fields of
    /// inlined structs are among them. Empty for anything but a struct.
    pub fn fields(self) -> impl ExactSizeIterator<Item = Field<'s>> + Clone {
        let schema = self.schema;
        schema.members[self.members().range()]
            .iter()
            .map(move |&id| Field { schema, id })
    }

    /// The fields as declared: inlined structs are fields of their own. This is the view
    /// that protobuf has.
    pub fn declared_fields(self) -> impl ExactSizeIterator<Item = Field<'s>> + Clone {
        let range = self.data().map(|t| t.fields.range()).unwrap_or_default();
        let schema = self.schema;
        range.map(move |id| Field {
            schema,
            id: id as u32,
        })
    }

    /// A JSON member by name.
    pub fn field(self, name: &str) -> Option<Field<'s>> {
        self.position(name, 0).map(|at| self.field_at(at))
    }

    /// Position of a JSON member in [`TypeRef::fields`]. `guess` is tried first: members
    /// mostly come in order.
    pub(crate) fn position(self, name: &str, guess: usize) -> Option<usize> {
        let span = self.members();
        let schema = self.schema;
        let members = &schema.members[span.range()];
        let name_at = |at: usize| schema.text(schema.fields[members[at] as usize].name);
        if guess < members.len() && name_at(guess) == name {
            return Some(guess);
        }
        let order = &schema.by_name[span.range()];
        let found = order
            .binary_search_by(|&at| name_at(at as usize).cmp(name))
            .ok()?;
        Some(order[found] as usize)
    }

    /// Like [`TypeRef::position`] for members that come in order, some of them left out.
    pub(crate) fn position_from(self, name: &str, from: usize) -> Option<usize> {
        let members = &self.schema.members[self.members().range()];
        let ahead = members.get(from..).unwrap_or_default();
        let near = ahead
            .iter()
            .take(6)
            .position(|&id| self.schema.text(self.schema.fields[id as usize].name) == name);
        near.map(|at| from + at)
            .or_else(|| self.position(name, from))
    }

    pub(crate) fn field_at(self, position: usize) -> Field<'s> {
        let id = self.schema.members[self.members().range()][position];
        Field {
            schema: self.schema,
            id,
        }
    }

    fn members(self) -> Span {
        match (self.form, self.data()) {
            (
                Form {
                    shape: Shape::One | Shape::Pointer,
                    ..
                },
                Some(ty),
            ) => ty.members,
            _ => Span::default(),
        }
    }

    /// Whether apply owns a struct as a whole or field by field.
    pub fn struct_type(self) -> Option<StructType> {
        self.data().and_then(|t| t.struct_type)
    }

    /// Named string list that protobuf carries as a message of its own.
    pub fn is_wrapped(self) -> bool {
        self.wrapped
    }

    /// Whether the type has no protobuf form.
    pub fn lacks_protobuf(self) -> bool {
        self.data().is_some_and(|t| t.flags.no_protobuf)
    }

    /// Releases in which the kind came and goes.
    pub fn lifecycle(self) -> Lifecycle<'s> {
        let Some(ty) = self.data() else {
            return Lifecycle::default();
        };
        Lifecycle {
            introduced: self.schema.some_text(ty.introduced),
            deprecated: self.schema.some_text(ty.deprecated),
            removed: self.schema.some_text(ty.removed),
            replacement: self.schema.some_text(ty.replacement).and_then(|r| {
                let mut parts = r.splitn(3, '|');
                Some((parts.next()?, parts.next()?, parts.next()?))
            }),
        }
    }

    /// Further markers of the type, without the leading plus sign.
    pub fn markers(self) -> impl Iterator<Item = &'s str> {
        let schema = self.schema;
        schema.list(self.data().map(|t| t.markers).unwrap_or_default())
    }

    fn has_defaults(self) -> bool {
        self.data().is_some_and(|t| t.flags.defaults)
    }

    fn data(self) -> Option<&'s TypeData> {
        match self.form.base {
            Base::Type(id) => Some(&self.schema.types[id as usize]),
            _ => None,
        }
    }

    /// The type as Go prints it in decoding errors, `[]v1.Container`.
    pub fn go_name(self) -> String {
        match self.kind() {
            Kind::Bool => "bool".into(),
            Kind::Int32 => "int32".into(),
            Kind::Int64 => "int64".into(),
            Kind::Double => "float64".into(),
            Kind::String => "string".into(),
            Kind::Bytes => "[]uint8".into(),
            Kind::Any => "interface {}".into(),
            Kind::Quantity => "resource.Quantity".into(),
            Kind::Time => "v1.Time".into(),
            Kind::MicroTime => "v1.MicroTime".into(),
            Kind::Duration => "v1.Duration".into(),
            Kind::IntOrString => "intstr.IntOrString".into(),
            Kind::Raw(Raw::Extension) => "runtime.RawExtension".into(),
            Kind::Raw(Raw::FieldsV1) => "v1.FieldsV1".into(),
            Kind::Raw(Raw::Json) => "v1.JSON".into(),
            Kind::List(item) => format!("[]{}", item.go_name()),
            Kind::Map(item) => format!("map[string]{}", item.go_name()),
            Kind::SchemaOrBool(_)
            | Kind::SchemaOrArray(_)
            | Kind::SchemaOrStrings(_)
            | Kind::Struct => go_name(self.name().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for TypeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.go_name())
    }
}

impl PartialEq for TypeRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.schema, other.schema) && self.form == other.form
    }
}

/// `io.k8s.api.core.v1.Pod` is `v1.Pod` in Go.
fn go_name(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let base = parts.next().unwrap_or_default();
    match parts.next() {
        Some(package) => format!("{package}.{base}"),
        None => base.to_owned(),
    }
}

// === impl Field ===

impl<'s> Field<'s> {
    fn data(self) -> &'s FieldData {
        &self.schema.fields[self.id as usize]
    }

    /// Name in JSON; empty for an inlined struct, `-` for a field that JSON lacks.
    pub fn name(self) -> &'s str {
        self.schema.text(self.data().name)
    }

    /// Name in protobuf.
    pub fn protobuf_name(self) -> &'s str {
        self.schema
            .some_text(self.data().protobuf_name)
            .unwrap_or_else(|| self.name())
    }

    /// Number in protobuf; none if protobuf lacks the field.
    pub fn tag(self) -> Option<u32> {
        Some(u32::from(self.data().tag)).filter(|t| *t > 0)
    }

    /// Its type.
    pub fn type_ref(self) -> TypeRef<'s> {
        TypeRef::new(self.schema, self.data().form)
    }

    /// Whether absent and zero differ.
    pub fn is_pointer(self) -> bool {
        self.data().form.shape == Shape::Pointer
    }

    /// A struct whose fields stand in the parent's JSON.
    pub fn is_inlined(self) -> bool {
        self.data().flags.inlined
    }

    /// Left out of JSON when empty (never so a struct value).
    pub fn omit_empty(self) -> bool {
        self.data().flags.omit_empty
    }

    /// Left out of JSON when zero, struct values included.
    pub fn omit_zero(self) -> bool {
        self.data().flags.omit_zero
    }

    /// Required in OpenAPI.
    pub fn is_required(self) -> bool {
        self.data().flags.required
    }

    /// How apply treats the list; absent means atomic.
    pub fn list_type(self) -> Option<ListType> {
        self.data().list_type
    }

    /// Key fields of a list of type map.
    pub fn list_keys(self) -> impl Iterator<Item = &'s str> + Clone {
        let schema = self.schema;
        schema.list(self.data().list_keys)
    }

    /// Strategic merge patch merges this list or map instead of replacing it.
    pub fn patch_merges(self) -> bool {
        self.data().flags.patch_merge
    }

    /// Strategic merge patch replaces this value as a whole.
    pub fn patch_replaces(self) -> bool {
        self.data().flags.patch_replace
    }

    /// Strategic merge patch may send `$retainKeys` for it.
    pub fn patch_retains_keys(self) -> bool {
        self.data().flags.retain_keys
    }

    /// The patch strategy as declared, `merge,retainKeys`.
    pub fn patch_strategy(self) -> Option<&'static str> {
        let flags = self.data().flags;
        match (flags.patch_merge, flags.patch_replace, flags.retain_keys) {
            (true, _, true) => Some("merge,retainKeys"),
            (true, _, false) => Some("merge"),
            (false, true, _) => Some("replace"),
            (false, false, true) => Some("retainKeys"),
            (false, false, false) => None,
        }
    }

    /// Key field of a merged list of structs.
    pub fn merge_key(self) -> Option<&'s str> {
        self.schema.some_text(self.data().merge_key)
    }

    /// How apply treats the map or struct in this field.
    pub fn struct_type(self) -> Option<StructType> {
        self.data().struct_type
    }

    /// The declared default.
    pub fn default_value(self) -> Option<serde_json::Value> {
        let text = self.default_text()?;
        Some(serde_json::from_str(text).expect("defaults are checked when the table is read"))
    }

    fn default_text(self) -> Option<&'s str> {
        let data = self.data();
        data.flags
            .has_default
            .then(|| self.schema.text(data.default))
    }

    /// Whether only listed values are allowed (of a list or map: for its elements).
    pub fn is_enum(self) -> bool {
        self.data().flags.has_enum
    }

    /// The allowed values; may contain the empty string.
    pub fn enum_values(self) -> impl Iterator<Item = &'s str> + Clone {
        let schema = self.schema;
        schema.list(self.data().values)
    }

    /// Named scalar type of the value or element.
    pub fn scalar_name(self) -> Option<&'s str> {
        self.schema.some_text(self.data().scalar_name)
    }

    /// Named type of a map's keys.
    pub fn key_name(self) -> Option<&'s str> {
        self.schema.some_text(self.data().key_name)
    }

    /// Named type of the list or map as a whole.
    pub fn collection_name(self) -> Option<&'s str> {
        self.schema.some_text(self.data().collection_name)
    }

    /// Further markers, without the leading plus sign: feature gates, unions, validation.
    pub fn markers(self) -> impl Iterator<Item = &'s str> {
        let schema = self.schema;
        schema.list(self.data().markers)
    }

    /// The field's type as Go prints it in decoding errors.
    pub fn go_name(self) -> String {
        if let Some(name) = self.collection_name() {
            return go_name(name);
        }
        let scalar = |ty: TypeRef<'s>| self.scalar_name().map_or_else(|| ty.go_name(), go_name);
        let ty = self.type_ref();
        match ty.kind() {
            Kind::List(item) => format!("[]{}", scalar(item)),
            Kind::Map(item) => {
                let key = self.key_name().map_or_else(|| "string".into(), go_name);
                format!("map[{key}]{}", scalar(item))
            }
            _ => scalar(ty),
        }
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.go_name())
    }
}
