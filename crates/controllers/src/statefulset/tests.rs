use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

struct World {
    set: StatefulSet,
    pods: Vec<Arc<Pod>>,
    update: String,
    made: usize,
}

impl World {
    fn new(replicas: i32, policy: &str) -> Self {
        let set = StatefulSet {
            metadata: ObjectMeta {
                name: Some("db".into()),
                namespace: Some("n".into()),
                uid: Some("db".into()),
                ..ObjectMeta::default()
            },
            spec: Some(StatefulSetSpec {
                replicas: Some(replicas),
                pod_management_policy: Some(policy.into()),
                service_name: Some("svc".into()),
                template: PodTemplateSpec {
                    spec: Some(PodSpec::default()),
                    ..PodTemplateSpec::default()
                },
                volume_claim_templates: Some(vec![PersistentVolumeClaim {
                    metadata: ObjectMeta { name: Some("data".into()), ..ObjectMeta::default() },
                    ..PersistentVolumeClaim::default()
                }]),
                ..StatefulSetSpec::default()
            }),
            status: None,
        };
        Self { set, pods: Vec::new(), update: "r1".into(), made: 0 }
    }

    fn snapshot(&self) -> Snapshot<'_> {
        let current = self.set.status.as_ref().and_then(|s| s.current_revision.as_deref());
        Snapshot {
            set: &self.set,
            pods: &self.pods,
            current: current.unwrap_or(&self.update),
            update: &self.update,
            now: Timestamp::from_second(1_000_000).unwrap(),
        }
    }

    /// Carries one plan out and tells it: `+2` for a creation, `-2` for a deletion.
    fn step(&mut self) -> Vec<String> {
        let steps = plan::plan(&self.snapshot());
        let mut told = Vec::new();
        for step in steps {
            match step {
                Step::Create { ordinal, revision } => {
                    told.push(format!("+{ordinal}"));
                    let template = self.set.spec.as_ref().unwrap().template.clone();
                    let mut pod = identity::pod(&self.set, &template, &revision, ordinal);
                    self.made += 1;
                    pod.metadata.uid = Some(self.made.to_string());
                    self.pods.push(Arc::new(pod));
                }
                Step::Delete(pod) => {
                    told.push(format!("-{}", identity::ordinal(&self.set, &pod).unwrap()));
                    self.pods.retain(|p| p.id() != pod.id());
                }
            }
        }
        self.set.status = Some(plan::status(&self.snapshot(), None));
        told
    }

    fn ready(&mut self) {
        for pod in &mut self.pods {
            Arc::make_mut(pod).status = Some(PodStatus {
                phase: Some("Running".into()),
                conditions: Some(vec![PodCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    ..PodCondition::default()
                }]),
                ..PodStatus::default()
            });
        }
    }

    fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..50 {
            self.ready();
            let told = self.step();
            if told.is_empty() {
                return all;
            }
            all.extend(told);
        }
        panic!("does not come to rest");
    }
}

#[test]
fn members_come_one_after_the_other_and_go_in_reverse() {
    let mut world = World::new(3, "OrderedReady");
    assert_eq!(world.step(), ["+0"]);
    assert!(world.step().is_empty(), "waits until the first is ready");
    assert_eq!(world.settle(), ["+1", "+2"]);
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    assert_eq!(world.settle(), ["-2", "-1"]);
}

#[test]
fn members_that_are_down_hold_back_those_that_are_to_go() {
    let mut world = World::new(3, "OrderedReady");
    world.settle();
    let down = |world: &mut World, members: &[usize]| {
        world.ready();
        for member in members {
            let status = Arc::make_mut(&mut world.pods[*member]).status.as_mut().unwrap();
            status.conditions = None;
        }
    };
    world.set.spec.as_mut().unwrap().replicas = Some(0);
    down(&mut world, &[0, 1, 2]);
    assert!(world.step().is_empty(), "the lowest is down, the highest is in its way");
    down(&mut world, &[2]);
    assert_eq!(world.step(), ["-2"], "the only one that is down may go");
    assert_eq!(world.settle(), ["-1", "-0"]);
}

#[test]
fn parallel_members_come_and_go_at_once() {
    let mut world = World::new(3, "Parallel");
    assert_eq!(world.step(), ["+0", "+1", "+2"]);
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    assert_eq!(world.step(), ["-2", "-1"]);
}

#[test]
fn an_update_goes_from_the_last_to_the_first() {
    let mut world = World::new(3, "OrderedReady");
    world.settle();
    assert_eq!(world.set.status.as_ref().unwrap().current_revision.as_deref(), Some("r1"));
    world.update = "r2".into();
    assert_eq!(world.settle(), ["-2", "+2", "-1", "+1", "-0", "+0"]);
    let status = world.set.status.clone().unwrap();
    assert_eq!(status.current_revision.as_deref(), Some("r2"));
    assert_eq!((status.updated_replicas, status.current_replicas), (Some(3), Some(3)));
}

#[test]
fn a_partition_holds_members_back_even_when_they_are_made_anew() {
    let mut world = World::new(3, "OrderedReady");
    world.set.spec.as_mut().unwrap().update_strategy = Some(StatefulSetUpdateStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateStatefulSetStrategy {
            partition: Some(2),
            max_unavailable: None,
        }),
    });
    world.settle();
    world.update = "r2".into();
    assert_eq!(world.settle(), ["-2", "+2"]);
    world.pods.retain(|p| p.nm() != "db-0");
    world.settle();
    let revision = |name: &str| {
        let pod = world.pods.iter().find(|p| p.nm() == name).unwrap();
        pod.label(REVISION_LABEL).unwrap().to_owned()
    };
    assert_eq!((revision("db-0"), revision("db-2")), ("r1".into(), "r2".into()));
}

#[test]
fn an_update_comes_to_members_that_are_made_anew() {
    let mut world = World::new(3, "OrderedReady");
    world.settle();
    world.update = "r2".into();
    // It went at once, and the status knows nothing of it.
    world.pods.retain(|p| p.nm() != "db-1");
    assert_eq!(world.step(), ["+1"]);
    let pod = world.pods.iter().find(|p| p.nm() == "db-1").unwrap();
    assert_eq!(pod.label(REVISION_LABEL), Some("r2"));
}

#[test]
fn members_have_names_and_storage_of_their_own() {
    let world = World::new(1, "OrderedReady");
    let template = PodTemplateSpec::default();
    let pod = identity::pod(&world.set, &template, "r1", 7);
    let spec = pod.spec.clone().unwrap();
    assert_eq!((pod.nm(), spec.hostname.as_deref()), ("db-7", Some("db-7")));
    assert_eq!(spec.subdomain.as_deref(), Some("svc"));
    let claim = spec.volumes.unwrap()[0].persistent_volume_claim.clone().unwrap();
    assert_eq!(claim.claim_name, "data-db-7");
    assert_eq!(identity::claims(&world.set, 7)[0].nm(), "data-db-7");
    assert_eq!(identity::ordinal(&world.set, &pod), Some(7));
}
