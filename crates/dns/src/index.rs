//! What the cluster has, by the keys that names are looked up with.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::names::dashed;

type Key = (String, String);

/// Services, endpoints and namespaces.
#[derive(Debug, Default)]
pub struct Index {
    services: HashMap<Key, ServiceEntry>,
    /// By Service, then by slice.
    slices: HashMap<Key, BTreeMap<String, Vec<Host>>>,
    namespaces: HashSet<String>,
    /// Cluster address to its Service.
    reverse: HashMap<IpAddr, Key>,
    /// Endpoint address to the Services that it has a name in.
    reverse_hosts: HashMap<IpAddr, Vec<Key>>,
}

/// A Service as DNS sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// What its name leads to.
    pub target: Target,
    /// Name, protocol (lower case) and number of its ports.
    pub ports: Vec<(String, String, u16)>,
}

/// What the name of a Service leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its cluster addresses.
    Addresses(Vec<IpAddr>),
    /// Its endpoints.
    Endpoints,
    /// Another name.
    External(String),
}

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its address.
    pub address: IpAddr,
    /// Its name within the Service: the Pod's hostname, else the dashed address.
    pub name: String,
    /// Name, protocol (lower case) and number of its ports.
    pub ports: Vec<(String, String, u16)>,
}

// === impl Index ===

impl Index {
    /// Takes a Service.
    pub fn set_service(&mut self, service: &Service) {
        let key = key(&service.metadata.namespace, &service.metadata.name);
        self.remove_service(&key.0, &key.1);
        let Some(spec) = &service.spec else { return };
        let target = if spec.type_.as_deref() == Some("ExternalName") {
            Target::External(spec.external_name.clone().unwrap_or_default())
        } else if spec.cluster_ip.as_deref() == Some("None") {
            Target::Endpoints
        } else {
            let mut texts: Vec<&String> = spec.cluster_ips.iter().flatten().collect();
            if texts.is_empty() {
                texts.extend(&spec.cluster_ip);
            }
            Target::Addresses(texts.into_iter().filter_map(|t| t.parse().ok()).collect())
        };
        if let Target::Addresses(addresses) = &target {
            for address in addresses {
                self.reverse.insert(*address, key.clone());
            }
        }
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            Some((
                port.name.clone().unwrap_or_default(),
                port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
                u16::try_from(port.port).ok()?,
            ))
        });
        let entry = ServiceEntry { target, ports: ports.collect() };
        self.services.insert(key, entry);
    }

    /// Forgets a Service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(ServiceEntry { target: Target::Addresses(addresses), .. }) =
            self.services.remove(&key)
        {
            for address in addresses {
                if self.reverse.get(&address) == Some(&key) {
                    self.reverse.remove(&address);
                }
            }
        }
    }

    /// Takes an EndpointSlice. Only endpoints that are ready have records; for Services that publish
    /// others too, the slice says that those are ready.
    pub fn set_slice(&mut self, slice: &EndpointSlice) {
        self.remove_slice(slice);
        let Some((service, name)) = slice_keys(slice) else { return };
        let ports: Vec<(String, String, u16)> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                Some((
                    port.name.clone().unwrap_or_default(),
                    port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
                    u16::try_from(port.port?).ok()?,
                ))
            })
            .collect();
        let mut hosts = Vec::new();
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            if !ready {
                continue;
            }
            for address in endpoint.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()) {
                let hostname = endpoint.hostname.clone().filter(|h| !h.is_empty());
                self.reverse_hosts.entry(address).or_default().push(service.clone());
                hosts.push(Host {
                    address,
                    name: hostname.unwrap_or_else(|| dashed(address)),
                    ports: ports.clone(),
                });
            }
        }
        self.slices.entry(service).or_default().insert(name, hosts);
    }

    /// Forgets an EndpointSlice.
    pub fn remove_slice(&mut self, slice: &EndpointSlice) {
        let Some((service, name)) = slice_keys(slice) else { return };
        let Some(slices) = self.slices.get_mut(&service) else { return };
        for host in slices.remove(&name).into_iter().flatten() {
            if let Some(services) = self.reverse_hosts.get_mut(&host.address) {
                if let Some(at) = services.iter().position(|s| *s == service) {
                    services.swap_remove(at);
                }
                if services.is_empty() {
                    self.reverse_hosts.remove(&host.address);
                }
            }
        }
        if slices.is_empty() {
            self.slices.remove(&service);
        }
    }

    /// Notes whether a namespace exists.
    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        if exists {
            self.namespaces.insert(name.to_owned());
        } else {
            self.namespaces.remove(name);
        }
    }

    /// Whether a namespace exists.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    /// A Service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&ServiceEntry> {
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The ready endpoints of a Service, each address once.
    pub fn hosts(&self, namespace: &str, name: &str) -> Vec<&Host> {
        let slices = self.slices.get(&(namespace.to_owned(), name.to_owned()));
        let mut hosts: Vec<&Host> = Vec::new();
        let mut seen = HashSet::new();
        for host in slices.into_iter().flat_map(|s| s.values()).flatten() {
            if seen.insert((host.address, &host.name)) {
                hosts.push(host);
            }
        }
        hosts
    }

    /// The names of an address, relative to the cluster's domain.
    pub fn names_of(&self, address: IpAddr) -> Vec<String> {
        if let Some((namespace, service)) = self.reverse.get(&address) {
            return vec![format!("{service}.{namespace}.svc")];
        }
        let mut names: Vec<String> = Vec::new();
        for (namespace, service) in self.reverse_hosts.get(&address).into_iter().flatten() {
            for host in self.hosts(namespace, service) {
                if host.address == address {
                    names.push(format!("{}.{service}.{namespace}.svc", host.name));
                }
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

fn key(namespace: &Option<String>, name: &Option<String>) -> Key {
    (namespace.clone().unwrap_or_default(), name.clone().unwrap_or_default())
}

fn slice_keys(slice: &EndpointSlice) -> Option<(Key, String)> {
    let labels = slice.metadata.labels.as_ref()?;
    let service = labels.get("kubernetes.io/service-name")?.clone();
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    Some(((namespace, service), slice.metadata.name.clone().unwrap_or_default()))
}
