//! Rollouts played through on paper: plans are carried out on sets in memory, whose Pods
//! become available from round to round.

use k8s_openapi::api::apps::v1::{
    DeploymentCondition, DeploymentSpec, DeploymentStrategy, ReplicaSetStatus,
    RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::SignedDuration;

use super::plan::plan;
use super::*;

struct World {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    now: Timestamp,
    events: Vec<String>,
}

fn template(image: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container {
                name: "web".into(),
                image: Some(image.into()),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
    }
}

impl World {
    fn new(replicas: i32, surge: IntOrString, unavailable: IntOrString) -> Self {
        let deployment = Deployment {
            metadata: ObjectMeta {
                name: Some("web".into()),
                namespace: Some("n".into()),
                uid: Some("d".into()),
                generation: Some(1),
                ..ObjectMeta::default()
            },
            spec: Some(DeploymentSpec {
                replicas: Some(replicas),
                selector: LabelSelector {
                    match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
                    match_expressions: None,
                },
                template: template("v1"),
                progress_deadline_seconds: Some(600),
                revision_history_limit: Some(2),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_surge: Some(surge),
                        max_unavailable: Some(unavailable),
                    }),
                }),
                ..DeploymentSpec::default()
            }),
            status: None,
        };
        let now = Timestamp::from_second(1_000_000).unwrap();
        Self { deployment, sets: Vec::new(), now, events: Vec::new() }
    }

    fn spec(&mut self) -> &mut DeploymentSpec {
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
        self.deployment.spec.as_mut().unwrap()
    }

    fn set(&mut self, name: &str) -> &mut ReplicaSet {
        let at = self.sets.iter().position(|s| s.nm() == name).unwrap();
        Arc::make_mut(&mut self.sets[at])
    }

    fn plan(&self) -> Plan {
        plan(&Snapshot {
            deployment: &self.deployment,
            sets: &self.sets,
            old_pods_run: false,
            now: self.now,
        })
    }

    /// Carries one plan out; `false` when it was empty.
    fn step(&mut self) -> bool {
        let plan = self.plan();
        let idle = plan.steps.is_empty() && plan.status.is_none();
        for step in plan.steps {
            match step {
                Step::Create(set) => {
                    let mut set = *set;
                    set.metadata.uid = Some(set.nm().to_owned());
                    set.metadata.creation_timestamp = Some(Time(self.now));
                    set.metadata.generation = Some(1);
                    self.sets.push(Arc::new(set));
                }
                Step::Update { set, event } => {
                    self.events.extend(event);
                    let name = set.nm().to_owned();
                    *self.set(&name) = *set;
                }
                Step::Delete(name) => self.sets.retain(|s| s.nm() != name),
                Step::Revision(revision) => {
                    let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                    annotations.insert(facts::REVISION.into(), revision.to_string());
                }
            }
        }
        if let Some(status) = plan.status {
            self.deployment.status = Some(status);
        }
        self.now += SignedDuration::from_secs(1);
        !idle
    }

    /// Lets the Pods of all sets come and, except those named `broken`, become available.
    fn pods_settle(&mut self, broken: Option<&str>) {
        for set in &mut self.sets {
            let size = facts::size(set);
            let is_broken = Some(set.nm()) == broken;
            let set = Arc::make_mut(set);
            let up = if is_broken { 0 } else { size };
            set.status = Some(ReplicaSetStatus {
                replicas: size,
                ready_replicas: Some(up),
                available_replicas: Some(up),
                observed_generation: set.metadata.generation,
                ..ReplicaSetStatus::default()
            });
        }
    }

    /// Runs to the end, checking the fence posts on the way.
    fn roll_out(&mut self) {
        let desired = facts::replicas(&self.deployment);
        let most = desired + facts::max_surge(&self.deployment);
        for _ in 0..200 {
            let busy = self.step();
            let total: i32 = self.sets.iter().map(|s| facts::size(s)).sum();
            assert!(total <= most, "{total} Pods of at most {most}");
            self.pods_settle(None);
            if !busy && !self.step() {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.plan());
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|s| facts::size(s)).collect()
    }

    fn condition(&self, type_: &str) -> DeploymentCondition {
        let conditions = self.deployment.status.as_ref().unwrap().conditions.as_ref().unwrap();
        conditions.iter().find(|c| c.type_ == type_).unwrap().clone()
    }

    fn reason(&self, type_: &str) -> String {
        self.condition(type_).reason.unwrap()
    }
}

fn percent(text: &str) -> IntOrString {
    IntOrString::String(text.into())
}

#[test]
fn a_first_rollout_makes_one_set_and_comes_to_rest() {
    let mut world = World::new(3, percent("25%"), percent("25%"));
    assert!(world.step());
    assert_eq!(world.reason("Progressing"), "NewReplicaSetCreated");
    assert_eq!(world.reason("Available"), "MinimumReplicasUnavailable");
    world.roll_out();
    assert_eq!(world.sizes(), [3]);
    assert_eq!(world.reason("Progressing"), "NewReplicaSetAvailable");
    assert_eq!(world.reason("Available"), "MinimumReplicasAvailable");
    assert_eq!(world.deployment.annotation(facts::REVISION), Some("1"));
    let set = &world.sets[0];
    assert_eq!(set.annotation(facts::MAX), Some("4"));
    assert!(set.nm().starts_with("web-") && set.label("pod-template-hash").is_some());
    assert!(!world.step(), "plan after execute is empty");
}

#[test]
fn an_update_replaces_the_set_and_an_undo_brings_it_back() {
    let mut world = World::new(4, percent("25%"), percent("25%"));
    world.roll_out();
    world.spec().template = template("v2");
    world.roll_out();
    assert_eq!(world.sizes(), [0, 4]);
    assert_eq!(world.deployment.annotation(facts::REVISION), Some("2"));
    world.spec().template = template("v1");
    world.roll_out();
    assert_eq!(world.sizes(), [4, 0]);
    assert_eq!(world.deployment.annotation(facts::REVISION), Some("3"));
    assert_eq!(world.sets[0].annotation(facts::HISTORY), Some("1"));
}

#[test]
fn a_broken_template_keeps_the_minimum_available_and_times_out() {
    let mut world = World::new(4, IntOrString::Int(1), IntOrString::Int(1));
    world.roll_out();
    world.spec().template = template("broken");
    for _ in 0..20 {
        world.step();
        let broken = world.sets.get(1).map(|s| s.nm().to_owned());
        world.pods_settle(broken.as_deref());
        let available: i32 = world.sets.iter().map(|s| facts::available(s)).sum();
        assert!(available >= 3, "{available} available");
    }
    assert_eq!(world.sizes(), [3, 2]);
    assert!(world.plan().requeue.is_some());
    world.now += SignedDuration::from_secs(601);
    world.step();
    let progressing = world.condition("Progressing");
    assert_eq!(progressing.reason.as_deref(), Some("ProgressDeadlineExceeded"));
    assert_eq!(progressing.status, "False");
    let text = format!("ReplicaSet \"{}\" has timed out progressing.", world.sets[1].nm());
    assert_eq!(progressing.message, Some(text));
    world.spec().template = template("v1");
    world.roll_out();
    assert_eq!(world.sizes(), [4, 0]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut world = World::new(10, IntOrString::Int(3), IntOrString::Int(2));
    world.roll_out();
    world.spec().template = template("broken");
    for _ in 0..20 {
        world.step();
        let broken = world.sets.get(1).map(|s| s.nm().to_owned());
        world.pods_settle(broken.as_deref());
    }
    assert_eq!(world.sizes(), [8, 5]);
    world.spec().replicas = Some(15);
    world.step();
    assert_eq!(world.sizes(), [11, 7], "18 Pods, shared as the documentation of rollouts does");
}

#[test]
fn a_paused_deployment_only_scales() {
    let mut world = World::new(2, percent("25%"), percent("25%"));
    world.roll_out();
    let spec = world.spec();
    spec.paused = Some(true);
    spec.template = template("v2");
    spec.replicas = Some(5);
    world.roll_out();
    assert_eq!(world.sizes(), [5]);
    assert_eq!(world.reason("Progressing"), "DeploymentPaused");
    world.spec().paused = Some(false);
    world.roll_out();
    assert_eq!(world.sizes(), [0, 5]);
    assert_eq!(world.reason("Progressing"), "NewReplicaSetAvailable");
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let mut world = World::new(3, percent("25%"), percent("25%"));
    world.spec().strategy =
        Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    world.roll_out();
    world.spec().template = template("v2");
    world.step();
    assert_eq!(world.sizes(), [0]);
    let waiting = plan(&Snapshot {
        deployment: &world.deployment,
        sets: &world.sets,
        old_pods_run: true,
        now: world.now,
    });
    assert!(waiting.steps.is_empty(), "{:?}", waiting.steps);
    world.roll_out();
    assert_eq!(world.sizes(), [0, 3]);
}

#[test]
fn history_beyond_the_limit_goes() {
    let mut world = World::new(1, IntOrString::Int(1), IntOrString::Int(0));
    for image in ["v1", "v2", "v3", "v4", "v5"] {
        world.spec().template = template(image);
        world.roll_out();
    }
    let revisions: Vec<i64> = world.sets.iter().map(|s| facts::revision(s)).collect();
    assert_eq!(revisions, [3, 4, 5]);
}

#[test]
fn events_tell_of_each_resize() {
    let mut world = World::new(1, IntOrString::Int(1), IntOrString::Int(0));
    world.roll_out();
    world.spec().template = template("v2");
    world.roll_out();
    let old = world.sets[0].nm();
    assert_eq!(world.events, [format!("Scaled down replica set {old} from 1 to 0")]);
}
