//! The resolver configuration of a Pod, from its DNS policy.

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

use crate::cri::proto::DnsConfig;

/// Most name servers that a resolver looks at.
const MAX_SERVERS: usize = 3;
/// Most search domains that Kubernetes allows.
const MAX_SEARCHES: usize = 32;

/// Cluster and host facts that resolver configurations are made from.
#[derive(Clone, Debug, Default)]
pub struct DnsContext {
    /// Addresses of the cluster's DNS service.
    pub cluster_dns: Vec<String>,
    /// Domain of the cluster, as `cluster.local`.
    pub cluster_domain: String,
    /// Content of the node's `resolv.conf`.
    pub host: DnsConfig,
}

/// Parses a `resolv.conf`.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            // The last search line wins, and a trailing dot is dropped (a lone dot stays).
            Some("search") => {
                config.searches = words
                    .map(|word| if word == "." { word } else { word.trim_end_matches('.') })
                    .map(str::to_owned)
                    .collect();
            }
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config
}

/// The configuration that the sandbox of `pod` gets.
pub fn config(pod: &Pod, context: &DnsContext) -> DnsConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let wants_cluster = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => {
            return append(DnsConfig::default(), spec.dns_config.as_ref());
        }
        "Default" => false,
        "ClusterFirstWithHostNet" => true,
        _ => !host_network,
    };
    let base = if wants_cluster && !context.cluster_dns.is_empty() {
        cluster_config(pod, context)
    } else {
        context.host.clone()
    };
    append(base, spec.dns_config.as_ref())
}

fn cluster_config(pod: &Pod, context: &DnsContext) -> DnsConfig {
    let domain = &context.cluster_domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        searches =
            vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    }
    searches.extend(context.host.searches.iter().cloned());
    unique(&mut searches);
    DnsConfig { servers: context.cluster_dns.clone(), searches, options: vec!["ndots:5".into()] }
}

fn append(mut base: DnsConfig, extra: Option<&PodDNSConfig>) -> DnsConfig {
    if let Some(extra) = extra {
        base.servers.extend(extra.nameservers.iter().flatten().cloned());
        base.searches.extend(extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            base.options.retain(|old| old.split(':').next() != Some(name.as_str()));
            base.options.push(match &option.value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name,
            });
        }
    }
    unique(&mut base.servers);
    unique(&mut base.searches);
    base.servers.truncate(MAX_SERVERS);
    base.searches.truncate(MAX_SEARCHES);
    base
}

fn unique(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodDNSConfigOption, PodSpec};

    fn context() -> DnsContext {
        DnsContext {
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            host: parse_resolv_conf("# x\nnameserver 1.1.1.1\nsearch example.org. lan\n"),
        }
    }

    fn pod(spec: PodSpec) -> Pod {
        let mut pod = Pod { spec: Some(spec), ..Default::default() };
        pod.metadata.namespace = Some("shop".into());
        pod
    }

    #[test]
    fn cluster_first_searches_the_cluster_then_the_host() {
        let config = config(&pod(PodSpec::default()), &context());
        assert_eq!(config.servers, ["10.96.0.10"]);
        assert_eq!(
            config.searches,
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org", "lan"]
        );
        assert_eq!(config.options, ["ndots:5"]);
    }

    #[test]
    fn host_network_pods_use_the_host_unless_told_otherwise() {
        let mut spec = PodSpec { host_network: Some(true), ..Default::default() };
        assert_eq!(config(&pod(spec.clone()), &context()).servers, ["1.1.1.1"]);
        spec.dns_policy = Some("ClusterFirstWithHostNet".into());
        assert_eq!(config(&pod(spec), &context()).servers, ["10.96.0.10"]);
    }

    #[test]
    fn own_config_adds_and_overrides() {
        let dns_config = PodDNSConfig {
            nameservers: Some(vec!["9.9.9.9".into()]),
            options: Some(vec![PodDNSConfigOption {
                name: Some("ndots".into()),
                value: Some("2".into()),
            }]),
            searches: None,
        };
        let spec = PodSpec {
            dns_policy: Some("None".into()),
            dns_config: Some(dns_config.clone()),
            ..Default::default()
        };
        let alone = config(&pod(spec), &context());
        assert_eq!(
            (alone.servers, alone.options),
            (vec!["9.9.9.9".to_owned()], vec!["ndots:2".to_owned()])
        );
        let spec = PodSpec { dns_config: Some(dns_config), ..Default::default() };
        assert_eq!(config(&pod(spec), &context()).options, ["ndots:2"]);
    }
}
