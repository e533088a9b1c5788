//! `ironclad bench api`: what an API server does under the loads that clusters make.
//!
//! Each scenario runs for a fixed time on connections of its own, in namespaces that the run makes
//! and removes. Objects that a scenario needs are written before it begins.

mod control_plane;
mod load;
mod objects;
mod prepare;
mod scenario;
mod targets;
mod watchers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use self::control_plane::ControlPlane;
use self::load::{Done, Limit, Maker};
use self::scenario::Scenario;
use self::watchers::{Pace, Watched};
use crate::connection::{Connection, Error, Format, Protocol, Request, Target};
use crate::processes;
use crate::report::{Figures, Report};

/// Connections of the scenarios with many.
const MANY: usize = 64;
/// Connections of the lists, which keep a server busy with few.
const LISTERS: usize = 8;
/// Connections of the lists of everything.
const LONG_LISTERS: usize = 4;
/// Objects of the short list.
const SHORT: usize = 500;
/// Pods that are applied again and again.
const APPLIED: usize = 16;
/// Writes per second of the watched collection, when it is not as many as possible.
const PACE: u32 = 20;
/// Writes on their way to the watchers, when it is as many as possible.
const WINDOW: u64 = 16;
/// Streams on one HTTP/2 connection, as many as servers allow.
const STREAMS: usize = 100;
/// Watches on one connection that is used for other requests too.
const WATCHES_BESIDE: usize = 90;

/// How much load, and of what.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long each scenario lasts.
    pub duration: Duration,
    /// ConfigMaps of the long list.
    pub objects: usize,
    /// Pods of the list by node.
    pub pods: usize,
    /// Custom objects of the list of them.
    pub custom: usize,
    /// Watchers of one collection.
    pub watchers: usize,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// Each scenario runs in each of these.
    pub formats: Vec<Format>,
    /// Run only scenarios whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// The server's process, if it cannot be found from a connection to it.
    pub server_pid: Option<u32>,
    /// How long the server has to give memory back before the last look at it.
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(5),
            objects: 17_000,
            pods: 2_000,
            custom: 5_000,
            watchers: 1_000,
            protocol: Protocol::Http1,
            formats: vec![Format::Json, Format::Protobuf],
            only: Vec::new(),
            server_pid: None,
            settle: Duration::from_secs(20),
        }
    }
}

/// Runs every scenario.
///
/// # Errors
/// When the server cannot be reached or refuses the preparations.
pub async fn run(target: &Target, options: &Options) -> Result<Report, Error> {
    let server = match options.server_pid {
        Some(pid) => Some(pid),
        None => target.process().await?,
    };
    let mut run = Run {
        target,
        options,
        control: target.connect(options.protocol).await?,
        control_plane: ControlPlane::of(server),
        id: name(),
        namespaces: HashMap::new(),
        definition: None,
        report: Report::default(),
    };
    let result = run.scenarios().await;
    run.clean_up().await?;
    if result.is_ok() && run.wants(&[Scenario::MemoryAfter]) {
        tokio::time::sleep(options.settle).await;
        run.memory(Scenario::MemoryAfter);
    }
    result.map(|()| run.report)
}

/// The name of a run, unlike any other's: what one has removed may take a while to go.
fn name() -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed))
}

struct Run<'a> {
    target: &'a Target,
    options: &'a Options,
    control: Connection,
    control_plane: ControlPlane,
    /// Part of the names of what it makes.
    id: String,
    /// By what they are for.
    namespaces: HashMap<String, Arc<str>>,
    /// The path of the definition of the custom objects.
    definition: Option<String>,
    report: Report,
}

/// Processor time that was used by a point in time.
struct Used {
    server: Option<Duration>,
    generator: Option<Duration>,
}

impl Run<'_> {
    async fn scenarios(&mut self) -> Result<(), Error> {
        use Scenario::*;
        let formats = self.options.formats.clone();
        self.memory(MemoryIdle);
        if self.wants(&[MemoryLoaded, MemoryListed, ListAll, ListGzip, ListLabel])
            || self.wants(&[GetBesideLists, GetBesideGzip])
        {
            let all = self.filled("all", self.options.objects).await?;
            self.memory(MemoryLoaded);
            for format in &formats {
                self.read(ListAll, *format, LONG_LISTERS, &all).await?;
                let some =
                    format!("{all}?labelSelector={}%3D{}", objects::GROUP, objects::group(7));
                self.read(ListLabel, *format, LISTERS, &some).await?;
            }
            let gzip = Request { gzip: true, ..Request::get(&*all, Format::Json) };
            self.repeat(ListGzip, LONG_LISTERS, gzip.clone()).await?;
            self.beside(GetBesideLists, Request::get(&*all, Format::Json)).await?;
            self.beside(GetBesideGzip, gzip).await?;
            self.memory(MemoryListed);
        }
        if self.wants(&[ListShort, Get]) {
            let short = self.filled("short", SHORT).await?;
            let one = format!("{short}/{}", objects::name(0));
            for format in &formats {
                self.read(ListShort, *format, LISTERS, &short).await?;
                self.read(Get, *format, MANY, &one).await?;
            }
        }
        if self.wants(&[ListField]) {
            self.pods().await?;
            let node = objects::node(7);
            let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
            for format in &formats {
                self.read(ListField, *format, LISTERS, &path).await?;
            }
        }
        if self.wants(&[ListCustom]) {
            let path = self.custom_objects().await?;
            self.read(ListCustom, Format::Json, LONG_LISTERS, &path).await?;
        }
        for format in &formats {
            self.watch(WatchPaced, *format, Pace::PerSecond(PACE)).await?;
            self.watch(WatchFull, *format, Pace::Window(WINDOW)).await?;
        }
        self.beside_watches().await?;
        self.apply().await?;
        for format in formats {
            self.create(CreateOne, format, 1).await?;
            self.create(CreateMany, format, MANY).await?;
        }
        Ok(())
    }

    fn wants(&self, scenarios: &[Scenario]) -> bool {
        let only = &self.options.only;
        only.is_empty()
            || scenarios.iter().any(|scenario| {
                let id = scenario.id();
                only.iter().any(|wanted| id.contains(wanted.as_str()))
            })
    }

    /// Notes what the control plane uses now.
    fn memory(&mut self, scenario: Scenario) {
        if self.wants(&[scenario]) {
            let rows = self.control_plane.memory(scenario, &scenario.title(self.options));
            self.report.memory.extend(rows);
        }
    }

    fn used(&self) -> Used {
        let generator = processes::processor(std::process::id());
        Used { server: self.control_plane.processor(), generator }
    }

    /// Takes in figures; `before` is what had been used when the scenario began.
    fn add(&mut self, scenario: Scenario, format: Format, mut figures: Figures, before: &Used) {
        let per_answer = |now: Option<Duration>, then: Option<Duration>| {
            let used = now?.checked_sub(then?)?;
            Some(used.as_secs_f64() * 1e6 / figures.answers.max(1) as f64)
        };
        let now = self.used();
        figures.server_cpu_us = per_answer(now.server, before.server);
        figures.generator_cpu_us = per_answer(now.generator, before.generator).unwrap_or(0.0);
        figures.scenario = scenario.title(self.options);
        figures.format = format.name().to_owned();
        figures.target_per_second = targets::per_second(scenario);
        self.report.scenarios.push(figures);
    }

    /// A closed loop for the time of a scenario.
    async fn closed_loop(&self, connections: usize, request: Maker) -> Result<Done, Error> {
        let limit = Limit::Time(self.options.duration);
        load::run(self.target, (self.options.protocol, connections), limit, 0, request).await
    }

    async fn load(
        &mut self,
        scenario: Scenario,
        format: Format,
        connections: usize,
        request: Maker,
    ) -> Result<(), Error> {
        let before = self.used();
        let figures = Figures::from(self.closed_loop(connections, request).await?);
        self.add(scenario, format, figures, &before);
        Ok(())
    }

    /// Sends one request again and again.
    async fn repeat(
        &mut self,
        scenario: Scenario,
        connections: usize,
        request: Request,
    ) -> Result<(), Error> {
        if !self.wants(&[scenario]) {
            return Ok(());
        }
        let format = request.accept;
        self.load(scenario, format, connections, Arc::new(move |_| request.clone())).await
    }

    async fn read(
        &mut self,
        scenario: Scenario,
        format: Format,
        connections: usize,
        path: &str,
    ) -> Result<(), Error> {
        self.repeat(scenario, connections, Request::get(path, format)).await
    }

    /// Gets, while a few others send `list` again and again.
    async fn beside(&mut self, scenario: Scenario, list: Request) -> Result<(), Error> {
        if !self.wants(&[scenario]) {
            return Ok(());
        }
        let short = self.filled("short", SHORT).await?;
        let get = Request::get(format!("{short}/{}", objects::name(0)), Format::Json);
        let before = self.used();
        let lists = self.closed_loop(LONG_LISTERS, Arc::new(move |_| list.clone()));
        let gets = self.closed_loop(LISTERS, Arc::new(move |_| get.clone()));
        let (lists, gets) = tokio::try_join!(lists, gets)?;
        let failed = lists.samples.into_iter().flat_map(|sample| sample.errors);
        let mut figures = Figures::from(gets);
        for error in failed {
            figures.errors += 1;
            figures.first_error.get_or_insert(error);
        }
        self.add(scenario, Format::Json, figures, &before);
        Ok(())
    }

    async fn create(
        &mut self,
        scenario: Scenario,
        format: Format,
        connections: usize,
    ) -> Result<(), Error> {
        if !self.wants(&[scenario]) {
            return Ok(());
        }
        let purpose = format!("{}-{}", scenario.id(), format.name());
        let path = self.config_maps(&purpose).await?;
        let template = objects::config_map();
        self.load(scenario, format, connections, prepare::creation(path, &template, format)?).await
    }

    async fn apply(&mut self) -> Result<(), Error> {
        let scenario = Scenario::Apply;
        if !self.wants(&[scenario]) {
            return Ok(());
        }
        let pods = self.pods_of("apply").await?;
        let request = move |number: usize| {
            let mut pod = objects::pod(number % APPLIED);
            pod["metadata"]["annotations"] = json!({"round": number.to_string()});
            let name = objects::name(number % APPLIED);
            let path = format!("{pods}/{name}?fieldManager=bench&force=true");
            Request {
                content_type: "application/apply-patch+yaml",
                ..Request::json("PATCH", &path, &pod)
            }
        };
        self.load(scenario, Format::Json, LISTERS, Arc::new(request)).await
    }

    async fn watch(&mut self, scenario: Scenario, format: Format, pace: Pace) -> Result<(), Error> {
        if !self.wants(&[scenario]) {
            return Ok(());
        }
        let purpose = format!("{}-{}", scenario.id(), format.name());
        let path = self.config_maps(&purpose).await?;
        let before = self.used();
        let watched = Watched {
            target: self.target,
            protocol: self.options.protocol,
            format,
            path: &path,
            watchers: self.options.watchers,
            streams: STREAMS,
            duration: self.options.duration,
            pace,
            beside: None,
        };
        let seen = watched.run().await?;
        let mut figures = Figures::new(seen.samples, seen.elapsed, 0);
        figures.connections = seen.connections;
        self.add(scenario, format, figures, &before);
        Ok(())
    }

    /// Gets on one HTTP/2 connection with many watches of a collection that changes.
    async fn beside_watches(&mut self) -> Result<(), Error> {
        let scenario = Scenario::GetBesideWatches;
        if !self.wants(&[scenario]) {
            return Ok(());
        }
        let short = self.filled("short", SHORT).await?;
        let get = Request::get(format!("{short}/{}", objects::name(0)), Format::Json);
        let path = self.config_maps(scenario.id()).await?;
        let before = self.used();
        let watched = Watched {
            target: self.target,
            protocol: Protocol::Http2,
            format: Format::Json,
            path: &path,
            watchers: self.options.watchers.min(WATCHES_BESIDE),
            streams: WATCHES_BESIDE,
            duration: self.options.duration,
            pace: Pace::PerSecond(PACE),
            beside: Some((LISTERS, get)),
        };
        let seen = watched.run().await?;
        let mut figures = Figures::new(seen.beside, seen.elapsed, 0);
        for error in seen.samples.into_iter().flat_map(|sample| sample.errors) {
            figures.errors += 1;
            figures.first_error.get_or_insert(error);
        }
        self.add(scenario, Format::Json, figures, &before);
        Ok(())
    }
}

impl From<Done> for Figures {
    fn from(done: Done) -> Self {
        Figures::new(done.samples, done.elapsed, done.bytes)
    }
}
