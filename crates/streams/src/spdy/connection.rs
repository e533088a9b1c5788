//! A connection: one task reads frames and hands them to their streams, one task writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::frame::{Codec, Control, Frame, FrameError, RstStatus, StreamId};
use super::headers::{Compressor, Decompressor, HeaderError, Headers};
use crate::BoxIo;

/// Data frames that a stream holds before its connection stops reading.
const STREAM_QUEUE: usize = 16;
/// Streams that the peer may have opened and that nobody has taken yet.
const INCOMING_QUEUE: usize = 16;
/// Longest data frame sent.
const CHUNK: usize = 32 * 1024;

/// Why a connection or stream is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// The connection is closed.
    #[error("SPDY connection closed")]
    Closed,
    /// The peer reset the stream.
    #[error("stream reset by peer with status {}", .0.0)]
    Reset(RstStatus),
    /// Header compression failed.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// The peer's bytes are not SPDY.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

enum Command {
    Open { headers: Headers, reader: mpsc::Sender<Bytes>, opened: oneshot::Sender<Opened> },
    Reply { stream: StreamId, headers: Headers },
    Control(Control),
}

struct Opened {
    stream: StreamId,
    replied: oneshot::Receiver<Result<(), SpdyError>>,
}

struct Slot {
    /// Gone once the peer has finished sending.
    reader: Option<mpsc::Sender<Bytes>>,
    /// Waiting for SYN_REPLY.
    replied: Option<oneshot::Sender<Result<(), SpdyError>>>,
    reset: Arc<AtomicBool>,
}

#[derive(Default)]
struct Streams {
    slots: Mutex<HashMap<StreamId, Slot>>,
}

impl Streams {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<StreamId, Slot>) -> T) -> T {
        act(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn insert(&self, stream: StreamId, slot: Slot) {
        self.with(|slots| slots.insert(stream, slot));
    }
}

/// A SPDY connection. It is closed when this handle is dropped.
pub struct Connection {
    commands: mpsc::UnboundedSender<Command>,
    data: mpsc::Sender<Frame>,
    streams: Arc<Streams>,
    closed: CancellationToken,
    _close_on_drop: DropGuard,
}

/// Streams that the peer opens.
pub type Incoming = mpsc::Receiver<Stream>;

/// Which end of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// A stream of a connection.
pub struct Stream {
    /// What the opener said about it.
    pub headers: Headers,
    /// Bytes from the peer.
    pub reader: StreamReader,
    /// Bytes to the peer.
    pub writer: StreamWriter,
}

/// The receiving half of a stream.
pub struct StreamReader {
    queue: mpsc::Receiver<Bytes>,
}

/// The sending half of a stream.
pub struct StreamWriter {
    stream: StreamId,
    data: mpsc::Sender<Frame>,
    commands: mpsc::UnboundedSender<Command>,
    reset: Arc<AtomicBool>,
}

// === impl Connection ===

impl Connection {
    /// Speaks SPDY as the client on a connection that has been upgraded.
    pub fn client(io: BoxIo) -> Result<Self, SpdyError> {
        Self::start(io, Role::Client).map(|(connection, _)| connection)
    }

    /// Speaks SPDY as the server.
    pub fn server(io: BoxIo) -> Result<(Self, Incoming), SpdyError> {
        Self::start(io, Role::Server)
    }

    fn start(io: BoxIo, role: Role) -> Result<(Self, Incoming), SpdyError> {
        let (read, write) = tokio::io::split(io);
        let (commands, command_queue) = mpsc::unbounded_channel();
        let (data, data_queue) = mpsc::channel(STREAM_QUEUE);
        let (incoming, incoming_queue) = mpsc::channel(INCOMING_QUEUE);
        let streams = Arc::new(Streams::default());
        let closed = CancellationToken::new();
        let writer = Writer {
            frames: FramedWrite::new(write, Codec),
            compressor: Compressor::new()?,
            streams: Arc::clone(&streams),
            next: if role == Role::Client { 1 } else { 2 },
        };
        let reader = Reader {
            decompressor: Decompressor::new(),
            streams: Arc::clone(&streams),
            commands: commands.clone(),
            data: data.clone(),
            incoming: (role == Role::Server).then_some(incoming),
        };
        tokio::spawn(writer.run(command_queue, data_queue, closed.clone()));
        let frames = FramedRead::new(read, Codec);
        let token = closed.clone();
        tokio::spawn(async move {
            let ended = token.clone().run_until_cancelled_owned(reader.run(frames)).await;
            if let Some(Err(error)) = ended {
                tracing::debug!(%error, "SPDY connection ended");
            }
            token.cancel();
        });
        let guard = closed.clone().drop_guard();
        Ok((Self { commands, data, streams, closed, _close_on_drop: guard }, incoming_queue))
    }

    /// Opens a stream and waits until the peer has accepted it.
    pub async fn open(&self, headers: Headers) -> Result<Stream, SpdyError> {
        let (reader, queue) = mpsc::channel(STREAM_QUEUE);
        let (opened, wait_opened) = oneshot::channel();
        self.commands
            .send(Command::Open { headers: headers.clone(), reader, opened })
            .map_err(|_| SpdyError::Closed)?;
        let accept = async {
            let Opened { stream, replied } = wait_opened.await.map_err(|_| SpdyError::Closed)?;
            replied.await.map_err(|_| SpdyError::Closed)??;
            Ok::<_, SpdyError>(stream)
        };
        let stream =
            self.closed.run_until_cancelled(accept).await.unwrap_or(Err(SpdyError::Closed))?;
        let reset = self
            .streams
            .with(|slots| slots.get(&stream).map(|slot| Arc::clone(&slot.reset)))
            .unwrap_or_default();
        let writer = StreamWriter {
            stream,
            data: self.data.clone(),
            commands: self.commands.clone(),
            reset,
        };
        Ok(Stream { headers, reader: StreamReader { queue }, writer })
    }

    /// Resolves when the connection is over.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

// === impl StreamReader ===

impl StreamReader {
    /// The next bytes, or `None` when the peer has finished or reset the stream, or the
    /// connection is gone.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.queue.recv().await
    }
}

// === impl StreamWriter ===

impl StreamWriter {
    /// Sends bytes; waits while the connection is congested.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), SpdyError> {
        while !data.is_empty() {
            if self.reset.load(Ordering::Acquire) {
                return Err(SpdyError::Reset(RstStatus::CANCEL));
            }
            let chunk = data.split_to(data.len().min(CHUNK));
            let frame = Frame::Data { stream: self.stream, fin: false, data: chunk };
            self.data.send(frame).await.map_err(|_| SpdyError::Closed)?;
        }
        Ok(())
    }

    /// Half-closes the stream: nothing more will be sent, reading goes on.
    pub async fn finish(self) -> Result<(), SpdyError> {
        let frame = Frame::Data { stream: self.stream, fin: true, data: Bytes::new() };
        self.data.send(frame).await.map_err(|_| SpdyError::Closed)
    }

    /// Ends both directions at once.
    pub fn reset(self, status: RstStatus) {
        let control = Control::RstStream { stream: self.stream, status };
        self.commands.send(Command::Control(control)).ok(); // A closed connection resets it too.
    }

    /// Accepts a stream that the peer opened.
    pub fn reply(&self, headers: Headers) -> Result<(), SpdyError> {
        self.commands
            .send(Command::Reply { stream: self.stream, headers })
            .map_err(|_| SpdyError::Closed)
    }
}

// === writer task ===

struct Writer {
    frames: FramedWrite<tokio::io::WriteHalf<BoxIo>, Codec>,
    compressor: Compressor,
    streams: Arc<Streams>,
    next: StreamId,
}

impl Writer {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut data: mpsc::Receiver<Frame>,
        closed: CancellationToken,
    ) {
        loop {
            // Commands first: a reply must not wait behind the data of a congested connection.
            let sent = tokio::select! {
                biased;
                Some(command) = commands.recv() => self.execute(command).await,
                Some(frame) = data.recv() => self.frames.send(frame).await.map_err(SpdyError::from),
                () = closed.cancelled() => break,
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "SPDY connection cannot be written");
                break;
            }
        }
        closed.cancel();
        // What was queued before the end still goes out.
        while let Ok(frame) = data.try_recv() {
            if self.frames.send(frame).await.is_err() {
                break;
            }
        }
        self.frames.close().await.ok(); // The peer may be gone already.
        self.streams.with(HashMap::clear);
    }

    async fn execute(&mut self, command: Command) -> Result<(), SpdyError> {
        let control = match command {
            Command::Control(control) => control,
            Command::Reply { stream, headers } => {
                let headers = self.compressor.compress(&headers)?.into();
                Control::SynReply { stream, fin: false, headers }
            }
            Command::Open { headers, reader, opened } => {
                let stream = self.next;
                self.next += 2;
                let headers = self.compressor.compress(&headers)?.into();
                let (replied, wait_replied) = oneshot::channel();
                self.streams.insert(
                    stream,
                    Slot { reader: Some(reader), replied: Some(replied), reset: Arc::default() },
                );
                if opened.send(Opened { stream, replied: wait_replied }).is_err() {
                    // The opener gave up; the peer still has to hear of the headers, since both
                    // compression contexts must stay in step.
                    self.streams.with(|slots| slots.remove(&stream));
                }
                Control::SynStream {
                    stream,
                    associated: 0,
                    priority: 0,
                    fin: false,
                    unidirectional: false,
                    headers,
                }
            }
        };
        Ok(self.frames.send(Frame::Control(control)).await?)
    }
}

// === reader task ===

struct Reader {
    decompressor: Decompressor,
    streams: Arc<Streams>,
    commands: mpsc::UnboundedSender<Command>,
    data: mpsc::Sender<Frame>,
    incoming: Option<mpsc::Sender<Stream>>,
}

impl Reader {
    async fn run(
        mut self,
        mut frames: FramedRead<tokio::io::ReadHalf<BoxIo>, Codec>,
    ) -> Result<(), SpdyError> {
        let ended = loop {
            match frames.next().await {
                None => break Ok(()),
                Some(Err(error)) => break Err(error.into()),
                Some(Ok(Frame::Unknown(_))) => {}
                Some(Ok(Frame::Data { stream, fin, data })) => self.data(stream, fin, data).await,
                Some(Ok(Frame::Control(control))) => {
                    if let Err(error) = self.control(control).await {
                        break Err(error);
                    }
                }
            }
        };
        // Readers see the end after what they have queued.
        self.streams.with(HashMap::clear);
        ended
    }

    async fn data(&self, stream: StreamId, fin: bool, data: Bytes) {
        let reader = self.streams.with(|slots| slots.get(&stream).map(|slot| slot.reader.clone()));
        match reader {
            None => {
                let status = RstStatus::INVALID_STREAM;
                let control = Control::RstStream { stream, status };
                self.commands.send(Command::Control(control)).ok(); // Closed: nothing to reset.
            }
            Some(Some(reader)) if !data.is_empty() => {
                reader.send(data).await.ok(); // A reader that left does not want the data.
            }
            Some(_) => {}
        }
        if fin {
            self.finish(stream);
        }
    }

    fn finish(&self, stream: StreamId) {
        self.streams.with(|slots| {
            if let Some(slot) = slots.get_mut(&stream) {
                slot.reader = None;
            }
        });
    }

    async fn control(&mut self, control: Control) -> Result<(), SpdyError> {
        match control {
            Control::SynStream { stream, fin, headers, .. } => {
                let headers = self.decompressor.decompress(&headers)?;
                self.accept(stream, fin, headers).await;
            }
            Control::SynReply { stream, fin, headers } => {
                self.decompressor.decompress(&headers)?;
                let replied = self.streams.with(|slots| slots.get_mut(&stream)?.replied.take());
                if let Some(replied) = replied {
                    replied.send(Ok(())).ok(); // The opener may have given up.
                }
                if fin {
                    self.finish(stream);
                }
            }
            Control::Headers { stream, fin, headers } => {
                self.decompressor.decompress(&headers)?;
                if fin {
                    self.finish(stream);
                }
            }
            Control::RstStream { stream, status } => {
                let slot = self.streams.with(|slots| slots.remove(&stream));
                if let Some(slot) = slot {
                    slot.reset.store(true, Ordering::Release);
                    if let Some(replied) = slot.replied {
                        replied.send(Err(SpdyError::Reset(status))).ok(); // As above.
                    }
                }
            }
            Control::Ping(id) => {
                let pong = Command::Control(Control::Ping(id));
                self.commands.send(pong).map_err(|_| SpdyError::Closed)?;
            }
            // After GOAWAY the streams that exist go on; the peer closes when they are done.
            Control::GoAway { .. } | Control::Settings(_) | Control::WindowUpdate { .. } => {}
        }
        Ok(())
    }

    async fn accept(&self, stream: StreamId, fin: bool, headers: Headers) {
        let Some(incoming) = &self.incoming else {
            let status = RstStatus::REFUSED_STREAM;
            let control = Control::RstStream { stream, status };
            self.commands.send(Command::Control(control)).ok(); // Closed: nothing to refuse.
            return;
        };
        let (reader, queue) = mpsc::channel(STREAM_QUEUE);
        let reset = Arc::new(AtomicBool::new(false));
        self.streams.insert(
            stream,
            Slot { reader: (!fin).then_some(reader), replied: None, reset: Arc::clone(&reset) },
        );
        let writer = StreamWriter {
            stream,
            data: self.data.clone(),
            commands: self.commands.clone(),
            reset,
        };
        let stream = Stream { headers, reader: StreamReader { queue }, writer };
        incoming.send(stream).await.ok(); // Nobody takes streams any more: it is dropped.
    }
}
