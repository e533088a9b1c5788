//! Nothing that is fed to the compiler or the evaluator makes it panic or hang.

use std::collections::BTreeMap;

use cel::{Env, PER_CALL_LIMIT, Type, Value};
use proptest::prelude::*;

fn run(source: &str) {
    let env = Env::new().with("x", Type::Dyn).with("s", Type::String);
    let variables = BTreeMap::from([
        ("x".to_owned(), Value::from_json(&serde_json::json!({"a": [1, "b", null, {"c": 1.5}]}))),
        ("s".to_owned(), Value::string("text é")),
    ]);
    if let Ok(program) = env.compile(source) {
        program.evaluate(&variables, PER_CALL_LIMIT);
    }
}

#[track_caller]
fn refused(source: &str, part: &str) {
    let error = Env::new().with("x", Type::Dyn).compile(source).expect_err("too much").to_string();
    assert!(error.contains(part), "{}", error.chars().take(300).collect::<String>());
}

#[test]
fn deep_and_large_expressions_are_refused() {
    let limit = "expression recursion limit exceeded: 250";
    for (open, middle, close) in [
        ("(", "x", ")"),
        ("[", "x", "]"),
        ("-(", "x", ")"),
        ("!(", "x", ")"),
        ("{1: ", "x", "}"),
        ("x[", "x", "]"),
        ("size(", "x", ")"),
        ("x.all(y, ", "x", ")"),
        ("x ? x : (", "x", ")"),
    ] {
        refused(&format!("{}{middle}{}", open.repeat(5000), close.repeat(5000)), limit);
    }
    refused(&format!("x{}", " + x".repeat(5000)), limit);
    refused(&format!("x{}", ".a".repeat(5000)), limit);
    refused(&format!("x{}", "[0]".repeat(5000)), limit);
    refused(&format!("{}x", "x ? x : ".repeat(5000)), limit);
    refused(&"(x + ".repeat(5000), limit);
    refused(
        &"x".repeat(100_001),
        "expression code point size exceeds limit: size: 100001, limit 100000",
    );
}

#[test]
fn nesting_within_the_limit_is_evaluated() {
    run(&format!("{}x{}", "(".repeat(249), ")".repeat(249)));
    run(&format!("{}1{}", "-(".repeat(240), ")".repeat(240)));
    run(&format!("{}true{}", "[1].all(y, ".repeat(120), ")".repeat(120)));
    run(&format!("{}x{}", "optional.of(x).optMap(y, ".repeat(60), ")".repeat(60)));
    // Logic of any length is a flat tree.
    let source = vec!["true"; 10_000].join(" && ");
    let program = Env::new().compile(&source).expect("long logic");
    let result = program.evaluate(&BTreeMap::new(), PER_CALL_LIMIT).result;
    assert!(matches!(result, Ok(Value::Bool(true))));
}

#[test]
fn regular_expressions_are_bounded() {
    refused("'a'.matches('(a{1000}){1000}')", "invalid matches argument");
    run("s.matches('(a{1000}){1000}' + s)");
    run("s.matches('(a+)+$')");
    run("lists.range(1000).all(i, s.matches(string(i)))");
}

#[test]
fn results_are_bounded() {
    let source = "['x'].map(a, lists.range(100000).map(i, 'aaaaaaaaaa').join(''))\
                  .map(b, b.replace('', b)).size() == 1";
    let program = Env::new().compile(source).expect(source);
    assert!(program.evaluate(&BTreeMap::new(), u64::MAX).result.is_err());
}

proptest! {
    #[test]
    fn arbitrary_text(source in "\\PC{0,60}") {
        run(&source);
    }

    #[test]
    fn arbitrary_tokens(tokens in prop::collection::vec(
        prop::sample::select(vec![
            "x", "s", "1", "2u", "1.5", "'a'", "b'a'", "true", "null", "(", ")", "[", "]", "{", "}",
            ".", ",", ":", "?", "+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "!",
            " in ", "has(", ".all(x,", ".map(y,", ".exists(i, v,", ".optMap(z,", ".?a", "[?", "size(",
            ".a", "[0]", ".format([", "duration('1s')", "timestamp(0)", "quantity('1')", "optional.none()",
            ".matches(s)", ".split('')", ".substring(", ".sortBy(q,", ".transformMap(k, v,", "type(", "dyn(",
        ]), 0..24))
    {
        run(&tokens.concat());
    }

    #[test]
    fn arbitrary_arithmetic(a in any::<i64>(), b in any::<i64>(), op in "[-+*/%]") {
        run(&format!("{a} {op} {b} == dyn({a}).value()"));
        run(&format!("'héllo'.substring({a}, {b})"));
        run(&format!("[1, 2].slice({a}, {b})"));
        run(&format!("timestamp({a}) - timestamp({b})"));
        run(&format!("'héllo'.lastIndexOf('l', {a}) + 'héllo'.indexOf('é', {b})"));
    }
}
