//! Evaluating the expressions of a policy about one request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::Input;
use super::expression::{self, Compiled};
use super::request::{NAMESPACE, REQUEST};
use crate::PER_CALL_LIMIT;
use crate::eval::{EvalError, Evaluation, Variables};
use crate::value::{Opaque, Value};

/// The variables of one request. Those of the policy are evaluated when first used, once.
pub(super) struct Scope<'a> {
    variables: &'a expression::Variables,
    given: HashMap<&'static str, Value>,
    computed: RefCell<HashMap<String, Result<Value, EvalError>>>,
    left: Cell<u64>,
}

/// Why an expression has no value.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nothing else is evaluated.
    #[error(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )]
    OutOfBudget,
    #[error("{0}")]
    Failed(String),
}

impl<'a> Scope<'a> {
    /// For at most `budget` units of cost.
    pub(super) fn new(
        variables: &'a expression::Variables,
        input: &Input<'_>,
        budget: u64,
    ) -> Self {
        let authorizer = Value::Opaque(Opaque::Authorizer(input.authorizer.clone()));
        let check = input.authorizer.request_check(input.request);
        let given = HashMap::from([
            ("object", Value::from_json(input.object)),
            ("oldObject", Value::from_json(input.old_object)),
            ("request", REQUEST.value(input.request)),
            ("params", Value::from_json(input.params)),
            ("namespaceObject", NAMESPACE.value(input.namespace)),
            ("authorizer", authorizer),
            ("authorizer.requestResource", check),
        ]);
        Self { variables, given, computed: RefCell::default(), left: Cell::new(budget) }
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// Why there is none, naming the expression.
    pub(super) fn evaluate(&self, compiled: &Compiled) -> Result<Value, Trouble> {
        let program = compiled.program.as_ref();
        let program =
            program.map_err(|error| Trouble::Failed(format!("compilation error: {error}")))?;
        let Evaluation { result, cost } = program.evaluate(self, PER_CALL_LIMIT);
        if !self.spend(cost) {
            return Err(Trouble::OutOfBudget);
        }
        result.map_err(|error| {
            let text = &compiled.text;
            Trouble::Failed(format!("expression '{text}' resulted in error: {error}"))
        })
    }

    fn spend(&self, cost: u64) -> bool {
        let left = self.left.get().checked_sub(cost);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    fn compute(&self, name: &str) -> Option<Result<Value, EvalError>> {
        let (_, compiled) = self.variables.iter().find(|(variable, _)| variable == name)?;
        let value = match &compiled.program {
            Err(error) => Err(format!("composited variable {name:?} fails to compile: {error}")),
            Ok(program) => {
                let Evaluation { result, cost } = program.evaluate(self, PER_CALL_LIMIT);
                // Who uses the variable finds out that nothing is left.
                self.spend(cost);
                result.map_err(|error| {
                    format!("composited variable {name:?} fails to evaluate: {error}")
                })
            }
        };
        let value = value.map_err(EvalError::message);
        self.computed.borrow_mut().insert(name.to_owned(), value.clone());
        Some(value)
    }
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<Result<Value, EvalError>> {
        if let Some(value) = self.given.get(name) {
            return Some(Ok(value.clone()));
        }
        let name = name.strip_prefix("variables.")?;
        if let Some(value) = self.computed.borrow().get(name) {
            return Some(value.clone());
        }
        self.compute(name)
    }
}
