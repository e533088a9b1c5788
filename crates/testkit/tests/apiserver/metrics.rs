//! What `/metrics` says about requests and watches, under upstream's names.

use serde_json::Value;
use testkit::{Error, fixtures, send, send_json};

use crate::watches::Watch;
use crate::{CONFIG_MAPS, Outcome, expect, server};

/// The value of the one series of this name that has all these labels.
pub(crate) async fn value(
    client: &kube::Client,
    name: &str,
    labels: &[&str],
) -> Result<Option<f64>, Error> {
    let text = send(client, "GET", "/metrics", &[], Vec::new()).await?.text;
    let mut series = text.lines().filter(|line| {
        line.split(['{', ' ']).next() == Some(name)
            && labels.iter().all(|label| line.contains(label))
    });
    let value = series.next().and_then(|line| line.rsplit(' ').next()?.parse().ok());
    assert_eq!(series.next(), None, "{name} {labels:?} says too little");
    Ok(value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_objects_and_watches_are_counted() -> Outcome {
    let (_server, client) = server().await?;
    let of_maps = ["group=\"\"", "resource=\"configmaps\""];
    let query = "resourceVersion=0&sendInitialEvents=true&allowWatchBookmarks=true\
                 &resourceVersionMatch=NotOlderThan";
    let before = value(&client, "apiserver_resource_objects", &of_maps).await?;
    for name in ["a", "b"] {
        let map = fixtures::config_map(name, "k", "v");
        expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    }
    let mut watch = Watch::open(&client, query, "application/json").await?;
    for kind in ["ADDED", "ADDED", "BOOKMARK"] {
        assert_eq!(watch.next().await?["type"], kind);
    }
    let list = send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?;
    expect(&list, 200);

    let posts = ["verb=\"POST\"", "resource=\"configmaps\"", "scope=\"namespace\"", "code=\"201\""];
    let lists = ["verb=\"LIST\"", "resource=\"configmaps\"", "version=\"v1\""];
    let watches = ["verb=\"WATCH\"", "resource=\"configmaps\""];
    let size = list.text.len() as f64;
    let after = before.map(|count| count + 2.0);
    for (name, labels, wanted) in [
        ("apiserver_request_total", &posts[..], Some(2.0)),
        ("apiserver_request_duration_seconds_count", &posts[..3], Some(2.0)),
        ("apiserver_response_sizes_count", &lists[..], Some(1.0)),
        ("apiserver_response_sizes_sum", &lists[..], Some(size)),
        // Only reads have sizes that matter.
        ("apiserver_response_sizes_count", &posts[..3], None),
        ("apiserver_longrunning_requests", &watches[..], Some(1.0)),
        ("apiserver_watch_events_total", &of_maps[..], Some(3.0)),
        ("apiserver_watch_events_sizes_count", &of_maps[..], Some(3.0)),
        ("apiserver_init_events_total", &of_maps[..], Some(2.0)),
        ("apiserver_watch_cache_events_dispatched_total", &of_maps[..], after),
        ("apiserver_watch_cache_initializations_total", &of_maps[..], Some(1.0)),
        ("apiserver_terminated_watchers_total", &of_maps[..], Some(0.0)),
        ("apiserver_resource_objects", &of_maps[..], after),
        ("apiserver_storage_objects", &["resource=\"configmaps\""][..], after),
        ("apiserver_current_inflight_requests", &["request_kind=\"mutating\""][..], Some(0.0)),
    ] {
        assert_eq!(value(&client, name, labels).await?, wanted, "{name} {labels:?}");
    }
    let revision = value(&client, "apiserver_watch_cache_resource_version", &of_maps).await?;
    let listed = list.json()["metadata"]["resourceVersion"].as_str().map(str::parse);
    assert_eq!(revision, listed.transpose()?);
    // A second look gives the same: what was counted is not counted again.
    assert_eq!(value(&client, "apiserver_init_events_total", &of_maps).await?, Some(2.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_the_store_are_counted() -> Outcome {
    let (_server, client) = server().await?;
    let path = format!("{CONFIG_MAPS}/a");
    let map = fixtures::config_map("a", "k", "v");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 409);
    let map = fixtures::config_map("a", "k", "w");
    expect(&send_json(&client, "PUT", &path, &map).await?, 200);
    expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);
    let counted = async |name: &str, operation: &str| {
        let operation = format!("operation=\"{operation}\"");
        let labels = ["group=\"\"", "resource=\"configmaps\"", &operation];
        value(&client, name, &labels).await
    };
    for operation in ["update", "delete"] {
        assert_eq!(counted("etcd_requests_total", operation).await?, Some(1.0), "{operation}");
        let timed = counted("etcd_request_duration_seconds_count", operation).await?;
        assert_eq!(timed, Some(1.0), "{operation}");
    }
    // What the server makes at its start counts too.
    assert!(counted("etcd_requests_total", "create").await?.is_some_and(|count| count >= 1.0));
    assert_eq!(counted("etcd_request_errors_total", "create").await?, None);
    let size = value(&client, "apiserver_storage_size_bytes", &["storage_cluster_id=\"etcd-0\""]);
    assert!(size.await?.is_some_and(|bytes| bytes > 0.0));
    let batches = value(&client, "etcd_disk_wal_fsync_duration_seconds_count", &[]).await?;
    assert!(batches.is_some_and(|count| count >= 3.0));
    let commits = value(&client, "etcd_disk_backend_commit_duration_seconds_count", &[]).await?;
    assert!(commits.is_some_and(|count| count >= 1.0), "the file follows");
    Ok(())
}
