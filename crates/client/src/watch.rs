//! A list and then a watch of one resource, for ever.
//!
//! What is the same for every resource (to ask, to cut the answer into events, to go on where a
//! broken watch ended, to list again) is compiled once and deals in JSON texts. Only the reading of
//! an object is per type.

#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use kube::api::{Api, ListParams, WatchParams};
use kube::core::{Request, Status};
use kube::{Client, Error, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

/// First and longest wait between attempts to reach the API server. Short, because a restarted
/// API server is back within a second and everything waits for the watches to notice.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The server ends a watch after 290 s; one that says nothing for longer is dead.
const SILENCE: Duration = Duration::from_secs(295);

/// What a watch tells.
#[derive(Debug, Clone)]
pub(crate) enum Delta<K> {
    /// All there is; what was told before and is not among it is gone.
    List(Vec<K>),
    /// An object that is new or has changed.
    Apply(K),
    /// An object that is gone, as it was.
    Delete(K),
}

/// A list and watch that starts over when it must.
pub(crate) struct Watch {
    client: Client,
    request: Request,
    list: ListParams,
    watch: WatchParams,
    state: State,
    /// How long to wait after the next failure.
    wait: Duration,
}

enum State {
    /// Nothing is known.
    New,
    /// Everything up to this resourceVersion was told.
    At(String),
    /// And what comes then is being told.
    Open { version: String, events: Pin<Box<dyn AsyncBufRead + Send>> },
}

/// What the server says, as JSON.
enum Said {
    List(Vec<u8>),
    Applied(Box<RawValue>),
    Deleted(Box<RawValue>),
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Request(#[from] Error),
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] serde_json::Error),
    /// The server sent this as an event.
    #[error("{}", .0.message)]
    Told(Box<Status>),
}

#[derive(Deserialize)]
struct List<'t> {
    metadata: Meta,
    #[serde(borrow)]
    items: Option<Vec<&'t RawValue>>,
}

#[derive(Deserialize)]
struct Frame {
    r#type: String,
    object: Box<RawValue>,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    resource_version: String,
}

// === impl Watch ===

impl Watch {
    /// Of all that `api` covers (all namespaces or one).
    #[must_use]
    pub(crate) fn new<K: Resource + Clone>(api: &Api<K>) -> Self {
        Self {
            client: api.clone().into_client(),
            request: Request::new(api.resource_url()),
            // One consistent answer, not pages: the server answers from memory.
            list: ListParams::default(),
            watch: WatchParams::default(),
            state: State::New,
            wait: RETRY.0,
        }
    }

    /// Restricts to objects matching a field selector such as `spec.nodeName=w1`.
    #[must_use]
    pub(crate) fn fields(mut self, selector: &str) -> Self {
        self.list = self.list.fields(selector);
        self.watch = self.watch.fields(selector);
        self
    }

    /// Restricts to objects matching a label selector.
    #[must_use]
    pub(crate) fn labels(mut self, selector: &str) -> Self {
        self.list = self.list.labels(selector);
        self.watch = self.watch.labels(selector);
        self
    }

    /// Waits for what comes next. A future that is dropped may take an event with it.
    pub(crate) async fn next<K: Resource + DeserializeOwned>(&mut self) -> Delta<K> {
        loop {
            let said = self.said().await;
            match self.understand(&said) {
                Ok(delta) => {
                    self.wait = RETRY.0;
                    return delta;
                }
                Err(error) => {
                    self.state = State::New;
                    self.failed(&error.into()).await;
                }
            }
        }
    }

    /// Tells what comes until `stop`.
    pub(crate) async fn follow<K: Resource + DeserializeOwned>(
        mut self,
        stop: &CancellationToken,
        mut tell: impl FnMut(Delta<K>),
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                delta = self.next() => tell(delta),
            }
        }
    }

    fn understand<K: Resource + DeserializeOwned>(
        &mut self,
        said: &Said,
    ) -> serde_json::Result<Delta<K>> {
        match said {
            Said::List(body) => {
                let list: List<'_> = serde_json::from_slice(body)?;
                let items = list.items.into_iter().flatten();
                let objects = items.map(|item| serde_json::from_str(item.get()));
                let objects = objects.collect::<Result<_, _>>()?;
                self.state = State::At(list.metadata.resource_version);
                Ok(Delta::List(objects))
            }
            Said::Applied(object) => self.event(object).map(Delta::Apply),
            Said::Deleted(object) => self.event(object).map(Delta::Delete),
        }
    }

    fn event<K: Resource + DeserializeOwned>(&mut self, text: &RawValue) -> serde_json::Result<K> {
        let object: K = serde_json::from_str(text.get())?;
        self.seen(object.meta().resource_version.clone());
        Ok(object)
    }

    fn seen(&mut self, new: Option<String>) {
        if let (State::Open { version, .. }, Some(new)) = (&mut self.state, new) {
            *version = new;
        }
    }

    /// What the server says next that is about objects.
    async fn said(&mut self) -> Said {
        loop {
            match self.ask().await {
                Ok(Some(said)) => return said,
                Ok(None) => {}
                Err(error) => {
                    if must_list_again(&error) {
                        self.state = State::New;
                    } else if let State::Open { version, .. } = &mut self.state {
                        self.state = State::At(std::mem::take(version));
                    }
                    self.failed(&error).await;
                }
            }
        }
    }

    /// One step on.
    async fn ask(&mut self) -> Result<Option<Said>, Failure> {
        match &mut self.state {
            State::New => {
                let request = self.request.list(&self.list).map_err(Error::BuildRequest)?;
                let mut body = Vec::new();
                let mut answer = Box::pin(self.client.request_stream(request).await?);
                answer.read_to_end(&mut body).await?;
                Ok(Some(Said::List(body)))
            }
            State::At(version) => {
                let request = self.request.watch(&self.watch, version);
                let request = request.map_err(Error::BuildRequest)?;
                let events = Box::pin(self.client.request_stream(request).await?);
                self.state = State::Open { version: std::mem::take(version), events };
                Ok(None)
            }
            State::Open { events, .. } => {
                let mut line = Vec::new();
                let read = tokio::time::timeout(SILENCE, events.read_until(b'\n', &mut line));
                read.await.map_err(io::Error::from)??;
                if line.last() != Some(&b'\n') {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                let Frame { r#type, object } = serde_json::from_slice(&line)?;
                match r#type.as_str() {
                    "ADDED" | "MODIFIED" => Ok(Some(Said::Applied(object))),
                    "DELETED" => Ok(Some(Said::Deleted(object))),
                    "BOOKMARK" => {
                        let bookmark: Bookmark = serde_json::from_str(object.get())?;
                        self.seen(Some(bookmark.metadata.resource_version));
                        Ok(None)
                    }
                    _ => Err(Failure::Told(serde_json::from_str(object.get())?)),
                }
            }
        }
    }

    /// Says what went wrong, and waits before the next attempt.
    async fn failed(&mut self, error: &Failure) {
        let resource = &self.request.url_path;
        match error {
            Failure::Request(Error::Api(status)) if status.code == 403 => {
                tracing::warn!(%error, resource, "watch refused");
            }
            Failure::Decode(_) => tracing::warn!(%error, resource, "watch not understood"),
            _ => tracing::debug!(%error, resource, "watch interrupted"),
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(RETRY.1);
    }
}

/// Whether the server refused the resourceVersion, so that asking again for it is futile: it is
/// compacted (410), or from the future because the store was restored from a snapshot (504).
fn must_list_again(error: &Failure) -> bool {
    match error {
        Failure::Request(Error::Api(status)) | Failure::Told(status) => {
            matches!(status.code, 400 | 410 | 504)
        }
        Failure::Decode(_) => true,
        _ => false,
    }
}

/// Waits until an object, or that there is none, is what `is_met` takes. The result is the object
/// as it is then.
///
/// It waits for ever where it has to, also when the server cannot be reached or refuses.
pub async fn wait_for<K: Resource + Clone + DeserializeOwned>(
    api: &Api<K>,
    name: &str,
    is_met: impl Fn(Option<&K>) -> bool,
) -> Option<K> {
    let mut watch = Watch::new(api).fields(&format!("metadata.name={name}"));
    loop {
        let object = match watch.next().await {
            Delta::List(objects) => objects.into_iter().next(),
            Delta::Apply(object) => Some(object),
            Delta::Delete(_) => None,
        };
        if is_met(object.as_ref()) {
            return object;
        }
    }
}
