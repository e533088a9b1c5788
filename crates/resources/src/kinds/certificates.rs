//! Requests for certificates, and what is trusted.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList};
use machinery::{Value, meta, names, time};
use serde_json::json;

use crate::cursor::{At, items_mut, remove, same, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy};

/// The longest name of a signer: two domains and a name.
const MAX_SIGNER: usize = MAX_DOMAIN + 1 + 63 + 1 + 253;
const MAX_DOMAIN: usize = 253;
const MIN_SECONDS: i64 = 600;
const MAX_TRUST_BUNDLE: usize = 1024 * 1024;
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

/// The name of a signer: a domain and a path of names under it.
pub(super) fn signer_name(at: &At<'_>, errors: &mut ErrorList) {
    let text = at.str();
    if text.is_empty() {
        at.required(errors, "");
        return;
    }
    let segments: Vec<&str> = text.split('/').collect();
    let [domain, path] = segments[..] else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        at.invalid(errors, detail);
        return;
    };
    if domain.len() > MAX_DOMAIN {
        errors.push(Error::too_long(&at.path, MAX_DOMAIN));
    }
    labels(at, domain, names::dns1123_label, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(&at.path, domain, detail));
    }
    labels(at, path, names::dns1123_subdomain, errors);
    if text.len() > MAX_SIGNER {
        errors.push(Error::too_long(&at.path, MAX_SIGNER));
    }
}

/// Checks the labels of one half of a signer's name up to the first that does not fit.
fn labels(at: &At<'_>, half: &str, rule: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    let wrong = half.split('.').find_map(|label| {
        let messages = rule(label);
        (!messages.is_empty()).then_some((label, messages))
    });
    if let Some((label, messages)) = wrong {
        for message in messages {
            let detail = format!("validating label {}: {message}", machinery::field::quote(label));
            errors.push(Error::invalid(&at.path, half, detail));
        }
    }
}

// === CertificateSigningRequest ===

/// The rules of CertificateSigningRequests.
pub(super) struct SigningRequest;

impl Strategy for SigningRequest {
    fn default(&self, csr: &mut Value) {
        if let Some(status) = csr.get_mut("status").filter(|status| status.is_object()) {
            for condition in items_mut(status, "conditions") {
                set_default_zero(condition, "status", "True");
            }
        }
    }

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
        let request = spec.get("request");
        if !is_request(request.str()) {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            errors.push(Error::invalid(&request.path, request.str(), detail));
        }
        let usages = spec.get("usages");
        usages.must(&mut errors);
        for usage in usages.list() {
            if !USAGES.contains(&usage.str()) {
                usage.unsupported(&mut errors, &USAGES);
            }
        }
        let mut taken = BTreeSet::new();
        for usage in usages.list() {
            if !taken.insert(usage.str()) {
                usage.duplicate(&mut errors);
            }
        }
        let signer = spec.get("signerName");
        if signer.str() == "kubernetes.io/legacy-unknown" {
            let detail = "the legacy signerName is not allowed via this API version";
            signer.invalid(&mut errors, detail);
        } else {
            signer_name(&signer, &mut errors);
        }
        let seconds = spec.get("expirationSeconds");
        if seconds.int().is_some_and(|n| n < MIN_SECONDS) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            seconds.invalid(&mut errors, detail);
        }
        conditions(&At::root(csr).get("status").get("conditions"), &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.check_change(ctx, new, old, Change::Other)
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

    fn validate_status_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.check_change(ctx, new, old, Change::Status)
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
        ctx: &Ctx<'_>,
        _subresource: &str,
        new: &Value,
        old: &Value,
    ) -> ErrorList {
        self.check_change(ctx, new, old, Change::Approval)
    }
}

/// What an update is allowed to touch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Other,
    Status,
    Approval,
}

impl SigningRequest {
    fn check_change(&self, ctx: &Ctx<'_>, new: &Value, old: &Value, change: Change) -> ErrorList {
        let mut errors = self.validate(ctx, new);
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
                    let detail =
                        format!("updates may not add a condition of type {}", quoted(kind));
                    list.forbidden(&mut errors, detail);
                } else if now.len() == before.len() && !same(&json!(now), &json!(before)) {
                    let detail =
                        format!("updates may not modify a condition of type {}", quoted(kind));
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
            } else if !is_block(certificate.str(), "CERTIFICATE") {
                let detail = "expected at least one PEM block of type CERTIFICATE";
                errors.push(Error::invalid(&certificate.path, "<certificate data>", detail));
            }
        }
        errors
    }
}

fn kind_of(condition: &Value) -> &str {
    condition.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Whether base64 holds a PEM block of a type.
fn is_block(base64: &str, kind: &str) -> bool {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().any(|line| line.trim_end() == format!("-----BEGIN {kind}-----"))
}

fn is_request(base64: &str) -> bool {
    is_block(base64, "CERTIFICATE REQUEST")
}

fn conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    let mut seen: Vec<&str> = Vec::new();
    for condition in conditions.list() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        kind.must(errors);
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
        if !opposite.is_empty() && seen.contains(&opposite) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            kind.invalid(errors, detail);
        }
        if seen.contains(&kind.str()) {
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

// === ClusterTrustBundle ===

/// The rules of ClusterTrustBundles, whose names start with their signer's.
pub(super) struct ClusterTrustBundle;

impl Strategy for ClusterTrustBundle {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        // Where there is a signer, its name comes first, and a colon.
        let own = name.rsplit_once(':').map_or(name, |(_, own)| own);
        crate::strategy::subdomain_name(own, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, bundle: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(bundle).get("spec");
        let signer = spec.get("signerName");
        let name = At::root(bundle).get("metadata").get("name");
        let required = format!("{}:", signer.str().replace('/', ":"));
        if signer.is_empty() {
            if meta::name(bundle).contains(':') {
                let detail =
                    "ClusterTrustBundle without signer name must not have \":\" in its name";
                name.invalid(&mut errors, detail);
            }
        } else {
            if !meta::name(bundle).starts_with(&required) {
                let detail = format!(
                    "ClusterTrustBundle for signerName {} must be named with prefix {required}",
                    signer.str()
                );
                name.invalid(&mut errors, detail);
            }
            signer_name(&signer, &mut errors);
        }
        trust_bundle(&spec.get("trustBundle"), &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let signer = |bundle| At::root(bundle).get("spec").get("signerName");
        signer(new).unchanged(&signer(old), &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn trust_bundle(bundle: &At<'_>, errors: &mut ErrorList) {
    let text = bundle.str();
    if text.len() > MAX_TRUST_BUNDLE {
        errors.push(Error::too_long(&bundle.path, MAX_TRUST_BUNDLE));
        return;
    }
    let mut blocks: Vec<&str> = Vec::new();
    let before = errors.len();
    for (i, block) in text.split("-----BEGIN ").skip(1).enumerate() {
        let (kind, rest) = block.split_once("-----").unwrap_or((block, ""));
        let body = rest.split("-----END ").next().unwrap_or_default().trim();
        let mut say = |detail: String| {
            errors.push(Error::invalid(&bundle.path, "<value omitted>", detail));
        };
        if kind != "CERTIFICATE" {
            say(format!("entry {i} has bad block type: {kind}"));
        } else if body.contains(':') {
            say(format!("entry {i} has PEM block headers"));
        } else {
            blocks.push(body);
        }
    }
    if errors.len() > before {
        return;
    }
    if blocks.is_empty() {
        let detail = "at least one trust anchor must be provided";
        errors.push(Error::invalid(&bundle.path, "<value omitted>", detail));
    }
    for (i, block) in blocks.iter().enumerate() {
        let equal: Vec<String> = (0..blocks.len())
            .filter(|other| blocks[*other] == *block)
            .map(|other| other.to_string())
            .collect();
        let first = blocks.iter().position(|other| other == block) == Some(i);
        if first && equal.len() > 1 {
            let detail = format!("duplicate trust anchor (indices [{}])", equal.join(" "));
            errors.push(Error::invalid(&bundle.path, "<value omitted>", detail));
        }
    }
}
