//! Who may approve and sign certificate requests of which signer, and say what to trust for it:
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization>.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::{Plugin, forbidden, is, only_ownership};
use crate::authn::user::MASTERS;
use crate::authz::{self, Authorizer};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const BUNDLES: &str = "clustertrustbundles";
/// The signer of client certificates for this server.
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";

pub(super) struct Certificates(pub(super) Arc<Authorizer>);

impl Plugin for Certificates {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        if is(attributes, Operation::Create, GROUP, REQUESTS) {
            return check_subject(attributes);
        }
        if attributes.resource.group == GROUP && attributes.resource.name == BUNDLES {
            return self.attest(attributes);
        }
        if attributes.resource.group != GROUP
            || attributes.resource.name != REQUESTS
            || attributes.operation != Operation::Update
        {
            return Ok(());
        }
        let changed = |field: &str| {
            let new = attributes.object.as_ref().and_then(|object| object.pointer(field));
            new != attributes.old.and_then(|old| old.pointer(field))
        };
        let (verb, done) = match attributes.subresource {
            "approval" => ("approve", true),
            "status" => ("sign", changed("/status/certificate")),
            _ => return Ok(()),
        };
        if !done {
            return Ok(());
        }
        let signer = attributes
            .old
            .and_then(|old| old.pointer("/spec/signerName"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        if self.may(attributes, verb, signer) {
            return Ok(());
        }
        Err(forbidden(
            attributes,
            format!("user not permitted to {verb} requests with signerName {signer:?}"),
        ))
    }
}

impl Certificates {
    /// Whether who asks may do something for a signer, or for all of its domain.
    fn may(&self, attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
        let domain =
            signer.split_once('/').map_or(String::new(), |(domain, _)| format!("{domain}/*"));
        [signer, &domain].into_iter().any(|name| {
            let user = &attributes.context.user;
            let attributes = authz::Attributes::resource(user, verb, GROUP, "signers");
            self.0.check(&authz::Attributes { name, ..attributes }).is_ok()
        })
    }

    /// Not everybody says what is to be trusted for a signer.
    fn attest(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let Some(bundle) = &attributes.object else { return Ok(()) };
        let signer = bundle["spec"]["signerName"].as_str().unwrap_or_default();
        let written = match attributes.operation {
            Operation::Create => true,
            Operation::Update => !only_ownership(bundle, attributes.old),
            _ => false,
        };
        if signer.is_empty() || !written || self.may(attributes, "attest", signer) {
            return Ok(());
        }
        let text = format!("user not permitted to attest for signerName {signer:?}");
        Err(forbidden(attributes, text))
    }
}

/// Nobody gets a certificate of the group that may do everything by asking for it.
fn check_subject(attributes: &Attributes<'_>) -> Result<(), Failure> {
    let spec = attributes.object.as_ref().map_or(&Value::Null, |object| &object["spec"]);
    if spec["signerName"] != CLIENTS || !asks_for_masters(spec["request"].as_str()) {
        return Ok(());
    }
    let text = format!("use of {CLIENTS} signer with {MASTERS} group is not allowed");
    Err(forbidden(attributes, text))
}

/// Whether a request, PEM in base64, names the group. What cannot be read is refused elsewhere.
fn asks_for_masters(request: Option<&str>) -> bool {
    let pem = request.and_then(|text| STANDARD.decode(text).ok());
    let Some(pem) =
        pem.and_then(|bytes| x509_parser::pem::parse_x509_pem(&bytes).ok().map(|p| p.1))
    else {
        return false;
    };
    let Ok((_, request)) = X509CertificationRequest::from_der(&pem.contents) else { return false };
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().any(|group| group.as_str().is_ok_and(|group| group == MASTERS))
}
