//! The kubelet against a real container runtime.

// clippy.toml allows it in tests, but its notion of a test leaves out what tests call.
#![allow(clippy::unwrap_used)]

mod content;
mod harness;
mod image_volumes;
mod images;
mod kubectl;
mod pods;
mod registry;
mod resize;

use std::time::Duration;

use bytes::Bytes;
use harness::{Containerd, OnePod, Served, free_port};
use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use streams::remotecommand::{Channel, ExitStatus, TerminalSize};
use streams::spdy;
use streams::upgrade::{Reply, Target};
use streams::websocket::{self, Frame, Subprotocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What a client saw of a remote command.
#[derive(Debug, Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<ExitStatus>,
}

/// Runs a remote command as kubectl does over WebSocket.
async fn websocket(
    target: &Target,
    path: &str,
    protocol: Subprotocol,
    stdin: &[u8],
    size: Option<TerminalSize>,
) -> Seen {
    let uri: Uri = path.parse().unwrap();
    let (socket, chosen) =
        match websocket::connect(target, uri, HeaderMap::new(), &[protocol]).await {
            Ok(connected) => connected,
            Err(websocket::WebSocketError::Refused(response)) => {
                let body = response.into_body().collect().await.unwrap().to_bytes();
                panic!("refused: {}", String::from_utf8_lossy(&body));
            }
            Err(error) => panic!("{error}"),
        };
    assert_eq!(chosen, protocol);
    let (mut sender, mut receiver) = websocket::channels(socket, protocol);
    if let Some(size) = size {
        let json = serde_json::to_vec(&size).unwrap();
        sender.send(Channel::Resize, json.into()).await.unwrap();
    }
    let stdin = Bytes::copy_from_slice(stdin);
    let feed = async {
        for chunk in stdin.chunks(16 * 1024) {
            sender.send(Channel::Stdin, stdin.slice_ref(chunk)).await.unwrap();
        }
        // The end of a terminal's input hangs the terminal up.
        if protocol == Subprotocol::ChannelV5 && size.is_none() {
            sender.close_channel(Channel::Stdin).await.unwrap();
        }
    };
    let mut seen = Seen::default();
    let collect = async {
        while let Some(frame) = receiver.next().await.unwrap() {
            match frame {
                Frame::Data(Channel::Stdout, data) => seen.stdout.extend_from_slice(&data),
                Frame::Data(Channel::Stderr, data) => seen.stderr.extend_from_slice(&data),
                Frame::Data(Channel::Error, data) if !data.is_empty() => {
                    seen.status = Some(ExitStatus::from_json(&data));
                }
                _ => {}
            }
        }
    };
    let both = async { tokio::join!(feed, collect) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the stream ends");
    seen
}

fn exec(command: &[&str], options: &str) -> String {
    let escape =
        |word: &str| -> String { word.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    let words: Vec<String> =
        command.iter().map(|word| format!("command={}", escape(word))).collect();
    format!("/exec/n/p/c?{}&{options}", words.join("&"))
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_commands() {
    let Some(containerd) = Containerd::start().await else { return };
    let ids =
        containerd.run(&["sh", "-c", "while read line; do echo got $line; done"], false).await;
    let pod = OnePod::new(&containerd, ids);
    let served = Served::start(&containerd, pod).await;
    let target = &served.target;
    let v5 = Subprotocol::ChannelV5;

    // `echo x | kubectl exec -i p -- cat` ends by itself.
    let seen =
        websocket(target, &exec(&["cat"], "input=1&output=1&error=1"), v5, b"x\n", None).await;
    assert_eq!(seen.stdout, b"x\n");
    assert_eq!(seen.status, Some(ExitStatus::Success));

    let script = "echo out; echo err >&2; exit 3";
    let seen =
        websocket(target, &exec(&["sh", "-c", script], "output=1&error=1"), v5, b"", None).await;
    assert_eq!((seen.stdout.as_slice(), seen.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(seen.status, Some(ExitStatus::Code(3)));

    let v4 = Subprotocol::ChannelV4;
    let seen = websocket(target, &exec(&["echo", "four"], "stdout=true"), v4, b"", None).await;
    assert_eq!(seen.stdout, b"four\n");
    assert_eq!(seen.status, Some(ExitStatus::Success));

    // More than any buffer on the way, in both directions at once.
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let seen = websocket(target, &exec(&["cat"], "input=1&output=1"), v5, &much, None).await;
    assert!(seen.stdout == much, "{} of {} bytes came back", seen.stdout.len(), much.len());

    // A command that takes no input does not hang on it. (On more than a pipe holds, containerd 1.6
    // itself may: it goes on writing to a process that has ended.)
    let little = &much[..4096];
    let seen = websocket(target, &exec(&["true"], "input=1&output=1"), v5, little, None).await;
    assert_eq!(seen.status, Some(ExitStatus::Success));

    let size = TerminalSize { width: 123, height: 45 };
    let script = "while [ \"$(stty size 2>/dev/null)\" != \"45 123\" ]; do sleep 0.05; done; stty size; exit 7";
    let path = exec(&["sh", "-c", script], "input=1&output=1&tty=1");
    let seen = websocket(target, &path, v5, b"", Some(size)).await;
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "45 123\r\n", "{seen:?}");
    assert_eq!(seen.status, Some(ExitStatus::Code(7)));

    let missing = websocket(target, &exec(&["nonexistent"], "output=1"), v5, b"", None).await;
    let Some(ExitStatus::Failed(message)) = missing.status else { panic!("{missing:?}") };
    assert!(message.contains("executable file not found"), "{message}");

    let (attached, stopped) = tokio::join!(
        websocket(target, "/attach/n/p/c?input=1&output=1&error=1", v4, b"hello\n", None),
        async {
            let log = containerd.log_path();
            while !std::fs::read_to_string(&log).unwrap_or_default().contains("got hello") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            containerd.runtime.stop_container(&ids_of(&containerd).await, Duration::ZERO).await
        }
    );
    stopped.unwrap();
    assert_eq!(String::from_utf8_lossy(&attached.stdout), "got hello\n");
}

async fn ids_of(containerd: &Containerd) -> String {
    let all = containerd.runtime.list_containers(Default::default()).await.unwrap();
    all[0].id.clone()
}

async fn get(target: &Target, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
    match target.send(request).await.unwrap() {
        Reply::Answered(response) => {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        }
        Reply::Switched { .. } => panic!("{path} switched protocols"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_statistics_and_refusals() {
    let Some(containerd) = Containerd::start().await else { return };
    let script = "echo one; echo two >&2; read go; printf three; sleep 100";
    let ids = containerd.run(&["sh", "-c", script], false).await;
    let pod = OnePod::new(&containerd, ids.clone());
    let served = Served::start(&containerd, pod.clone()).await;
    let target = &served.target;

    assert_eq!(get(&served.stranger, "/pods").await, (401, "Unauthorized".into()));
    assert_eq!(get(target, "/healthz").await, (200, "ok".into()));
    assert_eq!(get(target, "/nothing").await.0, 404);

    let mut logs = String::new();
    for _ in 0..100 {
        logs = get(target, "/containerLogs/n/p/c").await.1;
        if logs.lines().count() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(logs == "one\ntwo\n" || logs == "two\none\n", "{logs:?}");
    assert_eq!(get(target, "/containerLogs/n/p/c?tailLines=1").await.1.lines().count(), 1);
    let (status, text) = get(target, "/containerLogs/n/p/other").await;
    assert_eq!((status, text.as_str()), (404, "container \"other\" not found in pod \"p\"\n"));
    let (status, text) = get(target, "/containerLogs/n/p/c?previous=true").await;
    let expected = "previous terminated container \"c\" in pod \"p\" not found\n";
    assert_eq!((status, text.as_str()), (400, expected));

    // The log is set aside; a follower and the runtime both go on with the new file.
    let follow = get(target, "/containerLogs/n/p/c?follow=true&tailLines=0");
    let log = containerd.log_path();
    let rotate = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        std::fs::rename(&log, log.with_extension("log.old")).unwrap();
        containerd.runtime.reopen_log(&ids.1).await.unwrap();
        let v4 = Subprotocol::ChannelV4;
        let go = websocket(target, "/attach/n/p/c?input=1", v4, b"go\n", None);
        tokio::time::timeout(Duration::from_secs(2), go).await.ok();
        containerd.runtime.stop_container(&ids.1, Duration::ZERO).await.unwrap();
        pod.stopped();
    };
    let ((status, followed), ()) = tokio::join!(follow, rotate);
    assert_eq!((status, followed.as_str()), (200, "three"));

    let (status, summary) = get(target, "/stats/summary").await;
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(status, 200);
    assert_eq!(summary["node"]["nodeName"], "w1");
    assert_eq!(summary["pods"][0]["podRef"]["name"], "p");
    assert_eq!(get(target, "/metrics/resource").await.0, 200);
    assert!(get(target, "/metrics").await.1.contains("process_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded() {
    let Some(containerd) = Containerd::start().await else { return };
    let ids = containerd.run(&["sleep", "1000"], false).await;
    let served = Served::start(&containerd, OnePod::new(&containerd, ids)).await;
    let port = free_port();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let echo = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut word = [0; 5];
            stream.read_exact(&mut word).await.unwrap();
            word.make_ascii_uppercase();
            stream.write_all(&word).await.unwrap();
        }
    });

    // A SPDY client, passed through.
    let request = Request::post("/portForward/n/p")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, spdy::UPGRADE_PROTOCOL)
        .header("X-Stream-Protocol-Version", "portforward.k8s.io")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let Reply::Switched { io, .. } = served.target.send(request).await.unwrap() else {
        panic!("no switch to SPDY")
    };
    forward(spdy::Connection::client(io).unwrap(), port).await;

    // SPDY inside a WebSocket, as kubectl does it.
    let tunnel = [Subprotocol::PortForwardTunnel];
    let uri: Uri = "/portForward/n/p".parse().unwrap();
    let (socket, _) =
        websocket::connect(&served.target, uri, HeaderMap::new(), &tunnel).await.unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(streams::bridge::tunnel(socket, Box::new(far)));
    forward(spdy::Connection::client(Box::new(near)).unwrap(), port).await;
    echo.await.unwrap();
}

async fn forward(connection: spdy::Connection, port: u16) {
    let headers = |kind: &str| {
        spdy::Headers::new()
            .with("streamType", kind)
            .with("port", port.to_string())
            .with("requestID", "0")
    };
    let error = connection.open(headers("error")).await.unwrap();
    error.writer.finish().await.unwrap();
    let mut data = connection.open(headers("data")).await.unwrap();
    data.writer.send(Bytes::from_static(b"hello")).await.unwrap();
    // containerd drops the connection once either direction ends, so the client's stays open.
    let mut got = Vec::new();
    while let Some(bytes) = data.reader.next().await {
        got.extend_from_slice(&bytes);
    }
    assert_eq!(String::from_utf8_lossy(&got), "HELLO");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_probe_containers() {
    use kubelet::events::Events;
    use kubelet::probe::{Manager, ProbeTarget};
    use kubelet::seam::pod_uid;

    let Some(containerd) = Containerd::start().await else { return };
    let (_, id) = containerd.run(&["sleep", "1000"], false).await;
    let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u" },
        "spec": { "containers": [{
            "name": "c",
            "readinessProbe": { "periodSeconds": 1, "exec": { "command": ["true"] } },
            "livenessProbe": {
                "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 1,
                "exec": { "command": ["sleep", "100"] },
            },
        }] },
    }))
    .unwrap();
    let uid = pod_uid(&pod);
    let (changed, mut verdicts) = tokio::sync::mpsc::unbounded_channel();
    let manager = Manager::new(containerd.runtime.clone(), Events::new("w1", None), changed);
    manager.add_pod(&std::sync::Arc::new(pod));
    let started_at = k8s_openapi::jiff::Timestamp::now();
    let target = ProbeTarget { name: "c".into(), id: id.clone(), running: true, started_at };
    manager.update(&uid, None, vec![target]);
    for _ in 0..2 {
        let verdict = tokio::time::timeout(Duration::from_secs(60), verdicts.recv()).await;
        verdict.expect("both probes come to a verdict").unwrap();
    }
    assert!(manager.readiness(&uid, &id, "c"));
    assert_eq!(manager.liveness_failed(&uid, &id).as_deref(), Some("liveness"));
}
