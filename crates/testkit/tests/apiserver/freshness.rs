//! Reads at revisions that are gone or have not come yet, and readers that are too slow.

use serde_json::{Value, json};
use testkit::{fixtures, send_json};

use crate::watches::Watch;
use crate::{CONFIG_MAPS, Outcome, expect, server};

/// What a Status says when a revision has not come.
fn check_too_large(status: &Value, wanted: u64) {
    let message = status["message"].as_str().unwrap_or_default();
    let start = format!("Timeout: Too large resource version: {wanted}, current: ");
    assert!(message.starts_with(&start), "{status}");
    assert_eq!((&status["code"], &status["reason"]), (&json!(504), &json!("Timeout")));
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    let cause = json!([{
        "reason": "ResourceVersionTooLarge",
        "message": "Too large resource version"
    }]);
    assert_eq!(status["details"]["causes"], cause);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_of_the_future_is_waited_for_and_then_refused() -> Outcome {
    let (_server, client) = server().await?;
    for query in [
        "resourceVersion=900000&resourceVersionMatch=NotOlderThan",
        "resourceVersion=900000&resourceVersionMatch=Exact",
        "resourceVersion=900000",
    ] {
        let path = format!("{CONFIG_MAPS}?{query}");
        let answer = send_json(&client, "GET", &path, &Value::Null).await?;
        check_too_large(&expect(&answer, 504), 900_000);
        assert_eq!(answer.header("retry-after"), "1");
    }
    // A watch has begun by then, so it is an event that says so.
    let query = "resourceVersion=900000&sendInitialEvents=true&allowWatchBookmarks=true\
                 &resourceVersionMatch=NotOlderThan";
    let mut watch = Watch::open(&client, query, "application/json").await?;
    let event = watch.next().await?;
    assert_eq!(event["type"], "ERROR");
    check_too_large(&event["object"], 900_000);
    assert_eq!(watch.next().await?, Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_from_what_is_forgotten_ends_with_expired() -> Outcome {
    let (_server, client) = server().await?;
    let first = fixtures::config_map("changing", "k", "0");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &first).await?, 201);
    let list = expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    // More changes than are kept for watchers.
    let path = format!("{CONFIG_MAPS}/changing");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let (client, path) = (client.clone(), path.clone());
        writers.spawn(async move {
            for number in 0..520 {
                let patch = json!({"data": {"k": format!("{writer}-{number}")}}).to_string();
                let kind = [("content-type", "application/merge-patch+json")];
                expect(&testkit::send(&client, "PATCH", &path, &kind, patch).await?, 200);
            }
            Ok::<_, testkit::Error>(())
        });
    }
    while let Some(result) = writers.join_next().await {
        result??;
    }
    let query = format!("resourceVersion={version}");
    let mut watch = Watch::open(&client, &query, "application/json").await?;
    let event = watch.next().await?;
    assert_eq!(event["type"], "ERROR");
    let status = &event["object"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.starts_with(&format!("too old resource version: {version} (")), "{status}");
    assert_eq!(watch.next().await?, Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn initial_events_end_with_a_bookmark_only_for_those_who_take_bookmarks() -> Outcome {
    let (_server, client) = server().await?;
    let map = fixtures::config_map("a", "k", "0");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut watch = Watch::open(&client, query, "application/json").await?;
    assert_eq!(watch.next().await?["type"], "ADDED");
    let map = fixtures::config_map("b", "k", "0");
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let event = watch.next().await?;
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["name"]),
        (&json!("ADDED"), &json!("b"))
    );
    Ok(())
}
