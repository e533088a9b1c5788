//! Macros: calls that stand for loops and presence tests.
//!
//! What they expand to is part of the behaviour, because the cost of an expression is counted on
//! the expansion.

use std::sync::Arc;

use super::parser::{Failed, Parser};
use crate::ast::{Call, Comprehension, Element, Entry, Expr, Kind, RESULT, Select, operator};
use crate::value::Value;

/// What became of a call.
pub(super) enum Expanded {
    /// The expansion.
    Macro(Expr),
    /// It was no macro: the target (of a global call the call itself) and the arguments.
    Call(Expr, Vec<Expr>),
}

type Result<T> = std::result::Result<T, Failed>;

/// Where the expansion of `sortBy` keeps its list.
const SORT_INPUT: &str = "@__sortBy_input__";

/// `has(a.b)`; everything else is a call.
pub(super) fn expand_global(
    parser: &mut Parser,
    position: u32,
    name: &Arc<str>,
    mut args: Vec<Expr>,
) -> Result<Expanded> {
    if &**name != "has" || args.len() != 1 {
        let call = Call { function: name.clone(), target: None, args };
        return Ok(Expanded::Call(parser.node(position, Kind::Call(call))?, Vec::new()));
    }
    let arg = args.pop().ok_or(Failed)?;
    let at = parser.nodes.position(&arg);
    match arg.kind {
        Kind::Select(Select { operand, field, test_only: false }) => {
            let select = Select { operand, field, test_only: true };
            Ok(Expanded::Macro(parser.node(position, Kind::Select(select))?))
        }
        _ => Err(parser.mistake(Some(at), "invalid argument to has() macro".to_owned())),
    }
}

/// Macros that are called on a value.
pub(super) fn expand_member(
    parser: &mut Parser,
    position: u32,
    name: &str,
    target: Expr,
    args: Vec<Expr>,
) -> Result<Expanded> {
    let is_binding = parser.bindings
        && (name, args.len()) == ("bind", 3)
        && target.as_ident().is_some_and(|of| &**of == "cel");
    if is_binding {
        return expand_binding(parser, position, args);
    }
    let is = matches!(
        (name, args.len()),
        ("all" | "exists" | "existsOne" | "map", 2 | 3)
            | ("exists_one" | "filter" | "optMap" | "optFlatMap" | "sortBy", 2)
            | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4)
    );
    if !is {
        return Ok(Expanded::Call(target, args));
    }
    let two = matches!((name, args.len()), ("all" | "exists" | "existsOne", 3))
        || name.starts_with("transform");
    let mut args = args.into_iter();
    let variable = simple_name(parser, args.next())?;
    let second = if two { Some(simple_name(parser, args.next())?) } else { None };
    if second.as_ref() == Some(&variable) {
        let message = "iteration variable overwrites another variable".to_owned();
        return Err(parser.mistake(Some(position), message));
    }
    let first = args.next().ok_or(Failed)?;
    let mut build = Build { parser, position, variable, second };
    let expr = match name {
        "all" => build.all(target, first),
        "exists" => build.exists(target, first),
        "exists_one" | "existsOne" => build.exists_one(target, first),
        "filter" => build.filter(target, first),
        "map" | "transformList" => {
            let (filter, transform) = filtered(first, args.next());
            build.map(target, filter, transform)
        }
        "transformMap" => {
            let (filter, transform) = filtered(first, args.next());
            build.transform_map(target, filter, transform)
        }
        "transformMapEntry" => {
            let (filter, transform) = filtered(first, args.next());
            build.transform_map_entry(target, filter, transform)
        }
        "optMap" => build.optional_map(target, first, true),
        "optFlatMap" => build.optional_map(target, first, false),
        _ => build.sort_by(target, first),
    }?;
    Ok(Expanded::Macro(expr))
}

/// `cel.bind(name, value, expression)`: the expression with a variable.
fn expand_binding(parser: &mut Parser, position: u32, args: Vec<Expr>) -> Result<Expanded> {
    let mut args = args.into_iter();
    let (name, value, result) = (args.next(), args.next(), args.next());
    let (name, value, result) = (name.ok_or(Failed)?, value.ok_or(Failed)?, result.ok_or(Failed)?);
    let Some(variable) = name.as_ident().cloned() else {
        let at = parser.nodes.position(&name);
        let message = "cel.bind() variable names must be simple identifiers".to_owned();
        return Err(parser.mistake(Some(at), message));
    };
    let mut build = Build { parser, position, variable: variable.clone(), second: None };
    Ok(Expanded::Macro(build.bind(variable, value, result)?))
}

/// With two expressions the first is a filter.
fn filtered(first: Expr, second: Option<Expr>) -> (Option<Expr>, Expr) {
    match second {
        Some(transform) => (Some(first), transform),
        None => (None, first),
    }
}

fn simple_name(parser: &mut Parser, arg: Option<Expr>) -> Result<Arc<str>> {
    let arg = arg.ok_or(Failed)?;
    match arg.as_ident() {
        Some(name) => Ok(name.clone()),
        None => {
            let at = parser.nodes.position(&arg);
            Err(parser.mistake(Some(at), "argument must be a simple name".to_owned()))
        }
    }
}

/// Makes the parts of an expansion; all stand where the macro does.
struct Build<'a> {
    parser: &'a mut Parser,
    position: u32,
    variable: Arc<str>,
    second: Option<Arc<str>>,
}

impl Build<'_> {
    fn all(&mut self, range: Expr, predicate: Expr) -> Result<Expr> {
        let init = self.literal(Value::Bool(true))?;
        let result = self.result()?;
        let condition = self.call(operator::NOT_STRICTLY_FALSE, vec![result])?;
        let result = self.result()?;
        let step = self.call(operator::AND, vec![result, predicate])?;
        self.fold(range, init, condition, step)
    }

    fn exists(&mut self, range: Expr, predicate: Expr) -> Result<Expr> {
        let init = self.literal(Value::Bool(false))?;
        let result = self.result()?;
        let not = self.call(operator::NOT, vec![result])?;
        let condition = self.call(operator::NOT_STRICTLY_FALSE, vec![not])?;
        let result = self.result()?;
        let step = self.call(operator::OR, vec![result, predicate])?;
        self.fold(range, init, condition, step)
    }

    fn exists_one(&mut self, range: Expr, predicate: Expr) -> Result<Expr> {
        let init = self.literal(Value::Int(0))?;
        let condition = self.literal(Value::Bool(true))?;
        let (result, one) = (self.result()?, self.literal(Value::Int(1))?);
        let more = self.call(operator::ADD, vec![result, one])?;
        let same = self.result()?;
        let step = self.call(operator::CONDITIONAL, vec![predicate, more, same])?;
        let (result, one) = (self.result()?, self.literal(Value::Int(1))?);
        let result = self.call(operator::EQUALS, vec![result, one])?;
        self.fold_with(range, init, condition, step, result)
    }

    fn filter(&mut self, range: Expr, predicate: Expr) -> Result<Expr> {
        let variable = Kind::Ident(self.variable.clone());
        let item = self.node(variable)?;
        self.map(range, Some(predicate), item)
    }

    fn map(&mut self, range: Expr, filter: Option<Expr>, transform: Expr) -> Result<Expr> {
        let init = self.node(Kind::List(Vec::new()))?;
        let result = self.result()?;
        let item = self.node(Kind::List(vec![Element { value: transform, optional: false }]))?;
        let step = self.call(operator::ADD, vec![result, item])?;
        self.collect(range, init, filter, step)
    }

    fn transform_map(&mut self, range: Expr, filter: Option<Expr>, value: Expr) -> Result<Expr> {
        let init = self.node(Kind::Map(Vec::new()))?;
        let result = self.result()?;
        let variable = Kind::Ident(self.variable.clone());
        let key = self.node(variable)?;
        let step = self.call(operator::MAP_INSERT, vec![result, key, value])?;
        self.collect(range, init, filter, step)
    }

    fn transform_map_entry(
        &mut self,
        range: Expr,
        filter: Option<Expr>,
        entry: Expr,
    ) -> Result<Expr> {
        let init = self.node(Kind::Map(Vec::<Entry>::new()))?;
        let result = self.result()?;
        let step = self.call(operator::MAP_INSERT, vec![result, entry])?;
        self.collect(range, init, filter, step)
    }

    /// `target.hasValue() ? optional.of(mapped) : optional.none()`, the mapped bound to a variable.
    fn optional_map(&mut self, target: Expr, mapped: Expr, wrap: bool) -> Result<Expr> {
        // The target is evaluated once: a loop over nothing binds it.
        let input: Arc<str> = "@optional_input".into();
        let named = |build: &mut Self| build.node(Kind::Ident(input.clone()));
        let has = named(self)?;
        let has = self.member("hasValue", has, Vec::new())?;
        let value = named(self)?;
        let value = self.member("value", value, Vec::new())?;
        let variable = self.variable.clone();
        let mut mapped = self.bind(variable, value, mapped)?;
        if wrap {
            mapped = self.call("optional.of", vec![mapped])?;
        }
        let none = self.call("optional.none", Vec::new())?;
        let chosen = self.call(operator::CONDITIONAL, vec![has, mapped, none])?;
        self.bind(input, target, chosen)
    }

    fn sort_by(&mut self, target: Expr, key: Expr) -> Result<Expr> {
        let input: Arc<str> = SORT_INPUT.into();
        let range = self.node(Kind::Ident(input.clone()))?;
        let keys = self.map(range, None, key)?;
        let list = self.node(Kind::Ident(input.clone()))?;
        let sorted = self.member("@sortByAssociatedKeys", list, vec![keys])?;
        self.bind(input, target, sorted)
    }

    /// The result with a variable set: a loop over nothing, whose accumulator is the variable.
    fn bind(&mut self, variable: Arc<str>, value: Expr, result: Expr) -> Result<Expr> {
        let range = self.node(Kind::List(Vec::new()))?;
        let condition = self.literal(Value::Bool(false))?;
        let step = self.node(Kind::Ident(variable.clone()))?;
        self.node(Kind::Comprehension(Box::new(Comprehension {
            range,
            variable: "#unused".into(),
            second: None,
            accumulator: variable,
            init: value,
            condition,
            step,
            result,
        })))
    }

    fn collect(
        &mut self,
        range: Expr,
        init: Expr,
        filter: Option<Expr>,
        step: Expr,
    ) -> Result<Expr> {
        let condition = self.literal(Value::Bool(true))?;
        let step = match filter {
            Some(filter) => {
                let same = self.result()?;
                self.call(operator::CONDITIONAL, vec![filter, step, same])?
            }
            None => step,
        };
        self.fold(range, init, condition, step)
    }

    fn fold(&mut self, range: Expr, init: Expr, condition: Expr, step: Expr) -> Result<Expr> {
        let result = self.result()?;
        self.fold_with(range, init, condition, step, result)
    }

    fn fold_with(
        &mut self,
        range: Expr,
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> Result<Expr> {
        let of_loop = Comprehension {
            range,
            variable: self.variable.clone(),
            second: self.second.clone(),
            accumulator: RESULT.into(),
            init,
            condition,
            step,
            result,
        };
        self.node(Kind::Comprehension(Box::new(of_loop)))
    }

    fn result(&mut self) -> Result<Expr> {
        self.node(Kind::Ident(RESULT.into()))
    }

    fn literal(&mut self, value: Value) -> Result<Expr> {
        self.node(Kind::Literal(value))
    }

    fn call(&mut self, function: &'static str, args: Vec<Expr>) -> Result<Expr> {
        self.parser.call(self.position, function, None, args)
    }

    fn member(&mut self, function: &'static str, target: Expr, args: Vec<Expr>) -> Result<Expr> {
        self.parser.call(self.position, function, Some(target), args)
    }

    fn node(&mut self, kind: Kind) -> Result<Expr> {
        self.parser.node(self.position, kind)
    }
}
