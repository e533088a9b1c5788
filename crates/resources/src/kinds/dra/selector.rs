//! Expressions that choose devices.

use std::sync::{Arc, LazyLock};

use cel::{Decl, Env, Type};
use machinery::field::{Error, ErrorList};

use crate::cursor::At;

const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_COST: u64 = 1_000_000;

const MAX_DOMAIN: u64 = 63;
const MAX_ID: u64 = 32;
const MAX_VALUE: u64 = 64;
const MAX_NAMES: u64 = 32;

/// What expressions may refer to: `device`, with values whose sizes are known.
static ENV: LazyLock<Env> = LazyLock::new(|| {
    let by_name =
        |value: Decl| Decl::of_map(Decl::of_map(value, MAX_ID, MAX_NAMES), MAX_DOMAIN, MAX_NAMES);
    let device = Arc::new(Decl::of_object(
        "kubernetes.DRADevice",
        [
            ("driver", Decl::of_type(Type::String, MAX_DOMAIN)),
            ("attributes", by_name(Decl::of_type(Type::Dyn, MAX_VALUE))),
            ("capacity", by_name(Decl::of_type(Type::Opaque("kubernetes.Quantity"), 0))),
            ("allowMultipleAllocations", Decl::of_type(Type::Bool, 0)),
        ],
    ));
    Env::new().with("device", device.ty().clone()).with_sizes(device).with_bindings()
});

/// Checks an expression.
pub(super) fn expression(expression: &At<'_>, errors: &mut ErrorList) {
    let text = expression.str();
    if text.len() > MAX_EXPRESSION {
        errors.push(Error::too_long(&expression.path, MAX_EXPRESSION));
        return;
    }
    let mut wrong = |detail: String| errors.push(Error::invalid(&expression.path, text, detail));
    match ENV.compile(text) {
        Err(mistakes) => wrong(format!("compilation failed: {mistakes}")),
        Ok(program) => match program.result_type() {
            Type::Bool | Type::Dyn if program.max_cost() > MAX_COST => {
                expression.forbidden(errors, "too complex, exceeds cost limit");
            }
            Type::Bool | Type::Dyn => {}
            other => wrong(format!("must evaluate to bool or the unknown type, not {other}")),
        },
    }
}
