//! PodCertificateRequests.

use machinery::field::{Error, ErrorList};
use machinery::time::{self, Timestamp};
use machinery::{Value, names};
use serde_json::json;

use super::{blocks, signer_name};
use crate::cursor::{At, same};
use crate::kinds::forms;
use crate::object_meta;
use crate::strategy::{Ctx, Strategy, subdomain_name};

const KNOWN: [&str; 3] = ["Issued", "Denied", "Failed"];
const MAX_UID: usize = 128;
const MAX_KEY: usize = 10 * 1024;
const MAX_CHAIN: usize = 100 * 1024;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// The longest life that signers other than Kubernetes' own may give, in seconds.
const MAX_LIFE: i64 = 91 * DAY;
/// How far `notBefore` may be from now, in seconds.
const SKEW: i64 = 5 * 60;
/// How far a refresh must be from either end, in seconds.
const REFRESH: i64 = 10 * 60;

/// The rules of PodCertificateRequests. That the key belongs to whoever asks is shown by the
/// signature of the request; the older fields for the same are not looked at.
pub(in crate::kinds) struct PodCertificateRequest;

impl Strategy for PodCertificateRequest {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, request: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check_spec(&At::root(request).get("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(new).get("spec").unchanged(&At::root(old).get("spec"), &mut errors);
        errors
    }

    fn validate_status_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
        known_conditions(&status.get("conditions"), &mut errors);
        forms::conditions(&status.get("conditions"), &mut errors);
        if !errors.is_empty() {
            return errors;
        }
        let mut say = |detail: &str| {
            errors.push(Error::invalid_without_value(&status.path, detail));
        };
        if KNOWN.iter().any(|kind| holds(&before, kind)) {
            if !same(status.value, before.value) {
                say("immutable after PodCertificateRequest is issued, denied, or failed");
            }
        } else if holds(&status, "Denied") || holds(&status, "Failed") {
            let only = json!({"conditions": status.get("conditions").value});
            if !same(status.value, &only) {
                say(
                    "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
                );
            }
        } else if holds(&status, "Issued") {
            let spec = At::root(new).get("spec");
            issued(ctx, &status, spec.get("maxExpirationSeconds").int_or_zero(), &mut errors);
        } else if !same(status.value, before.value) {
            say(
                "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
            );
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn holds(status: &At<'_>, kind: &str) -> bool {
    status
        .get("conditions")
        .list()
        .any(|c| c.get("type").str() == kind && c.get("status").str() == "True")
}

fn check_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let signer = spec.get("signerName");
    signer_name(&signer, errors);
    object_meta::annotations(&spec.get("unverifiedUserAnnotations"), errors);
    for (name, uid) in [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ] {
        let (name, uid) = (spec.get(name), spec.get(uid));
        name.form(errors, names::dns1123_subdomain);
        if uid.is_empty() {
            errors.push(Error::invalid(&uid.path, "", "must not be empty"));
        }
        if uid.str().len() > MAX_UID {
            errors.push(Error::too_long(&uid.path, MAX_UID));
        }
    }
    let seconds = spec.get("maxExpirationSeconds");
    if !seconds.is_set() {
        seconds.required(errors, "must be set");
        return;
    }
    let host = signer.str().split('/').next().unwrap_or_default();
    let own = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
    let most = if own { DAY } else { MAX_LIFE };
    if !(HOUR..=most).contains(&seconds.int_or_zero()) {
        seconds.invalid(errors, format!("must be in the range [{HOUR}, {most}]"));
    }
    let request = spec.get("stubPKCS10Request");
    if !request.must(errors) {
        return;
    }
    let bytes = blocks::decoded(request.str());
    if bytes.len() > MAX_KEY {
        errors.push(Error::too_long(&request.path, MAX_KEY));
    } else if blocks::check_request_bytes(&bytes).is_err() {
        let detail = "must be a valid PKCS#10 certificate request";
        errors.push(Error::invalid_without_value(&request.path, detail));
    }
}

fn known_conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    let mut known = 0;
    for condition in conditions.list() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if !KNOWN.contains(&kind.str()) {
            kind.unsupported(errors, &KNOWN);
            continue;
        }
        known += 1;
        if known > 1 {
            let detail = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            kind.invalid(errors, detail);
        }
        if status.str() != "True" {
            status.unsupported(errors, &["True"]);
        }
    }
}

/// Checks a certificate that was issued, up to the first thing that is wrong.
fn issued(ctx: &Ctx<'_>, status: &At<'_>, max_life: i64, errors: &mut ErrorList) {
    let chain = status.get("certificateChain");
    if chain.str().len() > MAX_CHAIN {
        errors.push(Error::too_long(&chain.path, MAX_CHAIN));
        return;
    }
    let blocks = blocks::of_text(chain.str().as_bytes());
    let Some((leaf, rest)) = blocks.split_first() else {
        chain.invalid(errors, "issued certificate chain must contain at least one certificate");
        return;
    };
    if leaf.tag() != blocks::CERTIFICATE {
        let detail = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks";
        chain.invalid(errors, detail);
        return;
    }
    let Some(leaf) = blocks::certificate(leaf) else {
        chain.invalid(errors, "leaf certificate does not parse as valid X.509");
        return;
    };
    let before = errors.len();
    let consistent = "must be present and consistent with the issued certificate";
    for (field, detail) in [
        ("notBefore", consistent),
        ("notAfter", consistent),
        ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
    ] {
        if !status.get(field).is_set() {
            status.get(field).required(errors, detail);
        }
    }
    if errors.len() > before {
        return;
    }
    let life = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    if let Some((at, detail)) = wrong_time(ctx.now, status, life, max_life) {
        at.invalid(errors, detail);
        return;
    }
    for block in rest {
        if block.tag() != blocks::CERTIFICATE {
            // Upstream's own spelling.
            let detail = "issued certificate chain must consist entirely of CERTFICATE PEM blocks";
            chain.invalid(errors, detail);
            return;
        }
        if blocks::certificate(block).is_none() {
            chain.invalid(errors, "intermediate certificate does not parse as valid X.509");
            return;
        }
    }
}

fn wrong_time<'a>(
    now: Timestamp,
    status: &At<'a>,
    (from, to): (i64, i64),
    max_life: i64,
) -> Option<(At<'a>, String)> {
    let [before, after, refresh] =
        ["notBefore", "notAfter", "beginRefreshAt"].map(|field| status.get(field));
    let seconds = |at: &At<'_>| time::parse(at.str()).map_or(0, Timestamp::as_second);
    let chain = status.get("certificateChain");
    let life = to - from;
    Some(if seconds(&before) != from {
        (before, "must be set to the NotBefore time encoded in the leaf certificate".to_owned())
    } else if (from - now.as_second()).abs() >= SKEW {
        (before, "must be set to within 5 minutes of kube-apiserver's current time".to_owned())
    } else if seconds(&after) != to {
        (after, "must be set to the NotAfter time encoded in the leaf certificate".to_owned())
    } else if life < HOUR {
        (chain, "leaf certificate lifetime must be >= 1 hour".to_owned())
    } else if life > max_life {
        let detail =
            format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({max_life})");
        (chain, detail)
    } else if seconds(&refresh) < from + REFRESH {
        (refresh, "must be at least 10 minutes after status.notBefore".to_owned())
    } else if seconds(&refresh) > to - REFRESH {
        (refresh, "must be at least 10 minutes before status.notAfter".to_owned())
    } else {
        return None;
    })
}
