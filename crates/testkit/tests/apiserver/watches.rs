//! Changes as they happen.

use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use testkit::{Error, fixtures, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

/// An open watch, read line by line.
pub(crate) struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    pub(crate) async fn open(
        client: &kube::Client,
        query: &str,
        accept: &str,
    ) -> Result<Self, Error> {
        let request = Request::get(format!("{CONFIG_MAPS}?watch=true&{query}"))
            .header("accept", accept)
            .body(Body::empty())?;
        let response = client.send(request).await?;
        assert_eq!(response.status().as_u16(), 200);
        Ok(Self { body: response.into_body(), rest: Vec::new() })
    }

    /// The next event; null at the end.
    pub(crate) async fn next(&mut self) -> Result<Value, Error> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                None => return Ok(Value::Null),
            }
        }
    }
}

async fn create(client: &kube::Client, name: &str, label: &str) -> Outcome {
    let mut map = fixtures::config_map(name, "k", "v");
    map["metadata"]["labels"] = json!({"l": label});
    expect(&send_json(client, "POST", CONFIG_MAPS, &map).await?, 201);
    Ok(())
}

fn shape(event: &Value) -> (&str, &str) {
    (
        event["type"].as_str().unwrap_or_default(),
        event["object"]["metadata"]["name"].as_str().unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_follow_a_list() -> Outcome {
    let (_server, client) = server().await?;
    create(&client, "a", "1").await?;
    let list = expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let query = format!("resourceVersion={version}&labelSelector=l%3D1");
    let mut watch = Watch::open(&client, &query, "application/json").await?;
    create(&client, "other", "2").await?;
    create(&client, "b", "1").await?;
    assert_eq!(shape(&watch.next().await?), ("ADDED", "b"));
    let path = format!("{CONFIG_MAPS}/b");
    let mut b = expect(&send_json(&client, "GET", &path, &Value::Null).await?, 200);
    b["data"]["k"] = "w".into();
    let b = expect(&send_json(&client, "PUT", &path, &b).await?, 200);
    let event = watch.next().await?;
    assert_eq!(shape(&event), ("MODIFIED", "b"));
    assert_eq!(event["object"], b);
    // Leaving the selection is an end for the watcher.
    let mut left = b.clone();
    left["metadata"]["labels"]["l"] = "2".into();
    expect(&send_json(&client, "PUT", &path, &left).await?, 200);
    assert_eq!(shape(&watch.next().await?), ("DELETED", "b"));
    expect(&send_json(&client, "DELETE", &format!("{CONFIG_MAPS}/a"), &Value::Null).await?, 200);
    assert_eq!(shape(&watch.next().await?), ("DELETED", "a"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_can_start_with_what_is_there() -> Outcome {
    let (mut server, client) = server().await?;
    create(&client, "a", "1").await?;
    let query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = Watch::open(&client, query, "application/json").await?;
    assert_eq!(shape(&watch.next().await?), ("ADDED", "a"));
    let bookmark = watch.next().await?;
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // The server's end is the watch's end, not an error.
    server.restart().await?;
    assert_eq!(watch.next().await?, Value::Null);
    expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_name_their_columns_once() -> Outcome {
    let (_server, client) = server().await?;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut watch = Watch::open(&client, "resourceVersion=0", accept).await?;
    create(&client, "a", "1").await?;
    create(&client, "b", "1").await?;
    let first = watch.next().await?;
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert_eq!(first["object"]["columnDefinitions"].as_array().map(Vec::len), Some(3));
    let second = watch.next().await?;
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
    Ok(())
}
