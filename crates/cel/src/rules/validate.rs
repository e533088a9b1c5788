//! Applies rules to an object.

use std::collections::BTreeMap;

use machinery::Value as Json;
use machinery::field::{Error, ErrorList, Path};

use super::rule::{Reason, Rule};
use super::{Budget, Keyed, Node};
use crate::PER_CALL_LIMIT;
use crate::env::Program;
use crate::eval::EvalError;
use crate::value::Value;

/// Longest message that an expression may compute, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

pub(super) fn validate(
    root: &Node,
    path: &Path,
    new: &Json,
    old: Option<&Json>,
    budget: &mut Budget,
) -> ErrorList {
    let mut run = Run { errors: ErrorList::default(), budget };
    let unchanged = match old {
        Some(old) => Unchanged::Compare(new, old),
        None => Unchanged::Never,
    };
    run.node(root, path, new, old, unchanged, true);
    run.errors
}

struct Run<'a> {
    errors: ErrorList,
    budget: &'a mut Budget,
}

/// Whether what a mistake is about is as it was before, which makes it a warning.
#[derive(Clone, Copy)]
enum Unchanged<'a> {
    /// There was nothing, or it could not be told.
    Never,
    /// When these two are equal: the value itself, or the nearest one above that has a counterpart.
    Compare(&'a Json, &'a Json),
}

impl Unchanged<'_> {
    fn holds(self) -> bool {
        matches!(self, Self::Compare(new, old) if new == old)
    }
}

impl Run<'_> {
    fn node(
        &mut self,
        node: &Node,
        path: &Path,
        new: &Json,
        old: Option<&Json>,
        unchanged: Unchanged<'_>,
        root: bool,
    ) {
        if new.is_null() || self.budget.exhausted() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(node, path, new, old, unchanged);
        for all_of in &node.all_of {
            // Nothing below `allOf` counts as unchanged, as in the validation of schemas.
            self.node(all_of, path, new, old, Unchanged::Never, root);
        }
        match new {
            Json::Array(items) => self.items(node, path, items, old, unchanged),
            Json::Object(fields) => self.fields(node, path, fields, old, unchanged, root),
            _ => {}
        }
    }

    fn items(
        &mut self,
        node: &Node,
        path: &Path,
        items: &[Json],
        old: Option<&Json>,
        unchanged: Unchanged<'_>,
    ) {
        let Some(of_item) = &node.items else {
            return;
        };
        let old_items = old.and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let old_items = node.list_keys.as_deref().map(|keys| Keyed::new(old_items, keys));
        for (at, item) in items.iter().enumerate() {
            if self.budget.exhausted() {
                return;
            }
            let old = old_items.as_ref().and_then(|old| old.find(item));
            let unchanged = old.map_or(unchanged, |old| Unchanged::Compare(item, old));
            self.node(of_item, &path.index(at), item, old, unchanged, false);
        }
    }

    fn fields(
        &mut self,
        node: &Node,
        path: &Path,
        fields: &serde_json::Map<String, Json>,
        old: Option<&Json>,
        unchanged: Unchanged<'_>,
        root: bool,
    ) {
        let old_of =
            |name: &str| old.filter(|_| node.fields_correlate).and_then(|old| old.get(name));
        for (name, value) in fields {
            if self.budget.exhausted() {
                return;
            }
            let old = old_of(name);
            let unchanged = match old {
                // The versions and kinds of old and new are made the same before they get here.
                _ if root && matches!(name.as_str(), "apiVersion" | "kind") => Unchanged::Never,
                Some(old) => Unchanged::Compare(value, old),
                None => unchanged,
            };
            if let Some(child) = node.properties.get(name) {
                self.node(child, &path.child(name.clone()), value, old, unchanged, false);
            }
            if let Some(child) = &node.values {
                self.node(child, &path.key(name.as_str()), value, old, unchanged, false);
            }
        }
    }

    fn rules(
        &mut self,
        node: &Node,
        path: &Path,
        new: &Json,
        old: Option<&Json>,
        unchanged: Unchanged<'_>,
    ) {
        if node.rules.is_empty() {
            return;
        }
        if self.budget.left <= 0 {
            self.errors.push(Error::invalid(path, node.ty.as_str(), OUT_OF_BUDGET));
            self.budget.exhaust();
            return;
        }
        // Where the schema declares nothing, no rule compiled.
        let value = |json| node.decl.as_ref().map_or(Value::Null, |decl| decl.value(json));
        let new = value(new);
        let uses_old = node.rules.iter().flatten().any(|rule| rule.uses_old_self);
        let old = old.filter(|_| uses_old).map(value);
        for rule in &node.rules {
            let rule = match rule {
                Ok(rule) => rule,
                Err(detail) => {
                    self.errors.push(Error::invalid(path, node.ty.as_str(), detail.as_str()));
                    continue;
                }
            };
            if rule.uses_old_self && old.is_none() && !rule.optional_old_self {
                continue;
            }
            let mut variables = BTreeMap::from([("self".to_owned(), new.clone())]);
            let old = match (&old, rule.optional_old_self) {
                (Some(old), true) => Some(Value::some(old.clone())),
                (None, true) => Some(Value::none()),
                (old, false) => old.clone(),
            };
            variables.extend(old.map(|old| ("oldSelf".to_owned(), old)));
            self.rule(node, rule, path, &variables, unchanged);
            if self.budget.exhausted() {
                return;
            }
        }
    }

    fn rule(
        &mut self,
        node: &Node,
        rule: &Rule,
        path: &Path,
        variables: &BTreeMap<String, Value>,
        unchanged: Unchanged<'_>,
    ) {
        let detail = match self.paid(&rule.program, variables) {
            None => OUT_OF_BUDGET.to_owned(),
            Some(Ok(Value::Bool(true))) => return,
            Some(Ok(_)) => return self.broken(node, rule, path, variables, unchanged),
            Some(Err(error @ EvalError::NoOverload(_))) => format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                rule.shown()
            ),
            Some(Err(error @ EvalError::CostLimit)) => format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                rule.shown()
            ),
            Some(Err(error)) => format!("{error} evaluating rule: {}", rule.shown()),
        };
        self.errors.push(Error::invalid(path, node.ty.as_str(), detail));
    }

    /// What an expression gives, paid for; `None` when there is not enough left to pay. One that
    /// takes too much by itself takes all that is left.
    fn paid(
        &mut self,
        program: &Program,
        variables: &BTreeMap<String, Value>,
    ) -> Option<Result<Value, EvalError>> {
        let evaluation = program.evaluate(variables, PER_CALL_LIMIT);
        if !self.budget.spend(evaluation.cost) {
            return None;
        }
        if matches!(evaluation.result, Err(EvalError::CostLimit)) {
            self.budget.exhaust();
        }
        Some(evaluation.result)
    }

    /// Says that a rule does not hold.
    fn broken(
        &mut self,
        node: &Node,
        rule: &Rule,
        path: &Path,
        variables: &BTreeMap<String, Value>,
        unchanged: Unchanged<'_>,
    ) {
        let path = match &rule.field_path {
            Some(below) => path.child(below.clone()),
            None => path.clone(),
        };
        let computed = rule
            .message_expression
            .as_ref()
            .map(|(text, program)| self.message(text, program, variables));
        let error = match computed {
            Some(Err(detail)) => Error::invalid(&path, node.ty.as_str(), detail),
            computed => {
                let message = computed.and_then(Result::ok).flatten();
                let detail = message.unwrap_or_else(|| rule.default_message());
                match rule.reason {
                    Reason::Invalid => Error::invalid(&path, node.ty.as_str(), detail),
                    Reason::Forbidden => Error::forbidden(&path, detail),
                    Reason::Required => Error::required(&path, detail),
                    Reason::Duplicate => Error::duplicate(&path, node.ty.as_str()),
                }
            }
        };
        if !rule.uses_old_self && unchanged.holds() {
            self.budget.warnings.push(error.to_string());
        } else {
            self.errors.push(error);
        }
    }

    /// Computes a message; `None` when the default one has to do.
    ///
    /// # Errors
    /// The text of the error that ends the validation.
    fn message(
        &mut self,
        text: &str,
        program: &Program,
        variables: &BTreeMap<String, Value>,
    ) -> Result<Option<String>, String> {
        match self.paid(program, variables) {
            None => Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned()),
            Some(Err(EvalError::CostLimit)) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {text:?}"
            )),
            Some(Ok(Value::String(message))) => {
                let message = message.trim();
                let usable =
                    !message.is_empty() && message.len() <= MAX_MESSAGE && !message.contains('\n');
                Ok(usable.then(|| message.to_owned()))
            }
            _ => Ok(None),
        }
    }
}
