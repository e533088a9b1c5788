use serde_json::{Value, json};

use super::{read, write};

#[track_caller]
fn check(text: &str, want: Value) {
    let document = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(document.value, want, "{text}");
    assert_eq!(document.duplicates, [""; 0], "{text}");
}

#[track_caller]
fn refused(text: &str, want: &str) {
    assert_eq!(read(text).unwrap_err().to_string(), want, "{text}");
}

#[test]
fn words_of_yaml_1_1() {
    for word in ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"] {
        check(word, json!(true));
        check(&format!("'{word}'"), json!(word));
        check(&format!("!!str {word}"), json!(word));
    }
    for word in ["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"] {
        check(word, json!(false));
    }
    for word in ["~", "null", "Null", "NULL", ""] {
        check(word, Value::Null);
    }
    for word in ["yES", "oN", "tRUE", "nULL", "yesterday", "-", "0x", "_1", "1:30:45"] {
        check(&format!("- {word}"), if word == "-" { json!([[null]]) } else { json!([word]) });
    }
    check("{yes: on}", json!({"true": true}));
}

#[test]
fn numbers_of_yaml_1_1() {
    check("0777", json!(511));
    check("0o17", json!(15));
    check("-0x1F", json!(-31));
    check("0b101", json!(5));
    check("1_000", json!(1000));
    check("+5", json!(5));
    // Not octal, so a float, and whole.
    check("089", json!(89));
    check("1.0", json!(1));
    check("1e3", json!(1000));
    check(".5", json!(0.5));
    check("1.", json!(1));
    check("9223372036854775808", json!(9_223_372_036_854_775_808_u64));
    check("-9223372036854775808", json!(i64::MIN));
    check("123456789012345678901234567890", json!(123_456_789_012_345_678_901_234_567_890.0));
    check("1e400", json!("1e400"));
    check("190:20:30", json!("190:20:30"));
    check("2001-12-14", json!("2001-12-14"));
    check("!!float 3", json!(3));
    check(
        "{1: a, 1.5: b, 0x10: c, 1e30: d}",
        json!({"1": "a", "1.5": "b", "16": "c", "1e+30": "d"}),
    );
    refused(".inf", "error converting YAML to JSON: json: unsupported value: +Inf");
    refused("!!int x", "error converting YAML to JSON: yaml: cannot decode !!str `x` as a !!int");
}

#[test]
fn aliases_and_merges() {
    check("a: &x {p: 1}\nb: *x", json!({"a": {"p": 1}, "b": {"p": 1}}));
    check("a: &x {p: 1}\nc: {<<: [{r: 1}, *x]}", json!({"a": {"p": 1}, "c": {"p": 1, "r": 1}}));
    // What is merged counts as set, which a strict reader objects to.
    let merged = read("a: &x {p: 1, q: 1}\nb: {<<: *x, q: 2}").unwrap();
    assert_eq!(merged.value["b"], json!({"p": 1, "q": 2}));
    assert_eq!(merged.duplicates, ["line 2: key \"q\" already set in map"]);
    let yaml = "error converting YAML to JSON: yaml: ";
    refused("a: *d", &format!("{yaml}unknown anchor 'd' referenced"));
    refused("a: &a [*a]", &format!("{yaml}anchor 'a' value contains itself"));
    refused("<<: 1", &format!("{yaml}map merge requires map or sequence of maps as the value"));
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let last = level - 1;
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{last}"); 10].join(",")
        ));
    }
    refused(&bomb, &format!("{yaml}document contains excessive aliasing"));
}

#[test]
fn what_has_no_form_in_json() {
    let yaml = "error converting YAML to JSON: yaml: ";
    refused(
        "image: {{ tag }}",
        &format!(
            "{yaml}invalid map key: map[interface {{}}]interface {{}}{{\"tag\":interface {{}}(nil)}}"
        ),
    );
    refused("a: b: c", &format!("{yaml}mapping values are not allowed in this context"));
    refused("x: 1\na: [b", &format!("{yaml}line 2: did not find expected ',' or ']'"));
    refused(
        "a: 1\n\tb: 2",
        &format!("{yaml}line 2: found a tab character that violates indentation"),
    );
    refused(&"[".repeat(200), &format!("{yaml}exceeded max depth"));
}

#[test]
fn keys_that_stand_there_twice() {
    let document = read("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").unwrap();
    assert_eq!(document.value, json!({"a": 3, "b": {"c": 2}}));
    assert_eq!(
        document.duplicate_keys().unwrap().to_string(),
        "error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"c\" already set \
         in map\n  line 5: key \"a\" already set in map"
    );
    assert_eq!(read(r#"{"a": 1, "a": 2}"#).unwrap().duplicates.len(), 1);
}

#[test]
fn only_the_first_document_counts() {
    check("a: 1\n---\nb: 2\n", json!({"a": 1}));
    check("--- 1\n...\n", json!(1));
    check("# nothing\n", Value::Null);
    check(r#"{"b": 1.0, "a": "yes"}"#, json!({"a": "yes", "b": 1}));
}

#[test]
fn what_is_written_is_read_back() {
    let texts = [
        "yes",
        "n",
        "0777",
        "1_000",
        "0o7",
        "1:30",
        "2001-12-14",
        "2001-12-14T00:00:00Z",
        "<<",
        "~",
        "",
        " x ",
        "a: b",
        "# c",
        "- d",
        "multi\nline\n",
        "trailing \nspace",
        "é\u{2028}",
        "\u{7f}",
        "'q'",
        "\"",
        "plain",
        ".5",
        "0x1F",
        "!tag",
        "&a",
        "*a",
        "%",
        "@",
        "`",
        "true",
    ];
    for text in texts {
        let written = write(&json!({"k": [text], text: text}));
        let back = read(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(back.value, json!({"k": [text], text: text}), "{written}");
    }
    assert_eq!(
        write(&json!({"b": [{"x": 1, "a": "on"}], "a": {}, "c": [], "d": 1.5, "e": "x\ny"})),
        "a: {}\nb:\n- a: \"on\"\n  x: 1\nc: []\nd: 1.5\ne: |-\n  x\n  y\n"
    );
    assert_eq!(write(&json!("2024-01-02T03:04:05Z")), "\"2024-01-02T03:04:05Z\"\n");
}

#[test]
fn text_in_a_block_ends_as_it_does() {
    let text = |yaml: &str| read(yaml).unwrap().value["t"].as_str().unwrap().to_owned();
    for (style, kept) in [("|", "\n"), (">", "\n"), ("|-", ""), ("|+", "\n\n")] {
        let begin = format!("t: {style}\n  a");
        assert_eq!(text(&begin), "a", "{style}");
        assert_eq!(text(&format!("{begin}\n\n")), format!("a{kept}"), "{style}");
        // Blanks beyond the indentation are text.
        assert_eq!(text(&format!("t: {style}\n  a\n   ")).replace('\n', ""), "a ", "{style}");
    }
    assert_eq!(text("t: |\n  a\n "), "a\n");
    assert_eq!(text("t: |+\n  a\n "), "a\n");
    assert_eq!(text("t: |+\n  a\n\n# end"), "a\n\n");
    assert_eq!(text("t: >\n  a\n  b"), "a b");
}

#[test]
fn what_is_meant_is_read_and_written() {
    let map: std::collections::BTreeMap<String, u8> = super::from_str("{b: 2, a: 0x1}").unwrap();
    assert_eq!(super::to_string(&map).unwrap(), "a: 1\nb: 2\n");
    let refused = |text| super::from_str::<Vec<u8>>(text).unwrap_err().to_string();
    assert!(refused("[1, x]").starts_with("error converting YAML to JSON: invalid type"));
    assert!(refused("[{a: 1, a: 2}]").contains("already set in map"));
}
