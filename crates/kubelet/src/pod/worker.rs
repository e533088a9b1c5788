//! One task per Pod: look at the runtime, plan, act, report, wait.

mod anew;
mod resize;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};

use super::backoff::{Backoff, later};
use super::context::Context;
use super::plan::{self, Cause, Plan, Verdict, Verdicts, Waiting, backoff_key};
use super::resize::ledger::Nudge;
use super::resize::metrics::Trigger;
use super::resize::plan::Differences;
use super::spec;
use super::status::{self, Doom};
use super::{executor, lifecycle, termination};
use crate::cgroup::resources::qos;
use crate::cri::RuntimeError;
use crate::events::EventType;
use crate::probe::ProbeTarget;
use crate::runtime::records::{self, Applied, PodRecord, State};
use crate::seam::{PodUid, pod_uid};
use crate::volumes::{PodVolumes, VolumeError};

/// Longest time between two looks at a Pod.
const RESYNC: Duration = Duration::from_secs(60);
/// Waits after failed turns: the first, doubling, up to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Between two events about the same back-off.
const BACKOFF_NOTICE: Duration = Duration::from_secs(10);
/// More rounds of planning within one turn mean that the plan does not converge.
const MAX_ROUNDS: usize = 32;

/// What the manager wants of a Pod.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The Pod.
    pub pod: Arc<Pod>,
    /// No longer in its source: stop it and forget it.
    pub gone: bool,
    /// Rejected by admission: never run it.
    pub rejected: Option<Doom>,
    /// It must end although its source wants it to run.
    pub ending: Option<Ending>,
}

/// The end of a Pod for the node's sake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What is said of it.
    pub doom: Doom,
    /// The most time that it gets.
    pub grace: Duration,
}

/// What a worker shows of its Pod.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Status as last generated.
    pub status: Option<PodStatus>,
    /// What the runtime has.
    pub record: PodRecord,
}

/// Between a worker and the manager.
pub struct Handle {
    /// The wish; changes wake the worker.
    pub desired: watch::Sender<Desired>,
    wake: Notify,
    view: Mutex<View>,
    /// Whether nothing of the Pod runs any more, and nothing will.
    stopped: watch::Sender<bool>,
}

/// The task of one Pod.
pub struct Worker {
    context: Arc<Context>,
    uid: PodUid,
    handle: Arc<Handle>,
    desired: watch::Receiver<Desired>,
    previous: Option<PodStatus>,
    backoff: Backoff,
    /// Why starts failed, until they succeed.
    failures: BTreeMap<String, Waiting>,
    /// Containers that wait for their back-off, and when an event last said so.
    crash_loops: BTreeMap<String, Timestamp>,
    /// Containers that were stopped to get other resources, until they are started.
    resized: BTreeSet<String>,
    /// Restart counts of containers whose instances were removed to start anew.
    counts: BTreeMap<String, u32>,
    /// Whether a resize went wrong, until it succeeds.
    resize_failed: bool,
    /// Failed turns in a row.
    failed_turns: u32,
    /// Last words by container ID, read once.
    last_words: HashMap<String, String>,
    registered: bool,
    doom: Option<Doom>,
    /// All containers ended for good, or the Pod must not run on.
    finished: bool,
    /// Everything is stopped and cleaned up.
    stopped: bool,
}

/// How a turn ended.
enum Turn {
    /// Nothing more to do for this Pod, ever.
    Done,
    /// The wish changed meanwhile.
    Again,
    /// Sleep until then, or until woken.
    Wait(Timestamp),
}

// === impl Desired ===

impl Desired {
    fn must_stop(&self) -> bool {
        self.gone
            || self.pod.metadata.deletion_timestamp.is_some()
            || self.ending.is_some()
            || spec::is_terminal(&self.pod)
    }

    /// How long its containers have to end.
    fn grace(&self) -> Duration {
        let own = spec::grace(&self.pod);
        self.ending.as_ref().map_or(own, |ending| own.min(ending.grace))
    }

    fn deleted(&self) -> bool {
        self.gone || self.pod.metadata.deletion_timestamp.is_some()
    }
}

// === impl Handle ===

impl Handle {
    /// A handle that wants `desired`.
    pub fn new(desired: Desired) -> Self {
        let (desired, _) = watch::channel(desired);
        let (stopped, _) = watch::channel(false);
        Self { desired, wake: Notify::new(), view: Mutex::default(), stopped }
    }

    /// Has the worker look at its Pod now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What the worker last saw.
    pub fn view(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nothing of the Pod runs any more.
    pub async fn stopped(&self) {
        // The handle itself holds the other end.
        self.stopped.subscribe().wait_for(|stopped| *stopped).await.ok();
    }

    fn show(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

// === impl Worker ===

impl Worker {
    /// The worker behind `handle`.
    pub fn new(context: Arc<Context>, handle: Arc<Handle>) -> Self {
        let desired = handle.desired.subscribe();
        let uid = pod_uid(&desired.borrow().pod);
        Self {
            context,
            uid,
            handle,
            desired,
            previous: None,
            backoff: Backoff::default(),
            failures: BTreeMap::new(),
            crash_loops: BTreeMap::new(),
            resized: BTreeSet::new(),
            counts: BTreeMap::new(),
            resize_failed: false,
            failed_turns: 0,
            last_words: HashMap::new(),
            registered: false,
            doom: None,
            finished: false,
            stopped: false,
        }
    }

    /// Works until the Pod is gone and nothing is left of it.
    pub async fn run(mut self) {
        loop {
            let mut desired = self.desired.borrow_and_update().clone();
            desired.pod = self.context.ledger.allocated(&desired.pod);
            let turn = match self.turn(&desired).await {
                Ok(turn) => {
                    let failing = !self.failures.is_empty() || self.resize_failed;
                    if !matches!(turn, Turn::Wait(_)) || !failing {
                        self.failed_turns = 0;
                    }
                    turn
                }
                Err(error) => {
                    tracing::warn!(pod = spec::key(&desired.pod), %error, "pod turn failed");
                    Turn::Wait(self.retry_at())
                }
            };
            match turn {
                Turn::Done => break,
                Turn::Again => {}
                Turn::Wait(until) => self.wait(until).await,
            }
        }
        self.unregister();
        self.context.reporter.forget(&self.uid);
        self.context.ledger.forget(&self.uid);
    }

    async fn wait(&mut self, until: Timestamp) {
        let left = until.duration_since(Timestamp::now()).max(SignedDuration::ZERO);
        let left = Duration::try_from(left).unwrap_or(RESYNC).min(RESYNC);
        tokio::select! {
            () = self.handle.wake.notified() => {}
            changed = self.desired.changed() => {
                if changed.is_err() {
                    // The manager is gone: the kubelet shuts down, containers stay.
                    std::future::pending::<()>().await;
                }
            }
            () = tokio::time::sleep(left) => {}
        }
    }

    fn retry_at(&mut self) -> Timestamp {
        let wait = RETRY.0.saturating_mul(1 << self.failed_turns.min(8)).min(RETRY.1);
        self.failed_turns += 1;
        later(Timestamp::now(), wait)
    }

    async fn turn(&mut self, desired: &Desired) -> Result<Turn, RuntimeError> {
        if let Some(doom) = &desired.rejected {
            self.doom = Some(doom.clone());
            self.finished = true;
        } else if let Some(ending) = &desired.ending
            && !self.finished
        {
            self.doom = Some(ending.doom.clone());
            self.finished = true;
        }
        if desired.must_stop() || self.finished {
            return self.stop(desired).await;
        }
        self.keep(desired).await
    }

    // Running.

    async fn keep(&mut self, desired: &Desired) -> Result<Turn, RuntimeError> {
        let pod = &desired.pod;
        self.register(pod);
        let mut volumes: Option<PodVolumes> = None;
        for _ in 0..MAX_ROUNDS {
            let record = self.inspect(pod).await?;
            let now = Timestamp::now();
            let deadline = self.deadline(pod);
            if deadline.is_some_and(|deadline| now >= deadline) {
                self.exceed_deadline(pod);
                return Ok(Turn::Again);
            }
            let verdicts = self.verdicts(pod, &record);
            let actuated = self.context.ledger.actuated(&self.uid);
            let differences = Differences::new(pod, actuated.as_ref(), &record);
            let plan = plan::plan(&plan::Input {
                pod,
                record: &record,
                verdicts: &verdicts,
                resize: &differences.restart,
                resized: &self.resized,
                counts: &self.counts,
                backoff: &self.backoff,
                now,
            });
            self.note_crash_loops(pod, &plan, now);
            self.note_resize(pod, &differences, now);
            self.report(pod, &record, &verdicts, &plan.waiting, false);
            if plan.finished {
                self.finished = true;
                return Ok(Turn::Again);
            }
            let still = plan.kill.is_empty() && plan.remove.is_empty();
            if !plan.starts() && still && !differences.has_steps() {
                if volumes.is_none() && !record.is_empty() {
                    self.refresh_volumes(pod, &record).await;
                }
                executor::remove_leftovers(&self.context, pod, &record).await;
                let resync = later(now, RESYNC);
                let next =
                    [plan.wake_at, deadline].into_iter().flatten().fold(resync, Timestamp::min);
                return Ok(Turn::Wait(next));
            }
            if self.desired.has_changed().unwrap_or(false) {
                return Ok(Turn::Again);
            }
            if volumes.is_none() && plan.starts() {
                match self.prepare(pod, &record).await {
                    Ok(ready) => volumes = Some(ready),
                    Err(turn) => return Ok(turn),
                }
            }
            let acted = self.act(pod, &record, volumes.as_ref(), &plan, &differences).await;
            if let Some(turn) = acted {
                return Ok(turn);
            }
        }
        tracing::warn!(pod = spec::key(pod), "plan does not converge");
        Ok(Turn::Wait(self.retry_at()))
    }

    /// What must be there before anything is started: network, cgroup, volumes.
    async fn prepare(&mut self, pod: &Arc<Pod>, record: &PodRecord) -> Result<PodVolumes, Turn> {
        let context = self.context.clone();
        let network = context.runtime_state.borrow().network_error();
        if let Some(error) = network
            && !spec::host_network(pod)
        {
            let message = format!("network is not ready: {error}");
            context.events.pod(pod, EventType::Warning, "NetworkNotReady", message);
            return Err(self.when_network_is_up().await);
        }
        // While containers run in it, a group is changed only together with them.
        if let Some(cgroups) = &context.cgroups
            && (record.alive().next().is_none() || !cgroups.has_pod(pod))
        {
            if let Err(error) = cgroups.ensure_pod(pod) {
                let message = format!("unable to ensure pod container exists: {error}");
                context.events.pod(pod, EventType::Warning, "FailedCreatePodContainer", message);
                return Err(Turn::Wait(self.retry_at()));
            }
            context.ledger.actuate_pod(&self.uid, spec::spec(pod).resources.as_ref());
        }
        let ips = context.ips(pod, record);
        let mut wish = self.desired.clone();
        let mounted = tokio::select! {
            mounted = context.volumes.mount(pod, &ips) => mounted,
            _ = wish.wait_for(Desired::must_stop) => return Err(Turn::Again),
        };
        match mounted {
            Ok(volumes) => Ok(volumes),
            Err(error) => {
                context.events.pod(pod, EventType::Warning, "FailedMount", mount_message(&error));
                Err(Turn::Wait(self.retry_at()))
            }
        }
    }

    /// Waits for the network instead of polling for it; a node that just started has it soon.
    async fn when_network_is_up(&mut self) -> Turn {
        let mut state = self.context.runtime_state.clone();
        let up = state.wait_for(|state| state.network_error().is_none());
        tokio::select! {
            _ = up => {}
            _ = self.desired.changed() => self.desired.mark_changed(),
            () = tokio::time::sleep(RETRY.1) => {}
        }
        Turn::Again
    }

    async fn refresh_volumes(&self, pod: &Arc<Pod>, record: &PodRecord) {
        let ips = self.context.ips(pod, record);
        if let Err(error) = self.context.volumes.mount(pod, &ips).await {
            let message = mount_message(&error);
            self.context.events.pod(pod, EventType::Warning, "FailedMount", message);
        }
    }

    /// Carries out a plan; `None` means that another look is due at once.
    async fn act(
        &mut self,
        pod: &Arc<Pod>,
        record: &PodRecord,
        volumes: Option<&PodVolumes>,
        plan: &Plan,
        differences: &Differences,
    ) -> Option<Turn> {
        let context = self.context.clone();
        if let Some(attempt) = plan.create_sandbox {
            self.clear_old_sandboxes(pod, record).await;
            let mut wish = self.desired.clone();
            let created = async {
                context.images.sandbox_image().await;
                executor::create_sandbox(&context, pod, attempt).await
            };
            let created = tokio::select! {
                created = created => created,
                _ = wish.wait_for(Desired::must_stop) => return Some(Turn::Again),
            };
            return match created {
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(pod = spec::key(pod), error, "no sandbox");
                    Some(Turn::Wait(self.retry_at()))
                }
            };
        }
        let ips = context.ips(pod, record);
        let ip = ips.pod.first().map(String::as_str);
        join_all(plan.kill.iter().map(|kill| {
            let grace = match &kill.cause {
                Cause::Anew => Duration::ZERO,
                Cause::Probe(probe) => probe_grace(pod, &kill.name, probe),
                Cause::Changed | Cause::Resize => spec::grace(pod),
            };
            lifecycle::stop(&context, pod, &kill.id, &kill.name, &kill.message, grace, ip)
        }))
        .await;
        self.resized
            .extend(plan.kill.iter().filter(|k| k.cause == Cause::Resize).map(|k| k.name.clone()));
        if !plan.remove.is_empty() {
            return self.start_anew(pod, record, &plan.remove).await;
        }
        let mut retry_at: Option<Timestamp> = None;
        let mut failed = !self.resize(pod, differences).await;
        for start in &plan.start {
            let volumes = volumes?;
            let (_, container) = spec::container(pod, &start.name)?;
            if let Some(ended) = start.after {
                self.backoff.next(&backoff_key(&container), ended, Timestamp::now());
            }
            let mut wish = self.desired.clone();
            let stop = async {
                wish.wait_for(Desired::must_stop).await.ok();
            };
            match executor::start_container(&context, pod, record, volumes, start, stop).await {
                Ok(false) => return Some(Turn::Again),
                Ok(true) => {
                    self.counts.remove(&start.name);
                    self.failures.remove(&start.name);
                    self.resized.remove(&start.name);
                }
                Err(failure) => {
                    tracing::warn!(
                        pod = spec::key(pod),
                        container = start.name,
                        reason = failure.waiting.reason,
                        "not started"
                    );
                    failed = true;
                    self.failures.insert(start.name.clone(), failure.waiting);
                    let at = failure.retry_at.map(|at| at.min(later(Timestamp::now(), RETRY.1)));
                    retry_at = [retry_at, at].into_iter().flatten().min();
                }
            }
        }
        if !failed {
            return None;
        }
        // Show why it failed before waiting.
        if let Ok(record) = self.inspect(pod).await {
            let verdicts = self.verdicts(pod, &record);
            self.report(pod, &record, &verdicts, &BTreeMap::new(), false);
        }
        let own = self.retry_at();
        Some(Turn::Wait(retry_at.map_or(own, |at| at.max(own))))
    }

    async fn clear_old_sandboxes(&self, pod: &Arc<Pod>, record: &PodRecord) {
        if record.sandboxes.is_empty() {
            return;
        }
        self.context.events.pod(
            pod,
            EventType::Normal,
            "SandboxChanged",
            "Pod sandbox changed, it will be killed and re-created.",
        );
        join_all(record.alive().map(|container| {
            let message = format!("Stopping container {}", container.name);
            let grace = spec::grace(pod);
            async move {
                let (id, name) = (&container.id, &container.name);
                lifecycle::stop(&self.context, pod, id, name, &message, grace, None).await;
            }
        }))
        .await;
        for sandbox in &record.sandboxes {
            if let Err(error) = self.context.runtime.stop_sandbox(&sandbox.id).await {
                tracing::warn!(sandbox = sandbox.id, %error, "stopping old sandbox failed");
            }
        }
    }

    /// The end of the Pod's allowed time.
    fn deadline(&self, pod: &Pod) -> Option<Timestamp> {
        let seconds = spec::spec(pod).active_deadline_seconds?;
        let reported = self.previous.as_ref().and_then(|s| s.start_time.clone());
        let started = reported.or_else(|| pod.status.as_ref()?.start_time.clone())?;
        Some(later(started.0, Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
    }

    fn exceed_deadline(&mut self, pod: &Pod) {
        const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
        self.context.events.pod(pod, EventType::Normal, "DeadlineExceeded", MESSAGE);
        self.doom = Some(Doom {
            reason: "DeadlineExceeded".into(),
            message: MESSAGE.into(),
            disrupted: false,
        });
        self.finished = true;
    }

    /// One event when a wait begins, and again while it lasts, but not for every look.
    fn note_crash_loops(&mut self, pod: &Pod, plan: &Plan, now: Timestamp) {
        self.crash_loops.retain(|name, _| plan.waiting.contains_key(name));
        for name in plan.waiting.keys() {
            match self.crash_loops.get(name) {
                Some(told) if now < later(*told, BACKOFF_NOTICE) => continue,
                _ => self.crash_loops.insert(name.clone(), now),
            };
            let message =
                format!("Back-off restarting failed container {name} in pod {}", spec::text(pod));
            self.context.events.container(pod, name, EventType::Warning, "BackOff", message);
        }
    }

    fn register(&mut self, pod: &Arc<Pod>) {
        self.context.objects.register(pod);
        if !self.registered {
            self.context.probes.add_pod(pod);
            self.registered = true;
        }
    }

    fn unregister(&mut self) {
        if self.registered {
            self.context.probes.remove_pod(&self.uid);
            let pod = self.desired.borrow().pod.clone();
            self.context.objects.unregister(&pod);
            self.registered = false;
        }
    }

    // Stopping.

    async fn stop(&mut self, desired: &Desired) -> Result<Turn, RuntimeError> {
        let pod = &desired.pod;
        if !self.stopped {
            self.context.probes.stop_liveness_and_startup(&self.uid);
            let record = self.inspect(pod).await?;
            let verdicts = self.verdicts(pod, &record);
            if record.is_up() && !desired.gone {
                self.report(pod, &record, &verdicts, &BTreeMap::new(), false);
            }
            self.stop_containers(pod, &record).await;
            for sandbox in record.sandboxes.iter().filter(|s| s.ready) {
                self.context.runtime.stop_sandbox(&sandbox.id).await?;
            }
            let record = self.inspect(pod).await?;
            if record.is_up() {
                return Ok(Turn::Wait(self.retry_at()));
            }
            self.unregister();
            if let Err(error) = self.context.volumes.unmount(&self.uid).await {
                tracing::warn!(pod = spec::key(pod), %error, "unmounting volumes failed");
                return Ok(Turn::Wait(self.retry_at()));
            }
            if let Some(cgroups) = &self.context.cgroups
                && let Err(error) = cgroups.destroy_pod(&self.uid).await
            {
                tracing::warn!(pod = spec::key(pod), %error, "removing cgroup failed");
                return Ok(Turn::Wait(self.retry_at()));
            }
            self.stopped = true;
            self.report(pod, &record, &Verdicts::new(), &BTreeMap::new(), true);
            self.handle.stopped.send_replace(true);
            self.context.ledger.nudge(Nudge::Room(Trigger::PodTerminated));
        } else if desired.deleted() {
            self.context.reporter.release(&self.uid, pod);
        }
        if desired.deleted() {
            self.remove_everything(pod).await?;
        }
        // A Pod deleted through the API is done once its object is gone, which the manager tells.
        if desired.gone { Ok(Turn::Done) } else { Ok(Turn::Wait(later(Timestamp::now(), RESYNC))) }
    }

    async fn stop_containers(&mut self, pod: &Arc<Pod>, record: &PodRecord) {
        let ips = self.context.ips(pod, record);
        let begun = tokio::time::Instant::now();
        for wave in termination::waves(pod, record) {
            let mut wish = self.desired.clone();
            let mut allowed = self.desired.borrow().grace();
            loop {
                let grace = allowed.saturating_sub(begun.elapsed());
                let stops = join_all(wave.iter().map(|(id, name)| {
                    let context = &self.context;
                    let ip = ips.pod.first().map(String::as_str);
                    async move {
                        let message = format!("Stopping container {name}");
                        lifecycle::stop(context, pod, id, name, &message, grace, ip).await;
                    }
                }));
                let shorter = async {
                    // A second delete, or the end of the node, may shorten the grace period.
                    let sooner = wish.wait_for(|desired| desired.grace() < allowed).await;
                    sooner.map(|desired| desired.grace()).ok()
                };
                let renewed = tokio::select! {
                    _ = stops => None,
                    renewed = shorter => renewed,
                };
                match renewed {
                    Some(grace) => allowed = grace,
                    None => break,
                }
            }
        }
    }

    /// Removes what the runtime and the disk still have of the Pod.
    async fn remove_everything(&mut self, pod: &Pod) -> Result<(), RuntimeError> {
        let record = records::inspect(&self.context.runtime, &self.uid).await?;
        for container in &record.containers {
            self.context.runtime.remove_container(&container.id).await?;
        }
        for sandbox in &record.sandboxes {
            self.context.runtime.remove_sandbox(&sandbox.id).await?;
        }
        for dir in [self.context.pod_log_dir(pod), self.context.pod_dir(&self.uid)] {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(dir = %dir.display(), %error, "folder stays for now");
                }
                _ => {}
            }
        }
        executor::prune_log_links(&self.context.log_dir);
        Ok(())
    }

    // Looking and reporting.

    async fn inspect(&mut self, pod: &Pod) -> Result<PodRecord, RuntimeError> {
        let mut record = records::inspect(&self.context.runtime, &self.uid).await?;
        for container in &mut record.containers {
            if container.state == State::Running
                && container.applied.is_none()
                && let Some(cgroups) = &self.context.cgroups
            {
                // Not every runtime tells; the kernel knows.
                container.applied =
                    Some(Applied::of(&cgroups.container_limits(pod, &container.id)));
            }
            if container.state != State::Exited {
                continue;
            }
            let words = self
                .last_words
                .entry(container.id.clone())
                .or_insert_with(|| last_words(container));
            if !words.is_empty() {
                container.message = words.clone();
            }
        }
        self.last_words.retain(|id, _| record.containers.iter().any(|c| &c.id == id));
        let targets = record
            .containers
            .iter()
            .filter(|c| record.latest(&c.name).is_some_and(|latest| latest.id == c.id))
            .map(|c| ProbeTarget {
                name: c.name.clone(),
                id: c.id.clone(),
                running: c.state == State::Running,
                started_at: c.started_at.unwrap_or(c.created_at),
            })
            .collect();
        let ip = self.context.ips(pod, &record).pod.into_iter().next();
        self.context.probes.update(&self.uid, ip, targets);
        self.handle.show(|view| view.record = record.clone());
        Ok(record)
    }

    fn verdicts(&self, pod: &Pod, record: &PodRecord) -> Verdicts {
        let probes = &self.context.probes;
        record
            .containers
            .iter()
            .filter(|c| c.state == State::Running && spec::container(pod, &c.name).is_some())
            .map(|c| {
                let verdict = Verdict {
                    started: probes.startup(&self.uid, &c.id, &c.name),
                    ready: probes.readiness(&self.uid, &c.id, &c.name),
                    failed: probes.liveness_failed(&self.uid, &c.id),
                };
                (c.id.clone(), verdict)
            })
            .collect()
    }

    fn report(
        &mut self,
        pod: &Arc<Pod>,
        record: &PodRecord,
        verdicts: &Verdicts,
        crash_loops: &BTreeMap<String, Waiting>,
        stopped: bool,
    ) {
        let mut waiting = self.failures.clone();
        waiting.extend(crash_loops.clone());
        let rejected = self.desired.borrow().rejected.clone();
        if let Some(doom) = rejected {
            let status = status::rejected(pod, &doom, qos(pod).name(), Timestamp::now());
            self.publish(pod, status, stopped);
            return;
        }
        let status = status::generate(&status::Input {
            pod,
            record,
            anew: !self.counts.is_empty() || plan::trigger(pod, record).is_some(),
            actuated: self.context.ledger.actuated(&self.uid).as_ref(),
            resize: &self.context.ledger.conditions(&self.uid),
            previous: self.previous.as_ref(),
            verdicts,
            waiting: &waiting,
            host_ips: &self.context.host_ips(),
            runtime_name: &self.context.runtime_name,
            qos: qos(pod).name(),
            doom: self.doom.as_ref(),
            stopped,
            now: Timestamp::now(),
        });
        self.publish(pod, status, stopped);
    }

    fn publish(&mut self, pod: &Arc<Pod>, status: PodStatus, stopped: bool) {
        self.handle.show(|view| view.status = Some(status.clone()));
        self.previous = Some(status.clone());
        self.context.reporter.report(&self.uid, pod, status, stopped);
    }
}

fn last_words(container: &records::ContainerRecord) -> String {
    const LIMIT: usize = 4096;
    let mut text = container
        .termination_log
        .as_ref()
        .and_then(|path| std::fs::read(path).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    if text.is_empty() && container.log_as_message && container.exit_code != 0 {
        text = crate::logs::tail_for_termination(&container.log_path).unwrap_or_default();
    }
    if text.len() > LIMIT {
        let mut end = LIMIT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

fn mount_message(error: &VolumeError) -> String {
    format!("MountVolume.SetUp failed for volume {:?} : {error}", error.volume)
}

/// Grace period of a container that a probe condemned, by the probe's own setting first.
fn probe_grace(pod: &Pod, name: &str, probe: &str) -> Duration {
    let own = spec::container(pod, name).and_then(|(_, container)| {
        let probe = match probe {
            "startup" => container.startup_probe?,
            _ => container.liveness_probe?,
        };
        probe.termination_grace_period_seconds
    });
    match own {
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(1)),
        None => spec::grace(pod),
    }
}
