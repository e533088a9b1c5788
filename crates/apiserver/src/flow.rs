//! Flow control: how many requests run at once, and who waits, as upstream's API priority and
//! fairness has it, <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>.
//!
//! Data flow: FlowSchemas and PriorityLevelConfigurations → [`Config`], compiled once per change →
//! the first [`Schema`] that matches a request names its level → a [`Level`] has a share of the
//! server's seats; beyond it requests queue for a bounded time and in bounded number, each flow (a
//! user's or namespace's requests) in a few of many queues, so that one flow cannot fill them all
//! → who finds no place, or waits in vain, is told to come back. Levels lend seats that they do
//! not need ([`borrow`]).
//!
//! Invariants: a request that finds a free seat takes one lock and allocates nothing; a seat is
//! given back whatever happens to its request.

mod borrow;
mod deal;
mod level;
pub(crate) mod rules;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use http::HeaderValue;
use machinery::{Value, meta};
use tokio_util::sync::CancellationToken;

use self::borrow::Demand;
use self::level::{Level, Settings};
pub(crate) use self::level::{Refusal, Turn};
use self::rules::Schema as Rules;
use crate::authn::User;
use crate::metrics::flow as metrics;
use crate::request_info::RequestInfo;

/// How often levels lend each other seats anew.
const BORROWING_PERIOD: Duration = Duration::from_secs(10);
/// The level and the schema of requests that no other takes.
pub(crate) const CATCH_ALL: &str = "catch-all";
/// A list's objects per seat.
const OBJECTS_PER_SEAT: usize = 100;
/// The most seats that a request takes.
const MAX_SEATS: u32 = 10;
/// The part of a level's seats that one request may take.
const MAX_SHARE: f64 = 0.15;

/// The two kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes nothing.
    ReadOnly,
    /// All others.
    Mutating,
}

impl Kind {
    /// The word in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "readOnly",
            Self::Mutating => "mutating",
        }
    }
}

/// Grants turns.
pub(crate) struct Flow {
    /// Seats of the whole server; 0 is no limit.
    seats: u32,
    /// How long a request may wait for its turn.
    patience: Duration,
    objects: Mutex<Objects>,
    config: RwLock<Arc<Config>>,
}

/// The API objects that the configuration is made of.
#[derive(Default)]
struct Objects {
    schemas: BTreeMap<String, Value>,
    levels: BTreeMap<String, Value>,
}

/// Compiled objects.
struct Config {
    /// In order of precedence; the last one takes everything.
    schemas: Vec<Arc<Schema>>,
    levels: HashMap<String, Arc<Level>>,
}

/// A FlowSchema with its level.
pub(crate) struct Schema {
    rules: Rules,
    level: Arc<Level>,
    /// UIDs of schema and level, which every response tells.
    pub(crate) schema_uid: HeaderValue,
    pub(crate) level_uid: HeaderValue,
    metrics: metrics::OfSchema,
}

// === impl Flow ===

impl Flow {
    /// So many requests at once; without limit if there is none for one of the kinds. Requests
    /// wait for a quarter of their time.
    pub(crate) fn new(read_only: usize, mutating: usize, request_timeout: Duration) -> Self {
        let limited = read_only > 0 && mutating > 0;
        let seats = if limited { read_only + mutating } else { 0 };
        let objects = Objects::default();
        let seats = u32::try_from(seats).unwrap_or(u32::MAX);
        let config = objects.compile(seats, &HashMap::new());
        Self {
            seats,
            patience: request_timeout / 4,
            objects: Mutex::new(objects),
            config: RwLock::new(Arc::new(config)),
        }
    }

    /// Takes a FlowSchema, or its absence, into account.
    pub(crate) fn apply_schema(&self, name: &str, object: Option<&Value>) {
        self.change(|objects| set(&mut objects.schemas, name, object));
    }

    /// Takes a PriorityLevelConfiguration, or its absence, into account.
    pub(crate) fn apply_level(&self, name: &str, object: Option<&Value>) {
        self.change(|objects| set(&mut objects.levels, name, object));
    }

    fn change(&self, change: impl FnOnce(&mut Objects)) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut objects);
        let config = objects.compile(self.seats, &self.config().levels);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The schema of a request.
    pub(crate) fn classify(&self, user: &User, info: &RequestInfo<'_>) -> Arc<Schema> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        let found = config.schemas.iter().find(|schema| schema.rules.matches(user, info));
        found.or(config.schemas.last()).expect("there is always the last schema").clone()
    }

    /// Waits for a turn, which lasts until it is dropped. `objects` is how many a list looks at.
    pub(crate) async fn enter(
        &self,
        schema: &Arc<Schema>,
        user: &User,
        info: &RequestInfo<'_>,
        objects: usize,
    ) -> Result<Turn, Refusal> {
        let level = &schema.level;
        let seats = seats(objects, level.nominal());
        let flow = || schema.rules.flow(user, info);
        let turn = level.enter(seats, flow, self.patience, &schema.metrics).await;
        if let Err(refusal) = &turn {
            schema.metrics.refused(*refusal);
        }
        turn
    }

    /// Lends seats every now and then, until shutdown.
    pub(crate) async fn lend(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(BORROWING_PERIOD) => {}
            }
            self.config().lend(self.seats);
        }
    }
}

fn set(objects: &mut BTreeMap<String, Value>, name: &str, object: Option<&Value>) {
    match object {
        Some(object) => objects.insert(name.to_owned(), object.clone()),
        None => objects.remove(name),
    };
}

fn seats(objects: usize, nominal: u32) -> u32 {
    if objects <= OBJECTS_PER_SEAT {
        return 1;
    }
    let wanted = u32::try_from(objects.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(MAX_SEATS);
    let most = (f64::from(nominal) * MAX_SHARE).ceil() as u32;
    wanted.min(MAX_SEATS).min(most).max(1)
}

// === impl Objects ===

impl Objects {
    /// The configuration; levels that are there already go on with what they have.
    fn compile(&self, seats: u32, known: &HashMap<String, Arc<Level>>) -> Config {
        let mut settings: BTreeMap<&str, Settings> =
            self.levels.iter().map(|(name, level)| (name.as_str(), Settings::of(level))).collect();
        settings.entry(CATCH_ALL).or_insert_with(Settings::catch_all);
        let shares: u32 = settings.values().map(|settings| settings.shares).sum();
        let levels: HashMap<String, Arc<Level>> = settings
            .into_iter()
            .map(|(name, settings)| {
                let nominal = nominal(seats, settings.shares, shares);
                let level = match known.get(name) {
                    Some(level) => level.clone(),
                    None => Arc::new(Level::new(name)),
                };
                level.set(settings, nominal, seats == 0);
                (name.to_owned(), level)
            })
            .collect();
        let catch_all = Rules::catch_all();
        let mut rules: Vec<(Rules, String)> = self
            .schemas
            .values()
            .map(|schema| (Rules::of(schema), meta::uid(schema).to_owned()))
            .collect();
        if !self.schemas.contains_key(CATCH_ALL) {
            rules.push((catch_all, String::new()));
        }
        rules.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
        let schemas = rules
            .into_iter()
            .filter_map(|(rules, uid)| {
                // A schema whose level is not there is as good as none.
                let level = levels.get(&rules.level)?.clone();
                let of_level = self.levels.get(&rules.level).map(meta::uid).unwrap_or_default();
                Some(Arc::new(Schema {
                    metrics: metrics::OfSchema::new(&rules.level, &rules.name),
                    rules,
                    level,
                    schema_uid: header(&uid),
                    level_uid: header(of_level),
                }))
            })
            .collect();
        Config { schemas, levels }
    }
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// The seats of a level: its part of all, rounded up.
fn nominal(seats: u32, shares: u32, all: u32) -> u32 {
    if all == 0 {
        return 0;
    }
    let part = f64::from(seats) * f64::from(shares) / f64::from(all);
    part.ceil() as u32
}

// === impl Config ===

impl Config {
    fn lend(&self, seats: u32) {
        let levels: Vec<&Arc<Level>> = self.levels.values().collect();
        let demands: Vec<Demand> = levels.iter().map(|level| level.take_demand()).collect();
        for (level, limit) in levels.iter().zip(borrow::limits(&demands, seats)) {
            level.set_limit(limit);
        }
    }
}

#[cfg(test)]
mod tests;
