use super::*;

fn config() -> LeaderConfig {
    LeaderConfig::new("kube-test", "me")
}

fn record(holder: &str) -> Record {
    Record { holder: holder.into(), duration_seconds: 15, transitions: 3, ..Record::default() }
}

#[test]
fn first_candidate_creates_the_lease_without_transition() {
    let now = Timestamp::UNIX_EPOCH;
    let Verdict::Take(taken) = decide(None, Duration::ZERO, &config(), now) else {
        panic!("must take a lease that does not exist")
    };
    assert_eq!((taken.holder.as_str(), taken.transitions), ("me", 0));
    assert_eq!(taken.duration_seconds, 15);
}

#[test]
fn another_holder_is_respected_until_silent_for_the_lease_duration() {
    let now = Timestamp::UNIX_EPOCH;
    let held = record("you");
    assert_eq!(decide(Some(&held), Duration::from_secs(14), &config(), now), Verdict::Held);
    let Verdict::Take(taken) = decide(Some(&held), Duration::from_secs(15), &config(), now) else {
        panic!("must take over")
    };
    assert_eq!((taken.holder.as_str(), taken.transitions), ("me", 4));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let Verdict::Take(taken) =
        decide(Some(&record("")), Duration::ZERO, &config(), Timestamp::UNIX_EPOCH)
    else {
        panic!("must take a released lease")
    };
    assert_eq!(taken.transitions, 4);
}

#[test]
fn renewing_keeps_acquisition_time_and_transitions() {
    let acquired = Timestamp::UNIX_EPOCH;
    let now = Timestamp::from_second(100).unwrap();
    let mine = Record { acquired: Some(acquired), ..record("me") };
    let Verdict::Take(taken) = decide(Some(&mine), Duration::ZERO, &config(), now) else {
        panic!("must renew")
    };
    assert_eq!((taken.acquired, taken.renewed), (Some(acquired), Some(now)));
    assert_eq!(taken.transitions, 3);
}
