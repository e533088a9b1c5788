//! Evaluates a checked expression and counts what it costs.
//!
//! The cost is counted as upstream counts it, so that a rule that fits its limit there fits here.
//! It also is what ends evaluation: every turn of a loop costs something.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::ast::{
    Call, Comprehension, Element, Entry, Expr, Kind, Message, RESULT, Select, operator,
};
use crate::checker::Checked;
use crate::cost;
use crate::library;
use crate::patch;
use crate::value::{Key, Value};

/// Where the values of variables come from.
pub trait Variables {
    /// The value of a variable; `None` when it has none.
    fn get(&self, name: &str) -> Option<Result<Value, EvalError>>;
}

/// The outcome of an evaluation.
#[derive(Debug)]
pub struct Evaluation {
    /// The value.
    pub result: Result<Value, EvalError>,
    /// What it cost, also when it failed.
    pub cost: u64,
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The limit was reached.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// A function cannot take these values; found out here because their types were not known.
    #[error("no such overload{separator}{0}", separator = if .0.is_empty() { "" } else { ": " })]
    NoOverload(String),
    /// Anything else.
    #[error("{0}")]
    Message(String),
}

impl EvalError {
    /// An error with this text.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }
}

type Answer = Result<Value, EvalError>;

/// What functions keep from call to call.
pub(crate) struct Scope {
    /// Those written out in the expression.
    literal: Arc<HashMap<Arc<str>, Regex>>,
    computed: HashMap<Arc<str>, Regex>,
}

/// Computed regular expressions that are kept.
const KEPT_REGEXES: usize = 32;

impl Scope {
    /// The regular expression that is the argument `at`.
    pub(crate) fn regex(&mut self, args: &[Value], at: usize) -> Result<&Regex, EvalError> {
        let Some(Value::String(pattern)) = args.get(at) else {
            return Err(EvalError::NoOverload(String::new()));
        };
        if let Some(regex) = self.literal.get(pattern) {
            return Ok(regex);
        }
        if !self.computed.contains_key(pattern) {
            if self.computed.len() >= KEPT_REGEXES {
                self.computed.clear();
            }
            let regex = library::regex::compile(pattern)?;
            self.computed.insert(pattern.clone(), regex);
        }
        self.computed.get(pattern).ok_or_else(|| EvalError::NoOverload(String::new()))
    }
}

/// One evaluation.
pub(crate) struct Evaluator<'a> {
    checked: &'a Checked,
    variables: &'a dyn Variables,
    /// Variables of loops, innermost last. Accumulators may hold an error that a later turn undoes.
    locals: Vec<(Arc<str>, Answer)>,
    scope: Scope,
    cost: u64,
    limit: u64,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(
        checked: &'a Checked,
        variables: &'a dyn Variables,
        literal: Arc<HashMap<Arc<str>, Regex>>,
        limit: u64,
    ) -> Self {
        let scope = Scope { literal, computed: HashMap::new() };
        Self { checked, variables, locals: Vec::new(), scope, cost: 0, limit }
    }

    pub(crate) fn run(mut self) -> Evaluation {
        let checked = self.checked;
        let result = self.eval(&checked.expr);
        Evaluation { result, cost: self.cost }
    }

    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    fn eval(&mut self, expr: &Expr) -> Answer {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Ident(name) => self.ident(name),
            Kind::Select(select) => self.select(select),
            Kind::Call(call) => self.call(expr.id, call),
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Comprehension(of_loop) => self.comprehension(of_loop),
            Kind::Message(message) => self.message(message),
        }
    }

    fn ident(&mut self, name: &Arc<str>) -> Answer {
        self.charge(cost::NAME)?;
        if let Some((_, value)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return value.clone();
        }
        if let Some(value) = self.variables.get(name) {
            return value;
        }
        library::type_named(name)
            .map(Value::Type)
            .ok_or_else(|| EvalError::message(format!("no such attribute(s): {name}")))
    }

    fn select(&mut self, select: &Select) -> Answer {
        let operand = self.eval(&select.operand)?;
        if select.test_only {
            // Presence tests cost nothing beyond their operand.
            return match &operand {
                Value::Optional(None) => Ok(Value::Bool(false)),
                Value::Optional(Some(value)) => {
                    Ok(Value::Bool(field(value, &select.field)?.is_some()))
                }
                value => Ok(Value::Bool(field(value, &select.field)?.is_some())),
            };
        }
        self.charge(cost::NAME)?;
        match &operand {
            Value::Optional(_) => optional_field(&operand, &select.field),
            value => field(value, &select.field)?
                .or_else(|| patch::unset(value, &select.field))
                .ok_or_else(|| EvalError::message(format!("no such key: {}", select.field))),
        }
    }

    fn list(&mut self, elements: &[Element]) -> Answer {
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.eval(&element.value)?;
            items.extend(given(value, element.optional)?);
        }
        self.charge(cost::CREATE_LIST)?;
        Ok(Value::list(items))
    }

    fn map(&mut self, entries: &[Entry]) -> Answer {
        let mut map = std::collections::BTreeMap::new();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let value = self.eval(&entry.value)?;
            let Some(value) = given(value, entry.optional)? else { continue };
            let key = match key {
                Value::Double(_) => None,
                key => Key::from_value(&key),
            };
            let key = key.ok_or_else(|| EvalError::message("unsupported key type"))?;
            if map.insert(key.clone(), value).is_some() {
                return Err(EvalError::message(format!("Failed with repeated key: {key}")));
            }
        }
        self.charge(cost::CREATE_MAP)?;
        Ok(Value::Map(Arc::new(map)))
    }

    fn message(&mut self, message: &Message) -> Answer {
        let mut fields = std::collections::BTreeMap::new();
        for field in &message.fields {
            let value = self.eval(&field.value)?;
            if let Some(value) = given(value, field.optional)? {
                fields.insert(field.name.clone(), value);
            }
        }
        self.charge(cost::CREATE_MESSAGE)?;
        patch::message(&message.name, fields)
    }

    // Calls.

    fn call(&mut self, id: u32, call: &Call) -> Answer {
        match &*call.function {
            operator::AND => self.logical(call, false),
            operator::OR => self.logical(call, true),
            operator::CONDITIONAL => self.conditional(call),
            operator::NOT_STRICTLY_FALSE => self.not_strictly_false(call),
            operator::OPTIONAL_SELECT => self.optional_select(call),
            operator::ADD | operator::MAP_INSERT
                if call.args.first().and_then(Expr::as_ident).is_some_and(|n| **n == *RESULT) =>
            {
                self.accumulate(id, call)
            }
            _ => {
                let args = self.args(call)?;
                self.dispatch(id, call, &args)
            }
        }
    }

    fn args(&mut self, call: &Call) -> Result<Vec<Value>, EvalError> {
        call.target.as_deref().into_iter().chain(&call.args).map(|arg| self.eval(arg)).collect()
    }

    fn dispatch(&mut self, id: u32, call: &Call, args: &[Value]) -> Answer {
        let candidates = self.checked.overloads.get(&id).map_or(&[][..], Vec::as_slice);
        let fits = |overload: &&&'static library::Overload| {
            overload.args.iter().zip(args).all(|(ty, arg)| arg.is_a(ty))
        };
        let Some(overload) = candidates.iter().find(fits) else {
            return Err(EvalError::NoOverload(call.function.to_string()));
        };
        let result = (overload.run)(&mut self.scope, args);
        let cost = cost::of_call(&call.function, overload.id, args, result.as_ref().ok());
        self.charge(cost)?;
        result
    }

    /// `&&` and `||`: one side that decides is enough, even when the other fails.
    fn logical(&mut self, call: &Call, decides: bool) -> Answer {
        let [left, right] = &call.args[..] else {
            return Err(EvalError::NoOverload(call.function.to_string()));
        };
        let left = self.eval(left);
        match left {
            Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
            Err(EvalError::CostLimit) => return left,
            _ => {}
        }
        let right = self.eval(right);
        match (left, right) {
            (_, Ok(Value::Bool(value))) if value == decides => Ok(Value::Bool(decides)),
            (_, Err(EvalError::CostLimit)) => Err(EvalError::CostLimit),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Value::Bool(_)), Ok(Value::Bool(value))) => Ok(Value::Bool(value)),
            _ => Err(EvalError::NoOverload(call.function.to_string())),
        }
    }

    fn conditional(&mut self, call: &Call) -> Answer {
        let [condition, yes, no] = &call.args[..] else {
            return Err(EvalError::NoOverload(call.function.to_string()));
        };
        match self.eval(condition)? {
            Value::Bool(true) => self.eval(yes),
            Value::Bool(false) => self.eval(no),
            _ => Err(EvalError::NoOverload(call.function.to_string())),
        }
    }

    fn not_strictly_false(&mut self, call: &Call) -> Answer {
        let value = call.args.first().map(|arg| self.eval(arg));
        self.charge(1)?;
        match value {
            Some(Err(EvalError::CostLimit)) => Err(EvalError::CostLimit),
            Some(Ok(Value::Bool(false))) => Ok(Value::Bool(false)),
            _ => Ok(Value::Bool(true)),
        }
    }

    fn optional_select(&mut self, call: &Call) -> Answer {
        let [operand, name] = &call.args[..] else {
            return Err(EvalError::NoOverload(call.function.to_string()));
        };
        let operand = self.eval(operand)?;
        self.charge(1)?;
        match &name.kind {
            Kind::Literal(Value::String(name)) => optional_field(&operand, name),
            _ => Err(EvalError::NoOverload(call.function.to_string())),
        }
    }

    /// Adds to the accumulator of a loop in place. The general way would copy it at every turn.
    fn accumulate(&mut self, id: u32, call: &Call) -> Answer {
        let mut added = Vec::with_capacity(2);
        for arg in &call.args[1..] {
            added.push(self.eval(arg)?);
        }
        self.charge(cost::NAME + 1)?;
        let slot = self.locals.iter_mut().rev().find(|(local, _)| **local == *RESULT);
        let Some((_, slot)) = slot else {
            return Err(EvalError::NoOverload(call.function.to_string()));
        };
        match std::mem::replace(slot, Ok(Value::Null))? {
            Value::List(mut list) => {
                let [Value::List(items)] = &added[..] else {
                    return Err(EvalError::NoOverload(call.function.to_string()));
                };
                Arc::make_mut(&mut list).extend(&items.items);
                Ok(Value::List(list))
            }
            Value::Map(mut map) => {
                library::insert(Arc::make_mut(&mut map), &added)?;
                Ok(Value::Map(map))
            }
            other => {
                // The charge above was for this; counting numbers adds to them the usual way.
                self.cost -= 1;
                added.insert(0, other);
                self.dispatch(id, call, &added)
            }
        }
    }

    // Loops.

    fn comprehension(&mut self, of_loop: &Comprehension) -> Answer {
        let range = self.eval(&of_loop.range)?;
        let init = self.eval(&of_loop.init);
        if let Err(EvalError::CostLimit) = init {
            return init;
        }
        let outside = self.locals.len();
        self.locals.push((of_loop.accumulator.clone(), init));
        let looped = self.turns(of_loop, &range, outside);
        self.locals.truncate(outside + 1);
        let result = looped.and_then(|()| self.eval(&of_loop.result));
        self.locals.truncate(outside);
        result
    }

    fn turns(
        &mut self,
        of_loop: &Comprehension,
        range: &Value,
        outside: usize,
    ) -> Result<(), EvalError> {
        let two = of_loop.second.is_some();
        match range {
            Value::List(list) => {
                for (at, item) in list.items.iter().enumerate() {
                    let (first, second) = match two {
                        true => (Value::Int(at as i64), Some(item.clone())),
                        false => (item.clone(), None),
                    };
                    if !self.turn(of_loop, first, second, outside)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.iter() {
                    let second = two.then(|| value.clone());
                    if !self.turn(of_loop, key.to_value(), second, outside)? {
                        break;
                    }
                }
            }
            Value::Object(object) => {
                for (name, value) in &object.fields {
                    let second = two.then(|| value.clone());
                    if !self.turn(of_loop, Value::String(name.clone()), second, outside)? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::NoOverload(String::new())),
        }
        Ok(())
    }

    /// One turn; false when the loop has come to its end.
    fn turn(
        &mut self,
        of_loop: &Comprehension,
        first: Value,
        second: Option<Value>,
        outside: usize,
    ) -> Result<bool, EvalError> {
        self.locals.truncate(outside + 1);
        self.locals.push((of_loop.variable.clone(), Ok(first)));
        if let (Some(name), Some(value)) = (&of_loop.second, second) {
            self.locals.push((name.clone(), Ok(value)));
        }
        if !matches!(self.eval(&of_loop.condition)?, Value::Bool(true)) {
            return Ok(false);
        }
        let step = self.eval(&of_loop.step);
        if let Err(EvalError::CostLimit) = step {
            return Err(EvalError::CostLimit);
        }
        if let Some((_, accumulator)) = self.locals.get_mut(outside) {
            *accumulator = step;
        }
        Ok(true)
    }
}

/// What an element, entry or field is given; an optional one perhaps nothing.
fn given(value: Value, optional: bool) -> Result<Option<Value>, EvalError> {
    match (optional, value) {
        (false, value) => Ok(Some(value)),
        (true, Value::Optional(value)) => Ok(value.map(|value| (*value).clone())),
        (true, _) => Err(EvalError::NoOverload(String::new())),
    }
}

/// The value of a field; `None` when it is not set.
fn field(of: &Value, name: &Arc<str>) -> Result<Option<Value>, EvalError> {
    match of {
        Value::Map(map) => Ok(map.get(&Key::String(name.clone())).cloned()),
        Value::Object(object) => {
            Ok(object
                .fields
                .get(name)
                .or_else(|| {
                    // Keywords may be written as they are where they name a field.
                    let escaped = crate::schema::escape(name)?;
                    object.fields.get(&*escaped)
                })
                .cloned())
        }
        _ => Err(EvalError::NoOverload(format!("{}.{name}", of.type_of()))),
    }
}

fn optional_field(of: &Value, name: &Arc<str>) -> Answer {
    let of = match of {
        Value::Optional(None) => return Ok(Value::none()),
        Value::Optional(Some(value)) => value,
        value => value,
    };
    Ok(match field(of, name)? {
        None => Value::none(),
        Some(Value::Optional(value)) => Value::Optional(value),
        Some(value) => Value::some(value),
    })
}
