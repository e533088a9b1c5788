//! What expressions cost, before and while they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Decl, Env, PER_CALL_LIMIT, Value};
use serde_json::json;

fn declared() -> Arc<Decl> {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 10},
            "free": {"type": "string"},
            "count": {"type": "integer"},
            "kind": {"type": "string", "enum": ["a", "long-one"]},
            "list": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 5}},
            "open": {"type": "array", "items": {"type": "integer"}},
            "map": {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "integer"}},
        }
    });
    Arc::new(Decl::of_schema(&schema, false, "self").expect("a schema with a type"))
}

fn env() -> Env {
    let decl = declared();
    Env::new().with("self", decl.ty().clone()).with_sizes(decl)
}

#[test]
fn estimated() {
    // The sums: names and selections cost 1, a list 10, a map 30, characters a tenth.
    for (source, least, most) in [
        ("true", 0, 0),
        ("self.count == 5", 2, 2),
        ("self.count > 5", 3, 3),
        ("has(self.name)", 1, 1),
        ("self.name == 'abc'", 3, 3),
        ("self.name.startsWith('abcdefghijk')", 4, 4),
        ("self.name.contains('a')", 2, 6),
        ("self.name.matches('abcd')", 3, 7),
        ("self.list.all(x, x == 'a')", 3, 53),
        ("self.list.exists(x, x.startsWith('a'))", 3, 63),
        ("self.list.map(x, x)", 13, 143),
        ("self.map.all(k, k != '')", 3, 19),
        ("[1, 2, 3].all(x, x > 0)", 20, 26),
        ("self.name in self.list", 4, 14),
        ("self.name + self.name == ''", 4, 12),
        ("self.list.join() == ''", 2, 22),
        ("self.count > 1 && self.count < 5", 3, 6),
        ("self.count > 1 ? 1 : 2", 3, 3),
        ("self.list.isSorted()", 2, 32),
        ("dyn(self.count) == 1", 3, 3),
    ] {
        let estimate = env().compile(source).expect(source).estimate();
        assert_eq!((estimate.min, estimate.max), (least, most), "{source}");
    }
}

#[test]
fn without_limits_estimates_are_high() {
    for source in [
        "self.open.all(x, self.open.all(y, x != y || x == y))",
        "self.free.matches('^([a-z]+)+$') && self.open.all(x, self.free.contains(self.free))",
        "self.open.exists(x, self.open.sort() == self.open)",
    ] {
        let most = env().compile(source).expect(source).max_cost();
        assert!(most > 10_000_000, "{source}: {most}");
    }
}

fn variables() -> BTreeMap<String, Value> {
    let object = json!({
        "name": "0123456789", "count": 5, "list": ["a", "b", "c"], "map": {"a": 1},
    });
    BTreeMap::from([("self".to_owned(), declared().value(&object))])
}

#[test]
fn actual() {
    for (source, cost) in [
        ("true", 0),
        ("self.count == 5", 3),
        ("has(self.name)", 1),
        ("self.name == '0123456789abc'", 3),
        ("self.name.contains('0')", 3),
        ("self.name.matches('[0-9]+')", 6),
        ("self.list.all(x, x == 'z')", 10),
        ("self.list.exists(x, x == 'a')", 12),
        ("self.list.map(x, x)", 52),
        ("self.count > 1 || self.count < 5", 3),
        ("self.count > 1 ? self.count : 1", 5),
        ("self.name.lowerAscii() == ''", 3),
        ("{'a': 1}.a == 1", 32),
    ] {
        let program = env().compile(source).expect(source);
        let evaluation = program.evaluate(&variables(), PER_CALL_LIMIT);
        assert!(evaluation.result.is_ok(), "{source}: {:?}", evaluation.result);
        assert_eq!(evaluation.cost, cost, "{source}");
    }
}

#[test]
fn what_is_estimated_is_no_less_than_what_it_costs() {
    for source in [
        "self.list.all(x, self.list.exists(y, x == y))",
        "self.list.map(x, x + self.name).join(',').size() > 3",
        "self.list.filter(x, x > 'a').sort().reverse() == ['c', 'b']",
        "self.map.all(k, v, v > 0 && k != '')",
        "self.name.replace('0', 'zz').split('').distinct().size() == 10",
        "self.?name.optMap(n, n + '!').orValue('').endsWith('!')",
        "self.list.sortBy(x, x)[0] == 'a'",
    ] {
        let program = env().compile(source).expect(source);
        let evaluation = program.evaluate(&variables(), PER_CALL_LIMIT);
        assert_eq!(evaluation.result.expect(source).to_json(), Some(json!(true)), "{source}");
        assert!(evaluation.cost <= program.max_cost(), "{source}: {}", evaluation.cost);
    }
}

#[test]
fn the_limit_ends_evaluation() {
    let source =
        "lists.range(1000).all(x, lists.range(1000).all(y, lists.range(1000).all(z, true)))";
    let program = Env::new().compile(source).expect(source);
    let evaluation = program.evaluate(&BTreeMap::new(), PER_CALL_LIMIT);
    let error = evaluation.result.expect_err("the limit is far below the cost");
    assert_eq!(error.to_string(), "operation cancelled: actual cost limit exceeded");
    // Neither side of an `or` may hide that the limit was reached.
    let program = Env::new().compile(&format!("({source}) || true")).expect(source);
    assert!(program.evaluate(&BTreeMap::new(), PER_CALL_LIMIT).result.is_err());
}

#[test]
fn declared_without_a_schema() {
    let any = Decl::of_type(cel::Type::Dyn, 64);
    let map = Decl::of_map(Decl::of_map(any, 32, 8), 63, 8);
    let decl = Arc::new(Decl::of_object("device", [("attributes", map)]));
    let env = Env::new().with("self", decl.ty().clone()).with_sizes(decl);
    for (source, most) in [
        // A value of any type has one size under whatever name.
        ("self.attributes['a'].b.contains('0123456789')", 11),
        ("self.attributes['a']['b'].contains('0123456789')", 11),
        ("self.attributes.all(k, k.contains('0123456789'))", 91),
    ] {
        assert_eq!(env.compile(source).expect(source).max_cost(), most, "{source}");
    }
}
