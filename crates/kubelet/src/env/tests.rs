use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use serde_json::json;

use super::*;
use crate::seam::{PodIps, Sources};

struct FixedSources(Vec<Arc<Service>>);

impl Sources for FixedSources {
    fn node(&self) -> Option<Arc<Node>> {
        None
    }

    fn services(&self, _namespace: &str) -> Vec<Arc<Service>> {
        self.0.clone()
    }
}

fn service(namespace: &str, name: &str, ip: &str, ports: serde_json::Value) -> Arc<Service> {
    let object = json!({
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "clusterIP": ip, "ports": ports },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

async fn environment(
    pod: serde_json::Value,
    services: Vec<Arc<Service>>,
) -> Result<String, String> {
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let ips = PodIps { pod: vec!["10.0.0.9".into()], host: vec!["192.0.2.1".into()] };
    let objects = Objects::new(None);
    let sources = FixedSources(services);
    let context = EnvContext { node_name: "w1", ips: &ips, objects: &objects, sources: &sources };
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let list = build(&pod, container, &context).await.map_err(|error| error.to_string())?;
    Ok(list.iter().map(|(name, value)| format!("{name}={value}\n")).collect())
}

#[tokio::test]
async fn later_values_may_refer_to_earlier_ones_and_to_services() {
    let pod = json!({
        "metadata": { "name": "p", "namespace": "n" },
        "spec": { "containers": [{ "name": "c", "env": [
            { "name": "A", "value": "one" },
            { "name": "B", "value": "$(A)-$(LATER)-$(KUBERNETES_SERVICE_HOST)" },
            { "name": "LATER", "value": "x" },
            { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
            { "name": "A", "value": "$(A)!" },
            { "name": "KUBERNETES_SERVICE_PORT", "value": "mine" },
        ] }] },
    });
    let kubernetes =
        service("default", "kubernetes", "10.96.0.1", json!([{ "name": "https", "port": 443 }]));
    let text = environment(pod, vec![kubernetes]).await.unwrap();
    assert_eq!(
        text,
        "A=one!\n\
         B=one-$(LATER)-10.96.0.1\n\
         LATER=x\n\
         IP=10.0.0.9\n\
         KUBERNETES_SERVICE_PORT=mine\n\
         KUBERNETES_PORT=tcp://10.96.0.1:443\n\
         KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443\n\
         KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1\n\
         KUBERNETES_PORT_443_TCP_PORT=443\n\
         KUBERNETES_PORT_443_TCP_PROTO=tcp\n\
         KUBERNETES_SERVICE_HOST=10.96.0.1\n\
         KUBERNETES_SERVICE_PORT_HTTPS=443\n"
    );
}

#[test]
fn service_links_can_be_turned_off_and_headless_services_have_none() {
    let services = [
        service("n", "web-app", "10.96.0.9", json!([{ "port": 80 }])),
        service("n", "headless", "None", json!([{ "port": 80 }])),
        service("default", "kubernetes", "10.96.0.1", json!([{ "port": 443 }])),
        service("default", "other", "10.96.0.2", json!([{ "port": 1 }])),
    ];
    let hosts = |links| -> Vec<String> {
        let variables = service_variables(&services, "n", links);
        variables.into_keys().filter(|name| name.ends_with("_HOST")).collect()
    };
    assert_eq!(hosts(true), ["KUBERNETES_SERVICE_HOST", "WEB_APP_SERVICE_HOST"]);
    assert_eq!(hosts(false), ["KUBERNETES_SERVICE_HOST"]);
}

#[test]
fn errors_are_worded_as_upstream() {
    let missing = EnvError::KeyNotFound {
        key: "k".into(),
        kind: "ConfigMap",
        namespace: "ns".into(),
        name: "x".into(),
    };
    assert_eq!(missing.to_string(), "couldn't find key k in ConfigMap ns/x");
    assert_eq!(EnvError::ConfigMapNotFound("x".into()).to_string(), "configmap \"x\" not found");
}
