//! Questions about what a user may do. Whoever evaluates an expression answers them.

use std::fmt;
use std::sync::Arc;

use machinery::names;

use super::{Answer, Declared, no_overload, opaque, text};
use crate::eval::{EvalError, Scope};
use crate::value::{Opaque, Value};

/// Decides. Answers must come at once: expressions do not wait.
pub trait Authorize: Send + Sync {
    /// Whether the user (or the service account, by namespace and name) may do this.
    fn authorize(&self, service_account: Option<&(String, String)>, request: &Request) -> Decision;
}

/// What someone wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The verb.
    pub verb: String,
    /// The path, of requests that are not about resources.
    pub path: Option<String>,
    /// API group
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Subresource, may be empty.
    pub subresource: String,
    /// Namespace, may be empty.
    pub namespace: String,
    /// Name, may be empty.
    pub name: String,
    /// Selector of fields as it was written.
    pub field_selector: Option<String>,
    /// Selector of labels as it was written.
    pub label_selector: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding.
    pub error: Option<String>,
}

/// The variable `authorizer`.
#[derive(Clone)]
pub struct Authorizer {
    authorize: Arc<dyn Authorize>,
    service_account: Option<(String, String)>,
}

/// Asks about a path.
#[derive(Clone, Debug)]
pub struct PathCheck {
    authorizer: Authorizer,
    path: String,
}

/// Asks about resources of a group.
#[derive(Clone, Debug)]
pub struct GroupCheck {
    authorizer: Authorizer,
    group: String,
}

/// Asks about a resource.
#[derive(Clone, Debug)]
pub struct ResourceCheck {
    authorizer: Authorizer,
    request: Request,
}

impl Authorizer {
    /// For the user that `authorize` knows.
    pub fn new(authorize: Arc<dyn Authorize>) -> Self {
        Self { authorize, service_account: None }
    }

    /// Questions about a resource whose parts are known, as `authorizer.requestResource` asks
    /// them. The verb is given with the question.
    pub fn about(&self, request: Request) -> Value {
        let check = ResourceCheck { authorizer: self.clone(), request };
        Value::Opaque(Opaque::ResourceCheck(Arc::new(check)))
    }

    /// The check about what the request of an `AdmissionReview` addresses, as it was sent.
    pub(crate) fn request_check(&self, request: &machinery::Value) -> Value {
        let text = |pointer: &str| {
            request
                .pointer(pointer)
                .and_then(machinery::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let request = Request {
            group: text("/requestResource/group"),
            resource: text("/requestResource/resource"),
            subresource: text("/requestSubResource"),
            namespace: text("/namespace"),
            name: text("/name"),
            ..Request::default()
        };
        self.about(request)
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("service_account", &self.service_account).finish()
    }
}

pub(super) const DECLARED: &[Declared] = &[
    Declared(
        "authorizer_path",
        "kubernetes.authorization.Authorizer::path(string) -> kubernetes.authorization.PathCheck",
        path,
    ),
    Declared(
        "authorizer_group",
        "kubernetes.authorization.Authorizer::group(string) -> kubernetes.authorization.GroupCheck",
        group,
    ),
    Declared(
        "authorizer_serviceaccount",
        "kubernetes.authorization.Authorizer::serviceAccount(string, string) -> kubernetes.authorization.Authorizer",
        service_account,
    ),
    Declared(
        "groupcheck_resource",
        "kubernetes.authorization.GroupCheck::resource(string) -> kubernetes.authorization.ResourceCheck",
        resource,
    ),
    Declared(
        "resourcecheck_subresource",
        "kubernetes.authorization.ResourceCheck::subresource(string) -> kubernetes.authorization.ResourceCheck",
        |_, args| with(args, |request, text| request.subresource = text),
    ),
    Declared(
        "resourcecheck_namespace",
        "kubernetes.authorization.ResourceCheck::namespace(string) -> kubernetes.authorization.ResourceCheck",
        |_, args| with(args, |request, text| request.namespace = text),
    ),
    Declared(
        "resourcecheck_name",
        "kubernetes.authorization.ResourceCheck::name(string) -> kubernetes.authorization.ResourceCheck",
        |_, args| with(args, |request, text| request.name = text),
    ),
    Declared(
        "authorizer_fieldselector",
        "kubernetes.authorization.ResourceCheck::fieldSelector(string) -> kubernetes.authorization.ResourceCheck",
        |_, args| with(args, |request, text| request.field_selector = Some(text)),
    ),
    Declared(
        "authorizer_labelselector",
        "kubernetes.authorization.ResourceCheck::labelSelector(string) -> kubernetes.authorization.ResourceCheck",
        |_, args| with(args, |request, text| request.label_selector = Some(text)),
    ),
    Declared(
        "pathcheck_check",
        "kubernetes.authorization.PathCheck::check(string) -> kubernetes.authorization.Decision",
        check,
    ),
    Declared(
        "resourcecheck_check",
        "kubernetes.authorization.ResourceCheck::check(string) -> kubernetes.authorization.Decision",
        check,
    ),
    Declared(
        "decision_errored",
        "kubernetes.authorization.Decision::errored() -> bool",
        |_, args| Ok(Value::Bool(decision(args)?.error.is_some())),
    ),
    Declared(
        "decision_error",
        "kubernetes.authorization.Decision::error() -> string",
        |_, args| Ok(Value::string(decision(args)?.error.clone().unwrap_or_default())),
    ),
    Declared(
        "decision_allowed",
        "kubernetes.authorization.Decision::allowed() -> bool",
        |_, args| Ok(Value::Bool(decision(args)?.allowed)),
    ),
    Declared(
        "decision_reason",
        "kubernetes.authorization.Decision::reason() -> string",
        |_, args| Ok(Value::string(decision(args)?.reason.as_str())),
    ),
];

fn authorizer(args: &[Value]) -> Result<&Authorizer, EvalError> {
    match opaque(args, 0)? {
        Opaque::Authorizer(authorizer) => Ok(authorizer),
        _ => Err(no_overload()),
    }
}

fn decision(args: &[Value]) -> Result<&Decision, EvalError> {
    match opaque(args, 0)? {
        Opaque::Decision(decision) => Ok(decision),
        _ => Err(no_overload()),
    }
}

fn path(_: &mut Scope, args: &[Value]) -> Answer {
    let path = text(args, 1)?;
    if path.trim().is_empty() {
        return Err(EvalError::message("path must not be empty"));
    }
    let check = PathCheck { authorizer: authorizer(args)?.clone(), path: path.to_owned() };
    Ok(Value::Opaque(Opaque::PathCheck(Arc::new(check))))
}

fn group(_: &mut Scope, args: &[Value]) -> Answer {
    let group = text(args, 1)?.to_owned();
    let check = GroupCheck { authorizer: authorizer(args)?.clone(), group };
    Ok(Value::Opaque(Opaque::GroupCheck(Arc::new(check))))
}

fn service_account(_: &mut Scope, args: &[Value]) -> Answer {
    let (namespace, name) = (text(args, 1)?, text(args, 2)?);
    if let Some(mistake) = names::dns1123_subdomain(name).into_iter().next() {
        return Err(EvalError::message(format!("Invalid service account name: {mistake}")));
    }
    if let Some(mistake) = names::dns1123_label(namespace).into_iter().next() {
        return Err(EvalError::message(format!("Invalid service account namespace: {mistake}")));
    }
    let mut authorizer = authorizer(args)?.clone();
    authorizer.service_account = Some((namespace.to_owned(), name.to_owned()));
    Ok(Value::Opaque(Opaque::Authorizer(authorizer)))
}

fn resource(_: &mut Scope, args: &[Value]) -> Answer {
    let Opaque::GroupCheck(group) = opaque(args, 0)? else {
        return Err(no_overload());
    };
    let resource = text(args, 1)?;
    if resource.trim().is_empty() {
        return Err(EvalError::message("resource must not be empty"));
    }
    let request =
        Request { group: group.group.clone(), resource: resource.to_owned(), ..Request::default() };
    let check = ResourceCheck { authorizer: group.authorizer.clone(), request };
    Ok(Value::Opaque(Opaque::ResourceCheck(Arc::new(check))))
}

fn with(args: &[Value], set: fn(&mut Request, String)) -> Answer {
    let Opaque::ResourceCheck(check) = opaque(args, 0)? else {
        return Err(no_overload());
    };
    let mut check = (**check).clone();
    set(&mut check.request, text(args, 1)?.to_owned());
    Ok(Value::Opaque(Opaque::ResourceCheck(Arc::new(check))))
}

fn check(_: &mut Scope, args: &[Value]) -> Answer {
    let verb = text(args, 1)?.to_owned();
    let (authorizer, request) = match opaque(args, 0)? {
        Opaque::PathCheck(check) => {
            let path = Some(check.path.clone());
            (&check.authorizer, Request { verb, path, ..Request::default() })
        }
        Opaque::ResourceCheck(check) => {
            (&check.authorizer, Request { verb, ..check.request.clone() })
        }
        _ => return Err(no_overload()),
    };
    let decision = authorizer.authorize.authorize(authorizer.service_account.as_ref(), &request);
    Ok(Value::Opaque(Opaque::Decision(Arc::new(decision))))
}
