//! Engine `embedded`: one redb file, for clusters with one API server.
//!
//! Tables: `log` holds every operation by revision, `latest` the state at the compacted revision
//! (key → where in the log), `leases` the leases, `meta` the compacted revision. The state now is
//! an index in memory (keys and log positions, no values), rebuilt at start from `latest` and the
//! log behind it. So a write touches the end of one B-tree only, whatever its key.
//!
//! A batch is made durable in a [`journal`] beside the file, and redb follows behind ([`filler`]).
//!
//! Order that readers rely on: a batch is durable first, is among the recent changes then, and
//! enters the index last; it leaves the recent changes only once redb has it. A compaction leaves
//! the index first and is committed then. A reader that looks at the recent changes and opens its
//! redb snapshot after that, both while it holds the index, therefore finds every position that it
//! saw.

mod build;
mod change;
mod compaction;
mod consistency;
mod file;
mod filler;
mod handle;
mod index;
mod journal;
mod overlay;
mod pages;
mod plan;
mod record;
mod report;
mod room;
mod salvage;
mod stopped;
mod tables;
mod watch;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use redb::{ReadableDatabase, StorageBackend};
use tokio::sync::oneshot;

use self::file::StoreFile;
use self::filler::{Behind, Filler};
use self::handle::Handle;
use self::index::Index;
use self::journal::replay::replay;
use self::journal::{Journal, JournalFile};
use self::room::Room;
use self::tables::engine_error;
use self::watch::Feed;
use self::writer::{Command, State, Writer};
use crate::metrics;
use crate::snapshot::Lease;
use crate::snapshot::folder::sync_folder_of;
use crate::types::{
    Alarm, Digest, Error, KeyValue, LeaseId, MIN_LEASE, Member, MemberChange, RangeRequest,
    RangeResult, Status, Txn, TxnResult,
};
use crate::{Engine, Store, WatchStream};

pub(crate) use self::build::build;
pub use self::report::{Lost, Report};
pub use self::room::DEFAULT_QUOTA;
pub use self::stopped::Stopped;

/// Tells the time for leases.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// How to open an embedded store.
#[derive(Clone)]
pub struct Options {
    /// Bytes of the page cache. Objects are served from the API server's own cache, and redb has many
    /// batches in one commit, so it is small.
    pub cache_bytes: usize,
    /// Bytes of values of recent changes kept for watches; older ones are read from disk.
    pub recent_bytes: usize,
    /// Bytes of the journal, a quarter of which may wait before redb is brought up to date.
    pub journal_bytes: u64,
    /// Records handled by one step of a compaction.
    pub compaction_chunk: usize,
    /// Bytes that keys and values may take, past ones included, before what needs more is refused;
    /// `None` is no limit but the disk's.
    pub quota_bytes: Option<u64>,
    /// Bytes of keys and values that a transaction may have; etcd's default.
    pub max_txn_bytes: usize,
    /// The clock for leases.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 2 << 20,
            recent_bytes: 1 << 20,
            journal_bytes: 4 << 20,
            compaction_chunk: 256,
            quota_bytes: Some(DEFAULT_QUOTA),
            max_txn_bytes: 3 << 19,
            clock: steady(),
        }
    }
}

/// Counts on from the time of day: whoever sets that ends no lease, and prolongs none.
fn steady() -> Clock {
    let (began, since) = (SystemTime::now(), Instant::now());
    Arc::new(move || began + since.elapsed())
}

/// Opens the store in the file `path`, which is made when absent. All of it is read first: after a
/// crash it is taken back to the last durable commit, and when it is damaged it is not opened.
pub fn open(path: &Path, options: Options) -> Result<Store, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::Engine(format!("{} cannot be opened as a store: {error}", path.display()))
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed(&error))?;
    }
    let opened = make_if_absent(path).and_then(|()| {
        let file = StoreFile::open(path).map_err(|error| Error::from_io(path, &error))?;
        if StorageBackend::len(&file).is_ok_and(|len| len == 0) {
            return Err(Error::Damaged("the file is empty".to_owned()));
        }
        let journal = JournalFile::of(path).map_err(|error| Error::from_io(path, &error))?;
        start(Arc::new(file), Arc::new(journal), Some(path.to_owned()), options)
    });
    match opened {
        Err(Error::Engine(text)) => Err(failed(&text)),
        Err(Error::NoSpace) => Err(failed(&"the disk is full")),
        Err(Error::Damaged(text)) => {
            Err(Error::Damaged(format!("{} cannot be opened as a store: {text}", path.display())))
        }
        other => other,
    }
}

/// Makes a new file under another name first: one that is there is whole, or was so once.
fn make_if_absent(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::from_io(path, &error);
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let partial = path.with_added_extension("new");
    build::<Error>(&partial, std::iter::empty(), &[], 0, SystemTime::UNIX_EPOCH)?;
    std::fs::rename(&partial, path).map_err(failed)?;
    sync_folder_of(path).map_err(failed)
}

/// Opens a store on devices of the caller's, for tests of what survives a power failure.
pub fn open_with_backends(
    file: impl StorageBackend,
    journal: impl StorageBackend,
    options: Options,
) -> Result<Store, Error> {
    start(Arc::new(file), Arc::new(journal), None, options)
}

fn start(
    file: Arc<dyn StorageBackend>,
    journal: Arc<dyn StorageBackend>,
    path: Option<PathBuf>,
    options: Options,
) -> Result<Store, Error> {
    let database = Arc::new(Handle::open(file, options.cache_bytes)?);
    let index = database.write(|database| {
        tables::prepare(database)?;
        replay(database, &*journal)?;
        tables::load(database)
    })?;
    let room = Arc::new(Room::new(options.quota_bytes));
    metrics::set(&metrics::KEYS, index.live_keys as u64);
    metrics::set(&metrics::REVISION, index.revision);
    metrics::set(&metrics::COMPACTED, index.compacted);
    let feed = Arc::new(Feed::new(index.revision, options.recent_bytes));
    let behind = Behind::nothing(index.revision);
    let index = Arc::new(RwLock::new(index));
    let settled = Arc::new(AtomicU64::new(0));
    let (commands, queue) = channel();
    let (work, jobs) = channel();
    let filler = Filler {
        database: database.clone(),
        index: index.clone(),
        feed: feed.clone(),
        room: room.clone(),
        jobs,
        writer: commands.clone(),
        settled: settled.clone(),
        chunk: options.compaction_chunk,
        behind,
    };
    let writer = Writer {
        database: database.clone(),
        index: index.clone(),
        feed: feed.clone(),
        room: room.clone(),
        queue,
        clock: options.clock.clone(),
        journal: Journal::new(journal.clone(), options.journal_bytes, settled),
        filler: work,
        state: State::default(),
    };
    let failed = |error: std::io::Error| Error::Engine(error.to_string());
    let filler = Builder::new().name("store-filler".into()).spawn(move || filler.run());
    let filler = filler.map_err(failed)?;
    let writer = Builder::new().name("store-writer".into()).spawn(move || writer.run());
    let writer = writer.map_err(failed)?;
    Ok(Store::new(Embedded(Arc::new(Core {
        commands,
        threads: Mutex::new(Some([writer, filler])),
        database,
        journal,
        index,
        feed,
        room,
        clock: options.clock,
        path,
        max_txn_bytes: options.max_txn_bytes,
    }))))
}

struct Embedded(Arc<Core>);

struct Core {
    commands: Sender<Command>,
    /// Writer and filler; `None` once the store is closed.
    threads: Mutex<Option<[JoinHandle<()>; 2]>>,
    database: Arc<Handle>,
    journal: Arc<dyn StorageBackend>,
    index: Arc<RwLock<Index>>,
    feed: Arc<Feed>,
    room: Arc<Room>,
    clock: Clock,
    path: Option<PathBuf>,
    max_txn_bytes: usize,
}

impl Core {
    /// Lets the writer finish what is queued, then closes the file.
    fn close(&self) -> Result<(), Error> {
        // Held to the end: whoever else closes is told only once it is done.
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(threads) = threads.take() else { return Ok(()) };
        // A writer that panicked hears nothing.
        self.commands.send(Command::Close).ok();
        // The filler ends after the writer, whose jobs it does.
        let [writer, filler] = threads.map(|thread| thread.join().is_ok());
        // Where redb has panicked once, it does so again.
        let closed = catch_unwind(AssertUnwindSafe(|| self.database.close())).is_ok();
        match (writer, filler && closed) {
            (true, true) => Ok(()),
            (false, _) => Err(Error::Engine("the store's writer panicked".into())),
            (true, false) => Err(Error::Engine("the store's filler panicked".into())),
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> BoxFuture<'_, Result<T, Error>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).is_ok();
        async move {
            if !sent {
                return Err(Error::Closed);
            }
            answer.await.unwrap_or(Err(Error::Closed))
        }
        .boxed()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }
}

impl Embedded {
    /// Does what takes a while where it holds nobody up.
    fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, Error> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, Error>> {
        let core = self.0.clone();
        async move {
            let done = tokio::task::spawn_blocking(move || work(&core)).await;
            done.unwrap_or_else(|error| Err(Error::Engine(error.to_string())))
        }
        .boxed()
    }
}

impl Engine for Embedded {
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Option<KeyValue>, Error>> {
        let core = &self.0;
        let found = core.database.read(|database| {
            let (position, snapshot) = {
                let index = index::read(&core.index);
                let Some(position) = index.live(&key) else { return Ok(None) };
                if let Some(pair) = core.feed.pair(position) {
                    return Ok(Some(pair));
                }
                (position, database.begin_read().map_err(engine_error)?)
            };
            tables::read_put(&snapshot, position).map(Some)
        });
        futures::future::ready(found).boxed()
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResult, Error>> {
        self.aside(move |core| {
            core.database
                .read(|database| tables::range(&core.index, &core.feed, database, &request))
        })
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        if txn.size() > self.0.max_txn_bytes {
            return futures::future::ready(Err(Error::TooLarge)).boxed();
        }
        self.0.ask(|reply| Command::Txn { txn, reply })
    }

    fn watch(&self, prefix: Bytes, from_revision: u64) -> WatchStream {
        watch::stream(self.0.database.clone(), self.0.feed.clone(), prefix, from_revision)
    }

    fn revision(&self) -> BoxFuture<'_, Result<u64, Error>> {
        futures::future::ready(self.0.feed.revision().ok_or(Error::Closed)).boxed()
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), Error>> {
        self.0.ask(|reply| Command::Compact { revision, reply })
    }

    fn compacted(&self) -> BoxFuture<'_, Result<u64, Error>> {
        futures::future::ready(Ok(index::read(&self.0.index).compacted)).boxed()
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        let ttl = Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self.0.ask(|reply| Command::Grant { ttl: ttl.max(MIN_LEASE), reply })
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.0.ask(|reply| Command::Revoke { lease, reply })
    }

    fn leases(&self, ids: Vec<LeaseId>) -> BoxFuture<'_, Result<Vec<Lease>, Error>> {
        let now = (self.0.clock)();
        let index = index::read(&self.0.index);
        let known = ids.into_iter().filter_map(|id| {
            let lease = index.leases.get(&id)?;
            let remaining = lease.expires.duration_since(now).unwrap_or_default();
            Some(Lease { id, ttl: lease.ttl, remaining })
        });
        futures::future::ready(Ok(known.collect())).boxed()
    }

    fn expire_leases(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.ask(|reply| Command::Expire { reply })
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        self.aside(|core| {
            let (revision, used_bytes) = {
                let index = index::read(&core.index);
                (index.revision, index.bytes)
            };
            let file = core.path.as_ref().and_then(|path| std::fs::metadata(path).ok());
            let journal = core.journal.len().unwrap_or(0);
            let allocated_bytes = file.map_or(0, |facts| facts.len() + journal);
            metrics::set(&metrics::ALLOCATED, allocated_bytes);
            Ok(Status {
                engine: "embedded",
                revision,
                allocated_bytes,
                used_bytes,
                quota_bytes: core.room.quota(),
                alarms: core.room.is_exceeded().then_some(Alarm::NoSpace).into_iter().collect(),
            })
        })
    }

    fn defragment(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.ask(|reply| Command::Defragment { reply })
    }

    /// Asks the writer for nothing: it answers once it has done what came before.
    fn health(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.ask(|reply| Command::Txn { txn: Txn::default(), reply }).map_ok(|_| ()).boxed()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn members(&self, _: Option<MemberChange>) -> BoxFuture<'_, Result<Vec<Member>, Error>> {
        let refused = Error::Refused("the embedded store has no members".to_owned());
        futures::future::ready(Err(refused)).boxed()
    }

    fn digests(&self) -> BoxFuture<'_, Result<Vec<Digest>, Error>> {
        let text = "the file of the embedded store is checked while its API server is stopped";
        futures::future::ready(Err(Error::Refused(text.to_owned()))).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.aside(Core::close)
    }
}
