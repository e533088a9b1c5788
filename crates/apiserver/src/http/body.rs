//! Response bodies: shared bytes, or frames that a task produces.
//!
//! A long list is always ready to go on, and a client that reads fast could keep a thread of the
//! server to itself for as long as the list lasts. So every so many bytes it lets others have
//! their turn, new requests included.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http_body::{Frame, SizeHint};

/// Bytes that are handed out before others get their turn.
const TURN: usize = 512 << 10;

/// Why a streamed body broke off.
pub type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// A boxed stream of body chunks.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>;

/// The body of a response. The common case holds bytes shared with the cache and allocates
/// nothing.
pub enum Body {
    /// Known whole; `None` once sent.
    Full(Option<Bytes>),
    /// Parts that are made when they are sent.
    Lazy(Parts),
    /// Made as it goes.
    Stream(Chunks),
}

/// Parts of a body.
pub struct Parts {
    parts: Box<dyn Iterator<Item = Bytes> + Send>,
    /// Bytes that are left.
    left: u64,
    turn: Turn,
}

/// How much may be done before others are looked after.
#[derive(Debug)]
pub(super) struct Turn {
    left: usize,
    size: usize,
}

// === impl Turn ===

impl Turn {
    /// Turns of so much work.
    pub(super) fn of(size: usize) -> Self {
        Self { left: size, size }
    }

    /// Takes work off the turn.
    pub(super) fn spend(&mut self, work: usize) {
        self.left = self.left.saturating_sub(work);
    }

    /// Waits until it is this task's turn.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.left > 0 {
            return Poll::Ready(());
        }
        self.left = self.size;
        // Its first poll asks the runtime to wake this task after all others.
        pin!(tokio::task::yield_now()).poll(context)
    }
}

// === impl Parts ===

impl Parts {
    /// Bytes that are left.
    pub(super) fn len(&self) -> u64 {
        self.left
    }

    /// The parts alone.
    pub(super) fn into_inner(self) -> Box<dyn Iterator<Item = Bytes> + Send> {
        self.parts
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        ready!(self.turn.poll(context));
        let next = self.parts.next();
        let len = next.as_ref().map_or(0, Bytes::len);
        self.turn.spend(len);
        self.left = self.left.saturating_sub(len as u64);
        Poll::Ready(next)
    }
}

// === impl Body ===

impl Body {
    /// No bytes at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::Full(None)
    }

    /// A body of these bytes.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// A body of parts that together have `len` bytes.
    pub fn lazy(parts: impl Iterator<Item = Bytes> + Send + 'static, len: u64) -> Self {
        Self::Lazy(Parts { parts: Box::new(parts), left: len, turn: Turn::of(TURN) })
    }

    /// A body of chunks produced over time.
    pub fn stream<S>(chunks: S) -> Self
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        Self::Stream(Box::pin(chunks))
    }

    /// The bytes, if they are all there; parts are put together for it.
    pub fn whole(&mut self) -> Option<Bytes> {
        if let Self::Lazy(parts) = self {
            let mut bytes = BytesMut::with_capacity(usize::try_from(parts.left).unwrap_or(0));
            parts.parts.by_ref().for_each(|part| bytes.extend_from_slice(&part));
            *self = Self::full(bytes);
        }
        match self {
            Self::Full(bytes) => Some(bytes.clone().unwrap_or_default()),
            Self::Lazy(..) | Self::Stream(_) => None,
        }
    }

    /// The same body, which keeps something until it is sent or given up.
    #[must_use]
    pub fn holding(self, held: impl Send + 'static) -> Self {
        match self {
            Self::Stream(chunks) => Self::stream(chunks.inspect(move |_| {
                let _ = &held;
            })),
            whole => whole,
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Body::Full",
            Self::Lazy(..) => "Body::Lazy",
            Self::Stream(_) => "Body::Stream",
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Lazy(parts) => {
                parts.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Stream(chunks) => {
                chunks.as_mut().poll_next(context).map(|next| next.map(|r| r.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Lazy(parts) => parts.left == 0,
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Lazy(parts) => SizeHint::with_exact(parts.left),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
