//! The server on real sockets, with a small upstream of the test's own.
#![allow(clippy::unwrap_used)] // A test that meets an error must fail.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use dns::forward::Upstreams;
use dns::index::Index;
use dns::server::Server;
use dns::zone::Zone;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const LOCAL: &str = "127.0.0.1:0";

/// Answers every query with 192.0.2.7, first with an answer to somebody else's question.
async fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind(LOCAL).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((size, client)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..size]).unwrap();
            let mut forged = query.clone().into_response();
            forged.metadata.id ^= 1;
            socket.send_to(&forged.to_vec().unwrap(), client).await.unwrap();
            let mut answer = query.clone().into_response();
            let name = query.queries[0].name.clone();
            answer.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 7].into()))));
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

async fn serve(upstreams: Vec<SocketAddr>) -> (SocketAddr, SocketAddr, CancellationToken) {
    let mut index = Index::default();
    for (name, spec) in [
        ("web", json!({ "clusterIP": "10.96.0.7" })),
        ("out", json!({ "type": "ExternalName", "externalName": "example.com" })),
    ] {
        let service = json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec });
        index.set_service(&serde_json::from_value(service).unwrap());
    }
    let zone = Zone::new("cluster.local").unwrap();
    let server = Server::new(zone, Arc::new(RwLock::new(index)), Upstreams::new(upstreams));
    let shutdown = CancellationToken::new();
    let udp = UdpSocket::bind(LOCAL).await.unwrap();
    let tcp = TcpListener::bind(LOCAL).await.unwrap();
    let addresses = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    tokio::spawn(server.clone().serve_udp(udp, shutdown.clone()));
    tokio::spawn(server.serve_tcp(tcp, shutdown.clone()));
    (addresses.0, addresses.1, shutdown)
}

fn query(name: &str) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query
}

async fn ask_udp(server: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind(LOCAL).await.unwrap();
    let query = query(name);
    socket.send_to(&query.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 4096];
    let size = socket.recv(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..size]).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
    answer
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|r| r.data.to_string()).collect()
}

#[tokio::test]
async fn answers_own_names_and_passes_on_others() {
    let (udp, tcp, shutdown) = serve(vec![upstream().await]).await;
    let own = ask_udp(udp, "web.default.svc.cluster.local.").await;
    assert_eq!(data(&own), ["10.96.0.7"]);
    assert!(own.metadata.authoritative && own.metadata.recursion_available);
    let other = ask_udp(udp, "example.org.").await;
    assert_eq!(data(&other), ["192.0.2.7"]);
    let alias = ask_udp(udp, "out.default.svc.cluster.local.").await;
    assert_eq!(data(&alias), ["example.com.", "192.0.2.7"]);

    // Several queries on one connection.
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    for (name, code) in [
        ("web.default.svc.cluster.local.", ResponseCode::NoError),
        ("nope.default.svc.cluster.local.", ResponseCode::NXDomain),
    ] {
        let bytes = query(name).to_vec().unwrap();
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, code);
    }
    shutdown.cancel();
}

#[tokio::test]
async fn without_upstreams_other_names_fail_at_once() {
    let (udp, _, shutdown) = serve(Vec::new()).await;
    let answer = ask_udp(udp, "example.org.").await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let own = ask_udp(udp, "web.default.svc.cluster.local.").await;
    assert_eq!(data(&own), ["10.96.0.7"]);
    shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_follow_the_api() {
    let api = testkit::ApiServer::start().await.unwrap();
    let admin = api.client().unwrap();
    let free = || SocketAddr::from(([127, 0, 0, 1], 0));
    // The server tells nobody which port it got, so this one is found beforehand.
    let udp = UdpSocket::bind(LOCAL).await.unwrap();
    let address = udp.local_addr().unwrap();
    drop(udp);
    let connect =
        client::ConnectOptions { kubeconfig: Some(api.kubeconfig()), ..Default::default() };
    let config = dns::Config {
        address,
        health_address: free(),
        ready_address: free(),
        metrics_address: free(),
        resolv_conf: "/nonexistent".into(),
        ..dns::Config::new(connect, "cluster.local")
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(dns::run(config, shutdown.clone()));

    // What is asked before the first full view waits in the socket.
    let api_name = "kubernetes.default.svc.cluster.local.";
    let socket = UdpSocket::bind(LOCAL).await.unwrap();
    let asked = query(api_name).to_vec().unwrap();
    let first = loop {
        socket.send_to(&asked, address).await.unwrap();
        let mut buffer = [0; 4096];
        let wait = std::time::Duration::from_millis(100);
        if let Ok(Ok(size)) = tokio::time::timeout(wait, socket.recv(&mut buffer)).await {
            break Message::from_vec(&buffer[..size]).unwrap();
        }
    };
    assert_eq!(data(&first), ["10.96.0.1"]);

    let path = "/api/v1/namespaces/default/services";
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
                          "spec": { "clusterIP": "10.96.0.80", "ports": [{ "port": 80 }] } });
    let made = testkit::send_json(&admin, "POST", path, &service).await.unwrap();
    assert_eq!(made.code, 201, "{}", made.text);
    let name = "web.default.svc.cluster.local.";
    while ask_udp(address, name).await.answers.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(data(&ask_udp(address, name).await), ["10.96.0.80"]);
    let gone = format!("{path}/web");
    testkit::send_json(&admin, "DELETE", &gone, &serde_json::Value::Null).await.unwrap();
    while ask_udp(address, name).await.metadata.response_code != ResponseCode::NXDomain {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
