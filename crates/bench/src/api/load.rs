//! Closed loops: every connection sends its next request when it has read the last answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::connection::{Connection, Error, Protocol, Request, Target};
use crate::report::Sample;

/// When a scenario ends: at a time, or after a number of requests.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Time(Duration),
    Requests(usize),
}

/// What a load has done.
pub(super) struct Done {
    pub(super) samples: Vec<Sample>,
    pub(super) elapsed: Duration,
    /// Bytes of all answers' bodies.
    pub(super) bytes: u64,
}

/// Makes the request of a number.
pub(super) type Maker = Arc<dyn Fn(usize) -> Request + Send + Sync>;

/// Sends requests on so many connections of their own. Their numbers start with `first`.
pub(super) async fn run(
    target: &Target,
    (protocol, connections): (Protocol, usize),
    limit: Limit,
    first: usize,
    request: Maker,
) -> Result<Done, Error> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(target.connect(protocol).await?);
    }
    let next = Arc::new(AtomicUsize::new(first));
    let begun = Instant::now();
    let (until, end) = match limit {
        Limit::Time(duration) => (Some(begun + duration), usize::MAX),
        Limit::Requests(count) => (None, first + count),
    };
    let workers: Vec<_> = open
        .into_iter()
        .map(|connection| {
            let worker = Worker {
                target: target.clone(),
                protocol,
                connection,
                request: request.clone(),
                next: next.clone(),
                until,
                end,
            };
            tokio::spawn(worker.run())
        })
        .collect();
    let mut done = Done { samples: Vec::new(), elapsed: Duration::ZERO, bytes: 0 };
    for worker in workers {
        let (sample, bytes) = match worker.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        done.samples.push(sample);
        done.bytes += bytes;
    }
    done.elapsed = begun.elapsed();
    Ok(done)
}

struct Worker {
    target: Target,
    protocol: Protocol,
    connection: Connection,
    request: Maker,
    next: Arc<AtomicUsize>,
    until: Option<Instant>,
    end: usize,
}

impl Worker {
    async fn run(mut self) -> (Sample, u64) {
        let (mut sample, mut bytes) = (Sample::default(), 0);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            if number >= self.end || self.until.is_some_and(|until| begun >= until) {
                return (sample, bytes);
            }
            match self.connection.send(&(self.request)(number)).await {
                Ok(len) => {
                    sample.latencies.push(begun.elapsed());
                    bytes += len;
                }
                Err(error) => {
                    let refused = matches!(error, Error::Refused { .. });
                    sample.errors.push(error.to_string());
                    if !refused {
                        match self.target.connect(self.protocol).await {
                            Ok(fresh) => self.connection = fresh,
                            Err(_) => return (sample, bytes),
                        }
                    }
                }
            }
        }
    }
}
