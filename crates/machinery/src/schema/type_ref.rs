//! What a type says about its values and members.

use std::fmt;

use super::{
    Base, Field, Form, Kind, Lifecycle, Raw, Schema, Shape, Span, Special, StructType, TypeData,
    TypeRef, UNNAMED,
};

impl<'s> TypeRef<'s> {
    /// Named lists and maps are replaced by what they stand for.
    pub(super) fn new(schema: &'s Schema, form: Form) -> Self {
        let mut form = form;
        let mut named = UNNAMED;
        while let Form { shape: Shape::One | Shape::Pointer, base: Base::Type(id) } = form {
            let ty = &schema.types[id as usize];
            match (ty.alias, ty.special) {
                (Some(alias), _) => {
                    form = alias;
                    named = id;
                }
                (None, Special::Scalar(base)) => {
                    form.base = base;
                    named = id;
                }
                _ => break,
            }
        }
        Self { schema, form, alias: named }
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
        TypeRef::new(self.schema, Form { shape: Shape::One, base: self.form.base })
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
        schema.members[self.members().range()].iter().map(move |&id| Field { schema, id })
    }

    /// The fields as declared: inlined structs are fields of their own. This is the view
    /// that protobuf has.
    pub fn declared_fields(self) -> impl ExactSizeIterator<Item = Field<'s>> + Clone {
        let range = self.data().map(|t| t.fields.range()).unwrap_or_default();
        let schema = self.schema;
        range.map(move |id| Field { schema, id: id as u32 })
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
        let found = order.binary_search_by(|&at| name_at(at as usize).cmp(name)).ok()?;
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
        near.map(|at| from + at).or_else(|| self.position(name, from))
    }

    pub(crate) fn field_at(self, position: usize) -> Field<'s> {
        let id = self.schema.members[self.members().range()][position];
        Field { schema: self.schema, id }
    }

    fn members(self) -> Span {
        match (self.form, self.data()) {
            (Form { shape: Shape::One | Shape::Pointer, .. }, Some(ty)) => ty.members,
            _ => Span::default(),
        }
    }

    /// Whether apply owns a struct as a whole or field by field.
    pub fn struct_type(self) -> Option<StructType> {
        self.node().and_then(|t| t.struct_type)
    }

    /// Named string list that protobuf carries as a message of its own.
    pub fn is_wrapped(self) -> bool {
        self.node().is_some_and(|t| t.flags.wrapped)
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

    pub(super) fn has_defaults(self) -> bool {
        self.data().is_some_and(|t| t.flags.defaults)
    }

    /// What is said about the type as it stands there, under its own name.
    pub(super) fn node(self) -> Option<&'s TypeData> {
        match self.alias {
            UNNAMED => self.data(),
            id => Some(&self.schema.types[id as usize]),
        }
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
pub(super) fn go_name(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let base = parts.next().unwrap_or_default();
    match parts.next() {
        Some(package) => format!("{package}.{base}"),
        None => base.to_owned(),
    }
}
