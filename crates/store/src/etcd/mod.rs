//! Engine `etcd`: an etcd v3 cluster, which several API servers share.
//!
//! Data flow: request → keys moved under the operator's prefix ([`keys`]) → a member of the cluster
//! ([`members`]), another one when it fails → answer in the store's terms ([`wire`], [`failure`]).
//!
//! Invariants, besides those of every store:
//! - a transaction whose outcome got lost is repeated only when its preconditions make that
//!   harmless; otherwise the caller hears that the outcome is not known;
//! - a watch goes on at another member where it stopped, without gaps or repetitions ([`watch`]);
//! - reads are linearizable: they see whatever was acknowledged by any member before.

mod cluster;
mod failure;
mod keys;
mod maintenance;
mod members;
mod revision;
mod txn;
mod watch;
mod wire;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use self::failure::{Failure, Refusal};
use self::keys::Keys;
use self::members::{Members, Repeat};
use self::revision::Askers;
use self::wire::kv_client::KvClient;
use self::wire::lease_client::LeaseClient;
use crate::snapshot::Lease;
use crate::types::{
    Digest, Error, KeyValue, LeaseId, MIN_LEASE, Member, MemberChange, RangeRequest, RangeResult,
    Status, Txn, TxnResult,
};
use crate::{Engine, Store, WatchStream};

/// A key that is read for the revision that comes with the answer.
const PROBE: &[u8] = b"compact_rev_key";
/// For a connection to be made at start, through however many members.
const START: Duration = Duration::from_secs(30);

/// Which cluster, and how to reach it.
#[derive(Debug, Clone)]
pub struct Options {
    /// URLs of the members, `http://…` or `https://…`.
    pub servers: Vec<String>,
    /// Authorities of the members' certificates (PEM); needed for `https` members.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the members (PEM).
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
    /// Where keys under `/registry/` are in etcd.
    pub prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: "/registry".to_owned(),
        }
    }
}

/// Connects to a cluster and waits until it answers.
///
/// # Errors
/// When options are of no use, or no member answers for half a minute.
pub async fn connect(options: &Options) -> Result<Store, Error> {
    let shared = Arc::new(Shared {
        members: Members::new(options)?,
        keys: Keys::new(&options.prefix),
        seen: AtomicU64::new(0),
        askers: Askers::default(),
        closed: CancellationToken::new(),
    });
    let start = async {
        loop {
            match shared.read_revision().await {
                Err(Error::Unavailable(text)) => tracing::warn!(text, "etcd does not answer yet"),
                other => return other,
            }
        }
    };
    let waited = tokio::time::timeout(START, start).await;
    waited.unwrap_or_else(|_| {
        Err(Error::Unavailable(format!("etcd does not answer: {}", options.servers.join(","))))
    })?;
    tokio::spawn(follow(Arc::downgrade(&shared)));
    Ok(Store::new(Etcd(shared)))
}

/// Looks for replaced certificates now and then, for as long as anybody has the store.
async fn follow(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(members::LOOK).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.members.refresh();
    }
}

/// See the module.
struct Etcd(Arc<Shared>);

struct Shared {
    members: Members,
    keys: Keys,
    /// The newest revision that any answer told.
    seen: AtomicU64,
    askers: Askers,
    closed: CancellationToken,
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

impl Shared {
    /// Notes the revision of an answer.
    fn saw(&self, header: Option<&wire::ResponseHeader>) -> u64 {
        let revision = wire::revision(header);
        self.seen.fetch_max(revision, Ordering::AcqRel);
        revision
    }

    async fn read_range(
        &self,
        request: wire::RangeRequest,
    ) -> Result<wire::RangeResponse, Failure> {
        let answer = self
            .members
            .call(Repeat::Always, |channel| {
                let request = request.clone();
                async move { kv(channel).range(request).await }
            })
            .await?;
        self.saw(answer.header.as_ref());
        Ok(answer)
    }

    /// Asks a quorum for the current revision.
    async fn read_revision(&self) -> Result<u64, Error> {
        let request = wire::RangeRequest {
            key: Bytes::from_static(PROBE),
            count_only: true,
            ..wire::RangeRequest::default()
        };
        let answer = self.read_range(request).await.map_err(Failure::into_error)?;
        Ok(wire::revision(answer.header.as_ref()))
    }

    /// As [`Self::read_revision`], together with whoever else asks.
    async fn revision(self: &Arc<Self>) -> Result<u64, Error> {
        let (answer, first) = self.askers.join();
        if first {
            // In a task of its own: the asker may give up, the others must not starve.
            let shared = self.clone();
            tokio::spawn(async move { shared.askers.serve(|| shared.read_revision()).await });
        }
        answer.await.unwrap_or(Err(Error::Closed))
    }

    async fn get(&self, key: Bytes) -> Result<Option<KeyValue>, Error> {
        let request =
            wire::RangeRequest { key: self.keys.outward(key), ..wire::RangeRequest::default() };
        let answer = self.read_range(request).await.map_err(Failure::into_error)?;
        Ok(answer.kvs.into_iter().next().and_then(|kv| self.inward(kv)))
    }

    /// A pair under the store's own key; `None` when it belongs to somebody else.
    fn inward(&self, kv: wire::KeyValue) -> Option<KeyValue> {
        let mut kv = KeyValue::from(kv);
        kv.key = self.keys.inward(kv.key)?;
        Some(kv)
    }

    async fn range(self: &Arc<Self>, request: RangeRequest) -> Result<RangeResult, Error> {
        let at = request.revision;
        if at == Some(0) {
            // Before the first change; to etcd this would mean now.
            return Ok(RangeResult { kvs: Vec::new(), count: 0, more: false, revision: 0 });
        }
        // etcd takes no empty key, and one zero byte is the first key there can be.
        let start =
            if request.start.is_empty() { Bytes::from_static(b"\0") } else { request.start };
        let wire = wire::RangeRequest {
            key: self.keys.outward(start),
            range_end: self.keys.outward_end(request.end),
            limit: i64::try_from(request.limit).unwrap_or(0),
            revision: at.map_or(0, wire::signed),
            ..wire::RangeRequest::default()
        };
        match self.read_range(wire).await {
            Ok(answer) => Ok(RangeResult {
                revision: at.unwrap_or_else(|| wire::revision(answer.header.as_ref())),
                count: usize::try_from(answer.count).unwrap_or(0),
                more: answer.more,
                kvs: answer.kvs.into_iter().filter_map(|kv| self.inward(kv)).collect(),
            }),
            Err(failure) => Err(self.explain(failure, at.unwrap_or(0)).await),
        }
    }

    /// The error of a request that named `requested`: etcd does not tell the bounds by itself.
    async fn explain(self: &Arc<Self>, failure: Failure, requested: u64) -> Error {
        match failure {
            Failure::Refused(Refusal::Compacted) => match watch::compacted(self, requested).await {
                Ok(compacted) => Error::Compacted { requested, compacted },
                Err(error) => error,
            },
            Failure::Refused(Refusal::Future) => match self.revision().await {
                Ok(current) => Error::FutureRevision { requested, current },
                Err(error) => error,
            },
            failure => failure.into_error(),
        }
    }

    async fn compact(self: &Arc<Self>, revision: u64) -> Result<(), Error> {
        let compacted = self
            .members
            .call(Repeat::Always, |channel| async move {
                let revision = i64::try_from(revision).unwrap_or(i64::MAX);
                kv(channel).compact(wire::CompactionRequest { revision }).await
            })
            .await;
        match compacted {
            // Somebody else has been here.
            Ok(_) | Err(Failure::Refused(Refusal::Compacted)) => Ok(()),
            Err(failure) => Err(self.explain(failure, revision).await),
        }
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let seconds = ttl.max(MIN_LEASE).as_millis().div_ceil(1000);
        let ttl = i64::try_from(seconds).unwrap_or(i64::MAX);
        // A lease that nobody has heard of runs out by itself, so repeating does no harm.
        let grant = self.members.call(Repeat::Always, |channel| async move {
            LeaseClient::new(channel).lease_grant(wire::LeaseGrantRequest { ttl }).await
        });
        let granted = grant.await.map_err(Failure::into_error)?;
        match wire::lease_id(granted.id) {
            Some(lease) if granted.error.is_empty() => Ok(lease),
            _ => Err(Error::Refused(granted.error)),
        }
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        let id = lease.0.cast_signed();
        let revoke = self.members.call(Repeat::Always, |channel| async move {
            LeaseClient::new(channel).lease_revoke(wire::LeaseRevokeRequest { id }).await
        });
        revoke.await.map(|_| ()).map_err(Failure::into_error)
    }
}

impl Etcd {
    /// A request as callers get it: none outlives the store's closing.
    fn request<'a, T: Send + 'a>(
        &'a self,
        request: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        async move {
            tokio::select! {
                biased;
                () = self.0.closed.cancelled() => Err(Error::Closed),
                answer = request => answer,
            }
        }
        .boxed()
    }
}

impl Engine for Etcd {
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Option<KeyValue>, Error>> {
        self.request(self.0.get(key))
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResult, Error>> {
        self.request(self.0.range(request))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        self.request(txn::run(&self.0, txn))
    }

    fn watch(&self, prefix: Bytes, from_revision: u64) -> WatchStream {
        watch::stream(self.0.clone(), prefix, from_revision)
    }

    fn revision(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.request(self.0.revision())
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), Error>> {
        self.request(self.0.compact(revision))
    }

    fn compacted(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.request(self.0.compacted())
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.request(self.0.lease_grant(ttl))
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.request(self.0.lease_revoke(lease))
    }

    fn leases(&self, ids: Vec<LeaseId>) -> BoxFuture<'_, Result<Vec<Lease>, Error>> {
        self.request(self.0.leases(ids))
    }

    /// etcd looks at its own clock.
    fn expire_leases(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.request(futures::future::ready(Ok(())))
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        self.request(self.0.status())
    }

    fn defragment(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.request(self.0.defragment())
    }

    fn health(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.request(self.0.revision().map_ok(|_| ()))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn members(&self, change: Option<MemberChange>) -> BoxFuture<'_, Result<Vec<Member>, Error>> {
        self.request(self.0.change_members(change))
    }

    fn digests(&self) -> BoxFuture<'_, Result<Vec<Digest>, Error>> {
        self.request(self.0.digests())
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.closed.cancel();
        self.0.members.close();
        futures::future::ready(Ok(())).boxed()
    }
}
