//! The Swagger document as protobuf.
//!
//! Go's discovery client, and through it Helm and older kubectl, asks for version 2 in the
//! protobuf form of the gnostic project (`openapi.v2.Document`) and cannot read anything
//! else. Field numbers below are those of its `OpenAPIv2.proto`.
//!
//! The document is converted part by part, so that its tree never exists as a whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The input was no document of [`super::v2`].
#[derive(Debug, thiserror::Error)]
#[error("converting the OpenAPI document: {0}")]
pub struct ConversionError(#[from] serde_json::Error);

/// The members in use; the others are written neither by [`super::v2`] nor by [`super::merge`].
#[derive(Deserialize)]
struct Document<'d> {
    swagger: String,
    info: Info,
    #[serde(borrow)]
    paths: BTreeMap<String, &'d RawValue>,
    #[serde(borrow)]
    definitions: BTreeMap<String, &'d RawValue>,
    #[serde(borrow, default)]
    parameters: BTreeMap<String, &'d RawValue>,
    #[serde(default)]
    security: Vec<BTreeMap<String, Vec<String>>>,
    #[serde(default, rename = "securityDefinitions")]
    security_definitions: BTreeMap<String, ApiKey>,
}

#[derive(Deserialize)]
struct Info {
    title: String,
    version: String,
}

#[derive(Deserialize)]
struct ApiKey {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(rename = "in")]
    place: String,
    description: String,
}

/// Converts the document of [`super::v2`] or of [`super::merge`] for
/// `application/com.github.proto-openapi.spec.v2.v1.0+protobuf`.
///
/// # Errors
/// Input that neither of them wrote.
pub fn v2_protobuf(json: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let document: Document<'_> = serde_json::from_slice(json)?;
    let mut out = Message(Vec::with_capacity(json.len() / 2));
    out.string(1, &document.swagger);
    out.message(2, |out| {
        out.string(1, &document.info.title);
        out.string(2, &document.info.version);
    });
    let mut failure = None;
    let mut parts = |out: &mut Message, tag, parts: BTreeMap<String, &RawValue>, write: Part| {
        for (name, part) in parts {
            match serde_json::from_str::<Value>(part.get()) {
                Ok(part) => out.message(tag, |out| {
                    out.string(1, &name);
                    out.message(2, |out| write(out, &part));
                }),
                Err(error) => failure = Some(error),
            }
        }
    };
    out.message(8, |out| parts(out, 2, document.paths, path_item));
    out.message(9, |out| parts(out, 1, document.definitions, schema));
    if !document.parameters.is_empty() {
        out.message(10, |out| parts(out, 1, document.parameters, parameter));
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    for requirement in &document.security {
        out.message(12, |out| {
            for (name, scopes) in requirement {
                out.message(1, |out| {
                    out.string(1, name);
                    out.message(2, |out| scopes.iter().for_each(|scope| out.string(1, scope)));
                });
            }
        });
    }
    out.message(13, |out| {
        for (name, key) in &document.security_definitions {
            out.message(1, |out| {
                out.string(1, name);
                out.message(2, |out| {
                    out.message(2, |out| {
                        out.string(1, &key.kind);
                        out.string(2, &key.name);
                        out.string(3, &key.place);
                        out.string(4, &key.description);
                    });
                });
            });
        }
    });
    Ok(out.0)
}

type Part = fn(&mut Message, &Value);

fn path_item(out: &mut Message, item: &Value) {
    for (method, tag) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if let Some(operation_value) = item.get(method) {
            out.message(tag, |out| operation(out, operation_value));
        }
    }
    for value in elements(item, "parameters") {
        out.message(9, |out| own_parameter(out, value));
    }
}

fn operation(out: &mut Message, operation: &Value) {
    out.strings(1, operation, "tags");
    out.member(3, operation, "description");
    out.member(5, operation, "operationId");
    out.strings(6, operation, "produces");
    out.strings(7, operation, "consumes");
    for value in elements(operation, "parameters") {
        out.message(8, |out| own_parameter(out, value));
    }
    out.message(9, |out| {
        for (code, response) in operation["responses"].as_object().into_iter().flatten() {
            out.message(1, |out| {
                out.string(1, code);
                out.message(2, |out| {
                    out.message(1, |out| {
                        out.member(1, response, "description");
                        if let Some(value) = response.get("schema") {
                            out.message(2, |out| out.message(1, |out| schema(out, value)));
                        }
                    });
                });
            });
        }
    });
    out.strings(10, operation, "schemes");
    out.extensions(13, operation);
}

/// A parameter, or a reference to one.
fn own_parameter(out: &mut Message, value: &Value) {
    match value.get("$ref") {
        Some(_) => out.message(2, |out| out.member(1, value, "$ref")),
        None => out.message(1, |out| parameter(out, value)),
    }
}

fn parameter(out: &mut Message, parameter: &Value) {
    let place = parameter["in"].as_str().unwrap_or_default();
    if place == "body" {
        out.message(1, |out| {
            out.member(1, parameter, "description");
            out.member(2, parameter, "name");
            out.member(3, parameter, "in");
            out.boolean(4, parameter, "required");
            out.message(5, |out| schema(out, &parameter["schema"]));
        });
        return;
    }
    // In a query a member about empty values stands before the type.
    let (alternative, type_tag, unique_tag) = match place {
        "header" => (1, 5, 19),
        "path" => (4, 5, 19),
        _ => (3, 6, 20),
    };
    out.message(2, |out| {
        out.message(alternative, |out| {
            out.boolean(1, parameter, "required");
            out.member(2, parameter, "in");
            out.member(3, parameter, "description");
            out.member(4, parameter, "name");
            out.member(type_tag, parameter, "type");
            out.boolean(unique_tag, parameter, "uniqueItems");
        });
    });
}

fn schema(out: &mut Message, value: &Value) {
    out.member(1, value, "$ref");
    out.member(2, value, "format");
    out.member(4, value, "description");
    out.strings(19, value, "required");
    for allowed in elements(value, "enum") {
        out.message(20, |out| out.string(2, &allowed.to_string()));
    }
    if let Some(inner) = value.get("additionalProperties") {
        out.message(21, |out| out.message(1, |out| schema(out, inner)));
    }
    if value.get("type").is_some() {
        out.message(22, |out| out.member(1, value, "type"));
    }
    if let Some(inner) = value.get("items") {
        out.message(23, |out| out.message(1, |out| schema(out, inner)));
    }
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        out.message(25, |out| {
            for (name, inner) in properties {
                out.message(1, |out| {
                    out.string(1, name);
                    out.message(2, |out| schema(out, inner));
                });
            }
        });
    }
    out.extensions(31, value);
}

fn elements<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A protobuf message in the making.
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn string(&mut self, tag: u32, text: &str) {
        self.varint(u64::from(tag << 3 | 2));
        self.varint(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn message(&mut self, tag: u32, content: impl FnOnce(&mut Message)) {
        let mut inner = Message(Vec::new());
        content(&mut inner);
        self.varint(u64::from(tag << 3 | 2));
        self.varint(inner.0.len() as u64);
        self.0.extend_from_slice(&inner.0);
    }

    /// A string member, if it is there.
    fn member(&mut self, tag: u32, value: &Value, name: &str) {
        if let Some(text) = value.get(name).and_then(Value::as_str) {
            self.string(tag, text);
        }
    }

    fn strings(&mut self, tag: u32, value: &Value, name: &str) {
        for text in elements(value, name).filter_map(Value::as_str) {
            self.string(tag, text);
        }
    }

    fn boolean(&mut self, tag: u32, value: &Value, name: &str) {
        if value.get(name) == Some(&Value::Bool(true)) {
            self.varint(u64::from(tag << 3));
            self.varint(1);
        }
    }

    /// Vendor extensions travel as YAML, of which JSON is a part.
    fn extensions(&mut self, tag: u32, value: &Value) {
        for (name, extension) in value.as_object().into_iter().flatten() {
            if name.starts_with("x-") {
                self.message(tag, |out| {
                    out.string(1, name);
                    out.message(2, |out| out.string(2, &format!("{extension}\n")));
                });
            }
        }
    }
}
