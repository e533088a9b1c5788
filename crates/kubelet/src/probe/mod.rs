//! Probes: one task for each probe of each container, deciding through [`state`] and acting
//! through [`network`] or the runtime.

pub mod network;
pub mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::cri;
use crate::events::{EventType, Events};
use crate::seam::{PodUid, pod_uid};
use state::{Kind, Outcome, Step, Target, Worker};

pub use network::http_get;

/// Attempts that may go wrong in themselves before one is given up.
const ATTEMPTS: u32 = 3;
/// Output of a command that an event may quote.
const MAX_OUTPUT: usize = 10 << 10;

/// The current instance of a container, as the core sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Name in the Pod.
    pub name: String,
    /// Runtime's ID.
    pub id: String,
    /// Whether its process runs.
    pub running: bool,
    /// When it was started.
    pub started_at: Timestamp,
}

/// Runs the probes of all Pods of this node.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: cri::Runtime,
    events: Events,
    changed: mpsc::UnboundedSender<PodUid>,
    started: Timestamp,
    pods: Mutex<HashMap<PodUid, Entry>>,
}

struct Entry {
    pod: Arc<Pod>,
    ip: Option<String>,
    targets: HashMap<String, ProbeTarget>,
    probes: HashMap<(String, Kind), Arc<Running>>,
}

/// A probe and its task.
struct Running {
    worker: Mutex<Worker>,
    wake: Notify,
    stop: CancellationToken,
}

impl Running {
    fn worker<T>(&self, act: impl FnOnce(&mut Worker) -> T) -> T {
        act(&mut self.worker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for probe in self.probes.values() {
            probe.stop.cancel();
        }
    }
}

// === impl Manager ===

impl Manager {
    /// A manager; `changed` hears of each Pod with a new verdict.
    pub fn new(exec: cri::Runtime, events: Events, changed: mpsc::UnboundedSender<PodUid>) -> Self {
        let started = Timestamp::now();
        let inner = Inner { runtime: exec, events, changed, started, pods: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the probes of a Pod; known ones go on.
    pub fn add_pod(&self, pod: &Arc<Pod>) {
        let uid = pod_uid(pod);
        self.with(|pods| {
            let entry = pods.entry(uid.clone()).or_insert_with(|| Entry {
                pod: Arc::clone(pod),
                ip: None,
                targets: HashMap::new(),
                probes: HashMap::new(),
            });
            for (container, kind, probe) in probes(pod) {
                let key = (container.name.clone(), kind);
                if entry.probes.contains_key(&key) {
                    continue;
                }
                let running = Arc::new(Running {
                    worker: Mutex::new(Worker::new(kind, probe)),
                    wake: Notify::new(),
                    stop: CancellationToken::new(),
                });
                entry.probes.insert(key, Arc::clone(&running));
                let task = Task {
                    manager: self.clone(),
                    uid: uid.clone(),
                    container: container.clone(),
                    kind,
                    probe: probe.clone(),
                    running: Arc::clone(&running),
                };
                let stop = running.stop.clone();
                tokio::spawn(stop.run_until_cancelled_owned(task.run()));
            }
            entry.pod = Arc::clone(pod);
        });
    }

    /// Ends the probes of a Pod.
    pub fn remove_pod(&self, uid: &PodUid) {
        self.with(|pods| pods.remove(uid));
    }

    /// Ends the probes that could kill a container, because the Pod is being terminated anyway.
    pub fn stop_liveness_and_startup(&self, uid: &PodUid) {
        self.with(|pods| {
            for ((_, kind), probe) in pods.get(uid).iter().flat_map(|entry| &entry.probes) {
                if *kind != Kind::Readiness {
                    probe.stop.cancel();
                }
            }
        });
    }

    /// Tells the probes what they are about now.
    pub fn update(&self, uid: &PodUid, pod_ip: Option<String>, containers: Vec<ProbeTarget>) {
        self.with(|pods| {
            let Some(entry) = pods.get_mut(uid) else { return };
            let ip_changed = entry.ip != pod_ip;
            entry.ip = pod_ip;
            for target in containers {
                let changed = entry.targets.get(&target.name) != Some(&target);
                if changed || ip_changed {
                    for ((name, _), probe) in &entry.probes {
                        if *name == target.name {
                            probe.wake.notify_one();
                        }
                    }
                }
                entry.targets.insert(target.name.clone(), target);
            }
        });
    }

    /// Whether a running container may get traffic.
    pub fn readiness(&self, uid: &PodUid, container_id: &str, name: &str) -> bool {
        self.startup(uid, container_id, name)
            && self.verdict(uid, container_id, name, Kind::Readiness).unwrap_or(true)
    }

    /// Whether a running container has started up.
    pub fn startup(&self, uid: &PodUid, container_id: &str, name: &str) -> bool {
        self.verdict(uid, container_id, name, Kind::Startup).unwrap_or(true)
    }

    /// Which probe says that the container must be restarted, `liveness` or `startup`.
    pub fn liveness_failed(&self, uid: &PodUid, container_id: &str) -> Option<String> {
        self.with(|pods| {
            let entry = pods.get(uid)?;
            let running = entry.targets.values().any(|t| t.id == container_id && t.running);
            let mut failed = entry.probes.iter().filter(|((_, kind), probe)| {
                *kind != Kind::Readiness
                    && running
                    && probe.worker(|worker| worker.verdict(container_id)) == Some(false)
            });
            let ((_, kind), _) = failed.next()?;
            Some(kind.name().to_ascii_lowercase())
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<PodUid, Entry>) -> T) -> T {
        act(&mut self.inner.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `None` when there is no such probe.
    fn verdict(&self, uid: &PodUid, id: &str, name: &str, kind: Kind) -> Option<bool> {
        self.with(|pods| {
            let entry = pods.get(uid)?;
            let probe = entry.probes.get(&(name.to_owned(), kind))?;
            let known = probe.worker(|worker| worker.verdict(id));
            // Not looked at yet: for a container from before, what its status said.
            let target = entry.targets.get(name).filter(|target| target.id == id);
            let adopted = || self.adopted(entry, target?, kind);
            Some(known.or_else(adopted).unwrap_or(false))
        })
    }

    /// What the Pod's status says of a container that was started before this kubelet.
    fn adopted(&self, entry: &Entry, target: &ProbeTarget, kind: Kind) -> Option<bool> {
        if target.started_at >= self.inner.started {
            return None;
        }
        let status = entry.pod.status.as_ref()?;
        let all = status
            .container_statuses
            .iter()
            .flatten()
            .chain(status.init_container_statuses.iter().flatten());
        let own = all.into_iter().find(|own| own.name == target.name)?;
        if !own.container_id.as_ref()?.ends_with(&target.id) {
            return None;
        }
        match kind {
            Kind::Liveness => Some(true),
            Kind::Readiness => Some(own.ready),
            Kind::Startup => own.started,
        }
    }

    fn target(
        &self,
        uid: &PodUid,
        name: &str,
        kind: Kind,
    ) -> Option<(Target, Arc<Pod>, Option<String>)> {
        self.with(|pods| {
            let entry = pods.get(uid)?;
            let target = entry.targets.get(name)?;
            let startup = entry.probes.get(&(name.to_owned(), Kind::Startup));
            let started = match startup {
                None => true,
                Some(probe) => probe
                    .worker(|worker| worker.verdict(&target.id))
                    .or_else(|| self.adopted(entry, target, Kind::Startup))
                    .unwrap_or(false),
            };
            let full = Target {
                id: target.id.clone(),
                running: target.running,
                started_at: target.started_at,
                started,
                adopted: self.adopted(entry, target, kind),
            };
            Some((full, Arc::clone(&entry.pod), entry.ip.clone()))
        })
    }

    /// Lets the other probes of a container run, after its startup has succeeded.
    fn wake(&self, uid: &PodUid, name: &str) {
        self.with(|pods| {
            for ((container, _), probe) in pods.get(uid).iter().flat_map(|entry| &entry.probes) {
                if container == name {
                    probe.wake.notify_one();
                }
            }
        });
    }
}

fn probes(pod: &Pod) -> Vec<(&Container, Kind, &Probe)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let mut found = Vec::new();
    for container in spec.containers.iter().chain(sidecars) {
        let all = [
            (Kind::Startup, &container.startup_probe),
            (Kind::Readiness, &container.readiness_probe),
            (Kind::Liveness, &container.liveness_probe),
        ];
        for (kind, probe) in all {
            if let Some(probe) = probe {
                found.push((container, kind, probe));
            }
        }
    }
    found
}

/// What a probe's task works with.
struct Task {
    manager: Manager,
    uid: PodUid,
    container: Container,
    kind: Kind,
    probe: Probe,
    running: Arc<Running>,
}

impl Task {
    async fn run(self) {
        let period = Duration::from_secs(
            self.probe.period_seconds.unwrap_or(10).max(1).unsigned_abs().into(),
        );
        let age = Timestamp::now().duration_since(self.manager.inner.started);
        if age.unsigned_abs() < period {
            // A kubelet that comes back finds many containers; their probes must not all run at once.
            tokio::time::sleep(period.mul_f64(fraction(
                &self.uid,
                &self.container.name,
                self.kind,
            )))
            .await;
        }
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.running.wake.notified() => {}
            }
            self.turn().await;
        }
    }

    async fn turn(&self) {
        let found = self.manager.target(&self.uid, &self.container.name, self.kind);
        let Some((target, pod, ip)) = found else { return };
        let before = self.running.worker(|worker| worker.verdict(&target.id));
        let step = self.running.worker(|worker| worker.tick(Some(&target), Timestamp::now()));
        if step == Step::Wait {
            let after = self.running.worker(|worker| worker.verdict(&target.id));
            if before != after && before.is_some() {
                self.report();
            }
            return;
        }
        let ip = ip.unwrap_or_default();
        let mut outcome = self.attempt(&target.id, &ip).await;
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Outcome::Error(_)) {
                break;
            }
            outcome = self.attempt(&target.id, &ip).await;
        }
        if self.running.stop.is_cancelled() {
            return;
        }
        self.tell(&pod, &outcome);
        let changed = self.running.worker(|worker| worker.observe(&target.id, &outcome));
        if changed {
            if self.kind == Kind::Startup {
                self.manager.wake(&self.uid, &self.container.name);
            }
            self.report();
        }
    }

    fn report(&self) {
        self.manager.inner.changed.send(self.uid.clone()).ok(); // The core is shutting down.
    }

    fn tell(&self, pod: &Pod, outcome: &Outcome) {
        let kind = self.kind.name();
        let (reason, message) = match outcome {
            Outcome::Success => return,
            Outcome::Warning(text) => ("ProbeWarning", format!("{kind} probe warning: {text}")),
            Outcome::Failure(text) => ("Unhealthy", format!("{kind} probe failed: {text}")),
            Outcome::Error(text) => {
                ("Unhealthy", format!("{kind} probe errored and resulted in unknown state: {text}"))
            }
        };
        let name = &self.container.name;
        self.manager.inner.events.container(pod, name, EventType::Warning, reason, message);
    }

    async fn attempt(&self, id: &str, pod_ip: &str) -> Outcome {
        let seconds = self.probe.timeout_seconds.unwrap_or(1).max(1).unsigned_abs();
        let timeout = Duration::from_secs(seconds.into());
        if let Some(exec) = &self.probe.exec {
            let command = exec.command.clone().unwrap_or_default();
            return self.exec(id, &command, timeout).await;
        }
        if let Some(action) = &self.probe.http_get {
            return network::judge(http_get(pod_ip, action, &self.container, timeout).await);
        }
        if let Some(action) = &self.probe.tcp_socket {
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
            return match network::port(&action.port, &self.container) {
                Ok(port) => network::tcp(host, port, timeout).await,
                Err(text) => Outcome::Error(text),
            };
        }
        if let Some(action) = &self.probe.grpc {
            let service = action.service.as_deref().unwrap_or_default();
            return match u16::try_from(action.port) {
                Ok(port) => network::grpc(pod_ip, port, service, timeout).await,
                Err(_) => Outcome::Error(format!("invalid port number: {}", action.port)),
            };
        }
        let pod = self.container.name.as_str();
        Outcome::Error(format!("missing probe handler for {pod}"))
    }

    async fn exec(&self, id: &str, command: &[String], timeout: Duration) -> Outcome {
        match self.manager.inner.runtime.exec_sync(id, command, timeout).await {
            Ok(output) if output.exit_code == 0 => Outcome::Success,
            Ok(output) => {
                let mut text = output.stdout;
                text.extend_from_slice(&output.stderr);
                text.truncate(MAX_OUTPUT);
                Outcome::Failure(String::from_utf8_lossy(&text).into_owned())
            }
            Err(cri::RuntimeError::Call { code: tonic::Code::DeadlineExceeded, .. }) => {
                Outcome::Failure(format!("command {:?} timed out", command.join(" ")))
            }
            Err(error) => Outcome::Error(error.to_string()),
        }
    }
}

/// Spreads probes over their period: a number in [0, 1) that differs from probe to probe.
fn fraction(uid: &PodUid, container: &str, kind: Kind) -> f64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (uid, container, kind).hash(&mut hasher);
    f64::from(hasher.finish() as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests;
