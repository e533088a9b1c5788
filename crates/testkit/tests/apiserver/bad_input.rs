//! What clients should not send, and what they are told.

use http::StatusCode;
use serde_json::{Value, json};
use testkit::{Error, fixtures, send, send_json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{CONFIG_MAPS, Outcome, expect, metrics, server, watches, wire};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const CBOR: &str = "application/cbor";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bodies() -> Outcome {
    let (_server, client) = server().await?;
    let check = async |kind: &str, body: &[u8], code: u16, want: &str| {
        let headers = [("content-type", kind), ("accept", JSON)];
        let answer = send(&client, "POST", CONFIG_MAPS, &headers, body).await?;
        let message = expect(&answer, code)["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(want), "{kind}: {message:?} lacks {want:?}");
        Ok::<_, Error>(())
    };
    check(JSON, b"{", 400, "unexpected end of JSON input").await?;
    check(JSON, b"", 400, "unexpected end of JSON input").await?;
    check(JSON, b"[]", 400, "cannot unmarshal array").await?;
    check(
        JSON,
        br#"{"kind":"ConfigMap","apiVersion":"v1","data":[1]}"#,
        400,
        "cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
    )
    .await?;
    check(JSON, br#"{"kind":"Secret","apiVersion":"v1"}"#, 400, "cannot be handled as a ConfigMap")
        .await?;
    check(YAML, b"a: [b", 400, "yaml: ").await?;
    check(YAML, b"a: &a [x, x]\nb: &b [*a, *a]\nc: *d\n", 400, "yaml: ").await?;
    check(PROTOBUF, b"{}", 400, "expected prefix").await?;
    check(PROTOBUF, b"k8s\0\x12\xff\xff\xff\xff\x0f", 400, "unexpected EOF").await?;
    check(CBOR, b"\xa1", 400, "unexpected EOF").await?;
    check(CBOR, b"", 400, "EOF").await?;
    let deep = format!("{{\"data\":{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    check(JSON, deep.as_bytes(), 400, "").await?;
    let deep = [b"\xa1\x44data".to_vec(), vec![0x81; 100_000]].concat();
    check(CBOR, &deep, 400, "cbor: exceeded max nested level 64").await?;
    let deep = format!("data: {}{}", "[".repeat(2000), "]".repeat(2000));
    check(YAML, deep.as_bytes(), 400, "the object provided is unrecognized").await?;
    // Nine levels of ten references each: a billion nodes, were they followed.
    let mut bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let inner = vec![format!("*l{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("l{level}: &l{level} [{inner}]\n"));
    }
    bomb.push_str("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\ndata: {a: *l8}\n");
    check(YAML, bomb.as_bytes(), 400, "").await?;
    // What is not UTF-8 is replaced, as Go replaces it.
    let bad = b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"u\"},\"data\":{\"k\":\"a\xffb\"}}";
    let headers = [("content-type", JSON)];
    let made = expect(&send(&client, "POST", CONFIG_MAPS, &headers, &bad[..]).await?, 201);
    assert_eq!(made["data"]["k"], "a\u{fffd}b");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_bodies_and_patches() -> Outcome {
    let (_server, client) = server().await?;
    let huge = fixtures::config_map("a", "k", &"x".repeat(4 << 20));
    let answer = send_json(&client, "POST", CONFIG_MAPS, &huge).await?;
    let refused = expect(&answer, 413);
    assert_eq!(refused["message"], "Request entity too large: limit is 3145728");
    assert_eq!(refused["reason"], "RequestEntityTooLarge");
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("a", "k", "v")).await?,
        201,
    );
    let one = format!("{CONFIG_MAPS}/a");
    let operation = json!({"op": "test", "path": "/data/k", "value": "v"});
    for (count, code) in [(10_000, 200), (10_001, 413)] {
        let patch = Value::Array(vec![operation.clone(); count]).to_string();
        let headers = [("content-type", "application/json-patch+json")];
        let answer = send(&client, "PATCH", &one, &headers, patch).await?;
        assert_eq!(answer.code, code, "{}", &answer.text[..answer.text.len().min(300)]);
    }
    let patch = send(
        &client,
        "PATCH",
        &one,
        &[("content-type", "application/apply-patch+cbor")],
        &b"\xff"[..],
    );
    let refused = expect(&patch.await?, 422);
    assert!(refused["message"].as_str().is_some_and(|m| m.contains("fieldManager")), "{refused}");
    let path = format!("{one}?fieldManager=me");
    let patch = send(
        &client,
        "PATCH",
        &path,
        &[("content-type", "application/apply-patch+cbor")],
        &b"\xff"[..],
    );
    let refused = expect(&patch.await?, 400);
    assert_eq!(refused["message"], "error decoding CBOR: cbor: unexpected \"break\" code");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_keep_to_their_range() -> Outcome {
    let (_server, client) = server().await?;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let check = async |replicas: &str, want: &str| {
        let body = format!(
            r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"a"}},"spec":{{"replicas":{replicas}}}}}"#
        );
        let answer = send(&client, "POST", path, &[("content-type", JSON)], body).await?;
        assert!((400..423).contains(&answer.code), "{}", answer.text);
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(want), "{replicas}: {message:?} lacks {want:?}");
        Ok::<_, Error>(())
    };
    let field = "into Go struct field DeploymentSpec.spec.replicas of type int32";
    check("2147483648", &format!("cannot unmarshal number 2147483648 {field}")).await?;
    check("9223372036854775808", field).await?;
    check("1.5", &format!("cannot unmarshal number 1.5 {field}")).await?;
    check("1e400", "").await?;
    check("NaN", "invalid character 'N' looking for beginning of value").await?;
    // Minus zero is zero; what else is missing is told then.
    check("-0", "spec.selector: Required value").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_selectors() -> Outcome {
    let (_server, client) = server().await?;
    expect(
        &send_json(&client, "POST", CONFIG_MAPS, &fixtures::config_map("a", "k", "v")).await?,
        201,
    );
    let list = async |query: String| {
        send_json(&client, "GET", &format!("{CONFIG_MAPS}?{query}"), &Value::Null).await
    };
    let many: Vec<String> = (0..4000).map(|n| format!("k{n}")).collect();
    let found = expect(&list(format!("labelSelector={}", many.join(","))).await?, 200);
    assert_eq!(found["items"], json!([]));
    let found = expect(&list(format!("labelSelector=k+in+({})", many.join(","))).await?, 200);
    assert_eq!(found["items"], json!([]));
    for bad in [
        "labelSelector=a+in+(b",
        "labelSelector=%00",
        "labelSelector=(((((",
        "fieldSelector=a%3Db%3Dc%3D",
        "fieldSelector=spec.x%3D1",
        "limit=x",
        "limit=99999999999999999999",
    ] {
        expect(&list(bad.to_owned()).await?, 400);
    }
    let long = "x".repeat(64);
    let refused = expect(&list(format!("labelSelector={long}")).await?, 400);
    assert!(
        refused["message"].as_str().is_some_and(|m| m.contains("must be no more than 63")),
        "{refused}"
    );
    for bad in ["continue=x", "continue=e30", "resourceVersion=x", "resourceVersion=-1"] {
        let answer = list(bad.to_owned()).await?;
        assert!(matches!(answer.code, 400 | 422), "{bad}: {}", answer.text);
    }
    Ok(())
}

/// What a server says to bytes that are no good request.
async fn raw(server: &testkit::ApiServer, request: &[u8]) -> Result<String, Error> {
    let mut io = wire::target(server)?.dial().await?;
    // The server may hang up before it has read all.
    if io.write_all(request).await.is_ok() {
        io.flush().await.ok();
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // The first read has the status line; what follows does not matter.
    if let Ok(len) = io.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..len]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_requests() -> Outcome {
    let (server, client) = server().await?;
    let starts = async |request: &[u8], code: StatusCode| {
        let answer = raw(&server, request).await?;
        assert!(answer.starts_with(&format!("HTTP/1.1 {}", code.as_u16())), "{answer}");
        Ok::<_, Error>(())
    };
    starts(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n", StatusCode::OK).await?;
    starts(b"GARBAGE\r\n\r\n", StatusCode::BAD_REQUEST).await?;
    starts(b"GET /version HTTP/1.1\r\nbad header\r\n\r\n", StatusCode::BAD_REQUEST).await?;
    let large = format!("GET /version HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(2 << 20));
    starts(large.as_bytes(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).await?;
    let many = format!("GET /version HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(5000));
    starts(many.as_bytes(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).await?;
    // An unfinished request and a silent connection harm nobody else.
    let mut slow = wire::target(&server)?.dial().await?;
    slow.write_all(b"GET /version HTTP/1.1\r\nhost:").await?;
    let _silent = wire::target(&server)?.dial().await?;
    expect(&send_json(&client, "GET", CONFIG_MAPS, &Value::Null).await?, 200);
    for path in [
        "/api/v1/namespaces/default/pods/%2e%2e",
        "/api/v1/%00",
        "/api//v1/",
        "/apis/apps/v1/namespaces//",
    ] {
        let answer = send_json(&client, "GET", path, &Value::Null).await?;
        assert!(answer.code < 500, "{path}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read() -> Outcome {
    let (mut server, client) = server().await?;
    let mut deaf = wire::target(&server)?.dial().await?;
    let request =
        format!("GET {CONFIG_MAPS}?watch=true&resourceVersion=0 HTTP/1.1\r\nhost: x\r\n\r\n");
    deaf.write_all(request.as_bytes()).await?;
    // More than all buffers on the way can hold; each write must be answered all the same.
    let map = fixtures::config_map("a", "k", &"x".repeat(900_000));
    expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    let path = format!("{CONFIG_MAPS}/a");
    for round in 0..30 {
        let patch = json!({"metadata": {"labels": {"round": round.to_string()}}});
        let headers = [("content-type", "application/merge-patch+json")];
        let answer = send(&client, "PATCH", &path, &headers, patch.to_string()).await?;
        assert_eq!(answer.code, 200);
    }
    drop(deaf);
    server.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_is_dropped() -> Outcome {
    let (server, client) = server().await?;
    let names: Vec<String> = (0..32).map(|n| format!("m{n}")).collect();
    for name in &names {
        let map = fixtures::config_map(name, "k", &"x".repeat(20_000));
        expect(&send_json(&client, "POST", CONFIG_MAPS, &map).await?, 201);
    }
    let mut deaf = wire::target(&server)?.dial().await?;
    let request =
        format!("GET {CONFIG_MAPS}?watch=true&resourceVersion=0 HTTP/1.1\r\nhost: x\r\n\r\n");
    deaf.write_all(request.as_bytes()).await?;
    deaf.flush().await?;
    let dropped = async || {
        let labels = ["group=\"\"", "resource=\"configmaps\""];
        metrics::value(&client, "apiserver_terminated_watchers_total", &labels).await
    };
    let mut round = 0;
    while dropped().await? == Some(0.0) {
        // Far more than the connection and the watcher's queue can hold.
        assert!(round < 200, "the watcher is still there");
        round += 1;
        let patch = json!({"metadata": {"labels": {"round": round.to_string()}}}).to_string();
        let headers = [("content-type", "application/merge-patch+json")];
        let patches = names.iter().map(|name| {
            let (client, patch) = (client.clone(), patch.clone());
            let path = format!("{CONFIG_MAPS}/{name}");
            async move { send(&client, "PATCH", &path, &headers, patch).await }
        });
        for answer in futures::future::try_join_all(patches).await? {
            assert_eq!(answer.code, 200, "{}", answer.text);
        }
    }
    assert_eq!(dropped().await?, Some(1.0));
    // Should it read again, it finds the end behind what was on its way.
    let mut end = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !end.ends_with(b"\r\n0\r\n\r\n") {
        let len = deaf.read(&mut buffer).await?;
        assert_ne!(len, 0, "the connection broke off");
        end.extend_from_slice(&buffer[..len]);
        end.drain(..end.len().saturating_sub(16));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_that_clients_ask_for() -> Outcome {
    let (server, client) = server().await?;
    let list = async |query: &str| {
        send_json(&client, "GET", &format!("{CONFIG_MAPS}?{query}"), &Value::Null).await
    };
    for (timeout, why) in [
        ("invalid", "time: invalid duration \"invalid\""),
        ("5", "time: missing unit in duration \"5\""),
    ] {
        let refused = expect(&list(&format!("timeout={timeout}")).await?, 400);
        let want = format!("invalid timeout specified in the request URL - {why}");
        assert_eq!(refused["message"], want);
    }
    for timeout in ["0", "-1s", "1h", "30s"] {
        expect(&list(&format!("timeout={timeout}")).await?, 200);
    }
    let late = format!(
        "POST {CONFIG_MAPS}?timeout=1ms HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{"
    );
    let answer = raw(&server, late.as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let longest = format!("timeoutSeconds={}&resourceVersion=0", i64::MAX);
    watches::Watch::open(&client, &longest, JSON).await?;
    let refused = expect(&list("watch=true&timeoutSeconds=soon").await?, 400);
    assert_eq!(refused["message"], "strconv.ParseInt: parsing \"soon\": invalid syntax");
    Ok(())
}
