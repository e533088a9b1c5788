//! What exists from the first moment: system namespaces, default roles, priority classes, the
//! `kubernetes` Service. Run at every start; it only adds what is missing.

pub(crate) mod flow_control;
pub(crate) mod kubernetes_service;
pub mod policy;
mod rbac;
pub(crate) mod service_cidr;

use std::sync::Arc;

use machinery::Value;
use machinery::status::{Status, reason};
use serde_json::json;

use crate::registry::{self, Context, Registry, Target, WriteOptions};
use crate::server::Api;

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Name, value and meaning of the built-in priority classes.
const PRIORITIES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another \
         node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

type Failure = Box<Status>;

/// Makes what is missing.
///
/// # Errors
/// When the store refuses.
pub(crate) async fn run(api: &Arc<Api>, port: u16) -> Result<(), Failure> {
    let registry = &api.registry;
    let namespaces = NAMESPACES.map(|name| {
        let namespace =
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        ensure(registry, ("", "v1", "namespaces"), "", name, namespace)
    });
    futures::future::try_join_all(namespaces).await?;
    let priorities = PRIORITIES.map(|(name, value, description)| {
        let class = json!({
            "kind": "PriorityClass",
            "apiVersion": "scheduling.k8s.io/v1",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        });
        ensure(registry, ("scheduling.k8s.io", "v1", "priorityclasses"), "", name, class)
    });
    let (roles, flow_control, priorities, authentication, service) = tokio::join!(
        rbac::reconcile(registry),
        flow_control::reconcile(registry),
        futures::future::try_join_all(priorities),
        publish_authentication(api),
        kubernetes_service::reconcile(api, port),
    );
    roles?;
    flow_control?;
    priorities?;
    authentication?;
    service
}

/// Creates an object unless one of that name exists.
async fn ensure(
    registry: &Registry,
    resource: (&str, &str, &str),
    namespace: &str,
    name: &str,
    object: Value,
) -> Result<(), Failure> {
    let target = target(registry, resource, namespace, name)?;
    if registry.cached(resource.0, resource.2, namespace, name).is_some() {
        return Ok(());
    }
    let target = Target { name: String::new(), ..target };
    let Err(refused) = registry.create(&Context::internal(), &target, object, &options()).await
    else {
        return Ok(());
    };
    // Another server may have been faster. Then the refusal may have any reason: of two equal
    // Services, the second one's address is taken.
    registry.catch_up().await?;
    match registry.cached(resource.0, resource.2, namespace, name) {
        Some(_) => Ok(()),
        None => Err(refused),
    }
}

/// Creates an object, or makes the one that exists like it.
async fn put(
    registry: &Registry,
    resource: (&str, &str, &str),
    namespace: &str,
    name: &str,
    object: Value,
) -> Result<registry::Outcome, Failure> {
    let named = target(registry, resource, namespace, name)?;
    let (context, options) = (Context::internal(), options());
    if registry.cached(resource.0, resource.2, namespace, name).is_none() {
        let target = Target { name: String::new(), ..named.clone() };
        match registry.create(&context, &target, object.clone(), &options).await {
            // Another server was faster.
            Err(status) if status.reason == reason::ALREADY_EXISTS => {}
            other => return other,
        }
    }
    registry.update(&context, &named, object, &options).await
}

fn target(
    registry: &Registry,
    (group, version, plural): (&str, &str, &str),
    namespace: &str,
    name: &str,
) -> Result<Target, Failure> {
    let resource = registry
        .resource(group, version, plural)
        .ok_or_else(|| Status::internal(format!("{plural}.{version}.{group} is not served")))?;
    Ok(Target::object(&resource, namespace, name))
}

fn options() -> WriteOptions {
    WriteOptions { field_manager: "kube-apiserver".to_owned(), ..WriteOptions::default() }
}

/// The authorities that extension API servers check their clients with.
///
/// # Errors
/// When they cannot be read or written.
pub(crate) async fn publish_authentication(api: &Arc<Api>) -> Result<(), Failure> {
    let path = &api.config.client_ca;
    let client_ca = tokio::fs::read_to_string(path).await;
    let client_ca = client_ca
        .map_err(|error| Status::internal(format!("cannot read {}: {error}", path.display())))?;
    let mut data = json!({"client-ca-file": client_ca});
    if let Some(path) = &api.config.front_proxy_ca {
        match tokio::fs::read_to_string(path).await {
            Ok(pem) => {
                data["requestheader-client-ca-file"] = pem.into();
                data["requestheader-allowed-names"] = r#"["front-proxy-client"]"#.into();
                data["requestheader-extra-headers-prefix"] = r#"["X-Remote-Extra-"]"#.into();
                data["requestheader-group-headers"] = r#"["X-Remote-Group"]"#.into();
                data["requestheader-uid-headers"] = r#"["X-Remote-Uid"]"#.into();
                data["requestheader-username-headers"] = r#"["X-Remote-User"]"#.into();
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "front proxy authority");
            }
        }
    }
    let name = "extension-apiserver-authentication";
    let map = json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": data,
    });
    let resource = ("", "v1", "configmaps");
    put(&api.registry, resource, "kube-system", name, map).await.map(|_| ())
}
