//! Services and EndpointSlices in, the desired nftables tables out. Pure.
//!
//! A new connection passes two verdict-map look-ups, whatever the number of Services:
//! address . protocol . port in `service-ips`, else local port in `service-nodeports`. The map leads
//! to the Service port's own chain, which picks an endpoint at random and rewrites the destination.

mod endpoints;
mod ports;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub use endpoints::{Endpoint, EndpointIndex};
pub use ports::{Affinity, ServicePort, service_ports};

use crate::cidr::Cidr;
use crate::model::{CollectionKind, Family, Table};

/// The table's name, the same as upstream's so that either proxy replaces the other's rules.
pub const TABLE: &str = "kube-proxy";

/// The packet mark of connections that must be masqueraded, upstream's default bit 14.
const MASQUERADE_MARK: &str = "0x00004000";

/// What the rules depend on besides Services and endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's name; endpoints on it are local.
    pub name: String,
    /// The node's zone label, for topology hints.
    pub zone: Option<String>,
    /// The ranges of all Pods of the cluster, both families.
    pub cluster_cidrs: Vec<Cidr>,
}

/// Builds the table of one family.
pub fn build(
    family: Family,
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    node: &NodeFacts,
) -> Table {
    let endpoints = EndpointIndex::new(slices);
    let mut table = Table::new(family, TABLE);
    declare_frame(&mut table, family, node);
    for service in services {
        for port in service_ports(service, family) {
            add_port(&mut table, &port, &endpoints, node);
        }
    }
    table
}

/// A Service port with nothing behind it: which verdict its addresses get.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// No endpoint anywhere: the client is told.
    Reject,
    /// Endpoints elsewhere, but the traffic policy asks for local ones.
    Drop,
}

impl Absent {
    fn verdict(self) -> &'static str {
        match self {
            Absent::Reject => "goto reject-chain",
            Absent::Drop => "drop",
        }
    }
}

fn declare_frame(table: &mut Table, family: Family, node: &NodeFacts) {
    let ip = family.keyword();
    let address = family.address_type();
    let key = format!("type {address} . inet_proto . inet_service : verdict ;");
    table.declare(CollectionKind::Map, "service-ips", key.as_str());
    table.declare(CollectionKind::Map, "no-endpoint-services", key.as_str());
    table.declare(CollectionKind::Map, "firewall-ips", key.as_str());
    let port_key = "type inet_proto . inet_service : verdict ;";
    table.declare(CollectionKind::Map, "service-nodeports", port_key);
    table.declare(CollectionKind::Map, "no-endpoint-nodeports", port_key);
    table.declare(CollectionKind::Set, "cluster-ips", format!("type {address} ;"));
    table.declare(CollectionKind::Set, "hairpin", format!("type {address} . {address} ;"));

    let set = |table: &mut Table, name: &str, hook: &str, rules: Vec<String>| {
        let chain = table.chain(name);
        chain.hook = hook.to_owned();
        chain.rules = rules;
    };
    let destination = format!("{ip} daddr . meta l4proto . th dport");
    // Loopback addresses are left alone, as upstream's nftables mode does.
    let local = match family {
        Family::V4 => "fib daddr type local ip daddr != 127.0.0.0/8",
        Family::V6 => "fib daddr type local ip6 daddr != ::1",
    };
    let nodeport = format!("{local} meta l4proto . th dport");
    let pods: Vec<&Cidr> = node.cluster_cidrs.iter().filter(|c| c.family() == family).collect();
    let pods = (!pods.is_empty()).then(|| {
        format!("{{ {} }}", pods.iter().map(|c| c.to_string()).collect::<Vec<_>>().join(", "))
    });

    let reject = match family {
        Family::V4 => "reject with icmp port-unreachable",
        Family::V6 => "reject with icmpv6 port-unreachable",
    };
    set(
        table,
        "reject-chain",
        "",
        vec!["meta l4proto tcp reject with tcp reset".to_owned(), reject.to_owned()],
    );
    set(
        table,
        "mark-for-masquerade",
        "",
        vec![format!("meta mark set meta mark | {MASQUERADE_MARK}")],
    );

    let cluster_ip_checks = vec![
        format!("{destination} vmap @no-endpoint-services"),
        format!("{ip} daddr @cluster-ips goto reject-chain"),
    ];
    let nodeport_checks = vec![format!("{nodeport} vmap @no-endpoint-nodeports")];
    set(table, "cluster-ips-check", "", cluster_ip_checks);
    set(table, "nodeport-endpoints-check", "", nodeport_checks);
    // These run before destination NAT on output (priority -110) but after it on forward and input,
    // where a packet that still has a Service address is one that nothing took.
    let filter = |hook: &str| format!("type filter hook {hook} priority -110 ;");
    set(table, "firewall-check", "", vec![format!("{destination} vmap @firewall-ips")]);
    set(
        table,
        "filter-prerouting-pre-dnat",
        &filter("prerouting"),
        vec!["ct state new jump firewall-check".to_owned()],
    );
    set(
        table,
        "filter-output-pre-dnat",
        &filter("output"),
        vec![
            "ct state new jump firewall-check".to_owned(),
            "ct state new jump no-endpoint-check".to_owned(),
        ],
    );
    set(
        table,
        "no-endpoint-check",
        "",
        vec![
            format!("{destination} vmap @no-endpoint-services"),
            format!("{nodeport} vmap @no-endpoint-nodeports"),
        ],
    );
    set(
        table,
        "filter-input",
        "type filter hook input priority filter ;",
        vec![
            "ct state new jump nodeport-endpoints-check".to_owned(),
            "ct state new jump cluster-ips-check".to_owned(),
        ],
    );
    for (name, hook) in [("filter-forward", "forward"), ("filter-output", "output")] {
        set(
            table,
            name,
            &format!("type filter hook {hook} priority filter ;"),
            vec!["ct state new jump cluster-ips-check".to_owned()],
        );
    }

    let mut services = Vec::new();
    if let Some(pods) = &pods {
        // Clients outside the Pod network get the node's address, so that answers come back here.
        services
            .push(format!("{ip} daddr @cluster-ips {ip} saddr != {pods} jump mark-for-masquerade"));
    }
    services.push(format!("{destination} vmap @service-ips"));
    services.push(format!("{nodeport} vmap @service-nodeports"));
    set(table, "services", "", services);
    set(
        table,
        "nat-prerouting",
        "type nat hook prerouting priority dstnat ;",
        vec!["jump services".to_owned()],
    );
    set(
        table,
        "nat-output",
        "type nat hook output priority -100 ;",
        vec!["jump services".to_owned()],
    );

    let mut postrouting = vec![
        format!("meta mark & {MASQUERADE_MARK} != 0 goto masquerade-marked"),
        format!("ct status dnat {ip} saddr . {ip} daddr @hairpin masquerade fully-random"),
    ];
    if let Some(pods) = &pods {
        postrouting.push(format!(
            "oifname != \"lo\" {ip} saddr {pods} {ip} daddr != {pods} masquerade fully-random"
        ));
    }
    set(
        table,
        "masquerade-marked",
        "",
        vec![
            format!("meta mark set meta mark ^ {MASQUERADE_MARK}"),
            "masquerade fully-random".to_owned(),
        ],
    );
    set(table, "nat-postrouting", "type nat hook postrouting priority srcnat ;", postrouting);
}

fn add_port(table: &mut Table, port: &ServicePort, index: &EndpointIndex, node: &NodeFacts) {
    let found = index.usable(port, table.family, node);
    for endpoint in &found.cluster {
        if endpoint.is_local(&node.name) {
            let pair = format!("{0} . {0}", endpoint.address);
            table.element("hairpin", pair, String::new(), "");
        }
    }
    let cluster_chain =
        (!found.cluster.is_empty()).then(|| format!("service-{}", port.chain_suffix()));
    let local_chain = (!found.local.is_empty()).then(|| format!("local-{}", port.chain_suffix()));
    let wants_local = port.internal_local || (port.external_local && port.has_external());
    if let Some(chain) = &cluster_chain {
        add_endpoint_chain(table, chain, port, &found.cluster);
    }
    if let Some(chain) = local_chain.as_ref().filter(|_| wants_local) {
        add_endpoint_chain(table, chain, port, &found.local);
    }
    let absent = |local: bool| match (found.any, local) {
        (true, true) => Absent::Drop,
        _ => Absent::Reject,
    };

    let internal = if port.internal_local { &local_chain } else { &cluster_chain };
    let proto = port.protocol.as_str();
    for ip in &port.cluster_ips {
        table.element("cluster-ips", ip.to_string(), String::new(), "");
        let key = format!("{ip} . {proto} . {}", port.port);
        match internal {
            Some(chain) => {
                table.element("service-ips", key, format!("goto {chain}"), &port.comment());
            }
            None => {
                let verdict = absent(port.internal_local).verdict();
                table.element("no-endpoint-services", key, verdict.to_owned(), &port.comment());
            }
        }
    }
    if !port.has_external() {
        return;
    }

    let external =
        add_external_chain(table, port, cluster_chain.as_deref(), local_chain.as_deref(), node);
    let firewall = (!port.source_ranges.is_empty()).then(|| add_firewall_chain(table, port));
    for ip in port.external_ips.iter().chain(&port.load_balancer_ips) {
        let key = format!("{ip} . {proto} . {}", port.port);
        match &external {
            Some(chain) => {
                table.element("service-ips", key, format!("goto {chain}"), &port.comment());
            }
            None => {
                let verdict = absent(port.external_local).verdict();
                table.element("no-endpoint-services", key, verdict.to_owned(), &port.comment());
            }
        }
    }
    if let Some(chain) = firewall {
        for ip in &port.load_balancer_ips {
            let key = format!("{ip} . {proto} . {}", port.port);
            table.element("firewall-ips", key, format!("goto {chain}"), &port.comment());
        }
    }
    if let Some(node_port) = port.node_port {
        let key = format!("{proto} . {node_port}");
        match &external {
            Some(chain) => {
                table.element("service-nodeports", key, format!("goto {chain}"), &port.comment());
            }
            None => {
                let verdict = absent(port.external_local).verdict();
                table.element("no-endpoint-nodeports", key, verdict.to_owned(), &port.comment());
            }
        }
    }
}

/// The chain of traffic that enters from outside: masqueraded under policy Cluster; under Local only
/// Pods and the node itself may use endpoints of other nodes.
fn add_external_chain(
    table: &mut Table,
    port: &ServicePort,
    cluster: Option<&str>,
    local: Option<&str>,
    node: &NodeFacts,
) -> Option<String> {
    let cluster = cluster?;
    let name = format!("external-{}", port.chain_suffix());
    let mut rules = Vec::new();
    if port.external_local {
        let ip = table.family.keyword();
        for cidr in node.cluster_cidrs.iter().filter(|c| c.family() == table.family) {
            rules.push(format!("{ip} saddr {cidr} goto {cluster}"));
        }
        rules.push("fib saddr type local jump mark-for-masquerade".to_owned());
        rules.push(format!("fib saddr type local goto {cluster}"));
        match local {
            Some(local) => rules.push(format!("goto {local}")),
            None => rules.push("drop".to_owned()),
        }
    } else {
        rules.push("jump mark-for-masquerade".to_owned());
        rules.push(format!("goto {cluster}"));
    }
    table.chain(&name).rules = rules;
    Some(name)
}

fn add_firewall_chain(table: &mut Table, port: &ServicePort) -> String {
    let name = format!("firewall-{}", port.chain_suffix());
    let ip = table.family.keyword();
    let ranges: Vec<String> = port.source_ranges.iter().map(Cidr::to_string).collect();
    table.chain(&name).rules = vec![format!("{ip} saddr != {{ {} }} drop", ranges.join(", "))];
    name
}

fn add_endpoint_chain(
    table: &mut Table,
    chain: &str,
    port: &ServicePort,
    endpoints: &[Arc<Endpoint>],
) {
    let proto = port.protocol.as_str();
    let ip = table.family.keyword();
    let count = endpoints.len();
    let Affinity::ClientIp(seconds) = port.affinity else {
        // One rule whatever the number of endpoints: a random number indexes a map of destinations.
        let rule = if let [only] = endpoints {
            format!("meta l4proto {proto} dnat to {}", only.socket())
        } else {
            let targets: Vec<String> = endpoints
                .iter()
                .enumerate()
                .map(|(i, e)| format!("{i} : {} . {}", e.address, e.port))
                .collect();
            let targets = targets.join(", ");
            format!(
                "meta l4proto {proto} dnat {ip} to numgen random mod {count} map {{ {targets} }}"
            )
        };
        table.chain(chain).rules = vec![rule];
        return;
    };
    let mut rules = Vec::new();
    let mut choices = Vec::new();
    for (i, endpoint) in endpoints.iter().enumerate() {
        let suffix = format!("{}-{}", port.chain_suffix(), endpoint.name_part());
        let (set, target) = (format!("affinity-{suffix}"), format!("endpoint-{suffix}"));
        table.declare(
            CollectionKind::Set,
            &set,
            format!(
                "type {} ; flags dynamic,timeout ; timeout {seconds}s ;",
                table.family.address_type()
            ),
        );
        table.chain(&target).rules = vec![
            format!("update @{set} {{ {ip} saddr }}"),
            format!("meta l4proto {proto} dnat to {}", endpoint.socket()),
        ];
        rules.push(format!("{ip} saddr @{set} goto {target}"));
        choices.push(format!("{i} : goto {target}"));
    }
    rules.push(format!("numgen random mod {count} vmap {{ {} }}", choices.join(", ")));
    table.chain(chain).rules = rules;
}

/// Whether `address` belongs to `family`.
pub(crate) fn in_family(address: &IpAddr, family: Family) -> bool {
    matches!((address, family), (IpAddr::V4(_), Family::V4) | (IpAddr::V6(_), Family::V6))
}
