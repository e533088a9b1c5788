//! The cost of an expression before it runs, from the declared sizes of its variables.

use std::collections::HashMap;
use std::sync::Arc;

use super::functions::{self, Arg, Estimate};
use super::range::Range;
use super::{CREATE_LIST, CREATE_MAP, CREATE_MESSAGE, NAME, REGEX, TRAVERSAL};
use crate::ast::{Call, Comprehension, Expr, Kind, RESULT};
use crate::checker::Checked;
use crate::env::Env;
use crate::types::Type;
use crate::value::Value;

/// Estimates.
pub(crate) fn estimate(checked: &Checked, env: &Env) -> Range {
    let mut coster = Coster {
        checked,
        env,
        paths: HashMap::new(),
        locals: Vec::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.cost(&checked.expr)
}

/// How to reach a value from a variable: its name, then fields and the steps below. Empty when it
/// cannot be reached.
type Path = Option<Arc<Steps>>;

#[derive(Debug)]
struct Steps {
    before: Path,
    step: Step,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(Arc<str>),
    Items,
    Keys,
    Values,
    Indices,
}

/// Sizes of what a container holds.
#[derive(Clone, Copy, Debug)]
struct Entries {
    map: bool,
    key: Range,
    value: Range,
}

struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Coster<'a> {
    checked: &'a Checked,
    env: &'a Env,
    paths: HashMap<u32, Path>,
    locals: Vec<Local>,
    sizes: HashMap<u32, Range>,
    entries: HashMap<u32, Entries>,
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::fixed(0),
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => below(None, Step::Name(name.clone())),
                };
                self.paths.insert(expr.id, path);
                Range::fixed(NAME)
            }
            Kind::Select(select) => {
                let cost = self.cost(&select.operand);
                if select.test_only {
                    return cost;
                }
                let path = below(self.path(&select.operand), Step::Name(select.field.clone()));
                self.paths.insert(expr.id, path);
                match self.ty(&select.operand) {
                    Type::Map(..) | Type::Object(_) | Type::Param(_) | Type::Var(_) => {
                        cost.plus(Range::fixed(NAME))
                    }
                    _ => cost,
                }
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements) => {
                let mut cost = Range::fixed(CREATE_LIST);
                let mut item = Range::new(if elements.is_empty() { 0 } else { u64::MAX }, 0);
                for element in elements {
                    cost = cost.plus(self.cost(&element.value));
                    item = item.union(self.size_or_unknown(&element.value));
                }
                let entries = Entries { map: false, key: Range::fixed(1), value: item };
                self.entries.insert(expr.id, entries);
                cost
            }
            Kind::Map(entries) => {
                let mut cost = Range::fixed(CREATE_MAP);
                let start = Range::new(if entries.is_empty() { 0 } else { u64::MAX }, 0);
                let (mut key, mut value) = (start, start);
                for entry in entries {
                    cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.union(self.size_or_unknown(&entry.key));
                    value = value.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entries { map: true, key, value });
                cost
            }
            Kind::Message(message) => {
                let costs = message.fields.iter().map(|field| self.cost(&field.value));
                costs.fold(Range::fixed(CREATE_MESSAGE), Range::plus)
            }
            Kind::Comprehension(of_loop) if binds(of_loop) => self.binding(expr, of_loop),
            Kind::Comprehension(of_loop) => self.comprehension(expr, of_loop),
        }
    }

    // Loops.

    fn binding(&mut self, expr: &Expr, of_loop: &Comprehension) -> Range {
        let mut cost = self.cost(&of_loop.range).plus(self.cost(&of_loop.init));
        self.push_accumulator(of_loop);
        cost = cost.plus(self.cost(&of_loop.result));
        let (size, entries) = (self.size(&of_loop.result), self.entries_of(&of_loop.result));
        self.locals.pop();
        self.set(expr, size, entries);
        cost
    }

    fn comprehension(&mut self, expr: &Expr, of_loop: &Comprehension) -> Range {
        let mut cost = self.cost(&of_loop.range).plus(self.cost(&of_loop.init));
        self.push_accumulator(of_loop);
        let inside = self.locals.len();
        self.push_variables(of_loop);
        let turn = self.cost(&of_loop.condition).plus(self.cost(&of_loop.step));
        let step_entries = self.entries_of(&of_loop.step);
        self.locals.truncate(inside);
        cost = cost.plus(self.cost(&of_loop.result));
        self.locals.pop();
        let turns = self.size_or_unknown(&of_loop.range);
        cost = cost.plus(turns.times(turn));
        match &of_loop.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&of_loop.init);
                self.set(expr, size, None);
            }
            Kind::List(_) | Kind::Map(_) => self.set(expr, Some(turns), step_entries),
            _ => {}
        }
        cost
    }

    fn push_accumulator(&mut self, of_loop: &Comprehension) {
        let local = Local {
            name: of_loop.accumulator.clone(),
            path: self.path(&of_loop.init),
            size: self.size(&of_loop.init),
            entries: self.entries_of(&of_loop.init),
        };
        self.locals.push(local);
    }

    fn push_variables(&mut self, of_loop: &Comprehension) {
        let range = &of_loop.range;
        let entries = self.entries_of(range);
        let map = entries.map_or(!matches!(self.ty(range), Type::List(_)), |entries| entries.map);
        let path = self.path(range);
        let key = (if map { Step::Keys } else { Step::Indices }, entries.map(|e| e.key));
        let value = (if map { Step::Values } else { Step::Items }, entries.map(|e| e.value));
        let mut push = |name: &Arc<str>, (step, size): (Step, Option<Range>)| {
            let path = below(path.clone(), step);
            self.locals.push(Local { name: name.clone(), path, size, entries: None });
        };
        match &of_loop.second {
            Some(second) => {
                push(&of_loop.variable, key);
                push(second, value);
            }
            None if map => push(&of_loop.variable, key),
            None => push(&of_loop.variable, value),
        }
    }

    // Calls.

    fn call(&mut self, expr: &Expr, call: &Call) -> Range {
        if &*call.function == "dyn"
            && let [arg] = &call.args[..]
        {
            let cost = self.cost(arg).plus(Range::fixed(1));
            let (size, entries) = (self.size(arg), self.entries_of(arg));
            self.set(expr, size, entries);
            return cost;
        }
        let costs: Vec<Range> = call.args.iter().map(|arg| self.cost(arg)).collect();
        let target_cost = call.target.as_ref().map(|target| self.cost(target)).unwrap_or_default();
        let overloads = self.checked.overloads.get(&expr.id).map_or(&[][..], Vec::as_slice);
        let mut total = Range::new(u64::MAX, 0);
        let mut result: Option<Range> = None;
        for overload in overloads {
            let estimate = self.overload(expr, call, overload.id, &costs);
            total = total.union(estimate.cost);
            result = match (result, estimate.result) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            let step = match overload.id {
                "index_list" => Some(Step::Items),
                "index_map" => Some(Step::Values),
                _ => None,
            };
            if let (Some(step), Some(container)) = (step, call.args.first()) {
                result = self.entries_of(container).map(|entries| entries.value);
                let path = below(self.path(container), step);
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if overloads.is_empty() {
            return Range::default();
        }
        self.set(expr, result, None);
        total.plus(target_cost)
    }

    fn overload(&mut self, expr: &Expr, call: &Call, overload: &str, costs: &[Range]) -> Estimate {
        let sum = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        let target_size = call.target.as_ref().map(|target| self.size_or_unknown(target));
        let sizes: Vec<Range> = call.args.iter().map(|arg| self.size_or_unknown(arg)).collect();
        let target_item = call.target.as_ref().and_then(|target| self.item_size(target));
        {
            let target = call.target.as_ref().map(|target| Arg {
                size: target_size.unwrap_or(Range::UNKNOWN),
                ty: self.ty(target),
                item: target_item,
                literal: None,
            });
            let args: Vec<Arg<'_>> = call
                .args
                .iter()
                .zip(&sizes)
                .map(|(arg, size)| Arg {
                    size: *size,
                    ty: self.ty(arg),
                    item: None,
                    literal: match arg.kind {
                        Kind::Literal(Value::Int(number)) => Some(number),
                        _ => None,
                    },
                })
                .collect();
            if let Some(estimate) =
                functions::of_call(&call.function, overload, target.as_ref(), &args)
            {
                return Estimate { cost: estimate.cost.plus(sum), ..estimate };
            }
        }
        let target = target_size.unwrap_or(Range::UNKNOWN);
        let plain = |cost: Range| Estimate { cost: cost.plus(sum), result: None };
        match (overload, &sizes[..]) {
            ("string_format", _) => {
                Estimate { result: Some(Range::UNKNOWN), ..plain(target.scaled(TRAVERSAL)) }
            }
            ("string_to_bytes", [size]) => Estimate {
                result: Some(Range::new(size.min, size.max.saturating_mul(4))),
                ..plain(size.scaled(TRAVERSAL))
            },
            ("bytes_to_string", [size]) => Estimate {
                result: Some(Range::new(size.min / 4, size.max)),
                ..plain(size.scaled(TRAVERSAL))
            },
            ("strings_quote", [size]) => Estimate {
                result: Some(size.times(Range::new(1, 2)).plus(Range::fixed(2))),
                ..plain(size.scaled(TRAVERSAL))
            },
            ("starts_with_string" | "ends_with_string", [size]) => plain(size.scaled(TRAVERSAL)),
            ("in_list", [_, list]) => plain(*list),
            ("matches_string", [regex]) if call.target.is_some() => {
                let text = target.plus(Range::fixed(1)).scaled(TRAVERSAL);
                plain(text.times(regex.scaled(REGEX)))
            }
            ("contains_string", [part]) => {
                plain(target.scaled(TRAVERSAL).times(part.scaled(TRAVERSAL)))
            }
            ("logical_or" | "logical_and", _) => match costs {
                // Deciding on the left costs no more than the left.
                [left, right] => {
                    Estimate { cost: Range::new(left.min, left.plus(*right).max), result: None }
                }
                _ => plain(Range::fixed(1)),
            },
            ("conditional", [_, yes, no]) => {
                let entries = match &call.args[..] {
                    [_, a, b] => joined(self.entries_of(a), self.entries_of(b)),
                    _ => None,
                };
                self.set(expr, None, entries);
                let cost = match costs {
                    [condition, a, b] => condition.plus(a.union(*b)),
                    _ => sum,
                };
                Estimate { cost, result: Some(yes.union(*no)) }
            }
            ("add_string" | "add_bytes" | "add_list", [left, right]) => {
                let size = left.plus(*right);
                if let [a, b] = &call.args[..] {
                    let entries = joined(self.entries_of(a), self.entries_of(b));
                    self.set(expr, None, entries);
                }
                let cost = match overload {
                    "add_list" => Range::fixed(1),
                    _ => size.scaled(TRAVERSAL),
                };
                Estimate { result: Some(size), ..plain(cost) }
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                [left, right],
            ) => {
                let most = left.max.min(right.max);
                plain(Range::new(u64::from(most > 0), most).scaled(TRAVERSAL))
            }
            _ => plain(Range::fixed(1)),
        }
    }

    // What is known.

    fn ty(&self, expr: &Expr) -> &Type {
        &self.checked.types[expr.id as usize]
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| *local.name == *name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Some(name) = expr.as_ident()
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().flatten()
    }

    fn set(&mut self, expr: &Expr, size: Option<Range>, entries: Option<Entries>) {
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        if let Some(entries) = entries {
            self.entries.insert(expr.id, entries);
        }
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        self.entries.get(&expr.id).copied().or_else(|| self.local(expr.as_ident()?)?.entries)
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        let written = match &expr.kind {
            Kind::Literal(value) => Some(value.size()),
            Kind::List(elements) => Some(elements.len() as u64),
            Kind::Map(entries) => Some(entries.len() as u64),
            _ => None,
        };
        if let Some(size) = written {
            return Some(Range::fixed(size));
        }
        if let Some(size) = self.declared(&self.path(expr)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if scalar(self.ty(expr)) {
            return Some(Range::fixed(1));
        }
        self.local(expr.as_ident()?)?.size
    }

    fn item_size(&self, list: &Expr) -> Option<Range> {
        let Type::List(item) = self.ty(list) else {
            return None;
        };
        let path = self.path(list);
        let declared = path.is_some().then(|| self.declared(&below(path, Step::Items))).flatten();
        declared.or_else(|| scalar(item).then(|| Range::fixed(1)))
    }

    /// The size that the schema of a variable declares.
    fn declared(&self, path: &Path) -> Option<Range> {
        let mut steps = Vec::new();
        let mut at = path.as_ref();
        while let Some(step) = at {
            steps.push(&step.step);
            at = step.before.as_ref();
        }
        // Whatever a path starts from is taken for the root, as upstream does: variables hold it,
        // and what was computed from it is no larger in practice.
        steps.pop()?;
        let mut decl = self.env.sizes()?;
        while let Some(step) = steps.pop() {
            decl = match step {
                Step::Items | Step::Values => decl.element()?,
                Step::Keys => return Some(Range::new(0, decl.key_size()?)),
                Step::Indices => return None,
                Step::Name(name) => decl.field(name)?,
            };
        }
        Some(Range::new(0, decl.max_elements()))
    }
}

fn below(before: Path, step: Step) -> Path {
    Some(Arc::new(Steps { before, step }))
}

fn joined(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
    let (a, b) = (a?, b?);
    Some(Entries { map: a.map, key: a.key.union(b.key), value: a.value.union(b.value) })
}

/// A loop that only sets a variable.
fn binds(of_loop: &Comprehension) -> bool {
    matches!(&of_loop.range.kind, Kind::List(elements) if elements.is_empty())
        && matches!(of_loop.condition.kind, Kind::Literal(Value::Bool(false)))
        && *of_loop.accumulator != *RESULT
}

fn scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        Type::Optional(inner) => scalar(inner),
        _ => false,
    }
}
