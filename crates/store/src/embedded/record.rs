//! Bytes of one log record and of one row of `latest`.

use bytes::Bytes;

use super::index::{Live, Position};
use crate::types::{Error, Event, EventKind, KeyValue, LeaseId};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const HEADER: usize = 1 + 8 + 8 + 8 + 4;

/// One operation in the log. Where it stands (revision and place within it) is its key there.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) key: Bytes,
    /// `None` is a deletion.
    pub(super) put: Option<(Live, Bytes)>,
}

impl Record {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        let (kind, live, value) = match &self.put {
            Some((live, value)) => (PUT, *live, value.as_ref()),
            None => (DELETE, Live::default(), &[][..]),
        };
        out.reserve(HEADER + self.key.len() + value.len());
        out.push(kind);
        encode_live(&live, out);
        let key_len = u32::try_from(self.key.len()).expect("keys are shorter than 4 GiB");
        out.extend_from_slice(&key_len.to_le_bytes());
        out.extend_from_slice(&self.key);
        out.extend_from_slice(value);
    }

    pub(super) fn into_event(self, revision: u64) -> Event {
        match self.put {
            Some((live, value)) => Event {
                kind: EventKind::Put,
                kv: KeyValue {
                    key: self.key,
                    value,
                    create_revision: live.create_revision,
                    mod_revision: revision,
                    version: live.version,
                    lease: live.lease,
                },
            },
            None => Event {
                kind: EventKind::Delete,
                kv: KeyValue {
                    key: self.key,
                    value: Bytes::new(),
                    create_revision: 0,
                    mod_revision: revision,
                    version: 0,
                    lease: None,
                },
            },
        }
    }
}

/// The parts of an encoded record, borrowed.
pub(super) struct View<'a> {
    pub(super) key: &'a [u8],
    pub(super) put: Option<(Live, &'a [u8])>,
}

impl<'a> View<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let damaged = || Error::Engine("damaged log record".into());
        let (kind, rest) = bytes.split_first().ok_or_else(damaged)?;
        let (live, rest) = decode_live(rest).ok_or_else(damaged)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (key, value) = rest.split_at_checked(length).ok_or_else(damaged)?;
        match *kind {
            PUT => Ok(Self { key, put: Some((live, value)) }),
            DELETE => Ok(Self { key, put: None }),
            _ => Err(damaged()),
        }
    }

    pub(super) fn to_record(&self) -> Record {
        Record {
            key: Bytes::copy_from_slice(self.key),
            put: self.put.map(|(live, value)| (live, Bytes::copy_from_slice(value))),
        }
    }
}

fn encode_live(live: &Live, out: &mut Vec<u8>) {
    out.extend_from_slice(&live.create_revision.to_le_bytes());
    out.extend_from_slice(&live.version.to_le_bytes());
    out.extend_from_slice(&live.lease.map_or(0, |lease| lease.0).to_le_bytes());
}

fn decode_live(bytes: &[u8]) -> Option<(Live, &[u8])> {
    let (create_revision, rest) = bytes.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let (lease, rest) = rest.split_first_chunk::<8>()?;
    let lease = u64::from_le_bytes(*lease);
    let live = Live {
        create_revision: u64::from_le_bytes(*create_revision),
        version: u64::from_le_bytes(*version),
        lease: (lease != 0).then_some(LeaseId(lease)),
    };
    Some((live, rest))
}

/// A row of `latest`: the position of the key's record and what the record says besides.
pub(super) fn encode_latest(position: Position, live: &Live) -> Vec<u8> {
    let mut out = Vec::with_capacity(36);
    out.extend_from_slice(&position.revision.to_le_bytes());
    out.extend_from_slice(&position.sub.to_le_bytes());
    encode_live(live, &mut out);
    out
}

pub(super) fn decode_latest(bytes: &[u8]) -> Result<(Position, Live), Error> {
    let damaged = || Error::Engine("damaged row in table latest".into());
    let (revision, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (sub, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (live, _) = decode_live(rest).ok_or_else(damaged)?;
    let position = Position {
        revision: u64::from_le_bytes(*revision),
        sub: u32::from_le_bytes(*sub),
        live: true,
    };
    Ok((position, live))
}
