//! A TLS connection that gathers what is written.
//!
//! HTTP libraries write and flush piece by piece: one frame of a long list, one event of one of
//! many watches. A record and a system call for each of them cost more than what is in them. So
//! while the task of a connection runs, writes only fill records, and records go to the socket when
//! there are many, or when the task has done what it can for now: [`Cork`] marks these turns.

use std::io::{self, BufRead as _, IoSlice, Read, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Plaintext of a full record.
const RECORD: usize = 16 << 10;
/// Less than this is kept for the next record, rather than sent as a short one.
const SHORT: usize = 4 << 10;
/// Records go to the socket when they hold so much.
const PILE: usize = 128 << 10;
/// Room for gathering that a connection keeps while it is idle.
const IDLE: usize = 1 << 10;

/// The server's end of a connection, for HTTP libraries.
pub(crate) struct Stream(Arc<Mutex<Inner>>);

/// The same connection, for the one who runs its task.
pub(crate) struct Cork(Arc<Mutex<Inner>>);

struct Inner {
    socket: TcpStream,
    session: ServerConnection,
    /// Written and in no record yet.
    plain: Vec<u8>,
    /// About how much there is in records that the socket has not taken.
    piled: usize,
    /// Whether somebody flushes at the end of this turn.
    corked: bool,
}

/// A connection that has shaken hands, in two hands.
pub(crate) fn split(socket: TcpStream, mut session: ServerConnection) -> (Stream, Cork) {
    // What is piled up is bounded here.
    session.set_buffer_limit(None);
    let inner = Inner { socket, session, plain: Vec::new(), piled: 0, corked: false };
    let inner = Arc::new(Mutex::new(inner));
    (Stream(inner.clone()), Cork(inner))
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    // The state is whole between any two calls of the TLS library.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Cork ===

impl Cork {
    /// Polls the connection's task, and then sends what it wrote.
    pub(crate) fn turn<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        lock(&self.0).corked = true;
        let result = poll(cx);
        let mut inner = lock(&self.0);
        inner.corked = false;
        if let Poll::Ready(Err(error)) = inner.poll_send(cx) {
            tracing::debug!(%error, "sending");
            // The next read says so too.
            cx.waker().wake_by_ref();
        }
        result
    }
}

// === impl Inner ===

impl Inner {
    /// Takes in bytes; how many is at least one, unless the socket is full.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        loop {
            let gathered = self.plain.len();
            if gathered + len < RECORD {
                slices.iter().for_each(|slice| self.plain.extend_from_slice(slice));
                return Poll::Ready(Ok(len));
            }
            if self.piled >= PILE {
                ready!(self.poll_pile(cx))?;
            }
            // Whole records, and what would be a long one.
            let room = (PILE - self.piled.min(PILE)).max(RECORD).next_multiple_of(RECORD);
            let mut wanted = (gathered + len).min(room);
            if wanted % RECORD < SHORT {
                wanted -= wanted % RECORD;
            }
            let parts = parts(&self.plain, slices, wanted);
            let written = self.session.writer().write_vectored(&parts)?;
            self.piled += written;
            let Some(mut taken) = written.checked_sub(gathered) else {
                // The session changes its keys first.
                self.plain.drain(..written);
                continue;
            };
            self.plain.clear();
            if written == wanted && len - taken < SHORT {
                let mut skipped = taken;
                for slice in slices {
                    let from = skipped.min(slice.len());
                    skipped -= from;
                    self.plain.extend_from_slice(&slice[from..]);
                }
                taken = len;
            }
            if self.piled >= PILE
                && let Poll::Ready(Err(error)) = self.poll_pile(cx)
            {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(taken));
        }
    }

    /// Takes in bytes, and sends them at once where nobody flushes at the end of a turn: who has
    /// taken over a connection may write and wait without flushing.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(self.poll_take(cx, slices))?;
        if !self.corked
            && let Poll::Ready(Err(error)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    /// Makes a record of what is gathered.
    fn seal(&mut self) -> io::Result<()> {
        if !self.plain.is_empty() {
            self.session.writer().write_all(&self.plain)?;
            self.piled += self.plain.len();
            self.plain.clear();
        }
        if self.plain.capacity() > IDLE {
            self.plain = Vec::new();
        }
        Ok(())
    }

    /// Sends everything that was written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.seal()?;
        self.poll_pile(cx)
    }

    /// Gives the socket all records.
    fn poll_pile(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut writer = Writer { socket: &mut self.socket, cx };
            match self.session.write_tls(&mut writer) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => self.piled = self.piled.saturating_sub(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.piled = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.session.reader().into_first_chunk() {
                Ok(chunk) => {
                    let read = chunk.len().min(out.remaining());
                    out.put_slice(&chunk[..read]);
                    self.session.reader().consume(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let mut reader = Reader { socket: &mut self.socket, cx };
            match self.session.read_tls(&mut reader) {
                // The session knows whether that is the end or an error.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            if let Err(error) = self.session.process_new_packets() {
                // There may be an alert that tells the client what is wrong.
                let _told = self.poll_pile(cx)?;
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }
}

/// The first `wanted` bytes of what is gathered and what comes behind it.
fn parts<'a>(gathered: &'a [u8], slices: &'a [IoSlice<'a>], mut wanted: usize) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::with_capacity(slices.len() + 1);
    for slice in std::iter::once(gathered).chain(slices.iter().map(|slice| &slice[..])) {
        let part = &slice[..slice.len().min(wanted)];
        wanted -= part.len();
        if !part.is_empty() {
            parts.push(IoSlice::new(part));
        }
    }
    parts
}

/// The socket as the TLS library writes to it.
struct Writer<'a, 'b> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

/// The socket as the TLS library reads from it.
struct Reader<'a, 'b> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

fn blocking<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Writer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(pin!(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(pin!(&mut *self.socket).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Reader<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut out = ReadBuf::new(bytes);
        blocking(pin!(&mut *self.socket).poll_read(self.cx, &mut out))?;
        Ok(out.filled().len())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.corked { Poll::Ready(Ok(())) } else { inner.poll_send(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.seal()?;
        inner.session.send_close_notify();
        ready!(inner.poll_pile(cx))?;
        match ready!(pin!(&mut inner.socket).poll_shutdown(cx)) {
            // The client was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

#[cfg(test)]
mod tests;
