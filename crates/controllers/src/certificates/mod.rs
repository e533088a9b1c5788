//! CertificateSigningRequests: kubelets' own are approved, approved ones are signed, old ones go.
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>
//!
//! Data flow: request → [`approve`] (after asking the API server whether the requester may have
//! such a certificate) or [`serving`] (after a look at the Node) → [`sign`] → [`clean`]. Each is a
//! controller of its own; all but [`serving`] are upstream's.

pub(crate) mod approve;
pub(crate) mod clean;
pub(crate) mod serving;
pub(crate) mod sign;
#[cfg(test)]
mod tests;

use component::pki::Request;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const API_SERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";
/// The group of all nodes.
const NODES: &str = "system:nodes";
/// What a node's user name begins with.
const NODE: &str = "system:node:";

/// The status's condition of a type.
fn condition<'a>(
    csr: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let status = csr.status.as_ref()?;
    status.conditions.as_deref()?.iter().find(|condition| condition.type_ == kind)
}

fn is_issued(csr: &CertificateSigningRequest) -> bool {
    let certificate = csr.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

/// The request with one more condition that is true.
fn with_condition(
    csr: &CertificateSigningRequest,
    kind: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> CertificateSigningRequest {
    let mut csr = csr.clone();
    let status = csr.status.get_or_insert_with(CertificateSigningRequestStatus::default);
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
    csr
}

/// Why a kubelet may not have what it asks for; `role` is the usage that sets its two certificates
/// apart.
fn kubelet_problem(request: &Request, usages: &[String], role: &str) -> Option<&'static str> {
    if request.organizations != [NODES] {
        return Some("organization in csr is not system:nodes");
    }
    if !request.common_name.starts_with(NODE) {
        return Some("subject common name does not begin with system:node:");
    }
    if request.other_names {
        return Some("email and URI subjectAltNames are not allowed");
    }
    let mut left: Vec<&str> = usages.iter().map(String::as_str).collect();
    left.retain(|usage| *usage != "key encipherment");
    left.sort_unstable();
    left.dedup();
    let mut wanted = ["digital signature", role];
    wanted.sort_unstable();
    (left != wanted).then_some("usages did not match")
}
