//! Schemas of types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::text::Json;
use super::{Dialect, Published, ResourceInfo};
use crate::schema::{Field, Kind, ListType, Raw, Schema, StructType, TypeRef};

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const DURATION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Duration";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const FIELDS_V1: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const JSON_VALUE: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// The types that a document needs, found from those that its operations name.
pub(super) struct Definitions<'s> {
    dialect: Dialect,
    found: BTreeMap<&'s str, Definition<'s>>,
    kinds: BTreeMap<&'s str, Vec<[&'s str; 3]>>,
    /// Groups and versions served, for kinds that exist in each of them.
    versions: BTreeSet<(&'s str, &'s str)>,
}

#[derive(Clone, Copy)]
enum Definition<'s> {
    Type(TypeRef<'s>),
    /// A type that writes its own JSON, and the patch body.
    Fixed,
    /// The schema of a custom resource.
    Made(&'s Value),
}

impl<'s> Definitions<'s> {
    pub(super) fn new(
        dialect: Dialect,
        schema: &'s Schema,
        resources: &[ResourceInfo<'s>],
    ) -> Self {
        let mut kinds: BTreeMap<&str, Vec<[&str; 3]>> = BTreeMap::new();
        for (group, version, kind, ty) in schema.kinds() {
            kinds.entry(ty.name().unwrap_or_default()).or_default().push([group, version, kind]);
        }
        let versions = resources.iter().map(|r| (r.group, r.version)).collect();
        Self { dialect, found: BTreeMap::new(), kinds, versions }
    }

    /// Writes a reference to a type and makes sure that it gets defined.
    pub(super) fn reference(&mut self, out: &mut Json, ty: TypeRef<'s>) {
        let name = self.name(ty);
        out.text("$ref", &self.dialect.reference(name));
    }

    /// Writes a reference to a custom resource's objects or lists.
    pub(super) fn custom_reference(&mut self, out: &mut Json, own: &'s Published, list: bool) {
        let builtin = crate::schema::builtin();
        for name in [OBJECT_META, LIST_META] {
            if let Some(ty) = builtin.named_type(name) {
                self.discover(ty);
            }
        }
        let [object_schema, list_schema] = own.of(self.dialect);
        self.found.insert(&own.name, Definition::Made(object_schema));
        self.found.insert(&own.list_name, Definition::Made(list_schema));
        let name = if list { &own.list_name } else { &own.name };
        out.text("$ref", &self.dialect.reference(name));
    }

    pub(super) fn patch_reference(&mut self, out: &mut Json) {
        self.found.insert(PATCH, Definition::Fixed);
        out.text("$ref", &self.dialect.reference(PATCH));
    }

    /// Name of the definition of a struct or special type.
    fn name(&mut self, ty: TypeRef<'s>) -> &'s str {
        let (name, definition) = match ty.kind() {
            Kind::Quantity => (QUANTITY, Definition::Fixed),
            Kind::Time => (TIME, Definition::Fixed),
            Kind::MicroTime => (MICRO_TIME, Definition::Fixed),
            Kind::Duration => (DURATION, Definition::Fixed),
            Kind::IntOrString => (INT_OR_STRING, Definition::Fixed),
            Kind::Raw(Raw::Extension) => (RAW_EXTENSION, Definition::Fixed),
            Kind::Raw(Raw::FieldsV1) => (FIELDS_V1, Definition::Fixed),
            Kind::Raw(Raw::Json) => (JSON_VALUE, Definition::Fixed),
            _ => (ty.name().unwrap_or_default(), Definition::Type(ty)),
        };
        if self.found.insert(name, definition).is_none()
            && let Definition::Type(ty) = definition
        {
            ty.fields().for_each(|field| self.discover(field.type_ref()));
        }
        name
    }

    fn discover(&mut self, ty: TypeRef<'s>) {
        match ty.kind() {
            Kind::List(item) | Kind::Map(item) => self.discover(item),
            Kind::Bool
            | Kind::Int32
            | Kind::Int64
            | Kind::Double
            | Kind::String
            | Kind::Bytes
            | Kind::Any => {}
            _ => {
                self.name(ty);
            }
        }
    }

    /// Writes all definitions found so far, in order of name.
    pub(super) fn write(&self, out: &mut Json) {
        out.object(|out| {
            for (name, definition) in &self.found {
                out.member(name, |out| match definition {
                    Definition::Fixed => self.write_fixed(out, name),
                    Definition::Made(schema) => out.whole(schema),
                    Definition::Type(ty) if ty.is_struct() => self.write_struct(out, *ty),
                    // Unions of a schema and something else are left open, as upstream does.
                    Definition::Type(_) => out.object(|_| {}),
                });
            }
        });
    }

    fn write_fixed(&self, out: &mut Json, name: &str) {
        let one_of = |types: [&str; 2]| json!(types.map(|t| json!({"type": t})));
        out.object(|out| match (name, self.dialect) {
            (QUANTITY, Dialect::V3) => out.value("oneOf", &one_of(["string", "number"])),
            (INT_OR_STRING, Dialect::V3) => {
                out.text("format", "int-or-string");
                out.value("oneOf", &one_of(["integer", "string"]));
            }
            (INT_OR_STRING, Dialect::V2) => {
                out.text("format", "int-or-string");
                out.text("type", "string");
            }
            (TIME | MICRO_TIME, _) => {
                out.text("format", "date-time");
                out.text("type", "string");
            }
            (QUANTITY | DURATION, _) => out.text("type", "string"),
            (JSON_VALUE, _) => {}
            _ => out.text("type", "object"),
        });
    }

    fn write_struct(&self, out: &mut Json, ty: TypeRef<'s>) {
        out.object(|out| {
            out.text("type", "object");
            let mut fields: Vec<Field<'_>> = ty.fields().collect();
            if fields.iter().any(|f| f.is_required()) {
                let required = fields.iter().filter(|f| f.is_required());
                out.texts("required", required.map(|f| f.name()));
            }
            fields.sort_by_key(|f| f.name());
            if !fields.is_empty() {
                out.member("properties", |out| {
                    out.object(|out| {
                        for field in fields {
                            out.member(field.name(), |out| self.write_field(out, field));
                        }
                    });
                });
            }
            if ty.struct_type() == Some(StructType::Atomic) {
                out.text("x-kubernetes-map-type", "atomic");
            }
            self.write_kinds(out, ty.name().unwrap_or_default());
        });
    }

    fn write_kinds(&self, out: &mut Json, name: &str) {
        let Some(kinds) = self.kinds.get(name) else {
            return;
        };
        let mut all: BTreeSet<[&str; 3]> = kinds.iter().copied().collect();
        for [group, version, kind] in kinds {
            // Options and watch events exist in every group and version.
            let everywhere = *kind == "DeleteOptions" || *kind == "WatchEvent";
            if everywhere && group.is_empty() && *version == "v1" {
                all.extend(self.versions.iter().map(|(group, version)| [*group, *version, *kind]));
            }
        }
        out.member("x-kubernetes-group-version-kind", |out| {
            out.list(|out| {
                for kind in all {
                    out.item(|out| write_kind(out, kind));
                }
            });
        });
    }

    fn write_field(&self, out: &mut Json, field: Field<'s>) {
        let ty = field.type_ref();
        out.object(|out| {
            // Plain fields that are always written have their zero value as default.
            let plain = !field.is_pointer();
            let default = match field.default_value() {
                Some(default) => Some(default),
                None if plain && ty.is_struct() => Some(json!({})),
                None if plain && !field.omit_empty() => zero(ty),
                None => None,
            };
            let default = default.filter(|_| self.dialect == Dialect::V3);
            let extended = default.is_some()
                || field.patch_strategy().is_some()
                || field.struct_type().is_some();
            self.write_type(out, ty, extended, field.is_enum().then_some(field));
            if let Some(default) = default {
                out.value("default", &default);
            }
            if let Some(list_type) = field.list_type() {
                let list_type = match list_type {
                    ListType::Atomic => "atomic",
                    ListType::Set => "set",
                    ListType::Map => "map",
                };
                if field.list_keys().next().is_some() {
                    out.texts("x-kubernetes-list-map-keys", field.list_keys());
                }
                out.text("x-kubernetes-list-type", list_type);
            }
            match field.struct_type() {
                Some(StructType::Atomic) => out.text("x-kubernetes-map-type", "atomic"),
                Some(StructType::Granular) => out.text("x-kubernetes-map-type", "granular"),
                None => {}
            }
            if let Some(key) = field.merge_key() {
                out.text("x-kubernetes-patch-merge-key", key);
            }
            if let Some(strategy) = field.patch_strategy() {
                out.text("x-kubernetes-patch-strategy", strategy);
            }
        });
    }

    /// Writes what describes a value of a type. `extended` says that other members follow,
    /// beside which version 3 does not allow a bare reference.
    fn write_type(
        &self,
        out: &mut Json,
        ty: TypeRef<'s>,
        extended: bool,
        values: Option<Field<'s>>,
    ) {
        let mut scalar = |name: &str, format: &str| {
            if let Some(field) = values {
                out.texts("enum", field.enum_values());
            }
            if !format.is_empty() {
                out.text("format", format);
            }
            out.text("type", name);
        };
        match ty.kind() {
            Kind::Bool => scalar("boolean", ""),
            Kind::Int32 => scalar("integer", "int32"),
            Kind::Int64 => scalar("integer", "int64"),
            Kind::Double => scalar("number", "double"),
            Kind::String => scalar("string", ""),
            Kind::Bytes => scalar("string", "byte"),
            Kind::Any => scalar("object", ""),
            Kind::List(item) => {
                out.text("type", "array");
                out.member("items", |out| self.write_element(out, item, values));
            }
            Kind::Map(item) => {
                out.text("type", "object");
                out.member("additionalProperties", |out| self.write_element(out, item, values));
            }
            _ => {
                let name = match ty.kind() {
                    Kind::Quantity => QUANTITY,
                    Kind::Time => TIME,
                    Kind::MicroTime => MICRO_TIME,
                    Kind::Duration => DURATION,
                    Kind::IntOrString => INT_OR_STRING,
                    Kind::Raw(Raw::Extension) => RAW_EXTENSION,
                    Kind::Raw(Raw::FieldsV1) => FIELDS_V1,
                    Kind::Raw(Raw::Json) => JSON_VALUE,
                    _ => ty.name().unwrap_or_default(),
                };
                let reference = self.dialect.reference(name);
                if extended && self.dialect == Dialect::V3 {
                    out.value("allOf", &json!([{"$ref": reference}]));
                } else {
                    out.text("$ref", &reference);
                }
            }
        }
    }

    fn write_element(&self, out: &mut Json, item: TypeRef<'s>, values: Option<Field<'s>>) {
        out.object(|out| {
            let default = match item.is_struct() {
                true => Some(json!({})),
                false => zero(item),
            };
            let default = default.filter(|_| self.dialect == Dialect::V3);
            self.write_type(out, item, default.is_some(), values);
            if let Some(default) = default {
                out.value("default", &default);
            }
        });
    }
}

/// `{"group": .., "kind": .., "version": ..}`
pub(super) fn write_kind(out: &mut Json, [group, version, kind]: [&str; 3]) {
    out.object(|out| {
        out.text("group", group);
        out.text("kind", kind);
        out.text("version", version);
    });
}

/// Default of a scalar that is always written; types with their own JSON have none.
fn zero(ty: TypeRef<'_>) -> Option<Value> {
    match ty.kind() {
        Kind::Bool => Some(json!(false)),
        Kind::Int32 | Kind::Int64 | Kind::Double => Some(json!(0)),
        Kind::String => Some(json!("")),
        _ => None,
    }
}
