use k8s_openapi::api::core::v1::{PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{next_availability, observe, plan};
use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn desired(replicas: i32) -> Desired {
    Desired {
        replicas,
        min_ready_seconds: 0,
        selector: machinery::selector::LabelSelector::everything(),
        template: Default::default(),
        generation: 2,
        deleting: false,
    }
}

/// A Pod that became ready `ready` seconds ago.
fn pod(name: &str, node: &str, phase: &str, ready: Option<i64>) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.into());
    pod.metadata.uid = Some(name.into());
    pod.spec = Some(PodSpec { node_name: Some(node.into()), ..PodSpec::default() });
    pod.status = Some(PodStatus {
        phase: Some(phase.into()),
        conditions: ready.map(|ago| {
            vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Some(Time(Timestamp::from_second(1_000_000 - ago).unwrap())),
                ..PodCondition::default()
            }]
        }),
        ..PodStatus::default()
    });
    pod
}

fn arcs(pods: Vec<Pod>) -> Vec<Arc<Pod>> {
    pods.into_iter().map(Arc::new).collect()
}

fn first_victim(pods: Vec<Pod>) -> String {
    let pods = arcs(pods);
    let count = i32::try_from(pods.len()).unwrap();
    match plan(&desired(count - 1), &pods, &pods, now()) {
        Plan::Delete(victims) => victims[0].nm().to_owned(),
        other => panic!("expected a deletion, got {other:?}"),
    }
}

#[test]
fn as_many_as_desired_after_the_plan_is_carried_out() {
    let mut pods = arcs(vec![pod("a", "w1", "Running", Some(1))]);
    let Plan::Create(missing) = plan(&desired(3), &pods, &pods, now()) else { panic!() };
    assert_eq!(missing, 2);
    pods.extend(arcs(vec![pod("b", "", "Pending", None), pod("c", "", "Pending", None)]));
    assert_eq!(plan(&desired(3), &pods, &pods, now()), Plan::Nothing);
    let Plan::Delete(victims) = plan(&desired(1), &pods, &pods, now()) else { panic!() };
    pods.retain(|p| !victims.contains(p));
    assert_eq!(plan(&desired(1), &pods, &pods, now()), Plan::Nothing);
    assert_eq!(pods[0].nm(), "a", "the running one stays");
}

#[test]
fn a_deleted_set_does_nothing() {
    let desired = Desired { deleting: true, ..desired(3) };
    assert_eq!(plan(&desired, &[], &[], now()), Plan::Nothing);
}

#[test]
fn the_least_useful_pod_goes_first() {
    let healthy = || pod("healthy", "w1", "Running", Some(500));
    assert_eq!(first_victim(vec![healthy(), pod("unbound", "", "Pending", None)]), "unbound");
    assert_eq!(first_victim(vec![healthy(), pod("pending", "w1", "Pending", None)]), "pending");
    assert_eq!(first_victim(vec![healthy(), pod("unready", "w1", "Running", None)]), "unready");
    assert_eq!(first_victim(vec![healthy(), pod("young", "w1", "Running", Some(5))]), "young");
    let mut cheap = pod("cheap", "w1", "Running", Some(9000));
    cheap.metadata.annotations =
        Some([("controller.kubernetes.io/pod-deletion-cost".to_owned(), "-10".to_owned())].into());
    assert_eq!(first_victim(vec![healthy(), cheap]), "cheap");
    let crowd = vec![
        pod("alone", "w2", "Running", Some(5)),
        pod("one", "w1", "Running", Some(500)),
        pod("two", "w1", "Running", Some(500)),
    ];
    assert_ne!(first_victim(crowd), "alone");
}

#[test]
fn status_counts_and_the_failure_condition_comes_and_goes() {
    let pods = arcs(vec![
        pod("a", "w1", "Running", Some(100)),
        pod("b", "w1", "Running", Some(5)),
        pod("c", "w1", "Running", None),
    ]);
    let desired = Desired { min_ready_seconds: 10, ..desired(3) };
    let trouble = Trouble { reason: "FailedCreate", message: "quota".into() };
    let status = observe(&desired, &Observed::default(), &pods, 1, Some(&trouble), now());
    assert_eq!((status.replicas, status.ready, status.available), (3, 2, 1));
    assert_eq!((status.terminating, status.generation), (1, 2));
    assert_eq!(status.failure.as_ref().unwrap().reason, "FailedCreate");
    assert!(observe(&desired, &status, &pods, 1, None, now()).failure.is_none());
    assert_eq!(next_availability(&pods, 10, now()).unwrap().as_secs(), 5);
}

#[test]
fn status_survives_being_written_and_read() {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    let status = Observed { replicas: 3, ready: 2, generation: 7, ..Observed::default() };
    assert_eq!(ReplicaSet::default().with_status(&status).observed(), status);
}
