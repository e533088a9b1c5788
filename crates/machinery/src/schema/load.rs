//! Reading a table from its text form.
//!
//! One fact a line, cells separated by tabs, in this order of sections:
//!
//! ```text
//! version  1.36.3
//! enum     io.k8s.api.core.v1.Protocol   SCTP|TCP|UDP
//! named    io.k8s.api.core.v1.Protocol   marker ...      markers of a named scalar
//! type     io.k8s.api.core.v1.Service    flag ...        in order of name
//!          name   number   form   flag ...               a field of the type above
//! kind     apps/v1   Deployment   io.k8s.api.apps.v1.Deployment
//! ```
//!
//! A form is a scalar or type name with `*` (pointer), `[]` (list) or `{}` (map) before it.
//! Lines that start with `#` are comments.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{
    Base, FieldData, Form, KindData, ListType, NamedData, Raw, Schema, Shape, Span, Special,
    StructType, Text, TypeData,
};

/// A table that does not follow the grammar.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LoadError {
    line: usize,
    problem: &'static str,
}

impl Schema {
    /// Reads a table.
    pub fn parse(text: Cow<'static, str>) -> Result<Self, LoadError> {
        let mut schema = Schema {
            text: Cow::Borrowed(""),
            version: Text::default(),
            types: Vec::with_capacity(1300),
            fields: Vec::with_capacity(4800),
            members: Vec::with_capacity(5400),
            by_name: Vec::with_capacity(5400),
            lists: Vec::new(),
            named: Vec::new(),
            kinds: Vec::with_capacity(360),
            custom: false,
        };
        let mut loader = Loader {
            text: &text,
            out: &mut schema,
            names: HashMap::with_capacity(1300),
            named: HashMap::new(),
            last_type: "",
            pending: Vec::new(),
        };
        let mut number = 0;
        let at = |number: usize| move |problem| LoadError { line: number, problem };
        for line in text.lines() {
            number += 1;
            loader.line(line).map_err(at(number))?;
        }
        loader.resolve().map_err(at(number))?;
        schema.text = text;
        schema.sort_named();
        schema.flatten();
        schema.mark_defaults();
        Ok(schema)
    }

    fn sort_named(&mut self) {
        let mut kinds = std::mem::take(&mut self.kinds);
        kinds.sort_by(|a, b| {
            let key = |k: &KindData| (self.text(k.group), self.text(k.version), self.text(k.kind));
            key(a).cmp(&key(b))
        });
        self.kinds = kinds;
        let mut named = std::mem::take(&mut self.named);
        named.sort_by(|a, b| self.text(a.name).cmp(self.text(b.name)));
        self.named = named;
    }

    /// Replaces inlined structs by their fields and sorts an index by name.
    pub(super) fn flatten(&mut self) {
        for id in 0..self.types.len() {
            let start = self.members.len();
            let mut members = Vec::new();
            self.collect_members(id, &mut members);
            let mut order: Vec<u16> = (0..members.len() as u16).collect();
            order.sort_by_key(|&at| self.text(self.fields[members[at as usize] as usize].name));
            self.members.extend(&members);
            self.by_name.extend(order);
            self.types[id].members = Span { start: start as u32, len: members.len() as u32 };
        }
    }

    fn collect_members(&self, id: usize, members: &mut Vec<u32>) {
        for at in self.types[id].fields.range() {
            let field = &self.fields[at];
            match field.form.base {
                Base::Type(inner) if field.flags.inlined => {
                    self.collect_members(inner as usize, members);
                }
                _ if self.text(field.name) == "-" => {}
                _ => members.push(at as u32),
            }
        }
    }

    /// Marks the types through which a default can be reached.
    fn mark_defaults(&mut self) {
        loop {
            let mut changed = false;
            for id in 0..self.types.len() {
                if self.types[id].flags.defaults {
                    continue;
                }
                let reach = |form: &Form| match form.base {
                    Base::Type(inner) => self.types[inner as usize].flags.defaults,
                    _ => false,
                };
                let own = &self.types[id];
                let found = own.alias.as_ref().is_some_and(reach)
                    || self.fields[own.fields.range()]
                        .iter()
                        .any(|f| f.flags.has_default || reach(&f.form));
                if found {
                    self.types[id].flags.defaults = true;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }
}

/// A form whose type name is not known yet.
enum Slot {
    Field(usize),
    Alias(usize),
}

struct Loader<'t, 'o> {
    text: &'t str,
    out: &'o mut Schema,
    names: HashMap<&'t str, u32>,
    named: HashMap<&'t str, usize>,
    last_type: &'t str,
    pending: Vec<(Slot, Shape, &'t str)>,
}

type Step<T = ()> = Result<T, &'static str>;

impl<'t> Loader<'t, '_> {
    fn line(&mut self, line: &'t str) -> Step {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let mut cells = line.split('\t');
        let head = cells.next().unwrap_or_default();
        let mut cell = || cells.next().ok_or("too few cells");
        match head {
            "" => {
                let (name, tag, form) = (cell()?, cell()?, cell()?);
                self.field(name, tag, form, cells)
            }
            "type" => {
                let name = cell()?;
                self.named_type(name, cells)
            }
            "kind" => {
                let (group_version, kind, ty) = (cell()?, cell()?, cell()?);
                let (group, version) =
                    group_version.rsplit_once('/').unwrap_or(("", group_version));
                let group = if group.is_empty() { Text::default() } else { self.slice(group) };
                let ty = *self.names.get(ty).ok_or("kind of an unknown type")?;
                let (version, kind) = (self.slice(version), self.slice(kind));
                self.out.kinds.push(KindData { group, version, kind, ty });
                Ok(())
            }
            "enum" => {
                let (name, values) = (cell()?, cell()?);
                let values = self.list(values.split('|'));
                self.named(name, values, Span::default());
                Ok(())
            }
            "named" => {
                let name = cell()?;
                let markers = self.list(cells);
                self.named(name, Span::default(), markers);
                Ok(())
            }
            "version" => {
                self.out.version = self.slice(cell()?);
                Ok(())
            }
            _ => Err("unknown kind of line"),
        }
    }

    fn named(&mut self, name: &'t str, values: Span, markers: Span) {
        let known = self.named.get(name).copied();
        let at = known.unwrap_or_else(|| {
            let name = self.slice(name);
            self.out.named.push(NamedData { name, ..NamedData::default() });
            self.out.named.len() - 1
        });
        self.named.insert(name, at);
        let entry = &mut self.out.named[at];
        if values.len > 0 {
            entry.values = values;
        }
        if markers.len > 0 {
            entry.markers = markers;
        }
    }

    fn named_type(&mut self, name: &'t str, flags: impl Iterator<Item = &'t str>) -> Step {
        let id = self.out.types.len();
        if self.names.insert(name, id as u32).is_some() {
            return Err("a type is given twice");
        }
        if name < self.last_type {
            return Err("types are not in order of name");
        }
        self.last_type = name;
        let mut ty = TypeData {
            name: self.slice(name),
            fields: Span { start: self.out.fields.len() as u32, len: 0 },
            ..TypeData::default()
        };
        let mut markers = Vec::new();
        for flag in flags {
            let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
            match key {
                "alias" => {
                    let (shape, base) = shape(value);
                    self.pending.push((Slot::Alias(id), shape, base));
                }
                "special" => ty.special = special(value)?,
                "wrap" => ty.flags.wrapped = true,
                "nopb" => ty.flags.no_protobuf = true,
                "st" => ty.struct_type = Some(struct_type(value)?),
                "intro" => ty.introduced = self.slice(value),
                "depr" => ty.deprecated = self.slice(value),
                "rem" => ty.removed = self.slice(value),
                "repl" => ty.replacement = self.slice(value),
                "m" => markers.push(value),
                _ => return Err("unknown flag of a type"),
            }
        }
        ty.markers = self.list(markers.into_iter());
        self.out.types.push(ty);
        Ok(())
    }

    fn field(
        &mut self,
        name: &'t str,
        tag: &'t str,
        form: &'t str,
        flags: impl Iterator<Item = &'t str>,
    ) -> Step {
        let owner = self.out.types.last_mut().ok_or("a field stands before any type")?;
        owner.fields.len += 1;
        let tag = match tag {
            "" => 0,
            digits => digits.parse().map_err(|_| "field number is no number")?,
        };
        let (shape, base) = shape(form);
        self.pending.push((Slot::Field(self.out.fields.len()), shape, base));
        let mut field = FieldData {
            name: self.slice(name),
            tag,
            form: Form { shape, base: Base::Any },
            ..FieldData::default()
        };
        let mut markers = Vec::new();
        for flag in flags {
            let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
            match key {
                "in" => field.flags.inlined = true,
                "omit" => field.flags.omit_empty = true,
                "oz" => field.flags.omit_zero = true,
                "req" => field.flags.required = true,
                "pn" => field.protobuf_name = self.slice(value),
                "lt" => field.list_type = Some(list_type(value)?),
                "lk" => field.list_keys = self.list(value.split('|')),
                "ps" => {
                    for strategy in value.split(',') {
                        match strategy {
                            "merge" => field.flags.patch_merge = true,
                            "replace" => field.flags.patch_replace = true,
                            "retainKeys" => field.flags.retain_keys = true,
                            _ => return Err("unknown patch strategy"),
                        }
                    }
                }
                "pk" => field.merge_key = self.slice(value),
                "st" => field.struct_type = Some(struct_type(value)?),
                "def" => {
                    serde_json::from_str::<serde_json::Value>(value)
                        .map_err(|_| "a default is not JSON")?;
                    field.flags.has_default = true;
                    field.default = self.slice(value);
                }
                "nt" => {
                    field.scalar_name = self.slice(value);
                    let named = self.named.get(value).map(|at| self.out.named[*at]);
                    field.values = named.map(|n| n.values).unwrap_or_default();
                    field.flags.has_enum = field.values.len > 0;
                }
                "knt" => field.key_name = self.slice(value),
                "at" => field.collection_name = self.slice(value),
                "m" => markers.push(value),
                _ => return Err("unknown flag of a field"),
            }
        }
        field.markers = self.list(markers.into_iter());
        self.out.fields.push(field);
        Ok(())
    }

    /// Gives every form its type now that all names are known.
    fn resolve(self) -> Step {
        for (slot, shape, name) in self.pending {
            let base = match scalar(name) {
                Some(base) => base,
                None => Base::Type(*self.names.get(name).ok_or("unknown type name")?),
            };
            let form = Form { shape, base };
            match slot {
                Slot::Field(at) => self.out.fields[at].form = form,
                Slot::Alias(at) => self.out.types[at].alias = Some(form),
            }
        }
        Ok(())
    }

    fn list(&mut self, items: impl Iterator<Item = &'t str>) -> Span {
        let start = self.out.lists.len();
        for item in items {
            let text = self.slice(item);
            self.out.lists.push(text);
        }
        Span { start: start as u32, len: (self.out.lists.len() - start) as u32 }
    }

    /// Where a part of the text lies in it.
    fn slice(&self, part: &'t str) -> Text {
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        Text { start: start as u32, len: part.len() as u32 }
    }
}

fn shape(form: &str) -> (Shape, &str) {
    if let Some(rest) = form.strip_prefix("[]") {
        (Shape::List, rest)
    } else if let Some(rest) = form.strip_prefix("{}") {
        (Shape::Map, rest)
    } else if let Some(rest) = form.strip_prefix('*') {
        (Shape::Pointer, rest)
    } else {
        (Shape::One, form)
    }
}

fn scalar(name: &str) -> Option<Base> {
    Some(match name {
        "bool" => Base::Bool,
        "int32" => Base::Int32,
        "int64" => Base::Int64,
        "double" => Base::Double,
        "string" => Base::String,
        "bytes" => Base::Bytes,
        "any" => Base::Any,
        "Quantity" => Base::Quantity,
        "Time" => Base::Time,
        "MicroTime" => Base::MicroTime,
        "Duration" => Base::Duration,
        "IntOrString" => Base::IntOrString,
        "RawExtension" => Base::Raw(Raw::Extension),
        "FieldsV1" => Base::Raw(Raw::FieldsV1),
        "JSON" => Base::Raw(Raw::Json),
        _ => return None,
    })
}

fn special(name: &str) -> Step<Special> {
    Ok(match name {
        "JSONSchemaPropsOrBool" => Special::SchemaOrBool,
        "JSONSchemaPropsOrArray" => Special::SchemaOrArray,
        "JSONSchemaPropsOrStringArray" => Special::SchemaOrStrings,
        other => Special::Scalar(scalar(other).ok_or("unknown special type")?),
    })
}

fn struct_type(name: &str) -> Step<StructType> {
    match name {
        "atomic" => Ok(StructType::Atomic),
        "granular" => Ok(StructType::Granular),
        _ => Err("unknown struct type"),
    }
}

fn list_type(name: &str) -> Step<ListType> {
    match name {
        "atomic" => Ok(ListType::Atomic),
        "set" => Ok(ListType::Set),
        "map" => Ok(ListType::Map),
        _ => Err("unknown list type"),
    }
}
