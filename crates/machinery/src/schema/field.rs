//! The facts of a field.

use std::fmt;

use super::type_ref::go_name;
use super::{Field, FieldData, Kind, ListType, Shape, StructType, TypeRef};

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
        self.schema.some_text(self.data().protobuf_name).unwrap_or_else(|| self.name())
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

    pub(super) fn default_text(self) -> Option<&'s str> {
        let data = self.data();
        data.flags.has_default.then(|| self.schema.text(data.default))
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
