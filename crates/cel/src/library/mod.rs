//! The functions that expressions may call: those of the language, of its extensions, and of
//! Kubernetes, as of the environment of v1.36.
//!
//! Each file declares its functions in a table of signatures. One table serves the checker, the
//! evaluator and both ways of counting costs.

pub(crate) mod authorizer;
pub(crate) mod cidr;
pub(crate) mod format;
pub(crate) mod semver;
pub(crate) mod url;

pub(crate) mod convert;
mod ip;
mod lists;
mod numbers;
mod operators;
mod optional;
mod printf;
mod quantity;
pub(crate) mod regex;
mod sets;
mod signature;
mod strings;
pub(crate) mod time;

pub(crate) use operators::insert;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::eval::{EvalError, Scope};
use crate::types::Type;
use crate::value::{Key, List, Opaque, Value};

/// One meaning of a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    /// Whether it is called on a value, which is then the first argument.
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) run: Run,
}

/// Computes the result from arguments whose types were looked at.
pub(crate) type Run = fn(&mut Scope, &[Value]) -> Result<Value, EvalError>;

/// An overload as the tables hold it: id, signature, implementation.
struct Declared(&'static str, &'static str, Run);

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let tables = [
        operators::DECLARED,
        convert::DECLARED,
        strings::DECLARED,
        printf::DECLARED,
        regex::DECLARED,
        time::DECLARED,
        lists::DECLARED,
        sets::DECLARED,
        optional::DECLARED,
        numbers::DECLARED,
        quantity::DECLARED,
        ip::DECLARED,
        cidr::DECLARED,
        url::DECLARED,
        format::DECLARED,
        semver::DECLARED,
        authorizer::DECLARED,
    ];
    let mut functions: HashMap<_, Vec<Overload>> = HashMap::new();
    for Declared(id, text, run) in tables.into_iter().flatten() {
        let (name, member, args, result) = signature::parse(text);
        let overload = Overload { id, member, args, result, run: *run };
        functions.entry(name).or_default().push(overload);
    }
    functions
});

/// What a function may mean; `None` when there is none of the name.
pub(crate) fn function(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

/// The type that expressions call `name`.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        _ => Type::Opaque(OPAQUE.iter().find(|opaque| **opaque == name)?),
    })
}

/// The names of the libraries' own types.
const OPAQUE: [&str; 11] = [
    "kubernetes.Quantity",
    "net.IP",
    "net.CIDR",
    "kubernetes.URL",
    "kubernetes.NamedFormat",
    "kubernetes.Semver",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

// What the implementations share: taking arguments apart.

type Answer = Result<Value, EvalError>;

fn no_overload() -> EvalError {
    EvalError::NoOverload(String::new())
}

fn text(args: &[Value], at: usize) -> Result<&str, EvalError> {
    match args.get(at) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(no_overload()),
    }
}

fn int(args: &[Value], at: usize) -> Result<i64, EvalError> {
    match args.get(at) {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(no_overload()),
    }
}

fn list(args: &[Value], at: usize) -> Result<&Arc<List>, EvalError> {
    match args.get(at) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(no_overload()),
    }
}

fn opaque(args: &[Value], at: usize) -> Result<&Opaque, EvalError> {
    match args.get(at) {
        Some(Value::Opaque(opaque)) => Ok(opaque),
        _ => Err(no_overload()),
    }
}

fn key(value: &Value) -> Result<Key, EvalError> {
    Key::from_value(value)
        .ok_or_else(|| EvalError::message(format!("unsupported key type: {}", value.type_of())))
}

/// Longest text that a function may make. What can be made beyond what is counted in cost ends
/// here: a replacement multiplies two lengths.
const MAX_TEXT: usize = 10 << 20;

fn new_text(text: String) -> Answer {
    if text.len() > MAX_TEXT {
        return Err(EvalError::message("result is too long"));
    }
    Ok(Value::string(text))
}
