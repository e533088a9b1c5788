//! Semantic versions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::quantity::order;
use super::{Declared, no_overload, opaque, text};
use crate::eval::EvalError;
use crate::value::{Opaque, Value};

/// A version. What was built does not matter for its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

pub(super) const DECLARED: &[Declared] = &[
    Declared("string_to_semver", "semver(string) -> kubernetes.Semver", |_, args| {
        parse(text(args, 0)?).map(value)
    }),
    Declared("string_bool_to_semver", "semver(string, bool) -> kubernetes.Semver", |_, args| {
        either(args).map(value)
    }),
    Declared("is_semver_string", "isSemver(string) -> bool", |_, args| {
        Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
    }),
    Declared("is_semver_string_bool", "isSemver(string, bool) -> bool", |_, args| {
        Ok(Value::Bool(either(args).is_ok()))
    }),
    Declared(
        "semver_is_greater_than",
        "kubernetes.Semver::isGreaterThan(kubernetes.Semver) -> bool",
        |_, args| Ok(Value::Bool(of(args, 0)?.compare(of(args, 1)?).is_gt())),
    ),
    Declared(
        "semver_is_less_than",
        "kubernetes.Semver::isLessThan(kubernetes.Semver) -> bool",
        |_, args| Ok(Value::Bool(of(args, 0)?.compare(of(args, 1)?).is_lt())),
    ),
    Declared(
        "semver_compare_to",
        "kubernetes.Semver::compareTo(kubernetes.Semver) -> int",
        |_, args| Ok(Value::Int(order(of(args, 0)?.compare(of(args, 1)?)))),
    ),
    Declared("semver_major", "kubernetes.Semver::major() -> int", |_, args| number(args, 0)),
    Declared("semver_minor", "kubernetes.Semver::minor() -> int", |_, args| number(args, 1)),
    Declared("semver_patch", "kubernetes.Semver::patch() -> int", |_, args| number(args, 2)),
];

fn value(version: Semver) -> Value {
    Value::Opaque(Opaque::Semver(Arc::new(version)))
}

fn of(args: &[Value], at: usize) -> Result<&Semver, EvalError> {
    match opaque(args, at)? {
        Opaque::Semver(version) => Ok(version),
        _ => Err(no_overload()),
    }
}

fn number(args: &[Value], at: usize) -> Result<Value, EvalError> {
    Ok(Value::Int(i64::try_from(of(args, 0)?.numbers[at]).unwrap_or(i64::MAX)))
}

fn either(args: &[Value]) -> Result<Semver, EvalError> {
    match &args[1] {
        Value::Bool(true) => normalized(text(args, 0)?),
        Value::Bool(false) => parse(text(args, 0)?),
        _ => Err(no_overload()),
    }
}

fn parse(text: &str) -> Result<Semver, EvalError> {
    let error = |reason: &str| EvalError::message(reason.to_owned());
    if text.is_empty() {
        return Err(error("Version string empty"));
    }
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (numbers, pre) = match text.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (text, None),
    };
    let parts: Vec<&str> = numbers.split('.').collect();
    let [major, minor, patch] = parts[..] else {
        return Err(error("No Major.Minor.Patch elements found"));
    };
    let count = |name: &str, part: &str| {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error(&format!("Invalid character(s) found in {name} number {part:?}")));
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err(error(&format!("{name} number must not contain leading zeroes {part:?}")));
        }
        part.parse().map_err(|_| error("value out of range"))
    };
    let numbers = [count("major", major)?, count("minor", minor)?, count("patch", patch)?];
    let pre = pre.map_or_else(|| Ok(Vec::new()), |pre| pre.split('.').map(identifier).collect())?;
    for part in build.iter().flat_map(|build| build.split('.')) {
        if !plain(part) {
            return Err(error("Build meta data is empty or invalid"));
        }
    }
    Ok(Semver { numbers, pre })
}

fn plain(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn identifier(part: &str) -> Result<Identifier, EvalError> {
    if !plain(part) {
        return Err(EvalError::message("Prerelease is empty or has invalid characters"));
    }
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Identifier::Text(part.to_owned()));
    }
    match part.parse() {
        Ok(number) if part.len() == 1 || !part.starts_with('0') => Ok(Identifier::Number(number)),
        _ => Err(EvalError::message("Numeric PreRelease version must not contain leading zeroes")),
    }
}

/// Without a `v` before, with what is missing as zeros, without zeros before numbers.
fn normalized(text: &str) -> Result<Semver, EvalError> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(trim_zeros).collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|part| part.contains(['+', '-'])) {
            let message = "short version cannot contain PreRelease/Build meta data";
            return Err(EvalError::message(message));
        }
        parts.resize(3, "0".to_owned());
    }
    parse(&parts.join("."))
}

fn trim_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let trimmed = part.trim_start_matches('0');
    if trimmed.starts_with(|c: char| c.is_ascii_digit()) {
        trimmed.to_owned()
    } else {
        format!("0{trimmed}")
    }
}

impl Semver {
    /// Reads a version as the specification of semantic versions has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse(text).ok()
    }

    /// Whether this is what versions are without numbers: all zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.numbers == [0; 3] && self.pre.is_empty()
    }

    /// The order of precedence.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (&self.pre[..], &other.pre[..]) {
            ([], []) => Ordering::Equal,
            ([], _) => Ordering::Greater,
            (_, []) => Ordering::Less,
            (a, b) => a.cmp(b),
        })
    }
}
