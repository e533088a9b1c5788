//! How a granted resize is carried out. Pure: once the steps are taken, none are left.
//!
//! Memory comes before CPU. Of each, what grows of the Pod's group grows before its containers do,
//! containers that shrink come before those that grow, and the Pod's group shrinks last; so the
//! limits of the containers never add up to more than the Pod's.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use super::resources::{PodResources, merged, resizable, same};
use crate::cgroup::resources::{GroupLimits, Sizes, pod_limits};
use crate::pod::spec;
use crate::runtime::records::{PodRecord, State};

/// A running container that gets other resources.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Name in the Pod.
    pub name: String,
    /// Runtime's ID.
    pub id: String,
    /// What the runtime was told before.
    pub from: ResourceRequirements,
    /// What it was allocated.
    pub to: ResourceRequirements,
    /// As enforced before: the Pod's limits stand in for missing ones.
    before: Sizes,
    /// As enforced afterwards.
    after: Sizes,
}

/// What a Pod was allocated and does not have yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    /// Containers to restart, because they wish to be restarted for a change.
    pub restart: BTreeSet<String>,
    /// Containers to update.
    pub updates: Vec<Update>,
    /// Whether the group of the Pod, or what is noted of the Pod as a whole, has to change.
    pub group: bool,
    /// Containers that do not run: they get what they were allocated when they start.
    pub settled: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Changes the limits of the Pod's group.
    Group(GroupLimits),
    /// Changes those of a container.
    Container {
        /// Name in the Pod.
        name: String,
        /// Runtime's ID.
        id: String,
        /// As it is to be enforced.
        sizes: Sizes,
        /// What is noted of it afterwards.
        noted: ResourceRequirements,
    },
}

/// A memory limit that is lowered, which must not go below what is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lowered {
    /// That of the Pod, in bytes.
    Pod(i64),
    /// That of a container.
    Container {
        /// Name in the Pod.
        name: String,
        /// Runtime's ID.
        id: String,
        /// Bytes.
        limit: i64,
    },
}

// === impl Differences ===

impl Differences {
    /// Compares what `pod` was allocated with what was actuated. Nothing is known to differ of a
    /// Pod, or a container, of which nothing is noted.
    pub fn new(pod: &Pod, actuated: Option<&PodResources>, record: &PodRecord) -> Self {
        let mut all = Self::default();
        let Some(actuated) = actuated else { return all };
        let whole = spec::spec(pod).resources.as_ref();
        let mut before = pod.clone();
        for container in resizable(pod) {
            let Some(from) = actuated.containers.get(&container.name) else { continue };
            put(&mut before, &container.name, from);
            let to = container.resources.clone().unwrap_or_default();
            let update = Update {
                name: container.name.clone(),
                id: String::new(),
                before: Sizes::of(Some(from), actuated.pod.as_ref()),
                after: Sizes::of(Some(&to), whole),
                from: from.clone(),
                to,
            };
            let running = record.latest(&container.name).filter(|r| r.state == State::Running);
            match running {
                None if !same(&update.from, &update.to) => all.settled.push(update.name),
                None => {}
                Some(_) if update.before == update.after => {}
                Some(_) if update.restarts(container) => {
                    all.restart.insert(update.name);
                }
                Some(running) => all.updates.push(Update { id: running.id.clone(), ..update }),
            }
        }
        if let Some(spec) = &mut before.spec {
            spec.resources.clone_from(&actuated.pod);
        }
        let none = ResourceRequirements::default();
        let whole_differs = !same(whole.unwrap_or(&none), actuated.pod.as_ref().unwrap_or(&none));
        all.group = whole_differs || pod_limits(&before) != pod_limits(pod);
        if !all.group {
            all.settled.clear();
        }
        all
    }

    /// Whether something runs with other resources than it was allocated.
    pub fn in_progress(&self) -> bool {
        !self.restart.is_empty() || !self.updates.is_empty() || self.group
    }

    /// Whether there are steps to take; restarts are the Pod's plan's.
    pub fn has_steps(&self) -> bool {
        !self.updates.is_empty() || self.group
    }

    /// The steps, from what the Pod's group has now to `wanted`.
    pub fn steps(&self, wanted: &GroupLimits, current: &GroupLimits) -> Vec<Step> {
        let mut steps = Vec::new();
        let group = |limits| Step::Group(limits);
        let memory = wanted
            .memory
            .map(|memory| GroupLimits { memory: Some(memory), ..GroupLimits::default() });
        let grows = wanted.memory > Some(current.memory.unwrap_or(i64::MAX));
        let shrinks = wanted.memory.is_some_and(|new| new < current.memory.unwrap_or(i64::MAX));
        steps.extend(memory.clone().filter(|_| grows).map(group));
        steps.extend(self.containers(Sizes::memory, |update| {
            let noted = merged(&update.from, &update.to, "memory");
            let sizes = Sizes {
                memory_limit: update.after.memory_limit,
                memory_request: update.after.memory_request,
                ..update.before
            };
            (sizes, noted)
        }));
        steps.extend(memory.filter(|_| shrinks).map(group));

        let unlimited = |quota: Option<i64>| quota.filter(|quota| *quota > 0).unwrap_or(i64::MAX);
        let quota = wanted.cpu_quota.map(|quota| {
            let limits = GroupLimits { cpu_quota: Some(quota), ..GroupLimits::default() };
            (unlimited(Some(quota)).cmp(&unlimited(current.cpu_quota)), limits)
        });
        let shares = wanted.cpu_shares.map(|shares| {
            let limits = GroupLimits { cpu_shares: Some(shares), ..GroupLimits::default() };
            (shares.cmp(&current.cpu_shares.unwrap_or(0)), limits)
        });
        let that = |what: &Option<(std::cmp::Ordering, GroupLimits)>, way| {
            what.clone().filter(|(direction, _)| *direction == way).map(|(_, limits)| group(limits))
        };
        use std::cmp::Ordering::{Greater, Less};
        steps.extend(that(&quota, Greater).into_iter().chain(that(&shares, Greater)));
        steps.extend(self.containers(Sizes::cpu, |update| (update.after, update.to.clone())));
        steps.extend(that(&shares, Less).into_iter().chain(that(&quota, Less)));
        steps
    }

    /// Updates of one resource, those that shrink first.
    fn containers(
        &self,
        key: impl Fn(&Sizes) -> (i64, i64),
        step: impl Fn(&Update) -> (Sizes, ResourceRequirements),
    ) -> Vec<Step> {
        // No limit is more than any.
        let rank = |sizes: &Sizes| {
            let (limit, request) = key(sizes);
            (if limit == 0 { i64::MAX } else { limit }, request)
        };
        let differs = self.updates.iter().filter(|u| key(&u.before) != key(&u.after));
        let (shrinking, growing): (Vec<_>, Vec<_>) =
            differs.partition(|update| rank(&update.after) < rank(&update.before));
        let all = shrinking.into_iter().chain(growing).map(|update| {
            let (sizes, noted) = step(update);
            Step::Container { name: update.name.clone(), id: update.id.clone(), sizes, noted }
        });
        all.collect()
    }

    /// The memory limits that are lowered.
    pub fn lowered(&self, wanted: &GroupLimits, current: &GroupLimits) -> Vec<Lowered> {
        let lower = |new: i64, old: i64| new > 0 && (old == 0 || new < old);
        let pod = wanted.memory.filter(|new| lower(*new, current.memory.unwrap_or(0)));
        let containers = self.updates.iter().filter_map(|update| {
            let limit = update.after.memory_limit;
            lower(limit, update.before.memory_limit).then(|| Lowered::Container {
                name: update.name.clone(),
                id: update.id.clone(),
                limit,
            })
        });
        pod.map(Lowered::Pod).into_iter().chain(containers).collect()
    }
}

// === impl Update ===

impl Update {
    /// Whether the container wishes to be restarted for this.
    fn restarts(&self, container: &Container) -> bool {
        let differs = |resource: &str| match resource {
            "cpu" => self.before.cpu() != self.after.cpu(),
            _ => self.before.memory() != self.after.memory(),
        };
        container.resize_policy.iter().flatten().any(|policy| {
            policy.restart_policy == "RestartContainer" && differs(&policy.resource_name)
        })
    }
}

fn put(pod: &mut Pod, name: &str, resources: &ResourceRequirements) {
    let Some(spec) = &mut pod.spec else { return };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if container.name == name {
            container.resources = Some(resources.clone());
        }
    }
}

#[cfg(test)]
mod tests;
