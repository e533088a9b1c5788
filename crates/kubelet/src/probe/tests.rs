use k8s_openapi::api::core::v1::HTTPGetAction;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers each connection with the next of `answers`; returns the port and what was asked.
async fn server(answers: Vec<String>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, queue) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            asked.send(String::from_utf8_lossy(&request[..read]).into_owned()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, queue)
}

fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 2\r\nConnection: close\r\n\r\nhi")
}

fn container() -> Container {
    serde_json::from_value(json!({
        "name": "c", "ports": [{ "name": "web", "containerPort": 8080 }],
    }))
    .unwrap()
}

async fn probe_http(port: u16) -> Outcome {
    let action: HTTPGetAction = serde_json::from_value(json!({
        "path": "/ok?x=1", "port": port,
        "httpHeaders": [{ "name": "X-Probe", "value": "yes" }, { "name": "Host", "value": "me.example" }],
    }))
    .unwrap();
    let timeout = Duration::from_secs(5);
    network::judge(http_get("127.0.0.1", &action, &container(), timeout).await)
}

#[tokio::test]
async fn http_requests_look_like_upstreams() {
    let (port, mut asked) = server(vec![answer("200 OK", "")]).await;
    assert_eq!(probe_http(port).await, Outcome::Success);
    let request = asked.recv().await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /ok?x=1 http/1.1\r\n"), "{request}");
    for header in ["user-agent: kube-probe/1.36", "accept: */*", "x-probe: yes", "host: me.example"]
    {
        assert!(request.contains(&format!("{header}\r\n")), "{header} in {request}");
    }
}

#[tokio::test]
async fn statuses_and_redirects() {
    let (port, _asked) = server(vec![
        answer("302 Found", "Location: /login\r\n"),
        answer("204 No Content", ""),
        answer("302 Found", "Location: http://elsewhere.example/\r\n"),
        answer("503 Service Unavailable", ""),
    ])
    .await;
    assert_eq!(probe_http(port).await, Outcome::Success);
    let warning = "Probe terminated redirects, Response body: hi".to_owned();
    assert_eq!(probe_http(port).await, Outcome::Warning(warning));
    let failure = "HTTP probe failed with statuscode: 503".to_owned();
    assert_eq!(probe_http(port).await, Outcome::Failure(failure));
}

#[tokio::test]
async fn refusals_are_worded_as_by_go() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    let tcp = network::tcp("127.0.0.1", port, Duration::from_secs(1)).await;
    assert_eq!(tcp, Outcome::Failure(refused.clone()));
    let http = format!("Get \"http://127.0.0.1:{port}/ok?x=1\": {refused}");
    assert_eq!(probe_http(port).await, Outcome::Failure(http));
}

#[test]
fn ports_by_name() {
    let port = |name: &str| network::port(&IntOrString::String(name.into()), &container());
    assert_eq!(port("web"), Ok(8080));
    assert_eq!(port("81"), Ok(81));
    assert_eq!(port("none"), Err("couldn't find port: none in c".into()));
    assert!(network::port(&IntOrString::Int(0), &container()).is_err());
}

#[tokio::test]
async fn a_pod_becomes_ready_when_its_probe_succeeds() {
    let (port, _asked) = server(vec![answer("200 OK", "")]).await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u" },
        "spec": { "containers": [
            { "name": "c", "readinessProbe": { "periodSeconds": 1, "httpGet": { "path": "/", "port": port } } },
            { "name": "plain" },
        ] },
    }))
    .unwrap();
    let uid = pod_uid(&pod);
    let (changed, mut verdicts) = mpsc::unbounded_channel();
    let runtime = cri::Runtime::new("/nonexistent/runtime.sock").unwrap();
    let manager = Manager::new(runtime, Events::new("w1", None), changed);
    manager.add_pod(&Arc::new(pod));
    assert!(!manager.readiness(&uid, "id", "c"));
    assert!(manager.readiness(&uid, "id", "plain"));
    let started_at = Timestamp::now();
    let target = ProbeTarget { name: "c".into(), id: "id".into(), running: true, started_at };
    manager.update(&uid, Some("127.0.0.1".into()), vec![target]);
    assert_eq!(verdicts.recv().await, Some(uid.clone()));
    assert!(manager.readiness(&uid, "id", "c"));
    assert!(!manager.readiness(&uid, "other", "c"));
    assert_eq!(manager.liveness_failed(&uid, "id"), None);
    manager.remove_pod(&uid);
}
