//! The network of a cluster on one machine: a bridge, a cable per node, and a way out.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;

use futures::TryStreamExt as _;
use nix::unistd::Pid;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::node::namespaces;
use crate::plan::{NodePlan, Plan};

/// Bits of the network's prefix.
const PREFIX: u8 = 24;
/// The node's end of its cable.
const NODE_INTERFACE: &str = "eth0";
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What could not be done to the network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a change over netlink.
    #[error("{what}: {source}")]
    Netlink {
        /// The change.
        what: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A link that was just made is not there.
    #[error("network interface {0} is missing")]
    Missing(String),
    /// Opening netlink, entering a namespace or writing a setting failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// `nft` refused the rules.
    #[error("nft: {0}")]
    Nft(String),
}

fn netlink(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    let what = what.into();
    |source| NetworkError::Netlink { what, source }
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> NetworkError {
    let what = what.into();
    |source| NetworkError::Io { what, source }
}

/// The third bytes of 10.189.N.0/24 that routes of this host already cover, from the text of
/// `/proc/net/route`.
#[must_use]
pub fn taken(routes: &str) -> Vec<u8> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let address = u32::from_str_radix(fields.next()?, 16).ok()?.swap_bytes();
        let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?.swap_bytes();
        Some((address, mask))
    };
    let routes: Vec<_> =
        routes.lines().skip(1).filter_map(parse).filter(|(_, mask)| *mask != 0).collect();
    let covered = |n: &u8| {
        let network = u32::from(Ipv4Addr::new(10, 189, *n, 0));
        let own = u32::MAX << (32 - u32::from(PREFIX));
        routes.iter().any(|(address, mask)| {
            let common = mask & own;
            address & common == network & common
        })
    };
    (0..=u8::MAX).filter(covered).collect()
}

/// The name servers in the text of a `resolv.conf` that other network namespaces can reach.
#[must_use]
pub fn name_servers(resolv_conf: &str) -> Vec<String> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<std::net::IpAddr>().ok())
        .filter(|address| !address.is_loopback())
        .map(|address| address.to_string())
        .collect()
}

/// Makes the bridge and lets its nodes reach the networks that the host reaches.
///
/// # Errors
/// [`NetworkError`] with the step that failed.
pub async fn create(plan: &Plan) -> Result<(), NetworkError> {
    let handle = connect()?;
    let link = LinkBridge::new(&plan.bridge).up().build();
    let step = format!("creating bridge {}", plan.bridge);
    handle.link().add(link).execute().await.map_err(netlink(step))?;
    let index = index(&handle, &plan.bridge).await?;
    let step = format!("giving {} to bridge {}", plan.gateway, plan.bridge);
    let address = handle.address().add(index, plan.gateway.into(), PREFIX);
    address.execute().await.map_err(netlink(step))?;
    let step = "setting net.ipv4.ip_forward";
    fs::write(IP_FORWARD, "1").map_err(failed(step))?;
    nft(&rules(plan)).await
}

/// Whether the host forwarded packets before the first cluster.
///
/// # Errors
/// When the setting cannot be read.
pub fn forwarding() -> Result<bool, NetworkError> {
    let text = fs::read_to_string(IP_FORWARD).map_err(failed("reading net.ipv4.ip_forward"))?;
    Ok(text.trim() == "1")
}

/// Switches forwarding off again, for hosts where it was off.
///
/// # Errors
/// When the setting cannot be written.
pub fn stop_forwarding() -> Result<(), NetworkError> {
    fs::write(IP_FORWARD, "0").map_err(failed("restoring net.ipv4.ip_forward"))
}

/// Connects the node whose first process is `pid` to the bridge and configures its end.
///
/// # Errors
/// [`NetworkError`] with the step that failed.
pub async fn attach(plan: &Plan, node: &NodePlan, pid: Pid) -> Result<(), NetworkError> {
    let handle = connect()?;
    let bridge = index(&handle, &plan.bridge).await?;
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(NODE_INTERFACE)
        .setns_by_pid(pid.as_raw().unsigned_abs())
        .build();
    let cable = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(&node.interface)
        .controller(bridge)
        .up()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    let step = format!("connecting node {}", node.name);
    handle.link().add(cable).execute().await.map_err(netlink(step))?;
    let (gateway, address, name) = (plan.gateway, node.address, node.name.clone());
    tokio::task::spawn_blocking(move || configure_node(pid, address, gateway, &name))
        .await
        .map_err(|error| failed("configuring a node's network")(io::Error::other(error)))?
}

fn configure_node(
    pid: Pid,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    name: &str,
) -> Result<(), NetworkError> {
    let enter = format!("entering the network of node {name}");
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("starting a runtime"))?;
        runtime.block_on(configure(address, gateway))
    };
    namespaces::inside_network_of(pid, work).map_err(failed(enter))?
}

async fn configure(address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), NetworkError> {
    let handle = connect()?;
    let loopback = index(&handle, "lo").await?;
    let ethernet = index(&handle, NODE_INTERFACE).await?;
    for link in [loopback, ethernet] {
        let up = LinkUnspec::new_with_index(link).up().build();
        handle.link().set(up).execute().await.map_err(netlink("bringing an interface up"))?;
    }
    let own = handle.address().add(ethernet, address.into(), PREFIX);
    own.execute().await.map_err(netlink("setting a node's address"))?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    let default = handle.route().add(route);
    default.execute().await.map_err(netlink("setting a node's default route"))?;
    fs::write(IP_FORWARD, "1").map_err(failed("setting net.ipv4.ip_forward on a node"))
}

/// Takes the cable of `node` away; one that is not there is fine.
///
/// # Errors
/// [`NetworkError`] when the kernel refuses.
pub async fn detach(node: &NodePlan) -> Result<(), NetworkError> {
    // It ends with the namespace of its node, a little after the last process there.
    delete(&connect()?, &node.interface).await
}

/// Takes a network interface of this host away; one that is not there is fine.
///
/// # Errors
/// [`NetworkError`] when the kernel refuses.
pub async fn remove_link(name: &str) -> Result<(), NetworkError> {
    delete(&connect()?, name).await
}

/// Pulls the plug of the cable of `node`, or puts it in again. The node sees an interface without
/// carrier: nothing comes and nothing goes, and no connection is told.
///
/// # Errors
/// [`NetworkError::Missing`] when the node is off.
pub async fn plug(node: &NodePlan, connected: bool) -> Result<(), NetworkError> {
    let handle = connect()?;
    let index = index(&handle, &node.interface).await?;
    let link = LinkUnspec::new_with_index(index);
    let (link, step) = if connected {
        (link.up(), format!("connecting node {}", node.name))
    } else {
        (link.down(), format!("disconnecting node {}", node.name))
    };
    handle.link().set(link.build()).execute().await.map_err(netlink(step))
}

/// Whether the cable of `node` is plugged in; nothing when there is none, as with nodes that are
/// off.
#[must_use]
pub fn is_connected(node: &NodePlan) -> Option<bool> {
    const UP: u32 = libc::IFF_UP as u32;
    let path = format!("/sys/class/net/{}/flags", node.interface);
    let flags = fs::read_to_string(path).ok()?;
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).ok()?;
    Some(flags & UP != 0)
}

/// Removes everything that [`create`] and [`attach`] left on the host; what is not there is fine.
///
/// # Errors
/// [`NetworkError`] with the step that failed.
pub async fn remove(plan: &Plan) -> Result<(), NetworkError> {
    let handle = connect()?;
    for name in plan.nodes.iter().map(|node| &node.interface).chain([&plan.bridge]) {
        delete(&handle, name).await?;
    }
    let table = plan.table();
    // `add` first: deleting a table that is not there is an error.
    nft(&format!("add table ip {table}\ndelete table ip {table}\n")).await
}

async fn delete(handle: &Handle, name: &str) -> Result<(), NetworkError> {
    let index = match index(handle, name).await {
        Ok(index) => index,
        Err(NetworkError::Missing(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    match handle.link().del(index).execute().await {
        Err(error) if !gone(&error) => Err(netlink(format!("removing {name}"))(error)),
        _ => Ok(()),
    }
}

/// The host's rules for one cluster: its nodes may go out, with the host's address.
fn rules(plan: &Plan) -> String {
    let (table, bridge) = (plan.table(), &plan.bridge);
    let network = format!("10.189.{}.0/{PREFIX}", plan.network);
    format!(
        "table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != \"{bridge}\" masquerade
  }}
}}
"
    )
}

async fn nft(rules: &str) -> Result<(), NetworkError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("starting nft"))?;
    let mut input = child.stdin.take().expect("standard input is piped");
    input.write_all(rules.as_bytes()).await.map_err(failed("writing to nft"))?;
    drop(input);
    let output = child.wait_with_output().await.map_err(failed("waiting for nft"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(NetworkError::Nft(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn connect() -> Result<Handle, NetworkError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(failed("opening netlink"))?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn index(handle: &Handle, name: &str) -> Result<u32, NetworkError> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await {
        Ok(Some(link)) => Ok(link.header.index),
        Ok(None) => Err(NetworkError::Missing(name.to_owned())),
        Err(error) if gone(&error) => Err(NetworkError::Missing(name.to_owned())),
        Err(error) => Err(netlink(format!("finding {name}"))(error)),
    }
}

fn gone(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.raw_code().abs() == libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_with_a_route_are_taken_and_the_default_route_takes_none() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let default = "eth0 00000000 0101000A 0003 0 0 0 00000000 0 0 0\n";
        let bridge = "ic3 0003BD0A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        assert_eq!(taken(&format!("{head}{default}{bridge}")), [3]);
        let wide = "vpn 0000BD0A 00000000 0001 0 0 0 0000FFFF 0 0 0\n";
        assert_eq!(taken(&format!("{head}{wide}")).len(), 256);
    }

    #[test]
    fn only_name_servers_that_a_node_can_reach_count() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.7\nsearch a\nnameserver ::1\n";
        assert_eq!(name_servers(text), ["192.0.2.7"]);
    }
}
