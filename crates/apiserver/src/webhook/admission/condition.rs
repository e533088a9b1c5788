//! Match conditions: whether the expressions of a webhook hold for a request.

use std::sync::Arc;

use cel::{Authorizer as CelAuthorizer, EvalError, Opaque, Program, Variables};
use machinery::Value;
use resources::kinds::admission::conditions;

use crate::authn::User;
use crate::authz::{self, Authorizer};

/// A named expression.
#[derive(Debug)]
pub(super) struct Condition {
    expression: String,
    /// Or what is wrong with it: it may have been stored by a server that took it.
    program: Result<Program, String>,
}

/// What the conditions of a webhook say.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// All hold.
    Hold,
    /// One does not.
    Fail,
    /// None says no, but some cannot be evaluated.
    Unknown(String),
}

/// What conditions may look at.
pub(super) struct Input<'a> {
    /// The `request` of the review.
    pub(super) request: &'a Value,
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
    pub(super) authorizer: &'a Arc<Authorizer>,
    pub(super) user: &'a Arc<User>,
    /// What `authorizer.requestResource` is about.
    pub(super) about: cel::Request,
}

impl Condition {
    pub(super) fn from_value(condition: &Value) -> Self {
        let expression = condition["expression"].as_str().unwrap_or_default().to_owned();
        Self { program: conditions::compile(&expression), expression }
    }
}

/// Evaluates conditions in their order.
pub(super) fn judge(all: &[Condition], input: &Input<'_>) -> Outcome {
    let mut budget = conditions::BUDGET;
    let mut problems = Vec::new();
    for Condition { expression, program } in all {
        let result = match program {
            Err(why) => Err(why.clone()),
            Ok(program) => {
                let evaluation = program.evaluate(input, budget.min(cel::PER_CALL_LIMIT));
                budget = budget.saturating_sub(evaluation.cost);
                evaluation
                    .result
                    .map_err(|why| format!("expression '{expression}' resulted in error: {why}"))
            }
        };
        match result {
            Ok(cel::Value::Bool(false)) => return Outcome::Fail,
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
    }
    match problems.len() {
        0 => Outcome::Hold,
        1 => Outcome::Unknown(problems.remove(0)),
        _ => Outcome::Unknown(format!("[{}]", problems.join(", "))),
    }
}

impl Variables for Input<'_> {
    fn get(&self, name: &str) -> Option<Result<cel::Value, EvalError>> {
        let tree = |value: Option<&Value>| value.map_or(cel::Value::Null, cel::Value::from_json);
        let authorizer = || {
            let asked = Asked { authorizer: self.authorizer.clone(), user: self.user.clone() };
            CelAuthorizer::new(Arc::new(asked))
        };
        Some(Ok(match name {
            "object" => tree(self.object),
            "oldObject" => tree(self.old),
            "request" => conditions::request().value(self.request),
            "authorizer" => cel::Value::Opaque(Opaque::Authorizer(authorizer())),
            "authorizer.requestResource" => authorizer().about(self.about.clone()),
            _ => return None,
        }))
    }
}

/// Answers an expression's questions for the user of the request.
pub(crate) struct Asked {
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) user: Arc<User>,
}

impl cel::Authorize for Asked {
    fn authorize(
        &self,
        account: Option<&(String, String)>,
        request: &cel::Request,
    ) -> cel::Decision {
        let account = account.map(|(namespace, name)| account_user(namespace, name));
        let user = account.as_ref().unwrap_or(&*self.user);
        let attributes = authz::Attributes {
            user,
            verb: &request.verb,
            is_resource: request.path.is_none(),
            group: &request.group,
            version: "*",
            resource: &request.resource,
            subresource: &request.subresource,
            namespace: &request.namespace,
            name: &request.name,
            path: request.path.as_deref().unwrap_or_default(),
            field_selector: request.field_selector.as_deref().unwrap_or_default(),
        };
        let (allowed, reason) = match self.authorizer.authorize(&attributes) {
            authz::Decision::Allow(reason) => (true, reason),
            authz::Decision::NoOpinion(reason) => (false, reason),
        };
        cel::Decision { allowed, reason, error: None }
    }
}

fn account_user(namespace: &str, name: &str) -> User {
    let all = "system:serviceaccounts";
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        groups: vec![all.to_owned(), format!("{all}:{namespace}")],
        ..User::default()
    }
    .authenticated()
}
