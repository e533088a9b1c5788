use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::*;

/// A server that gives these answers one after the other and then none, and what it was asked.
fn server(answers: &[(u16, String)]) -> (Api<ConfigMap>, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let answers = Mutex::new(VecDeque::from(answers.to_vec()));
    let serve = tower::service_fn(move |request: Request<Body>| {
        let answer = answers.lock().unwrap().pop_front();
        if answer.is_some() {
            log.lock().unwrap().push(request.uri().to_string());
        }
        async move {
            let Some((code, body)) = answer else { return std::future::pending().await };
            let body = Body::from(body.into_bytes());
            Ok::<_, BoxError>(Response::builder().status(code).body(body)?)
        }
    });
    (Api::namespaced(Client::new(serve, "n"), "n"), asked)
}

fn map(name: &str, version: u64) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version.to_string()}})
}

fn list(version: u64, items: &[Value]) -> (u16, String) {
    let list = json!({"metadata": {"resourceVersion": version.to_string()}, "items": items});
    (200, list.to_string())
}

fn events(events: &[(&str, Value)]) -> (u16, String) {
    let line = |(r#type, object): &(&str, Value)| json!({"type": r#type, "object": object});
    (200, events.iter().map(|event| format!("{}\n", line(event))).collect())
}

fn status(code: u16) -> Value {
    json!({"kind": "Status", "status": "Failure", "message": "no", "code": code})
}

/// What is told until the answers have run out.
async fn told(api: &Api<ConfigMap>) -> Vec<String> {
    let mut watch = Watch::new(api).labels("a=b");
    let mut told = Vec::new();
    // The clock of the test goes on only once nothing else does.
    while let Ok(delta) = tokio::time::timeout(SILENCE / 2, watch.next::<ConfigMap>()).await {
        let name = |map: &ConfigMap| map.metadata.name.clone().unwrap();
        told.push(match delta {
            Delta::List(maps) => format!("={}", maps.iter().map(name).collect::<String>()),
            Delta::Apply(map) => format!("+{}", name(&map)),
            Delta::Delete(map) => format!("-{}", name(&map)),
        });
    }
    told
}

/// From which version on each request wanted to watch; none for a list.
fn versions(asked: &Mutex<Vec<String>>) -> Vec<Option<String>> {
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|uri| uri.contains("labelSelector=a%3Db")), "{asked:?}");
    let version = |uri: &String| {
        uri.contains("watch=true").then(|| uri.rsplit("resourceVersion=").next().unwrap().into())
    };
    asked.iter().map(version).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_the_last_one_ended() {
    let (api, asked) = server(&[
        (500, status(500).to_string()),
        list(3, &[map("a", 1), map("b", 3)]),
        events(&[("ADDED", map("c", 4)), ("MODIFIED", map("a", 5)), ("DELETED", map("b", 6))]),
        events(&[("BOOKMARK", map("", 9))]),
        (503, status(503).to_string()),
        (200, r#"{"type":"ADDED","object":{"metadata":{"na"#.into()),
        events(&[("ADDED", map("d", 12))]),
        events(&[]),
    ]);
    assert_eq!(told(&api).await, ["=ab", "+c", "+a", "-b", "+d"]);
    let at = |version: u64| Some(version.to_string());
    assert_eq!(versions(&asked), [None, None, at(3), at(6), at(9), at(9), at(9), at(12)]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_makes_a_new_list() {
    let (api, asked) = server(&[
        list(3, &[map("a", 1)]),
        (410, status(410).to_string()),
        list(5, &[]),
        events(&[("ADDED", map("b", 6)), ("ERROR", status(410))]),
        list(2, &[map("c", 1)]),
        (504, status(504).to_string()),
        list(2, &[map("c", 1)]),
        events(&[("ERROR", status(500))]),
    ]);
    assert_eq!(told(&api).await, ["=a", "=", "+b", "=c", "=c"]);
    let is_list: Vec<_> = versions(&asked).iter().map(Option::is_none).collect();
    assert_eq!(is_list, [true, false, true, false, true, false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_asked_for_again() {
    let odd = json!({"metadata": {"name": "odd", "resourceVersion": "4"}, "data": 7});
    let (api, asked) = server(&[
        (200, "no list".into()),
        list(3, std::slice::from_ref(&odd)),
        list(3, &[]),
        events(&[("ADDED", odd), ("ADDED", map("never", 5))]),
        list(6, &[map("a", 6)]),
    ]);
    assert_eq!(told(&api).await, ["=", "=a"]);
    assert_eq!(versions(&asked).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_what_was_waited_for() {
    let answers = [list(1, &[]), events(&[("ADDED", map("a", 2)), ("DELETED", map("a", 3))])];
    let (api, asked) = server(&answers);
    let there = wait_for(&api, "a", |map| map.is_some()).await;
    assert_eq!(there.unwrap().metadata.name.as_deref(), Some("a"));
    assert!(asked.lock().unwrap().iter().all(|uri| uri.contains("metadata.name%3Da")));

    let (api, _) = server(&[list(2, &[map("a", 2)]), answers[1].clone()]);
    assert!(wait_for(&api, "a", |map| map.is_none()).await.is_none());
}
