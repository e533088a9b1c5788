use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
    SuccessPolicy, SuccessPolicyRule,
};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use k8s_openapi::jiff::SignedDuration;
use std::time::Duration;

use super::*;

struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    now: Timestamp,
    made: usize,
}

impl World {
    fn new(spec: JobSpec) -> Self {
        let metadata = ObjectMeta {
            name: Some("job".into()),
            namespace: Some("n".into()),
            uid: Some("job".into()),
            ..ObjectMeta::default()
        };
        let now = Timestamp::from_second(1_000_000).unwrap();
        Self {
            job: Job { metadata, spec: Some(spec), status: None },
            pods: Vec::new(),
            now,
            made: 0,
        }
    }

    fn plan(&self) -> Plan {
        plan::plan(&Snapshot { job: &self.job, pods: &self.pods, now: self.now })
    }

    /// Carries one plan out; `false` when it was empty.
    fn step(&mut self) -> bool {
        let plan = self.plan();
        let idle = plan.status.is_none()
            && plan.create.is_empty()
            && plan.delete.is_empty()
            && plan.stop.is_empty()
            && plan.release.is_empty();
        for new in plan.create {
            self.made += 1;
            let mut pod = pod_for(&self.job, new);
            pod.metadata.name = Some(format!("p{}", self.made));
            pod.metadata.uid = Some(format!("p{}", self.made));
            self.pods.push(Arc::new(pod));
        }
        self.pods.retain(|p| !plan.delete.iter().any(|d| d.id() == p.id()));
        for pod in &mut self.pods {
            if plan.stop.iter().any(|s| s.id() == pod.id()) {
                Arc::make_mut(pod).metadata.deletion_timestamp = Some(Time(self.now));
            }
        }
        for pod in &mut self.pods {
            if plan.release.iter().any(|r| r.id() == pod.id()) {
                Arc::make_mut(pod).metadata.finalizers = None;
            }
        }
        // What is deleted stays for as long as it has a finalizer.
        self.pods.retain(|p| !p.is_deleting() || p.metadata.finalizers.is_some());
        if let Some(status) = plan.status {
            self.job.status = Some(status);
        }
        !idle
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            if !self.step() {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.plan());
    }

    /// Ends all running Pods.
    fn finish(&mut self, phase: &str, code: i32) {
        self.finish_those(phase, code, |_| true);
    }

    /// Ends the running Pods of some indexes.
    fn finish_those(&mut self, phase: &str, code: i32, ends: impl Fn(i32) -> bool) {
        let ends = |pod: &Pod| ends(indexes::of(pod).unwrap_or(0));
        for pod in self.pods.iter_mut().filter(|p| pods::is_active(p) && ends(p)) {
            Arc::make_mut(pod).status = Some(PodStatus {
                phase: Some(phase.into()),
                container_statuses: Some(vec![ContainerStatus {
                    name: "c".into(),
                    state: Some(ContainerState {
                        terminated: Some(ContainerStateTerminated {
                            exit_code: code,
                            finished_at: Some(Time(self.now)),
                            ..ContainerStateTerminated::default()
                        }),
                        ..ContainerState::default()
                    }),
                    ..ContainerStatus::default()
                }]),
                ..PodStatus::default()
            });
        }
    }

    fn active(&self) -> usize {
        self.pods.iter().filter(|p| pods::is_active(p)).count()
    }

    fn reason(&self, type_: &str) -> Option<String> {
        plan::condition(&self.job, type_)?.reason.clone()
    }
}

fn spec(completions: i32, parallelism: i32) -> JobSpec {
    JobSpec {
        completions: Some(completions),
        parallelism: Some(parallelism),
        backoff_limit: Some(1),
        ..JobSpec::default()
    }
}

#[test]
fn a_job_runs_its_completions_and_ends() {
    let mut world = World::new(spec(3, 2));
    world.settle();
    assert_eq!(world.active(), 2);
    world.finish("Succeeded", 0);
    world.settle();
    assert_eq!(world.active(), 1);
    world.finish("Succeeded", 0);
    world.settle();
    assert_eq!(world.reason("Complete").as_deref(), Some("CompletionsReached"));
    assert!(world.reason("SuccessCriteriaMet").is_some());
    let status = world.job.status.as_ref().unwrap();
    assert_eq!((status.succeeded, status.active), (Some(3), None));
    assert!(world.pods.iter().all(|p| p.metadata.finalizers.is_none()));
}

#[test]
fn failures_back_off_and_then_fail_the_job() {
    let mut world = World::new(spec(1, 1));
    world.settle();
    world.finish("Failed", 1);
    world.settle();
    assert_eq!(world.active(), 0, "waits before the next attempt");
    assert_eq!(world.plan().requeue, Some(Duration::from_secs(10)));
    world.now += SignedDuration::from_secs(11);
    world.settle();
    assert_eq!(world.active(), 1);
    world.finish("Failed", 1);
    world.settle();
    assert_eq!(world.reason("Failed").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(world.job.status.as_ref().unwrap().failed, Some(2));
}

#[test]
fn pods_are_counted_once_even_when_they_vanish() {
    let mut world = World::new(spec(2, 1));
    world.settle();
    world.finish("Succeeded", 0);
    world.step();
    world.pods.clear();
    world.settle();
    assert_eq!(world.job.status.as_ref().unwrap().succeeded, Some(1));
}

#[test]
fn a_deadline_ends_what_takes_too_long() {
    let mut world = World::new(JobSpec { active_deadline_seconds: Some(60), ..spec(1, 1) });
    world.settle();
    assert_eq!(world.plan().requeue, Some(Duration::from_secs(60)));
    world.now += SignedDuration::from_secs(60);
    world.settle();
    assert_eq!(world.reason("Failed").as_deref(), Some("DeadlineExceeded"));
    assert_eq!(world.active(), 0);
}

#[test]
fn suspension_stops_and_resumption_starts() {
    let mut world = World::new(JobSpec { suspend: Some(true), ..spec(1, 1) });
    world.settle();
    assert_eq!((world.active(), world.reason("Suspended").as_deref()), (0, Some("JobSuspended")));
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.settle();
    assert_eq!((world.active(), world.reason("Suspended")), (1, None));
}

#[test]
fn indexes_are_completed_each_once() {
    let mut world = World::new(JobSpec { completion_mode: Some("Indexed".into()), ..spec(3, 3) });
    world.settle();
    let mut indexes: Vec<_> = world.pods.iter().filter_map(|p| indexes::of(p)).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2]);
    world.finish("Succeeded", 0);
    world.settle();
    let status = world.job.status.as_ref().unwrap();
    assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("0-2"), Some(3)));
    assert!(world.reason("Complete").is_some());
}

fn indexed(completions: i32, per_index: i32) -> JobSpec {
    JobSpec {
        completion_mode: Some("Indexed".into()),
        backoff_limit: Some(i32::MAX),
        backoff_limit_per_index: Some(per_index),
        ..spec(completions, completions)
    }
}

/// Fails the even indexes and completes the others, again and again.
fn exhaust(world: &mut World) {
    for _ in 0..4 {
        world.settle();
        world.finish_those("Failed", 1, |index| index % 2 == 0);
        world.finish("Succeeded", 0);
        world.settle();
        world.now += SignedDuration::from_secs(600);
    }
}

#[test]
fn each_index_has_its_own_limit_of_failures() {
    let mut world = World::new(indexed(4, 1));
    world.settle();
    world.finish_those("Failed", 1, |index| index == 0);
    world.settle();
    assert_eq!(world.active(), 3, "the index waits, the others go on");
    assert_eq!(world.plan().requeue, Some(Duration::from_secs(10)));
    assert!(world.job.status.as_ref().unwrap().failed.is_none(), "it counts when it is replaced");
    world.now += SignedDuration::from_secs(10);
    world.settle();
    let again = world.pods.iter().rfind(|p| indexes::of(p) == Some(0)).unwrap();
    assert_eq!(again.annotation(indexes::FAILURES), Some("1"));
    assert_eq!(world.job.status.as_ref().unwrap().failed, Some(1));

    exhaust(&mut world);
    let status = world.job.status.as_ref().unwrap();
    assert_eq!(status.failed_indexes.as_deref(), Some("0,2"));
    assert_eq!(status.completed_indexes.as_deref(), Some("1,3"));
    assert_eq!((status.failed, status.succeeded), (Some(4), Some(2)));
    let failed = plan::condition(&world.job, "Failed").unwrap();
    assert_eq!(failed.reason.as_deref(), Some("FailedIndexes"));
    assert_eq!(failed.message.as_deref(), Some("Job has failed indexes"));
    assert!(world.pods.iter().all(|p| p.metadata.finalizers.is_none()));
}

#[test]
fn too_many_failed_indexes_end_the_job() {
    let mut world = World::new(JobSpec { max_failed_indexes: Some(1), ..indexed(6, 0) });
    world.settle();
    world.finish_those("Failed", 1, |index| index < 2);
    world.settle();
    let failed = plan::condition(&world.job, "Failed").unwrap();
    assert_eq!(failed.reason.as_deref(), Some("MaxFailedIndexesExceeded"));
    let status = world.job.status.as_ref().unwrap();
    assert_eq!(status.failed_indexes.as_deref(), Some("0-5"), "those of stopped Pods, too");
    assert_eq!(status.failed, Some(6), "what was stopped counts");
    assert_eq!(world.active(), 0);
}

#[test]
fn a_failure_policy_may_give_up_an_index() {
    let policy = failure_policy("FailIndex");
    let mut world = World::new(JobSpec { pod_failure_policy: Some(policy), ..indexed(2, 5) });
    world.settle();
    world.finish_those("Failed", 42, |index| index == 0);
    world.settle();
    let status = world.job.status.as_ref().unwrap();
    assert_eq!((status.failed_indexes.as_deref(), status.failed), (Some("0"), Some(1)));
    assert_eq!(world.active(), 1, "the other one goes on");
}

#[test]
fn ignored_failures_of_an_index_do_not_use_up_its_limit() {
    let policy = failure_policy("Ignore");
    let mut world = World::new(JobSpec { pod_failure_policy: Some(policy), ..indexed(1, 0) });
    for _ in 0..3 {
        world.settle();
        world.finish("Failed", 42);
        world.settle();
        world.now += SignedDuration::from_secs(600);
    }
    world.settle();
    let last = world.pods.last().unwrap();
    assert_eq!(last.annotation(indexes::IGNORED_FAILURES), Some("3"));
    assert_eq!(world.job.status.as_ref().unwrap().failed_indexes.as_deref(), Some(""));
}

#[test]
fn success_policies_end_the_job_early() {
    let check = |indexes: Option<&str>, count: Option<i32>, done: &[i32], met: bool| {
        let rule = SuccessPolicyRule {
            succeeded_indexes: indexes.map(str::to_owned),
            succeeded_count: count,
        };
        let never = SuccessPolicyRule { succeeded_count: Some(100), succeeded_indexes: None };
        let policy = SuccessPolicy { rules: vec![never, rule] };
        let mut world = World::new(JobSpec {
            completion_mode: Some("Indexed".into()),
            success_policy: Some(policy),
            ..spec(5, 5)
        });
        world.settle();
        world.finish_those("Succeeded", 0, |index| done.contains(&index));
        world.settle();
        let complete = plan::condition(&world.job, "Complete");
        assert_eq!(complete.is_some(), met, "{indexes:?} {count:?} {done:?}");
        if let Some(complete) = complete {
            assert_eq!(complete.reason.as_deref(), Some("SuccessPolicy"));
            assert_eq!(complete.message.as_deref(), Some("Matched rules at index 1"));
            assert_eq!(world.active(), 0, "the rest is stopped");
            assert_eq!(world.reason("SuccessCriteriaMet").as_deref(), Some("SuccessPolicy"));
        }
    };
    check(None, Some(1), &[3], true);
    check(None, Some(2), &[3], false);
    check(Some("0"), None, &[0], true);
    check(Some("0-1"), None, &[0], false);
    check(Some("0-2"), Some(2), &[0, 2], true);
    check(Some("0-2"), Some(2), &[0, 3, 4], false);
}

fn failure_policy(action: &str) -> PodFailurePolicy {
    let rule = PodFailurePolicyRule {
        action: action.into(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            operator: "In".into(),
            values: vec![42],
            container_name: None,
        }),
        on_pod_conditions: None,
    };
    PodFailurePolicy { rules: vec![rule] }
}

#[test]
fn a_failure_policy_ends_the_job_at_once() {
    let policy = failure_policy("FailJob");
    let mut world = World::new(JobSpec { pod_failure_policy: Some(policy), ..spec(1, 1) });
    world.settle();
    world.finish("Failed", 42);
    world.settle();
    let failed = plan::condition(&world.job, "Failed").unwrap();
    assert_eq!(failed.reason.as_deref(), Some("PodFailurePolicy"));
    assert_eq!(
        failed.message.as_deref(),
        Some("Container c for pod n/p1 failed with exit code 42 matching FailJob rule at index 0")
    );
}
