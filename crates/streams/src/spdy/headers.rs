//! Header blocks: name/value pairs, compressed with one zlib stream per direction and the
//! dictionary of the specification (section 2.6.10).

use bytes::{Buf as _, BufMut as _};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The preset dictionary of SPDY/3.
const DICTIONARY: &[u8] = include_bytes!("../../data/spdy3.dict");
/// Longest header block taken from a peer, uncompressed.
const MAX_BLOCK: usize = 1 << 20;

/// Why a header block cannot be read or written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    /// zlib refused.
    #[error("header compression: {0}")]
    Zlib(String),
    /// Lengths inside the block do not add up, or it is not UTF-8.
    #[error("malformed header block")]
    Malformed,
    /// Longer than this side is willing to hold.
    #[error("header block too large")]
    TooLarge,
}

/// Headers of a stream; names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// First value of a header; `name` in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All pairs in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn to_block(&self) -> Vec<u8> {
        let mut block = Vec::new();
        block.put_u32(self.0.len() as u32);
        for (name, value) in &self.0 {
            block.put_u32(name.len() as u32);
            block.put_slice(name.as_bytes());
            block.put_u32(value.len() as u32);
            block.put_slice(value.as_bytes());
        }
        block
    }

    fn from_block(mut block: &[u8]) -> Result<Self, HeaderError> {
        let count = block.try_get_u32().map_err(|_| HeaderError::Malformed)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = take_text(&mut block)?;
            let value = take_text(&mut block)?;
            headers.push((name, value));
        }
        Ok(Self(headers))
    }
}

fn take_text(block: &mut &[u8]) -> Result<String, HeaderError> {
    let length = block.try_get_u32().map_err(|_| HeaderError::Malformed)? as usize;
    let (text, rest) = block.split_at_checked(length).ok_or(HeaderError::Malformed)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| HeaderError::Malformed)
}

/// The sending side of a connection's header compression.
pub struct Compressor {
    zlib: Compress,
}

impl Compressor {
    /// A fresh context.
    pub fn new() -> Result<Self, HeaderError> {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(DICTIONARY).map_err(|error| HeaderError::Zlib(error.to_string()))?;
        Ok(Self { zlib })
    }

    /// Compresses one block. Blocks must be sent in the order in which they were compressed.
    pub fn compress(&mut self, headers: &Headers) -> Result<Vec<u8>, HeaderError> {
        let block = headers.to_block();
        let mut out = Vec::with_capacity(block.len() + 64);
        let start = self.zlib.total_in();
        loop {
            let taken = (self.zlib.total_in() - start) as usize;
            self.zlib
                .compress_vec(&block[taken..], &mut out, FlushCompress::Sync)
                .map_err(|error| HeaderError::Zlib(error.to_string()))?;
            // Room left over means that the flush is complete.
            if out.len() < out.capacity() {
                return Ok(out);
            }
            out.reserve(256);
        }
    }
}

/// The receiving side of a connection's header compression.
pub struct Decompressor {
    zlib: Decompress,
}

impl Decompressor {
    /// A fresh context.
    pub fn new() -> Self {
        Self { zlib: Decompress::new(true) }
    }

    /// Decompresses one block. Every block of the connection must pass here, in order.
    pub fn decompress(&mut self, compressed: &[u8]) -> Result<Headers, HeaderError> {
        let mut block = Vec::with_capacity(compressed.len() * 4 + 256);
        let start = self.zlib.total_in();
        loop {
            let taken = (self.zlib.total_in() - start) as usize;
            let before = block.len();
            let status = match self.zlib.decompress_vec(
                &compressed[taken..],
                &mut block,
                FlushDecompress::Sync,
            ) {
                Ok(status) => status,
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib
                        .set_dictionary(DICTIONARY)
                        .map_err(|error| HeaderError::Zlib(error.to_string()))?;
                    continue;
                }
                Err(error) => return Err(HeaderError::Zlib(error.to_string())),
            };
            let all_taken = (self.zlib.total_in() - start) as usize == compressed.len();
            if block.len() > MAX_BLOCK {
                return Err(HeaderError::TooLarge);
            }
            if status == Status::StreamEnd {
                return Err(HeaderError::Malformed);
            }
            if block.len() == block.capacity() {
                block.reserve(block.len());
            } else if all_taken {
                return Headers::from_block(&block);
            } else if block.len() == before && status == Status::BufError {
                return Err(HeaderError::Malformed);
            }
        }
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}
