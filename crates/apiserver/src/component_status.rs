//! ComponentStatuses: not stored, but asked of the components on this host, as upstream does it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use machinery::Value;
use machinery::status::Status;
use serde_json::json;
use streams::upgrade::{Reply, Target, UpgradeError};

use crate::cache::Object;
use crate::outward;
use crate::pipeline::Failure;
use crate::registry::{Registry, Resource};

/// Components and the ports on which they tell their health.
const COMPONENTS: [(&str, u16); 2] = [("scheduler", 10259), ("controller-manager", 10257)];
const STORE: &str = "etcd-0";
const TIMEOUT: Duration = Duration::from_secs(20);
const MAX_BODY: usize = 10 << 10;

/// What a look at a component gave: whether it is well, and what it said.
type Health = (bool, String);

/// All components, in order of their names.
///
/// # Errors
/// When an object cannot be made.
pub(crate) async fn list(
    registry: &Registry,
    resource: &Resource,
) -> Result<Vec<Arc<Object>>, Failure> {
    let looks = COMPONENTS.map(|(_, port)| look(port));
    let (store, healths) = tokio::join!(store(registry), futures::future::join_all(looks));
    let names = COMPONENTS.iter().map(|(name, _)| *name);
    let mut all: Vec<(&str, Health)> = names.zip(healths).chain([(STORE, store)]).collect();
    all.sort_by_key(|(name, _)| *name);
    let objects = all.into_iter().map(|(name, health)| object(resource, name, health));
    futures::future::try_join_all(objects).await
}

/// One component.
///
/// # Errors
/// When there is none of that name.
pub(crate) async fn get(
    registry: &Registry,
    resource: &Resource,
    name: &str,
) -> Result<Arc<Object>, Failure> {
    let health = match COMPONENTS.iter().find(|(component, _)| *component == name) {
        Some((_, port)) => look(*port).await,
        None if name == STORE => store(registry).await,
        None => {
            let text = format!("Component not found: {name}");
            return Err(Status::failure(500, "", text).into());
        }
    };
    object(resource, name, health).await
}

async fn object(
    resource: &Resource,
    name: &str,
    (healthy, message): Health,
) -> Result<Arc<Object>, Failure> {
    let bytes = resource.encode(&mut status(name, healthy, &message)).await?;
    resource.unstored(name, &bytes, 0).await
}

fn status(name: &str, healthy: bool, message: &str) -> Value {
    json!({
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [{
            "type": "Healthy",
            "status": if healthy { "True" } else { "False" },
            "message": message,
        }],
    })
}

/// One that has an alarm is not well, as etcd says of itself: its quota is used up, or worse.
async fn store(registry: &Registry) -> Health {
    match registry.store().status().await {
        Ok(status) if status.alarms.is_empty() => (true, "ok".to_owned()),
        Ok(status) => {
            let alarms: Vec<String> = status.alarms.iter().map(ToString::to_string).collect();
            (false, format!("ALARM {}", alarms.join(", ")))
        }
        Err(error) => (false, error.to_string()),
    }
}

/// Asks a component on this host. Its certificate is its own, as with upstream's components.
async fn look(port: u16) -> Health {
    let host = Ipv4Addr::LOCALHOST.to_string();
    match tokio::time::timeout(TIMEOUT, ask(host.clone(), port)).await {
        Ok(Ok((status, body))) if (200..400).contains(&status.as_u16()) => (true, body),
        Ok(Ok((status, _))) => {
            (false, format!("HTTP probe failed with statuscode: {}", status.as_u16()))
        }
        Ok(Err(error)) => (false, failure(port, &outward::explain_upgrade(&error))),
        Err(_) => (false, failure(port, "context deadline exceeded")),
    }
}

fn failure(port: u16, cause: &str) -> String {
    format!("Get \"https://127.0.0.1:{port}/healthz\": {cause}")
}

async fn ask(host: String, port: u16) -> Result<(StatusCode, String), UpgradeError> {
    let tls = streams::tls::client_config(None, None).ok();
    let request = Request::get("/healthz").body(Empty::<Bytes>::new());
    let request = request.expect("the request is well-formed");
    Ok(match (Target { host, port, tls, server_name: None }).send(request).await? {
        Reply::Switched { response, .. } => (response.status(), String::new()),
        Reply::Answered(response) => {
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            (status, String::from_utf8_lossy(&body).into_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_component_that_is_not_there_is_unhealthy() {
        // A port that was free a moment ago.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let want = format!(
            "Get \"https://127.0.0.1:{port}/healthz\": \
             dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(look(port).await, (false, want));
    }
}
