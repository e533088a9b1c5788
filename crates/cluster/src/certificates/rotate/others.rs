//! Who follows the control planes by themselves, and whether they have.

use std::collections::BTreeMap;

use component::authorities::{ISSUER, TRUSTS, digest};
use component::pki::Certificate;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::order::{NAMESPACE, Order};
use super::step::{Behind, Report};
use super::{RotateError, failed, local};
use crate::certificates::inventory::{CA, ETCD_CA, FRONT_PROXY_CA};
use crate::status::pod_is_ready;

/// A cluster as it is looked at.
pub(super) struct Others<'a> {
    pub(super) client: &'a Client,
    pub(super) nodes: &'a [PartialObjectMeta<Node>],
    /// What control planes have.
    pub(super) reports: &'a BTreeMap<String, Report>,
}

impl Others<'_> {
    /// Who has not followed the control planes to what `order` says; those trust `bundle`.
    pub(super) async fn behind(&self, order: &Order, bundle: &str) -> Result<Behind, RotateError> {
        match order.root {
            CA => self.nodes(bundle).await,
            FRONT_PROXY_CA => self.extensions(bundle).await,
            ETCD_CA => self.members(&order.digest()).await,
            what => self.servers(local::blocks(what, bundle).len()).await,
        }
    }

    /// Kubelets, and whatever runs in Pods.
    async fn nodes(&self, bundle: &str) -> Result<Behind, RotateError> {
        let first = Certificate::parse(bundle.as_bytes()).map(|one| digest(&one.to_pem()));
        let lagging = |annotation: &str, wanted: Option<String>| -> Vec<String> {
            let lags = self
                .nodes
                .iter()
                .filter(|node| node.annotations().get(annotation) != wanted.as_ref());
            lags.map(|node| format!("node {}", node.name_any())).collect()
        };
        let mut trust = lagging(TRUSTS, Some(digest(bundle)));
        let maps: Api<ConfigMap> = Api::all(self.client.clone());
        let named = ListParams::default().fields("metadata.name=kube-root-ca.crt");
        let maps = maps.list(&named).await.map_err(failed("reading configmaps"))?;
        for map in maps.items {
            let held = map.data.as_ref().and_then(|data| data.get("ca.crt"));
            if held.map(String::as_str) != Some(bundle) {
                trust.push(format!("namespace {}", map.metadata.namespace.unwrap_or_default()));
            }
        }
        Ok(Behind { trust, issue: lagging(ISSUER, first) })
    }

    /// What extension API servers read; nothing where the cluster publishes no such authority.
    async fn extensions(&self, bundle: &str) -> Result<Behind, RotateError> {
        let name = "extension-apiserver-authentication";
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let map = maps.get_opt(name).await.map_err(failed("reading configmaps"))?;
        let published = map
            .and_then(|map| map.data)
            .and_then(|mut data| data.remove("requestheader-client-ca-file"));
        let follows = published.is_none_or(|published| published == bundle);
        let trust = if follows { Vec::new() } else { vec![format!("ConfigMap {name}")] };
        Ok(Behind { trust, issue: Vec::new() })
    }

    /// Members of etcd that have not been restarted, or are not well since.
    async fn members(&self, new: &str) -> Result<Behind, RotateError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut trust = Vec::new();
        for (name, report) in self.reports {
            if report.trusted.iter().all(|digest| digest != new) {
                continue;
            }
            let pod = pods.get_opt(&format!("etcd-{name}")).await;
            let pod = pod.map_err(failed("reading the Pods of etcd"))?;
            let wanted = local::started_with(report);
            let follows = pod.is_some_and(|pod| {
                pod.annotations().get(local::STARTED_WITH) == Some(&wanted) && pod_is_ready(&pod)
            });
            if !follows {
                trust.push(format!("the etcd member on {name}"));
            }
        }
        Ok(Behind { trust, issue: Vec::new() })
    }

    /// The API server, which publishes the keys of tokens that it believes.
    async fn servers(&self, count: usize) -> Result<Behind, RotateError> {
        let request = http::Request::get("/openid/v1/jwks").body(Vec::new());
        let request = request.expect("the path is valid");
        let text = self.client.request_text(request).await;
        let keys: Option<Value> =
            serde_json::from_str(&text.map_err(failed("reading the keys of tokens"))?).ok();
        let published = keys.and_then(|keys| Some(keys["keys"].as_array()?.len()));
        let trust =
            if published == Some(count) { Vec::new() } else { vec!["the API server".to_owned()] };
        Ok(Behind { trust, issue: Vec::new() })
    }
}
