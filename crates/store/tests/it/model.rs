//! Random histories against a model that is too simple to be wrong: a list of whole states.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use proptest::prelude::*;
use store::{Compare, Error, Event, EventKind, Expect, Op, RangeRequest, Store, Txn};

use crate::contract::Fixture;
use crate::embedded::Embedded;
use crate::etcd::Etcd;

/// For what a broken engine never delivers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Value and mod revision by key.
type State = BTreeMap<u8, (u8, u64)>;

struct Model {
    /// `states[r]` is the state at revision `r`.
    states: Vec<State>,
    compacted: u64,
}

impl Model {
    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// What the transaction should return.
    fn txn(&mut self, step: &TxnStep) -> bool {
        let mut state = self.now().clone();
        let holds = step.compares.iter().all(|(key, guess)| match guess {
            Guess::Absent => !state.contains_key(key),
            Guess::Right => state.contains_key(key),
            Guess::Wrong => false,
        });
        let next = self.revision() + 1;
        if holds {
            for (key, value) in &step.ops {
                match value {
                    Some(value) => drop(state.insert(*key, (*value, next))),
                    None => drop(state.remove(key)),
                }
            }
            if &state != self.now() {
                self.states.push(state);
            }
        }
        holds
    }
}

#[derive(Debug, Clone)]
enum Guess {
    Absent,
    Right,
    Wrong,
}

#[derive(Debug, Clone)]
struct TxnStep {
    compares: Vec<(u8, Guess)>,
    ops: BTreeMap<u8, Option<u8>>,
}

#[derive(Debug, Clone)]
enum Step {
    Txn(TxnStep),
    /// Several at once, so that they may share a commit; on distinct keys, as order is not given.
    Together(Vec<u8>),
    ReadAt(usize),
    Compact(usize),
    Watch(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..6u8;
    let guess = prop_oneof![Just(Guess::Absent), Just(Guess::Right), Just(Guess::Wrong)];
    let compares = prop::collection::vec((key.clone(), guess), 0..3);
    let ops = prop::collection::btree_map(key, prop::option::of(any::<u8>()), 0..4);
    let txn = (compares, ops).prop_map(|(compares, ops)| TxnStep { compares, ops });
    let step = prop_oneof![
        12 => txn.prop_map(Step::Txn),
        2 => prop::collection::btree_set(100..110u8, 1..6)
            .prop_map(|keys| Step::Together(keys.into_iter().collect())),
        3 => any::<usize>().prop_map(Step::ReadAt),
        1 => any::<usize>().prop_map(Step::Compact),
        2 => any::<usize>().prop_map(Step::Watch),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

fn key(key: u8) -> Bytes {
    format!("/{key:03}").into()
}

fn real_txn(step: &TxnStep, now: &State) -> Txn {
    let compare = step.compares.iter().map(|(k, guess)| {
        let revision = now.get(k).map_or(u64::MAX, |(_, revision)| *revision);
        let expect = match guess {
            Guess::Absent => Expect::Absent,
            Guess::Right => Expect::ModRevision(revision),
            Guess::Wrong => Expect::ModRevision(revision.wrapping_add(1)),
        };
        Compare { key: key(*k), expect }
    });
    let ops = step.ops.iter().map(|(k, value)| match value {
        Some(value) => Op::Put { key: key(*k), value: vec![*value].into(), lease: None },
        None => Op::Delete { key: key(*k) },
    });
    Txn { compare: compare.collect(), ops: ops.collect() }
}

async fn read(store: &Store, request: RangeRequest) -> Result<State, Error> {
    let range = store.range(request).await?;
    Ok(range
        .kvs
        .iter()
        .map(|kv| {
            let key = std::str::from_utf8(&kv.key[1..]).unwrap().parse().unwrap();
            (key, (kv.value[0], kv.mod_revision))
        })
        .collect())
}

/// Applies what a watch delivered to a state.
fn replay(state: &mut State, events: &[Event]) {
    for event in events {
        let key = std::str::from_utf8(&event.kv.key[1..]).unwrap().parse().unwrap();
        match event.kind {
            EventKind::Put => drop(state.insert(key, (event.kv.value[0], event.kv.mod_revision))),
            EventKind::Delete => assert!(state.remove(&key).is_some(), "deleted twice"),
        }
    }
}

async fn run<F: Fixture>(steps: Vec<Step>) {
    let mut fixture = F::new().await;
    let mut model = Model { states: vec![State::new(); 2], compacted: 0 };
    for step in steps {
        let store = fixture.store();
        match step {
            Step::Txn(step) => {
                let txn = real_txn(&step, model.now());
                let expected = model.txn(&step);
                let result = store.txn(txn).await.unwrap();
                assert_eq!(result.succeeded, expected);
                assert_eq!(result.revision, model.revision());
            }
            Step::Together(keys) => {
                let writes = keys.iter().map(|k| {
                    let op = Op::Put { key: key(*k), value: vec![*k].into(), lease: None };
                    store.txn(Txn { compare: vec![], ops: vec![op] })
                });
                let mut made: Vec<(u64, u8)> = futures::future::join_all(writes)
                    .await
                    .into_iter()
                    .zip(&keys)
                    .map(|(result, key)| (result.unwrap().revision, *key))
                    .collect();
                made.sort_unstable();
                for (revision, key) in made {
                    let mut state = model.now().clone();
                    state.insert(key, (key, revision));
                    model.states.push(state);
                    assert_eq!(model.revision(), revision);
                }
            }
            Step::ReadAt(seed) => {
                let at = seed as u64 % (model.revision() + 2);
                match read(&store, RangeRequest::prefix("/").at(at)).await {
                    Ok(state) => assert_eq!(state, model.states[at as usize]),
                    Err(Error::Compacted { .. }) => assert!(at < model.compacted),
                    Err(Error::FutureRevision { .. }) => assert!(at > model.revision()),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Compact(seed) => {
                let at = seed as u64 % (model.revision() + 1);
                store.compact(at).await.unwrap();
                model.compacted = model.compacted.max(at);
            }
            Step::Watch(seed) => {
                let from = 1 + seed as u64 % model.revision();
                let mut state = model.states[from as usize - 1].clone();
                let mut watch = store.watch("/", from);
                let mut reached = from - 1;
                while reached < model.revision() {
                    let batch = tokio::time::timeout(PATIENCE, watch.next()).await;
                    let batch = match batch.expect("a change never came").unwrap() {
                        Ok(batch) => batch,
                        Err(Error::Compacted { .. }) => {
                            assert!(reached < model.compacted);
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    };
                    replay(&mut state, &batch.events);
                    reached = batch.revision;
                    assert_eq!(state, model.states[reached as usize]);
                }
            }
            Step::Reopen => {
                drop(store);
                fixture.reopen().await;
            }
        }
    }
    fixture.advance(Duration::ZERO).await;
    assert_eq!(read(&fixture.store(), RangeRequest::prefix("/")).await.unwrap(), *model.now());
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future);
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn random_histories_agree_with_the_model(steps in steps()) {
        block_on(run::<Embedded>(steps));
    }
}

proptest! {
    // Each case is a cluster of its own, so a failure is not made smaller for long.
    #![proptest_config(ProptestConfig { max_shrink_iters: 40, ..cases(8) })]

    #[test]
    fn random_histories_of_etcd_agree_with_the_model(steps in steps()) {
        block_on(run::<Etcd>(steps));
    }
}
