//! What a new cluster gets through the API: access for its administrator, what nodes need to join,
//! kube-proxy and DNS.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use machinery::codec::yaml;
use serde_json::json;

use crate::config::ClusterConfiguration;
use crate::image;
use crate::kubeconfig::{self, Credentials};
use crate::node::files::kubelet_config;

const ACCESS: &str = include_str!("access.yaml");
const JOINING: &str = include_str!("joining.yaml");
const VIRTUAL_IP: &str = include_str!("virtual-ip.yaml");
const SHARED_KEYS: &str = include_str!("shared-keys.yaml");
const KUBE_PROXY: &str = include_str!("kube-proxy.yaml");
const DNS: &str = include_str!("dns.yaml");

/// Between attempts at what needs an API server that answers.
const AGAIN: Duration = Duration::from_millis(500);

/// Why an add-on is not there.
#[derive(Debug, thiserror::Error)]
pub enum AddonError {
    /// The API server refused an object.
    #[error("{kind} {name}: {source}")]
    Refused {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Settings of the add-ons besides those of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The cluster.
    pub config: &'a ClusterConfiguration,
    /// Its authority, PEM.
    pub ca: &'a str,
    /// How many DNS servers.
    pub dns_replicas: usize,
}

/// The objects of all add-ons, in the order in which they have to be made.
///
/// # Panics
/// Never: the manifests are a part of the program, and a test reads them all.
#[must_use]
pub fn objects(settings: &Settings<'_>) -> Vec<DynamicObject> {
    let config = settings.config;
    let networking = &config.networking;
    let server = config.server();
    let cluster_info = kubeconfig::render("", &server, settings.ca, "", Credentials::None);
    let values = [
        ("$IMAGE", image::own()),
        ("$SERVER", server),
        ("$POD_CIDR", networking.pod_subnet.clone()),
        ("$DNS_SERVICE", config.dns_service().to_string()),
        ("$DNS_REPLICAS", settings.dns_replicas.to_string()),
        ("$CLUSTER_DOMAIN", networking.dns_domain.clone()),
        ("$CLUSTER_INFO", indented(&cluster_info)),
        ("$CLUSTER_CONFIGURATION", indented(&config.to_yaml())),
        ("$KUBELET_CONFIGURATION", indented(&yaml::write(&kubelet_config(config)))),
    ];
    let virtual_ip = config.virtual_address.map(|_| VIRTUAL_IP);
    // The address first: others need it to reach the API.
    [ACCESS]
        .into_iter()
        .chain(virtual_ip)
        .chain([JOINING, KUBE_PROXY, DNS])
        .flat_map(|manifest| {
            let text = values
                .iter()
                .fold(manifest.to_owned(), |text, (name, value)| text.replace(name, value));
            parse(&text)
        })
        .collect()
}

fn parse(manifest: &str) -> Vec<DynamicObject> {
    manifest
        .split("\n---\n")
        .map(|document| yaml::from_str(document).expect("the built-in manifests are valid"))
        .collect()
}

/// A text as the rest of a block scalar that is indented by four blanks.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// Creates every object, or brings the one that is there in line.
///
/// # Errors
/// [`AddonError`] with the first object that was refused.
pub async fn apply(client: &Client, settings: &Settings<'_>) -> Result<(), AddonError> {
    for object in objects(settings) {
        put(client, &object).await?;
    }
    Ok(())
}

/// Lets those who join read the keys that all control planes share.
///
/// # Errors
/// [`AddonError`] when the API server refuses.
pub(crate) async fn share_keys(client: &Client) -> Result<(), AddonError> {
    for object in parse(SHARED_KEYS) {
        put(client, &object).await?;
    }
    Ok(())
}

/// Marks a node as a control plane, which its kubelet may not do for itself. An API server that does not
/// answer is asked again: there may be another in a moment, which has to take over first. Whoever waits
/// has a limit of their own.
///
/// # Errors
/// [`AddonError`] when the API server refuses.
pub async fn mark_control_plane(client: &Client, node: &str) -> Result<(), AddonError> {
    let labels = json!({"metadata": {"labels": {
        "node-role.kubernetes.io/control-plane": "",
        "node.kubernetes.io/exclude-from-external-load-balancers": "",
    }}});
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    loop {
        let patched = nodes.patch(node, &PatchParams::default(), &Patch::Merge(&labels)).await;
        let source = match patched {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code < 500 => kube::Error::Api(status),
            Err(error) => {
                tracing::debug!(%error, node, "not marked as a control plane yet");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        return Err(AddonError::Refused {
            kind: "Node".to_owned(),
            name: node.to_owned(),
            source: Box::new(source),
        });
    }
}

async fn put(client: &Client, object: &DynamicObject) -> Result<(), AddonError> {
    let types = object.types.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let kind = GroupVersionKind::try_from(&types).expect("the built-in manifests are valid");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let result = match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(object)).await
        }
        other => other,
    };
    result.map(drop).map_err(|source| AddonError::Refused {
        kind: types.kind,
        name,
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn an_api_server_that_does_not_answer_is_asked_again_and_one_that_refuses_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let server = async move {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "m1"}});
            let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                              "status": "Failure", "reason": "NotFound", "code": 404});
            for answer in [None, Some(("200 OK", node)), Some(("404 Not Found", gone))] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some((status, body)) = answer else { continue };
                let read = stream.read(&mut [0; 4096]).await.unwrap();
                assert!(read > 0);
                let (body, kind) = (body.to_string(), "Content-Type: application/json");
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        };
        let asked = async {
            let client = Client::try_from(kube::Config::new(uri.parse().unwrap())).unwrap();
            mark_control_plane(&client, "m1").await.unwrap();
            let refused = mark_control_plane(&client, "m1").await.unwrap_err();
            assert!(refused.to_string().starts_with("Node m1: "), "{refused}");
        };
        tokio::join!(server, asked);
    }

    #[test]
    fn every_manifest_is_valid_and_nothing_is_left_to_fill_in() {
        let config = ClusterConfiguration::new("c", "192.0.2.1:6443");
        let settings = Settings { config: &config, ca: "PEM\n", dns_replicas: 2 };
        let objects = objects(&settings);
        let names: Vec<_> = objects
            .iter()
            .map(|o| {
                format!("{} {}", o.types.as_ref().unwrap().kind, o.metadata.name.as_ref().unwrap())
            })
            .collect();
        assert_eq!(
            names,
            [
                "ClusterRoleBinding kubeadm:cluster-admins",
                "ClusterRoleBinding kubeadm:kubelet-bootstrap",
                "ClusterRoleBinding kubeadm:node-autoapprove-bootstrap",
                "ClusterRoleBinding kubeadm:node-autoapprove-certificate-rotation",
                "ClusterRole kubeadm:get-nodes",
                "ClusterRoleBinding kubeadm:get-nodes",
                "ConfigMap kubeadm-config",
                "ConfigMap kubelet-config",
                "Role kubeadm:nodes-kubeadm-config",
                "RoleBinding kubeadm:nodes-kubeadm-config",
                "Role kubeadm:kubelet-config",
                "RoleBinding kubeadm:kubelet-config",
                "ConfigMap cluster-info",
                "Role kubeadm:bootstrap-signer-clusterinfo",
                "RoleBinding kubeadm:bootstrap-signer-clusterinfo",
                "Role ironclad:nodes-cluster-info",
                "RoleBinding ironclad:nodes-cluster-info",
                "ServiceAccount kube-proxy",
                "ClusterRoleBinding kubeadm:node-proxier",
                "ConfigMap kube-proxy",
                "DaemonSet kube-proxy",
                "ServiceAccount kube-dns",
                "ClusterRole ironclad:dns",
                "ClusterRoleBinding ironclad:dns",
                "Service kube-dns",
                "Deployment kube-dns",
            ]
        );
        let mut several = config.clone();
        several.virtual_address = Some(std::net::Ipv4Addr::new(192, 0, 2, 254));
        let more = super::objects(&Settings { config: &several, ..settings });
        assert_eq!(more.len(), objects.len() + 2);
        assert_eq!(parse(SHARED_KEYS).len(), 2);
        let text = serde_json::to_string(&objects).unwrap().replace("$(NODE_NAME)", "");
        assert!(!text.contains('$'), "{text}");
        let kept = objects.iter().find(|o| o.metadata.name.as_deref() == Some("kubeadm-config"));
        let kept = kept.unwrap().data["data"]["ClusterConfiguration"].as_str().unwrap();
        assert_eq!(ClusterConfiguration::parse(kept), Ok(config));
        let info = objects.iter().find(|o| o.metadata.name.as_deref() == Some("cluster-info"));
        let info = info.unwrap().data["data"]["kubeconfig"].as_str().unwrap();
        let info = kube::config::Kubeconfig::from_yaml(info).unwrap();
        let cluster = info.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://192.0.2.1:6443"));
    }
}
