//! `Status`: how the API reports failures, with the texts that clients know.
//!
//! Constructors are the only place where these texts are made. See "Response Status Kind" in
//! the Kubernetes API conventions.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field::{ErrorList, quote};
use crate::gvk::{GroupKind, GroupResource};

/// A `meta/v1` Status object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Always `v1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// Always empty; part of the wire form.
    #[serde(default)]
    pub metadata: serde_json::Map<String, Value>,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs; see [`reason`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the failure is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// The HTTP status code.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind, or mostly the resource's plural name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single causes, one per field for invalid objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds to wait before trying again.
    #[serde(skip_serializing_if = "is_zero_u32")]
    pub retry_after_seconds: u32,
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// For programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field, if one is to blame.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// Values of `Status.reason`.
pub mod reason {
    /// 401
    pub const UNAUTHORIZED: &str = "Unauthorized";
    /// 403
    pub const FORBIDDEN: &str = "Forbidden";
    /// 404
    pub const NOT_FOUND: &str = "NotFound";
    /// 409
    pub const ALREADY_EXISTS: &str = "AlreadyExists";
    /// 409
    pub const CONFLICT: &str = "Conflict";
    /// 410
    pub const GONE: &str = "Gone";
    /// 422
    pub const INVALID: &str = "Invalid";
    /// 500
    pub const SERVER_TIMEOUT: &str = "ServerTimeout";
    /// 504
    pub const TIMEOUT: &str = "Timeout";
    /// 429
    pub const TOO_MANY_REQUESTS: &str = "TooManyRequests";
    /// 400
    pub const BAD_REQUEST: &str = "BadRequest";
    /// 405
    pub const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
    /// 406
    pub const NOT_ACCEPTABLE: &str = "NotAcceptable";
    /// 413
    pub const REQUEST_ENTITY_TOO_LARGE: &str = "RequestEntityTooLarge";
    /// 415
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "UnsupportedMediaType";
    /// 500
    pub const INTERNAL_ERROR: &str = "InternalError";
    /// 410
    pub const EXPIRED: &str = "Expired";
    /// 503
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
}

/// Detail text of a write that lost against another one.
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Message when a collection continues from a revision that is compacted away.
pub const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

fn kind() -> String {
    "Status".to_owned()
}

fn api_version() -> String {
    "v1".to_owned()
}

fn is_zero(n: &u16) -> bool {
    *n == 0
}

fn is_zero_u32(n: &u32) -> bool {
    *n == 0
}

// === impl Status ===

impl Status {
    /// A failure without details.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind(),
            api_version: api_version(),
            metadata: serde_json::Map::new(),
            status: "Failure".to_owned(),
            message: message.into(),
            reason: reason.to_owned(),
            details: None,
            code,
        }
    }

    /// What a successful delete answers when the object itself is not returned.
    pub fn success(details: Option<Details>) -> Self {
        Self {
            status: "Success".to_owned(),
            details: details.map(Box::new),
            ..Self::failure(0, "", "")
        }
    }

    /// This status with other details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn about(self, resource: &GroupResource, name: &str) -> Self {
        self.with_details(Details {
            name: name.to_owned(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        })
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} not found", quote(name));
        Self::failure(404, reason::NOT_FOUND, message).about(resource, name)
    }

    /// 404 for a path that serves nothing.
    pub fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::failure(404, reason::NOT_FOUND, message).with_details(Details::default())
    }

    /// 409: the object exists already.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} already exists", quote(name));
        Self::failure(409, reason::ALREADY_EXISTS, message).about(resource, name)
    }

    /// 409: no free name was found for `generateName`.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        let mut status = Self::failure(409, reason::ALREADY_EXISTS, message).about(resource, name);
        status.set_retry_after(1);
        status
    }

    /// 409: the write does not fit the object's state.
    pub fn conflict(resource: &GroupResource, name: &str, detail: impl fmt::Display) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {resource} {}: {detail}", quote(name));
        Self::failure(409, reason::CONFLICT, message).about(resource, name)
    }

    /// 409: the object's resourceVersion is another one.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(resource, name, MODIFIED)
    }

    /// 422: the object breaks rules.
    pub fn invalid(kind: &GroupKind, name: &str, errors: &ErrorList) -> Self {
        let mut message = format!("{kind} {} is invalid", quote(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&errors.aggregate());
        }
        let causes = errors.iter().map(|error| Cause {
            reason: error.kind.reason().to_owned(),
            message: error.body(),
            field: error.field.clone(),
        });
        Self::failure(422, reason::INVALID, message).with_details(Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes: causes.collect(),
            ..Details::default()
        })
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, reason::BAD_REQUEST, message)
    }

    /// 401; the API server answers `Unauthorized` to whoever cannot be authenticated.
    pub fn unauthorized(message: &str) -> Self {
        let message = if message.is_empty() { "not authorized" } else { message };
        Self::failure(401, reason::UNAUTHORIZED, message)
    }

    /// 403: `pods "x" is forbidden: DETAIL`; without a resource `forbidden: DETAIL`.
    pub fn forbidden(resource: &GroupResource, name: &str, detail: impl fmt::Display) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {detail}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {detail}")
        } else {
            format!("{resource} {} is forbidden: {detail}", quote(name))
        };
        Self::failure(403, reason::FORBIDDEN, message).about(resource, name)
    }

    /// 405: `delete is not supported on resources of kind "x"`.
    pub fn method_not_supported(resource: &GroupResource, action: &str) -> Self {
        let message = format!(
            "{action} is not supported on resources of kind {}",
            quote(&resource.to_string())
        );
        Self::failure(405, reason::METHOD_NOT_ALLOWED, message).about(resource, "")
    }

    /// 405 for an HTTP method that the path does not know.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::failure(405, reason::METHOD_NOT_ALLOWED, message).with_details(Details::default())
    }

    /// 406: `only the following media types are accepted: a, b`.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message =
            format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(406, reason::NOT_ACCEPTABLE, message)
    }

    /// 415: the body's media type is not one of `accepted`.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::failure(415, reason::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 410: a resourceVersion that is no longer there.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, reason::EXPIRED, message)
    }

    /// 410: the watch or list starts at a compacted revision.
    pub fn too_old_resource_version(requested: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {requested} ({oldest})"))
    }

    /// 410 without the promise that a re-list helps.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, reason::GONE, message)
    }

    /// 413: `limit is N`.
    pub fn request_entity_too_large(message: impl fmt::Display) -> Self {
        let message = format!("Request entity too large: {message}");
        Self::failure(413, reason::REQUEST_ENTITY_TOO_LARGE, message)
    }

    /// 429 with a pause in seconds (0: none named).
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut status = Self::failure(429, reason::TOO_MANY_REQUESTS, message);
        status.set_retry_after(retry_after_seconds);
        status
    }

    /// 500.
    pub fn internal(error: impl fmt::Display) -> Self {
        let error = error.to_string();
        let cause = Cause { message: error.clone(), ..Cause::default() };
        Self::failure(500, reason::INTERNAL_ERROR, format!("Internal error occurred: {error}"))
            .with_details(Details { causes: vec![cause], ..Details::default() })
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, reason::SERVICE_UNAVAILABLE, message)
    }

    /// 500: the operation did not finish in time but may be tried again.
    pub fn server_timeout(
        resource: &GroupResource,
        operation: &str,
        retry_after_seconds: u32,
    ) -> Self {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        let mut status =
            Self::failure(500, reason::SERVER_TIMEOUT, message).about(resource, operation);
        status.set_retry_after(retry_after_seconds);
        status
    }

    /// 504: the request took too long.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        let mut status = Self::failure(504, reason::TIMEOUT, format!("Timeout: {message}"));
        status.set_retry_after(retry_after_seconds);
        status
    }

    /// 504 with the cause that clients look for: the store is behind the wanted revision.
    pub fn too_large_resource_version(requested: u64, current: u64, retry_after: u32) -> Self {
        let text = format!("Too large resource version: {requested}, current: {current}");
        let mut status = Self::timeout(&text, retry_after);
        let details = status.details.get_or_insert_default();
        details.causes = vec![Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        }];
        status
    }

    /// Says after how many seconds the client may come back.
    pub fn set_retry_after(&mut self, seconds: u32) {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
    }

    /// The seconds for a `Retry-After` header, if any.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0)
    }

    /// The object as it goes over the wire.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|_| json!({"kind": "Status", "apiVersion": "v1"}))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Error, Path};

    fn pods() -> GroupResource {
        GroupResource::new("", "pods")
    }

    #[test]
    fn texts() {
        let deployments = GroupResource::new("apps", "deployments");
        let check = |status: Status, code: u16, message: &str| {
            assert_eq!((status.code, status.message.as_str()), (code, message));
        };
        check(Status::not_found(&pods(), "x"), 404, r#"pods "x" not found"#);
        check(
            Status::already_exists(&deployments, "x"),
            409,
            r#"deployments.apps "x" already exists"#,
        );
        check(
            Status::modified(&deployments, "x"),
            409,
            r#"Operation cannot be fulfilled on deployments.apps "x": the object has been modified; please apply your changes to the latest version and try again"#,
        );
        check(Status::forbidden(&pods(), "x", "no"), 403, r#"pods "x" is forbidden: no"#);
        check(Status::forbidden(&pods(), "", "no"), 403, "pods is forbidden: no");
        check(Status::internal("boom"), 500, "Internal error occurred: boom");
        check(
            Status::too_large_resource_version(9, 3, 1),
            504,
            "Timeout: Too large resource version: 9, current: 3",
        );
    }

    #[test]
    fn invalid_names_every_cause() {
        let mut errors = ErrorList::new();
        errors.push(Error::required(&Path::new("spec").child("x"), ""));
        errors.push(Error::invalid(&Path::new("spec").child("y"), 1, "no"));
        let status = Status::invalid(&GroupKind::new("apps", "Deployment"), "d", &errors);
        let wire = serde_json::to_string(&status).unwrap();
        assert_eq!(
            wire,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Deployment.apps \"d\" is invalid: [spec.x: Required value, spec.y: Invalid value: 1: no]","reason":"Invalid","details":{"name":"d","group":"apps","kind":"Deployment","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.x"},{"reason":"FieldValueInvalid","message":"Invalid value: 1: no","field":"spec.y"}]},"code":422}"#
        );
    }

    #[test]
    fn reads_what_it_writes() {
        let status = Status::too_many_requests("slow down", 3);
        let back: Status = serde_json::from_value(status.to_value()).unwrap();
        assert_eq!(back, status);
        assert_eq!(back.retry_after_seconds(), Some(3));
    }
}
