//! What stands in PEM and in X.509.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::field::quote;
use pem::Pem;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer, X509Certificate};

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
const REQUEST: &str = "CERTIFICATE REQUEST";

/// The PEM blocks of a text; none where it is malformed.
pub(super) fn of_text(text: &[u8]) -> Vec<Pem> {
    pem::parse_many(text).unwrap_or_default()
}

pub(super) fn decoded(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap_or_default()
}

/// Whether a block holds a certificate.
pub(super) fn certificate(block: &Pem) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(block.contents())
        .ok()
        .filter(|(rest, _)| rest.is_empty())
        .map(|(_, certificate)| certificate)
}

/// Checks a request for a certificate, given as base64 of PEM.
///
/// # Errors
/// What is wrong with it, in upstream's words where they are its own.
pub(super) fn check_request(base64: &str) -> Result<(), String> {
    let block = of_text(&decoded(base64)).into_iter().next();
    match block.filter(|block| block.tag() == REQUEST) {
        Some(block) => check_request_bytes(block.contents()),
        None => Err("PEM block type must be CERTIFICATE REQUEST".to_owned()),
    }
}

/// Checks a request for a certificate and its signature.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_request_bytes(der: &[u8]) -> Result<(), String> {
    let (_, request) = X509CertificationRequest::from_der(der)
        .map_err(|_| "x509: malformed certificate request".to_owned())?;
    if request.verify_signature().is_ok() {
        return Ok(());
    }
    let algorithm = &request.certification_request_info.subject_pki.algorithm.algorithm;
    Err(if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        "x509: ECDSA verification failure"
    } else if *algorithm == OID_SIG_ED25519 {
        "x509: Ed25519 verification failure"
    } else {
        "crypto/rsa: verification error"
    }
    .to_owned())
}

/// Checks an issued certificate and those after it.
///
/// # Errors
/// What is wrong with the first block that does not fit.
pub(super) fn check_issued(text: &[u8]) -> Result<(), String> {
    let blocks = of_text(text);
    for block in &blocks {
        if block.tag() != CERTIFICATE {
            let found = quote(block.tag());
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {found}"));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if certificate(block).is_none() {
            return Err("x509: malformed certificate".to_owned());
        }
    }
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}
