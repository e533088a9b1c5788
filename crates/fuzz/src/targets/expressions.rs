//! Expressions: whatever compiles can be evaluated, at a cost that is counted.

use cel::rules::Rules;
use cel::{Env, EvalError, Type, Value, Variables};
use machinery::field;
use serde_json::json;

use crate::Target;

pub(super) const TARGETS: [Target; 1] =
    [Target { name: "cel", corpus: expressions, run: expression }];

/// What one evaluation may cost here.
const LIMIT: u64 = 10_000;
/// The most that one more step can cost beyond it.
const STEP: u64 = 1 << 20;

fn expressions() -> Vec<Vec<u8>> {
    [
        "self > 1 && [1, 2, 3].exists(x, x == self) ? 'a' : b'\\xff'",
        "{'a': 1}.map(k, k + '\\u00e9').size() == 1u || -1.5e3 < double('2')",
        "['a', 'b'].all(x, x.matches('^[a-z]+$')) && 'x'.startsWith('') && has({'a': 1}.a)",
        "timestamp('2024-01-02T03:04:05Z') + duration('1h30m') > timestamp(0)",
        "quantity('1Ki').isLessThan(quantity('2M')) && ip('10.0.0.1').family() == 4",
        "'%s %d'.format(['a', 1]).split(' ').join('-') in ['a-1'] && url('https://a/b').getHost() == 'a'",
        "[[1, 2].sum(), [3].max()].filter(x, x % 2 == 1)[0] / 3 - 9223372036854775807",
        "self.orValue(1) == optional.of(1).value() && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

struct Three;

impl Variables for Three {
    fn get(&self, name: &str) -> Option<Result<Value, EvalError>> {
        (name == "self").then_some(Ok(Value::Int(3)))
    }
}

fn expression(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for ty in [Type::Int, Type::Dyn] {
        let Ok(program) = Env::new().with("self", ty).compile(text) else { continue };
        let range = program.estimate();
        assert!(range.min <= range.max, "{range:?}");
        let evaluation = program.evaluate(&Three, LIMIT);
        assert!(evaluation.cost <= LIMIT + STEP, "{} units", evaluation.cost);
    }
    let schema = json!({"type": "integer", "x-kubernetes-validations": [{"rule": text}]});
    // The errors are for people; here only that there are some is of interest.
    Rules::compile(&schema, &field::Path::new("spec")).ok();
}
