use machinery::Value;
use serde_json::json;

use super::{go_float, validate};
use crate::structural::Structural;

fn schema(yaml: &str) -> Structural {
    Structural::new(&serde_yaml::from_str::<Value>(yaml).unwrap())
}

#[track_caller]
fn check(property: &str, value: Value, expected: &[&str]) {
    let schema = schema(&format!("{{type: object, properties: {{x: {property}}}}}"));
    let errors = validate(&json!({"x": value}), &schema, None);
    let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{property}");
}

#[test]
fn types() {
    let wrong = r#"x: Invalid value: "string": x in body must be of type integer: "string""#;
    check("{type: integer}", json!("a"), &[wrong]);
    check("{type: integer}", json!(1), &[]);
    check("{type: integer}", json!(1.0), &[]);
    let wrong = r#"x: Invalid value: "number": x in body must be of type integer: "number""#;
    check("{type: integer}", json!(1.5), &[wrong]);
    check("{type: number}", json!(1), &[]);
    let wrong = r#"x: Invalid value: "null": x in body must be of type object: "null""#;
    check("{type: object}", json!(null), &[wrong]);
    check("{type: object, nullable: true}", json!(null), &[]);
    check("{x-kubernetes-int-or-string: true}", json!("a"), &[]);
    let wrong =
        r#"x: Invalid value: "boolean": x in body must be of type integer,string: "boolean""#;
    check("{x-kubernetes-int-or-string: true}", json!(true), &[wrong]);
    let wrong = r#"x: Invalid value: "int64": x in body must be of type date-time: "int64""#;
    check("{type: string, format: date-time}", json!(5), &[wrong]);
}

#[test]
fn texts() {
    check(
        "{type: string, maxLength: 2}",
        json!("abc"),
        &["x: Too long: may not be more than 2 bytes"],
    );
    let short = r#"x: Invalid value: "a": x in body should be at least 2 chars long"#;
    check("{type: string, minLength: 2}", json!("a"), &[short]);
    let pattern = r#"x: Invalid value: "a": x in body should match '^b$'"#;
    check("{type: string, pattern: ^b$}", json!("a"), &[pattern]);
    let format = r#"x: Invalid value: "soon": x in body must be of type date: "soon""#;
    check("{type: string, format: date}", json!("soon"), &[format]);
    check("{type: string, format: unheard-of}", json!("soon"), &[]);
    let listed = r#"x: Unsupported value: "c": supported values: "a", "b""#;
    check("{type: string, enum: [a, b]}", json!("c"), &[listed]);
    check(
        "{type: integer, enum: [1, 2]}",
        json!(3),
        &[r#"x: Unsupported value: 3: supported values: "1", "2""#],
    );
}

#[test]
fn numbers() {
    let most = "x: Invalid value: 11: x in body should be less than or equal to 10";
    check("{type: integer, maximum: 10}", json!(11), &[most]);
    let below = "x: Invalid value: 10: x in body should be less than 10";
    check("{type: integer, maximum: 10, exclusiveMaximum: true}", json!(10), &[below]);
    let least = "x: Invalid value: 0: x in body should be greater than or equal to 1";
    check("{type: integer, minimum: 1}", json!(0), &[least]);
    let multiple = "x: Invalid value: 3: x in body should be a multiple of 2";
    check("{type: integer, multipleOf: 2}", json!(3), &[multiple]);
    assert_eq!(go_float(10.0), "10");
    assert_eq!(go_float(0.5), "0.5");
    assert_eq!(go_float(1e6), "1e+06");
    assert_eq!(go_float(123_456.0), "123456");
    assert_eq!(go_float(2_147_483_647.0), "2.147483647e+09");
}

#[test]
fn lists_and_objects() {
    let few = "x: Invalid value: 0: x in body should have at least 1 items";
    check("{type: array, minItems: 1, items: {type: string}}", json!([]), &[few]);
    let many = "x: Too many: 2: must have at most 1 item";
    check("{type: array, maxItems: 1, items: {type: string}}", json!(["a", "b"]), &[many]);
    let item = r#"x[1]: Invalid value: "integer": x[1] in body must be of type string: "integer""#;
    check("{type: array, items: {type: string}}", json!(["a", 1]), &[item]);
    check("{type: object, required: [a]}", json!({}), &["x.a: Required value"]);
    let few = "x: Invalid value: 0: x in body should have at least 1 properties";
    check("{type: object, minProperties: 1}", json!({}), &[few]);
    let entry = r#"x.k: Invalid value: "integer": x.k in body must be of type string: "integer""#;
    check("{type: object, additionalProperties: {type: string}}", json!({"k": 1}), &[entry]);
    let root = schema("{type: object, required: [spec]}");
    let errors = validate(&json!({}), &root, None);
    assert_eq!(errors[0].to_string(), "spec: Required value");
}

#[test]
fn alternatives() {
    let one = "{type: object, oneOf: [{required: [a]}, {required: [b]}]}";
    check(one, json!({"a": 1}), &[]);
    check(
        one,
        json!({"a": 1, "b": 1}),
        &[
            r#"<nil>: Invalid value: "": "x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ],
    );
    check(
        one,
        json!({}),
        &[
            r#"<nil>: Invalid value: "": "x" must validate one and only one schema (oneOf). Found none valid"#,
            "x.a: Required value",
        ],
    );
    check(
        "{type: integer, allOf: [{minimum: 3}, {maximum: 5}]}",
        json!(6),
        &[
            "x: Invalid value: 6: x in body should be less than or equal to 5",
            r#"<nil>: Invalid value: "": "x" must validate all the schemas (allOf)"#,
        ],
    );
    check(
        "{type: string, not: {enum: [a]}}",
        json!("a"),
        &[r#"<nil>: Invalid value: "": "x" must not validate the schema (not)"#],
    );
    check(
        "{type: string, anyOf: [{pattern: ^a}, {pattern: ^b}]}",
        json!("c"),
        &[
            r#"<nil>: Invalid value: "": "x" must validate at least one schema (anyOf)"#,
            r#"x: Invalid value: "c": x in body should match '^a'"#,
        ],
    );
}

#[test]
fn what_did_not_change_is_not_checked_again() {
    let schema = schema(
        "{type: object, properties: {
            a: {type: integer, maximum: 3}, b: {type: string},
            list: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k],
              items: {type: object, properties: {k: {type: string}, v: {type: integer, maximum: 3}}}},
            plain: {type: array, items: {type: integer, maximum: 3}}}}",
    );
    let old = json!({"a": 5, "b": "x", "list": [{"k": "a", "v": 9}], "plain": [7]});
    let check = |new: Value, expected: &[&str]| {
        let errors = validate(&new, &schema, Some(&old));
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, expected, "{new}");
    };
    check(json!({"a": 5, "b": "y", "list": [{"k": "a", "v": 9}], "plain": [7]}), &[]);
    check(json!({"a": 6, "b": "x"}), &["a"]);
    check(json!({"list": [{"k": "b", "v": 1}, {"k": "a", "v": 9}]}), &[]);
    check(json!({"list": [{"k": "b", "v": 9}, {"k": "a", "v": 9}]}), &["list[0].v"]);
    check(json!({"plain": [7, 1]}), &["plain[0]"]);
}
