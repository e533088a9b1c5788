//! Who may approve and sign certificate requests of which signer:
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization>.

use std::sync::Arc;

use machinery::Value;

use super::{Plugin, forbidden};
use crate::authz::{self, Authorizer};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "certificates.k8s.io";

pub(super) struct Certificates(pub(super) Arc<Authorizer>);

impl Plugin for Certificates {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        if attributes.resource.group != GROUP
            || attributes.resource.name != "certificatesigningrequests"
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
        let user = &attributes.context.user;
        let domain =
            signer.split_once('/').map_or(String::new(), |(domain, _)| format!("{domain}/*"));
        let may = |name: &str| {
            let attributes = authz::Attributes::resource(user, verb, GROUP, "signers");
            self.0.check(&authz::Attributes { name, ..attributes }).is_ok()
        };
        if may(signer) || may(&domain) {
            return Ok(());
        }
        Err(forbidden(
            attributes,
            format!("user not permitted to {verb} requests with signerName {signer:?}"),
        ))
    }
}
