//! A control plane's part in a rotation: it does what it is told, and tells what it has. It also
//! warns, by events of its Node, of authorities that end: those are not replaced by themselves, as
//! their clients outside of the cluster would not follow.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use client::{ConnectError, ConnectOptions, EventRecorder, EventType, Informer};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::local;
use super::order::{ANNOTATION, NAMESPACE, Order, SECRET};
use crate::certificates::inspect::{self, Kind, Row};

/// How often it is warned of the same.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Which part of an authority's life is the last: with ten years one, from when on certificates of a
/// year are cut short by its end.
const LAST: u32 = 10;

/// See the module.
pub(crate) struct Agent {
    root: PathBuf,
    node: String,
    client: Client,
    orders: Informer<Secret>,
    news: watch::Receiver<()>,
    recorder: EventRecorder,
    told: Option<String>,
    warned: Option<Instant>,
}

/// Authorities that end soon, and what is to be said of them.
fn ending(rows: &[Row], now: SystemTime) -> Vec<String> {
    let soon = rows.iter().filter_map(|row| {
        let (Kind::Authority(authority), Some(own)) = (row.kind, &row.certificate) else {
            return None;
        };
        let left = own.not_after.duration_since(now).unwrap_or_default();
        (left < own.lifetime() / LAST).then(|| {
            format!(
                "The authority {} ends at {}, and all certificates of it with it; replace it with \
                 `ironclad certs rotate-ca --authority {}`",
                authority.name,
                inspect::expiry(own.not_after),
                authority.name,
            )
        })
    });
    soon.collect()
}

impl Agent {
    /// Begins to listen, as the administrator of the control plane with these files, on `node`.
    pub(crate) async fn start(
        root: &Path,
        node: &str,
        shutdown: &CancellationToken,
    ) -> Result<Self, ConnectError> {
        let options = ConnectOptions {
            kubeconfig: Some(root.join("etc/kubernetes/admin.conf")),
            user_agent: "ironclad-certificates".to_owned(),
        };
        let client = client::connect(&options).await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
        let orders =
            Informer::builder(secrets).fields(&format!("metadata.name={SECRET}")).start(shutdown);
        let (sender, news) = watch::channel(());
        orders.on_event(move |_| {
            sender.send_replace(());
        });
        Ok(Self {
            root: root.to_owned(),
            node: node.to_owned(),
            recorder: EventRecorder::new(client.clone(), "kube-certificates", Some(node)),
            client,
            orders,
            news,
            told: None,
            warned: None,
        })
    }

    /// Waits for another order.
    pub(crate) async fn ordered(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Does what is ordered and tells of it; whether nothing is left to be told.
    pub(crate) async fn round(&mut self, rows: &[Row]) -> bool {
        self.warn(rows);
        let secret: Option<Arc<Secret>> = self.orders.get(Some(NAMESPACE), SECRET);
        let order = secret.and_then(|secret| Order::read(&secret));
        if let Some(order) = order.filter(|order| order.terms.members.contains(&self.node)) {
            let (name, step) = (order.root.name, order.terms.step);
            match local::obey(&self.root, &order) {
                Ok(true) => tracing::info!(name, ?step, "took a step of a rotation"),
                Ok(false) => {}
                Err(error) => tracing::error!(name, ?step, %error, "a step is not taken"),
            }
        }
        let reports = match local::reports(&self.root) {
            Ok(reports) => json!(reports).to_string(),
            Err(error) => {
                tracing::error!(%error, "certificates are not reported");
                return false;
            }
        };
        if self.told.as_ref() == Some(&reports) {
            return true;
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = json!({"metadata": {"annotations": {ANNOTATION: reports}}});
        let patch = Patch::Merge(&patch);
        match nodes.patch_metadata(&self.node, &PatchParams::default(), &patch).await {
            Ok(_) => {
                self.told = Some(reports);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "certificates are not reported yet");
                false
            }
        }
    }

    fn warn(&mut self, rows: &[Row]) {
        if self.warned.is_some_and(|at| at.elapsed() < DAY) {
            return;
        }
        let node = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.node.clone()),
            uid: Some(self.node.clone()),
            ..ObjectReference::default()
        };
        for text in ending(rows, SystemTime::now()) {
            tracing::warn!("{text}");
            let reason = "CertificateAuthorityEnding";
            self.recorder.event_ref(&node, EventType::Warning, reason, text);
            self.warned = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::inventory::CA;
    use component::pki::{Authority, Certificate};

    #[test]
    fn authorities_are_warned_of_in_the_last_tenth_of_their_life() {
        let authority = Authority::lasting("kubernetes", DAY * 100).unwrap();
        let row = Row {
            node: "m1".into(),
            kind: Kind::Authority(CA),
            certificate: Certificate::parse(authority.certificate().as_bytes()),
            external: false,
            problem: None,
        };
        let now = SystemTime::now();
        let rows = [row];
        assert!(ending(&rows, now + DAY * 89).is_empty());
        for late in [91, 101] {
            let said = ending(&rows, now + DAY * late);
            assert!(said[0].contains("rotate-ca --authority ca"), "{said:?}");
        }
    }
}
