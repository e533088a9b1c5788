//! What `kubectl get` prints of custom objects.

use std::sync::Arc;

use machinery::time::{self, Timestamp};
use machinery::{Value, meta};
use resources::{ColumnDefinition, Columns};
use serde_json::json;

use crate::jsonpath::JsonPath;

const NAME: &str = "What the object is called: unique among its kind in its namespace.";
const CREATED: &str = "Time since the object was created.";

struct Column {
    kind: String,
    path: Option<JsonPath>,
}

/// The columns of a version: the name, then those of `additionalPrinterColumns`, or else the age.
pub fn columns(additional: Option<&Value>) -> Columns {
    let mut definitions = vec![ColumnDefinition {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: NAME.into(),
        priority: 0,
    }];
    let mut columns = Vec::new();
    let declared = additional.and_then(Value::as_array).filter(|columns| !columns.is_empty());
    match declared {
        Some(declared) => {
            for column in declared {
                let text = |name: &str| {
                    column.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let priority = column.get("priority").and_then(Value::as_i64).unwrap_or_default();
                let description = match text("description") {
                    none if none.is_empty() => {
                        format!(
                            "Custom resource definition column (in JSONPath format): {}",
                            text("jsonPath")
                        )
                    }
                    given => given,
                };
                definitions.push(ColumnDefinition {
                    name: text("name").into(),
                    kind: text("type").into(),
                    format: text("format").into(),
                    description: description.into(),
                    priority: i32::try_from(priority).unwrap_or_default(),
                });
                let path = JsonPath::parse(&text("jsonPath")).ok();
                columns.push(Column { kind: text("type"), path });
            }
        }
        None => {
            definitions.push(ColumnDefinition {
                name: "Age".into(),
                kind: "date".into(),
                format: "".into(),
                description: CREATED.into(),
                priority: 0,
            });
            let path = JsonPath::parse(".metadata.creationTimestamp").ok();
            columns.push(Column { kind: "date".to_owned(), path });
        }
    }
    let cells = move |object: &Value, now: Timestamp| {
        let mut cells = vec![json!(meta::name(object))];
        cells.extend(columns.iter().map(|column| column.cell(object, now)));
        cells
    };
    Columns { definitions, cells: Arc::new(cells) }
}

impl Column {
    /// The first value that the path leads to, if it is of the column's type.
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.as_ref().map(|path| path.find(object)).unwrap_or_default();
        let Some(value) = found.first() else { return Value::Null };
        match (self.kind.as_str(), value) {
            ("integer", Value::Number(number)) => match number.as_i64() {
                Some(whole) => whole.into(),
                None => number.as_f64().map_or(Value::Null, |float| (float as i64).into()),
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*value).clone(),
            ("string", value) => printed(value).into(),
            ("date", Value::String(text)) if matches!(text.as_str(), "" | "null") => {
                "<unknown>".into()
            }
            ("date", Value::String(text)) => match time::parse(text) {
                Some(at) => time::age(at, now).into(),
                None => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

/// A value in a column of texts, as Go prints it.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".to_owned(),
        Value::Number(number) if number.is_f64() => {
            cel::double_text(number.as_f64().unwrap_or(f64::NAN))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells() {
        let columns = columns(Some(&json!([
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Host", "type": "string", "jsonPath": ".spec.hosts[0]", "priority": 1},
            {"name": "Map", "type": "string", "jsonPath": ".spec.map"},
            {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
            {"name": "Since", "type": "date", "jsonPath": ".spec.since"},
            {"name": "Wrong", "type": "integer", "jsonPath": ".spec.hosts"},
        ])));
        let names: Vec<&str> = columns.definitions.iter().map(|d| &*d.name).collect();
        assert_eq!(names, ["Name", "Replicas", "Host", "Map", "On", "Since", "Wrong"]);
        assert_eq!(columns.definitions[2].priority, 1);
        let object = json!({"metadata": {"name": "x"}, "spec": {"replicas": 3, "hosts": ["a", "b"],
            "map": {"k": 1}, "on": true, "since": "2020-01-01T00:00:00Z"}});
        let now = time::parse("2020-01-01T00:00:05Z").unwrap();
        let cells = (columns.cells)(&object, now);
        assert_eq!(json!(cells), json!(["x", 3, "a", "{\"k\":1}", true, "5s", null]));
        assert_eq!(super::columns(None).definitions[1].name, "Age");
    }

    #[test]
    fn cells_of_odd_values() {
        let cell = |kind: &str, value: Value| {
            let declared = json!([{"name": "C", "type": kind, "jsonPath": ".v"}]);
            let now = time::parse("2020-01-01T00:00:05Z").unwrap();
            (columns(Some(&declared)).cells)(&json!({"v": value}), now)[1].clone()
        };
        assert_eq!(cell("string", Value::Null), "<no value>");
        assert_eq!(cell("string", json!(1.5)), "1.5");
        assert_eq!(cell("string", json!(2_500_000.0)), "2.5e+06");
        assert_eq!(cell("string", json!(2_500_000)), "2500000");
        assert_eq!(cell("string", json!(true)), "true");
        assert_eq!(cell("string", json!(["a", 1])), r#"["a",1]"#);
        assert_eq!(cell("integer", json!(2.7)), 2);
        assert_eq!(cell("integer", json!("2")), Value::Null);
        assert_eq!(cell("number", json!(2)), 2);
        assert_eq!(cell("boolean", json!("true")), Value::Null);
        assert_eq!(cell("date", json!("")), "<unknown>");
        assert_eq!(cell("date", json!("yesterday")), "<invalid>");
        assert_eq!(cell("date", json!(5)), Value::Null);
    }
}
