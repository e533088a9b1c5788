//! A priority level: seats, and queues of those who wait for them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use machinery::Value;
use tokio::sync::oneshot;

use super::borrow::{self, Demand};
use super::deal;
use crate::metrics::flow as metrics;

/// What a PriorityLevelConfiguration says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    /// Nobody waits or is refused.
    exempt: bool,
    /// Its part of all seats.
    pub(super) shares: u32,
    lendable_percent: u32,
    /// None is without limit.
    borrowing_percent: Option<u32>,
    /// None: who finds no seat is refused.
    queuing: Option<Queuing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queuing {
    queues: usize,
    hand: usize,
    length: usize,
}

/// Why a request does not get its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All its queues are full.
    QueueFull,
    /// There is no seat, and no queue either.
    ConcurrencyLimit,
    /// It waited for too long.
    TimeOut,
}

/// See the module.
pub(super) struct Level {
    exempt: std::sync::atomic::AtomicBool,
    nominal: AtomicU32,
    state: Mutex<State>,
    metrics: metrics::OfLevel,
}

struct State {
    settings: Settings,
    /// Seats that may be used at present.
    limit: u32,
    nominal: u32,
    in_use: u32,
    waiting_seats: u32,
    queues: Vec<Queue>,
    /// Work of the queue that was served last.
    virtual_time: u64,
    next_ticket: u64,
    high: u32,
    smooth: f64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    /// Seats given to its requests, counted from the time that it had nothing to wait for.
    work: u64,
}

struct Waiter {
    ticket: u64,
    seats: u32,
    call: oneshot::Sender<Turn>,
}

/// A request's turn; its end gives the seats back.
#[derive(Debug)]
pub(crate) struct Turn {
    level: Option<Arc<Level>>,
    seats: u32,
    executing: metrics::Executing,
}

// === impl Settings ===

impl Settings {
    pub(super) fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let exempt = spec["type"] == "Exempt";
        let part = if exempt { &spec["exempt"] } else { &spec["limited"] };
        let response = &part["limitResponse"];
        let queuing = &response["queuing"];
        let size = |field: &str, usual: u32| number(&queuing[field]).unwrap_or(usual) as usize;
        let usual = if exempt { 0 } else { 30 };
        Self {
            exempt,
            shares: number(&part["nominalConcurrencyShares"]).unwrap_or(usual),
            lendable_percent: number(&part["lendablePercent"]).unwrap_or(0).min(100),
            borrowing_percent: number(&part["borrowingLimitPercent"]),
            queuing: (response["type"] == "Queue").then(|| Queuing {
                queues: size("queues", 64).max(1),
                hand: size("handSize", 8).max(1),
                length: size("queueLengthLimit", 50),
            }),
        }
    }

    /// For as long as the object is not there.
    pub(super) fn catch_all() -> Self {
        Self {
            exempt: false,
            shares: 5,
            lendable_percent: 0,
            borrowing_percent: None,
            queuing: None,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// The word in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

// === impl Level ===

impl Level {
    /// A level that grants nothing until it is [set](Level::set).
    pub(super) fn new(name: &str) -> Self {
        Self {
            exempt: false.into(),
            nominal: AtomicU32::new(0),
            state: Mutex::new(State {
                settings: Settings::catch_all(),
                limit: 0,
                nominal: 0,
                in_use: 0,
                waiting_seats: 0,
                queues: Vec::new(),
                virtual_time: 0,
                next_ticket: 0,
                high: 0,
                smooth: 0.0,
            }),
            metrics: metrics::OfLevel::new(name),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn nominal(&self) -> u32 {
        self.nominal.load(Ordering::Relaxed)
    }

    /// Sets what the level has; those who are in or wait stay.
    pub(super) fn set(self: &Arc<Self>, settings: Settings, nominal: u32, unlimited: bool) {
        self.exempt.store(settings.exempt || unlimited, Ordering::Relaxed);
        self.nominal.store(nominal, Ordering::Relaxed);
        let mut state = self.state();
        if (state.settings, state.nominal) != (settings, nominal) {
            (state.settings, state.nominal, state.limit) = (settings, nominal, nominal);
        }
        let queues = settings.queuing.map_or(0, |queuing| queuing.queues);
        if state.queues.len() < queues {
            state.queues.resize_with(queues, Queue::default);
        }
        self.metrics.limits(nominal, state.limit);
        self.serve(&mut state);
    }

    /// Sets how many seats may be used at present.
    pub(super) fn set_limit(self: &Arc<Self>, limit: u32) {
        let mut state = self.state();
        state.limit = limit;
        self.metrics.limits(state.nominal, limit);
        self.serve(&mut state);
    }

    /// What the level has and needs; begins to measure anew.
    pub(super) fn take_demand(&self) -> Demand {
        let mut state = self.state();
        let State { settings, nominal, .. } = *state;
        let high = f64::from(state.high);
        state.smooth = borrow::smoothed(state.smooth, high);
        state.high = state.in_use + state.waiting_seats;
        let percent =
            |percent: u32| (f64::from(nominal) * f64::from(percent) / 100.0).round() as u32;
        Demand {
            nominal,
            lendable: percent(settings.lendable_percent),
            borrowable: settings.borrowing_percent.map_or(u32::MAX / 2, percent),
            high,
            smooth: state.smooth,
        }
    }

    /// Waits for a turn of so many seats. `flow` is the hash of the request's flow.
    pub(super) async fn enter(
        self: &Arc<Self>,
        seats: u32,
        flow: impl FnOnce() -> u64,
        patience: Duration,
        metrics: &metrics::OfSchema,
    ) -> Result<Turn, Refusal> {
        if self.exempt.load(Ordering::Relaxed) {
            return Ok(Turn { level: None, seats, executing: metrics.executing(seats) });
        }
        let (mut place, called) = {
            let mut state = self.state();
            state.need(seats);
            if state.waiting_seats == 0 && fits(state.in_use, seats, state.limit) {
                state.in_use += seats;
                drop(state);
                metrics.waited(None);
                let level = Some(self.clone());
                return Ok(Turn { level, seats, executing: metrics.executing(seats) });
            }
            let Some(queuing) = state.settings.queuing else {
                return Err(Refusal::ConcurrencyLimit);
            };
            let hand = deal::hand(flow(), queuing.queues, queuing.hand);
            let waiting = |queue: &usize| state.queues[*queue].waiting.len();
            let queue = hand.into_iter().min_by_key(waiting).unwrap_or(0);
            if state.queues[queue].waiting.len() >= queuing.length {
                return Err(Refusal::QueueFull);
            }
            let (call, called) = oneshot::channel();
            let ticket = state.wait(queue, seats, call);
            (Place { level: self, queue, ticket, _queued: metrics.queued() }, called)
        };
        let since = Instant::now();
        let turn = tokio::time::timeout(patience, called).await;
        match turn {
            Ok(Ok(mut turn)) => {
                place.ticket = u64::MAX;
                turn.executing = metrics.executing(seats);
                metrics.waited(Some(since.elapsed()));
                Ok(turn)
            }
            _ => Err(Refusal::TimeOut),
        }
    }

    /// Lets in as many as there is room for.
    fn serve(self: &Arc<Self>, state: &mut State) {
        while let Some(waiter) = state.next() {
            let turn = Turn {
                level: Some(self.clone()),
                seats: waiter.seats,
                executing: metrics::Executing::default(),
            };
            state.in_use += waiter.seats;
            if let Err(mut turn) = waiter.call.send(turn) {
                // Who waited has gone. The seats are given back here, under the lock.
                turn.level = None;
                state.in_use -= waiter.seats;
            }
        }
    }
}

impl std::fmt::Debug for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Level")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(level) = self.level.take() else { return };
        let mut state = level.state();
        state.in_use -= self.seats;
        if state.waiting_seats > 0 {
            level.serve(&mut state);
        }
    }
}

/// A place in a queue, which is left in any case.
struct Place<'a> {
    level: &'a Arc<Level>,
    queue: usize,
    ticket: u64,
    /// Counts for as long as it is there.
    _queued: metrics::Queued,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.ticket != u64::MAX {
            self.level.state().leave(self.queue, self.ticket);
        }
    }
}

/// Whether there is room. A request that needs more seats than there are waits until it is alone.
fn fits(in_use: u32, seats: u32, limit: u32) -> bool {
    in_use + seats <= limit || (in_use == 0 && limit > 0)
}

// === impl State ===

impl State {
    /// Notes that so many more seats are needed.
    fn need(&mut self, seats: u32) {
        self.high = self.high.max(self.in_use + self.waiting_seats + seats);
    }

    fn wait(&mut self, queue: usize, seats: u32, call: oneshot::Sender<Turn>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting_seats += seats;
        let now = self.virtual_time;
        let queue = &mut self.queues[queue];
        if queue.waiting.is_empty() {
            // Nobody saves up turns by staying away.
            queue.work = queue.work.max(now);
        }
        queue.waiting.push_back(Waiter { ticket, seats, call });
        ticket
    }

    fn leave(&mut self, queue: usize, ticket: u64) {
        let waiting = &mut self.queues[queue].waiting;
        if let Some(at) = waiting.iter().position(|waiter| waiter.ticket == ticket)
            && let Some(gone) = waiting.remove(at)
        {
            self.waiting_seats -= gone.seats;
        }
    }

    /// The next one to be let in, if there is room: the first of the queue that has got least.
    fn next(&mut self) -> Option<Waiter> {
        let queues = self.queues.iter_mut().filter(|queue| !queue.waiting.is_empty());
        let queue = queues.min_by_key(|queue| queue.work)?;
        let seats = queue.waiting.front()?.seats;
        if !fits(self.in_use, seats, self.limit) {
            return None;
        }
        self.virtual_time = queue.work;
        queue.work += u64::from(seats);
        self.waiting_seats -= seats;
        queue.waiting.pop_front()
    }
}
