//! The schema of a version as documents show it.
//!
//! Version 3 shows the schema whole. Version 2 knows less, and its oldest readers take what it
//! says too strictly, so what they would misread is left out, as upstream does.

use machinery::Value;
use machinery::openapi::Published;
use serde_json::{Map, json};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// `com.example.stable.v1.CronTab`
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

/// What is published for one version. `schema` is null where there is none.
pub fn published(
    [group, version, kind]: [&str; 3],
    list_kind: &str,
    schema: &Value,
    selectable: Option<&Value>,
) -> Published {
    let name = definition_name(group, version, kind);
    let list_name = definition_name(group, version, list_kind);
    let gvk = |kind: &str| json!([{"group": group, "kind": kind, "version": version}]);
    let object = |dialect: Dialect| {
        let mut object = dialect.object(schema);
        if let Some(fields) = object.as_object_mut() {
            if let Some(selectable) = selectable.filter(|s| !s.is_null()) {
                fields.insert("x-kubernetes-selectable-fields".to_owned(), selectable.clone());
            }
            fields.insert("x-kubernetes-group-version-kind".to_owned(), gvk(kind));
        }
        object
    };
    let list = |dialect: Dialect| {
        json!({
            "description": format!("{list_kind} is a list of {kind}"),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": type_meta(API_VERSION),
                "items": {
                    "description": "The items of the list.",
                    "type": "array",
                    "items": {"$ref": dialect.reference(&name)},
                },
                "kind": type_meta(KIND),
                "metadata": dialect.refer("Standard list metadata.", LIST_META),
            },
            "x-kubernetes-group-version-kind": gvk(list_kind),
        })
    };
    Published {
        v2: [object(Dialect::V2), list(Dialect::V2)],
        v3: [object(Dialect::V3), list(Dialect::V3)],
        name,
        list_name,
    }
}

const API_VERSION: &str =
    "APIVersion defines the group and version of the schema that the object follows.";
const KIND: &str = "Kind is the name of the type that the object has.";

fn type_meta(description: &str) -> Value {
    json!({"description": description, "type": "string"})
}

#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }

    /// A reference with a description; version 3 allows none beside a bare reference.
    fn refer(self, description: &str, name: &str) -> Value {
        match self {
            Self::V2 => json!({"description": description, "$ref": self.reference(name)}),
            Self::V3 => {
                json!({"description": description, "allOf": [{"$ref": self.reference(name)}]})
            }
        }
    }

    fn object(self, schema: &Value) -> Value {
        let preserves = is_set(schema, "x-kubernetes-preserve-unknown-fields");
        // Readers would take declared fields for the only ones.
        if schema.is_null() || self == Self::V2 && preserves {
            return json!({"type": "object"});
        }
        let mut object = schema.clone();
        unfold(&mut object);
        if self == Self::V2 {
            simplify(&mut object);
        }
        self.add_own(&mut object);
        self.add_embedded(&mut object);
        object
    }

    /// The fields that every object has.
    fn add_own(self, schema: &mut Value) {
        let Some(fields) = schema.as_object_mut() else { return };
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        let Some(properties) = properties.as_object_mut() else { return };
        properties.insert("apiVersion".to_owned(), type_meta(API_VERSION));
        properties.insert("kind".to_owned(), type_meta(KIND));
        let metadata = self.refer("Standard object's metadata.", OBJECT_META);
        properties.insert("metadata".to_owned(), metadata);
        let mut sorted: Vec<(String, Value)> = std::mem::take(properties).into_iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        *properties = sorted.into_iter().collect::<Map<_, _>>();
    }

    fn add_embedded(self, schema: &mut Value) {
        for_each_child(schema, &mut |child| self.add_embedded_below(child));
    }

    fn add_embedded_below(self, schema: &mut Value) {
        self.add_embedded(schema);
        let preserves = is_set(schema, "x-kubernetes-preserve-unknown-fields");
        if is_set(schema, "x-kubernetes-embedded-resource") && !(self == Self::V2 && preserves) {
            self.add_own(schema);
        }
    }
}

fn is_set(schema: &Value, flag: &str) -> bool {
    schema.get(flag).and_then(Value::as_bool).unwrap_or_default()
}

/// Visits the schemas of members, entries and items.
fn for_each_child(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(&mut *visit);
    }
    for field in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(field).filter(|child| child.is_object()) {
            visit(child);
        }
    }
}

/// Says of integers or texts that they are one of both, and leaves out examples, which upstream
/// keeps to itself.
fn unfold(schema: &mut Value) {
    if let Some(fields) = schema.as_object_mut() {
        fields.shift_remove("example");
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        let says = |alternatives: &Value| {
            let mut types: Vec<&str> = alternatives
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|a| a["type"].as_str())
                .collect();
            types.sort_unstable();
            types == ["integer", "string"]
        };
        let is = fields.get("x-kubernetes-int-or-string").is_some_and(|flag| flag == true);
        let any_of = fields.get("anyOf").filter(|any_of| !any_of.is_null());
        let first_of_all = fields.get("allOf").and_then(|all_of| all_of.get(0)?.get("anyOf"));
        if is && !any_of.is_some_and(says) && !first_of_all.is_some_and(says) {
            if any_of.is_none() {
                fields.insert("anyOf".to_owned(), either);
            } else {
                let all_of = fields.entry("allOf").or_insert_with(|| json!([]));
                if let Some(all_of) = all_of.as_array_mut() {
                    all_of.insert(0, json!({"anyOf": either}));
                }
            }
        }
    }
    for_each_child(schema, &mut unfold);
}

/// Leaves out what version 2 lacks or its readers misread.
fn simplify(schema: &mut Value) {
    let nullable = is_set(schema, "nullable");
    let preserves = is_set(schema, "x-kubernetes-preserve-unknown-fields");
    let required = required(schema);
    if let Some(fields) = schema.as_object_mut() {
        for absent in ["allOf", "oneOf", "anyOf", "not", "nullable"] {
            fields.shift_remove(absent);
        }
        if nullable {
            fields.shift_remove("type");
        }
        // Readers take what is declared for all there can be.
        if nullable || preserves {
            fields.shift_remove("items");
            fields.shift_remove("properties");
        }
        let ty = fields.get("type").and_then(Value::as_str);
        // Readers cannot do with lists of they do not know what.
        let listed = ty != Some("array") || fields.contains_key("items");
        if !listed || preserves && ty == Some("object") {
            fields.shift_remove("type");
        }
        match required {
            Some(names) if names.is_empty() => {
                fields.shift_remove("required");
            }
            Some(names) => {
                fields.insert("required".to_owned(), names.into());
            }
            None => {}
        }
    }
    for_each_child(schema, &mut simplify);
}

/// The required members without those that may be null, which readers take for absent; none if
/// that changes nothing.
fn required(schema: &Value) -> Option<Vec<Value>> {
    let names = schema.get("required")?.as_array()?;
    let entries_are_nullable =
        schema.get("additionalProperties").is_some_and(|entries| is_set(entries, "nullable"));
    let is_kept = |name: &&Value| {
        let property = name.as_str().and_then(|name| schema.get("properties")?.get(name));
        !entries_are_nullable && !property.is_some_and(|property| is_set(property, "nullable"))
    };
    Some(names.iter().filter(is_kept).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents() {
        let schema = json!({"type": "object", "description": "A widget", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer", "nullable": true},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
        let made = published(["ex.io", "v1", "Widget"], "WidgetList", &schema, None);
        assert_eq!(made.name, "io.ex.v1.Widget");
        let [v2, _] = &made.v2;
        assert_eq!(v2["description"], "A widget");
        let metadata = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        assert_eq!(v2["properties"]["metadata"]["$ref"], metadata);
        let spec = &v2["properties"]["spec"]["properties"];
        assert_eq!(spec["size"], json!({}));
        assert_eq!(spec["port"], json!({"x-kubernetes-int-or-string": true}));
        assert_eq!(spec["free"], json!({"x-kubernetes-preserve-unknown-fields": true}));
        let [v3, list] = &made.v3;
        let mut spec = schema["properties"]["spec"].clone();
        spec["properties"]["port"]["allOf"] =
            json!([{"anyOf": [{"type": "integer"}, {"type": "string"}]}]);
        assert_eq!(v3["properties"]["spec"], spec);
        let item = &list["properties"]["items"]["items"]["$ref"];
        assert_eq!(item, "#/components/schemas/io.ex.v1.Widget");
        let open = published(["ex.io", "v1", "W"], "WList", &Value::Null, None);
        let gvk = json!([{"group": "ex.io", "kind": "W", "version": "v1"}]);
        let expected = json!({"type": "object", "x-kubernetes-group-version-kind": gvk});
        assert_eq!(open.v2[0], expected);
    }

    #[test]
    fn version_2_says_less() {
        let check = |schema: Value, expected: Value| {
            let mut simple = schema.clone();
            unfold(&mut simple);
            simplify(&mut simple);
            assert_eq!(simple, expected, "{schema}");
        };
        let object = || json!({"type": "object", "properties": {"a": {"type": "string"}}});
        check(object(), object());
        let mut all = object();
        for junctor in ["allOf", "oneOf", "anyOf"] {
            all[junctor] = json!([{"required": ["a"]}]);
        }
        all["not"] = json!({"required": ["b"]});
        check(all, object());
        check(
            json!({"type": "object", "nullable": true, "additionalProperties": {"type": "string"}}),
            json!({"additionalProperties": {"type": "string"}}),
        );
        let preserving = |ty: &str| {
            json!({"type": ty, "x-kubernetes-preserve-unknown-fields": true,
            "items": {"type": "string"}, "properties": {"a": {"type": "string"}}})
        };
        let open = json!({"x-kubernetes-preserve-unknown-fields": true});
        check(preserving("object"), open.clone());
        check(preserving("array"), open);
        check(json!({"type": "array"}), json!({}));
        let nullable = json!({"type": "string", "nullable": true});
        check(
            json!({"type": "object", "required": ["a", "b"],
                "properties": {"a": nullable, "b": {"type": "string"}}}),
            json!({"type": "object", "required": ["b"],
                "properties": {"a": {}, "b": {"type": "string"}}}),
        );
        check(
            json!({"type": "object", "required": ["a"], "additionalProperties": nullable}),
            json!({"type": "object", "additionalProperties": {}}),
        );
        check(
            json!({"x-kubernetes-int-or-string": true, "example": 1}),
            json!({"x-kubernetes-int-or-string": true}),
        );
    }

    #[test]
    fn integers_or_texts_are_either() {
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        let mut plain = json!({"x-kubernetes-int-or-string": true});
        unfold(&mut plain);
        assert_eq!(plain["anyOf"], either);
        let mut known = json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": either}]});
        let before = known.clone();
        unfold(&mut known);
        assert_eq!(known, before);
    }
}
