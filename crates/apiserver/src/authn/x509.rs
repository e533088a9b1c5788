//! Client certificates: common name is the user, organizations are the groups.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::user::User;

/// Why a certificate names no user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a certificate.
    #[error("malformed certificate: {0}")]
    Malformed(String),
    /// Without a common name.
    #[error("certificate has no common name")]
    NoName,
}

/// The user that a certificate names.
///
/// # Errors
/// When it is malformed or has no common name.
pub fn user(certificate: &CertificateDer<'_>) -> Result<User, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| Error::Malformed(error.to_string()))?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next().and_then(|cn| cn.as_str().ok());
    let name = name.filter(|name| !name.is_empty()).ok_or(Error::NoName)?;
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned);
    let fingerprint = hex(digest(&SHA256, certificate).as_ref());
    Ok(User {
        name: name.to_owned(),
        uid: String::new(),
        groups: groups.collect(),
        extra: BTreeMap::from([(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("X509SHA256={fingerprint}")],
        )]),
    })
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(u32::from(digit), 16).expect("four bits")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::pki::{Authority, Subject};
    use std::time::Duration;

    #[test]
    fn subject_becomes_user() {
        let authority = Authority::generate("kubernetes").unwrap();
        let subject = Subject {
            common_name: "system:node:w1".to_owned(),
            organizations: vec!["system:nodes".to_owned(), "other".to_owned()],
            client: true,
            ..Subject::default()
        };
        let pair = authority.issue(&subject, Duration::from_secs(60)).unwrap();
        let chain = component::tls::certificates(pair.certificate.as_bytes()).unwrap();
        let user = user(&chain[0]).unwrap();
        assert_eq!(user.name, "system:node:w1");
        assert_eq!(user.groups, ["system:nodes", "other"]);
        assert_eq!(user.node_name(), Some("w1"));
        let id = &user.extra["authentication.kubernetes.io/credential-id"][0];
        assert_eq!(id.len(), "X509SHA256=".len() + 64);
    }
}
