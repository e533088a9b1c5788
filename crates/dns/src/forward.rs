//! Names that are not the cluster's are asked of the servers in resolv.conf.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::message::Transport;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Queries under way at once; more are refused rather than piled up, which also bounds what a
/// forwarding loop can do.
const MAX_CONCURRENT: usize = 1000;

/// No server answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none to ask.
    #[error("no upstream name servers")]
    NoServers,
    /// Too many queries wait for answers already.
    #[error("too many forwarded queries")]
    Busy,
    /// All failed; this is how the last did.
    #[error("upstream {server}: {reason}")]
    Failed {
        /// The last server asked.
        server: SocketAddr,
        /// What happened.
        reason: String,
    },
}

/// The servers to ask.
#[derive(Clone, Debug)]
pub struct Upstreams {
    servers: Vec<SocketAddr>,
    slots: Arc<Semaphore>,
}

/// The name servers in the text of a resolv.conf, without loopback addresses: in a Pod those are the
/// Pod itself, and asking them would be a loop.
pub fn servers(resolv_conf: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().and_then(|word| {
            // A zone index (fe80::1%eth0) names an interface of the host.
            word.split('%').next().unwrap_or(word).parse::<IpAddr>().ok()
        });
        if let Some(address) = address
            && !address.is_loopback()
            && !address.is_unspecified()
            && !own.contains(&address)
        {
            let server = SocketAddr::new(address, 53);
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
    }
    servers
}

// === impl Upstreams ===

impl Upstreams {
    /// Asks these servers, in this order.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Upstreams { servers, slots: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }

    /// The response to `query`, as bytes with its ID and as a message.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn ask(
        &self,
        query: &Message,
        transport: Transport,
    ) -> Result<(Vec<u8>, Message), Error> {
        let _slot = self.slots.try_acquire().map_err(|_| Error::Busy)?;
        let mut last = Error::NoServers;
        for server in &self.servers {
            let asked = tokio::time::timeout(PATIENCE, ask(*server, query, transport)).await;
            match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => {
                    last = Error::Failed { server: *server, reason: error.to_string() }
                }
                Err(_) => last = Error::Failed { server: *server, reason: "timeout".to_owned() },
            }
        }
        Err(last)
    }
}

async fn ask(
    server: SocketAddr,
    query: &Message,
    transport: Transport,
) -> std::io::Result<(Vec<u8>, Message)> {
    // A fresh ID and, by the system, a fresh port make forged answers hard.
    let mut sent = query.clone();
    sent.metadata.id = Message::query().metadata.id;
    let bytes = sent.to_vec().map_err(std::io::Error::other)?;
    let mut buffer;
    let mut answer = match transport {
        Transport::Udp => {
            let any: SocketAddr =
                if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(server).await?;
            socket.send(&bytes).await?;
            buffer = vec![0; usize::from(u16::MAX)];
            loop {
                let size = socket.recv(&mut buffer).await?;
                if let Some(answer) = matching(&buffer[..size], &sent) {
                    buffer.truncate(size);
                    break answer;
                }
            }
        }
        Transport::Tcp => {
            let mut stream = TcpStream::connect(server).await?;
            let size = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
            stream.write_all(&[&size.to_be_bytes()[..], &bytes].concat()).await?;
            let size = stream.read_u16().await?;
            buffer = vec![0; usize::from(size)];
            stream.read_exact(&mut buffer).await?;
            let other = || std::io::Error::other("an answer to another question");
            matching(&buffer, &sent).ok_or_else(other)?
        }
    };
    answer.metadata.id = query.metadata.id;
    buffer[..2].copy_from_slice(&query.metadata.id.to_be_bytes());
    Ok((buffer, answer))
}

fn matching(bytes: &[u8], query: &Message) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let same = answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == query.queries;
    same.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_left_out() {
        let text = "# comment\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch x\n\
                    nameserver 10.96.0.10\nnameserver ::1\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n";
        let own = ["10.96.0.10".parse().unwrap()];
        let want: Vec<SocketAddr> =
            vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(servers(text, &own), want);
    }
}
