//! What a Pod that should run needs next. Pure: the same inputs give the same plan, and once the
//! plan is carried out the next one is empty.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;

use super::backoff::{Backoff, go_text};
use super::spec::{self, Kind};
use crate::runtime::labels::container_hash;
use crate::runtime::records::{ContainerRecord, PodRecord, SandboxRecord, State};

/// What the prober thinks of a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Its startup probe succeeded, or it has none.
    pub started: bool,
    /// Its readiness probe succeeds, or it has none.
    pub ready: bool,
    /// The probe that failed for good: `liveness` or `startup`.
    pub failed: Option<String>,
}

/// Verdicts by container ID.
pub type Verdicts = BTreeMap<String, Verdict>;

/// Why a container waits, for its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// As `CrashLoopBackOff`.
    pub reason: String,
    /// More about it.
    pub message: String,
}

/// A container to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Runtime's ID.
    pub id: String,
    /// Name in the Pod.
    pub name: String,
    /// Text of the `Killing` event.
    pub message: String,
    /// Why.
    pub cause: Cause,
}

/// Why a container is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is not what it should be.
    Changed,
    /// A probe failed, whose own grace period applies.
    Probe(String),
    /// It is to be started with other resources.
    Resize,
    /// All containers start anew, at once and without hooks.
    Anew,
}

/// A container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Name in the Pod.
    pub name: String,
    /// Which kind it is.
    pub kind: Kind,
    /// Its restart count.
    pub restart_count: u32,
    /// End of the instance that it replaces.
    pub after: Option<Timestamp>,
}

/// The next steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Attempt number of a sandbox to make, after everything in older ones is stopped.
    pub create_sandbox: Option<u32>,
    /// Containers to stop.
    pub kill: Vec<Kill>,
    /// Containers to start, in this order.
    pub start: Vec<Start>,
    /// Ended containers to remove, in this order, so that the Pod starts anew.
    pub remove: Vec<String>,
    /// Containers that may not start yet.
    pub waiting: BTreeMap<String, Waiting>,
    /// All containers ended for good; what is left (sidecars, sandbox) can go.
    pub finished: bool,
    /// When to plan again at the latest.
    pub wake_at: Option<Timestamp>,
}

/// What a plan is made from.
pub struct Input<'a> {
    /// The desired Pod.
    pub pod: &'a Pod,
    /// What the runtime has.
    pub record: &'a PodRecord,
    /// What the probes say.
    pub verdicts: &'a Verdicts,
    /// Running containers that have to be restarted to get what they were allocated.
    pub resize: &'a BTreeSet<String>,
    /// Containers that were stopped for that, and have to be started whatever their policy.
    pub resized: &'a BTreeSet<String>,
    /// Restart counts with which containers go on whose instances were removed.
    pub counts: &'a BTreeMap<String, u32>,
    /// Restart back-off, keyed by [`backoff_key`].
    pub backoff: &'a Backoff,
    /// The time.
    pub now: Timestamp,
}

/// Key of a container in the restart back-off: another image starts over.
pub fn backoff_key(container: &Container) -> String {
    format!("{}_{:x}", container.name, container_hash(container))
}

// === impl Plan ===

impl Plan {
    /// Whether it starts anything.
    pub fn starts(&self) -> bool {
        self.create_sandbox.is_some() || !self.start.is_empty()
    }
}

/// Plans the next steps.
pub fn plan(input: &Input<'_>) -> Plan {
    let planner = Planner { input, sandbox: usable_sandbox(input) };
    let Some(sandbox) = planner.sandbox else { return planner.without_sandbox() };
    if let Some(trigger) = trigger(input.pod, input.record) {
        return planner.anew(trigger);
    }
    let mut plan = Plan::default();
    for container in spec::ephemeral(input.pod) {
        if input.record.latest(&container.name).is_none() {
            plan.start.push(planner.start(&container, Kind::Ephemeral));
        }
    }
    let initialized = spec::spec(input.pod)
        .containers
        .iter()
        .any(|c| input.record.instances(&c.name).any(|r| r.sandbox_id == sandbox.id));
    match planner.init(&mut plan, initialized) {
        Init::Done => planner.regular(&mut plan),
        Init::Pending => {}
        Init::Failed => plan.finished = true,
    }
    plan
}

/// The container, if any, whose end has all containers of the Pod start anew (KEP-5532).
pub fn trigger<'a>(pod: &Pod, record: &'a PodRecord) -> Option<&'a ContainerRecord> {
    let sandbox = record.sandbox()?;
    let spec = spec::spec(pod);
    spec.init_containers.iter().flatten().chain(&spec.containers).find_map(|container| {
        let latest = record.latest(&container.name)?;
        let ended = latest.state == State::Exited && latest.sandbox_id == sandbox.id;
        let rule = spec::restart_rule(container, latest.exit_code)?;
        (ended && rule == spec::RESTART_ALL).then_some(latest)
    })
}

enum Init {
    Done,
    Pending,
    Failed,
}

/// What to do about one container.
enum Verb {
    Leave,
    Start,
    Kill(String, Cause),
    Wait(Waiting, Timestamp),
    Over,
}

struct Planner<'a> {
    input: &'a Input<'a>,
    sandbox: Option<&'a SandboxRecord>,
}

/// The newest sandbox, if it is the only one up and has what the Pod needs.
fn usable_sandbox<'a>(input: &Input<'a>) -> Option<&'a SandboxRecord> {
    let newest = input.record.sandbox()?;
    let others_up = input.record.sandboxes.iter().skip(1).any(|s| s.ready);
    let networked = spec::host_network(input.pod) || !newest.ips.is_empty();
    (newest.ready && networked && !others_up).then_some(newest)
}

// === impl Planner ===

impl Planner<'_> {
    fn without_sandbox(&self) -> Plan {
        let record = self.input.record;
        // A Pod whose containers all ended for good needs no sandbox any more.
        if !record.sandboxes.is_empty() || self.reported_any() {
            let spec = spec::spec(self.input.pod);
            let failed_init = spec.init_containers.iter().flatten().any(|c| {
                self.ended(c, spec::init_kind(c)).is_some_and(|code| {
                    code != 0 && !spec::should_restart(self.input.pod, spec::init_kind(c), c, code)
                })
            });
            let over = spec.containers.iter().all(|c| {
                self.ended(c, Kind::Regular).is_some_and(|code| {
                    !spec::should_restart(self.input.pod, Kind::Regular, c, code)
                })
            });
            if failed_init || over {
                return Plan { finished: true, ..Plan::default() };
            }
        }
        let attempt = record.sandbox().map_or(0, |s| s.attempt + 1);
        Plan { create_sandbox: Some(attempt), ..Plan::default() }
    }

    fn reported_any(&self) -> bool {
        self.input.pod.status.as_ref().is_some_and(|s| s.container_statuses.is_some())
    }

    /// Exit code of a container whose last instance ended, by the runtime or, when that has
    /// forgotten it, by the last report.
    fn ended(&self, container: &Container, kind: Kind) -> Option<i32> {
        if let Some(latest) = self.input.record.latest(&container.name) {
            return (latest.state == State::Exited).then_some(latest.exit_code);
        }
        let status = self.input.pod.status.as_ref()?;
        let list = match kind {
            Kind::Regular => &status.container_statuses,
            _ => &status.init_container_statuses,
        };
        let reported = list.iter().flatten().find(|s| s.name == container.name)?;
        Some(reported.state.as_ref()?.terminated.as_ref()?.exit_code)
    }

    /// Stops and removes all containers; after that, none has ever run.
    fn anew(&self, trigger: &ContainerRecord) -> Plan {
        let mut plan = Plan::default();
        let all: Vec<_> = spec::containers(self.input.pod)
            .into_iter()
            .filter(|(kind, _)| *kind != Kind::Ephemeral)
            .filter_map(|(kind, container)| Some((kind, self.in_sandbox(&container.name)?)))
            .collect();
        for (_, record) in all.iter().filter(|(_, r)| r.state != State::Exited) {
            let message =
                format!("Container {} restarts with all containers of the pod", record.name);
            let (id, name) = (record.id.clone(), record.name.clone());
            plan.kill.push(Kill { id, name, message, cause: Cause::Anew });
        }
        if !plan.kill.is_empty() {
            return plan;
        }
        if let Some((_, container)) = spec::container(self.input.pod, &trigger.name)
            && let Verb::Wait(waiting, until) = self.after_backoff(&container, trigger)
        {
            plan.waiting.insert(trigger.name.clone(), waiting);
            plan.wake_at = Some(until);
            return plan;
        }
        // The one that started it goes last: what was begun is known until it is done.
        let names = all.iter().map(|(_, record)| record.name.as_str());
        let others = names.filter(|name| *name != trigger.name).chain([trigger.name.as_str()]);
        plan.remove = others
            .flat_map(|name| self.input.record.instances(name))
            .map(|record| record.id.clone())
            .collect();
        plan
    }

    fn in_sandbox(&self, name: &str) -> Option<&ContainerRecord> {
        let sandbox = self.sandbox?;
        self.input.record.containers.iter().find(|c| c.name == name && c.sandbox_id == sandbox.id)
    }

    fn init(&self, plan: &mut Plan, initialized: bool) -> Init {
        for container in spec::spec(self.input.pod).init_containers.iter().flatten() {
            let kind = spec::init_kind(container);
            if initialized && kind == Kind::Init {
                continue;
            }
            let record = self.in_sandbox(&container.name);
            match self.verb(container, kind, record) {
                Verb::Over => {
                    let failed = record.is_some_and(|r| r.exit_code != 0);
                    if failed && kind == Kind::Init {
                        return Init::Failed;
                    }
                }
                Verb::Leave => {
                    let started = record
                        .and_then(|r| self.input.verdicts.get(&r.id))
                        .is_none_or(|verdict| verdict.started);
                    if !initialized && (kind == Kind::Init || !started) {
                        return Init::Pending;
                    }
                }
                verb => {
                    self.apply(plan, container, kind, record, verb);
                    if !initialized {
                        return Init::Pending;
                    }
                }
            }
        }
        Init::Done
    }

    fn regular(&self, plan: &mut Plan) {
        let mut all_over = true;
        for container in &spec::spec(self.input.pod).containers {
            let record = self.in_sandbox(&container.name);
            // In a new sandbox, one that had ended for good in the old one stays ended.
            if record.is_none()
                && !self.input.counts.contains_key(&container.name)
                && let Some(code) = self.ended(container, Kind::Regular)
                && !spec::should_restart(self.input.pod, Kind::Regular, container, code)
            {
                continue;
            }
            match self.verb(container, Kind::Regular, record) {
                Verb::Over => {}
                verb => {
                    all_over = false;
                    self.apply(plan, container, Kind::Regular, record, verb);
                }
            }
        }
        plan.finished = all_over;
        if all_over {
            plan.start.retain(|start| start.kind == Kind::Regular);
            plan.waiting.clear();
            plan.wake_at = None;
        }
    }

    fn verb(&self, container: &Container, kind: Kind, record: Option<&ContainerRecord>) -> Verb {
        let Some(record) = record else { return Verb::Start };
        let changed = record.hash.is_some_and(|hash| hash != container_hash(container));
        match record.state {
            State::Running => {
                let name = &container.name;
                if changed && kind != Kind::Init {
                    let message = format!("Container {name} definition changed, will be restarted");
                    return Verb::Kill(message, Cause::Changed);
                }
                let verdict = self.input.verdicts.get(&record.id);
                match verdict.and_then(|v| v.failed.clone()) {
                    Some(probe) => {
                        let message =
                            format!("Container {name} failed {probe} probe, will be restarted");
                        Verb::Kill(message, Cause::Probe(probe))
                    }
                    None if self.input.resize.contains(name) => {
                        let message = format!("Container {name} resize requires restart");
                        Verb::Kill(message, Cause::Resize)
                    }
                    None => Verb::Leave,
                }
            }
            // A kubelet that died between making and starting it, or a runtime that lost track.
            State::Created => Verb::Start,
            State::Unknown => {
                let message = format!(
                    "Container {} is in unknown state, try killing it before restart",
                    container.name
                );
                Verb::Kill(message, Cause::Changed)
            }
            State::Exited if self.input.resized.contains(&container.name) => Verb::Start,
            State::Exited => {
                let again = spec::should_restart(self.input.pod, kind, container, record.exit_code);
                if again || (changed && kind == Kind::Regular) {
                    self.after_backoff(container, record)
                } else {
                    Verb::Over
                }
            }
        }
    }

    fn after_backoff(&self, container: &Container, record: &ContainerRecord) -> Verb {
        let ended = record.finished_at.unwrap_or(record.created_at);
        let key = backoff_key(container);
        match self.input.backoff.waiting(&key, ended, self.input.now) {
            None => Verb::Start,
            Some((wait, until)) => {
                let message = format!(
                    "back-off {} restarting failed container={} pod={}",
                    go_text(wait),
                    container.name,
                    spec::text(self.input.pod)
                );
                Verb::Wait(Waiting { reason: "CrashLoopBackOff".into(), message }, until)
            }
        }
    }

    fn apply(
        &self,
        plan: &mut Plan,
        container: &Container,
        kind: Kind,
        record: Option<&ContainerRecord>,
        verb: Verb,
    ) {
        match verb {
            Verb::Leave | Verb::Over => {}
            Verb::Start => plan.start.push(self.start(container, kind)),
            Verb::Kill(message, cause) => {
                let id = record.map(|r| r.id.clone()).unwrap_or_default();
                plan.kill.push(Kill { id, name: container.name.clone(), message, cause });
            }
            Verb::Wait(waiting, until) => {
                plan.waiting.insert(container.name.clone(), waiting);
                plan.wake_at = Some(plan.wake_at.map_or(until, |old| old.min(until)));
            }
        }
    }

    fn start(&self, container: &Container, kind: Kind) -> Start {
        let latest = self.input.record.latest(&container.name);
        let restart_count = match latest {
            Some(record) => record.restart_count + 1,
            None => match self.input.counts.get(&container.name) {
                Some(count) => *count,
                None => self.reported_restarts(&container.name),
            },
        };
        // One that was stopped for a resize did not fail.
        let failed = |r: &&ContainerRecord| {
            r.state == State::Exited && !self.input.resized.contains(&container.name)
        };
        let after = latest.filter(failed).and_then(|r| r.finished_at);
        Start { name: container.name.clone(), kind, restart_count, after }
    }

    /// Restart count of a container that the runtime has forgotten but the API remembers.
    fn reported_restarts(&self, name: &str) -> u32 {
        let Some(status) = &self.input.pod.status else { return 0 };
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        let Some(reported) = all.into_iter().find(|s| s.name == name) else { return 0 };
        let ran = reported.container_id.as_ref().is_some_and(|id| !id.is_empty());
        let before = u32::try_from(reported.restart_count).unwrap_or(0);
        if ran { before + 1 } else { before }
    }
}

#[cfg(test)]
mod tests;
