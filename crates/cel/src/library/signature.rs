//! Reads signatures such as `string::charAt(int) -> string`.
//!
//! Before `::` stands the type of the value that a method is called on. One capital letter is a
//! type parameter.

use std::sync::Arc;

use crate::types::Type;

/// Name, whether it is a method, types of the arguments (with the receiver), type of the result.
pub(super) fn parse(text: &'static str) -> (&'static str, bool, Vec<Type>, Type) {
    let (call, result) = text.rsplit_once(" -> ").expect("a signature has a result");
    let (receiver, call) = match call.split_once("::") {
        Some((receiver, call)) => (Some(receiver), call),
        None => (None, call),
    };
    let (name, args) = call.split_once('(').expect("a signature has arguments");
    let args = args.strip_suffix(')').expect("arguments end with a parenthesis");
    let mut types: Vec<Type> = receiver.into_iter().map(ty).collect();
    types.extend(split(args).into_iter().map(ty));
    (name, receiver.is_some(), types, ty(result))
}

/// Splits at the commas that stand outside of parentheses.
fn split(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn ty(text: &'static str) -> Type {
    if let Some((constructor, args)) = text.split_once('(') {
        let args = args.strip_suffix(')').expect("a type ends with a parenthesis");
        let mut args = split(args).into_iter().map(ty);
        let mut next = || args.next().expect("a type has its parameters");
        return match constructor {
            "list" => Type::list(next()),
            "map" => Type::map(next(), next()),
            "optional" => Type::optional(next()),
            "type" => Type::Type(Arc::new(next())),
            _ => unreachable!("no type is called {constructor}"),
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        _ if text.len() == 1 => Type::Param(text.chars().next().expect("one letter")),
        _ => super::type_named(text).expect("a signature names known types"),
    }
}
