//! `watch`: a response that goes on with every change.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, stream};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use machinery::selector::FieldSelector;
use machinery::status::Status;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::options;
use super::represent::Form;
use super::socket;
use crate::audit::Record;
use crate::cache::{EventType, WatchItem, Watcher, value_frame, value_item};
use crate::http::body::Body;
use crate::http::negotiate::Format;
use crate::http::respond::{self, Reply};
use crate::metrics::{LongRunning, WatchEvents};
use crate::pipeline::{Call, Failure};
use crate::registry::Target;

/// Watches that name no time end after this to twice this, so that they do not all come back at
/// once.
const DEFAULT_SECONDS: u64 = 1800;

/// Watches end after a year at the latest, whatever the client asks for: far beyond it there are
/// no points in time.
const MAX_SECONDS: u64 = 365 * 24 * 3600;

/// Events that are ready are sent together up to about this size.
const CHUNK: usize = 32 * 1024;

struct Stream {
    watcher: Watcher,
    form: Form,
    target: Target,
    first: bool,
    deadline: Pin<Box<tokio::time::Sleep>>,
    shutdown: CancellationToken,
    events: WatchEvents,
    _counted: LongRunning,
    _audited: Option<Arc<Record>>,
}

/// Streams the changes of a collection.
pub(super) async fn watch(call: &mut Call<'_>, target: &Target) -> Result<Reply, Failure> {
    let form = Form::of(call, &target.resource)?;
    let mut options = options::list(call)?;
    let mut target = target.clone();
    if !target.name.is_empty() {
        // The old path of a watch of one object.
        let name = std::mem::take(&mut target.name);
        options.field_selector = FieldSelector::parse(&format!("metadata.name={name}"))
            .map_err(|error| Status::bad_request(error.to_string()))?;
    }
    let seconds = match call.query.non_empty("timeoutSeconds").map(options::integer) {
        Some(seconds) => u64::try_from(seconds?).unwrap_or(0),
        None => 0,
    };
    let seconds = if seconds > 0 { seconds } else { DEFAULT_SECONDS + random(DEFAULT_SECONDS) };
    let end = Instant::now() + Duration::from_secs(seconds.min(MAX_SECONDS));
    let watcher = call.api.registry.watch(&target, &options).await?.until(end);
    let stream = Stream {
        events: WatchEvents::new(&target.resource),
        watcher,
        form,
        target,
        first: true,
        deadline: Box::pin(tokio::time::sleep_until(end)),
        shutdown: call.api.shutdown.clone(),
        _counted: LongRunning::new(call.info),
        _audited: call.context.audit.clone(),
    };
    if streams::websocket::is_websocket(call.headers()) {
        let events = stream::unfold(stream, |mut stream| async move {
            let event = stream.event().await?;
            Some((event, stream))
        });
        return socket::events(call, form.accepted.format, events);
    }
    let chunks = stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok(chunk), stream))
    });
    let mut reply = respond::json_bytes(StatusCode::OK, &b""[..]);
    let kind = HeaderValue::from_static(form.watch_type());
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    *reply.body_mut() = Body::stream(chunks);
    Ok(reply)
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        let first = self.event().await?;
        // What is ready at once goes out together.
        let Some(Some(item)) = self.watcher.next().now_or_never() else { return Some(first) };
        let mut chunk = BytesMut::from(first);
        chunk.extend_from_slice(&self.line(&item));
        while chunk.len() < CHUNK
            && let Some(Some(item)) = self.watcher.next().now_or_never()
        {
            chunk.extend_from_slice(&self.line(&item));
        }
        Some(chunk.freeze())
    }

    /// The next event alone; `None` at the end.
    async fn event(&mut self) -> Option<Bytes> {
        let item = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return None,
            // What is served differently from now on must be asked for again.
            () = self.target.resource.retired().cancelled() => return None,
            item = self.watcher.next() => item?,
            () = &mut self.deadline => return None,
        };
        Some(self.line(&item))
    }

    fn line(&mut self, item: &WatchItem) -> Bytes {
        let line = self.encode(item);
        self.events.sent(line.len());
        line
    }

    fn encode(&mut self, item: &WatchItem) -> Bytes {
        let format = self.form.accepted.format;
        if self.form.is_verbatim() || item.kind() == EventType::Error {
            return match format {
                Format::Protobuf => item.protobuf(),
                Format::Cbor => item.cbor(),
                Format::Json | Format::Yaml => item.json(),
            };
        }
        let object = self.form.event(&self.target.resource, item.value(), self.first);
        self.first = false;
        let event = |object| json!({"type": item.kind().as_str(), "object": object});
        match format {
            Format::Protobuf => value_frame(item.kind(), &object),
            Format::Cbor => value_item(item.kind(), &object),
            Format::Json | Format::Yaml => respond::encode_json(&event(object), false).into(),
        }
    }
}

/// A number below `limit`, different from request to request.
fn random(limit: u64) -> u64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) % limit
}
