//! What a certificate says, for those who hold it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

/// The parts of a certificate that decide how long and for whom it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The user name or server's name.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
    /// DNS names and IP addresses of a server.
    pub names: Vec<String>,
    /// From when it is good.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

impl Certificate {
    /// The first certificate in a PEM text, which may hold keys and further certificates besides.
    #[must_use]
    pub fn parse(pem: &[u8]) -> Option<Self> {
        let first = Pem::iter_from_buffer(pem)
            .filter_map(Result::ok)
            .find(|block| block.label == "CERTIFICATE")?;
        let found = first.parse_x509().ok()?;
        let subject = found.subject();
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().unwrap_or_default().to_owned()
        };
        let names = found.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                super::request::address(bytes).as_ref().map(IpAddr::to_string)
            }
            _ => None,
        });
        let time = |time: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Some(Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            names: names.collect(),
            not_before: time(found.validity().not_before),
            not_after: time(found.validity().not_after),
        })
    }

    /// Whether it is good at `now`.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// How long it is good altogether.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Authority, Subject};

    #[test]
    fn what_was_issued_is_read_back() {
        let subject = Subject {
            common_name: "system:node:n".into(),
            organizations: vec!["system:nodes".into()],
            names: vec!["n".into(), "192.0.2.1".into(), "2001:db8::1".into()],
            server: true,
            ..Subject::default()
        };
        let hour = Duration::from_secs(3600);
        let pair = Authority::generate("ca").unwrap().issue(&subject, hour).unwrap();
        let together = format!("{}{}", pair.key, pair.certificate);
        let read = Certificate::parse(together.as_bytes()).unwrap();
        assert_eq!(read.common_name, subject.common_name);
        assert_eq!(read.organizations, subject.organizations);
        assert_eq!(read.names, subject.names);
        let now = SystemTime::now();
        assert!(read.is_valid(now) && !read.is_valid(now + hour));
        assert!(read.lifetime() > hour);
        assert_eq!(Certificate::parse(pair.key.as_bytes()), None);
    }
}
