//! A Service and Pods behind it, for tests.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Pod, PodCondition, PodIP, PodSpec, PodStatus, Service, ServicePort,
    ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(crate) fn pod(name: &str, ip: &str, ready: bool) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.into());
    pod.metadata.namespace = Some("n".into());
    pod.metadata.uid = Some(format!("uid-{name}"));
    pod.spec = Some(PodSpec {
        node_name: Some("w1".into()),
        containers: vec![Container {
            ports: Some(vec![ContainerPort {
                name: Some("http".into()),
                container_port: 8080,
                ..ContainerPort::default()
            }]),
            ..Container::default()
        }],
        ..PodSpec::default()
    });
    pod.status = Some(PodStatus {
        phase: Some("Running".into()),
        pod_ips: Some(vec![PodIP { ip: ip.into() }]),
        conditions: Some(vec![PodCondition {
            type_: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            ..PodCondition::default()
        }]),
        ..PodStatus::default()
    });
    pod
}

pub(crate) fn service() -> Service {
    let mut service = Service::default();
    service.metadata.name = Some("web".into());
    service.metadata.namespace = Some("n".into());
    service.metadata.uid = Some("svc".into());
    service.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
    service.spec = Some(ServiceSpec {
        cluster_ip: Some("10.96.0.20".into()),
        ip_families: Some(vec!["IPv4".into()]),
        selector: Some([("app".to_owned(), "web".to_owned())].into()),
        ports: Some(vec![ServicePort {
            port: 80,
            target_port: Some(IntOrString::String("http".into())),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    });
    service
}
