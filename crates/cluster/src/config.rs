//! What is the same for every node of a cluster. A cluster keeps it in the ConfigMap
//! `kube-system/kubeadm-config` under kubeadm's names
//! (<https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/>), where nodes that join
//! find it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use machinery::codec::yaml;
use machinery::duration::parse as parse_duration;
use serde::{Deserialize, Serialize};

/// How long certificates are good unless something else is said (kubeadm's default).
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// What renewal keeps up with.
const SHORTEST: Duration = Duration::from_secs(60);

/// Port of the API server unless another is chosen.
pub const API_PORT: u16 = 6443;
/// Where API servers put the snapshots that they take by a schedule.
pub const SNAPSHOTS: &str = "/var/lib/ironclad/snapshots";
const SNAPSHOT_INTERVAL: &str = "snapshot-interval";

/// A cluster's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfiguration {
    /// `kubeadm.k8s.io/v1beta4`.
    pub api_version: String,
    /// `ClusterConfiguration`.
    pub kind: String,
    /// Name of the cluster, for kubeconfigs.
    pub cluster_name: String,
    /// Version of Kubernetes that it was made with.
    pub kubernetes_version: String,
    /// Host and port where every node reaches the API server.
    pub control_plane_endpoint: String,
    /// Ranges of addresses, and names.
    pub networking: Networking,
    /// Settings of the API servers.
    #[serde(default)]
    pub api_server: ApiServer,
    /// How long certificates are good, as `8760h`; a year unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_validity_period: Option<String>,
    /// An etcd cluster to store in; without one the embedded store of the one control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Etcd>,
    /// An address that one of the control planes has at a time. kubeadm leaves that to others and
    /// knows no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_address: Option<Ipv4Addr>,
}

/// Ranges of addresses, and names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Networking {
    /// Addresses of Pods.
    pub pod_subnet: String,
    /// Addresses of Services.
    pub service_subnet: String,
    /// Domain of the names of Services and Pods.
    pub dns_domain: String,
}

/// Settings of the API servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiServer {
    /// Further names and addresses in their certificates.
    #[serde(default, rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    pub cert_sans: Vec<String>,
    /// Further flags of theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_args: Vec<Argument>,
}

/// A flag of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// Its name, without dashes.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Where objects are kept, when not in the embedded store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Etcd {
    /// A cluster that has a member on every control plane.
    Local {
        /// Its members.
        local: LocalEtcd,
    },
    /// An etcd cluster that somebody else takes care of.
    External {
        /// How it is reached.
        external: ExternalEtcd,
    },
}

/// Settings of the members that run on the control planes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalEtcd {
    /// Where a member keeps its data.
    pub data_dir: String,
}

/// An etcd cluster that somebody else takes care of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalEtcd {
    /// URLs of its members.
    pub endpoints: Vec<String>,
    /// Authorities of the members' certificates, a file of every control plane.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ca_file: String,
    /// Certificate to show to them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cert_file: String,
    /// Its key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key_file: String,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an address range that has room for what is needed.
    #[error("{name}: Invalid value: {value:?}: {problem}")]
    Invalid {
        /// The field.
        name: &'static str,
        /// What it is.
        value: String,
        /// Why that does not do.
        problem: &'static str,
    },
    /// Not a ClusterConfiguration.
    #[error("couldn't decode ClusterConfiguration: {0}")]
    Decode(String),
}

impl ClusterConfiguration {
    /// The usual settings for a cluster that is reached at `endpoint`.
    #[must_use]
    pub fn new(cluster_name: &str, endpoint: &str) -> Self {
        Self {
            api_version: "kubeadm.k8s.io/v1beta4".to_owned(),
            kind: "ClusterConfiguration".to_owned(),
            cluster_name: cluster_name.to_owned(),
            kubernetes_version: component::version::release().to_owned(),
            control_plane_endpoint: endpoint.to_owned(),
            networking: Networking {
                pod_subnet: "10.244.0.0/16".to_owned(),
                service_subnet: "10.96.0.0/12".to_owned(),
                dns_domain: "cluster.local".to_owned(),
            },
            api_server: ApiServer::default(),
            certificate_validity_period: None,
            etcd: None,
            virtual_address: None,
        }
    }

    /// The same, with a member of an etcd cluster on every control plane.
    #[must_use]
    pub fn with_local_etcd(self) -> Self {
        let local = LocalEtcd { data_dir: crate::etcd::DATA.to_owned() };
        Self { etcd: Some(Etcd::Local { local }), ..self }
    }

    /// Settings of the members that run on the control planes, if any do.
    #[must_use]
    pub fn local_etcd(&self) -> Option<&LocalEtcd> {
        match &self.etcd {
            Some(Etcd::Local { local }) => Some(local),
            Some(Etcd::External { .. }) | None => None,
        }
    }

    /// Has the API servers save the store `every` so often and keep the last `keep` of the files.
    pub fn schedule_snapshots(&mut self, every: Duration, keep: usize) {
        for (name, value) in [
            ("snapshot-dir", SNAPSHOTS.to_owned()),
            (SNAPSHOT_INTERVAL, format!("{}s", every.as_secs())),
            ("snapshot-keep", keep.to_string()),
        ] {
            self.api_server.extra_args.push(Argument { name: name.to_owned(), value });
        }
    }

    /// Whether the API servers save the store by a schedule.
    #[must_use]
    pub fn has_scheduled_snapshots(&self) -> bool {
        self.api_server.extra_args.iter().any(|argument| argument.name == SNAPSHOT_INTERVAL)
    }

    /// Reads what [`ClusterConfiguration::to_yaml`] wrote.
    ///
    /// # Errors
    /// [`ConfigError`] when it is something else, or does not fit together.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self =
            yaml::from_str(text).map_err(|error| ConfigError::Decode(error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// As it is kept.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::to_string(self).expect("a configuration has string keys only")
    }

    /// Looks for mistakes.
    ///
    /// # Errors
    /// The first one.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |name, value: &str, problem| {
            Err(ConfigError::Invalid { name, value: value.to_owned(), problem })
        };
        let Networking { pod_subnet, service_subnet, dns_domain } = &self.networking;
        match range(service_subnet) {
            None => return invalid("networking.serviceSubnet", service_subnet, NOT_A_RANGE),
            // The API server's own limit, and room for DNS.
            Some((_, length)) if !(12..=28).contains(&length) => {
                let problem = "the prefix must have from 12 to 28 bits";
                return invalid("networking.serviceSubnet", service_subnet, problem);
            }
            Some(_) => {}
        }
        match range(pod_subnet) {
            None => return invalid("networking.podSubnet", pod_subnet, NOT_A_RANGE),
            Some((_, length)) if length > 24 => {
                let problem = "the range has no room for the /24 of a node";
                return invalid("networking.podSubnet", pod_subnet, problem);
            }
            Some(_) => {}
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !dns_domain.split('.').all(label) {
            return invalid("networking.dnsDomain", dns_domain, "not a domain name");
        }
        if let Some(period) = &self.certificate_validity_period
            && !parse_duration(period).is_ok_and(|period| period >= SHORTEST)
        {
            let problem = "not a duration of a minute or more, such as 8760h";
            return invalid("certificateValidityPeriod", period, problem);
        }
        let endpoint = &self.control_plane_endpoint;
        if split_endpoint(endpoint).is_none() {
            return invalid("controlPlaneEndpoint", endpoint, "not of the form host:port");
        }
        Ok(())
    }

    /// How long certificates are good.
    #[must_use]
    pub fn certificate_validity(&self) -> Duration {
        let given = self.certificate_validity_period.as_deref();
        given.and_then(|text| parse_duration(text).ok()).unwrap_or(YEAR)
    }

    /// Where clients reach the API server.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://{}", self.control_plane_endpoint)
    }

    /// Address of the Service `kubernetes`: the first of the Services' range.
    #[must_use]
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        self.service_address(1)
    }

    /// Address of the Service `kube-dns`: the tenth.
    #[must_use]
    pub fn dns_service(&self) -> Ipv4Addr {
        self.service_address(10)
    }

    fn service_address(&self, index: u32) -> Ipv4Addr {
        let base = range(&self.networking.service_subnet).map_or(0, |(base, _)| base.into());
        Ipv4Addr::from(base + index)
    }

    /// DNS names and addresses of the certificate of the API server on node `name` at `address`.
    #[must_use]
    pub fn api_server_names(&self, name: &str, address: Ipv4Addr) -> Vec<String> {
        let service = format!("kubernetes.default.svc.{}", self.networking.dns_domain);
        let mut names: Vec<String> =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", &service, "localhost"]
                .map(str::to_owned)
                .into_iter()
                .chain([name.to_owned()])
                .chain(
                    [self.kubernetes_service(), address, Ipv4Addr::LOCALHOST]
                        .map(|address| address.to_string()),
                )
                .collect();
        let endpoint = split_endpoint(&self.control_plane_endpoint).map(|(host, _)| host);
        for more in endpoint.into_iter().chain(self.api_server.cert_sans.iter().map(String::as_str))
        {
            if !names.iter().any(|known| known == more) {
                names.push(more.to_owned());
            }
        }
        names
    }
}

const NOT_A_RANGE: &str = "not a range of IPv4 addresses such as 10.0.0.0/16";

/// Base and prefix length of a range of addresses.
fn range(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (base, length) = text.split_once('/')?;
    let (base, length): (Ipv4Addr, u32) = (base.parse().ok()?, length.parse().ok()?);
    let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
    (u32::from(base) & !mask == 0).then_some((base, length))
}

/// Host and port of `host:port`.
#[must_use]
pub fn split_endpoint(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let fits = host.parse::<IpAddr>().is_ok()
        || (!host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')));
    Some((host, port.parse().ok()?)).filter(|_| fits)
}

#[cfg(test)]
mod tests;
