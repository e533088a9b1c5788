use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::plan::plan;
use super::test_objects::{pod, service};
use super::*;

#[test]
fn ready_and_unready_addresses_are_told_apart() {
    let mut leaving = pod("leaving", "10.0.0.9", true);
    leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut failed = pod("failed", "10.0.0.8", true);
    failed.status.as_mut().unwrap().phase = Some("Failed".into());
    let pods: Vec<Arc<Pod>> = [
        pod("b", "10.0.0.2", true),
        pod("a", "10.0.0.1", true),
        pod("c", "10.0.0.3", false),
        leaving,
        failed,
    ]
    .into_iter()
    .map(Arc::new)
    .collect();
    let written = plan(&service(), &pods, None).unwrap();
    let subset = &written.subsets.as_ref().unwrap()[0];
    let ips = |side: &Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| {
        side.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ips(&subset.addresses), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(ips(&subset.not_ready_addresses), ["10.0.0.3"]);
    assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);
    assert!(plan(&service(), &pods, Some(&written)).is_none(), "plan after execute is empty");
}

#[test]
fn no_pods_make_an_object_without_subsets() {
    let written = plan(&service(), &[], None).unwrap();
    assert!(written.subsets.is_none());
    assert!(plan(&service(), &[], Some(&written)).is_none());
}

#[test]
fn not_ready_addresses_are_published_on_request() {
    let mut service = service();
    service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
    service.spec.as_mut().unwrap().cluster_ip = Some("None".into());
    let written = plan(&service, &[Arc::new(pod("a", "10.0.0.1", false))], None).unwrap();
    assert!(written.subsets.unwrap()[0].addresses.is_some());
    assert!(written.metadata.labels.unwrap().contains_key(subject::HEADLESS));
}
