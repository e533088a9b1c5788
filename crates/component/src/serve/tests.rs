//! Connections that end, and streams that are too many.

use super::*;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

/// A server whose answers wait for `gate`; `arrived` tells when a request has come in.
async fn start(
    options: Options,
    shutdown: &CancellationToken,
) -> (SocketAddr, Arc<Notify>, Arc<Notify>, tokio::task::JoinHandle<()>) {
    start_with(None, options, shutdown).await
}

async fn start_with(
    tls: Option<ServerTls>,
    options: Options,
    shutdown: &CancellationToken,
) -> (SocketAddr, Arc<Notify>, Arc<Notify>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let connect = {
        let (arrived, gate) = (arrived.clone(), gate.clone());
        move |_: Peer| {
            let (arrived, gate) = (arrived.clone(), gate.clone());
            service_fn(move |_| {
                let (arrived, gate) = (arrived.clone(), gate.clone());
                async move {
                    arrived.notify_one();
                    gate.notified().await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
                }
            })
        }
    };
    let task = tokio::spawn(serve(listener, tls, options, connect, shutdown.clone()));
    (address, arrived, gate, task)
}

#[tokio::test]
async fn requests_finish_after_shutdown_began() {
    let shutdown = CancellationToken::new();
    let (address, arrived, gate, task) = start(Options::default(), &shutdown).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    arrived.notified().await;
    shutdown.cancel();
    let mut nothing = Vec::new();
    idle.read_to_end(&mut nothing).await.unwrap();
    assert!(nothing.is_empty());
    gate.notify_one();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    task.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// A frame without flags or with some.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    /// The code of a stream that may be tried again.
    const REFUSED_STREAM: u8 = 7;
    let shutdown = CancellationToken::new();
    let options = Options { max_streams: 3, drain: Duration::ZERO };
    let pair = crate::pki::self_signed(&["localhost".to_owned()]).unwrap();
    let tls = ServerTls::new(pair.certificate.as_bytes(), pair.key.as_bytes(), None).unwrap();
    let (address, _arrived, _gate, task) = start_with(Some(tls), options, &shutdown).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()).unwrap();
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    for stream in [1, 3, 5, 7] {
        // GET https, path / and authority "x".
        let request = [0x82, 0x87, 0x84, 0x01, 1, b'x'];
        sent.extend(frame(HEADERS, 0b101, stream, &request));
    }
    stream.write_all(&sent).await.unwrap();
    let mut told = None;
    let refused = loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            SETTINGS if told.is_none() => {
                let limit = payload.chunks(6).find(|s| s[..2] == [0, 3]).unwrap();
                told = Some(limit[2..].to_vec());
            }
            RESET => break (head[5..].to_vec(), payload),
            _ => {}
        }
    };
    assert_eq!(told.unwrap(), [0, 0, 0, 3]);
    assert_eq!(refused, (vec![0, 0, 0, 7], vec![0, 0, 0, REFUSED_STREAM]));
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off() {
    let shutdown = CancellationToken::new();
    let options = Options { drain: Duration::ZERO, ..Options::default() };
    let (address, arrived, _gate, task) = start(options, &shutdown).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    arrived.notified().await;
    shutdown.cancel();
    task.await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap_or_default();
    assert_eq!(answer, "");
}
