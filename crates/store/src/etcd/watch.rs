//! Watches that go on at another member where they stopped.
//!
//! etcd is asked for the changes of *all* keys, and those of others are dropped here. Every
//! revision changes some key, so each one that a read has told of arrives by itself, which makes
//! the watch's position exact. (Asking etcd how far a watch on a prefix has come is no way: before
//! 3.4.25 and 3.5.8 the answer may overtake the changes.) An etcd is rarely shared with much else.
//!
//! The watch starts one revision before the first one wanted. Compaction may take the deletions of
//! its own revision along, so a watch from the compacted revision itself might miss some; one that
//! asks for a revision earlier is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use super::failure::unavailable;
use super::members::Pause;
use super::wire::watch_client::WatchClient;
use super::wire::watch_request::RequestUnion;
use super::{Shared, wire};
use crate::WatchStream;
use crate::types::{Error, Event, WatchBatch};

/// For a member to take up a watch.
const OPENING: Duration = Duration::from_secs(5);
/// The first key there can be, and the end of everything.
const ALL: &[u8] = b"\0";

pub(super) fn stream(shared: Arc<Shared>, prefix: Bytes, from_revision: u64) -> WatchStream {
    let next = match from_revision {
        0 => shared.seen.load(Ordering::Acquire) + 1,
        from => from,
    };
    let watching = Watching {
        shared,
        prefix,
        next,
        source: None,
        held: Vec::new(),
        pause: Pause::default(),
        ended: false,
    };
    Box::pin(futures::stream::unfold(watching, |mut watching| async move {
        if watching.ended {
            return None;
        }
        let shared = watching.shared.clone();
        let item = tokio::select! {
            biased;
            () = shared.closed.cancelled() => return None,
            item = watching.advance() => item,
        };
        watching.ended = item.is_err();
        Some((item, watching))
    }))
}

struct Watching {
    shared: Arc<Shared>,
    /// In the store's terms.
    prefix: Bytes,
    /// The first revision not handed out yet.
    next: u64,
    source: Option<Source>,
    /// Changes of a revision that may not be complete yet.
    held: Vec<Event>,
    pause: Pause,
    ended: bool,
}

/// A watch that a member serves.
struct Source {
    member: usize,
    responses: Streaming<wire::WatchResponse>,
    /// The server ends the watch when this is dropped.
    _requests: mpsc::Sender<wire::WatchRequest>,
}

async fn open(shared: &Shared, start: u64) -> Result<Source, (usize, Status)> {
    let Some((member, channel)) = shared.members.pick() else {
        return Err((0, Status::cancelled("the store is closed")));
    };
    let (requests, queue) = mpsc::channel(1);
    let create = wire::WatchCreateRequest {
        key: Bytes::from_static(ALL),
        range_end: Bytes::from_static(ALL),
        start_revision: i64::try_from(start).unwrap_or(i64::MAX),
        progress_notify: true,
        fragment: true,
    };
    let create = wire::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.try_send(create).expect("the queue is new and has room for one");
    let outgoing = futures::stream::unfold(queue, |mut queue| async move {
        let request = queue.recv().await?;
        Some((request, queue))
    });
    let mut request = Request::new(outgoing);
    // A member that lost the others ends the watch instead of keeping quiet.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    match tokio::time::timeout(OPENING, client.watch(request)).await {
        Ok(Ok(answer)) => {
            Ok(Source { member, responses: answer.into_inner(), _requests: requests })
        }
        Ok(Err(status)) => Err((member, status)),
        Err(_) => Err((member, Status::deadline_exceeded("no answer to a watch"))),
    }
}

impl Watching {
    async fn advance(&mut self) -> Result<WatchBatch, Error> {
        if self.next == 1 {
            // The revision of an empty etcd, at which nothing was changed.
            self.next = 2;
            return Ok(WatchBatch { revision: 1, events: Vec::new() });
        }
        loop {
            let Some(source) = &mut self.source else {
                self.held.clear();
                match open(&self.shared, self.next.saturating_sub(1).max(1)).await {
                    Ok(source) => self.source = Some(source),
                    Err((member, status)) => self.lost(member, status.message()).await,
                }
                continue;
            };
            let member = source.member;
            let response = match source.responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => {
                    self.lost(member, "the stream ended").await;
                    continue;
                }
                Err(status) => {
                    self.lost(member, status.message()).await;
                    continue;
                }
            };
            if response.compact_revision > 0 {
                let compacted = wire::unsigned(response.compact_revision);
                return Err(Error::Compacted { requested: self.next, compacted });
            }
            if response.canceled {
                self.lost(member, &response.cancel_reason).await;
                continue;
            }
            self.pause.reset();
            if let Some(batch) = self.take(response) {
                self.next = batch.revision + 1;
                return Ok(batch);
            }
        }
    }

    async fn lost(&mut self, member: usize, reason: &str) {
        tracing::warn!(member, reason, next = self.next, "the watch on etcd goes on elsewhere");
        self.source = None;
        self.shared.members.failed(member);
        self.pause.wait(self.shared.members.count()).await;
    }

    /// What a response adds; `None` when it completes no revision.
    fn take(&mut self, response: wire::WatchResponse) -> Option<WatchBatch> {
        let revision = wire::revision(response.header.as_ref());
        let told = response.events.is_empty() && !response.created && !response.fragment;
        let known = self.next;
        let events = response.events.into_iter().filter_map(wire::event);
        self.held.extend(events.filter(|event| event.kv.mod_revision >= known));
        let newest = self.held.last().map(|event| event.kv.mod_revision);
        let Some(newest) = newest else {
            // The news that nothing has happened up to here.
            let news = told && response.watch_id >= 0 && revision >= self.next;
            return news.then(|| WatchBatch { revision, events: Vec::new() });
        };
        let complete = if response.fragment {
            // The rest of the newest revision may be in the next part.
            let events = self.held.iter();
            events.take_while(|event| event.kv.mod_revision < newest).count()
        } else {
            self.held.len()
        };
        let revision = self.held[..complete].last()?.kv.mod_revision;
        let events = self.held.drain(..complete).filter_map(|mut event| {
            event.kv.key = self.shared.keys.inward(event.kv.key)?;
            event.kv.key.starts_with(&self.prefix).then_some(event)
        });
        let batch = WatchBatch { revision, events: events.collect() };
        self.shared.seen.fetch_max(revision, Ordering::AcqRel);
        Some(batch)
    }
}

/// The compacted revision, once a read at `revision` was refused because of it: only the refusal
/// of a watch tells it.
pub(super) async fn compacted(shared: &Shared, revision: u64) -> Result<u64, Error> {
    let mut source =
        open(shared, revision.max(1)).await.map_err(|(_, status)| unavailable(&status))?;
    let refusal = async {
        while let Some(response) =
            source.responses.message().await.map_err(|status| unavailable(&status))?
        {
            if response.compact_revision > 0 {
                return Ok(wire::unsigned(response.compact_revision));
            }
        }
        Err(Error::Unavailable("etcd does not tell its compacted revision".to_owned()))
    };
    let late = || Err(Error::Unavailable("context deadline exceeded".to_owned()));
    tokio::time::timeout(OPENING, refusal).await.unwrap_or_else(|_| late())
}
