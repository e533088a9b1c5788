//! Admission policies: their expressions, compiled, and what they say about a request.
//!
//! Pure: whoever asks brings the request, the objects and the answers to authorization checks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use machinery::Value as Json;
use machinery::field::{Error, ErrorList, Path};
use serde_json::json;

use crate::env::{Env, Program};
use crate::eval::{EvalError, Evaluation, Variables};
use crate::library::authorizer::Authorizer;
use crate::schema::Decl;
use crate::types::{Fields, Object as ObjectType, Type};
use crate::value::Value;
use crate::{PER_CALL_LIMIT, RUNTIME_BUDGET};

/// Longest message that an expression may compute, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;

/// The expressions of a `ValidatingAdmissionPolicy`.
#[derive(Debug)]
pub struct Policy {
    conditions: Vec<(String, Compiled)>,
    variables: Vec<(String, Compiled)>,
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

/// An expression, or what is wrong with it: stored policies stay as they are.
#[derive(Debug)]
struct Compiled {
    text: String,
    program: Result<Program, String>,
}

/// What policies look at.
#[derive(Debug)]
pub struct Input<'a> {
    /// `object`; null for deletions.
    pub object: &'a Json,
    /// `oldObject`; null for creations.
    pub old_object: &'a Json,
    /// `request`, as in an `AdmissionReview`.
    pub request: &'a Json,
    /// `params`; null when there are none.
    pub params: &'a Json,
    /// `namespaceObject`; null in cluster scope.
    pub namespace: &'a Json,
    /// `authorizer`
    pub authorizer: Authorizer,
}

/// A validation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
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
    pub annotations: BTreeMap<String, String>,
}

impl Policy {
    /// Compiles the expressions of a policy's `spec`.
    pub fn new(spec: &Json) -> Self {
        Compiler::new(spec).policy(spec)
    }

    /// What is wrong with the expressions of a policy's `spec`, at `path`.
    pub fn check(spec: &Json, path: &Path) -> ErrorList {
        let policy = Self::new(spec);
        let mut errors = ErrorList::default();
        let mut add = |path: Path, compiled: &Compiled| {
            if let Err(detail) = &compiled.program {
                errors.push(Error::invalid(&path, compiled.text.as_str(), detail.as_str()));
            }
        };
        for (at, (_, compiled)) in policy.conditions.iter().enumerate() {
            add(path.child("matchConditions").index(at).child("expression"), compiled);
        }
        for (at, (_, compiled)) in policy.variables.iter().enumerate() {
            add(path.child("variables").index(at).child("expression"), compiled);
        }
        for (at, validation) in policy.validations.iter().enumerate() {
            let path = path.child("validations").index(at);
            add(path.child("expression"), &validation.expression);
            if let Some(message) = &validation.message_expression {
                add(path.child("messageExpression"), message);
            }
        }
        for (at, (_, compiled)) in policy.annotations.iter().enumerate() {
            add(path.child("auditAnnotations").index(at).child("valueExpression"), compiled);
        }
        errors
    }

    /// Whether the policy's conditions let it look at a request.
    ///
    /// # Errors
    /// A condition that cannot be evaluated, when no other one says no.
    pub fn matches(&self, input: &Input<'_>) -> Result<bool, String> {
        let scope = Scope::new(self, input);
        let mut errors = Vec::new();
        for (name, condition) in &self.conditions {
            match scope.evaluate(condition) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => errors.push(format!("{name}: {error}")),
            }
        }
        if errors.is_empty() { Ok(true) } else { Err(errors.join(", ")) }
    }

    /// Evaluates the validations and annotations.
    pub fn evaluate(&self, input: &Input<'_>) -> Outcome {
        let scope = Scope::new(self, input);
        let mut outcome = Outcome::default();
        for validation in &self.validations {
            let reason = validation.reason.clone();
            match scope.evaluate(&validation.expression) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => outcome.failures.push(Failure {
                    message: scope.message(validation),
                    reason,
                    error: false,
                }),
                Err(error) => {
                    let text = &validation.expression.text;
                    let message = format!("expression '{text}' resulted in error: {error}");
                    outcome.failures.push(Failure { message, reason, error: true });
                }
            }
        }
        for (key, annotation) in &self.annotations {
            match scope.evaluate(annotation) {
                Ok(Value::String(value)) if !value.trim().is_empty() => {
                    outcome.annotations.insert(key.clone(), value.trim().to_owned());
                }
                Ok(_) => {}
                Err(error) => {
                    let text = &annotation.text;
                    let message = format!("valueExpression '{text}' resulted in error: {error}");
                    outcome.failures.push(Failure { message, reason: String::new(), error: true });
                }
            }
        }
        outcome
    }
}

// Compiling.

struct Compiler {
    env: Env,
    variables: BTreeMap<String, Type>,
}

/// The type of `variables`: only for mistakes, since each variable has a name of its own.
struct Composed(BTreeMap<String, Type>);

impl Fields for Composed {
    fn field(&self, name: &str) -> Option<Type> {
        self.0.get(name).cloned()
    }
}

impl Compiler {
    fn new(spec: &Json) -> Self {
        let check = Type::Opaque("kubernetes.authorization.ResourceCheck");
        let mut env = Env::new()
            .with("object", Type::Dyn)
            .with("oldObject", Type::Dyn)
            .with("request", REQUEST.ty().clone())
            .with("namespaceObject", NAMESPACE.ty().clone())
            .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
            .with("authorizer.requestResource", check);
        if spec.get("paramKind").is_some_and(Json::is_object) {
            env = env.with("params", Type::Dyn);
        }
        Self { env, variables: BTreeMap::new() }
    }

    fn policy(mut self, spec: &Json) -> Policy {
        // Conditions are evaluated before variables are, so they cannot use them.
        let conditions = items(spec, "matchConditions")
            .map(|item| {
                (text(item, "name"), self.compile(&text(item, "expression"), &[Type::Bool]))
            })
            .collect();
        let variables = items(spec, "variables").map(|item| self.variable(item)).collect();
        let validations = items(spec, "validations").map(|item| self.validation(item)).collect();
        let annotations = items(spec, "auditAnnotations")
            .map(|item| {
                let types = [Type::String, Type::Null];
                (text(item, "key"), self.compile(&text(item, "valueExpression"), &types))
            })
            .collect();
        Policy { conditions, variables, validations, annotations }
    }

    fn variable(&mut self, item: &Json) -> (String, Compiled) {
        let (name, expression) = (text(item, "name"), text(item, "expression"));
        let compiled = self.compile(&expression, &[]);
        let ty =
            compiled.program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone());
        self.variables.insert(name.clone(), ty.clone());
        let all = Arc::new(Composed(self.variables.clone()));
        self.env = std::mem::take(&mut self.env)
            .with(&format!("variables.{name}"), ty)
            .with("variables", Type::Object(ObjectType::new("kubernetes.variables", all)));
        (name, compiled)
    }

    fn validation(&self, item: &Json) -> Validation {
        let message = text(item, "messageExpression");
        Validation {
            expression: self.compile(&text(item, "expression"), &[Type::Bool]),
            message: text(item, "message").trim().to_owned(),
            message_expression: (!message.trim().is_empty())
                .then(|| self.compile(&message, &[Type::String])),
            reason: text(item, "reason"),
        }
    }

    /// Compiles for one of these types; any type when there are none.
    fn compile(&self, text: &str, types: &[Type]) -> Compiled {
        let program = match self.env.compile(text) {
            Err(error) => Err(format!("compilation failed: {error}")),
            Ok(program) => {
                let ty = program.result_type();
                if types.is_empty() || types.contains(ty) || ty.is_dyn() {
                    Ok(program)
                } else if let [one] = types {
                    Err(format!("must evaluate to {one}"))
                } else {
                    Err(format!("must evaluate to one of {types:?}").to_lowercase())
                }
            }
        };
        Compiled { text: text.to_owned(), program }
    }
}

fn items<'a>(spec: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> {
    spec.get(name).and_then(Json::as_array).into_iter().flatten()
}

fn text(item: &Json, name: &str) -> String {
    item.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

// Evaluating.

/// The variables of one request. Those of the policy are evaluated when first used, once.
struct Scope<'a> {
    policy: &'a Policy,
    given: HashMap<&'static str, Value>,
    computed: RefCell<HashMap<String, Result<Value, EvalError>>>,
    left: Cell<u64>,
}

impl<'a> Scope<'a> {
    fn new(policy: &'a Policy, input: &Input<'_>) -> Self {
        let authorizer = Value::Opaque(crate::Opaque::Authorizer(input.authorizer.clone()));
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
        Self { policy, given, computed: RefCell::default(), left: Cell::new(RUNTIME_BUDGET) }
    }

    /// The value of an expression, or the text of the error.
    fn evaluate(&self, compiled: &Compiled) -> Result<Value, String> {
        let program = compiled.program.as_ref().map_err(|error| error.clone())?;
        let Evaluation { result, cost } = program.evaluate(self, PER_CALL_LIMIT);
        if !self.spend(cost) {
            return Err("validation failed due to running out of cost budget, no further validation rules will be run".to_owned());
        }
        result.map_err(|error| error.to_string())
    }

    fn spend(&self, cost: u64) -> bool {
        let left = self.left.get().checked_sub(cost);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    fn message(&self, validation: &Validation) -> String {
        let computed = validation.message_expression.as_ref().map(|message| self.evaluate(message));
        if let Some(Ok(Value::String(message))) = computed {
            let message = message.trim();
            if !message.is_empty() && message.len() <= MAX_MESSAGE && !message.contains('\n') {
                return message.to_owned();
            }
        }
        if validation.message.is_empty() {
            format!("failed expression: {}", validation.expression.text.trim())
        } else {
            validation.message.clone()
        }
    }

    fn compute(&self, name: &str) -> Option<Result<Value, EvalError>> {
        let (_, compiled) = self.policy.variables.iter().find(|(variable, _)| variable == name)?;
        let value = self.evaluate(compiled).map_err(|error| {
            EvalError::message(format!("composited variable {name:?} fails to evaluate: {error}"))
        });
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

/// The type of `request`.
static REQUEST: LazyLock<Decl> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let kind =
        json!({"type": "object", "properties": {"group": text, "version": text, "kind": text}});
    let resource =
        json!({"type": "object", "properties": {"group": text, "version": text, "resource": text}});
    let extra = json!({"type": "object", "additionalProperties": {"type": "array", "items": text}});
    declare(
        "kubernetes.AdmissionRequest",
        &json!({
            "kind": kind, "resource": resource, "subResource": text, "requestKind": kind,
            "requestResource": resource, "requestSubResource": text, "name": text, "namespace": text,
            "operation": text, "dryRun": {"type": "boolean"}, "options": {"x-kubernetes-int-or-string": true},
            "userInfo": {"type": "object", "properties": {
                "username": text, "uid": text, "groups": {"type": "array", "items": text}, "extra": extra}},
        }),
    )
});

/// The type of `namespaceObject`.
static NAMESPACE: LazyLock<Decl> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let texts = json!({"type": "object", "additionalProperties": text});
    let list = json!({"type": "array", "items": text});
    declare(
        "kubernetes.Namespace",
        &json!({
            "metadata": {"type": "object", "properties": {
                "name": text, "generateName": text, "namespace": text, "labels": texts,
                "annotations": texts, "uid": text, "creationTimestamp": time,
                "deletionTimestamp": time, "deletionGracePeriodSeconds": {"type": "integer"},
                "generation": {"type": "integer"}, "resourceVersion": text, "finalizers": list}},
            "spec": {"type": "object", "properties": {"finalizers": list}},
            "status": {"type": "object", "properties": {"phase": text}},
        }),
    )
});

fn declare(name: &str, properties: &Json) -> Decl {
    let schema = json!({"type": "object", "properties": properties});
    Decl::of_schema(&schema, false, name).expect("a schema of an object has a declaration")
}

#[cfg(test)]
mod tests;
