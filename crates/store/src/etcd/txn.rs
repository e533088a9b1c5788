//! Transactions, and what becomes of one whose outcome got lost with a connection.
//!
//! A transaction in which every changed key has a precondition can be made only once: making it
//! changes what the precondition asks for. So it is repeated, and if the repetition is refused
//! although the keys are just as it would have left them, it was made before.

use std::collections::HashSet;

use bytes::Bytes;

use super::failure::Failure;
use super::members::Repeat;
use super::wire::compare::{CompareResult, CompareTarget};
use super::wire::{request_op, response_op};
use super::{Shared, kv, wire};
use crate::types::{Error, Expect, KeyValue, Op, Txn, TxnResult};

/// Attempts after one whose outcome got lost; each takes its own time.
const REPETITIONS: usize = 3;

pub(super) async fn run(shared: &Shared, txn: Txn) -> Result<TxnResult, Error> {
    let mut changed = HashSet::new();
    if !txn.ops.iter().all(|op| changed.insert(op.key())) {
        return Err(Error::DuplicateKey);
    }
    let guarded = !txn.compare.is_empty()
        && txn.ops.iter().all(|op| txn.compare.iter().any(|compare| compare.key == op.key()));
    let request = request(shared, &txn);
    let mut lost = false;
    for attempt in 0.. {
        let made = shared
            .members
            .call(Repeat::Unmade, |channel| {
                let request = request.clone();
                async move { kv(channel).txn(request).await }
            })
            .await;
        match made {
            Ok(answer) => return Ok(outcome(shared, &txn, answer, lost)),
            Err(Failure::Unknown(_)) if guarded && attempt < REPETITIONS => lost = true,
            Err(failure) => return Err(failure.into_error()),
        }
    }
    unreachable!("the last attempt returns")
}

fn request(shared: &Shared, txn: &Txn) -> wire::TxnRequest {
    let outward = |key: &Bytes| shared.keys.outward(key.clone());
    let compare = txn.compare.iter().map(|compare| wire::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: outward(&compare.key),
        mod_revision: match compare.expect {
            Expect::Absent => 0,
            Expect::ModRevision(revision) => wire::signed(revision),
        },
    });
    let success = txn.ops.iter().map(|op| match op {
        Op::Put { key, value, lease } => request_op::Request::RequestPut(wire::PutRequest {
            key: outward(key),
            value: value.clone(),
            lease: lease.map_or(0, |lease| lease.0.cast_signed()),
        }),
        Op::Delete { key } => {
            request_op::Request::RequestDeleteRange(wire::DeleteRangeRequest { key: outward(key) })
        }
    });
    let failure = txn.compare.iter().map(|compare| {
        request_op::Request::RequestRange(wire::RangeRequest {
            key: outward(&compare.key),
            ..wire::RangeRequest::default()
        })
    });
    let operation = |request| wire::RequestOp { request: Some(request) };
    wire::TxnRequest {
        compare: compare.collect(),
        success: success.map(operation).collect(),
        failure: failure.map(operation).collect(),
    }
}

fn outcome(shared: &Shared, txn: &Txn, answer: wire::TxnResponse, lost: bool) -> TxnResult {
    let revision = shared.saw(answer.header.as_ref());
    if answer.succeeded {
        return TxnResult { succeeded: true, revision, current: Vec::new() };
    }
    let current: Vec<Option<KeyValue>> = answer
        .responses
        .into_iter()
        .map(|response| match response.response {
            Some(response_op::Response::ResponseRange(range)) => {
                range.kvs.into_iter().next().and_then(|kv| shared.inward(kv))
            }
            _ => None,
        })
        .collect();
    if lost && let Some(revision) = made_at(txn, &current, revision) {
        return TxnResult { succeeded: true, revision, current: Vec::new() };
    }
    TxnResult { succeeded: false, revision, current }
}

/// The revision at which the transaction seems to have been made: its keys are as it leaves them.
fn made_at(txn: &Txn, current: &[Option<KeyValue>], now: u64) -> Option<u64> {
    let mut at = None;
    for op in &txn.ops {
        let found = txn.compare.iter().zip(current).find(|(c, _)| c.key == op.key())?.1;
        match (op, found) {
            (Op::Delete { .. }, None) => {}
            (Op::Put { value, lease, .. }, Some(kv))
                if kv.value == *value
                    && kv.lease == *lease
                    && at.is_none_or(|at| at == kv.mod_revision) =>
            {
                at = Some(kv.mod_revision);
            }
            _ => return None,
        }
    }
    // Only deletions: when they were made is not known, but it is past.
    Some(at.unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &'static str, mod_revision: u64) -> Option<KeyValue> {
        let (key, value) = ("/a".into(), value.into());
        Some(KeyValue { key, value, create_revision: 1, mod_revision, version: 1, lease: None })
    }

    #[test]
    fn a_lost_outcome_is_read_off_the_keys() {
        let check = |txn: Txn, current: Option<KeyValue>, want: Option<u64>| {
            assert_eq!(made_at(&txn, &[current], 9), want, "{txn:?}");
        };
        check(Txn::create("/a", "1", None), found("1", 7), Some(7));
        check(Txn::create("/a", "1", None), found("2", 7), None);
        check(Txn::update("/a", "2", None, 4), found("2", 8), Some(8));
        check(Txn::update("/a", "2", None, 4), None, None);
        check(Txn::delete("/a", 4), None, Some(9));
        check(Txn::delete("/a", 4), found("2", 8), None);
    }

    #[test]
    fn all_keys_must_be_of_the_same_revision() {
        let mut txn = Txn::create("/a", "1", None);
        let more = Txn::create("/b", "1", None);
        txn.compare.extend(more.compare);
        txn.ops.extend(more.ops);
        assert_eq!(made_at(&txn, &[found("1", 7), found("1", 7)], 9), Some(7));
        assert_eq!(made_at(&txn, &[found("1", 7), found("1", 8)], 9), None);
    }
}
