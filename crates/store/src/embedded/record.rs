//! Bytes of one log record and of one row of `latest`.
//!
//! Both carry a checksum, so that what a disk has changed is never taken for data, and a record
//! says where it stands in the log, so that it can be told from others by itself, wherever it is
//! found.

use bytes::Bytes;
use flate2::Crc;

use super::index::{Live, Position};
use crate::types::{Error, Event, EventKind, KeyValue, LeaseId};

/// How every record begins. No text in UTF-8 has such bytes.
pub(super) const MAGIC: [u8; 4] = [0xfe, b'l', b'o', b'g'];

const PUT: u8 = 1;
const DELETE: u8 = 2;
/// Magic, checksum, length of everything.
const PREFIX: usize = 4 + 4 + 4;
/// Bytes of a record besides its key and value: kind, place, state and length of the key follow
/// the prefix.
pub(super) const HEADER: usize = PREFIX + 1 + 8 + 4 + 24 + 4;

/// One operation in the log. Where it stands (revision and place within it) is its key there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Bytes,
    /// `None` is a deletion.
    pub(super) put: Option<(Live, Bytes)>,
}

impl Record {
    /// Bytes of the encoded record.
    pub(super) fn encoded_len(&self) -> usize {
        HEADER + self.key.len() + self.put.as_ref().map_or(0, |(_, value)| value.len())
    }

    /// Appends it to `out`.
    pub(super) fn encode(&self, (revision, sub): (u64, u32), out: &mut Vec<u8>) {
        const SHORT: &str = "records are shorter than 4 GiB";
        let start = out.len();
        let (kind, live, value) = match &self.put {
            Some((live, value)) => (PUT, *live, value.as_ref()),
            None => (DELETE, Live::default(), &[][..]),
        };
        let length = self.encoded_len();
        out.reserve(length);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&u32::try_from(length).expect(SHORT).to_le_bytes());
        out.push(kind);
        out.extend_from_slice(&revision.to_le_bytes());
        out.extend_from_slice(&sub.to_le_bytes());
        encode_live(&live, out);
        out.extend_from_slice(&u32::try_from(self.key.len()).expect(SHORT).to_le_bytes());
        out.extend_from_slice(&self.key);
        out.extend_from_slice(value);
        let sum = checksum(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
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
    /// Revision and place within it.
    pub(super) at: (u64, u32),
    pub(super) key: &'a [u8],
    pub(super) put: Option<(Live, &'a [u8])>,
    /// Bytes of the whole record.
    pub(super) length: usize,
}

impl<'a> View<'a> {
    /// The record that stands in the log at `at`.
    pub(super) fn parse(bytes: &'a [u8], at: (u64, u32)) -> Result<Self, Error> {
        let damaged = || Error::Damaged(format!("the record of revision {} is damaged", at.0));
        let view = Self::find(bytes).ok_or_else(damaged)?;
        if view.at != at || view.length != bytes.len() {
            return Err(damaged());
        }
        Ok(view)
    }

    /// The record that `bytes` begin with, wherever it comes from.
    pub(super) fn find(bytes: &'a [u8]) -> Option<Self> {
        let (prefix, _) = bytes.split_first_chunk::<PREFIX>()?;
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| prefix[at + n]));
        let (sum, length) = (number(4), number(8) as usize);
        if prefix[..4] != MAGIC || length < HEADER || checksum(bytes.get(8..length)?) != sum {
            return None;
        }
        let (kind, rest) = bytes[PREFIX..length].split_first()?;
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let (sub, rest) = rest.split_first_chunk::<4>()?;
        let (live, rest) = decode_live(rest)?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (key, value) = rest.split_at_checked(u32::from_le_bytes(*key) as usize)?;
        let put = match *kind {
            PUT => Some((live, value)),
            DELETE => None,
            _ => return None,
        };
        let at = (u64::from_le_bytes(*revision), u32::from_le_bytes(*sub));
        Some(Self { at, key, put, length })
    }

    pub(super) fn to_record(&self) -> Record {
        Record {
            key: Bytes::copy_from_slice(self.key),
            put: self.put.map(|(live, value)| (live, Bytes::copy_from_slice(value))),
        }
    }

    /// Where the record stands.
    pub(super) fn position(&self) -> Position {
        let (revision, sub) = self.at;
        let size = if self.put.is_some() { self.length } else { 0 };
        Position { revision, sub, size: u32::try_from(size).unwrap_or(u32::MAX) }
    }

    /// The pair that a put makes.
    pub(super) fn to_pair(&self) -> Option<KeyValue> {
        let (live, value) = self.put?;
        Some(KeyValue {
            key: Bytes::copy_from_slice(self.key),
            value: Bytes::copy_from_slice(value),
            create_revision: live.create_revision,
            mod_revision: self.at.0,
            version: live.version,
            lease: live.lease,
        })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
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

/// Bytes of a row of `latest` besides its key.
pub(super) const LATEST_ROW: usize = 4 + 8 + 4 + 4 + 24;

/// A row of `latest`: the position of the key's record and what the record says besides.
pub(super) fn encode_latest(key: &[u8], position: Position, live: &Live) -> Vec<u8> {
    let mut out = Vec::with_capacity(LATEST_ROW);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&position.revision.to_le_bytes());
    out.extend_from_slice(&position.sub.to_le_bytes());
    out.extend_from_slice(&position.size.to_le_bytes());
    encode_live(live, &mut out);
    let sum = latest_checksum(key, &out[4..]);
    out[..4].copy_from_slice(&sum.to_le_bytes());
    out
}

pub(super) fn decode_latest(key: &[u8], bytes: &[u8]) -> Result<(Position, Live), Error> {
    let decode = || {
        let (sum, rest) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*sum) != latest_checksum(key, rest) {
            return None;
        }
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let (sub, rest) = rest.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (live, rest) = decode_live(rest)?;
        let position = Position {
            revision: u64::from_le_bytes(*revision),
            sub: u32::from_le_bytes(*sub),
            size: u32::from_le_bytes(*size),
        };
        (rest.is_empty() && position.is_live()).then_some((position, live))
    };
    let damaged =
        || Error::Damaged(format!("the row of {:?} is damaged", String::from_utf8_lossy(key)));
    decode().ok_or_else(damaged)
}

fn latest_checksum(key: &[u8], row: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(key);
    crc.update(row);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: Option<&'static str>) -> Record {
        let live = Live { create_revision: 3, version: 2, lease: Some(LeaseId(9)) };
        Record { key: "/a".into(), put: value.map(|value| (live, value.into())) }
    }

    #[test]
    fn a_record_is_known_by_itself_and_only_as_it_was_written() {
        for value in [Some("value"), Some(""), None] {
            let mut bytes = Vec::new();
            record(value).encode((7, 1), &mut bytes);
            assert_eq!(bytes.len(), record(value).encoded_len());
            let view = View::parse(&bytes, (7, 1)).unwrap();
            assert_eq!((view.key, view.at), (&b"/a"[..], (7, 1)));
            assert_eq!(view.put.map(|put| put.1), value.map(str::as_bytes));
            assert_eq!(view.position().is_live(), value.is_some());
            assert!(View::parse(&bytes, (7, 0)).is_err(), "it stands elsewhere");

            let mut longer = bytes.clone();
            longer.push(0);
            assert!(View::find(&longer).is_some() && View::parse(&longer, (7, 1)).is_err());
            for at in 0..bytes.len() {
                assert!(View::find(&bytes[..at]).is_none(), "cut off at {at}");
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                assert!(View::find(&flipped).is_none(), "changed at {at}");
            }
        }
    }

    #[test]
    fn a_row_belongs_to_its_key() {
        let position = Position { revision: 7, sub: 1, size: 60 };
        let live = Live { create_revision: 3, version: 2, lease: None };
        let row = encode_latest(b"/a", position, &live);
        assert_eq!(row.len(), LATEST_ROW);
        assert_eq!(decode_latest(b"/a", &row).unwrap(), (position, live));
        assert!(decode_latest(b"/b", &row).is_err());
        for at in 0..row.len() {
            let mut flipped = row.clone();
            flipped[at] ^= 1;
            assert!(decode_latest(b"/a", &flipped).is_err(), "changed at {at}");
            assert!(decode_latest(b"/a", &row[..at]).is_err(), "cut off at {at}");
        }
    }
}
