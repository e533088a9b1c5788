//! Real kubectl through a real API server to the kubelet's server.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use testkit::ApiServer;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::harness::{Containerd, OnePod, Served, free_port};

/// kubectl with the administrator's credentials.
fn kubectl(server: &ApiServer) -> Command {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(server.kubeconfig()).args(["--namespace", "n"]);
    command
}

/// Runs kubectl to its end with some input.
async fn run(server: &ApiServer, arguments: &[&str], input: &'static [u8]) -> Output {
    let mut command = kubectl(server);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A test that hangs says nothing.
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "true");
    let work = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = std::thread::spawn(move || stdin.write_all(input).ok());
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        output
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), work).await;
    ended.expect("kubectl ends").unwrap()
}

async fn check(
    server: &ApiServer,
    arguments: &[&str],
    input: &'static [u8],
    expected: (i32, &str),
) {
    let output = run(server, arguments, input).await;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let got = (output.status.code().unwrap(), stdout.as_ref());
    assert_eq!(got, expected, "kubectl {arguments:?} wrote {stderr:?}");
}

/// Node, namespace and Pod as they would be with a whole kubelet.
async fn objects(server: &ApiServer, kubelet_port: u16) {
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } }),
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "w1" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "default", "namespace": "n" } }),
        json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "namespace": "n" },
            "spec": { "nodeName": "w1", "containers": [{ "name": "c", "image": "busybox" }] } }),
    ];
    let statuses = [
        (
            "nodes/w1",
            json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet_port } },
        } }),
        ),
        (
            "pods/p",
            json!({ "status": { "phase": "Running", "containerStatuses": [{
            "name": "c", "image": "busybox", "imageID": "x", "ready": true, "restartCount": 0,
            "containerID": "containerd://x",
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        }] } }),
        ),
    ];
    for object in objects {
        let text: &'static [u8] = Box::leak(object.to_string().into_bytes().into());
        let done = run(server, &["create", "--namespace", "", "-f", "-"], text).await;
        assert!(done.status.success(), "{object}: {}", String::from_utf8_lossy(&done.stderr));
    }
    for (name, patch) in statuses {
        let patch = patch.to_string();
        let arguments = ["patch", name, "--subresource=status", "--type=merge", "-p", &patch];
        let done = run(server, &arguments, b"").await;
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reaches_containers() {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        eprintln!("needs kubectl");
        return;
    }
    let Some(containerd) = Containerd::start().await else { return };
    let script = "echo hello; while read line; do echo got $line; done";
    let ids = containerd.run(&["sh", "-c", script], false).await;
    let server = ApiServer::start().await.unwrap();
    let pod = OnePod::new(&containerd, ids);
    let served = Served::with_authority(&containerd, pod, server.authority()).await;
    objects(&server, served.target.port).await;

    check(&server, &["exec", "-i", "p", "--", "cat"], b"x\n", (0, "x\n")).await;
    check(&server, &["exec", "p", "--", "echo", "a b"], b"", (0, "a b\n")).await;
    check(&server, &["exec", "p", "--", "sh", "-c", "exit 3"], b"", (3, "")).await;
    let output = run(&server, &["exec", "p", "--", "sh", "-c", "echo err >&2; exit 4"], b"").await;
    let expected = "err\ncommand terminated with exit code 4\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    let output = run(&server, &["exec", "p", "--", "nonexistent"], b"").await;
    assert!(!output.status.success());
    check(&server, &["logs", "p"], b"", (0, "hello\n")).await;
    check(&server, &["logs", "p", "--tail=0"], b"", (0, "")).await;
    let output = run(&server, &["logs", "p", "--previous"], b"").await;
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "Error from server (BadRequest): previous terminated container \"c\" in pod \"p\" not found\n"
    );
    // SPDY, which kubectl falls back to, goes all the way through to containerd.
    let mut spdy = kubectl(&server);
    spdy.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
        .args(["exec", "p", "--", "echo", "spdy"]);
    let output = tokio::task::spawn_blocking(move || spdy.output().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "spdy\n", "{output:?}");
    port_forward(&server).await;
}

async fn port_forward(server: &ApiServer) {
    let (near, far) = (free_port(), free_port());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", far)).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"through the tunnel").await.unwrap();
    });
    let mut command = tokio::process::Command::from(kubectl(server));
    let ports = format!("{near}:{far}");
    let mut child = command
        .args(["port-forward", "p", &ports])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let wait = tokio::time::timeout(Duration::from_secs(30), lines.next_line());
    let line = wait.await.expect("kubectl listens").unwrap().unwrap_or_default();
    assert!(line.starts_with("Forwarding from"), "{line}");
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", near)).await.unwrap();
    let mut got = String::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut got));
    read.await.expect("the other end closes").unwrap();
    assert_eq!(got, "through the tunnel");
    child.kill().await.unwrap();
}
