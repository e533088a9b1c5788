//! Regular expressions. They match in linear time and their compiled size is bounded.

use regex::{Regex, RegexBuilder};

use super::{Answer, Declared, int, text};
use crate::eval::{EvalError, Scope};
use crate::value::Value;

pub(super) const DECLARED: &[Declared] = &[
    Declared("matches", "matches(string, string) -> bool", matches),
    Declared("matches_string", "string::matches(string) -> bool", matches),
    Declared("string_find_string", "string::find(string) -> string", find),
    Declared("string_find_all_string", "string::findAll(string) -> list(string)", find_all),
    Declared(
        "string_find_all_string_int",
        "string::findAll(string, int) -> list(string)",
        find_all,
    ),
];

/// Bytes of a compiled expression.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    RegexBuilder::new(pattern)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .nest_limit(100)
        .build()
        .map_err(|error| {
            let reason = match error {
                regex::Error::CompiledTooBig(_) => "expression is too large".to_owned(),
                error => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
            };
            EvalError::message(format!("error parsing regexp: {reason}"))
        })
}

fn matches(scope: &mut Scope, args: &[Value]) -> Answer {
    let text = text(args, 0)?;
    Ok(Value::Bool(scope.regex(args, 1)?.is_match(text)))
}

fn find(scope: &mut Scope, args: &[Value]) -> Answer {
    let text = text(args, 0)?;
    Ok(Value::string(scope.regex(args, 1)?.find(text).map_or("", |found| found.as_str())))
}

fn find_all(scope: &mut Scope, args: &[Value]) -> Answer {
    let text = text(args, 0)?;
    let most = match args.len() {
        2 => usize::MAX,
        _ => usize::try_from(int(args, 2)?).unwrap_or(usize::MAX),
    };
    let found = scope.regex(args, 1)?.find_iter(text).take(most);
    Ok(Value::list(found.map(|found| Value::string(found.as_str())).collect()))
}
