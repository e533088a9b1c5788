//! What a certificate says, for those who hold it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

/// The parts of a certificate that decide how long and for whom it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The user name or server's name.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
    /// DNS names and IP addresses of a server.
    pub names: Vec<String>,
    /// The name of the authority that issued it.
    pub issuer: String,
    /// Usable by servers.
    pub server: bool,
    /// Usable by clients.
    pub client: bool,
    /// From when it is good.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// All of it.
    der: Vec<u8>,
}

impl Certificate {
    /// The first certificate in a PEM text, which may hold keys and further certificates besides.
    #[must_use]
    pub fn parse(pem: &[u8]) -> Option<Self> {
        Self::all(pem).next()
    }

    /// All certificates in a PEM text; what cannot be read is left out.
    pub fn all(pem: &[u8]) -> impl Iterator<Item = Self> {
        let blocks = Pem::iter_from_buffer(pem).filter_map(Result::ok);
        let blocks = blocks.filter(|block| block.label == "CERTIFICATE");
        blocks.filter_map(|block| Self::of(block.contents))
    }

    fn of(der: Vec<u8>) -> Option<Self> {
        let (_, found) = X509Certificate::from_der(&der).ok()?;
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
        let usage = found.extended_key_usage().ok().flatten();
        let usage = |wanted: fn(&x509_parser::extensions::ExtendedKeyUsage<'_>) -> bool| {
            usage.as_ref().is_some_and(|extension| wanted(extension.value))
        };
        Some(Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            names: names.collect(),
            issuer: found.issuer().iter_common_name().last().map(text).unwrap_or_default(),
            server: usage(|usage| usage.server_auth),
            client: usage(|usage| usage.client_auth),
            not_before: time(found.validity().not_before),
            not_after: time(found.validity().not_after),
            der: der.clone(),
        })
    }

    /// Whether `authority` issued it.
    #[must_use]
    pub fn is_issued_by(&self, authority: &Self) -> bool {
        let parsed =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&authority.der));
        let (Ok((_, own)), Ok((_, other))) = parsed else { return false };
        own.issuer() == other.subject() && own.verify_signature(Some(other.public_key())).is_ok()
    }

    /// Whether the private key in a PEM text is that of this certificate.
    #[must_use]
    pub fn fits(&self, key: &str) -> bool {
        let Ok((_, own)) = X509Certificate::from_der(&self.der) else { return false };
        let Ok(key) = crate::tls::private_key(key.as_bytes()) else { return false };
        KeyPair::try_from(&key)
            .is_ok_and(|key| key.subject_public_key_info() == own.public_key().raw)
    }

    /// The certificate alone, PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.der);
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem + "-----END CERTIFICATE-----\n"
    }

    /// When it is to be replaced: after 70 to 90 % of its life, as upstream's are, by `jitter` (from
    /// 0 to 1), so that what was made together is not renewed together.
    #[must_use]
    pub fn renewal(&self, jitter: f64) -> SystemTime {
        let share = 0.7 + 0.2 * jitter.clamp(0.0, 1.0);
        self.not_before + self.lifetime().mul_f64(share)
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
        assert!(read.server && !read.client && read.issuer == "ca");
        assert_eq!(Certificate::parse(read.to_pem().as_bytes()).as_ref(), Some(&read));
    }

    fn issued(authority: &Authority, validity: Duration) -> (Certificate, String) {
        let subject = Subject { common_name: "x".into(), client: true, ..Subject::default() };
        let pair = authority.issue(&subject, validity).unwrap();
        (Certificate::parse(pair.certificate.as_bytes()).unwrap(), pair.key)
    }

    #[test]
    fn an_authority_of_the_same_name_is_another_one() {
        let [old, new] = ["ca", "ca"].map(|name| Authority::generate(name).unwrap());
        let (certificate, key) = issued(&old, Duration::from_secs(60));
        let bundle = format!("{}{}", new.certificate(), old.certificate());
        let by: Vec<_> = Certificate::all(bundle.as_bytes())
            .map(|authority| certificate.is_issued_by(&authority))
            .collect();
        assert_eq!(by, [false, true]);
        assert!(certificate.fits(&format!("{bundle}{key}")), "whatever is before it");
        assert!(certificate.fits(&key) && !certificate.fits(&new.pair().key));
    }

    #[test]
    fn renewal_comes_late_in_life_but_before_its_end() {
        let (certificate, _) =
            issued(&Authority::generate("ca").unwrap(), Duration::from_secs(10_000));
        let life = certificate.lifetime().as_secs_f64();
        for (jitter, wanted) in [(0.0, 0.7), (0.5, 0.8), (1.0, 0.9), (7.0, 0.9)] {
            let due = certificate.renewal(jitter);
            let share = due.duration_since(certificate.not_before).unwrap().as_secs_f64() / life;
            assert!((share - wanted).abs() < 0.001, "{share} for {jitter}");
        }
    }

    #[test]
    fn a_short_life_is_not_over_when_it_begins() {
        let authority = Authority::generate("ca").unwrap();
        for (validity, before) in [(3600 * 24 * 365, 300), (3000, 300), (60, 6)] {
            let (certificate, _) = issued(&authority, Duration::from_secs(validity));
            assert_eq!(certificate.lifetime(), Duration::from_secs(validity + before));
        }
    }

    #[test]
    fn a_renewed_certificate_says_the_same_and_does_not_outlive_its_authority() {
        let hour = Duration::from_secs(3600);
        let authority = Authority::lasting("ca", hour).unwrap();
        let subject = Subject {
            common_name: "system:node:n".into(),
            organizations: vec!["a".into(), "b".into()],
            names: vec!["n".into(), "192.0.2.1".into()],
            server: true,
            client: true,
        };
        let old = authority.issue(&subject, hour / 2).unwrap();
        let old = Certificate::parse(old.certificate.as_bytes()).unwrap();
        let new = authority.renew(&old, hour * 2).unwrap();
        let new = Certificate::parse(new.certificate.as_bytes()).unwrap();
        let own = Certificate::parse(authority.certificate().as_bytes()).unwrap();
        assert!(new.not_after <= own.not_after && new.not_after > old.not_after);
        let what = |c: &Certificate| {
            (c.common_name.clone(), c.organizations.clone(), c.names.clone(), c.server, c.client)
        };
        assert_eq!(what(&new), what(&old));
        assert!(new.is_issued_by(&own) && !new.fits("no key"));
    }
}
