use k8s_openapi::api::core::v1::{NodeCondition, NodeSpec, NodeStatus, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::eviction::{Fate, Seen, fate};
use super::health::*;
use super::*;
use crate::Config;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn node(ready: Option<&str>, heartbeat: i64) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some("w1".into());
    node.metadata.creation_timestamp = Some(Time(at(0)));
    node.spec = Some(NodeSpec::default());
    node.status = Some(NodeStatus {
        conditions: ready.map(|status| {
            vec![NodeCondition {
                type_: "Ready".into(),
                status: status.into(),
                last_heartbeat_time: Some(Time(at(heartbeat))),
                ..NodeCondition::default()
            }]
        }),
        ..NodeStatus::default()
    });
    node
}

const GRACE: SignedDuration = SignedDuration::from_secs(50);
const STARTUP: SignedDuration = SignedDuration::from_secs(60);

#[test]
fn a_lease_or_a_heartbeat_is_a_sign_of_life() {
    let n = node(Some("True"), 0);
    let first = observe(&n, Some(at(0)), None, at(0));
    let renewed = observe(&n, Some(at(10)), Some(&first), at(11));
    assert_eq!(renewed.seen, at(11));
    let quiet = observe(&n, Some(at(10)), Some(&renewed), at(40));
    assert_eq!(quiet.seen, at(11));
    let beat = observe(&node(Some("True"), 30), Some(at(10)), Some(&quiet), at(41));
    assert_eq!(beat.seen, at(41));
    assert!(!is_silent(&n, &quiet, GRACE, STARTUP, at(61)));
    assert!(is_silent(&n, &quiet, GRACE, STARTUP, at(62)));
}

#[test]
fn a_clock_that_is_set_silences_nobody() {
    let n = node(Some("True"), 0);
    let first = observe(&n, Some(at(100)), None, at(0));
    // The controller's clock goes forward by a day: its steady one does not.
    let day = Now { steady: at(20), wall: at(86_400) };
    let same = observe(&n, Some(at(100)), Some(&first), day);
    assert!(!is_silent(&n, &same, GRACE, STARTUP, day.steady));
    // The node's goes back: what it renews is a sign of life all the same.
    let back = observe(&n, Some(at(50)), Some(&same), Now { steady: at(40), wall: at(40) });
    assert_eq!(back.seen, at(40));
    // A node that never reported is as old as the objects' clock says.
    let mute = observe(&node(None, 0), None, None, Now { steady: at(1000), wall: at(30) });
    assert_eq!(mute.seen, at(970));
}

#[test]
fn a_silent_node_becomes_unknown_once() {
    let n = node(Some("True"), 0);
    let conditions = unknown_conditions(&n, at(60)).unwrap();
    assert_eq!(conditions.len(), 4);
    let ready = &conditions[0];
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref(), ready.message.as_deref()),
        ("Unknown", Some("NodeStatusUnknown"), Some("Kubelet stopped posting node status."))
    );
    assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
    let mut unknown = n;
    unknown.status.as_mut().unwrap().conditions = Some(conditions);
    assert!(unknown_conditions(&unknown, at(65)).is_none());
}

#[test]
fn a_node_that_never_reports_has_its_startup_grace() {
    let n = node(None, 0);
    let sign = observe(&n, None, None, at(30));
    assert!(!is_silent(&n, &sign, GRACE, STARTUP, at(60)));
    assert!(is_silent(&n, &sign, GRACE, STARTUP, at(61)));
}

fn texts(node: &Node) -> Vec<String> {
    let taints = node.spec.as_ref().unwrap().taints.iter().flatten();
    taints
        .map(|t| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect))
        .collect()
}

fn apply(node: &mut Node, evict: bool) -> Vec<String> {
    if let Some(wanted) = taints::plan(node, evict, at(0)) {
        node.spec.as_mut().unwrap().taints = Some(wanted);
    }
    assert!(taints::plan(node, evict, at(1)).is_none(), "plan after execute is empty");
    texts(node)
}

#[test]
fn taints_follow_conditions() {
    let mut n = node(Some("False"), 0);
    assert_eq!(apply(&mut n, false), ["not-ready:NoSchedule"]);
    assert!(taints::wants_eviction(&n));
    assert_eq!(apply(&mut n, true), ["not-ready:NoSchedule", "not-ready:NoExecute"]);
    assert!(!taints::wants_eviction(&n));
    let condition = &mut n.status.as_mut().unwrap().conditions.as_mut().unwrap()[0];
    condition.status = "Unknown".into();
    assert_eq!(apply(&mut n, false), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    n.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "True".into();
    n.spec.as_mut().unwrap().unschedulable = Some(true);
    assert_eq!(apply(&mut n, false), ["unschedulable:NoSchedule"]);
}

#[test]
fn taints_of_others_stay() {
    let mut n = node(Some("True"), 0);
    n.spec.as_mut().unwrap().taints = Some(vec![Taint {
        key: "node-role.kubernetes.io/control-plane".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    }]);
    assert!(taints::plan(&n, true, at(0)).is_none());
}

#[test]
fn evictions_slow_down_when_a_zone_is_down() {
    let config = Config::default();
    let nodes = |ready: usize, down: usize| -> Vec<Node> {
        let up = (0..ready).map(|_| node(Some("True"), 0));
        up.chain((0..down).map(|_| node(Some("Unknown"), 0))).collect()
    };
    let rate = |ready, down| zones::rates(&nodes(ready, down), &config)["/"];
    assert!((rate(2, 1) - 0.1).abs() < 1e-9);
    assert!(rate(1, 3).abs() < 1e-9, "small and mostly down");
    assert!((rate(20, 40) - 0.01).abs() < 1e-9, "large and mostly down");
    assert!(rate(0, 3).abs() < 1e-9, "all down");
    let mut limiter = Limiter::default();
    assert!(limiter.admit("z", 0.1, at(0)));
    assert!(!limiter.admit("z", 0.1, at(9)));
    assert!(limiter.admit("z", 0.1, at(10)));
}

#[test]
fn pods_leave_when_their_patience_ends() {
    let taint = Taint {
        key: taints::UNREACHABLE.into(),
        effect: taints::NO_EXECUTE.into(),
        time_added: Some(Time(at(0))),
        value: None,
    };
    let pod = |seconds: Option<Option<i64>>| Pod {
        spec: Some(PodSpec {
            tolerations: seconds.map(|toleration_seconds| {
                vec![Toleration {
                    key: Some(taints::UNREACHABLE.into()),
                    operator: Some("Exists".into()),
                    effect: Some(taints::NO_EXECUTE.into()),
                    toleration_seconds,
                    value: None,
                }]
            }),
            ..PodSpec::default()
        }),
        ..Pod::default()
    };
    let taints = [taint];
    assert_eq!(fate(&pod(None), &taints, at(5)), Fate::LeavesAt(at(5)));
    assert_eq!(fate(&pod(Some(Some(300))), &taints, at(5)), Fate::LeavesAt(at(300)));
    assert_eq!(fate(&pod(Some(None)), &taints, at(5)), Fate::Stays);
    assert_eq!(fate(&pod(None), &[], at(5)), Fate::Stays);

    // One that does not say when it was added counts from when it was first seen.
    let untimed = [Taint { time_added: None, ..taints[0].clone() }];
    let (mut seen, key, patient) = (Seen::default(), Key::new("n", "p"), pod(Some(Some(5))));
    for now in [1, 3, 6] {
        let first = seen.note(&key, &patient, at(now));
        assert_eq!(fate(&patient, &untimed, first), Fate::LeavesAt(at(6)));
    }
    let mut another = patient.clone();
    another.metadata.uid = Some("another".into());
    assert_eq!(seen.note(&key, &another, at(7)), at(7));
    seen.forget(&key);
    assert_eq!(seen.note(&key, &another, at(9)), at(9));
}
