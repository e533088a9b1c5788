//! Whom to trust: a webhook's own bundle, or the authorities of the system.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// There is no certificate in it.
    #[error("unable to load root certificates: unable to parse bytes as PEM block")]
    NotPem,
    /// rustls refuses it.
    #[error("unable to load root certificates: {0}")]
    Refused(String),
    /// The own certificate is of no use.
    #[error("unable to load client certificate: {0}")]
    Identity(String),
}

/// TLS that trusts a bundle, or the system's authorities if it is empty.
pub(crate) fn trusting(bundle: &[u8]) -> Result<ClientConfig, BundleError> {
    client(bundle, None)
}

/// The same with a certificate and its key to show, both PEM.
pub(crate) fn client(
    bundle: &[u8],
    identity: Option<&(Vec<u8>, Vec<u8>)>,
) -> Result<ClientConfig, BundleError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refused = |error: &dyn std::fmt::Display| BundleError::Refused(error.to_string());
    let mut roots = RootCertStore::empty();
    let mut trusted = Vec::new();
    if bundle.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            let certificate = certificate.map_err(|_| BundleError::NotPem)?;
            roots.add(certificate.clone()).map_err(|error| refused(&error))?;
            trusted.push(certificate);
        }
        if trusted.is_empty() {
            return Err(BundleError::NotPem);
        }
    }
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error))?;
    if roots.is_empty() {
        // A machine without authorities trusts nobody.
        return shown(builder.with_root_certificates(roots), identity);
    }
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| refused(&error))?;
    let verifier = Arc::new(Verifier { chains, trusted });
    shown(builder.dangerous().with_custom_certificate_verifier(verifier), identity)
}

fn shown(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&(Vec<u8>, Vec<u8>)>,
) -> Result<ClientConfig, BundleError> {
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let refused = |error: &dyn std::fmt::Display| BundleError::Identity(error.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| refused(&error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| refused(&error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| refused(&error))
}

/// Chains to a trusted authority, or is one: webhooks like to make a certificate that is its own
/// authority, and Go takes that.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn is_own_authority(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, Error> {
        if !self.trusted.iter().any(|trusted| trusted == certificate) {
            return Ok(false);
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let time = x509_parser::time::ASN1Time::from_timestamp(seconds)
            .map_err(|_| Error::General("the clock is out of range".to_owned()))?;
        if !parsed.validity().is_valid_at(time) {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(true)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = self.chains.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match chain {
            Ok(verified) => Ok(verified),
            Err(error) => match self.is_own_authority(certificate, name, now)? {
                true => Ok(ServerCertVerified::assertion()),
                false => Err(error),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// What Go says about a certificate that is refused.
pub(super) fn explain(error: &Error) -> String {
    let Error::InvalidCertificate(why) = error else { return format!("tls: {error}") };
    let why = match why {
        // An authority of the same name with another key is another authority.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = presented.iter().map(|name| bare_name(name)).collect::<Vec<_>>();
            format!("certificate is valid for {}, not {}", names.join(", "), expected.to_str())
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// `example.com` of `DnsName("example.com")`.
fn bare_name(name: &str) -> &str {
    match name.split_once('(') {
        Some((_, name)) => name.trim_end_matches(')').trim_matches('"'),
        None => name,
    }
}
