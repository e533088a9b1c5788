//! What there is of certificates, how long it is good, and what is wrong with it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use component::pki::{self, Certificate};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::files::{self, FileError, Held};
use super::inventory::{self, Entry, KUBELET, Root, SERVICE_ACCOUNTS};

/// What is wrong with a certificate or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not there.
    Missing,
    /// There is something else.
    Unreadable,
    /// It is good only later.
    NotYetValid,
    /// It was good until before.
    Expired,
    /// No authority that is trusted issued it.
    ForeignIssuer,
    /// An authority issued it that is being replaced.
    OldIssuer,
    /// The key beside it is that of another one.
    ForeignKey,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A certificate of this table.
    Leaf(Entry),
    /// An authority.
    Authority(Root),
    /// The keys of service-account tokens, which have no end.
    ServiceAccounts,
}

/// One certificate of a node.
#[derive(Clone, Debug)]
pub struct Row {
    /// The node.
    pub node: String,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub certificate: Option<Certificate>,
    /// Whether its authority's key is not here, so that others have to renew it.
    pub external: bool,
    /// What is wrong.
    pub problem: Option<Problem>,
}

/// The head of the table.
pub const HEAD: [&str; 8] = [
    "NODE",
    "CERTIFICATE",
    "SUBJECT",
    "EXPIRES",
    "RESIDUAL TIME",
    "CERTIFICATE AUTHORITY",
    "EXTERNALLY MANAGED",
    "PROBLEM",
];

/// The certificates of a node whose files are below `root`.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn node(
    node: &str,
    root: &Path,
    control_plane: bool,
    now: SystemTime,
) -> Result<Vec<Row>, FileError> {
    let mut rows = Vec::new();
    let own = inventory::expected(root).filter(|_| control_plane);
    for entry in own.chain(&KUBELET) {
        rows.push(leaf(node, root, *entry, control_plane, now)?);
    }
    if !control_plane {
        return Ok(rows);
    }
    for authority in inventory::authorities(root) {
        let path = root.join(authority.path);
        let bundle = files::text(&path.with_added_extension("crt"))?;
        let key = files::text(&path.with_added_extension("key"))?;
        let certificates: Vec<_> = bundle
            .as_deref()
            .map(|text| Certificate::all(text.as_bytes()).collect())
            .unwrap_or_default();
        for (at, certificate) in certificates.iter().enumerate() {
            let fits = at > 0 || key.as_ref().is_none_or(|key| certificate.fits(key));
            let problem = in_time(certificate, now).or((!fits).then_some(Problem::ForeignKey));
            rows.push(Row {
                node: node.to_owned(),
                kind: Kind::Authority(authority),
                certificate: Some(certificate.clone()),
                external: key.is_none(),
                problem,
            });
        }
        if certificates.is_empty() {
            let problem = if bundle.is_some() { Problem::Unreadable } else { Problem::Missing };
            rows.push(Row {
                node: node.to_owned(),
                kind: Kind::Authority(authority),
                certificate: None,
                external: false,
                problem: Some(problem),
            });
        }
    }
    rows.push(service_accounts(node, root)?);
    Ok(rows)
}

fn leaf(
    node: &str,
    root: &Path,
    entry: Entry,
    control_plane: bool,
    now: SystemTime,
) -> Result<Row, FileError> {
    let authority = root.join(inventory::authority(entry.authority).path);
    let bundle = files::text(&authority.with_added_extension("crt"))?.unwrap_or_default();
    let held = files::read(root, &entry)?;
    let (certificate, problem) = judge(&held, &bundle, now);
    // Kubelets ask for theirs whoever signs.
    let external = control_plane
        && !KUBELET.contains(&entry)
        && !authority.with_added_extension("key").exists();
    Ok(Row { node: node.to_owned(), kind: Kind::Leaf(entry), certificate, external, problem })
}

/// What a certificate says, and what is wrong with it among the authorities of `bundle`.
fn judge(held: &Held, bundle: &str, now: SystemTime) -> (Option<Certificate>, Option<Problem>) {
    let Some(text) = &held.certificate else { return (None, Some(Problem::Missing)) };
    let Some(certificate) = Certificate::parse(text.as_bytes()) else {
        return (None, Some(Problem::Unreadable));
    };
    let issuer = Certificate::all(bundle.as_bytes()).position(|one| certificate.is_issued_by(&one));
    let fits = held.key.as_deref().is_some_and(|key| certificate.fits(key));
    let problem = in_time(&certificate, now).or(match issuer {
        _ if !fits => Some(Problem::ForeignKey),
        None => Some(Problem::ForeignIssuer),
        Some(0) => None,
        Some(_) => Some(Problem::OldIssuer),
    });
    (Some(certificate), problem)
}

fn in_time(certificate: &Certificate, now: SystemTime) -> Option<Problem> {
    if now < certificate.not_before {
        return Some(Problem::NotYetValid);
    }
    (now >= certificate.not_after).then_some(Problem::Expired)
}

fn service_accounts(node: &str, root: &Path) -> Result<Row, FileError> {
    let path = root.join(SERVICE_ACCOUNTS.path);
    let key = files::text(&path.with_added_extension("key"))?;
    let public = files::text(&path.with_added_extension(SERVICE_ACCOUNTS.public()))?;
    let problem = match (key, public) {
        (Some(key), Some(public)) => match pki::public_key(&key) {
            Ok(own) if public.contains(own.trim()) => None,
            Ok(_) => Some(Problem::ForeignKey),
            Err(_) => Some(Problem::Unreadable),
        },
        _ => Some(Problem::Missing),
    };
    Ok(Row {
        node: node.to_owned(),
        kind: Kind::ServiceAccounts,
        certificate: None,
        external: false,
        problem,
    })
}

// === impl Row ===

impl Row {
    /// The name of the certificate.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Leaf(entry) => entry.name,
            Kind::Authority(root) => root.name,
            Kind::ServiceAccounts => "sa",
        }
    }

    /// Whether somebody has to look after it: it does not work, or its end is nearer than `within`.
    #[must_use]
    pub fn is_alarming(&self, within: Duration, now: SystemTime) -> bool {
        let broken = !matches!(self.problem, None | Some(Problem::Missing | Problem::OldIssuer));
        let ends = self.certificate.as_ref().is_some_and(|c| c.not_after <= now + within);
        broken || ends
    }

    fn authority(&self) -> &'static str {
        match self.kind {
            Kind::Leaf(entry) => entry.authority,
            Kind::Authority(_) | Kind::ServiceAccounts => "",
        }
    }

    /// The cells of the table.
    #[must_use]
    pub fn cells(&self, now: SystemTime) -> [String; 8] {
        let (expires, residual) = match &self.certificate {
            Some(certificate) => {
                let end = certificate.not_after;
                let left = end.duration_since(now).ok();
                (expiry(end), left.map_or_else(|| "<invalid>".to_owned(), short))
            }
            None => ("<none>".to_owned(), String::new()),
        };
        let problem = self.problem.map(|problem| problem.text().to_owned());
        [
            self.node.clone(),
            self.name().to_owned(),
            self.certificate.as_ref().map(subject).unwrap_or_default(),
            expires,
            residual,
            self.authority().to_owned(),
            if self.external { "yes" } else { "no" }.to_owned(),
            problem.unwrap_or_default(),
        ]
    }

    fn json(&self, now: SystemTime) -> Value {
        let mut json = json!({
            "node": self.node,
            "name": self.name(),
            "externallyManaged": self.external,
            "missing": self.problem == Some(Problem::Missing),
        });
        if let Some(certificate) = &self.certificate {
            let end = Timestamp::try_from(certificate.not_after).unwrap_or(Timestamp::MAX);
            let left = certificate.not_after.duration_since(now).unwrap_or_default();
            json["expirationDate"] = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
            json["residualTime"] = left.as_secs().into();
            json["subject"] = subject(certificate).into();
            json["issuer"] = format!("CN={}", certificate.issuer).into();
        }
        if !self.authority().is_empty() {
            json["caName"] = self.authority().into();
        }
        if let Some(problem) = self.problem {
            json["problem"] = problem.text().into();
        }
        json
    }
}

/// The rows as the document that kubeadm prints, with the node, the subject, the issuer and the
/// problem of each besides.
#[must_use]
pub fn document(rows: &[Row], now: SystemTime) -> Value {
    let of = |authorities: bool| -> Vec<Value> {
        let wanted = |row: &&Row| matches!(row.kind, Kind::Authority(_)) == authorities;
        rows.iter().filter(wanted).map(|row| row.json(now)).collect()
    };
    json!({
        "kind": "CertificateExpirationInfo",
        "apiVersion": "output.kubeadm.k8s.io/v1alpha3",
        "certificates": of(false),
        "certificateAuthorities": of(true),
    })
}

// === impl Problem ===

impl Problem {
    fn text(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::NotYetValid => "not valid yet",
            Self::Expired => "expired",
            Self::ForeignIssuer => "not issued by its authority",
            Self::OldIssuer => "issued by the authority of before",
            Self::ForeignKey => "does not fit its key",
        }
    }
}

/// A subject as OpenSSL writes it.
fn subject(certificate: &Certificate) -> String {
    let groups = certificate.organizations.iter().map(|group| format!("O={group}, "));
    groups.collect::<String>() + "CN=" + &certificate.common_name
}

pub(super) fn expiry(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    time.strftime("%b %d, %Y %H:%M UTC").to_string()
}

/// A duration in its largest unit, as kubeadm prints residual times.
fn short(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match time.as_secs() {
        seconds @ ..MINUTE => format!("{seconds}s"),
        seconds @ ..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ ..DAY => format!("{}h", seconds / HOUR),
        seconds if seconds < 365 * DAY => format!("{}d", seconds / DAY),
        seconds => format!("{}y", seconds / (365 * DAY)),
    }
}

#[cfg(test)]
mod tests;
