use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use machinery::codec::yaml;
use serde_json::{Value, json};

use super::plan::{Consumer, Seen, Share, admit, grace, message, plan, rank};
use super::signals::{Limit, Observation, Pressure, Signal, Threshold, thresholds};
use crate::cgroup::resources::is_critical;
use crate::config::KubeletConfiguration;

const MI: u64 = 1 << 20;

fn config(hard: Option<&[(&str, &str)]>) -> KubeletConfiguration {
    let own = |(signal, limit): &(&str, &str)| ((*signal).to_owned(), (*limit).to_owned());
    KubeletConfiguration {
        eviction_hard: hard.map(|all| all.iter().map(own).collect::<BTreeMap<_, _>>()),
        ..KubeletConfiguration::default()
    }
}

fn hard(signal: Signal, limit: Limit) -> Threshold {
    Threshold { signal, limit, grace: Duration::ZERO, reclaim: None }
}

fn disk(available: u64) -> Vec<Observation> {
    vec![Observation { signal: Signal::NodefsAvailable, available, capacity: 1000 * MI }]
}

#[test]
fn thresholds_are_upstreams_unless_told_otherwise() {
    let names: Vec<_> =
        thresholds(&config(None)).unwrap().iter().map(|t| t.signal.name()).collect();
    assert_eq!(
        names,
        [
            "memory.available",
            "nodefs.available",
            "nodefs.inodesFree",
            "imagefs.available",
            "imagefs.inodesFree"
        ]
    );
    let own = config(Some(&[
        ("nodefs.available", "0%"),
        ("imagefs.available", "100%"),
        ("memory.available", "1Gi"),
        ("pid.available", "2.5%"),
    ]));
    assert_eq!(
        thresholds(&own).unwrap(),
        [
            hard(Signal::MemoryAvailable, Limit::Amount(1024 * MI)),
            hard(Signal::PidAvailable, Limit::Percent(2.5)),
        ]
    );
}

#[test]
fn a_pressure_outlasts_what_was_observed_by_the_transition_period() {
    let limits = thresholds(&config(None)).unwrap();
    let mut seen = Seen::default();
    let mut round = |available: u64, second: i64| {
        let now = Timestamp::from_second(second).unwrap();
        let plan = plan(&limits, &disk(available), &mut seen, Duration::from_secs(30), now);
        (plan.pressures, plan.reclaim.map(|threshold| threshold.signal))
    };
    assert_eq!(round(100 * MI, 0), (vec![], None), "a tenth is enough");
    let short = (vec![Pressure::Disk], Some(Signal::NodefsAvailable));
    assert_eq!(round(100 * MI - 1, 10), short);
    assert_eq!(round(900 * MI, 20), (vec![Pressure::Disk], None));
    assert_eq!(round(99 * MI, 30), short);
    assert_eq!(round(900 * MI, 59), (vec![Pressure::Disk], None));
    assert_eq!(round(900 * MI, 60), (vec![], None));
}

fn soft(text: &str) -> KubeletConfiguration {
    yaml::from_str(&format!("{{evictionHard: {{}}, {text}}}")).unwrap()
}

#[test]
fn soft_thresholds_wait_and_are_told_of_meanwhile() {
    let config = soft(
        "evictionSoft: {nodefs.available: 20%}, evictionSoftGracePeriod: {nodefs.available: 1m30s}",
    );
    let mut limits = thresholds(&config).unwrap();
    assert!(limits[0].is_soft() && limits[0].grace == Duration::from_secs(90));
    limits.insert(0, hard(Signal::NodefsAvailable, Limit::Percent(10.0)));
    let mut seen = Seen::default();
    let mut round = |available: u64, second: i64| {
        let now = Timestamp::from_second(second).unwrap();
        let plan = plan(&limits, &disk(available * MI), &mut seen, Duration::ZERO, now);
        (plan.pressures.len(), plan.reclaim.map(|threshold| threshold.is_soft()))
    };
    assert_eq!(round(200, 0), (0, None));
    assert_eq!(round(199, 10), (1, None));
    assert_eq!(round(199, 99), (1, None));
    assert_eq!(round(199, 100), (1, Some(true)));
    // What is over begins anew, and what is urgent does not wait.
    assert_eq!(round(200, 110), (0, None));
    assert_eq!(round(199, 120), (1, None));
    assert_eq!(round(99, 130), (1, Some(false)));
    assert_eq!(round(199, 220), (1, Some(true)));
}

#[test]
fn what_was_begun_goes_on_until_as_much_is_won_back_as_is_wanted() {
    let config = soft(
        "evictionSoft: {nodefs.available: 200Mi}, evictionSoftGracePeriod: {nodefs.available: 10s}, \
         evictionMinimumReclaim: {nodefs.available: 10%, pid.available: '0'}",
    );
    let limits = thresholds(&config).unwrap();
    assert_eq!(limits[0].reclaim, Some(Limit::Percent(10.0)));
    let mut seen = Seen::default();
    let mut round = |available: u64, second: i64| {
        let now = Timestamp::from_second(second).unwrap();
        let plan = plan(&limits, &disk(available * MI), &mut seen, Duration::ZERO, now);
        (plan.pressures.len(), plan.reclaim.is_some())
    };
    assert_eq!(round(250, 0), (0, false));
    // Nothing is won back that nobody began to win back.
    assert_eq!(round(199, 10), (1, false));
    assert_eq!(round(250, 15), (0, false));
    assert_eq!(round(199, 20), (1, false));
    assert_eq!(round(199, 30), (1, true));
    assert_eq!(round(200, 31), (1, true));
    assert_eq!(round(299, 32), (1, true));
    assert_eq!(round(300, 33), (0, false));
    assert_eq!(round(299, 34), (0, false));
}

#[test]
fn a_soft_eviction_leaves_pods_the_time_they_ask_for_up_to_a_limit() {
    let most = Duration::from_secs(60);
    let at_once = hard(Signal::MemoryAvailable, Limit::Amount(1));
    let soft = Threshold { grace: most, ..at_once };
    for (own, threshold, wanted) in [
        (json!(30), &soft, 30),
        (json!(300), &soft, 60),
        (Value::Null, &soft, 60),
        (json!(30), &at_once, 1),
    ] {
        let pod = pod(json!({"containers": [], "terminationGracePeriodSeconds": own}));
        assert_eq!(grace(threshold, &pod, most).as_secs(), wanted, "{own}");
    }
}

#[test]
fn thresholds_that_make_no_sense_are_told() {
    for (text, wanted) in [
        (
            "evictionSoft: {memory.available: 1Gi}",
            "grace period must be specified for the soft eviction threshold memory.available",
        ),
        (
            "evictionSoftGracePeriod: {memory.available: 0s}",
            "invalid eviction grace period specified: 0s, must be a positive value",
        ),
        ("evictionSoft: {memory.free: 1Gi}", "unsupported eviction signal memory.free"),
        (
            "evictionSoft: {pid.available: '-1'}, evictionSoftGracePeriod: {pid.available: 1s}",
            "invalid eviction threshold \"-1\" of pid.available",
        ),
        (
            "evictionSoft: {pid.available: '101%'}, evictionSoftGracePeriod: {pid.available: 1s}",
            "invalid eviction threshold \"101%\" of pid.available",
        ),
        (
            "evictionMinimumReclaim: {pid.available: '-1'}",
            "negative eviction minimum reclaim specified for pid.available",
        ),
        (
            "evictionMinimumReclaim: {pid.available: 0%}",
            "eviction percentage minimum reclaim pid.available must be positive: 0%",
        ),
        ("evictionMinimumReclaim: {pid.free: '1'}", "unsupported eviction signal pid.free"),
    ] {
        assert_eq!(thresholds(&soft(text)).unwrap_err().to_string(), wanted);
    }
}

#[test]
fn memory_is_won_back_before_disk() {
    let mut all = disk(0);
    all.push(Observation { signal: Signal::MemoryAvailable, available: MI, capacity: 100 * MI });
    let now = Timestamp::UNIX_EPOCH;
    let limits = thresholds(&config(None)).unwrap();
    let plan = plan(&limits, &all, &mut Seen::default(), Duration::ZERO, now);
    assert_eq!(plan.pressures, [Pressure::Memory, Pressure::Disk]);
    assert_eq!(plan.reclaim.map(|threshold| threshold.signal), Some(Signal::MemoryAvailable));
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
}

#[test]
fn a_node_under_pressure_takes_what_it_can_bear() {
    let poor = pod(json!({"containers": [{"name": "c"}]}));
    let asking =
        pod(json!({"containers": [{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}]}));
    let tolerant = pod(json!({
        "containers": [{"name": "c"}],
        "tolerations": [{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}],
    }));
    let critical = pod(json!({"containers": [{"name": "c"}], "priority": 2_000_000_000}));
    assert!(is_critical(&critical) && !is_critical(&poor));
    let (memory, disk) = ([Pressure::Memory], [Pressure::Memory, Pressure::Disk]);
    for (pod, under_memory, under_both) in [
        (&poor, false, false),
        (&asking, true, false),
        (&tolerant, true, false),
        (&critical, true, true),
    ] {
        assert!(admit(pod, &[]).is_ok());
        assert_eq!(admit(pod, &memory).is_ok(), under_memory);
        assert_eq!(admit(pod, &disk).is_ok(), under_both);
    }
    let doom = admit(&poor, &disk).unwrap_err();
    assert_eq!(doom.reason, "Evicted");
    let wanted = "Pod was rejected: The node had condition: [MemoryPressure DiskPressure]. ";
    assert_eq!(doom.message, wanted);
}

#[test]
fn who_takes_more_than_asked_goes_first_then_the_less_important_then_the_greatest() {
    let consumer =
        |priority, used, requested| Consumer { priority, used, requested, shares: Vec::new() };
    let mut all = vec![
        ("modest", consumer(0, 5, 9)),
        ("important", consumer(10, 90, 0)),
        ("small", consumer(0, 3, 1)),
        ("large", consumer(0, 30, 20)),
    ];
    rank(&mut all, Signal::MemoryAvailable);
    let order: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    assert_eq!(order, ["large", "small", "important", "modest"]);
    rank(&mut all, Signal::PidAvailable);
    assert_eq!(all.last().map(|(name, _)| *name), Some("important"));
}

#[test]
fn an_evicted_pod_says_what_was_short_and_who_took_it() {
    let shares = [("greedy", 30 * MI, 10 * MI), ("modest", MI, 2 * MI)];
    let shares =
        shares.map(|(name, used, requested)| Share { container: name.to_owned(), used, requested });
    let consumer = Consumer { priority: 0, used: 0, requested: 0, shares: shares.to_vec() };
    let threshold = hard(Signal::NodefsAvailable, Limit::Percent(10.0));
    let text = message(&threshold, &disk(40 * MI)[0], &consumer);
    assert_eq!(
        text,
        "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: \
         40Mi. Container greedy was using 30Mi, request is 10Mi, has larger consumption of \
         ephemeral-storage. "
    );
}
