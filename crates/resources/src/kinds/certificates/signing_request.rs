//! CertificateSigningRequests.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::{Value, time};
use serde_json::json;

use super::{blocks, signer_name};
use crate::cursor::{At, items_mut, remove, same, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy};

const MIN_SECONDS: i64 = 600;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The rules of CertificateSigningRequests.
pub(in crate::kinds) struct SigningRequest;

impl Strategy for SigningRequest {
    fn default(&self, csr: &mut Value) {
        if let Some(status) = csr.get_mut("status").filter(|status| status.is_object()) {
            for condition in items_mut(status, "conditions") {
                set_default_zero(condition, "status", "True");
            }
        }
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
        check(csr, Leniency::default(), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        check_change(new, old, Change::Other)
    }

    fn prepare_for_status_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        // Decisions are made through `approval` only.
        let decided = |c: &Value| matches!(kind_of(c), "Approved" | "Denied");
        let before = old.pointer("/status/conditions").and_then(Value::as_array).cloned();
        if let Some(status) = new.get_mut("status").filter(|s| s.is_object()) {
            let mut conditions: Vec<Value> =
                before.into_iter().flatten().filter(|c| decided(c)).collect();
            let given = status.get("conditions").and_then(Value::as_array).cloned();
            conditions.extend(given.into_iter().flatten().filter(|c| !decided(c)));
            if conditions.is_empty() {
                remove(status, "conditions");
            } else {
                status["conditions"] = Value::Array(conditions);
            }
        }
        set_times(new, ctx);
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        check_change(new, old, Change::Status)
    }

    fn prepare_for_subresource(
        &self,
        ctx: &Ctx<'_>,
        _subresource: &str,
        new: &mut Value,
        old: &Value,
    ) {
        // `approval` changes conditions and nothing else.
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
        set_times(new, ctx);
    }

    fn validate_subresource(
        &self,
        _ctx: &Ctx<'_>,
        _subresource: &str,
        new: &Value,
        old: &Value,
    ) -> ErrorList {
        check_change(new, old, Change::Approval)
    }
}

/// What an update is allowed to touch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Other,
    Status,
    Approval,
}

/// What is not looked at since it has been like that before.
#[derive(Clone, Copy, Default)]
struct Leniency {
    legacy_signer: bool,
    unknown_usages: bool,
    duplicate_usages: bool,
    approved_and_denied: bool,
    duplicate_conditions: bool,
    nameless_conditions: bool,
    certificate: bool,
}

impl Leniency {
    fn of(new: &Value, old: &Value) -> Self {
        let (spec, status) = (At::root(old).get("spec"), At::root(old).get("status"));
        let usages: Vec<&str> = spec.get("usages").list().map(|usage| usage.str()).collect();
        let kinds: Vec<&str> = status.get("conditions").items().iter().map(kind_of).collect();
        let repeat = |list: &[&str]| list.iter().collect::<BTreeSet<_>>().len() < list.len();
        let certificate = status.get("certificate").str();
        let now = At::root(new).get("status").get("certificate").str();
        Self {
            legacy_signer: spec.get("signerName").str() == LEGACY_SIGNER,
            unknown_usages: usages.iter().any(|usage| !USAGES.contains(usage)),
            duplicate_usages: repeat(&usages),
            approved_and_denied: kinds.contains(&"Approved") && kinds.contains(&"Denied"),
            duplicate_conditions: repeat(&kinds),
            nameless_conditions: kinds.contains(&""),
            certificate: now == certificate || issued_problem(certificate).is_some(),
        }
    }
}

/// What is wrong with the certificate of a status, if there is one.
fn issued_problem(base64: &str) -> Option<String> {
    if base64.is_empty() {
        return None;
    }
    blocks::check_issued(&blocks::decoded(base64)).err()
}

fn check(csr: &Value, lenient: Leniency, errors: &mut ErrorList) {
    let (spec, status) = (At::root(csr).get("spec"), At::root(csr).get("status"));
    let request = spec.get("request");
    if let Err(why) = blocks::check_request(request.str()) {
        errors.push(Error::invalid(&request.path, request.str(), why));
    }
    let usages = spec.get("usages");
    usages.must(errors);
    if !lenient.unknown_usages {
        for usage in usages.list() {
            usage.set_to_one_of(errors, &USAGES);
        }
    }
    let mut taken = BTreeSet::new();
    for usage in usages.list() {
        if !taken.insert(usage.str()) && !lenient.duplicate_usages {
            usage.duplicate(errors);
        }
    }
    let signer = spec.get("signerName");
    if signer.str() == LEGACY_SIGNER && !lenient.legacy_signer {
        let detail = "the legacy signerName is not allowed via this API version";
        signer.invalid(errors, detail);
    } else {
        signer_name(&signer, errors);
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|n| n < MIN_SECONDS) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        seconds.invalid(errors, detail);
    }
    conditions(&status.get("conditions"), lenient, errors);
    let certificate = status.get("certificate");
    if !lenient.certificate
        && let Some(why) = issued_problem(certificate.str())
    {
        errors.push(Error::invalid(&certificate.path, "<certificate data>", why));
    }
}

fn check_change(new: &Value, old: &Value, change: Change) -> ErrorList {
    let mut errors = ErrorList::new();
    check(new, Leniency::of(new, old), &mut errors);
    let status = At::root(new).get("status");
    let list = status.get("conditions");
    let of = |csr: &Value, kind: &str| -> Vec<Value> {
        let conditions = csr.pointer("/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().filter(|c| kind_of(c) == kind).cloned().collect()
    };
    let quoted = machinery::field::quote;
    for kind in ["Approved", "Denied", "Failed"] {
        if of(new, kind).len() < of(old, kind).len() {
            let detail = format!("updates may not remove a condition of type {}", quoted(kind));
            list.forbidden(&mut errors, detail);
        }
    }
    if change != Change::Approval {
        for kind in ["Approved", "Denied"] {
            let (now, before) = (of(new, kind), of(old, kind));
            if now.len() > before.len() {
                let detail = format!("updates may not add a condition of type {}", quoted(kind));
                list.forbidden(&mut errors, detail);
            } else if now.len() == before.len() && !same(&json!(now), &json!(before)) {
                let detail = format!("updates may not modify a condition of type {}", quoted(kind));
                list.forbidden(&mut errors, detail);
            }
        }
    }
    let certificate = status.get("certificate");
    let before = At::root(old).get("status").get("certificate");
    if certificate.str() != before.str() {
        if change != Change::Status {
            certificate.forbidden(&mut errors, "updates may not set certificate content");
        } else if !before.is_empty() {
            let detail = "updates may not modify existing certificate content";
            certificate.forbidden(&mut errors, detail);
        }
    }
    errors
}

fn kind_of(condition: &Value) -> &str {
    condition.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn conditions(conditions: &At<'_>, lenient: Leniency, errors: &mut ErrorList) {
    let mut seen: Vec<&str> = Vec::new();
    for condition in conditions.list() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if !lenient.nameless_conditions {
            kind.must(errors);
        }
        if matches!(kind.str(), "Approved" | "Denied" | "Failed") {
            status.one_of(errors, &["True"]);
        } else {
            status.one_of(errors, &["False", "True", "Unknown"]);
        }
        let opposite = match kind.str() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !opposite.is_empty() && seen.contains(&opposite) && !lenient.approved_and_denied {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(Error::invalid(&conditions.path, kind.str(), detail));
        }
        if seen.contains(&kind.str()) && !lenient.duplicate_conditions {
            kind.duplicate(errors);
        }
        seen.push(kind.str());
    }
}

/// New conditions get their times.
fn set_times(csr: &mut Value, ctx: &Ctx<'_>) {
    let now = json!(time::format(ctx.now));
    let Some(status) = csr.get_mut("status").filter(|s| s.is_object()) else { return };
    for condition in items_mut(status, "conditions") {
        set_default_zero(condition, "status", "True");
        set_default(condition, "lastUpdateTime", now.clone());
        set_default(condition, "lastTransitionTime", now.clone());
    }
}
