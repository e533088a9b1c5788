//! What time others take it to be.

use client::Api;
use client::api::PostParams;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::Stage;
use super::acts::{ATTEMPT, POLL, until};
use crate::failure::Outcome;

impl Stage {
    /// Waits until the Lease of a node was renewed at a time that differs from this machine's as wanted.
    pub(crate) async fn lease(
        &mut self,
        what: &str,
        node: &str,
        wanted: impl Fn(SignedDuration) -> bool,
    ) -> Outcome {
        let ask = async || {
            let renewed = self.renew_time(node).await?;
            let row = format!("lease/{node}  renewTime {renewed}");
            if wanted(renewed.duration_since(Timestamp::now())) { Ok(row) } else { Err(row) }
        };
        let row = until(what, POLL, ask).await?;
        self.saw(what, vec![row]);
        Ok(())
    }

    /// Waits until the Lease of a node is renewed once more.
    pub(crate) async fn renewed(&mut self, what: &str, node: &str) -> Outcome {
        let first = until(what, POLL, async || self.renew_time(node).await).await?;
        let ask = async || match self.renew_time(node).await {
            Ok(renewed) if renewed != first => Ok(format!("lease/{node}  renewTime {renewed}")),
            Ok(renewed) => Err(format!("lease/{node}  renewTime {renewed}")),
            Err(error) => Err(error),
        };
        let row = until(what, POLL, ask).await?;
        self.saw(what, vec![row]);
        Ok(())
    }

    /// Waits until the API server takes it for a time that is so far away.
    pub(crate) async fn api_server_ahead(&mut self, what: &str, least: SignedDuration) -> Outcome {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut map = ConfigMap::default();
        map.metadata.name = Some("time".to_owned());
        let tried = PostParams { dry_run: true, ..PostParams::default() };
        let ask = async || {
            let made = api.create(&tried, &map).await.map_err(|error| error.to_string())?;
            let made = made.metadata.creation_timestamp.ok_or("it says no time")?.0;
            let row = format!("creationTimestamp {made}");
            if made.duration_since(Timestamp::now()) > least { Ok(row) } else { Err(row) }
        };
        let row = until(what, POLL, ask).await?;
        self.saw(what, vec![row]);
        Ok(())
    }

    async fn renew_time(&self, node: &str) -> Result<Timestamp, String> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let asked = tokio::time::timeout(ATTEMPT, api.get(node)).await;
        let lease =
            asked.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
        let renewed = lease.spec.and_then(|spec| spec.renew_time);
        renewed.map(|time| time.0).ok_or_else(|| "it was never renewed".to_owned())
    }
}
