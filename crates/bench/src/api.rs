//! `ironclad bench api`: durable writes and reads of 1 KiB ConfigMaps.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::connection::{Connection, Error, Target};
use crate::report::{Figures, Report, Sample};

/// Connections of the scenarios with many.
const MANY: usize = 64;
/// Objects of the short list.
const SHORT: usize = 500;
/// Bytes of data in each ConfigMap.
const SIZE: usize = 1024;

/// How much load.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long each scenario lasts.
    pub duration: Duration,
    /// Objects of the long list; 0 leaves it out.
    pub objects: usize,
}

/// Runs every scenario in a namespace of its own, which is deleted at the end.
///
/// # Errors
/// When the server cannot be reached or refuses the preparations.
pub async fn run(target: &Target, options: &Options) -> Result<Report, Error> {
    let mut control = target.connect().await?;
    let namespace = format!("bench-{}", std::process::id());
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    control.send(Method::POST, "/api/v1/namespaces", bytes(&body)).await?;
    let result = scenarios(target, options, &namespace).await;
    let path = format!("/api/v1/namespaces/{namespace}");
    control.send(Method::DELETE, &path, Bytes::new()).await?;
    result
}

async fn scenarios(target: &Target, options: &Options, namespace: &str) -> Result<Report, Error> {
    let mut report = Report::default();
    let path: Arc<str> = format!("/api/v1/namespaces/{namespace}/configmaps").into();
    let number = Arc::new(AtomicUsize::new(0));
    let create = |connection: Connection| create(connection, path.clone(), number.clone());

    // The short list first, while there are few objects.
    let first = Limit { until: None, requests: SHORT };
    load(target, 1, first, create).await?;
    let listed = format!("list of {SHORT} ConfigMaps");
    let scenario = timed(options.duration);
    let list = |connection| get(connection, path.clone());
    report.scenarios.push(measure(&listed, target, 8, scenario, list).await?);

    let one: Arc<str> = format!("{path}/c-0").into();
    let read = |connection| get(connection, one.clone());
    let scenario = timed(options.duration);
    report.scenarios.push(measure("get one ConfigMap", target, MANY, scenario, read).await?);

    for connections in [1, MANY] {
        let name = "create 1 KiB ConfigMaps (durable)";
        let scenario = timed(options.duration);
        report.scenarios.push(measure(name, target, connections, scenario, create).await?);
    }
    let made = number.load(Ordering::Relaxed);
    if options.objects > 0 {
        let missing = Limit { until: None, requests: options.objects.saturating_sub(made) };
        load(target, MANY, missing, create).await?;
        let listed = format!("list of {} ConfigMaps", number.load(Ordering::Relaxed));
        let scenario = timed(options.duration);
        report.scenarios.push(measure(&listed, target, 4, scenario, list).await?);
    }
    Ok(report)
}

/// When a scenario ends: at a time, or after a number of requests.
#[derive(Clone, Copy)]
struct Limit {
    until: Option<Instant>,
    requests: usize,
}

fn timed(duration: Duration) -> Limit {
    Limit { until: Some(Instant::now() + duration), requests: usize::MAX }
}

/// Sends the next request of a scenario and gives the connection back.
trait Work: Future<Output = (Connection, Result<(), Error>)> + Send + 'static {}
impl<T: Future<Output = (Connection, Result<(), Error>)> + Send + 'static> Work for T {}

async fn measure<W: Work>(
    name: &str,
    target: &Target,
    connections: usize,
    limit: Limit,
    work: impl Fn(Connection) -> W + Clone + Send + Sync,
) -> Result<Figures, Error> {
    let begun = Instant::now();
    let samples = load(target, connections, limit, work).await?;
    Ok(Figures::new(name, samples, begun.elapsed()))
}

async fn load<W: Work>(
    target: &Target,
    connections: usize,
    limit: Limit,
    work: impl Fn(Connection) -> W + Clone + Send + Sync,
) -> Result<Vec<Sample>, Error> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(target.connect().await?);
    }
    let sent = AtomicUsize::new(0);
    let one = |mut connection: Connection| {
        let (work, sent) = (work.clone(), &sent);
        async move {
            let mut sample = Sample::default();
            while sent.fetch_add(1, Ordering::Relaxed) < limit.requests
                && limit.until.is_none_or(|until| Instant::now() < until)
            {
                let begun = Instant::now();
                // On a thread of the pool, so that all cores generate load.
                let (back, result) = match tokio::spawn(work(connection)).await {
                    Ok(done) => done,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                };
                connection = back;
                match result {
                    Ok(()) => sample.latencies.push(begun.elapsed()),
                    Err(error) => {
                        sample.errors.push(error.to_string());
                        let Ok(fresh) = target.connect().await else {
                            break;
                        };
                        connection = fresh;
                    }
                }
            }
            sample
        }
    };
    Ok(futures::future::join_all(open.into_iter().map(one)).await)
}

async fn create(
    mut connection: Connection,
    path: Arc<str>,
    number: Arc<AtomicUsize>,
) -> (Connection, Result<(), Error>) {
    let name = format!("c-{}", number.fetch_add(1, Ordering::Relaxed));
    let body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"payload": "x".repeat(SIZE)},
    });
    let result = connection.send(Method::POST, &path, bytes(&body)).await.map(drop);
    (connection, result)
}

async fn get(mut connection: Connection, path: Arc<str>) -> (Connection, Result<(), Error>) {
    let result = connection.send(Method::GET, &path, Bytes::new()).await.map(drop);
    (connection, result)
}

fn bytes(value: &serde_json::Value) -> Bytes {
    Bytes::from(value.to_string())
}
