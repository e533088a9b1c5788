//! What a batch changes, in the form in which it is written down until redb has it.

use super::index::Lease;
use super::record::{Record, View};
use super::tables::millis;
use crate::types::LeaseId;

/// Revision and place in the transaction.
pub(super) type At = (u64, u32);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The revision that it comes after.
    pub(super) before: u64,
    /// The newest lease.
    pub(super) last_lease: u64,
    pub(super) granted: Vec<Granted>,
    pub(super) ended: Vec<LeaseId>,
    /// In order.
    pub(super) writes: Vec<(At, Record)>,
}

/// A new lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) id: LeaseId,
    /// In milliseconds.
    pub(super) ttl: u64,
    /// In milliseconds since 1970.
    pub(super) expires: u64,
}

/// Bytes besides leases and records: two numbers and how many there are of each.
const FIXED: usize = 8 + 8 + 4 + 4 + 4;
const GRANTED: usize = 8 + 8 + 8;
const ENDED: usize = 8;

impl Granted {
    pub(super) fn new(id: LeaseId, lease: &Lease) -> Self {
        let ttl = u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX);
        Self { id, ttl, expires: millis(lease.expires) }
    }
}

impl Change {
    /// The newest revision once it is made.
    pub(super) fn revision(&self) -> u64 {
        self.writes.last().map_or(self.before, |((revision, _), _)| *revision)
    }

    /// Bytes of the encoded change.
    pub(super) fn encoded_len(&self) -> usize {
        let records: usize = self.writes.iter().map(|(_, record)| record.encoded_len()).sum();
        self.records_offset() + records
    }

    /// Where in the encoded change its records begin, one behind the other.
    pub(super) fn records_offset(&self) -> usize {
        FIXED + GRANTED * self.granted.len() + ENDED * self.ended.len()
    }

    /// Appends it to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let count = |count: usize| u32::try_from(count).expect("a batch is bounded").to_le_bytes();
        out.extend_from_slice(&self.before.to_le_bytes());
        out.extend_from_slice(&self.last_lease.to_le_bytes());
        out.extend_from_slice(&count(self.granted.len()));
        out.extend_from_slice(&count(self.ended.len()));
        out.extend_from_slice(&count(self.writes.len()));
        for lease in &self.granted {
            for number in [lease.id.0, lease.ttl, lease.expires] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        for lease in &self.ended {
            out.extend_from_slice(&lease.0.to_le_bytes());
        }
        for (at, record) in &self.writes {
            record.encode(*at, out);
        }
    }

    /// The change that was encoded as `bytes`.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        let (before, last_lease) = (number(rest)?, number(rest)?);
        let (granted, ended, writes) = (count(rest)?, count(rest)?, count(rest)?);
        let granted = (0..granted).map(|_| {
            Some(Granted { id: LeaseId(number(rest)?), ttl: number(rest)?, expires: number(rest)? })
        });
        let granted = granted.collect::<Option<_>>()?;
        let ended = (0..ended).map(|_| number(rest).map(LeaseId)).collect::<Option<_>>()?;
        let writes = (0..writes).map(|_| {
            let view = View::find(rest)?;
            *rest = &rest[view.length..];
            Some((view.at, view.to_record()))
        });
        let writes = writes.collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { before, last_lease, granted, ended, writes })
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn count(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::index::Live;
    use super::*;

    /// A change with everything in it, whose value has `length` bytes.
    pub(in super::super) fn change(before: u64, length: usize) -> Change {
        let live = Live { create_revision: 3, version: 2, lease: Some(LeaseId(9)) };
        let put = Record { key: "/a".into(), put: Some((live, vec![b'x'; length].into())) };
        let delete = Record { key: "/b".into(), put: None };
        Change {
            before,
            last_lease: 9,
            granted: vec![Granted { id: LeaseId(9), ttl: 1000, expires: 123_456 }],
            ended: vec![LeaseId(7), LeaseId(8)],
            writes: vec![((before + 1, 0), put), ((before + 1, 1), delete)],
        }
    }

    #[test]
    fn a_change_is_read_as_it_was_written_or_not_at_all() {
        let change = change(41, 100);
        assert_eq!(change.revision(), 42);
        let mut bytes = Vec::new();
        change.encode(&mut bytes);
        assert_eq!(bytes.len(), change.encoded_len());
        assert_eq!(Change::decode(&bytes).as_ref(), Some(&change));
        let first = View::find(&bytes[change.records_offset()..]).unwrap();
        assert_eq!((first.at, first.key), ((42, 0), &b"/a"[..]));
        for at in 0..bytes.len() {
            assert_eq!(Change::decode(&bytes[..at]), None, "cut off at {at}");
        }
        bytes.push(0);
        assert_eq!(Change::decode(&bytes), None);
    }
}
