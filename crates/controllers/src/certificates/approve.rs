//! Approves the client certificates of kubelets, if their requester may have them.

use client::{Action, Api, WorkQueue};
use component::pki::Request;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;

use super::{KUBELET_CLIENT, condition, is_issued, kubelet_problem, with_condition};
use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::informers::enqueue;
use crate::object::Key;

/// What a request is recognized as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognized {
    /// A node renews its own certificate.
    SelfNodeClient,
    /// Somebody, such as the holder of a bootstrap token, asks for a node.
    NodeClient,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    enqueue(&context.informers.signing_requests, &queue);
    context.informers.signing_requests.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(csr) = context.informers.signing_requests.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    let candidates = recognize(&csr);
    for candidate in &candidates {
        let review = review(&csr, *candidate);
        let api: Api<SubjectAccessReview> = Api::all(context.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            continue;
        }
        let message = candidate.message().to_owned();
        let approved = with_condition(&csr, "Approved", "AutoApproved", message, Timestamp::now());
        let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
        let params = PostParams::default();
        return match api.replace_subresource("approval", &key.name, &params, &approved).await {
            Ok(_) => Ok(Action::Done),
            Err(error) if is_not_found(&error) => Ok(Action::Done),
            Err(error) => Err(error.into()),
        };
    }
    if candidates.is_empty() {
        return Ok(Action::Done);
    }
    // Roles may be granted later.
    let text = format!("recognized csr {:?} but subject access review was not approved", key.name);
    Err(SyncError::NotReady(text))
}

/// What an undecided request may be approved as, the narrowest first.
pub(super) fn recognize(csr: &CertificateSigningRequest) -> Vec<Recognized> {
    let decided = ["Approved", "Denied"].iter().any(|kind| condition(csr, kind).is_some());
    if decided || is_issued(csr) || csr.spec.signer_name != KUBELET_CLIENT {
        return Vec::new();
    }
    let Ok(request) = Request::parse(&csr.spec.request.0) else { return Vec::new() };
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    let names = !request.dns_names.is_empty() || !request.ip_addresses.is_empty();
    if names || kubelet_problem(&request, usages, "client auth").is_some() {
        return Vec::new();
    }
    if csr.spec.username.as_deref() == Some(request.common_name.as_str()) {
        vec![Recognized::SelfNodeClient, Recognized::NodeClient]
    } else {
        vec![Recognized::NodeClient]
    }
}

/// The question whether the requester may have such a certificate.
fn review(csr: &CertificateSigningRequest, candidate: Recognized) -> SubjectAccessReview {
    let spec = &csr.spec;
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                version: Some("*".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                subresource: Some(candidate.subresource().to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

// === impl Recognized ===

impl Recognized {
    /// The subresource whose creation a role allows.
    fn subresource(self) -> &'static str {
        match self {
            Self::SelfNodeClient => "selfnodeclient",
            Self::NodeClient => "nodeclient",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::SelfNodeClient => {
                "Auto approving self kubelet client certificate after SubjectAccessReview."
            }
            Self::NodeClient => {
                "Auto approving kubelet client certificate after SubjectAccessReview."
            }
        }
    }
}
