//! What the server passes on to kubelets.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use ::streams::upgrade::{Reply, Target};
use ::streams::websocket::{self, Message, Subprotocol, WebSocketError};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use component::pki::Subject;
use component::serve::{Certificates, Options, Peer, serve};
use component::tls::ServerTls;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use testkit::{ApiServer, Error, fixtures, send_json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Outcome, expect, server};

/// Answers a log request with its own path, and an upgrade by echoing.
async fn answer(trusted: bool, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    if !trusted || request.headers().contains_key("authorization") {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    }
    let target = request.uri().to_string();
    if target.starts_with("/containerLogs/default/p/bad") {
        let mut response = Response::new(Full::from("container \"bad\" is waiting to start"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    }
    if !request.headers().contains_key("upgrade") {
        return Response::new(Full::from(target));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.expect("the client upgrades"));
        stream.write_all(format!("{target}\n").as_bytes()).await.expect("it reads");
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.expect("it writes");
        stream.write_all(&word).await.expect("it reads");
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(Full::default())
        .expect("fixed headers")
}

/// A kubelet of node `w1` with a certificate of the cluster, and the Pod `p` on it.
async fn kubelet(server: &ApiServer, admin: &kube::Client) -> Result<DropGuard, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    let subject = Subject {
        common_name: "system:node:w1".to_owned(),
        names: vec!["127.0.0.1".to_owned()],
        server: true,
        ..Subject::default()
    };
    let pair = server.authority().issue(&subject, std::time::Duration::from_secs(600))?;
    let ca = server.authority().certificate().as_bytes();
    let tls = ServerTls::new(pair.certificate.as_bytes(), pair.key.as_bytes(), Some(ca))?;
    let shutdown = CancellationToken::new();
    let connect = |peer: Peer| {
        let trusted = matches!(peer.certificates, Certificates::Trusted(_));
        service_fn(
            move |request| async move { Ok::<_, Infallible>(answer(trusted, request).await) },
        )
    };
    tokio::spawn(serve(listener, Some(tls), Options::default(), connect, shutdown.clone()));

    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "w1"}});
    let mut node = expect(&send_json(admin, "POST", "/api/v1/nodes", &node).await?, 201);
    node["status"] = json!({
        "addresses": [{"type": "Hostname", "address": "w1"},
            {"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    });
    expect(&send_json(admin, "PUT", "/api/v1/nodes/w1/status", &node).await?, 200);
    let mut pod = fixtures::pod("p");
    pod["spec"]["nodeName"] = "w1".into();
    pod["spec"]["initContainers"] = json!([{"name": "bad", "image": "i"}]);
    expect(&send_json(admin, "POST", "/api/v1/namespaces/default/pods", &pod).await?, 201);
    Ok(shutdown.drop_guard())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_from_the_kubelet() -> Outcome {
    let (server, admin) = server().await?;
    let _kubelet = kubelet(&server, &admin).await?;
    let path = "/api/v1/namespaces/default/pods/p/log";
    let get = async |query: &str| {
        send_json(&admin, "GET", &format!("{path}?{query}"), &Value::Null).await
    };
    let log = get("container=main&tailLines=5&timestamps=true").await?;
    assert_eq!(log.text, "/containerLogs/default/p/main?timestamps=true&tailLines=5");
    assert_eq!(log.header("content-type"), "text/plain");
    let refused = expect(&get("container=bad").await?, 400);
    assert_eq!(refused["message"], "container \"bad\" is waiting to start");
    let refused = expect(&get("container=nope").await?, 400);
    assert_eq!(refused["message"], "container nope is not valid for pod p");
    let refused = expect(&get("").await?, 400);
    assert_eq!(
        refused["message"],
        "a container name must be specified for pod p, choose one of: [main] or one of the init \
         containers: [bad]"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_over_websocket() -> Outcome {
    let (server, admin) = server().await?;
    let _kubelet = kubelet(&server, &admin).await?;
    let target = crate::wire::target(&server)?;
    let text = "/containerLogs/default/p/main?tailLines=5";
    for (protocol, expected) in [
        (Subprotocol::Binary, Message::binary(text.as_bytes())),
        (Subprotocol::Base64, Message::text(BASE64_STANDARD.encode(text))),
    ] {
        let uri = "/api/v1/namespaces/default/pods/p/log?container=main&tailLines=5".parse()?;
        let (mut socket, _) =
            websocket::connect(&target, uri, HeaderMap::new(), &[protocol]).await?;
        assert_eq!(socket.next().await.ok_or("no log")??, expected);
        assert!(socket.next().await.ok_or("no goodbye")??.is_close());
    }
    let uri = "/api/v1/namespaces/default/pods/p/log?container=main".parse()?;
    let unknown = [Subprotocol::ChannelV5];
    let refused = websocket::connect(&target, uri, HeaderMap::new(), &unknown).await;
    assert!(matches!(refused, Err(WebSocketError::Refused(_))), "{:?}", refused.err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_over_a_switched_connection() -> Outcome {
    let (server, admin) = server().await?;
    let _kubelet = kubelet(&server, &admin).await?;
    let pair = server.credentials("root", &["system:masters"])?;
    let identity = ::streams::tls::Identity {
        certificate: pair.certificate.as_bytes(),
        key: pair.key.as_bytes(),
    };
    let ca = server.authority().certificate().as_bytes();
    let tls = ::streams::tls::client_config(Some(ca), Some(identity))?;
    let address = server.address();
    let target = Target {
        host: address.ip().to_string(),
        port: address.port(),
        tls: Some(tls),
        server_name: None,
    };
    let path = "/api/v1/namespaces/default/pods/p/exec?command=echo&command=a%20b&stdout=true\
        &stdin=true&container=main";
    let request = Request::post(path)
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(Full::<Bytes>::default())?;
    let Reply::Switched { mut io, .. } = target.send(request).await? else {
        return Err("the server refused to upgrade".into());
    };
    io.write_all(b"hello").await?;
    let mut text = String::new();
    io.read_to_string(&mut text).await?;
    assert_eq!(text, "/exec/default/p/main?input=1&output=1&command=echo&command=a%20b\nhello");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_keep_the_path() -> Outcome {
    let (server, admin) = server().await?;
    let _kubelet = kubelet(&server, &admin).await?;
    let path = "/api/v1/nodes/w1/proxy/pods/a%2Fb?x=y%20z";
    let answer = send_json(&admin, "GET", path, &Value::Null).await?;
    assert_eq!((answer.code, answer.text.as_str()), (200, "/pods/a%2Fb?x=y%20z"));
    let jane = server.client_for("jane", &[])?;
    expect(&send_json(&jane, "GET", path, &Value::Null).await?, 403);
    Ok(())
}
