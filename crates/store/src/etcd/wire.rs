//! etcd's messages, and what they are in the store's terms.

use crate::types::{self, EventKind, LeaseId};

mod generated {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from the interface")]
    tonic::include_proto!("etcdserverpb");
}
pub(super) use generated::*;

/// A revision or lease as the wire has it. Numbers that etcd never gives become one that no key
/// has: 0 would mean "absent" in a comparison.
pub(super) fn signed(number: u64) -> i64 {
    match i64::try_from(number) {
        Ok(0) | Err(_) => -1,
        Ok(number) => number,
    }
}

/// A number of etcd's, none of which is negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn lease_id(id: i64) -> Option<LeaseId> {
    (id != 0).then(|| LeaseId(id.cast_unsigned()))
}

pub(super) fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| unsigned(header.revision))
}

impl From<KeyValue> for types::KeyValue {
    fn from(kv: KeyValue) -> Self {
        Self {
            key: kv.key,
            value: kv.value,
            create_revision: unsigned(kv.create_revision),
            mod_revision: unsigned(kv.mod_revision),
            version: unsigned(kv.version),
            lease: lease_id(kv.lease),
        }
    }
}

/// An event, unless it lacks its key.
pub(super) fn event(event: Event) -> Option<types::Event> {
    let kind = match event.r#type() {
        generated::event::EventType::Put => EventKind::Put,
        generated::event::EventType::Delete => EventKind::Delete,
    };
    Some(types::Event { kind, kv: event.kv?.into() })
}
