//! Answers for the cluster's domain and its reverse names. Pure.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::index::{Host, Index, Target};
use crate::names::{self, Asked};

/// How long answers may be kept, in seconds; kubeadm's setting for CoreDNS.
const TTL: u32 = 30;
/// Version of the DNS specification that is followed.
const SPECIFICATION: &str = "1.1.0";

/// The cluster's domain.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: Name,
}

/// What to do about a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Ours: this is the whole answer.
    Here(Sections),
    /// Ours, but the records end in a name that is not; its addresses are found elsewhere.
    Continue(Sections, Name),
    /// Not ours.
    Elsewhere,
}

/// The parts of a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sections {
    /// NOERROR or NXDOMAIN.
    pub code: ResponseCode,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authorities: Vec<Record>,
    /// Additional section.
    pub additionals: Vec<Record>,
}

/// Records for a name that exists (maybe none of the type asked for), or nothing.
type Found = Option<Vec<Record>>;

// === impl Zone ===

impl Zone {
    /// The zone of `domain`, e.g. `cluster.local`.
    ///
    /// # Errors
    /// When it is not a domain name.
    pub fn new(domain: &str) -> Result<Self, hickory_proto::ProtoError> {
        let mut domain = Name::from_ascii(domain)?.to_lowercase();
        domain.set_fqdn(true);
        Ok(Zone { domain })
    }

    /// Answers the question for `name` and `kind`. `turn` rotates the addresses, so that clients that
    /// take the first spread over all.
    pub fn answer(&self, index: &Index, name: &Name, kind: RecordType, turn: usize) -> Answer {
        if let Some(address) = names::reverse(name) {
            let known = index.names_of(address);
            if known.is_empty() {
                return Answer::Elsewhere;
            }
            let records = known
                .iter()
                .filter(|_| wants(kind, RecordType::PTR))
                .filter_map(|text| Some(RData::PTR(PTR(self.below(text)?))))
                .map(|data| record(name, data))
                .collect();
            return self.respond(Some(records), Vec::new());
        }
        let Some(asked) = names::parse(name, &self.domain) else { return Answer::Elsewhere };
        match &asked {
            Asked::Service { namespace, service } => {
                self.service(index, name, kind, turn, namespace, service)
            }
            Asked::Port { namespace, service, port, protocol } => {
                let wanted = |p: &(String, String, u16)| {
                    p.1 == *protocol && port.as_ref().is_none_or(|n| p.0.eq_ignore_ascii_case(n))
                };
                self.ports(index, name, kind, namespace, service, &wanted)
            }
            _ => self.respond(self.plain(index, name, kind, &asked), Vec::new()),
        }
    }

    /// Names with nothing but records of their own.
    fn plain(&self, index: &Index, name: &Name, kind: RecordType, asked: &Asked) -> Found {
        match asked {
            Asked::Apex => {
                let mut records = Vec::new();
                if wants(kind, RecordType::SOA) {
                    records.push(self.soa());
                }
                if wants(kind, RecordType::NS) {
                    records.push(record(name, RData::NS(NS(self.name_server()))));
                }
                Some(records)
            }
            Asked::Branch => Some(Vec::new()),
            Asked::NameServer => {
                let addresses = match index.service("kube-system", "kube-dns").map(|s| &s.target) {
                    Some(Target::Addresses(addresses)) => addresses.clone(),
                    _ => Vec::new(),
                };
                Some(addresses_of(name, kind, &addresses, 0))
            }
            Asked::Version => {
                let text = RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()]));
                let records = wants(kind, RecordType::TXT).then(|| record(name, text));
                Some(records.into_iter().collect())
            }
            Asked::Namespace(namespace) => index.has_namespace(namespace).then(Vec::new),
            Asked::Pod { namespace, address } => {
                index.has_namespace(namespace).then(|| addresses_of(name, kind, &[*address], 0))
            }
            Asked::Endpoint { namespace, service, host } => {
                index.service(namespace, service)?;
                let addresses: Vec<IpAddr> = index
                    .hosts(namespace, service)
                    .into_iter()
                    .filter(|h| h.name.eq_ignore_ascii_case(host))
                    .map(|h| h.address)
                    .collect();
                (!addresses.is_empty()).then(|| addresses_of(name, kind, &addresses, 0))
            }
            Asked::Service { .. } | Asked::Port { .. } | Asked::Nothing => None,
        }
    }

    fn service(
        &self,
        index: &Index,
        name: &Name,
        kind: RecordType,
        turn: usize,
        namespace: &str,
        service: &str,
    ) -> Answer {
        let Some(entry) = index.service(namespace, service) else {
            return self.respond(None, Vec::new());
        };
        if kind == RecordType::SRV && !matches!(entry.target, Target::External(_)) {
            return self.ports(index, name, kind, namespace, service, &|_| true);
        }
        match &entry.target {
            Target::Addresses(addresses) => {
                self.respond(Some(addresses_of(name, kind, addresses, turn)), Vec::new())
            }
            Target::Endpoints => {
                let hosts = index.hosts(namespace, service);
                // A headless Service without ready endpoints has no name, as with CoreDNS.
                if hosts.is_empty() {
                    return self.respond(None, Vec::new());
                }
                let addresses: Vec<IpAddr> = hosts.iter().map(|h| h.address).collect();
                self.respond(Some(addresses_of(name, kind, &addresses, turn)), Vec::new())
            }
            Target::External(external) => {
                if let Ok(address) = external.parse::<IpAddr>() {
                    return self.respond(Some(addresses_of(name, kind, &[address], 0)), Vec::new());
                }
                let Ok(mut target) = Name::from_ascii(external) else {
                    return self.respond(Some(Vec::new()), Vec::new());
                };
                target.set_fqdn(true);
                let alias = record(name, RData::CNAME(CNAME(target.clone())));
                let follow = matches!(kind, RecordType::A | RecordType::AAAA);
                if !follow {
                    let records = wants(kind, RecordType::CNAME).then_some(alias);
                    return self.respond(Some(records.into_iter().collect()), Vec::new());
                }
                let mut sections = Sections { answers: vec![alias], ..Default::default() };
                // A name of ours leads on within the zone, but not from alias to alias.
                match names::parse(&target, &self.domain) {
                    None => Answer::Continue(sections, target),
                    Some(Asked::Service { namespace, service })
                        if index
                            .service(&namespace, &service)
                            .is_some_and(|s| matches!(s.target, Target::External(_))) =>
                    {
                        Answer::Here(sections)
                    }
                    Some(_) => {
                        if let Answer::Here(more) = self.answer(index, &target, kind, turn) {
                            sections.answers.extend(more.answers);
                        }
                        Answer::Here(sections)
                    }
                }
            }
        }
    }

    /// SRV records of the ports that `wanted` takes, with the addresses of their targets.
    fn ports(
        &self,
        index: &Index,
        name: &Name,
        kind: RecordType,
        namespace: &str,
        service: &str,
        wanted: &dyn Fn(&(String, String, u16)) -> bool,
    ) -> Answer {
        let Some(entry) = index.service(namespace, service) else {
            return self.respond(None, Vec::new());
        };
        let base = format!("{service}.{namespace}.svc");
        let mut targets: Vec<(String, u16, Vec<IpAddr>)> = Vec::new();
        match &entry.target {
            Target::Addresses(addresses) => {
                for (_, _, port) in entry.ports.iter().filter(|p| wanted(p)) {
                    targets.push((base.clone(), *port, addresses.clone()));
                }
            }
            Target::Endpoints => {
                for host in index.hosts(namespace, service) {
                    let Host { name, address, ports, .. } = host;
                    for (_, _, port) in ports.iter().filter(|p| wanted(p)) {
                        targets.push((format!("{name}.{base}"), *port, vec![*address]));
                    }
                }
            }
            Target::External(_) => {}
        }
        if targets.is_empty() {
            return self.respond(None, Vec::new());
        }
        if !wants(kind, RecordType::SRV) {
            return self.respond(Some(Vec::new()), Vec::new());
        }
        let weight = u16::try_from((100 / targets.len()).max(1)).unwrap_or(1);
        let mut answers = Vec::new();
        let mut additionals: Vec<Record> = Vec::new();
        for (target, port, addresses) in targets {
            let Some(target) = self.below(&target) else { continue };
            answers.push(record(name, RData::SRV(SRV::new(0, weight, port, target.clone()))));
            for address in addresses {
                let extra = record(&target, address_data(address));
                if !additionals.contains(&extra) {
                    additionals.push(extra);
                }
            }
        }
        self.respond(Some(answers), additionals)
    }

    fn respond(&self, found: Found, additionals: Vec<Record>) -> Answer {
        let code = if found.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let answers = found.unwrap_or_default();
        // Negative answers carry the SOA record, which says how long they may be kept.
        let authorities = if answers.is_empty() { vec![self.soa()] } else { Vec::new() };
        Answer::Here(Sections { code, answers, authorities, additionals })
    }

    fn soa(&self) -> Record {
        let mailbox = self.below("hostmaster").unwrap_or_else(|| self.domain.clone());
        let data = SOA::new(self.name_server(), mailbox, 1, 7200, 1800, 86_400, TTL);
        record(&self.domain, RData::SOA(data))
    }

    fn name_server(&self) -> Name {
        self.below("ns.dns").unwrap_or_else(|| self.domain.clone())
    }

    fn below(&self, relative: &str) -> Option<Name> {
        Name::from_ascii(relative).ok()?.append_domain(&self.domain).ok()
    }
}

fn wants(asked: RecordType, kind: RecordType) -> bool {
    asked == kind || asked == RecordType::ANY
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

fn addresses_of(name: &Name, kind: RecordType, addresses: &[IpAddr], turn: usize) -> Vec<Record> {
    let mut records: Vec<Record> = addresses
        .iter()
        .filter(|a| wants(kind, if a.is_ipv4() { RecordType::A } else { RecordType::AAAA }))
        .map(|a| record(name, address_data(*a)))
        .collect();
    if !records.is_empty() {
        let by = turn % records.len();
        records.rotate_left(by);
    }
    records
}

#[cfg(test)]
mod tests;
