//! `AdmissionReview`: what is asked, and what an answer means. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::Value;
use machinery::gvk::{GroupVersionKind, GroupVersionResource};
use machinery::status::Status;
use serde_json::json;

use super::{is_namespace, kind_of};
use crate::registry::{Attributes, Resource};
use crate::webhook::answer::gvk;

/// What a review is about.
pub(crate) struct Request<'a> {
    pub(crate) uid: &'a str,
    /// As the webhook wants it.
    pub(crate) kind: GroupVersionKind,
    /// As the webhook wants it.
    pub(crate) resource: GroupVersionResource,
    /// As the client sent it.
    pub(crate) request_kind: GroupVersionKind,
    /// As the client sent it.
    pub(crate) request_resource: GroupVersionResource,
    pub(crate) subresource: &'a str,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) user: &'a Value,
    pub(crate) object: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
    pub(crate) dry_run: bool,
}

impl<'a> Request<'a> {
    /// About a write as one of `resource`, which may be an equivalent of the one that is written.
    pub(crate) fn of(attributes: &'a Attributes<'_>, resource: &Resource, uid: &'a str) -> Self {
        let name = attributes.object_name();
        Self {
            uid,
            kind: kind_of(resource, attributes.subresource),
            resource: resource.gvr(),
            request_kind: kind_of(attributes.resource, attributes.subresource),
            request_resource: attributes.resource.gvr(),
            subresource: attributes.subresource,
            name,
            namespace: if is_namespace(resource) { name } else { attributes.namespace },
            operation: attributes.operation.as_str(),
            user: attributes.context.user_info(),
            object: None,
            old: None,
            dry_run: attributes.dry_run,
        }
    }

    /// As it is in the review.
    pub(crate) fn to_value(&self) -> Value {
        let kind = |kind: &GroupVersionKind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let resource = |resource: &GroupVersionResource| {
            json!({"group": resource.group, "version": resource.version,
                "resource": resource.resource})
        };
        let mut request = json!({
            "uid": self.uid,
            "kind": kind(&self.kind),
            "resource": resource(&self.resource),
            "requestKind": kind(&self.request_kind),
            "requestResource": resource(&self.request_resource),
            "operation": self.operation,
            "userInfo": self.user,
            "object": self.object,
            "oldObject": self.old,
            "dryRun": self.dry_run,
            "options": self.options(),
        });
        for (field, text) in [("name", self.name), ("namespace", self.namespace)] {
            if !text.is_empty() {
                request[field] = text.into();
            }
        }
        if !self.subresource.is_empty() {
            request["subResource"] = self.subresource.into();
            request["requestSubResource"] = self.subresource.into();
        }
        request
    }

    fn options(&self) -> Value {
        let kind = match self.operation {
            "CREATE" => "CreateOptions",
            "UPDATE" => "UpdateOptions",
            "DELETE" => "DeleteOptions",
            _ => return Value::Null,
        };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }
}

/// What a webhook said.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// Why not.
    pub(super) result: Option<Value>,
    pub(super) patch: Option<Patch>,
    pub(super) warnings: Vec<String>,
}

/// A change that a webhook wants.
#[derive(Debug, PartialEq)]
pub(super) struct Patch {
    pub(super) kind: String,
    /// The operations as they came.
    pub(super) text: Vec<u8>,
}

impl Verdict {
    /// From the answer to a review.
    pub(super) fn read(
        answer: &Value,
        api_version: &str,
        uid: &str,
        mutating: bool,
    ) -> Result<Self, String> {
        let response = answer.get("response").filter(|response| response.is_object());
        let response = response.ok_or("webhook response was absent")?;
        let text = |field: &str| response[field].as_str().unwrap_or_default();
        let strict = api_version == "admission.k8s.io/v1";
        if strict {
            if text("uid") != uid {
                return Err(format!("expected response.uid={uid:?}, got {:?}", text("uid")));
            }
            let expected = format!("{api_version}, Kind=AdmissionReview");
            let given = gvk(answer);
            if given != expected {
                return Err(format!("expected webhook response of {expected}, got {given}"));
            }
        }
        let patch = STANDARD.decode(text("patch")).map_err(|error| error.to_string())?;
        let kind = response.get("patchType").filter(|kind| !kind.is_null());
        let kind = kind.map(|kind| kind.as_str().unwrap_or_default());
        let patch = match (mutating, strict) {
            (true, true) => match (patch.is_empty(), kind) {
                (false, None) => {
                    return Err(
                        "webhook returned response.patch but not response.patchType".to_owned()
                    );
                }
                (true, Some(_)) => {
                    return Err(
                        "webhook returned response.patchType but not response.patch".to_owned()
                    );
                }
                (_, Some("")) => {
                    return Err("webhook returned invalid response.patchType of \"\"".to_owned());
                }
                (false, Some(kind)) => Some(Patch { kind: kind.to_owned(), text: patch }),
                (true, None) => None,
            },
            (true, false) => {
                (!patch.is_empty()).then(|| Patch { kind: "JSONPatch".to_owned(), text: patch })
            }
            (false, true) if !patch.is_empty() => {
                return Err("validating webhook may not return response.patch".to_owned());
            }
            (false, true) if kind.is_some() => {
                return Err("validating webhook may not return response.patchType".to_owned());
            }
            (false, _) => None,
        };
        let warnings = response["warnings"].as_array().into_iter().flatten();
        Ok(Self {
            allowed: response["allowed"].as_bool().unwrap_or(false),
            result: response.get("status").filter(|result| result.is_object()).cloned(),
            patch,
            warnings: warnings.filter_map(|text| text.as_str().map(str::to_owned)).collect(),
        })
    }
}

/// What the client is told when a webhook says no.
pub(super) fn refusal(webhook: &str, result: Option<&Value>) -> Status {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let mut status = result
        .and_then(|result| serde_json::from_value::<Status>(result.clone()).ok())
        .unwrap_or_else(|| Status::failure(400, "", ""));
    (status.kind, status.api_version) = ("Status".to_owned(), "v1".to_owned());
    status.code = status.code.clamp(400, 599);
    if status.status.is_empty() || status.status == "Success" {
        status.status = "Failure".to_owned();
    }
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    status
}
