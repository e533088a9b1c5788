//! Rules for volumes that show parts of several objects. KEP-1205, KEP-3257, KEP-4317.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::options::Options;
use super::scheduling::label_selector;
use super::volumes::{downward_item, key_to_path, local_path};
use crate::cursor::At;
use crate::kinds::certificates::signer_name;
use crate::kinds::internal;
use crate::object_meta;

const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
const KEY_TYPES: [&str; 6] =
    ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const MIN_CERTIFICATE_SECONDS: i64 = 3600;
const MAX_CERTIFICATE_SECONDS: i64 = 91 * 86400;
const MAX_KUBERNETES_CERTIFICATE_SECONDS: i64 = 86400;

/// The files of a volume, of which no two may be the same.
struct Files<'a, 'v> {
    volume: &'v At<'a>,
    paths: BTreeSet<String>,
}

impl Files<'_, '_> {
    fn add(&mut self, path: &str, shown: &str, errors: &mut ErrorList) {
        if !self.paths.insert(path.to_owned()) {
            let detail = "conflicting duplicate paths";
            errors.push(Error::invalid(&self.volume.path, shown, detail));
        }
    }
}

/// Checks the sources of a projected volume.
pub(super) fn check(volume: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    let mut files = Files { volume, paths: BTreeSet::new() };
    for source in volume.get("sources").list() {
        let mut count = 0;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let part = source.get(kind);
            if !part.is_set() {
                continue;
            }
            count += 1;
            match kind {
                "secret" | "configMap" => entries(&part, &mut files, errors),
                "downwardAPI" => {
                    for item in part.get("items").list() {
                        downward_item(&At::new(item.value, part.path.clone()), errors);
                        let path = item.get("path").str();
                        if !path.is_empty() {
                            files.add(path, path, errors);
                        }
                    }
                }
                "serviceAccountToken" => token(&part, volume, options, errors),
                "clusterTrustBundle" => trust_bundle(&part, &mut files, errors),
                _ => certificate(&part, &mut files, errors),
            }
        }
        if count > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type per source");
        }
    }
}

fn entries(part: &At<'_>, files: &mut Files<'_, '_>, errors: &mut ErrorList) {
    let name = part.get("name");
    name.must(errors);
    let list = part.get("items");
    for item in list.list() {
        key_to_path(&item, errors);
        let path = item.get("path").str();
        if !path.is_empty() {
            files.add(path, name.str(), errors);
        }
    }
}

fn token(token: &At<'_>, volume: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    let seconds = token.get("expirationSeconds");
    let n = seconds.int_or_zero();
    let mut wrong = |detail: &str| errors.push(Error::invalid(&seconds.path, n, detail));
    if n < MIN_TOKEN_SECONDS {
        wrong("may not specify a duration less than 10 minutes");
    } else if n > MAX_TOKEN_SECONDS {
        wrong("may not specify a duration larger than 2^32 seconds");
    }
    // Upstream shows the path as if it were the volume's.
    let path = At::new(token.get("path").value, volume.path.child("path"));
    if path.must(errors) && !options.odd_token_paths {
        local_path(&path, errors);
    }
}

fn trust_bundle(bundle: &At<'_>, files: &mut Files<'_, '_>, errors: &mut ErrorList) {
    let (name, signer) = (bundle.get("name"), bundle.get("signerName"));
    let selector = bundle.get("labelSelector");
    match (name.is_set(), signer.is_set()) {
        (true, true) => {
            let shown = internal::form(bundle.value, "ClusterTrustBundleProjection");
            let detail = "only one of name and signerName may be used";
            errors.push(Error::invalid(&bundle.path, shown, detail));
        }
        (true, false) => {
            if name.is_empty() {
                name.required(errors, "must be a valid object name");
            }
            // What stands before a colon is the name of the signer.
            let own = name.str().rsplit(':').next().unwrap_or_default();
            for message in names::dns1123_subdomain(own) {
                name.invalid(errors, format!("not a valid clustertrustbundlename: {message}"));
            }
            if selector.is_set() {
                selector.invalid(errors, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.is_empty() {
                signer.required(errors, "must be a valid signer name");
            }
            signer_name(&signer, errors);
            label_selector(&selector, errors);
        }
        (false, false) => bundle.required(errors, "either name or signerName must be specified"),
    }
    let path = bundle.get("path");
    path.must(errors);
    local_path(&path, errors);
    files.add(path.str(), path.str(), errors);
}

fn certificate(certificate: &At<'_>, files: &mut Files<'_, '_>, errors: &mut ErrorList) {
    let signer = certificate.get("signerName");
    signer_name(&signer, errors);
    let annotations = certificate.get("userAnnotations");
    user_annotations(&annotations, errors);
    let key = certificate.get("keyType");
    if !KEY_TYPES.contains(&key.str()) {
        key.unsupported(errors, &KEY_TYPES);
    }
    let seconds = certificate.get("maxExpirationSeconds");
    if let Some(n) = seconds.int() {
        if n < MIN_CERTIFICATE_SECONDS {
            let detail =
                format!("if provided, maxExpirationSeconds must be >= {MIN_CERTIFICATE_SECONDS}");
            seconds.invalid(errors, detail);
        }
        let host = signer.str().split_once('/').map_or("", |(host, _)| host);
        let max = match host == "kubernetes.io" || host.ends_with(".kubernetes.io") {
            true => MAX_KUBERNETES_CERTIFICATE_SECONDS,
            false => MAX_CERTIFICATE_SECONDS,
        };
        if n > max {
            let detail = format!("if provided, maxExpirationSeconds must be <= {max}");
            seconds.invalid(errors, detail);
        }
    }
    let mut count = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = certificate.get(field);
        if !path.is_empty() {
            count += 1;
            local_path(&path, errors);
            files.add(path.str(), path.str(), errors);
        }
    }
    if count == 0 {
        let detail =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        certificate.required(errors, detail);
    }
}

/// What a Pod tells the signer of its certificates besides.
fn user_annotations(annotations: &At<'_>, errors: &mut ErrorList) {
    for (key, _) in annotations.entries() {
        let key = key.to_lowercase();
        let mut messages = names::qualified_name(&key);
        if messages.is_empty() && !key.contains('/') {
            messages.push("must be a domain-prefixed key (such as \"acme.io/foo\")".to_owned());
        }
        for message in messages {
            errors.push(Error::invalid(&annotations.path, key.as_str(), message));
        }
    }
    object_meta::annotations_size(annotations, errors);
}
