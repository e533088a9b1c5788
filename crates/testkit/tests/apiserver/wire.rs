//! Forms of bytes: CBOR, gzip, WebSocket, and what is answered to those who ask for others.

use ::streams::upgrade::Target;
use ::streams::websocket::{self, Subprotocol};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use machinery::codec::{cbor, protobuf};
use serde_json::{Value, json};
use testkit::{ApiServer, Error, fixtures, send, send_json};

use crate::{CONFIG_MAPS, Outcome, expect, server};

const CBOR: &str = "application/cbor";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// An exchange of bytes.
async fn exchange(
    client: &kube::Client,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<(u16, HeaderMap, Bytes), Error> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.send(request.body(Body::from(body))?).await?;
    let (parts, body) = response.into_parts();
    Ok((parts.status.as_u16(), parts.headers, body.collect().await?.to_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cbor_everywhere() -> Outcome {
    let (_server, client) = server().await?;
    let call = async |method: &str, path: &str, kind: &str, body: Vec<u8>| {
        let headers = [("accept", CBOR), ("content-type", kind)];
        let (code, headers, bytes) = exchange(&client, (method, path), &headers, body).await?;
        assert_eq!(headers["content-type"], CBOR, "{method} {path}");
        assert!(bytes.starts_with(&cbor::MAGIC), "{method} {path}");
        Ok::<_, Error>((code, cbor::decode_untyped(&bytes)?))
    };
    for name in ["a", "b"] {
        let body = cbor::encode_object(&fixtures::config_map(name, "k", &"v".repeat(300)));
        let (code, made) = call("POST", CONFIG_MAPS, CBOR, body).await?;
        assert_eq!((code, &made["metadata"]["name"]), (201, &json!(name)), "{made}");
    }
    let one = format!("{CONFIG_MAPS}/a");
    for path in [CONFIG_MAPS, &one] {
        let (_, binary) = call("GET", path, CBOR, Vec::new()).await?;
        let text = expect(&send_json(&client, "GET", path, &Value::Null).await?, 200);
        assert_eq!(binary, text, "{path}");
    }
    let (code, refused) =
        call("POST", CONFIG_MAPS, CBOR, cbor::encode_object(&fixtures::config_map("a", "k", "v")))
            .await?;
    assert_eq!((code, &refused["reason"]), (409, &json!("AlreadyExists")));
    let twice = b"\xa2\x44kind\x49ConfigMap\x44kind\x49ConfigMap".to_vec();
    let (code, refused) = call("POST", CONFIG_MAPS, CBOR, twice).await?;
    let message = refused["message"].as_str().unwrap_or_default();
    assert_eq!(code, 400);
    assert!(message.contains("cbor: found duplicate map key \"kind\""), "{message}");
    let unknown =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "x": 1});
    let body = cbor::encode_untyped(&unknown);
    let path = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let (code, refused) = call("POST", &path, CBOR, body).await?;
    assert_eq!(code, 400);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.ends_with("strict decoding error: unknown field \"x\""), "{message}");

    let applied = cbor::encode_object(&fixtures::config_map("a", "k", "w"));
    let path = format!("{one}?fieldManager=me&force=true");
    let (code, after) = call("PATCH", &path, "application/apply-patch+cbor", applied).await?;
    assert_eq!((code, &after["data"]["k"]), (200, &json!("w")), "{after}");
    let manager = &after["metadata"]["managedFields"][0];
    assert_eq!((&manager["manager"], &manager["operation"]), (&json!("me"), &json!("Apply")));

    let table = "application/cbor;as=Table;g=meta.k8s.io;v=v1";
    let (_, _, bytes) = exchange(&client, ("GET", &one), &[("accept", table)], Vec::new()).await?;
    assert_eq!(cbor::decode_untyped(&bytes)?["rows"][0]["cells"][0], "a");
    let options = cbor::encode_object(&json!({"kind": "DeleteOptions", "apiVersion": "v1"}));
    let (code, gone) = call("DELETE", &one, CBOR, options).await?;
    assert_eq!((code, &gone["status"]), (200, &json!("Success")));

    // A watch is a sequence of self-described items.
    let path = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion=0");
    let (code, headers, bytes) =
        exchange(&client, ("GET", &path), &[("accept", CBOR)], Vec::new()).await?;
    assert_eq!((code, &headers["content-type"]), (200, &"application/cbor-seq".parse()?));
    let text = send(&client, "GET", &path, &[("accept", "application/json")], "").await?.text;
    let want: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut encoded = Vec::new();
    for event in &want {
        let kind = event["type"].as_str().unwrap_or_default();
        encoded.extend(cbor::watch_event(kind, &cbor::encode_object(&event["object"])));
    }
    assert!(!want.is_empty());
    assert!(bytes == encoded, "{bytes:02x?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had() -> Outcome {
    let (_server, client) = server().await?;
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("a", "k", "v")).await?,
        201,
    );
    let one = format!("{CONFIG_MAPS}/a");
    let get = async |path: &str, accept: &str| {
        let answer = send(&client, "GET", path, &[("accept", accept)], "").await?;
        Ok::<_, Error>((
            answer.code,
            answer.json()["message"].as_str().unwrap_or_default().to_owned(),
        ))
    };
    let all = "only the following media types are accepted: application/json, application/yaml, \
               application/vnd.kubernetes.protobuf";
    assert_eq!(get(&one, "text/html").await?, (406, all.to_owned()));
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(get(&one, &table).await?, (406, all.to_owned()));
    let watch = format!("{CONFIG_MAPS}?watch=true");
    // The refusal itself can be had in YAML.
    let refused = send(&client, "GET", &watch, &[("accept", "application/yaml")], "").await?;
    assert_eq!(refused.code, 406);
    assert!(refused.text.contains("application/json;stream=watch"), "{}", refused.text);
    let partial =
        |list: &str| format!("application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1");
    let (code, message) = get(CONFIG_MAPS, &partial("")).await?;
    assert_eq!(
        (code, &*message),
        (
            406,
            "you requested PartialObjectMetadata, but the requested object is a list (*v1.ConfigMapList)"
        )
    );
    let (code, message) = get(&one, &partial("List")).await?;
    assert_eq!(
        (code, &*message),
        (
            406,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*v1.ConfigMap)"
        )
    );

    let send_as = async |method: &str, path: &str, kind: &str| {
        let answer = send(&client, method, path, &[("content-type", kind)], "{}").await?;
        Ok::<_, Error>((
            answer.code,
            answer.json()["message"].as_str().unwrap_or_default().to_owned(),
        ))
    };
    let text = "the body of the request was in an unknown format - accepted media types include: ";
    let (code, message) = send_as("POST", CONFIG_MAPS, "text/plain").await?;
    assert_eq!(
        (code, message),
        (
            415,
            format!(
                "{text}application/json, application/yaml, application/vnd.kubernetes.protobuf"
            )
        )
    );
    let (code, message) = send_as("PATCH", &one, "application/json").await?;
    let patches = "application/json-patch+json, application/merge-patch+json, \
                   application/strategic-merge-patch+json, application/apply-patch+yaml, \
                   application/apply-patch+cbor";
    assert_eq!((code, message), (415, format!("{text}{patches}")));

    // Indented for people, failures too; a slash at the end changes nothing.
    let browser = [("user-agent", "curl/8"), ("accept", "*/*")];
    let failure = send(&client, "GET", &format!("{CONFIG_MAPS}/none"), &browser, "").await?;
    assert!(failure.text.starts_with("{\n  \"kind\": \"Status\""), "{}", failure.text);
    let slash = send_json(&client, "GET", &format!("{one}/"), &Value::Null).await?;
    assert_eq!(expect(&slash, 200)["metadata"]["name"], "a");
    let head = send(&client, "HEAD", &one, &[], "").await?;
    assert_eq!((head.code, head.text.as_str()), (200, ""));
    let options = send(&client, "OPTIONS", &one, &[], "").await?;
    assert_eq!(options.code, 405);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_in_protobuf() -> Outcome {
    let (_server, client) = server().await?;
    let map = fixtures::config_map("a", "k", "v");
    let made = expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let accept = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let (code, headers, bytes) =
        exchange(&client, ("GET", CONFIG_MAPS), &[("accept", &accept)], Vec::new()).await?;
    assert_eq!((code, &headers["content-type"]), (200, &PROTOBUF.parse()?));
    let ty = machinery::schema::builtin()
        .kind("meta.k8s.io", "v1", "PartialObjectMetadataList")
        .ok_or("no type")?;
    let list = protobuf::decode(&bytes, ty)?.value;
    let names: Vec<&Value> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|item| item["metadata"]["name"] == "a")
        .map(|item| &item["metadata"]["uid"])
        .collect();
    assert_eq!(names, [&made["metadata"]["uid"]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_are_compressed_for_those_who_ask() -> Outcome {
    let (_server, client) = server().await?;
    for name in ["a", "b"] {
        let map = fixtures::config_map(name, "k", &"0123456789".repeat(9000));
        expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    }
    let one = format!("{CONFIG_MAPS}/a");
    for accept in
        ["application/json", PROTOBUF, CBOR, "application/json;as=Table;g=meta.k8s.io;v=v1"]
    {
        let headers = [("accept", accept), ("accept-encoding", "gzip")];
        let path = format!("{CONFIG_MAPS}?includeObject=Object");
        let (_, got, small) = exchange(&client, ("GET", &path), &headers, Vec::new()).await?;
        assert_eq!(got["content-encoding"], "gzip", "{accept}");
        assert_eq!(got["vary"], "Accept-Encoding");
        assert!(small.starts_with(&[0x1f, 0x8b]) && small.len() < 20_000, "{}", small.len());
        let (_, got, _) = exchange(&client, ("GET", &one), &headers, Vec::new()).await?;
        assert!(!got.contains_key("content-encoding"), "one object is too small");
        let (_, got, large) =
            exchange(&client, ("GET", &path), &[("accept", accept)], Vec::new()).await?;
        assert!(!got.contains_key("content-encoding"));
        assert!(large.len() > 180_000, "{}", large.len());
    }
    Ok(())
}

/// The server, for those who speak TLS themselves.
pub(crate) fn target(server: &ApiServer) -> Result<Target, Error> {
    let pair = server.credentials("root", &["system:masters"])?;
    let (certificate, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
    let identity = ::streams::tls::Identity { certificate, key };
    let ca = server.authority().certificate().as_bytes();
    let tls = ::streams::tls::client_config(Some(ca), Some(identity))?;
    let address = server.address();
    Ok(Target {
        host: address.ip().to_string(),
        port: address.port(),
        tls: Some(tls),
        server_name: None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_over_websocket_and_old_paths() -> Outcome {
    let (server, client) = server().await?;
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("a", "k", "v")).await?,
        201,
    );
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("b", "k", "v")).await?,
        201,
    );
    let target = target(&server)?;
    for (accept, is_text) in [("application/json", true), (CBOR, false), (PROTOBUF, false)] {
        let uri = "/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1".parse()?;
        let mut headers = HeaderMap::new();
        headers.insert("accept", accept.parse()?);
        let (mut socket, _) =
            websocket::connect(&target, uri, headers, &[Subprotocol::ChannelV4]).await?;
        let message = socket.next().await.ok_or("the watch ended")??;
        assert_eq!(message.is_text(), is_text, "{accept}");
        let bytes = message.into_data();
        match accept {
            CBOR => assert_eq!(cbor::decode_untyped(&bytes)?["object"]["metadata"]["name"], "b"),
            PROTOBUF => assert!(bytes.starts_with(b"\x0a\x05ADDED\x12"), "{bytes:02x?}"),
            _ => {
                let event: Value = serde_json::from_slice(&bytes)?;
                assert_eq!(
                    (&event["type"], &event["object"]["metadata"]["name"]),
                    (&json!("ADDED"), &json!("b"))
                );
            }
        }
        // Nothing else is in this watch, which ends by itself.
        let last = socket.next().await.ok_or("no goodbye")??;
        assert!(last.is_close(), "{last:?}");
    }
    let path = "/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1&resourceVersion=0";
    let all = send(&client, "GET", path, &[], "").await?;
    assert_eq!(all.text.lines().count(), 2 + all.text.matches("kube-root-ca.crt").count().min(1));
    Ok(())
}
