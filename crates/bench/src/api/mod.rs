//! `ironclad bench api`: what an API server does under the loads that clusters make.
//!
//! Each scenario runs for a fixed time on connections of its own, in namespaces that the run makes
//! and removes. Objects that a scenario needs are written before it begins.

mod load;
mod objects;
mod targets;
mod watchers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use self::load::{Limit, Maker};
use self::objects::Template;
use self::targets::Aim;
use self::watchers::{Pace, Watched};
use crate::connection::{Connection, Error, Format, Protocol, Request, Target};
use crate::memory;
use crate::report::{Figures, Memory, Report};

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

/// How much load, and of what.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long each scenario lasts.
    pub duration: Duration,
    /// ConfigMaps of the long list.
    pub objects: usize,
    /// Pods of the list by node.
    pub pods: usize,
    /// Watchers of one collection.
    pub watchers: usize,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// Each scenario runs in each of these.
    pub formats: Vec<Format>,
    /// Run only scenarios whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// The server's process, if it cannot be found by the port.
    pub server_pid: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(5),
            objects: 17_000,
            pods: 2_000,
            watchers: 1_000,
            protocol: Protocol::Http1,
            formats: vec![Format::Json, Format::Protobuf],
            only: Vec::new(),
            server_pid: None,
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    MemoryIdle,
    MemoryLoaded,
    MemoryListed,
    CreateOne,
    CreateMany,
    Get,
    ListShort,
    ListAll,
    ListLabel,
    ListField,
    WatchPaced,
    WatchFull,
    Apply,
}

/// Runs every scenario.
///
/// # Errors
/// When the server cannot be reached or refuses the preparations.
pub async fn run(target: &Target, options: &Options) -> Result<Report, Error> {
    let server = match options.server_pid {
        Some(pid) => Some(pid),
        None => target.local_port().await?.and_then(memory::listener),
    };
    let mut run = Run {
        target,
        options,
        control: target.connect(options.protocol).await?,
        server,
        namespaces: HashMap::new(),
        report: Report::default(),
    };
    let result = run.scenarios().await;
    run.clean_up().await?;
    result.map(|()| run.report)
}

struct Run<'a> {
    target: &'a Target,
    options: &'a Options,
    control: Connection,
    server: Option<u32>,
    /// By what they are for.
    namespaces: HashMap<String, Arc<str>>,
    report: Report,
}

impl Run<'_> {
    async fn scenarios(&mut self) -> Result<(), Error> {
        use Scenario::*;
        let formats = self.options.formats.clone();
        self.memory(MemoryIdle);
        if self.wants(&[MemoryLoaded, MemoryListed, ListAll, ListLabel]) {
            let all = self.filled("all", self.options.objects).await?;
            self.memory(MemoryLoaded);
            for format in &formats {
                self.read(ListAll, *format, LONG_LISTERS, &all).await?;
                let some =
                    format!("{all}?labelSelector={}%3D{}", objects::GROUP, objects::group(7));
                self.read(ListLabel, *format, LISTERS, &some).await?;
            }
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
        for format in &formats {
            self.watch(WatchPaced, *format, Pace::PerSecond(PACE)).await?;
            self.watch(WatchFull, *format, Pace::Window(WINDOW)).await?;
        }
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

    /// Notes what the server uses now.
    fn memory(&mut self, scenario: Scenario) {
        if !self.wants(&[scenario]) {
            return;
        }
        let usage = self.server.and_then(memory::of);
        let target = match targets::of(scenario) {
            Some(Aim::Megabytes(most)) => Some(most),
            _ => None,
        };
        self.report.memory.push(Memory::new(&self.title(scenario), usage, target));
    }

    fn title(&self, scenario: Scenario) -> String {
        let options = self.options;
        match scenario {
            Scenario::MemoryIdle => "memory before the run".to_owned(),
            Scenario::MemoryLoaded => format!("memory with {} ConfigMaps", options.objects),
            Scenario::MemoryListed => "memory after lists of them".to_owned(),
            Scenario::CreateOne | Scenario::CreateMany => "create 1 KiB ConfigMaps".to_owned(),
            Scenario::Get => "get one ConfigMap".to_owned(),
            Scenario::ListShort => format!("list {SHORT} ConfigMaps"),
            Scenario::ListAll => format!("list {} ConfigMaps", options.objects),
            Scenario::ListLabel => format!("list by label, 1 % of {}", options.objects),
            Scenario::ListField => format!("list Pods by node, 1 % of {}", options.pods),
            Scenario::WatchPaced => {
                format!("events to {} watchers, {PACE} writes/s", options.watchers)
            }
            Scenario::WatchFull => format!("events to {} watchers, most", options.watchers),
            Scenario::Apply => "server-side apply of a Pod".to_owned(),
        }
    }

    fn add(&mut self, scenario: Scenario, format: Format, mut figures: Figures) {
        figures.scenario = self.title(scenario);
        figures.format = format.name().to_owned();
        if let Some(Aim::PerSecond(least)) = targets::of(scenario) {
            figures.target_per_second = Some(least);
        }
        self.report.scenarios.push(figures);
    }

    /// Runs a closed loop for the time of a scenario.
    async fn load(
        &mut self,
        scenario: Scenario,
        format: Format,
        connections: usize,
        request: Maker,
    ) -> Result<(), Error> {
        let limit = Limit::Time(self.options.duration);
        let workers = (self.options.protocol, connections);
        let done = load::run(self.target, workers, limit, 0, request).await?;
        self.add(scenario, format, Figures::new(done.samples, done.elapsed, done.bytes));
        Ok(())
    }

    async fn read(
        &mut self,
        scenario: Scenario,
        format: Format,
        connections: usize,
        path: &str,
    ) -> Result<(), Error> {
        if !self.wants(&[scenario]) {
            return Ok(());
        }
        let request = Request::get(path, format);
        self.load(scenario, format, connections, Arc::new(move |_| request.clone())).await
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
        self.load(scenario, format, connections, creation(path, format)?).await
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
        let watched = Watched {
            target: self.target,
            protocol: self.options.protocol,
            format,
            path: &path,
            watchers: self.options.watchers,
            duration: self.options.duration,
            pace,
        };
        let seen = watched.run().await?;
        let mut figures = Figures::new(seen.samples, seen.elapsed, 0);
        figures.connections = seen.connections;
        self.add(scenario, format, figures);
        Ok(())
    }

    /// A namespace for a purpose.
    async fn namespace(&mut self, purpose: &str) -> Result<Arc<str>, Error> {
        if let Some(name) = self.namespaces.get(purpose) {
            return Ok(name.clone());
        }
        let name = format!("bench-{}-{purpose}", std::process::id());
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.control.send(&Request::json("POST", "/api/v1/namespaces", &body)).await?;
        let name: Arc<str> = name.into();
        self.namespaces.insert(purpose.to_owned(), name.clone());
        Ok(name)
    }

    async fn config_maps(&mut self, purpose: &str) -> Result<String, Error> {
        Ok(format!("/api/v1/namespaces/{}/configmaps", self.namespace(purpose).await?))
    }

    /// A collection of Pods in a namespace where they can be made.
    async fn pods_of(&mut self, purpose: &str) -> Result<String, Error> {
        let namespace = self.namespace(purpose).await?;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        match self.control.send(&Request::json("POST", &path, &account)).await {
            // A controller was faster.
            Ok(_) | Err(Error::Refused { status: 409, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(format!("/api/v1/namespaces/{namespace}/pods"))
    }

    /// The path of a collection with so many ConfigMaps.
    async fn filled(&mut self, purpose: &str, count: usize) -> Result<String, Error> {
        let path = self.config_maps(purpose).await?;
        self.write(count, creation(path.clone(), Format::Json)?).await?;
        Ok(path)
    }

    async fn pods(&mut self) -> Result<(), Error> {
        let path: Arc<str> = self.pods_of("pods").await?.into();
        let request = move |number| Request::json("POST", &path, &objects::pod(number));
        self.write(self.options.pods, Arc::new(request)).await
    }

    /// Writes objects that a scenario needs; all of them, or it means nothing.
    async fn write(&mut self, count: usize, request: Maker) -> Result<(), Error> {
        let limit = Limit::Requests(count);
        let workers = (self.options.protocol, MANY);
        let done = load::run(self.target, workers, limit, 0, request).await?;
        let error = done.samples.into_iter().find_map(|sample| sample.errors.into_iter().next());
        match error {
            Some(error) => Err(Error::Prepare(error)),
            None => Ok(()),
        }
    }

    /// Removes what the run made. Namespaces alone would do, if controllers run.
    async fn clean_up(&mut self) -> Result<(), Error> {
        for namespace in std::mem::take(&mut self.namespaces).into_values() {
            let path = format!("/api/v1/namespaces/{namespace}");
            let options =
                json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
            for collection in ["configmaps", "pods", "serviceaccounts"] {
                let path = format!("{path}/{collection}");
                self.control.send(&Request::json("DELETE", &path, &options)).await?;
            }
            self.control.send(&Request::json("DELETE", &path, &json!({}))).await?;
        }
        Ok(())
    }
}

/// Creations of ConfigMaps.
fn creation(path: String, format: Format) -> Result<Maker, Error> {
    let template = Template::new(&objects::config_map(), format)?;
    let path: Arc<str> = path.into();
    Ok(Arc::new(move |number| Request {
        method: "POST",
        path: path.clone(),
        accept: format,
        content_type: format.media_type(),
        body: template.numbered(number),
    }))
}

impl Scenario {
    /// The name by which it is chosen.
    fn id(self) -> &'static str {
        match self {
            Self::MemoryIdle => "memory-idle",
            Self::MemoryLoaded => "memory-loaded",
            Self::MemoryListed => "memory-listed",
            Self::CreateOne => "create-one",
            Self::CreateMany => "create-many",
            Self::Get => "get",
            Self::ListShort => "list-short",
            Self::ListAll => "list-all",
            Self::ListLabel => "list-label",
            Self::ListField => "list-field",
            Self::WatchPaced => "watch-paced",
            Self::WatchFull => "watch-most",
            Self::Apply => "apply",
        }
    }
}
