use k8s_openapi::api::batch::v1::{CronJobSpec, JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::SignedDuration;

use super::*;

/// A CronJob, its Jobs and a clock.
struct World {
    cron: CronJob,
    jobs: Vec<Arc<Job>>,
    now: Timestamp,
}

impl World {
    fn new(spec: CronJobSpec) -> Self {
        let now: Timestamp = "2026-01-30T10:00:10Z".parse().unwrap();
        let metadata = ObjectMeta {
            name: Some("cron".into()),
            namespace: Some("n".into()),
            uid: Some("cron".into()),
            creation_timestamp: Some(Time(now)),
            ..ObjectMeta::default()
        };
        Self { cron: CronJob { metadata, spec, status: None }, jobs: Vec::new(), now }
    }

    fn plan(&self) -> Plan {
        plan::plan(&Snapshot { cron: &self.cron, jobs: &self.jobs, now: self.now })
    }

    /// Carries a plan out and gives its events' reasons; a second one must find nothing to do.
    fn step(&mut self) -> Vec<&'static str> {
        let plan = self.plan();
        let events = plan.events.iter().map(|(_, reason, _)| *reason).collect();
        self.carry_out(plan);
        let again = self.plan();
        assert!(again.create.is_none() && again.delete.is_empty() && again.status.is_none());
        events
    }

    fn carry_out(&mut self, plan: Plan) {
        self.jobs.retain(|job| !plan.delete.iter().any(|gone| gone.id() == job.id()));
        let mut status = plan.status.or(self.cron.status.take()).unwrap_or_default();
        if let Some(due) = plan.create {
            let mut job = due.job;
            job.metadata.uid = job.metadata.name.clone();
            status.active.get_or_insert_default().push(plan::reference(&job));
            status.last_schedule_time = Some(Time(due.at));
            self.jobs.push(Arc::new(job));
        }
        self.cron.status = Some(status);
    }

    fn wait(&mut self, minutes: i64) -> Vec<&'static str> {
        self.now += SignedDuration::from_mins(minutes);
        self.step()
    }

    fn end(&mut self, name: &str, how: &str) {
        let job = self.jobs.iter_mut().find(|job| job.nm() == name).unwrap();
        Arc::make_mut(job).status = Some(JobStatus {
            start_time: Some(Time(self.now)),
            completion_time: (how == "Complete").then_some(Time(self.now)),
            conditions: Some(vec![JobCondition {
                type_: how.into(),
                status: "True".into(),
                ..JobCondition::default()
            }]),
            ..JobStatus::default()
        });
    }

    fn active(&self) -> Vec<String> {
        let status = self.cron.status.as_ref().unwrap();
        status.active.iter().flatten().filter_map(|active| active.name.clone()).collect()
    }
}

fn spec(policy: &str) -> CronJobSpec {
    CronJobSpec {
        schedule: "*/1 * * * ?".into(),
        concurrency_policy: Some(policy.into()),
        successful_jobs_history_limit: Some(1),
        failed_jobs_history_limit: Some(1),
        ..CronJobSpec::default()
    }
}

/// The first minute after the creation, since the epoch.
const MINUTE: i64 = 29_496_121;

fn names(minutes: &[i64]) -> Vec<String> {
    minutes.iter().map(|minute| format!("cron-{}", MINUTE + minute)).collect()
}

#[test]
fn jobs_start_at_their_times() {
    let mut world = World::new(spec("Allow"));
    assert!(world.step().is_empty());
    assert_eq!(world.plan().requeue, Some(std::time::Duration::from_millis(50_100)));
    world.wait(1);
    assert_eq!(world.active(), names(&[0]));
    let job = &world.jobs[0];
    let scheduled = job.annotation("batch.kubernetes.io/cronjob-scheduled-timestamp");
    assert_eq!(scheduled, Some("2026-01-30T10:01:00Z"));
    assert!(job.is_controlled_by("cron"));
    world.wait(1);
    assert_eq!(world.active(), names(&[0, 1]));
}

#[test]
fn policies_say_what_happens_to_jobs_that_still_run() {
    let mut world = World::new(spec("Forbid"));
    world.wait(1);
    world.now += SignedDuration::from_mins(1);
    let plan = world.plan();
    assert_eq!(plan.events[0].1, "JobAlreadyActive");
    assert!(plan.create.is_none());
    world.end(&names(&[0])[0], "Complete");
    assert_eq!(world.step(), ["SawCompletedJob"]);
    assert_eq!(world.active(), names(&[1]), "the time has passed but not the next one");

    let mut world = World::new(spec("Replace"));
    world.wait(1);
    world.wait(1);
    assert_eq!(world.active(), names(&[1]));
    assert_eq!(world.jobs.len(), 1);
}

#[test]
fn ended_jobs_are_noted_and_the_oldest_removed() {
    let mut world = World::new(spec("Allow"));
    world.wait(1);
    world.end(&names(&[0])[0], "Complete");
    assert_eq!(world.step(), ["SawCompletedJob"]);
    let status = world.cron.status.clone().unwrap();
    assert_eq!(status.last_successful_time, Some(Time(world.now)));
    assert_eq!(world.jobs.len(), 1, "the last success stays");
    world.wait(1);
    world.end(&names(&[1])[0], "Complete");
    world.step();
    assert_eq!(world.jobs[0].nm(), names(&[1])[0]);
    world.wait(1);
    world.end(&names(&[2])[0], "Failed");
    world.step();
    assert_eq!(world.jobs.len(), 2, "failures are counted by themselves");
    world.wait(1);
    let running = world.active();
    world.jobs.retain(|job| !running.contains(&job.nm().to_owned()));
    assert_eq!(world.step(), ["MissingJob"]);
}

#[test]
fn times_that_were_missed_are_made_up_for_once() {
    let mut world = World::new(spec("Allow"));
    world.wait(5);
    assert_eq!(world.active(), names(&[4]), "the last one only");
    assert_eq!(world.wait(60 * 24), ["TooManyMissedTimes"]);
    assert_eq!(world.active(), names(&[4, 4 + 60 * 24]));

    let late = CronJobSpec { starting_deadline_seconds: Some(5), ..spec("Allow") };
    let mut world = World::new(late);
    assert!(world.wait(1).is_empty(), "ten seconds are too late");
    assert!(world.jobs.is_empty());
}

#[test]
fn what_cannot_be_followed_is_reported() {
    let check = |spec: CronJobSpec, reason: Option<&str>| {
        let mut world = World::new(spec);
        world.now += SignedDuration::from_mins(1);
        let plan = world.plan();
        assert!(plan.create.is_none());
        assert_eq!(plan.events.first().map(|event| event.1), reason);
    };
    check(CronJobSpec { schedule: "x".into(), ..spec("Allow") }, Some("UnparseableSchedule"));
    check(CronJobSpec { schedule: "x".into(), suspend: Some(true), ..spec("Allow") }, None);
    check(CronJobSpec { schedule: "0 0 30 2 *".into(), ..spec("Allow") }, Some("InvalidSchedule"));
    let nowhere = CronJobSpec { time_zone: Some("Nowhere".into()), ..spec("Allow") };
    check(nowhere, Some("UnknownTimeZone"));
    check(CronJobSpec { suspend: Some(true), ..spec("Allow") }, None);
}

#[test]
fn schedules_with_a_zone_of_their_own_are_followed_with_a_warning() {
    let schedule = "TZ=Asia/Tokyo */1 * * * *".into();
    let mut world = World::new(CronJobSpec { schedule, ..spec("Allow") });
    world.now += SignedDuration::from_mins(1);
    assert_eq!(world.step(), ["UnsupportedSchedule"]);
    assert_eq!(world.active(), names(&[0]));
}

#[test]
fn jobs_that_somebody_else_made_are_reported() {
    let mut world = World::new(spec("Allow"));
    world.wait(1);
    let mut job = (*world.jobs[0]).clone();
    job.metadata.name = Some("by-hand".into());
    job.metadata.uid = Some("by-hand".into());
    world.jobs.push(Arc::new(job));
    let plan = world.plan();
    assert_eq!(
        plan.events,
        [(
            EventType::Warning,
            "UnexpectedJob",
            "Saw a job that the controller did not create or forgot: by-hand".to_owned()
        )]
    );
    assert_eq!(world.active(), names(&[0]), "it does not become one of the CronJob's");
    world.end("by-hand", "Complete");
    assert!(world.step().is_empty(), "one that ended is nothing to speak of");
}
