//! Questions about identity and permission, answered on the spot and never stored: TokenReview,
//! SelfSubjectReview and the SubjectAccessReview family.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::status::Status;
use machinery::{Value, meta};
use serde_json::json;

use crate::authn::User;
use crate::authz::rules::Rule;
use crate::authz::{Attributes, Decision};
use crate::handlers::body::{self, Expected};
use crate::http::negotiate::{Accepted, Offer};
use crate::http::respond::{self, Reply};
use crate::pipeline::{Call, Failure};
use crate::registry::Resource;

/// Whether a resource is answered here.
#[must_use]
pub fn is_review(group: &str, resource: &str) -> bool {
    matches!(
        (group, resource),
        ("authentication.k8s.io", "tokenreviews" | "selfsubjectreviews")
            | (
                "authorization.k8s.io",
                "subjectaccessreviews"
                    | "selfsubjectaccessreviews"
                    | "localsubjectaccessreviews"
                    | "selfsubjectrulesreviews"
            )
    )
}

/// Answers a review.
///
/// # Errors
/// When the question is malformed.
pub async fn answer(
    call: &Call<'_>,
    resource: &Arc<Resource>,
    body: Incoming,
) -> Result<Reply, Failure> {
    let accepted = Accepted::choose(call.headers(), Offer::PLAIN)?;
    let bytes = body::read(body).await?;
    let api_version = resource.api_version();
    let expected =
        Expected { api_version: &api_version, kind: &resource.kind, ty: resource.type_ref() };
    let validation = machinery::codec::FieldValidation::default();
    let mut review = body::decode(call, &bytes, expected, validation)?;
    let status = match &*resource.name {
        "tokenreviews" => token(call, &review)?,
        "selfsubjectreviews" => json!({"userInfo": call.user().to_info()}),
        "selfsubjectrulesreviews" => rules(call, &review)?,
        name => access(call, name, &review)?,
    };
    review["status"] = status;
    Ok(respond::encoded(
        StatusCode::CREATED,
        &review,
        accepted.format,
        accepted.pretty || call.pretty(),
    ))
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn texts(object: &Value, field: &str) -> Vec<String> {
    let list = object.get(field).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn token(call: &Call<'_>, review: &Value) -> Result<Value, Failure> {
    let null = Value::Null;
    let spec = review.get("spec").unwrap_or(&null);
    let token = text(spec, "token");
    if token.is_empty() {
        let message = "token is required for TokenReview in authentication";
        return Err(Box::new(Status::bad_request(message)));
    }
    let audiences = texts(spec, "audiences");
    Ok(match call.api.service_accounts.authenticate(token, &audiences) {
        Ok(identity) => json!({
            "authenticated": true,
            "user": identity.user.to_info(),
            "audiences": identity.audiences,
        }),
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    })
}

fn invalid(kind: &str, error: Error) -> Failure {
    let mut errors = ErrorList::new();
    errors.push(error);
    Box::new(Status::invalid(&GroupKind::new("authorization.k8s.io", kind), "", &errors))
}

fn access(call: &Call<'_>, resource: &str, review: &Value) -> Result<Value, Failure> {
    let null = Value::Null;
    let spec = review.get("spec").unwrap_or(&null);
    let kind = meta::kind(review);
    let present = |field: &str| spec.get(field).filter(|value| value.is_object());
    let (wanted, path) = (present("resourceAttributes"), present("nonResourceAttributes"));
    let spec_path = Path::new("spec").child("resourceAttributes");
    if wanted.is_some() == path.is_some() {
        let detail = if wanted.is_some() {
            let detail = "cannot be specified in combination with resourceAttributes";
            let path = Path::new("spec").child("nonResourceAttributes");
            return Err(invalid(kind, Error::invalid(&path, json!({}), detail)));
        } else {
            "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        };
        return Err(invalid(kind, Error::invalid(&spec_path, Value::Null, detail)));
    }
    let own = resource == "selfsubjectaccessreviews";
    let other;
    let user: &User = if own {
        call.user()
    } else {
        let (name, groups) = (text(spec, "user"), texts(spec, "groups"));
        if name.is_empty() && groups.is_empty() {
            let path = Path::new("spec").child("user");
            let detail = "at least one of user or group must be specified";
            return Err(invalid(kind, Error::invalid(&path, "", detail)));
        }
        let extra = spec.get("extra").and_then(Value::as_object).into_iter().flatten();
        let extra: BTreeMap<String, Vec<String>> = extra
            .map(|(key, values)| {
                let values = values.as_array().into_iter().flatten();
                (key.clone(), values.filter_map(|v| v.as_str().map(str::to_owned)).collect())
            })
            .collect();
        other = User { name: name.to_owned(), uid: text(spec, "uid").to_owned(), groups, extra };
        &other
    };
    if resource == "localsubjectaccessreviews" {
        let namespace = wanted.map(|wanted| text(wanted, "namespace")).unwrap_or_default();
        if namespace != call.info.namespace {
            let path = Path::new("spec").child("resourceAttributes").child("namespace");
            let detail = "must match metadata.namespace";
            return Err(invalid(kind, Error::invalid(&path, namespace, detail)));
        }
    }
    let selector = wanted.map(field_selector).unwrap_or_default();
    let attributes = match (wanted, path) {
        (Some(wanted), _) => Attributes {
            user,
            verb: text(wanted, "verb"),
            is_resource: true,
            group: text(wanted, "group"),
            version: text(wanted, "version"),
            resource: text(wanted, "resource"),
            subresource: text(wanted, "subresource"),
            namespace: text(wanted, "namespace"),
            name: text(wanted, "name"),
            path: "",
            field_selector: &selector,
        },
        (None, path) => Attributes {
            is_resource: false,
            path: path.map(|path| text(path, "path")).unwrap_or_default(),
            ..Attributes::resource(
                user,
                path.map(|path| text(path, "verb")).unwrap_or_default(),
                "",
                "",
            )
        },
    };
    Ok(match call.api.authorizer.authorize(&attributes) {
        Decision::Allow(reason) if reason.is_empty() => json!({"allowed": true}),
        Decision::Allow(reason) => json!({"allowed": true, "reason": reason}),
        Decision::NoOpinion(reason) if reason.is_empty() => json!({"allowed": false}),
        Decision::NoOpinion(reason) => json!({"allowed": false, "reason": reason}),
    })
}

/// The field selector of a question in the form that it has in a query.
fn field_selector(wanted: &Value) -> String {
    let Some(selector) = wanted.get("fieldSelector") else { return String::new() };
    let raw = text(selector, "rawSelector");
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let requirements = selector.get("requirements").and_then(Value::as_array);
    let terms = requirements.into_iter().flatten().filter_map(|requirement| {
        let values = texts(requirement, "values");
        match (text(requirement, "operator"), values.as_slice()) {
            ("In", [only]) => Some(format!("{}={only}", text(requirement, "key"))),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

fn rules(call: &Call<'_>, review: &Value) -> Result<Value, Failure> {
    let namespace = review.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or_default();
    if namespace.is_empty() {
        return Err(Box::new(Status::bad_request("no namespace on request")));
    }
    let user = call.user();
    let mut resource_rules = Vec::new();
    let mut path_rules = Vec::new();
    for rule in call.api.authorizer.rbac.rules(user, namespace) {
        let Rule { verbs, api_groups, resources, resource_names, non_resource_urls } = rule;
        if !resources.is_empty() {
            let mut shown =
                json!({"verbs": verbs, "apiGroups": api_groups, "resources": resources});
            if !resource_names.is_empty() {
                shown["resourceNames"] = json!(resource_names);
            }
            resource_rules.push(shown);
        }
        if !non_resource_urls.is_empty() {
            path_rules.push(json!({"verbs": verbs, "nonResourceURLs": non_resource_urls}));
        }
    }
    let mut status = json!({
        "resourceRules": resource_rules,
        "nonResourceRules": path_rules,
        "incomplete": false,
    });
    if user.node_name().is_some() {
        status["incomplete"] = true.into();
        status["evaluationError"] = "node authorizer does not support user rule resolution".into();
    }
    Ok(status)
}
