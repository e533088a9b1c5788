//! ClusterTrustBundles.

use machinery::field::{Error, ErrorList};
use machinery::{Value, meta};

use super::{blocks, signer_name};
use crate::cursor::At;
use crate::strategy::{Ctx, Strategy, subdomain_name};

const MAX_TRUST_BUNDLE: usize = 1024 * 1024;

/// The rules of ClusterTrustBundles, whose names start with their signer's.
pub(in crate::kinds) struct ClusterTrustBundle;

impl Strategy for ClusterTrustBundle {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        // Where there is a signer, its name comes first, and a colon.
        let own = name.rsplit_once(':').map_or(name, |(_, own)| own);
        subdomain_name(own, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, bundle: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        names(bundle, &mut errors);
        trust_bundle(&At::root(bundle).get("spec").get("trustBundle"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        names(new, &mut errors);
        // What stays is not read again, however the reading changed since.
        if spec.get("trustBundle").str() != before.get("trustBundle").str() {
            trust_bundle(&spec.get("trustBundle"), &mut errors);
        }
        spec.get("signerName").unchanged(&before.get("signerName"), &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn names(bundle: &Value, errors: &mut ErrorList) {
    let signer = At::root(bundle).get("spec").get("signerName");
    let name = At::root(bundle).get("metadata").get("name");
    if signer.is_empty() {
        if meta::name(bundle).contains(':') {
            let detail = "ClusterTrustBundle without signer name must not have \":\" in its name";
            name.invalid(errors, detail);
        }
        return;
    }
    let required = format!("{}:", signer.str().replace('/', ":"));
    if !meta::name(bundle).starts_with(&required) {
        let detail = format!(
            "ClusterTrustBundle for signerName {} must be named with prefix {required}",
            signer.str()
        );
        name.invalid(errors, detail);
    }
    signer_name(&signer, errors);
}

fn trust_bundle(bundle: &At<'_>, errors: &mut ErrorList) {
    let text = bundle.str();
    if text.len() > MAX_TRUST_BUNDLE {
        errors.push(Error::too_long(&bundle.path, MAX_TRUST_BUNDLE));
        return;
    }
    let before = errors.len();
    let blocks = blocks::of_text(text.as_bytes());
    let mut say = |detail: String| {
        errors.push(Error::invalid(&bundle.path, "<value omitted>", detail));
    };
    for (i, block) in blocks.iter().enumerate() {
        if block.tag() != blocks::CERTIFICATE {
            say(format!("entry {i} has bad block type: {}", block.tag()));
        } else if block.headers().iter().next().is_some() {
            say(format!("entry {i} has PEM block headers"));
        } else {
            match blocks::certificate(block) {
                None => say(format!("entry {i} does not parse as X.509")),
                Some(certificate) if !certificate.is_ca() => {
                    say(format!("entry {i} does not have the CA bit set"));
                }
                Some(_) => {}
            }
        }
    }
    if errors.len() > before {
        return;
    }
    let mut say = |detail: String| {
        errors.push(Error::invalid(&bundle.path, "<value omitted>", detail));
    };
    if blocks.is_empty() {
        say("at least one trust anchor must be provided".to_owned());
    }
    for (i, block) in blocks.iter().enumerate() {
        let equal: Vec<String> = (0..blocks.len())
            .filter(|other| blocks[*other].contents() == block.contents())
            .map(|other| other.to_string())
            .collect();
        if equal.len() > 1 && equal[0] == i.to_string() {
            say(format!("duplicate trust anchor (indices [{}])", equal.join(" ")));
        }
    }
}
