//! One CertificateSigningRequest, from its creation to the certificate.

use std::path::PathBuf;
use std::time::Duration;

use component::pki::{Request as Parsed, Subject};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use machinery::hex;
use sha2::{Digest, Sha256};

/// How long a request may wait for its approval and signature before it is made again, as upstream.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Who signs, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To speak to the API server as this node.
    Client,
    /// To be spoken to.
    Serving,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server refused or cannot be reached.
    #[error("cannot create certificate signing request: {0}")]
    Api(#[from] Box<kube::Error>),
    /// The request cannot be made.
    #[error(transparent)]
    Pki(#[from] component::pki::Error),
    /// One of the same name asks for something else.
    #[error("certificate signing request {0} exists already, and asks for something else")]
    Taken(String),
    /// Somebody decided against it.
    #[error("certificate signing request {name} is {verdict}: {reason}: {message}")]
    Refused {
        /// The request.
        name: String,
        /// `Denied` or `Failed`.
        verdict: String,
        /// Why, in a word.
        reason: String,
        /// Why.
        message: String,
    },
    /// Nobody approved or signed it in time, or it is gone.
    #[error("certificate signing request {0} was neither approved nor denied in time")]
    TimedOut(String),
    /// It is there, but cannot be kept.
    #[error("{path}: {source}")]
    Save {
        /// Where it was to be kept.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

// === impl Purpose ===

impl Purpose {
    fn signer(self) -> &'static str {
        match self {
            Self::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::Serving => "kubernetes.io/kubelet-serving",
        }
    }

    fn usages(self) -> Vec<String> {
        let role = match self {
            Self::Client => "client auth",
            Self::Serving => "server auth",
        };
        // Not `key encipherment`: keys are ECDSA.
        ["digital signature", role].map(str::to_owned).to_vec()
    }

    /// A name by which the same request is found again after a restart.
    fn name(self, subject: &Subject, key: &str) -> String {
        let mut hash = Sha256::new();
        for part in [key, self.signer(), &subject.common_name].into_iter().map(str::as_bytes) {
            hash.update(part);
            hash.update([0]);
        }
        for name in &subject.names {
            hash.update(name.as_bytes());
            hash.update([0]);
        }
        let digest = hex::digits(&hash.finalize()[..20]);
        match self {
            Self::Client => format!("node-csr-{digest}"),
            Self::Serving => format!("csr-{digest}"),
        }
    }
}

/// The subject of this node's certificates; `names` are those of a server.
#[must_use]
pub fn subject(node_name: &str, names: Vec<String>) -> Subject {
    Subject {
        common_name: format!("system:node:{node_name}"),
        organizations: vec!["system:nodes".to_owned()],
        names,
        ..Subject::default()
    }
}

/// Asks for a certificate of `key` and waits for it. The same request of before is taken up.
///
/// # Errors
/// [`RequestError`]; the caller decides when to try again.
pub async fn obtain(
    client: &kube::Client,
    purpose: Purpose,
    subject: &Subject,
    key: &str,
) -> Result<String, RequestError> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let name = purpose.name(subject, key);
    let text = component::pki::signing_request_for(subject, key)?;
    let wanted = CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(text.into_bytes()),
            signer_name: purpose.signer().to_owned(),
            usages: Some(purpose.usages()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    match api.create(&PostParams::default(), &wanted).await {
        Ok(_) => tracing::info!(name, signer = purpose.signer(), "certificate requested"),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let present = api.get(&name).await.map_err(Box::new)?;
            if !asks_for(&present, subject, purpose) {
                return Err(RequestError::Taken(name));
            }
        }
        Err(error) => return Err(Box::new(error).into()),
    }
    let settled =
        |csr: Option<&CertificateSigningRequest>| csr.is_none_or(|csr| verdict(csr).is_some());
    let settled = tokio::time::timeout(PATIENCE, client::wait_for(&api, &name, settled)).await;
    let found = settled.map_err(|_| RequestError::TimedOut(name.clone()))?;
    match found.as_ref().and_then(verdict) {
        Some(Verdict::Issued(certificate)) => Ok(certificate),
        Some(Verdict::Refused(condition)) => Err(RequestError::Refused {
            name,
            verdict: condition.type_.clone(),
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        }),
        None => Err(RequestError::TimedOut(name)),
    }
}

fn asks_for(csr: &CertificateSigningRequest, subject: &Subject, purpose: Purpose) -> bool {
    let Ok(request) = Parsed::parse(&csr.spec.request.0) else { return false };
    csr.spec.signer_name == purpose.signer() && request.common_name == subject.common_name
}

enum Verdict<'a> {
    Issued(String),
    Refused(&'a CertificateSigningRequestCondition),
}

fn verdict(csr: &CertificateSigningRequest) -> Option<Verdict<'_>> {
    let status = csr.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    if let Some(refused) = conditions.find(|c| c.type_ == "Denied" || c.type_ == "Failed") {
        return Some(Verdict::Refused(refused));
    }
    let certificate = status.certificate.as_ref().filter(|bytes| !bytes.0.is_empty())?;
    Some(Verdict::Issued(String::from_utf8_lossy(&certificate.0).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestStatus;

    #[test]
    fn the_same_request_has_the_same_name_and_no_other_has() {
        let one = subject("n", vec!["n".into()]);
        let name = Purpose::Serving.name(&one, "key");
        assert_eq!(name, Purpose::Serving.name(&one, "key"));
        assert!(name.starts_with("csr-") && name.len() == 44, "{name}");
        for (purpose, subject, key) in [
            (Purpose::Client, &one, "key"),
            (Purpose::Serving, &subject("n", vec!["m".into()]), "key"),
            (Purpose::Serving, &subject("m", vec!["n".into()]), "key"),
            (Purpose::Serving, &one, "other"),
        ] {
            assert_ne!(purpose.name(subject, key), name);
        }
    }

    #[test]
    fn a_refusal_counts_more_than_a_certificate() {
        let mut csr = CertificateSigningRequest::default();
        assert!(verdict(&csr).is_none());
        let status = csr.status.insert(CertificateSigningRequestStatus::default());
        status.certificate = Some(ByteString(b"pem".to_vec()));
        assert!(matches!(verdict(&csr), Some(Verdict::Issued(pem)) if pem == "pem"));
        let condition = |type_: &str| CertificateSigningRequestCondition {
            type_: type_.into(),
            ..CertificateSigningRequestCondition::default()
        };
        let status = csr.status.as_mut().unwrap();
        status.conditions = Some(vec![condition("Approved"), condition("Denied")]);
        assert!(matches!(verdict(&csr), Some(Verdict::Refused(c)) if c.type_ == "Denied"));
    }
}
