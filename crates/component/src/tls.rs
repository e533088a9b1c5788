//! TLS server configuration, with optional client certificates checked after the handshake.
//!
//! A client with a bad certificate gets `401 Unauthorized` upstream, not a broken handshake, so
//! the handshake only proves possession of the key and [`ClientAuth::verify`] judges the chain.

mod files;
pub(crate) mod stream;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

pub use files::Files;
use tokio::sync::watch;

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not PEM, or without the wanted part.
    #[error("cannot read {what}: {source}")]
    Pem {
        /// Which input.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Refused by rustls.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificate authorities are of no use.
    #[error("client certificate authorities: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// The one crypto provider. Its order of ciphers is that of Go's servers: AES with keys of 128 bits
/// before 256, which take a quarter more time and make nothing stronger that the other parts of a
/// connection do not limit already.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    use rustls::CipherSuite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as ECDSA_128,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 as ECDSA_256,
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 as RSA_128,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 as RSA_256, TLS13_AES_128_GCM_SHA256 as TLS13_128,
        TLS13_AES_256_GCM_SHA384 as TLS13_256,
    };
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        TLS13_128 | ECDSA_128 | RSA_128 => 0,
        TLS13_256 | ECDSA_256 | RSA_256 => 1,
        _ => 2,
    });
    Arc::new(provider)
}

/// Makes ring the default of the process for libraries that ask for one. Calling it again is fine.
pub fn install_default_provider() {
    // An error means that one is installed already, which can only be this one.
    CryptoProvider::clone(&provider()).install_default().ok();
}

/// Parses all certificates of a PEM file.
///
/// # Errors
/// When one is malformed or there is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |source| Error::Pem { what: "certificate", source };
    let found =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(wrong(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// Parses a private key (PKCS #8, PKCS #1 or SEC 1).
///
/// # Errors
/// When there is none.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| Error::Pem { what: "private key", source })
}

/// A server's TLS set-up: the rustls configuration and how to judge client certificates. Clones
/// share it, so that it can be replaced while the server runs.
#[derive(Clone, Debug)]
pub struct ServerTls(watch::Sender<Current>);

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    clients: Option<ClientAuth>,
}

/// Judges client certificates against a set of authorities.
#[derive(Clone, Debug)]
pub struct ClientAuth(Arc<dyn ClientCertVerifier>);

// === impl ServerTls ===

impl ServerTls {
    /// Builds a server configuration from PEM texts. With `client_ca`, clients may present a
    /// certificate. Offers HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// When the inputs are malformed or do not fit together.
    pub fn new(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, Error> {
        let (certificates, key) = (certificates(certificate)?, private_key(key)?);
        Self::build(client_ca, |builder| builder.with_single_cert(certificates, key))
    }

    /// One that has no certificate yet: until it is replaced, every handshake fails.
    ///
    /// # Errors
    /// When the authorities are malformed.
    pub fn pending(client_ca: Option<&[u8]>) -> Result<Self, Error> {
        Self::build(client_ca, |builder| Ok(builder.with_cert_resolver(Arc::new(NoCertificate))))
    }

    fn build(
        client_ca: Option<&[u8]>,
        certify: impl FnOnce(Builder) -> Result<ServerConfig, rustls::Error>,
    ) -> Result<Self, Error> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let (builder, clients) = match client_ca {
            None => (builder.with_no_client_auth(), None),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem)? {
                    roots.add(certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), provider())
                        .allow_unauthenticated()
                        .build()?;
                let lenient = Arc::new(AcceptAnyChain(verifier.clone()));
                (builder.with_client_cert_verifier(lenient), Some(ClientAuth(verifier)))
            }
        };
        let mut config = certify(builder)?;
        // Most clients come with an order of no particular intent.
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(watch::Sender::new(Current { config: Arc::new(config), clients })))
    }

    /// The configuration for the next connection.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.0.borrow().config.clone()
    }

    /// The judge of the next connection's certificates.
    pub(crate) fn clients(&self) -> Option<ClientAuth> {
        self.0.borrow().clients.clone()
    }

    /// Takes over another set-up for connections to come.
    pub(crate) fn replace(&self, other: &Self) {
        let current = other.0.borrow().clone();
        self.0.send_replace(current);
    }

    /// Tells of replacements.
    #[cfg(test)]
    fn changes(&self) -> watch::Receiver<Current> {
        self.0.subscribe()
    }
}

// === impl ClientAuth ===

impl ClientAuth {
    /// Whether the chain (leaf first) leads to one of the authorities, is in date and is meant
    /// for clients.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        self.0.verify_client_cert(leaf, intermediates, UnixTime::now()).map(|_| ())
    }
}

/// The server configuration before it has a certificate.
type Builder = rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>;

/// Stands in for a certificate that is still being asked for.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[derive(Debug)]
struct AcceptAnyChain(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AcceptAnyChain {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
