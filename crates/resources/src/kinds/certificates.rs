//! Requests for certificates.

use machinery::Value;
use machinery::field::ErrorList;
use machinery::names;
use serde_json::json;

use crate::cursor::{At, items_mut, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy};

/// The rules of CertificateSigningRequests.
pub(super) struct SigningRequest;

impl Strategy for SigningRequest {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        if prefix { names::path_segment_prefix(name) } else { names::path_segment(name) }
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, csr: &mut Value) {
        // Who asks is not for the client to say.
        let Some(spec) = csr.get_mut("spec").and_then(Value::as_object_mut) else { return };
        for field in ["username", "uid", "groups", "extra"] {
            match ctx.user.get(field).filter(|v| !At::root(v).is_empty()) {
                Some(value) => {
                    spec.insert(field.to_owned(), value.clone());
                }
                None => {
                    spec.shift_remove(field);
                }
            }
        }
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        crate::cursor::copy_field(new, old, "spec");
    }

    fn validate(&self, _ctx: &Ctx<'_>, csr: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(csr).get("spec");
        spec.get("request").must(&mut errors);
        spec.get("usages").must(&mut errors);
        let signer = spec.get("signerName");
        if signer.must(&mut errors) {
            let fits = signer.str().split_once('/').is_some_and(|(domain, path)| {
                domain.contains('.')
                    && names::dns1123_subdomain(domain).is_empty()
                    && !path.is_empty()
            });
            if !fits {
                let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
                signer.invalid(&mut errors, detail);
            }
        }
        let seconds = spec.get("expirationSeconds");
        if seconds.int().is_some_and(|n| n < 600) {
            seconds.invalid(
                &mut errors,
                "may not specify a duration less than 600 seconds (10 minutes)",
            );
        }
        errors
    }

    fn prepare_for_status_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        keep_decisions(new, old, false, ctx);
    }

    fn prepare_for_subresource(
        &self,
        ctx: &Ctx<'_>,
        _subresource: &str,
        new: &mut Value,
        old: &Value,
    ) {
        // approval adds decisions and nothing else.
        let conditions = new.pointer("/status/conditions").cloned();
        let metadata = new.get("metadata").cloned();
        *new = old.clone();
        if let Some(metadata) = metadata {
            new["metadata"] = metadata;
        }
        if !new.get("status").is_some_and(Value::is_object) {
            new["status"] = json!({});
        }
        if let Some(conditions) = conditions {
            new["status"]["conditions"] = conditions;
        }
        keep_decisions(new, old, true, ctx);
    }
}

/// Decisions are made through `approval` only; new conditions get their times.
fn keep_decisions(new: &mut Value, old: &Value, approval: bool, ctx: &Ctx<'_>) {
    let now = json!(machinery::time::format(ctx.now));
    let decided =
        |c: &Value| matches!(c.get("type").and_then(Value::as_str), Some("Approved" | "Denied"));
    let before: Vec<Value> =
        old.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(status) = new.get_mut("status").filter(|s| s.is_object()) else { return };
    if !approval {
        let mut conditions: Vec<Value> = before.iter().filter(|c| decided(c)).cloned().collect();
        let given = status.get("conditions").and_then(Value::as_array).cloned();
        conditions.extend(given.into_iter().flatten().filter(|c| !decided(c)));
        if conditions.is_empty() {
            crate::cursor::remove(status, "conditions");
        } else {
            status["conditions"] = Value::Array(conditions);
        }
    }
    for condition in items_mut(status, "conditions") {
        set_default_zero(condition, "status", "True");
        set_default(condition, "lastUpdateTime", now.clone());
        set_default(condition, "lastTransitionTime", now.clone());
    }
}
