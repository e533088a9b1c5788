//! What documents of several servers are merged to.

use serde_json::json;

use super::*;

/// A document with paths that each have a body of a definition.
fn document(paths: &[(&str, &str)], definitions: Value) -> Value {
    let item = |definition: &str| {
        json!({"post": {"parameters": [
            {"in": "body", "name": "body", "schema": {"$ref": format!("#/definitions/{definition}")}}
        ]}})
    };
    let paths: Map<String, Value> =
        paths.iter().map(|(path, definition)| ((*path).to_owned(), item(definition))).collect();
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths,
        "definitions": definitions})
}

fn merged(own: &Value, others: &[Value]) -> Value {
    let bytes = merge(own.to_string().as_bytes(), others).expect("a document");
    serde_json::from_slice(&bytes).expect("a document")
}

#[test]
fn paths_are_kept_with_what_they_need() {
    let mut given = document(
        &[("/apis/a/v1/things", "A"), ("/apis/b/v1/things", "B")],
        json!({
            "A": {"properties": {"b": {"$ref": "#/definitions/Shared"}, "$ref": {"type": "string"}}},
            "B": {"items": {"$ref": "#/definitions/OfB"}},
            "OfB": {"properties": {"again": {"$ref": "#/definitions/B"}}},
            "Shared": {"default": {"$ref": "#/definitions/OfB"}},
            "Unused": {"type": "object"},
        }),
    );
    given["parameters"] = json!({"p": {"in": "query"}, "q": {"in": "query"}});
    given["paths"]["/apis/a/v1/things"]["parameters"] = json!([{"$ref": "#/parameters/p"}]);
    given["paths"]["/apis/b/v1/things"]["parameters"] = json!([{"$ref": "#/parameters/q"}]);
    keep_paths(&mut given, |path| path.starts_with("/apis/a/v1/"));
    let names = |section: &str| -> Vec<&str> {
        given[section].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    };
    assert_eq!(names("paths"), ["/apis/a/v1/things"]);
    assert_eq!(names("definitions"), ["A", "Shared", "Unused"]);
    assert_eq!(names("parameters"), ["p"]);
}

#[test]
fn paths_that_are_there_stay() {
    let own = document(&[("/a", "A")], json!({"A": {"type": "string"}}));
    assert_eq!(merged(&own, &[json!({}), json!({"paths": {}}), json!([])]), own);
    let other = document(&[("/a", "X"), ("/b", "Y")], json!({"X": {}, "Y": {"type": "object"}}));
    let all = merged(&own, &[other]);
    assert_eq!(all["paths"]["/a"], own["paths"]["/a"]);
    let names: Vec<&String> = all["definitions"].as_object().expect("an object").keys().collect();
    assert_eq!(names, ["A", "Y"], "what only a path needs that is there is left out");
}

#[test]
fn definitions_of_one_name_are_renamed_unless_they_are_the_same() {
    let own = document(
        &[("/a", "A")],
        json!({"A": {"type": "string"}, "A_v2": {"type": "boolean"}, "Same": {"type": "object"}}),
    );
    let other = document(
        &[("/b", "A"), ("/c", "Same")],
        json!({"A": {"properties": {"s": {"$ref": "#/definitions/A"}}}, "Same": {"type": "object"}}),
    );
    let all = merged(&own, &[other]);
    let body = |path: &str| all["paths"][path]["post"]["parameters"][0]["schema"]["$ref"].clone();
    assert_eq!(body("/a"), "#/definitions/A");
    assert_eq!(body("/b"), "#/definitions/A_v3");
    assert_eq!(body("/c"), "#/definitions/Same");
    let of_b = &all["definitions"]["A_v3"];
    assert_eq!(of_b["properties"]["s"]["$ref"], "#/definitions/A_v3");
    assert_eq!(all["definitions"]["A"], json!({"type": "string"}));

    // What got another name already is used again.
    let flat = |path: &str| document(&[(path, "A")], json!({"A": {"type": "integer"}}));
    let all = merged(&own, &[flat("/b"), flat("/c")]);
    let body = |path: &str| all["paths"][path]["post"]["parameters"][0]["schema"]["$ref"].clone();
    assert_eq!(
        (body("/b"), body("/c")),
        ("#/definitions/A_v3".into(), "#/definitions/A_v3".into())
    );
}

#[test]
fn the_same_definition_is_of_all_kinds() {
    let kind = |kind: &str| json!({"group": "", "version": "v1", "kind": kind});
    let own = document(&[("/a", "A")], json!({"A": {"type": "object", GVK: [kind("A")]}}));
    let other =
        document(&[("/b", "A")], json!({"A": {GVK: [kind("A"), kind("B")], "type": "object"}}));
    let all = merged(&own, &[other]);
    assert_eq!(all["definitions"]["A"][GVK], json!([kind("A"), kind("B")]));
    assert_eq!(all["definitions"].as_object().map(Map::len), Some(1));
}

#[test]
fn parameters_of_one_name_are_renamed() {
    let with = |path: &str, kind: &str| {
        let mut document = document(&[(path, "A")], json!({"A": {}}));
        document["parameters"] = json!({"limit": {"in": "query", "type": kind}});
        document["paths"][path]["parameters"] = json!([{"$ref": "#/parameters/limit"}]);
        document
    };
    let all = merged(&with("/a", "integer"), &[with("/b", "string")]);
    assert_eq!(all["paths"]["/b"]["parameters"][0]["$ref"], "#/parameters/limit_v2");
    assert_eq!(all["parameters"]["limit_v2"]["type"], "string");
    assert_eq!(all["parameters"]["limit"]["type"], "integer");
}
