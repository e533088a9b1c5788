//! Signs approved requests of the four signers that Kubernetes itself has.

use std::path::PathBuf;
use std::time::Duration;

use client::{Action, Api, WorkQueue};
use component::pki::{Authority, Request};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestStatus,
};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;

use super::{
    API_SERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN, condition, is_issued,
    kubelet_problem, with_condition,
};
use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::informers::enqueue;
use crate::object::Key;

/// What to do about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is not ours, not approved, or done.
    Nothing,
    /// Say why it is not signed.
    Fail(String),
    /// Issue a certificate for so long.
    Sign(Duration),
}

/// The files of an authority, which may be replaced while the controller runs.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Its certificate.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// Why the authority cannot sign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Pki(#[from] component::pki::Error),
}

impl Files {
    /// Reads them.
    pub(crate) fn load(&self) -> Result<Authority, AuthorityError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|source| AuthorityError::Read { path: path.clone(), source })
        };
        Ok(Authority::load(&read(&self.certificate)?, &read(&self.key)?)?)
    }
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context, authority: Files, longest: Duration) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    enqueue(&context.informers.signing_requests, &queue);
    context.informers.signing_requests.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), authority.clone(), longest, key)).await;
}

async fn sync(
    context: Context,
    authority: Files,
    longest: Duration,
    key: Key,
) -> Result<Action, SyncError> {
    let Some(csr) = context.informers.signing_requests.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    let written = match plan(&csr, longest) {
        Plan::Nothing => return Ok(Action::Done),
        Plan::Fail(why) => failed(&csr, why),
        Plan::Sign(validity) => {
            // Read each time, which is rarely: another authority may have taken over. Between its
            // certificate and its key there is a moment in which they do not fit.
            let authority =
                authority.load().map_err(|error| SyncError::NotReady(error.to_string()))?;
            match signed(&csr, &authority, validity) {
                Ok(signed) => signed,
                Err(error) => failed(&csr, error.to_string()),
            }
        }
    };
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    match api.replace_status(&key.name, &PostParams::default(), &written).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// Decides about a request; `longest` is what a certificate lasts that asks for no less.
pub(super) fn plan(csr: &CertificateSigningRequest, longest: Duration) -> Plan {
    let approved = condition(csr, "Approved").is_some() && condition(csr, "Denied").is_none();
    if !approved || is_issued(csr) || condition(csr, "Failed").is_some() {
        return Plan::Nothing;
    }
    let signer = csr.spec.signer_name.as_str();
    if ![KUBELET_CLIENT, KUBELET_SERVING, API_SERVER_CLIENT, LEGACY_UNKNOWN].contains(&signer) {
        return Plan::Nothing;
    }
    let request = match Request::parse(&csr.spec.request.0) {
        Ok(request) => request,
        Err(error) => {
            return Plan::Fail(format!("unable to parse csr {:?}: {error}", name_of(csr)));
        }
    };
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    if let Some(why) = problem(signer, &request, usages) {
        return Plan::Fail(why);
    }
    let asked = csr.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Plan::Sign(asked.map_or(longest, |seconds| Duration::from_secs(seconds).min(longest)))
}

fn name_of(csr: &CertificateSigningRequest) -> &str {
    csr.metadata.name.as_deref().unwrap_or_default()
}

/// Why this signer does not sign such a request.
fn problem(signer: &str, request: &Request, usages: &[String]) -> Option<String> {
    let names = !request.dns_names.is_empty() || !request.ip_addresses.is_empty();
    match signer {
        KUBELET_CLIENT if names => Some("DNS and IP subjectAltNames are not allowed".to_owned()),
        KUBELET_CLIENT => kubelet_problem(request, usages, "client auth").map(str::to_owned),
        KUBELET_SERVING if !names => Some("DNS or IP subjectAltName is required".to_owned()),
        KUBELET_SERVING => kubelet_problem(request, usages, "server auth").map(str::to_owned),
        API_SERVER_CLIENT => {
            let allowed = ["digital signature", "key encipherment", "client auth"];
            let fit = usages.iter().all(|usage| allowed.contains(&usage.as_str()));
            let client = usages.iter().any(|usage| usage == "client auth");
            let list = || format!("[{}]", usages.join(" "));
            (!fit || !client).then(|| format!("invalid usages for client certificate: {}", list()))
        }
        _ => None,
    }
}

fn failed(csr: &CertificateSigningRequest, why: String) -> CertificateSigningRequest {
    with_condition(csr, "Failed", "SignerValidationFailure", why, Timestamp::now())
}

fn signed(
    csr: &CertificateSigningRequest,
    authority: &Authority,
    validity: Duration,
) -> Result<CertificateSigningRequest, component::pki::Error> {
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    let request = String::from_utf8_lossy(&csr.spec.request.0);
    let certificate = authority.sign(&request, usages, validity)?;
    let mut csr = csr.clone();
    let status = csr.status.get_or_insert_with(CertificateSigningRequestStatus::default);
    status.certificate = Some(ByteString(certificate.into_bytes()));
    Ok(csr)
}
