//! Which API servers live: each keeps a key with a lease under its address, as upstream's do with
//! `--endpoint-reconciler-type=lease`.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use store::{Op, RangeRequest, Txn};

use super::super::Failure;
use crate::registry::{Registry, store_failure};

/// Followed by an address.
const PREFIX: &str = "/registry/masterleases/";
/// A server that did not renew its key for so long is dead.
const TIME_TO_LIVE: Duration = Duration::from_secs(15);

/// Says that this server lives.
pub(super) async fn renew(registry: &Registry, ip: IpAddr) -> Result<(), Failure> {
    let store = registry.store();
    let lease = store.lease_grant(TIME_TO_LIVE).await.map_err(|error| store_failure(&error))?;
    let value = json!({
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {},
        "subsets": [{"addresses": [{"ip": ip.to_string()}]}],
    });
    let put = Op::Put {
        key: format!("{PREFIX}{ip}").into(),
        value: value.to_string().into(),
        lease: Some(lease),
    };
    write(registry, put).await
}

/// Says that this server stops.
pub(super) async fn give_up(registry: &Registry, ip: IpAddr) -> Result<(), Failure> {
    write(registry, Op::Delete { key: format!("{PREFIX}{ip}").into() }).await
}

async fn write(registry: &Registry, op: Op) -> Result<(), Failure> {
    let made = registry.store().txn(Txn { compare: Vec::new(), ops: vec![op] }).await;
    made.map(|_| ()).map_err(|error| store_failure(&error))
}

/// The addresses of the servers that live, in order, as far as they are of the family of `ours`.
pub(super) async fn living(registry: &Registry, ours: IpAddr) -> Result<Vec<IpAddr>, Failure> {
    let range = registry.store().range(RangeRequest::prefix(PREFIX)).await;
    let range = range.map_err(|error| store_failure(&error))?;
    let mut addresses: Vec<IpAddr> = range
        .kvs
        .iter()
        .filter_map(|kv| std::str::from_utf8(&kv.key[PREFIX.len()..]).ok()?.parse().ok())
        .filter(|ip: &IpAddr| ip.is_ipv4() == ours.is_ipv4())
        .collect();
    addresses.sort_unstable();
    Ok(addresses)
}
