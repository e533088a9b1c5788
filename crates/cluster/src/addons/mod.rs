//! What a new cluster gets through the API: access for its administrator, kube-proxy and DNS.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Deserialize as _;
use serde_json::json;

use crate::image::IRONCLAD_IMAGE;
use crate::plan::{CLUSTER_DOMAIN, DNS_SERVICE, NodePlan, POD_CIDR, Plan, Role};

const ACCESS: &str = include_str!("access.yaml");
const KUBE_PROXY: &str = include_str!("kube-proxy.yaml");
const DNS: &str = include_str!("dns.yaml");

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

/// The objects of all add-ons for `plan`, in the order in which they have to be made.
///
/// # Panics
/// Never: the manifests are a part of the program, and a test reads them all.
#[must_use]
pub fn objects(plan: &Plan) -> Vec<DynamicObject> {
    let replicas = plan.nodes.len().min(2).to_string();
    let values = [
        ("$IMAGE", IRONCLAD_IMAGE),
        ("$SERVER", &plan.server()),
        ("$POD_CIDR", POD_CIDR),
        ("$DNS_SERVICE", &DNS_SERVICE.to_string()),
        ("$DNS_REPLICAS", &replicas),
        ("$CLUSTER_DOMAIN", CLUSTER_DOMAIN),
    ];
    [ACCESS, KUBE_PROXY, DNS]
        .into_iter()
        .flat_map(|manifest| {
            let text = values
                .iter()
                .fold(manifest.to_owned(), |text, (name, value)| text.replace(name, value));
            let documents: Vec<_> = serde_yaml::Deserializer::from_str(&text)
                .map(|document| {
                    DynamicObject::deserialize(document).expect("the built-in manifests are valid")
                })
                .collect();
            documents
        })
        .collect()
}

/// Creates every object, or brings the one that is there in line.
///
/// # Errors
/// [`AddonError`] with the first object that was refused.
pub async fn apply(client: &Client, plan: &Plan) -> Result<(), AddonError> {
    for object in objects(plan) {
        put(client, &object).await?;
    }
    Ok(())
}

/// Marks `node` with its role, which a kubelet may not do for itself.
///
/// # Errors
/// [`AddonError`] when the API server refuses.
pub async fn label(client: &Client, node: &NodePlan) -> Result<(), AddonError> {
    if node.role != Role::ControlPlane {
        return Ok(());
    }
    let labels = json!({"metadata": {"labels": {
        "node-role.kubernetes.io/control-plane": "",
        "node.kubernetes.io/exclude-from-external-load-balancers": "",
    }}});
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    let patched = nodes.patch(&node.name, &PatchParams::default(), &Patch::Merge(labels)).await;
    patched.map(drop).map_err(|source| AddonError::Refused {
        kind: "Node".to_owned(),
        name: node.name.clone(),
        source: Box::new(source),
    })
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
    use crate::plan::{Request, plan};

    #[test]
    fn every_manifest_is_valid_and_nothing_is_left_to_fill_in() {
        let plan = plan(&Request { name: "c".into(), nodes: 3 }, &[]).unwrap();
        let objects = objects(&plan);
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
        let text = serde_json::to_string(&objects).unwrap().replace("$(NODE_NAME)", "");
        assert!(!text.contains('$'), "{text}");
    }
}
