//! How a definition's versions are converted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList};

use crate::cursor::At;
use crate::kinds::forms;

/// The client is checked where it stood in an older form, as upstream does.
fn client<'a>(conversion: &At<'a>) -> At<'a> {
    let client = conversion.get("webhook").get("clientConfig");
    At::new(client.value, conversion.path.child("webhookClientConfig"))
}

pub(super) fn check(conversion: &At<'_>, errors: &mut ErrorList) {
    if !conversion.is_set() {
        return;
    }
    let strategy = conversion.get("strategy");
    strategy.one_of(errors, &["None", "Webhook"]);
    let client = client(conversion);
    let reviews = conversion.get("webhook").get("conversionReviewVersions");
    let reviews = At::new(reviews.value, conversion.path.child("conversionReviewVersions"));
    if strategy.str() == "Webhook" {
        if client.is_set() {
            forms::webhook_client(&client, errors);
        } else {
            client.required(errors, "required when strategy is set to Webhook");
        }
        forms::review_versions(&reviews, "", false, errors);
        return;
    }
    for unused in [client, reviews] {
        if !unused.is_empty() {
            unused.forbidden(errors, "should not be set when strategy is not set to Webhook");
        }
    }
}

/// Once objects can exist, a bundle of certificates that is good is not replaced by one that is not.
pub(super) fn check_bundle(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (new, old) = (client(new).get("caBundle"), client(old).get("caBundle"));
    if !new.is_empty() && !has_certificates(new.str()) && has_certificates(old.str()) {
        let detail = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.push(Error::invalid(&new.path, new.str(), detail));
    }
}

/// Whether a bundle, in base64, can be one: an empty one stands for the system's.
fn has_certificates(bundle: &str) -> bool {
    let begins =
        |pem: Vec<u8>| String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----");
    bundle.is_empty() || STANDARD.decode(bundle).is_ok_and(begins)
}
