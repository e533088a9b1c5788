//! What is wrong with expressions, in upstream's words.

use std::collections::BTreeMap;

use cel::{Env, PER_CALL_LIMIT, Type, Value};

fn env() -> Env {
    Env::new()
        .with("x", Type::Int)
        .with("s", Type::String)
        .with("m", Type::map(Type::String, Type::Int))
        .with("l", Type::list(Type::Int))
        .with("d", Type::Dyn)
        .with("o", Type::optional(Type::Int))
}

#[track_caller]
fn check_compile(source: &str, expected: &str) {
    let error = env().compile(source).expect_err(source).to_string();
    assert_eq!(error, expected, "{source}");
}

#[track_caller]
fn check_eval(source: &str, expected: &str) {
    let program = env().compile(source).expect(source);
    let variables = BTreeMap::from([
        ("x".to_owned(), Value::Int(1)),
        ("s".to_owned(), Value::string("text")),
        ("l".to_owned(), Value::list(vec![Value::Int(1)])),
        ("m".to_owned(), Value::from_json(&serde_json::json!({"a": 1}))),
        ("d".to_owned(), Value::from_json(&serde_json::json!({"a": 1}))),
        ("o".to_owned(), Value::none()),
    ]);
    let error = program.evaluate(&variables, PER_CALL_LIMIT).result.expect_err(source);
    assert_eq!(error.to_string(), expected, "{source}");
}

#[test]
fn compile_errors() {
    for (source, expected) in [
        ("y", "ERROR: <input>:1:1: undeclared reference to 'y' (in container '')\n | y\n | ^"),
        (
            "x.foo",
            "ERROR: <input>:1:2: type 'int' does not support field selection\n | x.foo\n | .^",
        ),
        (
            "x + s",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | x + s\n | ..^",
        ),
        (
            "s.foo()",
            "ERROR: <input>:1:6: undeclared reference to 'foo' (in container '')\n | s.foo()\n | .....^",
        ),
        (
            "s.startsWith(1)",
            "ERROR: <input>:1:13: found no matching overload for 'startsWith' applied to 'string.(int)'\n | s.startsWith(1)\n | ............^",
        ),
        (
            "size(1)",
            "ERROR: <input>:1:5: found no matching overload for 'size' applied to '(int)'\n | size(1)\n | ....^",
        ),
        (
            "[1, 'a']",
            "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^",
        ),
        (
            "{'a': 1, 'b': 'c'}",
            "ERROR: <input>:1:15: expected type 'int' but found 'string'\n | {'a': 1, 'b': 'c'}\n | ..............^",
        ),
        (
            "x.all(y, true)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | x.all(y, true)\n | ^",
        ),
        (
            "l.all(y.z, true)",
            "ERROR: <input>:1:8: argument must be a simple name\n | l.all(y.z, true)\n | .......^",
        ),
        ("has(x)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(x)\n | ....^"),
        (
            "this does not compile",
            "ERROR: <input>:1:6: Syntax error: mismatched input 'does' expecting <EOF>\n | this does not compile\n | .....^",
        ),
        (
            "x == ",
            "ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | x == \n | .....^",
        ),
        ("#", "ERROR: <input>:1:1: Syntax error: token recognition error at: '#'\n | #\n | ^"),
        ("for", "ERROR: <input>:1:1: reserved identifier: for\n | for\n | ^"),
        (
            "9223372036854775808",
            "ERROR: <input>:1:1: invalid int literal\n | 9223372036854775808\n | ^",
        ),
        (
            "s.matches('(')",
            "ERROR: <input>:1:11: invalid matches argument\n | s.matches('(')\n | ..........^",
        ),
        (
            "duration('soon') > duration('1s')",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('soon') > duration('1s')\n | .........^",
        ),
        (
            "timestamp('now') > timestamp(0)",
            "ERROR: <input>:1:11: invalid timestamp argument\n | timestamp('now') > timestamp(0)\n | ..........^",
        ),
        (
            "x == 1 &&\n  y",
            "ERROR: <input>:2:3: undeclared reference to 'y' (in container '')\n |   y\n | ..^",
        ),
        (
            "y + z",
            "ERROR: <input>:1:1: undeclared reference to 'y' (in container '')\n | y + z\n | ^\nERROR: <input>:1:5: undeclared reference to 'z' (in container '')\n | y + z\n | ....^",
        ),
        (
            "x == s",
            "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, string)'\n | x == s\n | ..^",
        ),
        (
            "1 == 1.0",
            "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, double)'\n | 1 == 1.0\n | ..^",
        ),
        (
            "x ? 1 : 2",
            "ERROR: <input>:1:3: found no matching overload for '_?_:_' applied to '(int, int, int)'\n | x ? 1 : 2\n | ..^",
        ),
        (
            "m.a + m['b'] + l['c']",
            "ERROR: <input>:1:17: found no matching overload for '_[_]' applied to '(list(int), string)'\n | m.a + m['b'] + l['c']\n | ................^",
        ),
        (
            "Foo{a: 1}",
            "ERROR: <input>:1:4: undeclared reference to 'Foo' (in container '')\n | Foo{a: 1}\n | ...^",
        ),
    ] {
        check_compile(source, expected);
    }
}

#[test]
fn evaluation_errors() {
    for (source, expected) in [
        ("1 / (x - 1)", "division by zero"),
        ("1 % (x - 1)", "modulus by zero"),
        ("9223372036854775807 + x", "integer overflow"),
        ("-9223372036854775808 - x", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("l[5]", "index out of bounds: 5"),
        ("l[-1]", "index out of bounds: -1"),
        ("m['b']", "no such key: b"),
        ("m.b", "no such key: b"),
        ("d.b", "no such key: b"),
        ("d.a.b", "no such overload: int.b"),
        ("d.a + 'x'", "no such overload: _+_"),
        ("d.a.startsWith('x')", "no such overload: startsWith"),
        ("o.value()", "optional.none() dereference"),
        ("s.charAt(9)", "index out of range: 9"),
        ("s.substring(3, 1)", "invalid substring range. start: 3, end: 1"),
        ("[1].slice(0, 3)", "cannot slice(0, 3), list is length 1"),
        ("l.filter(e, e > 5).min()", "min called on empty list"),
        ("int(s)", "strconv.ParseInt: parsing \"text\": invalid syntax"),
        (
            "quantity(s)",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("s.matches(s + '(')", "error parsing regexp: error: unclosed group"),
        ("timestamp(253402300800)", "timestamp overflow"),
        ("{'a': 1, 'a': 2}", "Failed with repeated key: a"),
        ("'%d'.format(['x'])", "error during formatting: decimal clause cannot be used on string"),
        ("lists.range(1000000000)", "range of 1000000000 is too large"),
        ("l.all(e, e / 0 == 1)", "division by zero"),
        ("timestamp(0).getHours('Nowhere/Town')", "unknown time zone Nowhere/Town"),
    ] {
        check_eval(source, expected);
    }
}
