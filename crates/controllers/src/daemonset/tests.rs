use k8s_openapi::api::apps::v1::{DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{
    NodeSpec, PodCondition, PodSpec, PodStatus, PodTemplateSpec, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::placement::{fit, node_of, pod_for, tolerations};
use super::*;
use crate::history::Current;

struct World {
    set: DaemonSet,
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    made: usize,
}

fn node(name: &str, taint: Option<(&str, &str)>) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.name = Some(name.into());
    node.metadata.labels = Some([("disk".to_owned(), "ssd".to_owned())].into());
    node.spec = Some(NodeSpec {
        taints: taint.map(|(key, effect)| {
            vec![Taint { key: key.into(), effect: effect.into(), ..Taint::default() }]
        }),
        ..NodeSpec::default()
    });
    Arc::new(node)
}

impl World {
    fn new(nodes: usize) -> Self {
        let set = DaemonSet {
            metadata: ObjectMeta {
                name: Some("ds".into()),
                namespace: Some("n".into()),
                uid: Some("ds".into()),
                generation: Some(1),
                ..ObjectMeta::default()
            },
            spec: Some(DaemonSetSpec {
                template: PodTemplateSpec {
                    spec: Some(PodSpec::default()),
                    ..PodTemplateSpec::default()
                },
                ..DaemonSetSpec::default()
            }),
            status: None,
        };
        let nodes = (1..=nodes).map(|n| node(&format!("w{n}"), None)).collect();
        Self { set, nodes, pods: Vec::new(), made: 0 }
    }

    fn template(&mut self) -> &mut PodSpec {
        self.set.spec.as_mut().unwrap().template.spec.as_mut().unwrap()
    }

    fn rolling(&mut self, unavailable: i32, surge: i32) {
        self.set.spec.as_mut().unwrap().update_strategy = Some(DaemonSetUpdateStrategy {
            type_: Some("RollingUpdate".into()),
            rolling_update: Some(RollingUpdateDaemonSet {
                max_surge: Some(IntOrString::Int(surge)),
                max_unavailable: Some(IntOrString::Int(unavailable)),
            }),
        });
    }

    fn snapshot<'a>(&'a self, hash: &'a str) -> Snapshot<'a> {
        Snapshot {
            set: &self.set,
            pods: &self.pods,
            nodes: &self.nodes,
            hash,
            now: Timestamp::from_second(1_000_000).unwrap(),
        }
    }

    /// Carries one plan out; new daemons are ready at once. Tells creations and deletions.
    fn sync(&mut self, hash: &str) -> (usize, usize) {
        let plan = plan::plan(&self.snapshot(hash));
        let counts = (plan.create.len(), plan.delete.len());
        self.pods.retain(|pod| !plan.delete.iter().any(|r| r.pod.nm() == pod.nm()));
        for node in plan.create {
            self.made += 1;
            let mut pod = pod_for(&self.set, hash, &node);
            pod.metadata.name = Some(format!("ds-{}", self.made));
            pod.status = Some(PodStatus {
                phase: Some("Running".into()),
                conditions: Some(vec![PodCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    ..PodCondition::default()
                }]),
                ..PodStatus::default()
            });
            self.pods.push(Arc::new(pod));
        }
        counts
    }

    fn settle(&mut self, hash: &str) {
        for _ in 0..50 {
            if self.sync(hash) == (0, 0) {
                return;
            }
        }
        panic!("does not come to rest");
    }

    fn nodes_of(&self, hash: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .pods
            .iter()
            .filter(|p| p.label(REVISION_LABEL) == Some(hash))
            .filter_map(|p| node_of(p))
            .collect();
        names.sort_unstable();
        names
    }
}

#[test]
fn every_node_gets_one_and_keeps_it() {
    let mut world = World::new(3);
    assert_eq!(world.sync("h1"), (3, 0));
    assert_eq!(world.sync("h1"), (0, 0), "plan after execute is empty");
    assert_eq!(world.nodes_of("h1"), ["w1", "w2", "w3"]);
    let status = plan::status(&world.snapshot("h1"));
    assert_eq!((status.desired_number_scheduled, status.number_ready), (3, 3));
    assert_eq!((status.number_available, status.number_unavailable), (Some(3), None));
    world.nodes.remove(0);
    assert_eq!(world.sync("h1"), (0, 1), "the daemon of a lost node goes");
}

#[test]
fn nodes_are_chosen_by_selector_and_taints() {
    let mut world = World::new(1);
    assert!(fit(&world.set, &world.nodes[0]).should_run);
    world.template().node_selector = Some([("disk".to_owned(), "hdd".to_owned())].into());
    assert!(!fit(&world.set, &world.nodes[0]).may_stay);
    world.template().node_selector = None;
    let no_schedule = node("w", Some(("k", "NoSchedule")));
    let fit_of = |world: &World, node: &Node| {
        let fit = fit(&world.set, node);
        (fit.should_run, fit.may_stay)
    };
    assert_eq!(fit_of(&world, &no_schedule), (false, true));
    assert_eq!(fit_of(&world, &node("w", Some(("k", "NoExecute")))), (false, false));
    let not_ready = node("w", Some(("node.kubernetes.io/not-ready", "NoExecute")));
    assert_eq!(fit_of(&world, &not_ready), (true, true));
    world.template().tolerations =
        Some(vec![Toleration { operator: Some("Exists".into()), ..Toleration::default() }]);
    assert_eq!(fit_of(&world, &no_schedule), (true, true));
}

#[test]
fn daemons_tolerate_troubles_of_their_node() {
    let plain = tolerations(&PodSpec::default()).len();
    let host = PodSpec { host_network: Some(true), ..PodSpec::default() };
    assert_eq!((plain, tolerations(&host).len()), (6, 7));
}

#[test]
fn an_update_replaces_one_after_the_other() {
    let mut world = World::new(3);
    world.rolling(1, 0);
    world.settle("h1");
    assert_eq!(world.sync("h2"), (0, 1));
    assert_eq!(world.pods.len(), 2);
    assert_eq!(world.sync("h2"), (1, 0));
    world.settle("h2");
    assert_eq!(world.nodes_of("h2"), ["w1", "w2", "w3"]);
}

#[test]
fn a_surge_starts_the_new_one_first() {
    let mut world = World::new(3);
    world.rolling(0, 1);
    world.settle("h1");
    assert_eq!(world.sync("h2"), (1, 0));
    assert_eq!(world.pods.len(), 4);
    assert_eq!(world.sync("h2"), (1, 1));
    world.settle("h2");
    assert_eq!((world.pods.len(), world.nodes_of("h2").len()), (3, 3));
}

#[test]
fn on_delete_waits_for_the_user() {
    let mut world = World::new(2);
    world.set.spec.as_mut().unwrap().update_strategy =
        Some(DaemonSetUpdateStrategy { type_: Some("OnDelete".into()), rolling_update: None });
    world.settle("h1");
    assert_eq!(world.sync("h2"), (0, 0));
    world.pods.remove(0);
    assert_eq!(world.sync("h2"), (1, 0));
}

#[test]
fn failed_daemons_are_replaced_and_told_of() {
    let mut world = World::new(1);
    world.settle("h1");
    Arc::make_mut(&mut world.pods[0]).status.as_mut().unwrap().phase = Some("Failed".into());
    let plan = plan::plan(&world.snapshot("h1"));
    let (reason, text) = plan.delete[0].event.clone().unwrap();
    assert_eq!(reason, "FailedDaemonPod");
    assert_eq!(text, "Found failed daemon pod n/ds-1 on node w1, will try to kill it");
}

fn current(world: &World, history: &[Arc<ControllerRevision>]) -> Current {
    let template = &world.set.spec.as_ref().unwrap().template;
    history::current(&world.set, template, None, history)
}

#[test]
fn revisions_are_found_renumbered_and_dropped() {
    let mut world = World::new(0);
    let mut history: Vec<Arc<ControllerRevision>> = Vec::new();
    for image in ["a", "b", "c"] {
        world.template().hostname = Some(image.into());
        let Current::Create(revision) = current(&world, &history) else { panic!() };
        history.push(Arc::new(*revision));
        assert!(matches!(current(&world, &history), Current::Stored(_)));
    }
    assert_eq!(history.iter().map(|r| r.revision).collect::<Vec<_>>(), [1, 2, 3]);
    world.template().hostname = Some("a".into());
    let Current::Renumber(back) = current(&world, &history) else { panic!() };
    assert_eq!((back.nm(), back.revision), (history[0].nm(), 4));
    let live = std::collections::BTreeSet::new();
    let gone = history::surplus(Some(1), &history, &[history[0].nm()], &live);
    assert_eq!(gone, [history[1].nm()]);
}
