//! The one address of several control planes: whoever holds the Lease `virtual-ip` has it.
//!
//! Each candidate asks the API server of its own node only, so one whose API server or store does not
//! work loses the Lease and with it the address. The kernel forgets an address that is not renewed:
//! when this process hangs or is killed, the address is gone before another candidate may take it.
//! Those who reach for it learn where it is from ARP, so all control planes have to be in one network
//! segment.

mod arp;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use client::leader::LeaderError;
use client::{ConnectOptions, LeaderConfig, LeaderElector};
use futures::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, CacheInfo};
use rtnetlink::packet_route::link::LinkAttribute;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Name of the Pod, its program's subcommand and its Lease.
pub const NAME: &str = "virtual-ip";
/// How it reaches the API server of its node.
pub const KUBECONFIG: &str = "/etc/kubernetes/virtual-ip.conf";
/// As whom.
pub const USER: &str = "ironclad:virtual-ip";

/// How long the others wait for a holder that is silent.
const LEASE: Duration = Duration::from_secs(6);
/// How long the holder tries to renew.
const DEADLINE: Duration = Duration::from_secs(4);
/// Between attempts.
const RETRY: Duration = Duration::from_secs(1);
/// How long the address outlives the last renewal: shorter than the lease.
const LIFETIME: Duration = Duration::from_secs(5);

/// Who competes for which address.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the API server of this node is reached.
    pub kubeconfig: PathBuf,
    /// The address.
    pub address: Ipv4Addr,
    /// The node's own address; the interface that has it gets the other too.
    pub node_ip: Ipv4Addr,
    /// This candidate: the name of its node. It is the same after a restart, which then goes on.
    pub identity: String,
}

/// Why the address cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum VirtualIpError {
    /// The kubeconfig is of no use.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// Netlink or a socket cannot be opened.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refuses.
    #[error("{what}: {source}")]
    Netlink {
        /// The change.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// No interface has the node's address.
    #[error("no network interface has the address {0}")]
    NoInterface(Ipv4Addr),
}

/// An interface that may have the address.
struct Place {
    handle: Handle,
    index: u32,
    mac: [u8; 6],
    address: Ipv4Addr,
}

/// Competes for the address until `shutdown`, and holds it whenever it may.
///
/// # Errors
/// [`VirtualIpError`] when the kernel or the kubeconfig is of no use.
pub async fn run(options: &Options, shutdown: CancellationToken) -> Result<(), VirtualIpError> {
    let connect = ConnectOptions {
        kubeconfig: Some(options.kubeconfig.clone()),
        user_agent: NAME.to_owned(),
    };
    let client = client::connect(&connect).await?;
    let place = Place::find(options.node_ip, options.address).await?;
    // What an earlier process may have left: the lease says whether it may stay.
    place.remove().await?;
    let config = LeaderConfig {
        lease_duration: LEASE,
        renew_deadline: DEADLINE,
        retry_period: RETRY,
        ..LeaderConfig::new(NAME, &options.identity)
    };
    loop {
        let elector = LeaderElector::new(config.clone());
        let renewals = elector.renewals();
        let mut failed = None;
        let work = |leading| async { failed = hold(&place, renewals, leading).await.err() };
        let held = elector.run(client.clone(), shutdown.clone(), work).await;
        place.remove().await?;
        match (held, failed) {
            (_, Some(error)) => return Err(error),
            (Err(LeaderError::Lost), None) => {
                tracing::warn!(address = %options.address, "gave the address up");
            }
            (Ok(()), None) => return Ok(()),
        }
    }
}

/// Has the address for as long as the lease is renewed.
async fn hold(
    place: &Place,
    mut renewals: watch::Receiver<Option<Instant>>,
    leading: CancellationToken,
) -> Result<(), VirtualIpError> {
    tracing::info!(address = %place.address, "has the address");
    loop {
        let renewed = *renewals.borrow_and_update();
        let left = left(renewed.map(|renewed| renewed.elapsed()).unwrap_or_default());
        if left > 0 {
            place.set(left).await?;
            // Each time: one who did not hear the first may hear the next.
            place.announce()?;
        }
        tokio::select! {
            () = leading.cancelled() => break,
            changed = renewals.changed() => if changed.is_err() { break },
        }
    }
    // Before the lease is given back.
    place.remove().await
}

/// The seconds that the address may stay when the lease was renewed so long ago.
fn left(since_renewal: Duration) -> u32 {
    let left = LIFETIME.saturating_sub(since_renewal).as_secs();
    u32::try_from(left).unwrap_or(0)
}

fn netlink(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> VirtualIpError {
    move |source| VirtualIpError::Netlink { what, source }
}

impl Place {
    /// The interface that has `own`.
    async fn find(own: Ipv4Addr, address: Ipv4Addr) -> Result<Self, VirtualIpError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|source| VirtualIpError::Io { what: "opening netlink", source })?;
        tokio::spawn(connection);
        let index = find(&handle, own).await?.ok_or(VirtualIpError::NoInterface(own))?.header.index;
        let link = handle.link().get().match_index(index).execute().try_next().await;
        let link = link.map_err(netlink("reading an interface"))?;
        let mac = link.into_iter().flat_map(|link| link.attributes).find_map(|attribute| {
            let LinkAttribute::Address(mac) = attribute else { return None };
            mac.try_into().ok()
        });
        // One without a hardware address needs no announcements, and nobody sees any.
        Ok(Self { handle, index, mac: mac.unwrap_or_default(), address })
    }

    /// Gives the address to the interface for so many seconds, from now on.
    async fn set(&self, seconds: u32) -> Result<(), VirtualIpError> {
        let mut request = self.handle.address().add(self.index, self.address.into(), 32).replace();
        let mut validity = CacheInfo::default();
        validity.ifa_preferred = seconds;
        validity.ifa_valid = seconds;
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(validity));
        request.execute().await.map_err(netlink("setting the virtual address"))
    }

    fn announce(&self) -> Result<(), VirtualIpError> {
        arp::announce(self.index, self.mac, self.address)
            .map_err(|source| VirtualIpError::Io { what: "announcing the address", source })
    }

    /// Takes the address away; one that is not there is fine.
    async fn remove(&self) -> Result<(), VirtualIpError> {
        let Some(message) = find(&self.handle, self.address).await? else { return Ok(()) };
        match self.handle.address().del(message).execute().await {
            // Its time ran out meanwhile.
            Err(rtnetlink::Error::NetlinkError(message))
                if message.raw_code().abs() == libc::EADDRNOTAVAIL =>
            {
                Ok(())
            }
            removed => removed.map_err(netlink("removing the virtual address")),
        }
    }
}

async fn find(
    handle: &Handle,
    address: Ipv4Addr,
) -> Result<Option<rtnetlink::packet_route::address::AddressMessage>, VirtualIpError> {
    let mut all = handle.address().get().execute();
    let wanted = AddressAttribute::Address(IpAddr::V4(address));
    while let Some(message) = all.try_next().await.map_err(netlink("reading addresses"))? {
        if message.attributes.contains(&wanted) {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_gone_before_the_lease_may_be_taken() {
        assert!(LIFETIME < LEASE && DEADLINE < LIFETIME);
        assert_eq!(left(Duration::ZERO), 5);
        assert_eq!(left(Duration::from_millis(10)), 4);
        assert_eq!(left(Duration::from_secs(5)), 0);
        assert_eq!(left(Duration::from_secs(50)), 0);
    }
}
