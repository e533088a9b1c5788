//! The Service `default/kubernetes`, through which Pods reach the API servers.
//!
//! Servers that share a store find each other by keys with leases ([`leases`]): its endpoints are
//! the addresses of all servers that live.

mod leases;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use machinery::{Value, meta};
use serde_json::json;

use super::{Failure, ensure, put};
use crate::server::Api;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";

/// How often the endpoints are put right, in case somebody changed them.
const INTERVAL: Duration = Duration::from_secs(10);

/// Keeps the endpoints right until shutdown; then this server is none any more.
pub(crate) async fn keep(api: Arc<Api>, port: u16) {
    loop {
        tokio::select! {
            () = api.shutdown.cancelled() => {
                if let Err(error) = retire(&api, port).await {
                    tracing::warn!(%error, "the kubernetes service still points here");
                }
                return;
            }
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = reconcile(&api, port).await {
            tracing::warn!(%error, "cannot reconcile the kubernetes service");
        }
    }
}

/// Makes the Service and points it at this server, and at those that share its store.
pub(crate) async fn reconcile(api: &Arc<Api>, port: u16) -> Result<(), Failure> {
    let registry = &api.registry;
    let ip = api.config.advertise;
    if let Some(cluster_ip) = first_address(&api.config.service_cluster_ip_range) {
        let service = json!({
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "ports":
                    [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
                "clusterIP": cluster_ip.to_string(),
                "type": "ClusterIP",
                "sessionAffinity": "None",
            },
        });
        ensure(registry, ("", "v1", "services"), NAMESPACE, NAME, service).await?;
    }
    if ip.is_loopback() {
        // Pods could not use it, and the API does not take it.
        tracing::warn!(%ip, "the advertised address is a loopback address, so there are no endpoints");
        return Ok(());
    }
    let addresses = if registry.store().is_shared() {
        leases::renew(registry, ip).await?;
        leases::living(registry, ip).await?
    } else {
        vec![ip]
    };
    publish(api, &addresses, port).await
}

/// Takes this server out, so that nobody is sent to it while it stops.
async fn retire(api: &Arc<Api>, port: u16) -> Result<(), Failure> {
    let (registry, ip) = (&api.registry, api.config.advertise);
    if ip.is_loopback() || !registry.store().is_shared() {
        // Nobody else is there to be sent to.
        return Ok(());
    }
    leases::give_up(registry, ip).await?;
    let others = leases::living(registry, ip).await?;
    if others.is_empty() { Ok(()) } else { publish(api, &others, port).await }
}

/// Makes these addresses the endpoints.
async fn publish(api: &Arc<Api>, addresses: &[IpAddr], port: u16) -> Result<(), Failure> {
    api.registry.catch_up_with_others().await?;
    let family = if api.config.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let of_endpoints: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let endpoints = json!({
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": of_endpoints,
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    });
    write(api, ("", "v1", "endpoints"), endpoints, &["subsets"]).await?;
    let of_slice: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
        .collect();
    let slice = json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": family,
        "endpoints": of_slice,
        "ports": [{"name": "https", "protocol": "TCP", "port": port}],
    });
    let slices = ("discovery.k8s.io", "v1", "endpointslices");
    write(api, slices, slice, &["endpoints", "ports"]).await
}

/// Writes an object unless the fields that count are as they should be.
async fn write(
    api: &Arc<Api>,
    resource: (&str, &str, &str),
    object: Value,
    fields: &[&str],
) -> Result<(), Failure> {
    let (group, _, plural) = resource;
    if let Some(existing) = api.registry.cached(group, plural, NAMESPACE, NAME) {
        let existing = existing.value();
        let labelled = meta::labels(&object)
            .into_iter()
            .flatten()
            .all(|(key, value)| meta::label(&existing, key) == value.as_str());
        if labelled && fields.iter().all(|field| existing.get(field) == object.get(field)) {
            return Ok(());
        }
    }
    put(&api.registry, resource, NAMESPACE, NAME, object).await.map(|_| ())
}

/// The first address of a range after the network's own.
fn first_address(range: &str) -> Option<IpAddr> {
    let (network, _) = range.split(',').next()?.trim().split_once('/')?;
    Some(match network.parse().ok()? {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip).checked_add(1)?).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip).checked_add(1)?).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_follows_the_network() {
        let check = |range: &str, want: Option<&str>| {
            assert_eq!(first_address(range).map(|ip| ip.to_string()).as_deref(), want);
        };
        check("10.96.0.0/12", Some("10.96.0.1"));
        check("10.96.0.0/12,fd00::/108", Some("10.96.0.1"));
        check("fd00::/108", Some("fd00::1"));
        check("nonsense", None);
    }
}
