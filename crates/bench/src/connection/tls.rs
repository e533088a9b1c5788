//! TLS without a copy too many: records are opened where the socket put them, and whoever reads
//! gets to see them there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes read from the socket at once.
const INCOMING: usize = 256 << 10;
/// Plaintext that is taken in before the socket takes its records.
const OUTGOING: usize = 64 << 10;
/// More than what the records of so much have besides it.
const OVERHEAD: usize = 512;

/// The client's end of a connection.
pub(super) struct Tls {
    socket: TcpStream,
    session: UnbufferedClientConnection,
    /// Records that came, those at `from..to` not opened yet.
    incoming: Box<[u8]>,
    from: usize,
    to: usize,
    /// Records that the socket has not taken yet, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    /// The session has begun or said that it waits for the peer.
    open: bool,
    ended: bool,
    /// Plaintext that an [`AsyncRead`] had no room for.
    rest: Vec<u8>,
    taken: usize,
}

impl Tls {
    /// Shakes hands.
    pub(super) async fn connect(
        socket: TcpStream,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        let incoming = vec![0; INCOMING].into_boxed_slice();
        let mut tls = Self {
            socket,
            session,
            incoming,
            from: 0,
            to: 0,
            outgoing: Vec::new(),
            sent: 0,
            open: false,
            ended: false,
            rest: Vec::new(),
            taken: 0,
        };
        std::future::poll_fn(|cx| tls.poll_open(cx)).await?;
        Ok(tls)
    }

    /// The socket.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends all of these bytes.
    pub(super) async fn send(&mut self, mut plain: &[u8]) -> io::Result<()> {
        while !plain.is_empty() {
            let taken = std::future::poll_fn(|cx| self.poll_send(cx, plain)).await?;
            plain = &plain[taken..];
        }
        std::future::poll_fn(|cx| self.poll_sent(cx)).await
    }

    /// Waits for bytes and shows them, in pieces; false at the end of the stream.
    pub(super) async fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        std::future::poll_fn(|cx| self.poll_receive(cx, &mut take)).await
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.process(&mut |_| {})?;
            ready!(self.poll_sent(cx))?;
            if self.open {
                return Poll::Ready(Ok(()));
            }
            if self.ended || !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        loop {
            let mut shown = false;
            self.process(&mut |plain| {
                shown |= !plain.is_empty();
                take(plain);
            })?;
            if shown {
                return Poll::Ready(Ok(true));
            }
            if self.ended || !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(false));
            }
        }
    }

    /// Opens the records that are there whole.
    fn process(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            let records = &mut self.incoming[self.from..self.to];
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(records);
            let more = match state.map_err(invalid)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        take(record.payload);
                    }
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut self.outgoing, OVERHEAD, |room| match data.encode(room) {
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size)),
                        other => other.map(Ok).map_err(io::Error::other),
                    })?;
                    true
                }
                // It goes out before anything else does.
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    true
                }
                ConnectionState::WriteTraffic(_) => {
                    self.open = true;
                    false
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    self.ended = true;
                    false
                }
                _ => false,
            };
            self.from += discard;
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads more records behind those that are there; false at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.from > 0 {
            self.incoming.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let mut room = ReadBuf::new(&mut self.incoming[self.to..]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        self.to += read;
        Poll::Ready(Ok(read > 0))
    }

    /// Takes in some bytes for sending.
    fn poll_send(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(cx))?;
        let plain = &plain[..plain.len().min(OUTGOING)];
        let records = &mut self.incoming[self.from..self.to];
        let status = self.session.process_tls_records(records);
        let ConnectionState::WriteTraffic(mut traffic) = status.state.map_err(invalid)? else {
            return Poll::Ready(Err(io::Error::other("the TLS session takes no data")));
        };
        encode(&mut self.outgoing, plain.len() + OVERHEAD, |room| {
            match traffic.encrypt(plain, room) {
                Err(EncryptError::InsufficientSize(size)) => Ok(Err(size)),
                other => other.map(Ok).map_err(io::Error::other),
            }
        })?;
        self.from += status.discard;
        Poll::Ready(Ok(plain.len()))
    }

    /// Waits until the socket has taken all records.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            let left = &self.outgoing[self.sent..];
            self.sent += ready!(Pin::new(&mut self.socket).poll_write(cx, left))?;
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

/// Appends what `write` gives, with as much room as it wants.
fn encode(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> io::Result<Result<usize, InsufficientSizeError>>,
) -> io::Result<()> {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..])? {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(size) => room = size.required_size,
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.rest.len() {
            let mut rest = std::mem::take(&mut this.rest);
            rest.clear();
            this.taken = 0;
            let received = this.poll_receive(cx, &mut |plain| {
                let fits = plain.len().min(out.remaining());
                out.put_slice(&plain[..fits]);
                rest.extend_from_slice(&plain[fits..]);
            });
            this.rest = rest;
            return received.map_ok(|_| ());
        }
        let rest = &this.rest[this.taken..];
        let fits = rest.len().min(out.remaining());
        out.put_slice(&rest[..fits]);
        this.taken += fits;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = ready!(this.poll_send(cx, plain))?;
        // What the socket does not take now goes out with the next write or flush.
        let _pending = this.poll_sent(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_sent(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
