//! Certificate signing requests (RFC 2986), as a signer reads them.

use std::net::IpAddr;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer as _;

/// Why a request cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not PEM of the right type.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    /// Not a request inside.
    #[error("failed to parse certificate request: {0}")]
    Malformed(String),
}

/// Who a certificate is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The user name or server's name.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
    /// DNS names of a server.
    pub dns_names: Vec<String>,
    /// Addresses of a server.
    pub ip_addresses: Vec<IpAddr>,
    /// Whether other kinds of names (mail addresses, URIs) are asked for.
    pub other_names: bool,
}

impl Request {
    /// Reads a request in PEM.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(pem: &[u8]) -> Result<Self, RequestError> {
        let (_, pem) = parse_x509_pem(pem).map_err(|_| RequestError::Pem)?;
        if !matches!(pem.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
            return Err(RequestError::Pem);
        }
        let (_, request) = X509CertificationRequest::from_der(&pem.contents)
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        let subject = &request.certification_request_info.subject;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().unwrap_or_default().to_owned()
        };
        let mut read = Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => read.dns_names.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => match address(bytes) {
                        Some(address) => read.ip_addresses.push(address),
                        None => return Err(RequestError::Malformed("IP address".to_owned())),
                    },
                    _ => read.other_names = true,
                }
            }
        }
        Ok(read)
    }
}

/// An address as certificates and requests write it.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
