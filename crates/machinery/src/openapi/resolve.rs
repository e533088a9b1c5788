//! Schemas taken out of a published document.

use serde_json::{Map, Value, json};

use crate::gvk::GroupVersionKind;

const REFERENCE: &str = "#/components/schemas/";

/// The schema of a kind in a document of version 3, with every schema that it refers to in its
/// place, and without what only people read. A type within itself is an object of which nothing is
/// known.
pub fn v3_schema(document: &Value, kind: &GroupVersionKind) -> Option<Value> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    let (name, schema) = schemas.iter().find(|(_, schema)| is_of(schema, kind))?;
    Some(Resolver { schemas, open: vec![name] }.whole(schema))
}

fn is_of(schema: &Value, kind: &GroupVersionKind) -> bool {
    let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
    kinds.into_iter().flatten().any(|named| {
        named["group"] == *kind.group
            && named["version"] == *kind.version
            && named["kind"] == *kind.kind
    })
}

/// What a schema refers to; an `allOf` may be around the reference, so that it can be described.
fn referred(schema: &Value) -> Option<&str> {
    let alternatives = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(schema)
        .chain(alternatives)
        .find_map(|schema| schema.get("$ref")?.as_str()?.strip_prefix(REFERENCE))
}

struct Resolver<'a> {
    schemas: &'a Map<String, Value>,
    /// The schemas around the one that is being resolved.
    open: Vec<&'a str>,
}

impl<'a> Resolver<'a> {
    fn whole(&mut self, schema: &'a Value) -> Value {
        let Some(name) = referred(schema) else { return self.parts(schema) };
        let Some(target) = self.schemas.get(name).filter(|_| !self.open.contains(&name)) else {
            return json!({"type": "object"});
        };
        self.open.push(name);
        let resolved = self.whole(target);
        self.open.pop();
        resolved
    }

    fn parts(&mut self, schema: &'a Value) -> Value {
        let Value::Object(members) = schema else { return schema.clone() };
        let parts = members.iter().filter(|(name, _)| *name != "description");
        parts
            .map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("properties", Value::Object(properties)) => properties
                        .iter()
                        .map(|(name, schema)| (name.clone(), self.whole(schema)))
                        .collect(),
                    ("items" | "additionalProperties", schema) => self.whole(schema),
                    _ => value.clone(),
                };
                (name.clone(), value)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced() {
        let kind = |kind: &str| json!([{"group": "g", "version": "v1", "kind": kind}]);
        let document = json!({"components": {"schemas": {
            "Other": {"type": "object", "x-kubernetes-group-version-kind": kind("Other")},
            "Tree": {
                "description": "a tree",
                "type": "object",
                "properties": {
                    "leaf": {"allOf": [{"$ref": "#/components/schemas/Leaf"}], "default": {}},
                    "below": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
                    "named": {"additionalProperties": {"$ref": "#/components/schemas/Leaf"}},
                    "lost": {"$ref": "#/components/schemas/Lost"},
                },
                "x-kubernetes-group-version-kind": kind("Tree"),
            },
            "Leaf": {"type": "string", "description": "a leaf"},
        }}});
        let schema = v3_schema(&document, &GroupVersionKind::new("g", "v1", "Tree")).unwrap();
        assert_eq!(
            schema["properties"],
            json!({
                "leaf": {"type": "string"},
                "below": {"type": "array", "items": {"type": "object"}},
                "named": {"additionalProperties": {"type": "string"}},
                "lost": {"type": "object"},
            })
        );
        assert_eq!(schema.get("description"), None);
        assert_eq!(v3_schema(&document, &GroupVersionKind::new("g", "v2", "Tree")), None);
    }
}
