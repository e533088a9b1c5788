//! The sockets: datagrams and connections in, responses out.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use component::metrics::register;
use hickory_proto::op::{Message, ResponseCode};
use prometheus::{IntCounterVec, Opts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::forward::Upstreams;
use crate::index::Index;
use crate::message::{self, Action, Transport};
use crate::zone::Zone;

/// A connection without a query for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Connections at once.
const MAX_CONNECTIONS: usize = 512;

/// Answers queries.
#[derive(Clone)]
pub struct Server {
    zone: Zone,
    index: Arc<RwLock<Index>>,
    upstreams: Upstreams,
    requests: IntCounterVec,
    responses: IntCounterVec,
}

// === impl Server ===

impl Server {
    /// A server for `zone`, with what is in `index` at each moment.
    pub fn new(zone: Zone, index: Arc<RwLock<Index>>, upstreams: Upstreams) -> Self {
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label]);
            register(counter.expect("constant names are valid"))
        };
        Server {
            zone,
            index,
            upstreams,
            requests: counter(
                "coredns_dns_requests_total",
                "Counter of DNS requests made per protocol.",
                "proto",
            ),
            responses: counter(
                "coredns_dns_responses_total",
                "Counter of response status codes.",
                "rcode",
            ),
        }
    }

    /// Serves datagrams until `shutdown`. Answers from the index are sent at once; only those that
    /// need another server wait in tasks of their own.
    pub async fn serve_udp(self, socket: UdpSocket, shutdown: CancellationToken) {
        let socket = Arc::new(socket);
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = shutdown.cancelled() => return,
            };
            let (size, client) = match received {
                Ok(received) => received,
                Err(error) => {
                    // An earlier response that could not be delivered is reported here.
                    tracing::debug!(%error, "receiving");
                    continue;
                }
            };
            self.requests.with_label_values(&["udp"]).inc();
            match self.decide(&buffer[..size], Transport::Udp) {
                Action::Ignore => {}
                Action::Reply(bytes, code) => {
                    self.count(code);
                    send(&socket, &bytes, client).await;
                }
                action => {
                    let (server, socket) = (self.clone(), Arc::clone(&socket));
                    tokio::spawn(async move {
                        if let Some(bytes) = server.elsewhere(action, Transport::Udp).await {
                            send(&socket, &bytes, client).await;
                        }
                    });
                }
            }
        }
    }

    /// Serves connections until `shutdown`.
    pub async fn serve_tcp(self, listener: TcpListener, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await;
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: others will be closed.
                    tracing::warn!(%error, "accepting");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (server, shutdown) = (self.clone(), shutdown.clone());
            tokio::spawn(async move {
                let _slot = slot;
                tokio::select! {
                    // Clients close when they like, which is an error to nobody.
                    _ = server.converse(stream) => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let size = tokio::time::timeout(IDLE, stream.read_u16()).await??;
            let mut query = vec![0; usize::from(size)];
            tokio::time::timeout(IDLE, stream.read_exact(&mut query)).await??;
            self.requests.with_label_values(&["tcp"]).inc();
            let response = match self.decide(&query, Transport::Tcp) {
                Action::Ignore => return Ok(()),
                Action::Reply(bytes, code) => {
                    self.count(code);
                    bytes
                }
                action => match self.elsewhere(action, Transport::Tcp).await {
                    Some(bytes) => bytes,
                    None => return Ok(()),
                },
            };
            let size = u16::try_from(response.len()).map_err(std::io::Error::other)?;
            let framed = [&size.to_be_bytes()[..], &response].concat();
            tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
        }
    }

    fn decide(&self, bytes: &[u8], transport: Transport) -> Action {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        message::handle(&self.zone, &index, bytes, transport)
    }

    /// What other servers say.
    async fn elsewhere(&self, action: Action, transport: Transport) -> Option<Vec<u8>> {
        let failed = |query: &Message, error: crate::forward::Error| {
            tracing::debug!(%error, "forwarding");
            self.count(ResponseCode::ServFail);
            message::error(query, ResponseCode::ServFail, transport)
        };
        match action {
            Action::Forward(query) => match self.upstreams.ask(&query, transport).await {
                Ok((bytes, answer)) => {
                    self.count(answer.metadata.response_code);
                    Some(bytes)
                }
                Err(error) => Some(failed(&query, error)),
            },
            Action::Complete { query, mut sections, target } => {
                let next = message::follow_up(&query, &target);
                match self.upstreams.ask(&next, transport).await {
                    Ok((_, answer)) => {
                        sections.code = answer.metadata.response_code;
                        sections.answers.extend(answer.answers);
                        self.count(sections.code);
                        Some(message::encode(&query, sections, transport))
                    }
                    Err(error) => Some(failed(&query, error)),
                }
            }
            Action::Reply(bytes, _) => Some(bytes),
            Action::Ignore => None,
        }
    }

    fn count(&self, code: ResponseCode) {
        let name = match code {
            ResponseCode::NoError => "NOERROR",
            ResponseCode::NXDomain => "NXDOMAIN",
            ResponseCode::ServFail => "SERVFAIL",
            ResponseCode::FormErr => "FORMERR",
            ResponseCode::NotImp => "NOTIMP",
            ResponseCode::Refused => "REFUSED",
            _ => "other",
        };
        self.responses.with_label_values(&[name]).inc();
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, client).await {
        tracing::debug!(%error, %client, "response is not sent");
    }
}
