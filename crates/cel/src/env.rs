//! What an expression may refer to, and compiling it for that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::ast::{Expr, Kind};
use crate::checker::{self, Checked};
use crate::cost::{self, Range};
use crate::eval::{EvalError, Evaluation, Evaluator, Variables};
use crate::library::{self, Overload};
use crate::patch;
use crate::schema::Decl;
use crate::syntax::{self, CompileError};
use crate::types::Type;
use crate::value::Value;

/// The variables that expressions may use.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<String, Type>,
    patches: bool,
    bindings: bool,
    sizes: Option<Arc<Decl>>,
}

/// An expression that was checked and can be evaluated any number of times.
#[derive(Debug)]
pub struct Program {
    checked: Checked,
    regexes: Arc<HashMap<Arc<str>, regex::Regex>>,
    names: BTreeSet<Arc<str>>,
    estimate: Range,
}

impl Env {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a variable of a type. A name with dots is one variable of that name.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.insert(name.to_owned(), ty);
        self
    }

    /// With a declaration that says how large the values are that the variables hold.
    #[must_use]
    pub fn with_sizes(mut self, sizes: Arc<Decl>) -> Self {
        self.sizes = Some(sizes);
        self
    }

    /// With the types that changes are written in: `Object`, those below it, and `JSONPatch`.
    #[must_use]
    pub fn with_patches(mut self) -> Self {
        self.patches = true;
        self
    }

    /// With `cel.bind(name, value, expression)`.
    #[must_use]
    pub fn with_bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Everything that is wrong with it, shown in its text.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let checked = checker::check(source, syntax::parse(source, self.bindings)?, self)?;
        let estimate = cost::estimate(&checked, self);
        let (mut regexes, mut names) = (HashMap::new(), BTreeSet::new());
        collect(&checked.expr, &mut regexes, &mut names);
        Ok(Program { checked, regexes: Arc::new(regexes), names, estimate })
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }

    /// The type of a message.
    pub(crate) fn message(&self, name: &str) -> Option<Type> {
        patch::type_named(name).filter(|_| self.patches)
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static [Overload]> {
        library::function(name).filter(|_| self.patches || name != patch::ESCAPE_KEY)
    }

    pub(crate) fn sizes(&self) -> Option<&Arc<Decl>> {
        self.sizes.as_ref()
    }
}

impl Program {
    /// The type of the result.
    pub fn result_type(&self) -> &Type {
        &self.checked.types[self.checked.expr.id as usize]
    }

    /// Whether the expression mentions a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.names.contains(variable)
    }

    /// The most that evaluating may cost, by the declared sizes of the variables.
    pub fn max_cost(&self) -> u64 {
        self.estimate.max
    }

    /// The least and the most that evaluating may cost.
    pub fn estimate(&self) -> Range {
        self.estimate
    }

    /// Evaluates, for at most `limit` units of cost.
    pub fn evaluate(&self, variables: &dyn Variables, limit: u64) -> Evaluation {
        Evaluator::new(&self.checked, variables, self.regexes.clone(), limit).run()
    }
}

/// Finds the regular expressions that are written out and the names that are used.
fn collect(
    expr: &Expr,
    regexes: &mut HashMap<Arc<str>, regex::Regex>,
    names: &mut BTreeSet<Arc<str>>,
) {
    match &expr.kind {
        Kind::Literal(_) => {}
        Kind::Message(message) => {
            message.fields.iter().for_each(|field| collect(&field.value, regexes, names));
        }
        Kind::Ident(name) => {
            names.insert(name.clone());
        }
        Kind::Select(select) => collect(&select.operand, regexes, names),
        Kind::Call(call) => {
            if matches!(&*call.function, "matches" | "find" | "findAll") {
                for arg in &call.args {
                    if let Kind::Literal(Value::String(pattern)) = &arg.kind
                        && let Ok(regex) = library::regex::compile(pattern)
                    {
                        regexes.insert(pattern.clone(), regex);
                    }
                }
            }
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                collect(part, regexes, names);
            }
        }
        Kind::List(elements) => {
            elements.iter().for_each(|element| collect(&element.value, regexes, names));
        }
        Kind::Map(entries) => {
            for entry in entries {
                collect(&entry.key, regexes, names);
                collect(&entry.value, regexes, names);
            }
        }
        Kind::Comprehension(of_loop) => {
            let parts =
                [&of_loop.range, &of_loop.init, &of_loop.condition, &of_loop.step, &of_loop.result];
            parts.into_iter().for_each(|part| collect(part, regexes, names));
        }
    }
}

/// Variables that are all known beforehand.
impl Variables for BTreeMap<String, Value> {
    fn get(&self, name: &str) -> Option<Result<Value, EvalError>> {
        BTreeMap::get(self, name).cloned().map(Ok)
    }
}
