//! `ValidatingAdmissionPolicy`: what must hold, and what is noted for the audit log.

use machinery::Value as Json;
use machinery::field::{ErrorList, Path};

use super::expression::{Compiled, Compiler, Variables};
use super::scope::{Scope, Trouble};
use super::{Conditions, Input, items, text};
use crate::RUNTIME_BUDGET;
use crate::types::Type;
use crate::value::Value;

/// Longest message that an expression may compute, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;

/// The expressions of a `ValidatingAdmissionPolicy`.
#[derive(Debug)]
pub struct Validating {
    /// Whether the policy looks at a request.
    pub conditions: Conditions,
    variables: Variables,
    validations: Vec<Validation>,
    annotations: Vec<(String, Compiled)>,
}

/// One validation.
#[derive(Debug)]
struct Validation {
    expression: Compiled,
    message: String,
    message_expression: Option<Compiled>,
    reason: String,
}

/// A validation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one, from zero.
    pub index: usize,
    /// Why.
    pub message: String,
    /// The reason that the policy gives, may be empty.
    pub reason: String,
    /// Whether an expression could not be evaluated, so that the failure policy decides.
    pub error: bool,
}

/// What a policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What does not hold.
    pub failures: Vec<Failure>,
    /// Audit annotations, by their keys.
    pub annotations: Vec<(String, String)>,
    /// Why there are no others. The failure policy decides what that means.
    pub annotation_errors: Vec<String>,
}

impl Validating {
    /// Compiles the expressions of a policy's `spec`.
    pub fn new(spec: &Json) -> Self {
        let mut compiler = Compiler::untyped(spec);
        let conditions = Conditions::compile(spec, &compiler);
        let variables = compiler.variables(spec);
        let validation = |item| Validation::new(item, &compiler);
        let annotation = |item: &Json| {
            let types = [Type::String, Type::Null];
            (text(item, "key"), compiler.compile(&text(item, "valueExpression"), &types))
        };
        Self {
            conditions,
            variables,
            validations: items(spec, "validations").map(validation).collect(),
            annotations: items(spec, "auditAnnotations").map(annotation).collect(),
        }
    }

    /// Reports the expressions that do not compile, those of conditions aside. `path` is that of
    /// the `spec`.
    pub fn check(&self, path: &Path, errors: &mut ErrorList) {
        check_variables(&self.variables, path, errors);
        for (at, validation) in self.validations.iter().enumerate() {
            let path = path.child("validations").index(at);
            validation.expression.check(&path.child("expression"), errors);
            if let Some(message) = &validation.message_expression {
                message.check(&path.child("messageExpression"), errors);
            }
        }
        for (at, (_, compiled)) in self.annotations.iter().enumerate() {
            let path = path.child("auditAnnotations").index(at);
            compiled.check(&path.child("valueExpression"), errors);
        }
    }

    /// Evaluates the validations and annotations.
    pub fn evaluate(&self, input: &Input<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        match self.failures(input) {
            Ok(failures) => outcome.failures = failures,
            // What was found before is given up with the rest.
            Err(trouble) => {
                let (message, reason) = (trouble.to_string(), String::new());
                outcome.failures.push(Failure { index: 0, message, reason, error: true });
                return outcome;
            }
        }
        let scope = Scope::new(&self.variables, input, RUNTIME_BUDGET);
        for (key, annotation) in &self.annotations {
            match scope.evaluate(annotation) {
                Ok(Value::String(value)) if !value.trim().is_empty() => {
                    outcome.annotations.push((key.clone(), value.trim().to_owned()));
                }
                Ok(_) => {}
                Err(trouble) => outcome.annotation_errors.push(trouble.to_string()),
            }
        }
        outcome
    }

    fn failures(&self, input: &Input<'_>) -> Result<Vec<Failure>, Trouble> {
        let scope = Scope::new(&self.variables, input, RUNTIME_BUDGET);
        let mut failures = Vec::new();
        for (index, validation) in self.validations.iter().enumerate() {
            let (message, error) = match scope.evaluate(&validation.expression) {
                Ok(Value::Bool(true)) => continue,
                Ok(_) => match validation.explain(&scope) {
                    Ok(message) => (message, false),
                    Err(trouble) => (format!("failed messageExpression: {trouble}"), true),
                },
                Err(Trouble::Failed(why)) => (why, true),
                Err(trouble @ Trouble::OutOfBudget) => return Err(trouble),
            };
            let reason = if error { String::new() } else { validation.reason.clone() };
            failures.push(Failure { index, message, reason, error });
        }
        Ok(failures)
    }
}

pub(super) fn check_variables(variables: &Variables, path: &Path, errors: &mut ErrorList) {
    for (at, (_, compiled)) in variables.iter().enumerate() {
        compiled.check(&path.child("variables").index(at).child("expression"), errors);
    }
}

impl Validation {
    fn new(item: &Json, compiler: &Compiler) -> Self {
        let message = text(item, "messageExpression");
        Self {
            expression: compiler.compile(&text(item, "expression"), &[Type::Bool]),
            message: text(item, "message").trim().to_owned(),
            message_expression: (!message.trim().is_empty())
                .then(|| compiler.compile(&message, &[Type::String])),
            reason: text(item, "reason"),
        }
    }

    /// What to say when the validation does not hold. A message that cannot be computed is not
    /// used, unless nothing is left to compute it with.
    fn explain(&self, scope: &Scope<'_>) -> Result<String, Trouble> {
        match self.message_expression.as_ref().map(|message| scope.evaluate(message)) {
            Some(Err(trouble @ Trouble::OutOfBudget)) => return Err(trouble),
            Some(Ok(Value::String(message))) => {
                let message = message.trim();
                if !message.is_empty() && message.len() <= MAX_MESSAGE && !message.contains('\n') {
                    return Ok(message.to_owned());
                }
            }
            _ => {}
        }
        Ok(match self.message.as_str() {
            "" => format!("failed expression: {}", self.expression.text.trim()),
            message => message.to_owned(),
        })
    }
}
