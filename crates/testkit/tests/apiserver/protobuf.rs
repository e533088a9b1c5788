//! The binary form of objects, as kubectl and upstream's components speak it.

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use machinery::codec::protobuf::{self, watch_event};
use machinery::schema;
use serde_json::{Value, json};
use testkit::{Error, fixtures, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What client-go sends.
const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";

async fn exchange(
    client: &kube::Client,
    (method, path): (&str, &str),
    body: Vec<u8>,
) -> Result<Response<Body>, Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", ACCEPT)
        .header("content-type", PROTOBUF)
        .body(Body::from(body))?;
    Ok(client.send(request).await?)
}

/// An answer that must be an object in protobuf.
async fn object(response: Response<Body>, code: u16) -> Result<Value, Error> {
    assert_eq!(response.status().as_u16(), code);
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    let declared = response.headers().get("content-length").cloned();
    let bytes = response.into_body().collect().await?.to_bytes();
    if let Some(declared) = declared {
        assert_eq!(declared, bytes.len().to_string());
    }
    read(&bytes)
}

fn read(bytes: &[u8]) -> Result<Value, Error> {
    let envelope = protobuf::open(bytes)?;
    let (group, version) =
        envelope.api_version.split_once('/').unwrap_or(("", envelope.api_version));
    let ty = schema::builtin().kind(group, version, envelope.kind).ok_or("unknown kind")?;
    Ok(protobuf::decode(bytes, ty)?.value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_lists_and_failures() -> Outcome {
    let (_server, client) = server().await?;
    let map = |name: &str| fixtures::config_map(name, "k", &"v".repeat(300));
    for name in ["a", "b"] {
        let body = protobuf::encode_builtin(&map(name))?;
        let made = object(exchange(&client, ("POST", CONFIG_MAPS), body).await?, 201).await?;
        assert_eq!((&made["kind"], &made["metadata"]["name"]), (&json!("ConfigMap"), &json!(name)));
    }
    let one = format!("{CONFIG_MAPS}/a");
    for path in [CONFIG_MAPS, &one] {
        let binary = object(exchange(&client, ("GET", path), Vec::new()).await?, 200).await?;
        let mut text = expect(&send_json(&client, "GET", path, &Value::Null).await?, 200);
        // Both are brought into one form; the list's own metadata is the same anyhow.
        let kind = text["kind"].as_str().unwrap_or_default().to_owned();
        let ty = schema::builtin().kind("", "v1", &kind).ok_or("unknown kind")?;
        machinery::codec::normalize(&mut text, ty)?;
        assert_eq!(binary, text, "{path}");
    }
    let again = protobuf::encode_builtin(&map("a"))?;
    let refused = object(exchange(&client, ("POST", CONFIG_MAPS), again).await?, 409).await?;
    assert_eq!((&refused["kind"], &refused["reason"]), (&json!("Status"), &json!("AlreadyExists")));

    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1",
        "preconditions": {"uid": "another"}});
    let options = protobuf::encode_builtin(&options)?;
    object(exchange(&client, ("DELETE", &one), options).await?, 409).await?;
    let options = protobuf::encode_builtin(&json!({"kind": "DeleteOptions", "apiVersion": "v1"}))?;
    let gone = object(exchange(&client, ("DELETE", &one), options).await?, 200).await?;
    assert_eq!(gone["status"], "Success");

    let nonsense = exchange(&client, ("POST", CONFIG_MAPS), b"k8s\0\xff".to_vec()).await?;
    object(nonsense, 400).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_and_scales() -> Outcome {
    let (_server, client) = server().await?;
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let body = protobuf::encode_builtin(&review)?;
    let answer = object(exchange(&client, ("POST", path), body).await?, 201).await?;
    assert_eq!(answer["status"]["allowed"], true);

    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({"app": "a"});
    let deployment = json!({"kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "a"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let body = protobuf::encode_builtin(&deployment)?;
    let made = object(exchange(&client, ("POST", deployments), body).await?, 201).await?;
    assert_eq!(made["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    let path = format!("{deployments}/a/scale");
    let mut scale = object(exchange(&client, ("GET", &path), Vec::new()).await?, 200).await?;
    assert_eq!(scale["spec"]["replicas"], 2);
    scale["spec"]["replicas"] = 3.into();
    let body = protobuf::encode_builtin(&scale)?;
    let scale = object(exchange(&client, ("PUT", &path), body).await?, 200).await?;
    assert_eq!(scale["spec"]["replicas"], 3);

    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "spec": {"audiences": [], "expirationSeconds": 3600}});
    let body = protobuf::encode_builtin(&request)?;
    let token = object(exchange(&client, ("POST", path), body).await?, 201).await?;
    assert!(token["status"]["token"].as_str().is_some_and(|token| token.matches('.').count() == 2));
    Ok(())
}

/// The frames of a watch that has ended.
async fn frames(client: &kube::Client, query: &str, accept: &str) -> Result<Vec<Vec<u8>>, Error> {
    let request = Request::get(format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1{query}"))
        .header("accept", accept)
        .body(Body::empty())?;
    let response = client.send(request).await?;
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], format!("{PROTOBUF};stream=watch"));
    let bytes = response.into_body().collect().await?.to_bytes();
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let (frame, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
        found.push([&len[..], frame].concat());
        rest = tail;
    }
    assert_eq!(rest, b"");
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches() -> Outcome {
    let (_server, client) = server().await?;
    let list = expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    let since = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let map = fixtures::config_map("a", "k", "v");
    let made = expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let path = format!("{CONFIG_MAPS}/a");
    expect(&send_json(&client, "DELETE", &path, &Value::Null).await?, 200);

    let query = format!("&resourceVersion={since}");
    let stream = format!("{PROTOBUF};stream=watch");
    let events = frames(&client, &query, &stream).await?;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], watch_event("ADDED", &protobuf::encode_builtin(&made)?));
    assert!(events[1].windows(7).any(|text| text == b"DELETED"));

    let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let events = frames(&client, &query, &metadata).await?;
    let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": made["metadata"]});
    assert_eq!(events[0], watch_event("ADDED", &protobuf::encode_builtin(&partial)?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_stay_text() -> Outcome {
    let (_server, client) = server().await?;
    let table = "as=Table;v=v1;g=meta.k8s.io";
    let accept = format!("{PROTOBUF};{table},application/json;{table}");
    let answer = send(&client, "GET", CONFIG_MAPS, &[("accept", &accept)], "").await?;
    assert_eq!(expect(&answer, 200)["kind"], "Table");
    // What server and client find together by quality.
    let accept = format!("{PROTOBUF};q=0.1,application/json;q=0.9");
    let answer = send(&client, "GET", CONFIG_MAPS, &[("accept", &accept)], "").await?;
    assert_eq!(answer.header("content-type"), "application/json");
    let discovery = exchange(&client, ("GET", "/api/v1"), Vec::new()).await?;
    assert_eq!(object(discovery, 200).await?["kind"], "APIResourceList");
    Ok(())
}
