use serde_json::json;

use super::*;

#[test]
fn label_texts() {
    let check = |text: &str, canonical: &str| {
        let selector = LabelSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.to_string(), canonical, "{text}");
    };
    check("", "");
    check("a=b", "a=b");
    check(" b == c , a", "a,b==c");
    check("x in (b, a),!y", "x in (a,b),!y");
    check("in in (in)", "in in (in)");
    check("a=,b!=c", "a=,b!=c");
    check("a>1,b<2", "a>1,b<2");
    check("a in (,b)", "a in (,b)");
    check("example.com/x=1", "example.com/x=1");
}

#[test]
fn label_errors() {
    let check = |text: &str, expected: &str| {
        let error = LabelSelector::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    };
    check(",a", "found ',', expected: !, identifier, or 'end of string'");
    check("a,", "found '', expected: identifier after ','");
    check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
    check("a in b", "unable to parse requirement: found 'b' expected: '('");
    check("!", "unable to parse requirement: found '', expected: identifier");
    check("a=b=c", "found '=', expected: ',' or 'end of string'");
    check(
        "a>x",
        r#"unable to parse requirement: values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer"#,
    );
    let error = LabelSelector::parse("-x").unwrap_err().to_string();
    assert!(
        error.starts_with(
            r#"unable to parse requirement: <nil>: Invalid value: "-x": name part must consist of"#
        ),
        "{error}"
    );
    let error = LabelSelector::parse("a=-").unwrap_err().to_string();
    assert!(
        error.starts_with(
            r#"unable to parse requirement: values[0][a]: Invalid value: "-": a valid label must"#
        ),
        "{error}"
    );
}

#[test]
fn label_matching() {
    let labels = [("a", "1"), ("b", "x")];
    let check = |text: &str, expected: bool| {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels[..]), expected, "{text}");
    };
    check("", true);
    check("a=1", true);
    check("a==2", false);
    check("a!=2,c!=1", true);
    check("b in (x,y)", true);
    check("b notin (x)", false);
    check("c notin (x)", true);
    check("a,!c", true);
    check("c", false);
    check("a>0", true);
    check("a<1", false);
    check("b>0", false);
}

#[test]
fn object_form() {
    let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
        {"key": "c", "operator": "NotIn", "values": ["e", "d"]}, {"key": "f", "operator": "Exists"}]});
    let parsed = LabelSelector::from_value(Some(&selector)).unwrap();
    assert_eq!(parsed.to_string(), "a=b,c notin (d,e),f");
    assert!(LabelSelector::from_value(None).unwrap().is_nothing());
    assert!(LabelSelector::from_value(Some(&json!({}))).unwrap().is_everything());
    let bad = json!({"matchExpressions": [{"key": "c", "operator": "Like"}]});
    assert_eq!(
        LabelSelector::from_value(Some(&bad)).unwrap_err().to_string(),
        r#""Like" is not a valid label selector operator"#
    );
    assert!(LabelSelector::from_map(Some(&json!({}))).is_nothing());
    assert!(LabelSelector::from_map(Some(&json!({"a": "b"}))).matches(&[("a", "b")][..]));
}

#[test]
fn field_selectors() {
    let parsed = FieldSelector::parse(r"metadata.name=a\,b,status.phase!=Running").unwrap();
    assert_eq!(parsed.exact("metadata.name"), Some("a,b"));
    assert_eq!(parsed.to_string(), r"metadata.name=a\,b,status.phase!=Running");
    assert!(parsed.matches(|f| (f == "metadata.name").then_some("a,b")));
    assert!(!parsed.matches(|f| Some(if f == "metadata.name" { "a,b" } else { "Running" })));
    assert!(FieldSelector::parse("").unwrap().is_everything());
    assert_eq!(
        FieldSelector::parse("a=b,foo").unwrap_err().to_string(),
        "invalid selector: 'a=b,foo'; can't understand 'foo'"
    );
}
