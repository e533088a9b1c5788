//! From a structural schema to the table of types that codecs, patches and apply work on.

use machinery::Value;
use machinery::schema::{Builder, Facts, Leaf, Member, Node, Type};

use crate::structural::{Kind, Structural};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The type of a custom resource's objects. `name` is what documents call it.
pub fn compile(schema: &Structural, name: &str) -> Type {
    let mut builder = Builder::default();
    let text = builder.leaf(Leaf::String, Facts::default());
    let metadata = builder.builtin(OBJECT_META);
    let mut members: Vec<(&str, Node, bool)> =
        vec![("apiVersion", text, false), ("kind", text, false), ("metadata", metadata, false)];
    for (name, property) in &schema.properties {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            let required = schema_requires(schema, name);
            members.push((name, node(&mut builder, property), required));
        }
    }
    let members: Vec<Member<'_>> =
        members.iter().map(|&(name, node, required)| Member { name, node, required }).collect();
    let root = builder.object(name, &members, facts(schema));
    builder.finish(root)
}

fn schema_requires(schema: &Structural, property: &str) -> bool {
    schema.rules.required.iter().any(|required| required == property)
}

fn node(builder: &mut Builder, schema: &Structural) -> Node {
    let facts = facts(schema);
    match schema.kind {
        _ if schema.int_or_string => builder.leaf(Leaf::IntOrString, facts),
        None => builder.leaf(Leaf::Any, facts),
        Some(Kind::Boolean) => builder.leaf(Leaf::Bool, facts),
        Some(Kind::Integer) => builder.leaf(Leaf::Integer, facts),
        Some(Kind::Number) => builder.leaf(Leaf::Number, facts),
        Some(Kind::String) => builder.leaf(Leaf::String, facts),
        Some(Kind::Array) => {
            let item = match &schema.items {
                Some(items) => node(builder, items),
                None => builder.leaf(Leaf::Any, Facts::default()),
            };
            let list = builder.list(item, facts);
            let default = |key: &String| {
                let property = schema.items.as_ref()?.properties.get(key)?;
                property.default.as_ref().map(Value::to_string)
            };
            let defaults: Vec<String> =
                schema.list_keys.iter().map(|key| default(key).unwrap_or_default()).collect();
            builder.set_key_defaults(list, &defaults);
            list
        }
        Some(Kind::Object) => match schema.additional.schema() {
            Some(values) if schema.properties.is_empty() => {
                let value = node(builder, values);
                builder.map(value, facts)
            }
            _ => {
                let members: Vec<(&str, Node, bool)> = schema
                    .properties
                    .iter()
                    .map(|(name, property)| {
                        let required = schema_requires(schema, name);
                        (name.as_str(), node(builder, property), required)
                    })
                    .collect();
                let members: Vec<Member<'_>> = members
                    .iter()
                    .map(|&(name, node, required)| Member { name, node, required })
                    .collect();
                builder.object("", &members, facts)
            }
        },
    }
}

fn facts(schema: &Structural) -> Facts<'_> {
    Facts {
        nullable: schema.nullable,
        preserves_unknown_fields: schema.preserves_unknown_fields,
        embedded_resource: schema.embedded_resource,
        list_type: schema.list_type,
        list_keys: &schema.list_keys,
        struct_type: schema.map_type,
    }
}
