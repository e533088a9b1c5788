//! `ironclad bench pods`: from the request for a Pod to the status that says it runs.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::report::{Figures, Sample};

/// How long a Pod may take before it counts as an error, and its ServiceAccount before there are none.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many Pods of which image.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many, one after the other.
    pub count: usize,
    /// An image that the nodes have and whose `sleep` can be run.
    pub image: String,
}

/// Starts Pods one after the other, in a namespace that is deleted at the end.
///
/// # Errors
/// When the API server refuses the namespace, or the namespace gets no ServiceAccount.
pub async fn run(client: &Client, options: &Options) -> Result<Figures, kube::Error> {
    let name = format!("bench-pods-{}", std::process::id());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace {
        metadata: kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() },
        ..Default::default()
    };
    namespaces.create(&PostParams::default(), &namespace).await?;
    let figures = measure(client, &name, options).await;
    namespaces.delete(&name, &DeleteParams::default()).await?;
    Ok(figures?.named("create a Pod until it is Running"))
}

async fn measure(
    client: &Client,
    namespace: &str,
    options: &Options,
) -> Result<Figures, kube::Error> {
    match tokio::time::timeout(PATIENCE, account(client, namespace)).await {
        Ok(there) => there?,
        Err(_) => return Err(kube::Error::Service("there is no default ServiceAccount".into())),
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let begun = Instant::now();
    let mut sample = Sample::default();
    for index in 0..options.count {
        match tokio::time::timeout(PATIENCE, start(&pods, index, &options.image)).await {
            Ok(Ok(latency)) => sample.latencies.push(latency),
            Ok(Err(error)) => sample.errors.push(error.to_string()),
            Err(_) => sample.errors.push(format!("Pod {index} did not run in time")),
        }
    }
    Ok(Figures::new(vec![sample], begun.elapsed(), 0))
}

/// Waits for the ServiceAccount of Pods that name none. A controller makes it, and without it they are
/// refused.
async fn account(client: &Client, namespace: &str) -> Result<(), kube::Error> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let parameters = WatchParams::default().fields("metadata.name=default");
    let mut events = accounts.watch(&parameters, "0").await?.boxed();
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Added(_) = event {
            return Ok(());
        }
    }
    Err(ended())
}

async fn start(pods: &Api<Pod>, index: usize, image: &str) -> Result<Duration, kube::Error> {
    let name = format!("p-{index}");
    let pod: Pod = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": image, "command": ["sleep", "3600"]}],
        },
    }))
    .map_err(kube::Error::SerdeError)?;
    let begun = Instant::now();
    let created = pods.create(&PostParams::default(), &pod).await?;
    let version = created.metadata.resource_version.unwrap_or_default();
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pods.watch(&parameters, &version).await?.boxed();
    while let Some(event) = events.try_next().await? {
        let WatchEvent::Modified(pod) = event else {
            continue;
        };
        if pod.status.and_then(|status| status.phase).as_deref() == Some("Running") {
            let latency = begun.elapsed();
            pods.delete(&name, &DeleteParams::default()).await?;
            return Ok(latency);
        }
    }
    Err(ended())
}

fn ended() -> kube::Error {
    kube::Error::Service("the watch ended".into())
}
