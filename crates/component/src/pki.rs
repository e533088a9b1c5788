//! Certificates: an authority that issues them, and self-signed ones for servers that have none.
//!
//! Keys are ECDSA P-256. Certificates follow
//! <https://kubernetes.io/docs/setup/best-practices/certificates/>: users are CN, groups are O.

mod certificate;
mod request;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

pub use certificate::Certificate;
pub use request::{Request, RequestError};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Refused by the library: a bad name, a malformed key.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The library has one place for each attribute of a name, and two ways to spell this one.
    #[error("a certificate cannot have more than two organizations here, not {0}")]
    Organizations(usize),
    /// A signing request that cannot be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The key of another certificate.
    #[error("the authority's key does not fit its certificate")]
    Mismatch,
    /// Not a usage that certificates have.
    #[error("unrecognized usage {0:?}")]
    Usage(String),
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What a leaf certificate says.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The user name.
    pub common_name: String,
    /// The groups, two at most.
    pub organizations: Vec<String>,
    /// DNS names and IP addresses of a server.
    pub names: Vec<String>,
    /// Usable by servers.
    pub server: bool,
    /// Usable by clients.
    pub client: bool,
}

/// A certificate authority with its key.
pub struct Authority {
    pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pair", &self.pair).finish_non_exhaustive()
    }
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The object identifier of organizations.
const ORGANIZATION: [u64; 4] = [2, 5, 4, 10];

/// Clocks of nodes differ a little: certificates are good from so long before they are made, as
/// upstream's are.
const SKEW: Duration = Duration::from_secs(300);

/// Makes a self-signed server certificate for `names` (DNS names or IP addresses), valid a year.
///
/// # Errors
/// When a name is not valid.
pub fn self_signed(names: &[String]) -> Result<Pair, Error> {
    let key = KeyPair::generate()?;
    let subject = Subject {
        common_name: names.first().cloned().unwrap_or_else(|| "localhost".to_owned()),
        names: names.to_vec(),
        server: true,
        ..Subject::default()
    };
    let certificate = leaf(&subject, YEAR, SystemTime::now())?.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

// === impl Authority ===

impl Authority {
    /// Makes a new authority, valid ten years.
    ///
    /// # Errors
    /// When the name is not valid.
    pub fn generate(common_name: &str) -> Result<Self, Error> {
        Self::lasting(common_name, 10 * YEAR)
    }

    /// Makes a new authority, valid for `validity`.
    ///
    /// # Errors
    /// When the name is not valid.
    pub fn lasting(common_name: &str, validity: Duration) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.not_before = (now - allowance(validity)).into();
        params.not_after = (now + validity).into();
        let certificate = params.self_signed(&key)?;
        let pair = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok(Self { pair, issuer: Issuer::new(params, key) })
    }

    /// Loads an authority from its PEM files. Of several certificates the first one is its own; the
    /// others are trusted besides, while one takes over from another.
    ///
    /// # Errors
    /// When they are not a certificate and its key.
    pub fn load(certificate: &str, key: &str) -> Result<Self, Error> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        if !Certificate::parse(certificate.as_bytes()).is_some_and(|own| own.fits(key)) {
            return Err(Error::Mismatch);
        }
        let pair = Pair { certificate: certificate.to_owned(), key: key.to_owned() };
        Ok(Self { pair, issuer })
    }

    /// The authority's own certificate, and those that are trusted besides, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.pair.certificate
    }

    /// As [`Authority::certificate`], and its key.
    #[must_use]
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Issues a certificate with a new key, valid for `validity` from now.
    ///
    /// # Errors
    /// When a name in the subject is not valid.
    pub fn issue(&self, subject: &Subject, validity: Duration) -> Result<Pair, Error> {
        let key = KeyPair::generate()?;
        let params = leaf(subject, validity, SystemTime::now())?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Signs the public key of a certificate signing request (PEM) for what it asks, with these
    /// usages (the names of `certificates.k8s.io`), for `validity` but no longer than the authority
    /// itself lasts.
    ///
    /// # Errors
    /// When the request is malformed, its signature is wrong, or a usage cannot be certified.
    pub fn sign(
        &self,
        request: &str,
        usages: &[String],
        validity: Duration,
    ) -> Result<String, Error> {
        let asked = Request::parse(request.as_bytes())?;
        let addresses = asked.ip_addresses.iter().map(IpAddr::to_string);
        let subject = Subject {
            common_name: asked.common_name,
            organizations: asked.organizations,
            names: asked.dns_names.into_iter().chain(addresses).collect(),
            ..Subject::default()
        };
        // Checks the signature too.
        let mut signed = rcgen::CertificateSigningRequestParams::from_pem(request)?;
        let now = SystemTime::now();
        let left = self.not_after()?.duration_since(now).unwrap_or_default();
        signed.params = leaf(&subject, validity.min(left), now)?;
        signed.params.key_usages.clear();
        for usage in usages {
            certify(&mut signed.params, usage)?;
        }
        Ok(signed.signed_by(&self.issuer)?.pem())
    }

    /// Issues a certificate with a new key that says what another one says, valid for `validity`
    /// from now but no longer than the authority itself lasts.
    ///
    /// # Errors
    /// When a name in it is not valid.
    pub fn renew(&self, old: &Certificate, validity: Duration) -> Result<Pair, Error> {
        let subject = Subject {
            common_name: old.common_name.clone(),
            organizations: old.organizations.clone(),
            names: old.names.clone(),
            server: old.server,
            client: old.client,
        };
        let left = self.not_after()?.duration_since(SystemTime::now()).unwrap_or_default();
        self.issue(&subject, validity.min(left))
    }

    /// When the authority's own certificate ends.
    fn not_after(&self) -> Result<SystemTime, Error> {
        let own = Certificate::parse(self.pair.certificate.as_bytes());
        own.map(|own| own.not_after)
            .ok_or(Error::Certificate(rcgen::Error::CouldNotParseCertificate))
    }
}

/// Adds a usage, in the words of `certificates.k8s.io`, to a certificate.
fn certify(params: &mut CertificateParams, usage: &str) -> Result<(), Error> {
    let key = match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        extended => {
            params.extended_key_usages.push(match extended {
                "any" => ExtendedKeyUsagePurpose::Any,
                "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
                "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
                "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
                "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
                "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
                "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
                other => return Err(Error::Usage(other.to_owned())),
            });
            return Ok(());
        }
    };
    if !params.key_usages.contains(&key) {
        params.key_usages.push(key);
    }
    Ok(())
}

/// Makes a new P-256 key, PKCS #8 PEM, and its public half (SPKI PEM), as for `sa.key`/`sa.pub`.
///
/// # Errors
/// When the system has no randomness.
pub fn signing_key() -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// The public half (SPKI PEM) of a private key (PKCS #8 PEM).
///
/// # Errors
/// When it is none.
pub fn public_key(key: &str) -> Result<String, Error> {
    Ok(KeyPair::from_pem(key)?.public_key_pem())
}

/// Makes a new key and a request for its certificate: the request and the key, both PEM.
///
/// # Errors
/// When a name in the subject is not valid.
pub fn signing_request(subject: &Subject) -> Result<(String, String), Error> {
    let (key, _) = signing_key()?;
    Ok((signing_request_for(subject, &key)?, key))
}

/// Makes a request, PEM, for a certificate of a key that is there already (PKCS #8 PEM).
///
/// # Errors
/// When a name in the subject is not valid, or the key is none.
pub fn signing_request_for(subject: &Subject, key: &str) -> Result<String, Error> {
    let mut params = leaf(subject, YEAR, SystemTime::now())?;
    // What the signer decides has no place in a request.
    params.is_ca = IsCa::NoCa;
    params.use_authority_key_identifier_extension = false;
    params.key_usages.clear();
    params.extended_key_usages.clear();
    Ok(params.serialize_request(&KeyPair::from_pem(key)?)?.pem()?)
}

/// By how much a certificate's life begins before it is made: [`SKEW`], or less when the whole life
/// is so short that it would be over.
fn allowance(validity: Duration) -> Duration {
    SKEW.min(validity / 10)
}

fn leaf(
    subject: &Subject,
    validity: Duration,
    now: SystemTime,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let kinds = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION.to_vec())];
    if subject.organizations.len() > kinds.len() {
        return Err(Error::Organizations(subject.organizations.len()));
    }
    for (kind, organization) in kinds.into_iter().zip(&subject.organizations) {
        params.distinguished_name.push(kind, organization.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, subject.common_name.as_str());
    for name in &subject.names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into().map_err(Error::Certificate)?),
        });
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    if subject.server {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if subject.client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    params.not_before = (now - allowance(validity)).into();
    params.not_after = (now + validity).into();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
