//! Finds the type of every part of an expression, and the functions that calls may mean.

mod assign;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Call, Comprehension, Element, Entry, Expr, Kind, Message, Select, operator};
use crate::env::Env;
use crate::library::{self, Overload};
use crate::syntax::{CompileError, Mistake, Parsed};
use crate::types::Type;
use crate::value::Value;

use assign::Unknowns;

/// An expression whose every part has a type. Names with dots are joined where they name one thing.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) expr: Expr,
    /// By id.
    pub(crate) types: Vec<Type>,
    /// What each call may mean, by id.
    pub(crate) overloads: HashMap<u32, Vec<&'static Overload>>,
}

/// Checks a tree.
///
/// # Errors
/// Every mistake found.
pub(crate) fn check(source: &str, parsed: Parsed, env: &Env) -> Result<Checked, CompileError> {
    let Parsed { mut expr, positions } = parsed;
    let mut checker = Checker {
        env,
        types: vec![Type::Dyn; positions.len()],
        positions,
        locals: Vec::new(),
        unknowns: Unknowns::default(),
        overloads: HashMap::new(),
        mistakes: Vec::new(),
    };
    checker.check(&mut expr);
    let Checker { mut types, unknowns, overloads, mistakes, .. } = checker;
    if !mistakes.is_empty() {
        return Err(CompileError::new(source, mistakes));
    }
    for ty in &mut types {
        *ty = unknowns.resolve(ty, true);
    }
    Ok(Checked { expr, types, overloads })
}

struct Checker<'a> {
    env: &'a Env,
    positions: Vec<u32>,
    types: Vec<Type>,
    locals: Vec<(Arc<str>, Type)>,
    unknowns: Unknowns,
    overloads: HashMap<u32, Vec<&'static Overload>>,
    mistakes: Vec<Mistake>,
}

impl Checker<'_> {
    fn check(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let ty = match &mut expr.kind {
            Kind::Literal(value) => value.type_of(),
            Kind::Ident(name) => self.ident(id, name),
            Kind::Message(message) => self.message(id, message),
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Comprehension(of_loop) => self.comprehension(of_loop),
            Kind::Select(_) => match self.qualified(expr) {
                Some((name, ty)) => {
                    expr.kind = Kind::Ident(name);
                    ty
                }
                None => self.select(expr),
            },
            Kind::Call(_) => self.call(expr),
        };
        self.types[id as usize] = ty.clone();
        ty
    }

    // Names.

    fn lookup(&self, name: &str) -> Option<Type> {
        let local = self.locals.iter().rev().find(|(local, _)| **local == *name);
        local
            .map(|(_, ty)| ty.clone())
            .or_else(|| self.env.variable(name).cloned())
            .or_else(|| library::type_named(name).map(|ty| Type::Type(Arc::new(ty))))
    }

    fn ident(&mut self, id: u32, name: &str) -> Type {
        match self.lookup(name) {
            Some(ty) => ty,
            None => self.undeclared(id, name),
        }
    }

    fn undeclared(&mut self, id: u32, name: &str) -> Type {
        self.mistake(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    /// A selection that is the name of something, such as `google.protobuf.Timestamp`.
    fn qualified(&self, expr: &Expr) -> Option<(Arc<str>, Type)> {
        let name = expr.qualified_name()?;
        let root = name.split('.').next().unwrap_or_default();
        if self.locals.iter().any(|(local, _)| **local == *root) {
            return None;
        }
        let ty = self.lookup(&name)?;
        Some((name.into(), ty))
    }

    // Parts.

    fn select(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Select(Select { operand, field, test_only }) = &mut expr.kind else {
            return Type::Error;
        };
        let of = self.check(operand);
        let ty = self.field(id, &of, field);
        if *test_only { Type::Bool } else { ty }
    }

    fn field(&mut self, id: u32, of: &Type, field: &str) -> Type {
        match self.unknowns.resolve(of, false) {
            Type::Dyn | Type::Error => Type::Dyn,
            Type::Var(_) | Type::Param(_) => {
                // Nothing is known yet, and guessing would make a later use fail.
                self.unknowns.assignable(&Type::Dyn, of);
                Type::Dyn
            }
            Type::Map(_, value) => (*value).clone(),
            Type::Object(object) => match object.field(field) {
                Some(ty) => ty,
                None => self.mistake(id, format!("undefined field '{field}'")),
            },
            Type::Optional(inner) => match self.field(id, &inner, field) {
                Type::Error => Type::Error,
                Type::Optional(inner) => Type::Optional(inner),
                ty => Type::optional(ty),
            },
            ty => self.mistake(id, format!("type '{ty}' does not support field selection")),
        }
    }

    fn list(&mut self, elements: &mut [Element]) -> Type {
        let mut joined = None;
        for element in elements {
            let ty = self.check(&mut element.value);
            let ty = self.entry_type(element.value.id, ty, element.optional);
            joined = Some(self.join(element.value.id, joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.unknowns.fresh()))
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.check(&mut entry.key);
            keys = Some(self.join(entry.key.id, keys, key));
            let value = self.check(&mut entry.value);
            let value = self.entry_type(entry.value.id, value, entry.optional);
            values = Some(self.join(entry.value.id, values, value));
        }
        let key = keys.unwrap_or_else(|| self.unknowns.fresh());
        Type::map(key, values.unwrap_or_else(|| self.unknowns.fresh()))
    }

    fn message(&mut self, id: u32, message: &mut Message) -> Type {
        let Some(ty) = self.env.message(&message.name) else {
            return match self.lookup(&message.name) {
                Some(Type::Type(_)) => {
                    self.mistake(id, format!("'{}' is not a message type", message.name))
                }
                Some(ty) => self.mistake(id, format!("'{ty}' is not a type")),
                None => self.undeclared(id, &message.name),
            };
        };
        for field in &mut message.fields {
            let found = self.check(&mut field.value);
            let found = self.entry_type(field.id, found, field.optional);
            let expected = self.field(field.id, &ty, &field.name);
            if !self.unknowns.assignable(&expected, &found) {
                let expected = self.unknowns.resolve(&expected, false);
                let found = self.unknowns.resolve(&found, false);
                let name = &field.name;
                let message = format!(
                    "expected type of field '{name}' is '{expected}' but provided type is '{found}'"
                );
                self.mistake(field.id, message);
            }
        }
        ty
    }

    /// What an element adds: an optional one what is in it.
    fn entry_type(&mut self, id: u32, ty: Type, optional: bool) -> Type {
        if !optional {
            return ty;
        }
        match self.unknowns.resolve(&ty, false) {
            Type::Optional(inner) => (*inner).clone(),
            ty if ty.is_dyn() => Type::Dyn,
            ty => {
                let expected = Type::optional(ty.clone());
                self.mistake(id, format!("expected type '{expected}' but found '{ty}'"))
            }
        }
    }

    fn join(&mut self, id: u32, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else {
            return current;
        };
        if self.unknowns.assignable(&previous, &current) {
            return if previous.is_dyn() { previous } else { current };
        }
        let previous = self.unknowns.resolve(&previous, false);
        let current = self.unknowns.resolve(&current, false);
        self.mistake(id, format!("expected type '{previous}' but found '{current}'"))
    }

    fn comprehension(&mut self, of_loop: &mut Comprehension) -> Type {
        let range = self.check(&mut of_loop.range);
        let accumulator = self.check(&mut of_loop.init);
        let (first, second) = match self.unknowns.resolve(&range, false) {
            Type::List(item) if of_loop.second.is_some() => (Type::Int, (*item).clone()),
            Type::List(item) => ((*item).clone(), Type::Dyn),
            Type::Map(key, value) => ((*key).clone(), (*value).clone()),
            Type::Dyn | Type::Error => (Type::Dyn, Type::Dyn),
            Type::Var(_) => {
                self.unknowns.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            ty => {
                let message = format!(
                    "expression of type '{ty}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                (self.mistake(of_loop.range.id, message), Type::Error)
            }
        };
        let outside = self.locals.len();
        self.locals.push((of_loop.accumulator.clone(), accumulator.clone()));
        self.locals.push((of_loop.variable.clone(), first));
        if let Some(variable) = &of_loop.second {
            self.locals.push((variable.clone(), second));
        }
        let condition = self.check(&mut of_loop.condition);
        self.expect(of_loop.condition.id, &Type::Bool, &condition);
        let step = self.check(&mut of_loop.step);
        self.expect(of_loop.step.id, &accumulator, &step);
        self.locals.truncate(outside + 1);
        let result = self.check(&mut of_loop.result);
        self.locals.truncate(outside);
        self.unknowns.resolve(&result, false)
    }

    fn expect(&mut self, id: u32, expected: &Type, actual: &Type) {
        if !self.unknowns.assignable(expected, actual) {
            let expected = self.unknowns.resolve(expected, false);
            let actual = self.unknowns.resolve(actual, false);
            self.mistake(id, format!("expected type '{expected}' but found '{actual}'"));
        }
    }

    // Calls.

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call(call) = &mut expr.kind else {
            return Type::Error;
        };
        if &*call.function == operator::OPTIONAL_SELECT {
            return self.optional_select(id, call);
        }
        self.join_namespace(call);
        let mut args = Vec::with_capacity(call.args.len() + 1);
        let member = call.target.is_some();
        if let Some(target) = &mut call.target {
            args.push(self.check(target));
        }
        for arg in &mut call.args {
            args.push(self.check(arg));
        }
        let Some(function) = self.env.function(&call.function) else {
            let name = call.function.clone();
            return self.undeclared(id, &name);
        };
        let ty = self.resolve_overloads(id, &call.function, function, &args, member);
        self.literal_arguments(call);
        ty
    }

    /// `a.b.c(x)` is a function called `a.b.c` when there is one.
    fn join_namespace(&self, call: &mut Call) {
        let Some(namespace) = call.target.as_ref().and_then(|target| target.qualified_name())
        else {
            return;
        };
        let root = namespace.split('.').next().unwrap_or_default();
        let name = format!("{namespace}.{}", call.function);
        if !self.locals.iter().any(|(local, _)| **local == *root)
            && self.env.function(&name).is_some()
        {
            call.function = name.into();
            call.target = None;
        }
    }

    fn resolve_overloads(
        &mut self,
        id: u32,
        name: &str,
        overloads: &'static [Overload],
        args: &[Type],
        member: bool,
    ) -> Type {
        let mut result: Option<Type> = None;
        let mut fitting = Vec::new();
        for overload in overloads {
            if overload.member != member || overload.args.len() != args.len() {
                continue;
            }
            let (declared, returned) = self.unknowns.instantiate(overload);
            if !self.unknowns.all_assignable(&declared, args) {
                continue;
            }
            fitting.push(overload);
            let returned = self.unknowns.resolve(&returned, false);
            result = Some(match result {
                Some(earlier) if earlier == returned || earlier.is_dyn() => earlier,
                Some(_) => Type::Dyn,
                None => returned,
            });
        }
        let Some(result) = result else {
            let shown: Vec<String> =
                args.iter().map(|ty| self.unknowns.resolve(ty, true).to_string()).collect();
            let signature = match shown.split_first() {
                Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            let message =
                format!("found no matching overload for '{name}' applied to '{signature}'");
            return self.mistake(id, message);
        };
        self.overloads.insert(id, fitting);
        result
    }

    fn optional_select(&mut self, id: u32, call: &mut Call) -> Type {
        let [operand, name] = &mut call.args[..] else {
            return Type::Error;
        };
        let of = self.check(operand);
        self.check(name);
        let Kind::Literal(Value::String(field)) = &name.kind else {
            return Type::Error;
        };
        let field = field.clone();
        if let Some(function) = library::function(operator::OPTIONAL_SELECT) {
            self.overloads.insert(id, function.iter().collect());
        }
        match self.field(id, &of, &field) {
            Type::Error => Type::Error,
            Type::Optional(inner) => Type::Optional(inner),
            ty => Type::optional(ty),
        }
    }

    /// Literals that are parsed while evaluating are looked at now.
    fn literal_arguments(&mut self, call: &Call) {
        let function = &*call.function;
        let valid = |text: &str| match function {
            "duration" => machinery::duration::parse_nanos(text).is_ok(),
            "timestamp" => library::time::parse_timestamp(text).is_some(),
            "matches" | "find" | "findAll" => library::regex::compile(text).is_ok(),
            _ => true,
        };
        let literal = match function {
            "duration" | "timestamp" if call.args.len() == 1 => call.args.first(),
            "matches" | "find" | "findAll" => call.args.get(usize::from(call.target.is_none())),
            _ => None,
        };
        if let Some(Expr { id, kind: Kind::Literal(Value::String(text)) }) = literal
            && !valid(text)
        {
            self.mistake(*id, format!("invalid {function} argument"));
        }
    }

    fn mistake(&mut self, id: u32, message: String) -> Type {
        let position = self.positions.get(id as usize).copied();
        self.mistakes.push(Mistake { position, message });
        Type::Error
    }
}
