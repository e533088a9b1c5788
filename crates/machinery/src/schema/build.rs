//! Making a table at run time, from the leaves up.
//!
//! Every node of a structural schema becomes a type of its own, because what it says about
//! itself (nullable, list type, unknown fields) may differ wherever it stands: scalars, lists and
//! maps are named by an alias that carries those facts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::{
    Base, FieldData, FieldFlags, Form, ListType, Raw, Schema, Shape, Span, Special, StructType,
    Text, Type, TypeData, TypeFlags, TypeRef,
};

/// A table in the making.
#[derive(Debug)]
pub struct Builder {
    schema: Schema,
    text: String,
    interned: HashMap<String, Text>,
    imported: HashMap<String, u32>,
}

/// A type of the table in the making.
#[derive(Clone, Copy, Debug)]
pub struct Node(u32);

/// What a node says about itself besides the form of its values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// null is a value like any other.
    pub nullable: bool,
    /// Members that are not declared stay.
    pub preserves_unknown_fields: bool,
    /// The value is an object of the API, with a kind and metadata of its own.
    pub embedded_resource: bool,
    /// How apply treats the list.
    pub list_type: Option<ListType>,
    /// The keys of a list of type map.
    pub list_keys: &'a [String],
    /// How apply treats the map or object.
    pub struct_type: Option<StructType>,
}

/// The form of a value without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// true or false.
    Bool,
    /// Whole number.
    Integer,
    /// Number.
    Number,
    /// Text.
    String,
    /// Number or text.
    IntOrString,
    /// Anything.
    Any,
}

/// A member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name in JSON.
    pub name: &'a str,
    /// Its type.
    pub node: Node,
    /// Whether it must be there.
    pub required: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let schema = Schema {
            text: Cow::Borrowed(""),
            version: Text::default(),
            types: Vec::new(),
            fields: Vec::new(),
            members: Vec::new(),
            by_name: Vec::new(),
            lists: Vec::new(),
            named: Vec::new(),
            kinds: Vec::new(),
            custom: true,
        };
        Self { schema, text: String::new(), interned: HashMap::new(), imported: HashMap::new() }
    }
}

impl Builder {
    /// A value without members.
    pub fn leaf(&mut self, leaf: Leaf, facts: Facts<'_>) -> Node {
        let base = match leaf {
            Leaf::Bool => Base::Bool,
            Leaf::Integer => Base::Int64,
            Leaf::Number => Base::Double,
            Leaf::String => Base::String,
            Leaf::IntOrString => Base::IntOrString,
            Leaf::Any => Base::Any,
        };
        self.alias(Form { shape: Shape::One, base }, facts)
    }

    /// A list of `item`.
    pub fn list(&mut self, item: Node, facts: Facts<'_>) -> Node {
        self.alias(Form { shape: Shape::List, base: Base::Type(item.0) }, facts)
    }

    /// Says of a list of type map, for each key in order, the default in JSON that its field has
    /// in items; empty if none.
    pub fn set_key_defaults(&mut self, list: Node, defaults: &[String]) {
        self.schema.types[list.0 as usize].key_defaults = self.list_of(defaults);
    }

    /// A map from string to `item`.
    pub fn map(&mut self, item: Node, facts: Facts<'_>) -> Node {
        self.alias(Form { shape: Shape::Map, base: Base::Type(item.0) }, facts)
    }

    /// An object with declared members. The name is what errors and documents call it.
    pub fn object(&mut self, name: &str, members: &[Member<'_>], facts: Facts<'_>) -> Node {
        let start = self.schema.fields.len() as u32;
        for member in members {
            let own = &self.schema.types[member.node.0 as usize];
            let (list_type, struct_type, list_keys) =
                (own.list_type, own.struct_type, own.list_keys);
            let name = self.intern(member.name);
            self.schema.fields.push(FieldData {
                name,
                form: Form { shape: Shape::One, base: Base::Type(member.node.0) },
                flags: FieldFlags {
                    omit_empty: true,
                    required: member.required,
                    ..FieldFlags::default()
                },
                list_type,
                struct_type,
                list_keys,
                ..FieldData::default()
            });
        }
        let node = self.push(name, None, facts);
        self.schema.types[node.0 as usize].fields = Span { start, len: members.len() as u32 };
        node
    }

    /// A built-in type such as `io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta` with all that it
    /// is made of.
    ///
    /// # Panics
    /// If there is no such type.
    pub fn builtin(&mut self, name: &str) -> Node {
        let ty = super::builtin().named_type(name).expect("the name of a built-in type");
        let Base::Type(id) = ty.form.base else { unreachable!("named types are structs") };
        Node(self.import(id))
    }

    fn import(&mut self, id: u32) -> u32 {
        let table = super::builtin();
        let data = &table.types[id as usize];
        let name = table.text(data.name);
        if let Some(known) = self.imported.get(name) {
            return *known;
        }
        let node = self.push(name, None, Facts::default());
        self.imported.insert(name.to_owned(), node.0);
        let form = |builder: &mut Self, form: Form| match form.base {
            Base::Type(inner) => Form { base: Base::Type(builder.import(inner)), ..form },
            _ => form,
        };
        let alias = data.alias.map(|alias| form(self, alias));
        let mut fields = Vec::new();
        for field in &table.fields[data.fields.range()] {
            let list_keys: Vec<String> = table.list(field.list_keys).map(str::to_owned).collect();
            fields.push(FieldData {
                name: self.intern(table.text(field.name)),
                form: form(self, field.form),
                flags: FieldFlags { has_default: false, has_enum: false, ..field.flags },
                list_type: field.list_type,
                struct_type: field.struct_type,
                list_keys: self.list_of(&list_keys),
                merge_key: match table.some_text(field.merge_key) {
                    Some(key) => self.intern(key),
                    None => Text::default(),
                },
                ..FieldData::default()
            });
        }
        let span = Span { start: self.schema.fields.len() as u32, len: fields.len() as u32 };
        self.schema.fields.extend(fields);
        let own = &mut self.schema.types[node.0 as usize];
        own.fields = span;
        own.alias = alias;
        own.special = data.special;
        own.struct_type = data.struct_type;
        node.0
    }

    /// The finished table, as the type of its root.
    pub fn finish(mut self, root: Node) -> Type {
        self.schema.text = Cow::Owned(self.text);
        self.schema.flatten();
        let form = Form { shape: Shape::One, base: Base::Type(root.0) };
        Type::made(Arc::new(self.schema), form)
    }

    fn alias(&mut self, form: Form, facts: Facts<'_>) -> Node {
        self.push("", Some(form), facts)
    }

    fn push(&mut self, name: &str, alias: Option<Form>, facts: Facts<'_>) -> Node {
        let (name, list_keys) = (self.intern(name), self.list_of(facts.list_keys));
        self.schema.types.push(TypeData {
            name,
            alias,
            list_keys,
            list_type: facts.list_type,
            struct_type: facts.struct_type,
            flags: TypeFlags {
                no_protobuf: true,
                nullable: facts.nullable,
                preserves: facts.preserves_unknown_fields,
                embedded: facts.embedded_resource,
                ..TypeFlags::default()
            },
            ..TypeData::default()
        });
        Node(self.schema.types.len() as u32 - 1)
    }

    fn list_of(&mut self, items: &[String]) -> Span {
        let start = self.schema.lists.len();
        for item in items {
            let text = self.intern(item);
            self.schema.lists.push(text);
        }
        Span { start: start as u32, len: items.len() as u32 }
    }

    fn intern(&mut self, text: &str) -> Text {
        if let Some(known) = self.interned.get(text) {
            return *known;
        }
        let slice = Text { start: self.text.len() as u32, len: text.len() as u32 };
        self.text.push_str(text);
        self.interned.insert(text.to_owned(), slice);
        slice
    }
}

impl<'s> TypeRef<'s> {
    /// Whether its table was made at run time. Values are then decoded leniently, since a wrong
    /// type is for validation to report, and are written with their keys in order of name.
    pub fn is_custom(self) -> bool {
        self.schema.custom
    }

    /// Whether null is a value like any other.
    pub fn is_nullable(self) -> bool {
        self.node().is_some_and(|t| t.flags.nullable)
    }

    /// Whether members that are not declared stay.
    pub fn preserves_unknown_fields(self) -> bool {
        self.node().is_some_and(|t| t.flags.preserves)
    }

    /// Whether its values are objects of the API, with a kind and metadata of their own.
    pub fn is_embedded_resource(self) -> bool {
        self.node().is_some_and(|t| t.flags.embedded)
    }

    /// How apply treats the list, where the type itself says so; see
    /// [`Field::list_type`](super::Field::list_type).
    pub fn list_type(self) -> Option<ListType> {
        self.node().and_then(|t| t.list_type)
    }

    /// What identifies an item of a list of type map that lacks a key, where the type itself says
    /// so.
    pub fn key_default(self, key: &str) -> Option<serde_json::Value> {
        let data = self.node()?;
        let at = self.list_keys().position(|name| name == key)?;
        let text = self.schema.list(data.key_defaults).nth(at).filter(|text| !text.is_empty())?;
        serde_json::from_str(text).ok()
    }

    /// Keys of a list of type map, where the type itself says so.
    pub fn list_keys(self) -> impl Iterator<Item = &'s str> + Clone {
        let schema = self.schema;
        schema.list(self.node().map(|t| t.list_keys).unwrap_or_default())
    }
}

impl Default for FieldData {
    fn default() -> Self {
        Self {
            name: Text::default(),
            protobuf_name: Text::default(),
            tag: 0,
            form: Form { shape: Shape::One, base: Base::Raw(Raw::Extension) },
            flags: FieldFlags::default(),
            list_type: None,
            struct_type: None,
            list_keys: Span::default(),
            merge_key: Text::default(),
            default: Text::default(),
            values: Span::default(),
            scalar_name: Text::default(),
            key_name: Text::default(),
            collection_name: Text::default(),
            markers: Span::default(),
        }
    }
}

impl Default for TypeData {
    fn default() -> Self {
        Self {
            name: Text::default(),
            fields: Span::default(),
            members: Span::default(),
            alias: None,
            special: Special::None,
            flags: TypeFlags::default(),
            struct_type: None,
            list_type: None,
            list_keys: Span::default(),
            key_defaults: Span::default(),
            introduced: Text::default(),
            deprecated: Text::default(),
            removed: Text::default(),
            replacement: Text::default(),
            markers: Span::default(),
        }
    }
}
