//! `MutatingAdmissionPolicy`: what is to be changed.

use machinery::Value as Json;
use machinery::field::{ErrorList, Path};

use super::expression::{Compiled, Compiler, Variables};
use super::scope::Scope;
use super::validating::check_variables;
use super::{Conditions, Input, items, text};
use crate::RUNTIME_BUDGET;
use crate::patch;
use crate::types::Type;
use crate::value::Value;

/// The expressions of a `MutatingAdmissionPolicy`.
#[derive(Debug)]
pub struct Mutating {
    /// Whether the policy looks at a request.
    pub conditions: Conditions,
    variables: Variables,
    mutations: Vec<Mutation>,
}

/// One mutation.
#[derive(Debug)]
struct Mutation {
    kind: Kind,
    expression: Compiled,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    ApplyConfiguration,
    JsonPatch,
}

/// What a mutation does to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Fields that are merged into it as server-side apply does, without API version and kind.
    Apply(Json),
    /// Operations of a JSON patch.
    Patch(Json),
}

impl Kind {
    /// The member of a mutation that holds the expression.
    fn member(self) -> &'static str {
        match self {
            Self::ApplyConfiguration => "applyConfiguration",
            Self::JsonPatch => "jsonPatch",
        }
    }

    fn result_type(self) -> Type {
        match self {
            Self::ApplyConfiguration => patch::object(),
            Self::JsonPatch => patch::operations(),
        }
    }
}

impl Mutating {
    /// Compiles the expressions of a policy's `spec`.
    pub fn new(spec: &Json) -> Self {
        let mut compiler = Compiler::untyped(spec);
        let conditions = Conditions::compile(spec, &compiler);
        let variables = compiler.variables(spec);
        let compiler = compiler.with_patches();
        let mutation = |item| Mutation::new(item, &compiler);
        Self { conditions, variables, mutations: items(spec, "mutations").map(mutation).collect() }
    }

    /// Reports the expressions that do not compile, those of conditions aside. `path` is that of
    /// the `spec`.
    pub fn check(&self, path: &Path, errors: &mut ErrorList) {
        check_variables(&self.variables, path, errors);
        for (at, Mutation { kind, expression }) in self.mutations.iter().enumerate() {
            let path = path.child("mutations").index(at).child(kind.member());
            expression.check(&path.child("expression"), errors);
        }
    }

    /// How many mutations there are. They are made one after the other, each on what the one
    /// before it left.
    pub fn len(&self) -> usize {
        self.mutations.len()
    }

    /// Whether there are no mutations.
    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty()
    }

    /// Evaluates one mutation.
    ///
    /// # Errors
    /// Why there is no change.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn evaluate(&self, index: usize, input: &Input<'_>) -> Result<Change, String> {
        let Mutation { kind, expression } = &self.mutations[index];
        let scope = Scope::new(&self.variables, input, RUNTIME_BUDGET);
        let value = scope.evaluate(expression).map_err(|trouble| trouble.to_string())?;
        match kind {
            Kind::JsonPatch => patch::to_json_patch(&value).map(Change::Patch),
            Kind::ApplyConfiguration => applied(&value).map(Change::Apply),
        }
    }
}

fn applied(value: &Value) -> Result<Json, String> {
    let misnamed = patch::misnamed(value);
    if !misnamed.is_empty() {
        return Err(format!("type mismatch: {}", misnamed.join("\n")));
    }
    value.to_json().ok_or_else(|| format!("invalid return type: {}", value.type_of()))
}

impl Mutation {
    fn new(item: &Json, compiler: &Compiler) -> Self {
        let kind = match item.get("patchType").and_then(Json::as_str) {
            Some("JSONPatch") => Kind::JsonPatch,
            _ => Kind::ApplyConfiguration,
        };
        let expression = item.get(kind.member()).map(|part| text(part, "expression"));
        let expression = expression.unwrap_or_default();
        Self { kind, expression: compiler.compile(&expression, &[kind.result_type()]) }
    }
}
