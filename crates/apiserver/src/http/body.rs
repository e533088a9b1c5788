//! Response bodies: shared bytes, or frames that a task produces.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http_body::{Frame, SizeHint};

/// Why a streamed body broke off.
pub type StreamError = Box<dyn std::error::Error + Send + Sync>;

/// A boxed stream of body chunks.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>;

/// The body of a response. The common case holds bytes shared with the cache and allocates
/// nothing.
pub enum Body {
    /// Known whole; `None` once sent.
    Full(Option<Bytes>),
    /// Parts that are made when they are sent, and how many bytes are left.
    Lazy(Box<dyn Iterator<Item = Bytes> + Send>, u64),
    /// Made as it goes.
    Stream(Chunks),
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
        Self::Lazy(Box::new(parts), len)
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
        if let Self::Lazy(parts, len) = self {
            let mut bytes = BytesMut::with_capacity(usize::try_from(*len).unwrap_or(0));
            parts.for_each(|part| bytes.extend_from_slice(&part));
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
            Self::Lazy(parts, left) => Poll::Ready(parts.next().map(|bytes| {
                *left = left.saturating_sub(bytes.len() as u64);
                Ok(Frame::data(bytes))
            })),
            Self::Stream(chunks) => {
                chunks.as_mut().poll_next(context).map(|next| next.map(|r| r.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Lazy(_, left) => *left == 0,
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Lazy(_, left) => SizeHint::with_exact(*left),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
