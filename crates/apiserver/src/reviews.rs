//! Questions about identity and permission, answered on the spot and never stored: TokenReview,
//! SelfSubjectReview and the SubjectAccessReview family.

mod check;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
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

fn access(call: &Call<'_>, resource: &str, review: &Value) -> Result<Value, Failure> {
    let null = Value::Null;
    let spec = review.get("spec").unwrap_or(&null);
    let errors = check::access(resource, review, call.info.namespace);
    if !errors.is_empty() {
        let kind = GroupKind::new("authorization.k8s.io", meta::kind(review));
        return Err(Box::new(Status::invalid(&kind, "", &errors)));
    }
    let present = |field: &str| spec.get(field).filter(|value| value.is_object());
    let (wanted, path) = (present("resourceAttributes"), present("nonResourceAttributes"));
    let other;
    let user: &User = if resource == "selfsubjectaccessreviews" {
        call.user()
    } else {
        let extra = spec.get("extra").and_then(Value::as_object).into_iter().flatten();
        let extra: BTreeMap<String, Vec<String>> = extra
            .map(|(key, values)| {
                let values = values.as_array().into_iter().flatten();
                (key.clone(), values.filter_map(|v| v.as_str().map(str::to_owned)).collect())
            })
            .collect();
        let (name, groups) = (text(spec, "user"), texts(spec, "groups"));
        other = User { name: name.to_owned(), uid: text(spec, "uid").to_owned(), groups, extra };
        &other
    };
    let selectors = wanted.map(check::Selectors::of).unwrap_or_default();
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
            field_selector: &selectors.fields,
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
    let (allowed, reason) = match call.api.authorizer.authorize(&attributes) {
        Decision::Allow(reason) => (true, reason),
        Decision::NoOpinion(reason) => (false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    if !selectors.ignored.is_empty() {
        status["evaluationError"] = selectors.ignored.join("; ").into();
    }
    Ok(status)
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
