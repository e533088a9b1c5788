//! Snapshots of the store, for administrators who ask and by schedule, and what else they do to it.
//!
//! The paths below `/store/` are no resources: only those may use them who are bound to them by
//! name, or to everything. A snapshot holds every Secret.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use machinery::meta;
use machinery::status::Status;
use machinery::time::Timestamp;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts};
use serde_json::json;
use store::snapshot::{self, SnapshotError, folder};
use tokio_util::sync::CancellationToken;

use crate::cache::ROOT;
use crate::http::body::Body;
use crate::http::respond::{self, Reply};
use crate::pipeline::{Call, Failure};
use crate::registry::{Registry, store_failure};

/// Where a snapshot is sent from.
pub(crate) const SNAPSHOT: &str = "/store/snapshot";
/// Where it is said how the store is.
const STATUS: &str = "/store/status";
/// Where the store is made small.
pub(crate) const DEFRAGMENT: &str = "/store/defrag";
/// After a scheduled snapshot that failed, the next attempt.
const AGAIN: Duration = Duration::from_secs(60);

static TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "apiserver_store_snapshots_total",
        "Scheduled snapshots of the store, by result.",
    );
    component::metrics::register(
        IntCounterVec::new(options, &["result"]).expect("a fixed metric is well-formed"),
    )
});

static NEWEST: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "When the newest scheduled snapshot of the store was taken, in seconds since 1970.";
    let gauge = IntGauge::new("apiserver_store_snapshot_last_success_timestamp_seconds", help);
    component::metrics::register(gauge.expect("a fixed metric is well-formed"))
});

static DURATION: LazyLock<Histogram> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "etcd_disk_backend_snapshot_duration_seconds",
        "Seconds that scheduled snapshots of the store took.",
    )
    .buckets(vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]);
    component::metrics::register(
        Histogram::with_opts(options).expect("a fixed metric is well-formed"),
    )
});

/// When snapshots are taken without being asked for.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Where they are put.
    pub(crate) folder: PathBuf,
    /// How often.
    pub(crate) interval: Duration,
    /// How many stay.
    pub(crate) keep: usize,
}

/// Answers what is asked below `/store/`; `None` when there is no such path.
pub(crate) async fn answer(call: &Call<'_>) -> Option<Result<Reply, Failure>> {
    let registry = &call.api.registry;
    let wanted = match call.info.path {
        SNAPSHOT | STATUS => Method::GET,
        DEFRAGMENT => Method::POST,
        _ => return None,
    };
    if call.parts.method != wanted {
        return Some(Err(Box::new(Status::method_not_allowed())));
    }
    Some(match call.info.path {
        SNAPSHOT => send(registry).await,
        STATUS => status(registry).await,
        _ => defragment(registry).await,
    })
}

async fn send(registry: &Registry) -> Result<Reply, Failure> {
    let taken = take(registry).await.map_err(|error| store_failure(&error))?;
    let (header, parts) = taken;
    let name = folder::Name::new(folder::Reason::Manual, &header);
    let mut reply = Response::new(Body::stream(parts.map_err(|error| {
        // The connection breaks off, which is all that a client can be told by now.
        tracing::warn!(%error, "a snapshot of the store was not sent to its end");
        Box::from(error)
    })));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let disposition = format!("attachment; filename=\"{name}\"");
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(reply)
}

async fn status(registry: &Registry) -> Result<Reply, Failure> {
    let store = registry.store();
    let status = store.status().await.map_err(|error| store_failure(&error))?;
    let compacted = store.compacted().await.map_err(|error| store_failure(&error))?;
    let alarms: Vec<String> = status.alarms.iter().map(ToString::to_string).collect();
    let document = json!({
        "engine": status.engine,
        "revision": status.revision,
        "compactedRevision": compacted,
        "allocatedBytes": status.allocated_bytes,
        "usedBytes": status.used_bytes,
        "quotaBytes": status.quota_bytes,
        "alarms": alarms,
    });
    Ok(respond::json(StatusCode::OK, &document))
}

/// Forgets the past, which takes room too, and then gives the room back.
async fn defragment(registry: &Registry) -> Result<Reply, Failure> {
    let store = registry.store();
    let work = async {
        let now = store.revision().await?;
        store.compact(now).await?;
        store.defragment().await
    };
    work.await.map_err(|error| store_failure(&error))?;
    status(registry).await
}

async fn take(
    registry: &Registry,
) -> Result<
    (
        snapshot::Header,
        impl futures::Stream<Item = Result<bytes::Bytes, store::Error>> + Send + 'static,
    ),
    store::Error,
> {
    // Clusters are told apart by the UID of this namespace.
    let cluster = registry.cached("", "namespaces", "", "kube-system");
    let cluster = cluster.map(|namespace| meta::uid(&namespace.value()).to_owned());
    let store = registry.store().clone();
    snapshot::take(store, ROOT, cluster.unwrap_or_default(), Timestamp::now()).await
}

/// Takes snapshots by schedule until `shutdown`.
pub(crate) async fn keep(registry: Registry, schedule: Schedule, shutdown: CancellationToken) {
    let work = async {
        loop {
            let newest = folder::list(&schedule.folder).ok().and_then(|found| {
                let scheduled =
                    |found: &&folder::Found| found.name.reason == folder::Reason::Scheduled;
                Some(found.iter().rev().find(scheduled)?.name.created)
            });
            tokio::time::sleep(due(newest, Timestamp::now(), schedule.interval)).await;
            if let Err(error) = once(&registry, &schedule).await {
                let folder = schedule.folder.display();
                tracing::error!(%error, %folder, "a scheduled snapshot of the store failed");
                TOTAL.with_label_values(&["failure"]).inc();
                tokio::time::sleep(AGAIN.min(schedule.interval)).await;
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work => {}
    }
}

/// How long from `now` until the next one.
fn due(newest: Option<Timestamp>, now: Timestamp, interval: Duration) -> Duration {
    let Some(newest) = newest else { return Duration::ZERO };
    match Duration::try_from(now.duration_since(newest)) {
        Ok(age) => interval.saturating_sub(age),
        // It is from the future: the clock was moved.
        Err(_) => interval,
    }
}

async fn once(registry: &Registry, schedule: &Schedule) -> Result<(), SnapshotError> {
    let start = Instant::now();
    let folder = &schedule.folder;
    let failed = |source| SnapshotError::Io { path: folder.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    folder::tidy(folder)?;
    let (header, parts) = take(registry).await?;
    let name = folder::Name::new(folder::Reason::Scheduled, &header);
    let bytes = folder::write(&folder.join(name.to_string()), parts).await?;
    for old in folder::surplus(&folder::list(folder)?, schedule.keep) {
        std::fs::remove_file(&old.path)
            .map_err(|source| SnapshotError::Io { path: old.path.clone(), source })?;
    }
    DURATION.observe(start.elapsed().as_secs_f64());
    TOTAL.with_label_values(&["success"]).inc();
    NEWEST.set(header.created.as_second());
    tracing::info!(%name, bytes, "took a snapshot of the store");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_due_an_interval_after_the_newest() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = time("2026-07-30T10:00:00Z");
        let hour = Duration::from_secs(3600);
        let check = |newest: Option<&str>, want: u64| {
            assert_eq!(due(newest.map(time), now, hour), Duration::from_secs(want), "{newest:?}");
        };
        check(None, 0);
        check(Some("2026-07-30T09:59:00Z"), 3540);
        check(Some("2026-07-30T09:00:00Z"), 0);
        check(Some("2026-07-01T00:00:00Z"), 0);
        check(Some("2026-08-01T00:00:00Z"), 3600);
    }
}
