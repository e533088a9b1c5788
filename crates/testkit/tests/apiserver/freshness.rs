//! Watches that begin with the state of a revision.

use serde_json::{Value, json};

use crate::watches::Watch;
use crate::{Outcome, server};

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
async fn a_watch_says_in_an_event_that_a_revision_does_not_come() -> Outcome {
    let (_server, client) = server().await?;
    let query = "resourceVersion=900000&sendInitialEvents=true&allowWatchBookmarks=true\
                 &resourceVersionMatch=NotOlderThan";
    let mut watch = Watch::open(&client, query, "application/json").await?;
    let event = watch.next().await?;
    assert_eq!(event["type"], "ERROR");
    check_too_large(&event["object"], 900_000);
    assert_eq!(watch.next().await?, Value::Null);
    Ok(())
}
