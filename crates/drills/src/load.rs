//! Writers that note what the API server acknowledged, so that it can be asked for it later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::api::{ListParams, Patch, PatchParams, PostParams};
use client::{Api, Client, ResourceExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Writers at the same time.
const WRITERS: usize = 8;
/// After a write that was not acknowledged.
const PAUSE: Duration = Duration::from_millis(20);
/// After which a write counts as not acknowledged.
const PATIENCE: Duration = Duration::from_secs(10);
/// The label of what they write.
const LABEL: &str = "written-by";

/// What was acknowledged: names with the newest content, and the newest resourceVersion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    content: BTreeMap<String, u64>,
    version: u64,
    /// Acknowledgements whose resourceVersion was not above an earlier one of the same writer.
    backwards: Vec<String>,
}

/// Writers at work.
pub(crate) struct Writers {
    tasks: JoinSet<Ledger>,
    stop: CancellationToken,
    count: watch::Receiver<u64>,
}

// === impl Writers ===

impl Writers {
    /// Starts them in a namespace. Dropped, they stop.
    pub(crate) fn start(client: &Client, namespace: &str) -> Self {
        let (counter, count) = watch::channel(0);
        let counter = Arc::new(counter);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let api = Api::namespaced(client.clone(), namespace);
            tasks.spawn(write(api, writer, Arc::clone(&counter), stop.clone()));
        }
        Self { tasks, stop, count }
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Waits for so many further acknowledgements; false when they do not come.
    pub(crate) async fn further(&mut self, more: u64, within: Duration) -> bool {
        let wanted = self.count() + more;
        let reached = self.count.wait_for(|count| *count >= wanted);
        tokio::time::timeout(within, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    /// Ends them, and hands over what was acknowledged.
    pub(crate) async fn stop(mut self) -> Ledger {
        self.stop.cancel();
        let mut all = Ledger::default();
        while let Some(ended) = self.tasks.join_next().await {
            // One that panicked has said so; what it noted is lost, and nothing is claimed of it.
            let Ok(ledger) = ended else { continue };
            all.content.extend(ledger.content);
            all.version = all.version.max(ledger.version);
            all.backwards.extend(ledger.backwards);
        }
        all
    }
}

async fn write(
    api: Api<ConfigMap>,
    writer: usize,
    count: Arc<watch::Sender<u64>>,
    stop: CancellationToken,
) -> Ledger {
    let mut ledger = Ledger::default();
    let counter = format!("counter-{writer}");
    for number in 1_u64.. {
        let single = format!("single-{writer}-{number}");
        for (name, content) in [(&single, 0), (&counter, number)] {
            let answer = tokio::select! {
                answer = tokio::time::timeout(PATIENCE, put(&api, name, content, writer)) => answer,
                () = stop.cancelled() => return ledger,
            };
            match answer {
                Ok(Ok(version)) => {
                    ledger.acknowledge(name, content, version);
                    count.send_modify(|count| *count += 1);
                }
                // Whether it was stored is unknown, and nothing is claimed of it.
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    ledger
}

/// Writes an object, and returns its resourceVersion.
async fn put(
    api: &Api<ConfigMap>,
    name: &str,
    content: u64,
    writer: usize,
) -> Result<u64, client::Error> {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {LABEL: writer.to_string()}},
        "data": {"content": content.to_string()},
    });
    let written = if content <= 1 {
        let map: ConfigMap = serde_json::from_value(body).map_err(client::Error::SerdeError)?;
        match api.create(&PostParams::default(), &map).await {
            // An earlier attempt was stored although its answer was lost.
            Err(client::Error::Api(status)) if status.is_already_exists() => api.get(name).await?,
            other => other?,
        }
    } else {
        api.patch(name, &PatchParams::default(), &Patch::Merge(&body)).await?
    };
    Ok(version_of(written.metadata.resource_version.as_deref()))
}

fn version_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

// === impl Ledger ===

impl Ledger {
    fn acknowledge(&mut self, name: &str, content: u64, version: u64) {
        if version <= self.version {
            self.backwards.push(format!("{name} got {version} after {}", self.version));
        }
        self.version = self.version.max(version);
        self.content.insert(name.to_owned(), content);
    }

    /// How many objects were acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// Asks the API server for everything that it acknowledged; says what is missing.
    pub(crate) async fn missing(
        &self,
        client: &Client,
        namespace: &str,
    ) -> Result<Vec<String>, client::Error> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let list = api.list(&ListParams::default().labels(LABEL)).await?;
        let version = version_of(list.metadata.resource_version.as_deref());
        let there = list.items.into_iter().map(|map| {
            let content = map.data.as_ref().and_then(|data| data.get("content"));
            (map.name_any(), version_of(content.map(String::as_str)))
        });
        Ok(self.compare(&there.collect(), version))
    }

    fn compare(&self, there: &BTreeMap<String, u64>, version: u64) -> Vec<String> {
        let mut missing = self.backwards.clone();
        for (name, wanted) in &self.content {
            match there.get(name) {
                None => missing.push(format!("{name} is gone")),
                Some(found) if found < wanted => {
                    missing.push(format!("{name} has {found}, and {wanted} was acknowledged"));
                }
                Some(_) => {}
            }
        }
        if version < self.version {
            missing.push(format!("the list has version {version} after {}", self.version));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let mut ledger = Ledger::default();
        ledger.acknowledge("single-0-1", 0, 5);
        ledger.acknowledge("counter-0", 1, 6);
        ledger.acknowledge("counter-0", 2, 9);
        let there = |counter: u64| -> BTreeMap<String, u64> {
            [("single-0-1".to_owned(), 0), ("counter-0".to_owned(), counter)].into()
        };
        assert!(ledger.compare(&there(2), 9).is_empty());
        assert!(ledger.compare(&there(3), 10).is_empty(), "stored without an answer is fine");
        assert_eq!(ledger.compare(&there(1), 9), ["counter-0 has 1, and 2 was acknowledged"]);
        assert_eq!(ledger.compare(&there(2), 8), ["the list has version 8 after 9"]);
        assert_eq!(ledger.compare(&BTreeMap::new(), 9).len(), 2);
        ledger.acknowledge("single-0-2", 0, 9);
        let there = [there(2), [("single-0-2".to_owned(), 0)].into()].into_iter().flatten();
        assert_eq!(ledger.compare(&there.collect(), 9), ["single-0-2 got 9 after 9"]);
    }
}
