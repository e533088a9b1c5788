//! A transaction on a Service together with what it gets and gives back: addresses and ports are
//! never taken without their Service, and never outlive it.

use machinery::status::Status;
use store::{Compare, Expect, KeyValue, Op, Txn};

use super::ports::{self, PortRecord};
use super::{Allocation, Failure, Registry};
use crate::registry::write::{Stored, store_failure};

/// Attempts to write the record of ports while others write it too.
const ATTEMPTS: usize = 25;

impl Registry {
    /// Makes a transaction whose first comparison is about the object itself.
    pub(in crate::registry) async fn commit(
        &self,
        mut txn: Txn,
        allocation: &Allocation,
    ) -> Result<Stored<u64>, Failure> {
        for (key, value) in &allocation.addresses {
            txn.compare.push(Compare { key: key.clone(), expect: Expect::Absent });
            txn.ops.push(Op::Put { key: key.clone(), value: value.clone(), lease: None });
        }
        for key in &allocation.addresses_back {
            txn.ops.push(Op::Delete { key: key.clone() });
        }
        if allocation.ports.is_empty() && allocation.ports_back.is_empty() {
            return self.once(txn).await.map(|(stored, _)| stored);
        }
        let allocators = &self.0.allocators;
        let mut record = allocators.record.lock().await;
        for _ in 0..ATTEMPTS {
            let (revision, known) = match record.take() {
                Some(known) => known,
                None => self.stored_ports().await?,
            };
            let mut next = known;
            if !allocation.ports.iter().all(|port| next.used.insert(*port)) {
                return Ok(Stored::Contended);
            }
            next.used.retain(|port| !allocation.ports_back.contains(port));
            let expect = if revision == 0 { Expect::Absent } else { Expect::ModRevision(revision) };
            let value = next.encode(allocators.ranges.ports()).into();
            let mut txn = txn.clone();
            txn.compare.push(Compare { key: ports::KEY.into(), expect });
            txn.ops.push(Op::Put { key: ports::KEY.into(), value, lease: None });
            match self.once(txn).await? {
                (Stored::Yes(revision), _) => {
                    *record = Some((revision, next));
                    return Ok(Stored::Yes(revision));
                }
                // Only the record was in the way; what it is now is read above.
                (Stored::Contended, true) => {}
                (other, _) => return Ok(other),
            }
        }
        Err(Status::internal("the record of node ports is changed too often").into())
    }

    /// Makes a transaction; says besides whether its last comparison alone failed.
    async fn once(&self, txn: Txn) -> Result<(Stored<u64>, bool), Failure> {
        let compare = txn.compare.clone();
        let result = match self.0.store.txn(txn).await {
            Err(store::Error::TooLarge) => return Ok((Stored::TooLarge, false)),
            result => result.map_err(|error| store_failure(&error))?,
        };
        self.shown(result.revision).await;
        if result.succeeded {
            return Ok((Stored::Yes(result.revision), false));
        }
        let held: Vec<bool> = compare
            .iter()
            .zip(&result.current)
            .map(|(compare, current)| holds(compare.expect, current.as_ref()))
            .collect();
        let others = held.split_last().is_some_and(|(_, others)| others.iter().all(|held| *held));
        Ok(match held.first() {
            Some(true) => (Stored::Contended, others),
            _ => (Stored::Changed, false),
        })
    }

    /// The record of ports as it is in the store, and its revision; 0 when there is none.
    pub(super) async fn stored_ports(&self) -> Result<(u64, PortRecord), Failure> {
        let stored = self.0.store.get(ports::KEY.as_bytes()).await;
        let stored = stored.map_err(|error| store_failure(&error))?;
        Ok(stored.map_or_else(Default::default, |stored| {
            (stored.mod_revision, PortRecord::decode(&stored.value))
        }))
    }
}

fn holds(expect: Expect, current: Option<&KeyValue>) -> bool {
    match expect {
        Expect::Absent => current.is_none(),
        Expect::ModRevision(revision) => current.is_some_and(|kv| kv.mod_revision == revision),
    }
}
