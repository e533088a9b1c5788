//! Requests for certificates, and what is trusted.

mod blocks;
mod pod_request;
mod signing_request;
#[cfg(test)]
mod tests;
mod trust_bundle;

use machinery::field::{Error, ErrorList};
use machinery::names;

pub(super) use self::pod_request::PodCertificateRequest;
pub(super) use self::signing_request::SigningRequest;
pub(super) use self::trust_bundle::ClusterTrustBundle;
use crate::cursor::At;

/// The longest name of a signer: two domains and a name.
const MAX_SIGNER: usize = MAX_DOMAIN + 1 + 63 + 1 + 253;
const MAX_DOMAIN: usize = 253;

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
