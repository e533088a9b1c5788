//! Collects events and writes them together, so that no request waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::options::{BatchOptions, Throttle};
use super::sink::{Event, Target};

/// See the module.
pub(super) struct Batcher {
    queue: mpsc::Sender<Event>,
    target: Arc<Target>,
}

// === impl Batcher ===

impl Batcher {
    pub(super) fn start(
        target: &Arc<Target>,
        options: BatchOptions,
        (tasks, shutdown): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let (queue, events) = mpsc::channel(options.buffer_size);
        let worker = Worker {
            events,
            batch: Vec::new(),
            target: target.clone(),
            options,
            bucket: options.throttle.map(Bucket::full),
        };
        tasks.spawn(worker.run(shutdown.clone()));
        Self { queue, target: target.clone() }
    }

    /// Adds an event, or drops it when too many wait.
    pub(super) fn add(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            self.target.lost(1, "audit buffer queue blocked");
        }
    }
}

struct Worker {
    events: mpsc::Receiver<Event>,
    /// What is collected so far.
    batch: Vec<Event>,
    target: Arc<Target>,
    options: BatchOptions,
    bucket: Option<Bucket>,
}

impl Worker {
    async fn run(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = self.collect() => {}
                () = shutdown.cancelled() => break,
            }
            let batch = std::mem::take(&mut self.batch);
            self.target.write(&batch).await;
        }
        // What came until now is still written.
        while let Ok(event) = self.events.try_recv() {
            self.batch.push(event);
        }
        for batch in self.batch.chunks(self.options.max_size) {
            self.target.write(batch).await;
        }
    }

    /// Collects as many events as may go together, or as come in time after the first, and waits
    /// until they may be written. Nothing is lost when this is given up.
    async fn collect(&mut self) {
        while self.batch.is_empty() {
            match self.events.recv().await {
                Some(event) => self.batch.push(event),
                None => std::future::pending().await,
            }
        }
        let until = Instant::now() + self.options.max_wait;
        while self.batch.len() < self.options.max_size {
            match tokio::time::timeout_at(until, self.events.recv()).await {
                Ok(Some(event)) => self.batch.push(event),
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.take().await;
        }
    }
}

/// Lets so many pass in a second.
struct Bucket {
    limit: Throttle,
    left: f32,
    since: Instant,
}

impl Bucket {
    fn full(limit: Throttle) -> Self {
        Self { limit, left: limit.burst as f32, since: Instant::now() }
    }

    async fn take(&mut self) {
        let now = Instant::now();
        let gained = (now - self.since).as_secs_f32() * self.limit.per_second;
        self.left = (self.left + gained).min(self.limit.burst as f32);
        self.since = now;
        if self.left < 1.0 {
            let wait = (1.0 - self.left) / self.limit.per_second;
            tokio::time::sleep(Duration::from_secs_f32(wait)).await;
            self.left = 1.0;
            self.since = Instant::now();
        }
        self.left -= 1.0;
    }
}
