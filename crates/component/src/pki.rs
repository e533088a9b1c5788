//! Certificates: an authority that issues them, and self-signed ones for servers that have none.
//!
//! Keys are ECDSA P-256. Certificates follow
//! <https://kubernetes.io/docs/setup/best-practices/certificates/>: users are CN, groups are O.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Refused by the library: a bad name, a malformed key.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The library has one place for each attribute of a name, and two ways to spell this one.
    #[error("a certificate cannot have more than two organizations here, not {0}")]
    Organizations(usize),
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

/// Clocks of nodes differ a little; kubeadm leaves the same allowance.
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
        params.not_before = (now - SKEW).into();
        params.not_after = (now + 10 * YEAR).into();
        let certificate = params.self_signed(&key)?;
        let pair = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok(Self { pair, issuer: Issuer::new(params, key) })
    }

    /// Loads an authority from its PEM files.
    ///
    /// # Errors
    /// When they are not a certificate and its key.
    pub fn load(certificate: &str, key: &str) -> Result<Self, Error> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        let pair = Pair { certificate: certificate.to_owned(), key: key.to_owned() };
        Ok(Self { pair, issuer })
    }

    /// The authority's own certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.pair.certificate
    }

    /// The authority's own certificate and key.
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

    /// Signs the public key of a certificate signing request (PEM) with the given subject.
    ///
    /// # Errors
    /// When the request is malformed or its signature wrong.
    pub fn sign(
        &self,
        request: &str,
        subject: &Subject,
        validity: Duration,
    ) -> Result<String, Error> {
        let mut request = rcgen::CertificateSigningRequestParams::from_pem(request)?;
        request.params = leaf(subject, validity, SystemTime::now())?;
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

/// Makes a new P-256 key, PKCS #8 PEM, and its public half (SPKI PEM), as for `sa.key`/`sa.pub`.
///
/// # Errors
/// When the system has no randomness.
pub fn signing_key() -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    Ok((key.serialize_pem(), key.public_key_pem()))
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
    params.not_before = (now - SKEW).into();
    params.not_after = (now + validity).into();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
