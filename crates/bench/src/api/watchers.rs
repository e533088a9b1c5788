//! Many watchers of one collection that changes.
//!
//! A writer changes objects that say when they were sent; each watcher reads the time out of every
//! event. The run knows how many events must come: writes that the server acknowledged times
//! watchers. What is missing of them is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use machinery::{Value, meta};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::objects::{self, Template};
use crate::connection::{Connection, Error, Format, Protocol, Request, Stream, Target};
use crate::report::Sample;

/// Objects that change in turn.
const OBJECTS: usize = 16;
/// How long to wait for events that are on their way after the last write.
const PATIENCE: Duration = Duration::from_secs(10);

/// How fast the collection changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many writes per second.
    PerSecond(u32),
    /// So many writes may be on their way to the watchers: as fast as they keep up.
    Window(u64),
}

/// What to run.
pub(super) struct Watched<'a> {
    pub(super) target: &'a Target,
    pub(super) protocol: Protocol,
    pub(super) format: Format,
    /// Path of the collection.
    pub(super) path: &'a str,
    pub(super) watchers: usize,
    /// Watches on one HTTP/2 connection.
    pub(super) streams: usize,
    pub(super) duration: Duration,
    pub(super) pace: Pace,
    /// A request that so many send again and again on the connection of the last watches.
    pub(super) beside: Option<(usize, Request)>,
}

/// What the watchers saw.
pub(super) struct Seen {
    /// Times from sending a write until a watcher had its event, and what went wrong.
    pub(super) samples: Vec<Sample>,
    /// What those saw who sent other requests.
    pub(super) beside: Vec<Sample>,
    pub(super) elapsed: Duration,
    /// Connections that the watches used.
    pub(super) connections: usize,
}

/// What watchers tell the writer.
struct Counts {
    seen: AtomicU64,
    alive: AtomicUsize,
    news: Notify,
}

/// One watcher.
struct Watcher {
    stream: Stream,
    format: Format,
    epoch: Instant,
    counts: Arc<Counts>,
    stop: watch::Receiver<bool>,
    /// An event that has not come whole yet.
    rest: BytesMut,
}

impl Watched<'_> {
    /// Runs the watchers and the writer.
    ///
    /// # Errors
    /// When the objects or the watches cannot be made.
    pub(super) async fn run(&self) -> Result<Seen, Error> {
        let mut writer = self.target.connect(self.protocol).await?;
        let template = Template::new(&objects::stamped(), self.format)?;
        let write = |method, path: String, number, nanoseconds| Request {
            method,
            path: path.into(),
            accept: self.format,
            content_type: self.format.media_type(),
            body: template.sent_at(number, nanoseconds),
            gzip: false,
        };
        for number in 0..OBJECTS {
            writer.send(&write("POST", self.path.to_owned(), number, 0)).await?;
        }
        let list = writer.fetch(&Request::get(self.path, Format::Json)).await?;
        let list: Value = serde_json::from_slice(&list).unwrap_or_default();
        let from = meta::resource_version(&list).to_owned();
        let epoch = Instant::now();
        let alive = AtomicUsize::new(self.watchers);
        let counts = Arc::new(Counts { seen: AtomicU64::new(0), alive, news: Notify::new() });
        let (stop, stopped) = watch::channel(false);
        let Opened { watches, beside, connections } =
            self.open(&from, epoch, &counts, &stopped).await?;

        let begun = Instant::now();
        let mut own = Sample::default();
        let mut written = 0u64;
        while begun.elapsed() < self.duration {
            let number = written as usize % OBJECTS;
            let path = format!("{}/{}", self.path, objects::name(number));
            let sent = nanoseconds(epoch);
            if let Err(error) = writer.send(&write("PUT", path, number, sent)).await {
                own.errors.push(error.to_string());
                break;
            }
            written += 1;
            match self.pace {
                Pace::PerSecond(rate) => {
                    let due = Duration::from_secs_f64(written as f64 / f64::from(rate));
                    tokio::time::sleep_until((begun + due).into()).await;
                }
                Pace::Window(window) => {
                    let wanted = written.saturating_sub(window) * self.watchers as u64;
                    if !counts.reach(wanted).await {
                        break;
                    }
                }
            }
        }
        let wanted = written * self.watchers as u64;
        counts.reach(wanted).await;
        let elapsed = begun.elapsed();
        let seen = counts.seen.load(Ordering::Acquire);
        if seen != wanted {
            own.errors.push(format!("{seen} events came of {wanted}"));
        }
        stop.send_replace(true);
        let mut samples = vec![own];
        samples.extend(results(watches).await);
        Ok(Seen { samples, beside: results(beside).await, elapsed, connections })
    }

    /// Opens all watches.
    async fn open(
        &self,
        from: &str,
        epoch: Instant,
        counts: &Arc<Counts>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Opened, Error> {
        let seconds = self.duration.as_secs() + 600;
        let path =
            format!("{}?watch=true&resourceVersion={from}&timeoutSeconds={seconds}", self.path);
        let request = Request::get(path, self.format);
        let (mut watches, mut connections) = (Vec::with_capacity(self.watchers), 0);
        let mut shared: Option<(Connection, usize)> = None;
        for _ in 0..self.watchers {
            let connection = match &mut shared {
                Some((connection, free)) if *free > 0 => {
                    *free -= 1;
                    connection.share()
                }
                _ => None,
            };
            let connection = match connection {
                Some(connection) => connection,
                None => {
                    connections += 1;
                    let fresh = self.target.connect(self.protocol).await?;
                    shared = fresh.share().map(|clone| (clone, self.streams - 1));
                    fresh
                }
            };
            let watcher = Watcher {
                stream: connection.open(&request).await?,
                format: self.format,
                epoch,
                counts: counts.clone(),
                stop: stop.clone(),
                rest: BytesMut::new(),
            };
            watches.push(tokio::spawn(watcher.run()));
        }
        let mut beside = Vec::new();
        if let (Some((count, request)), Some((connection, _))) = (&self.beside, &shared) {
            for connection in (0..*count).filter_map(|_| connection.share()) {
                beside.push(tokio::spawn(repeat(connection, request.clone(), stop.clone())));
            }
        }
        Ok(Opened { watches, beside, connections })
    }
}

/// What runs while the collection changes.
struct Opened {
    watches: Vec<JoinHandle<Sample>>,
    beside: Vec<JoinHandle<Sample>>,
    connections: usize,
}

async fn results(tasks: Vec<JoinHandle<Sample>>) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(tasks.len());
    for task in tasks {
        match task.await {
            Ok(sample) => samples.push(sample),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    samples
}

/// Sends a request again and again until told to stop.
async fn repeat(
    mut connection: Connection,
    request: Request,
    stop: watch::Receiver<bool>,
) -> Sample {
    let mut sample = Sample::default();
    while !*stop.borrow() && sample.errors.is_empty() {
        let begun = Instant::now();
        match connection.send(&request).await {
            Ok(_) => sample.latencies.push(begun.elapsed()),
            Err(error) => sample.errors.push(error.to_string()),
        }
    }
    sample
}

impl Counts {
    /// Waits until so many events came; false when watches ended or nothing comes any more.
    async fn reach(&self, wanted: u64) -> bool {
        let all = self.alive.load(Ordering::Acquire);
        loop {
            let news = self.news.notified();
            let seen = self.seen.load(Ordering::Acquire);
            if seen >= wanted {
                return true;
            }
            if self.alive.load(Ordering::Acquire) < all
                || tokio::time::timeout(PATIENCE, news).await.is_err()
                    && self.seen.load(Ordering::Acquire) == seen
            {
                return false;
            }
        }
    }
}

impl Watcher {
    async fn run(mut self) -> Sample {
        let mut sample = Sample::default();
        loop {
            let piece = tokio::select! {
                piece = self.stream.next() => piece,
                _ = self.stop.changed() => return sample,
            };
            match piece {
                Ok(Some(piece)) => self.take(&piece, &mut sample),
                Ok(None) => sample.errors.push("a watch ended".to_owned()),
                Err(error) => sample.errors.push(error.to_string()),
            }
            if !sample.errors.is_empty() {
                self.counts.alive.fetch_sub(1, Ordering::AcqRel);
                self.counts.news.notify_one();
                return sample;
            }
        }
    }

    /// Counts the events that are whole now.
    fn take(&mut self, piece: &[u8], sample: &mut Sample) {
        self.rest.extend_from_slice(piece);
        let now = nanoseconds(self.epoch);
        let mut came = 0;
        while let Some(len) = event_len(self.format, &self.rest) {
            let event = self.rest.split_to(len);
            match objects::stamp(&event) {
                Some(sent) => {
                    sample.latencies.push(Duration::from_nanos(now.saturating_sub(sent)));
                    came += 1;
                }
                None => {
                    let text = String::from_utf8_lossy(&event[..len.min(300)]).into_owned();
                    sample.errors.push(format!("not one of the expected events: {text}"));
                }
            }
        }
        self.counts.seen.fetch_add(came, Ordering::AcqRel);
        self.counts.news.notify_one();
    }
}

fn nanoseconds(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The length of the first event, once it is there whole.
fn event_len(format: Format, bytes: &[u8]) -> Option<usize> {
    match format {
        Format::Json => bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
        Format::Protobuf => {
            let len = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
            let len = 4 + usize::try_from(len).ok()?;
            (bytes.len() >= len).then_some(len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_where_they_end() {
        let check = |format, bytes: &[u8], want| assert_eq!(event_len(format, bytes), want);
        check(Format::Json, b"{}", None);
        check(Format::Json, b"{}\n{", Some(3));
        check(Format::Protobuf, &[0, 0, 0], None);
        check(Format::Protobuf, &[0, 0, 0, 2, 1], None);
        check(Format::Protobuf, &[0, 0, 0, 2, 1, 2, 0], Some(6));
    }
}
