//! Match conditions: whether a policy or webhook looks at a request.

use machinery::Value as Json;
use machinery::field::{ErrorList, Path};

use super::expression::{Compiled, Compiler, Variables};
use super::scope::{Scope, Trouble};
use super::{Input, items, text};
use crate::RUNTIME_BUDGET;
use crate::types::Type;
use crate::value::Value;

/// What all conditions may cost together.
const BUDGET: u64 = RUNTIME_BUDGET / 4;

/// The `matchConditions` of a policy or of a webhook.
#[derive(Debug)]
pub struct Conditions {
    all: Vec<Compiled>,
    /// There are none yet when conditions are looked at.
    variables: Variables,
}

/// What conditions say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// All hold.
    Hold,
    /// One does not.
    Fail,
    /// None says no, but some cannot be evaluated.
    Unknown(String),
}

impl Conditions {
    /// Compiles the conditions of a webhook, or of a policy's `spec`.
    pub fn new(spec: &Json) -> Self {
        Self::compile(spec, &Compiler::untyped(spec))
    }

    pub(super) fn compile(spec: &Json, compiler: &Compiler) -> Self {
        let all = items(spec, "matchConditions")
            .map(|item| compiler.compile(&text(item, "expression"), &[Type::Bool]))
            .collect();
        Self { all, variables: Variables::new() }
    }

    /// Whether there are none, so that nothing need be prepared for them.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Reports the expressions that do not compile. `path` is that of the list.
    pub fn check(&self, path: &Path, errors: &mut ErrorList) {
        for (at, compiled) in self.all.iter().enumerate() {
            compiled.check(&path.index(at).child("expression"), errors);
        }
    }

    /// Evaluates the conditions in their order.
    pub fn judge(&self, input: &Input<'_>) -> Judgement {
        if self.all.is_empty() {
            return Judgement::Hold;
        }
        let scope = Scope::new(&self.variables, input, BUDGET);
        let mut problems = Vec::new();
        for condition in &self.all {
            match scope.evaluate(condition) {
                Ok(Value::Bool(false)) => return Judgement::Fail,
                Ok(_) => {}
                Err(trouble @ Trouble::OutOfBudget) => {
                    return Judgement::Unknown(trouble.to_string());
                }
                Err(Trouble::Failed(problem)) => problems.push(problem),
            }
        }
        match problems.len() {
            0 => Judgement::Hold,
            1 => Judgement::Unknown(problems.remove(0)),
            _ => Judgement::Unknown(format!("[{}]", problems.join(", "))),
        }
    }
}
