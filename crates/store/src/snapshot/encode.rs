//! From keys and leases to the bytes of a file, in pieces.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use sha2::{Digest as _, Sha256};

use super::{END, Header, LEASE, Lease, MAGIC, RECORD};
use crate::types::KeyValue;

/// Makes a snapshot's bytes. What it is given is handed out by [`Encoder::ready`] sooner or later,
/// so memory holds a small part of the file only.
pub struct Encoder {
    stream: DeflateEncoder<Vec<u8>>,
    digest: Sha256,
    /// Bytes ahead of the compressed ones.
    head: Vec<u8>,
    records: u64,
    leases: u64,
}

const INTO_MEMORY: &str = "memory takes every byte";

impl Encoder {
    /// Begins with the header.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let text = serde_json::to_vec(header).expect("a header has string keys only");
        let length = u32::try_from(text.len()).expect("a header is short");
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&text);
        Self {
            stream: DeflateEncoder::new(Vec::new(), Compression::fast()),
            digest: Sha256::new(),
            head,
            records: 0,
            leases: 0,
        }
    }

    /// Adds a key. Keys come in order.
    pub fn record(&mut self, kv: &KeyValue) {
        const SHORT: &str = "keys and values are shorter than 4 GiB";
        let lease = kv.lease.map_or(0, |lease| lease.0);
        let mut fixed = [0; 41];
        fixed[0] = RECORD;
        fixed[1..9].copy_from_slice(&kv.create_revision.to_le_bytes());
        fixed[9..17].copy_from_slice(&kv.mod_revision.to_le_bytes());
        fixed[17..25].copy_from_slice(&kv.version.to_le_bytes());
        fixed[25..33].copy_from_slice(&lease.to_le_bytes());
        let key = u32::try_from(kv.key.len()).expect(SHORT);
        let value = u32::try_from(kv.value.len()).expect(SHORT);
        fixed[33..37].copy_from_slice(&key.to_le_bytes());
        fixed[37..41].copy_from_slice(&value.to_le_bytes());
        for part in [&fixed[..], &kv.key, &kv.value] {
            self.stream.write_all(part).expect(INTO_MEMORY);
        }
        self.records += 1;
    }

    /// Adds a lease.
    pub fn lease(&mut self, lease: &Lease) {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.numbers(LEASE, &[lease.id.0, millis(lease.ttl), millis(lease.remaining)]);
        self.leases += 1;
    }

    fn numbers(&mut self, tag: u8, numbers: &[u64]) {
        self.stream.write_all(&[tag]).expect(INTO_MEMORY);
        for number in numbers {
            self.stream.write_all(&number.to_le_bytes()).expect(INTO_MEMORY);
        }
    }

    /// The bytes that are made since the last time; few or none while they are being compressed.
    pub fn ready(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.head);
        bytes.append(self.stream.get_mut());
        self.digest.update(&bytes);
        bytes.into()
    }

    /// The last bytes.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.numbers(END, &[self.records, self.leases]);
        let mut bytes = self.head;
        bytes.append(&mut self.stream.finish().expect(INTO_MEMORY));
        self.digest.update(&bytes);
        bytes.extend_from_slice(&self.digest.finalize());
        bytes.into()
    }
}
