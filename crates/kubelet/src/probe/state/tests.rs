//! Verdicts over time.

use super::*;

fn probe(initial_delay: i32, failures: i32, successes: i32) -> Probe {
    Probe {
        initial_delay_seconds: Some(initial_delay),
        failure_threshold: Some(failures),
        success_threshold: Some(successes),
        ..Probe::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn target(id: &str) -> Target {
    let started_at = at(100);
    Target { id: id.into(), running: true, started_at, started: true, adopted: None }
}

fn failure() -> Outcome {
    Outcome::Failure("no".into())
}

/// Runs the outcomes (`+` success, `-` failure, `?` error) and prints the verdict after each.
fn run(kind: Kind, probe: &Probe, target: &Target, outcomes: &str) -> String {
    let mut worker = Worker::new(kind, probe);
    let mut out = String::new();
    for outcome in outcomes.chars() {
        if worker.tick(Some(target), at(1000)) == Step::Probe {
            let outcome = match outcome {
                '+' => Outcome::Success,
                '-' => failure(),
                _ => Outcome::Error("broken".into()),
            };
            worker.observe(&target.id, &outcome);
        }
        out.push(match worker.verdict(&target.id) {
            Some(true) => '+',
            Some(false) => '-',
            None => '.',
        });
    }
    out
}

#[test]
fn thresholds() {
    let check = |kind, failures, successes, outcomes: &str, verdicts: &str| {
        let probe = probe(0, failures, successes);
        assert_eq!(run(kind, &probe, &target("a"), outcomes), verdicts, "{kind:?} {outcomes}");
    };
    check(Kind::Readiness, 3, 1, "--+---+", "--+++-+");
    check(Kind::Readiness, 1, 2, "+++-++", "-++--+");
    check(Kind::Readiness, 1, 1, "+??-?", "+++--");
    check(Kind::Liveness, 3, 1, "--+---+++", "+++++----");
    let mut waiting = target("a");
    waiting.started = false;
    assert_eq!(run(Kind::Startup, &probe(0, 3, 1), &waiting, "--++"), "..++");
    assert_eq!(run(Kind::Startup, &probe(0, 3, 1), &waiting, "---+"), "..--");
}

#[test]
fn nothing_is_probed_too_early() {
    let mut worker = Worker::new(Kind::Readiness, &probe(10, 3, 1));
    let mut target = target("a");
    assert_eq!(worker.tick(None, at(100)), Step::Wait);
    assert_eq!(worker.tick(Some(&target), at(109)), Step::Wait);
    assert_eq!(worker.tick(Some(&target), at(110)), Step::Probe);
    target.started = false;
    assert_eq!(worker.tick(Some(&target), at(110)), Step::Wait);
    target.running = false;
    assert_eq!(worker.tick(Some(&target), at(110)), Step::Wait);
    assert_eq!(worker.verdict("a"), Some(false));
}

#[test]
fn a_new_container_starts_afresh_and_an_old_attempt_does_not_count() {
    let mut worker = Worker::new(Kind::Liveness, &probe(0, 1, 1));
    assert_eq!(worker.tick(Some(&target("a")), at(200)), Step::Probe);
    assert!(worker.observe("a", &failure()));
    assert_eq!(worker.tick(Some(&target("a")), at(210)), Step::Wait, "on hold");
    assert_eq!(worker.tick(Some(&target("b")), at(220)), Step::Probe);
    assert_eq!((worker.verdict("a"), worker.verdict("b")), (None, Some(true)));
    assert!(!worker.observe("a", &failure()));
    assert_eq!(worker.verdict("b"), Some(true));
}

#[test]
fn a_container_from_before_keeps_its_readiness_until_probed() {
    let mut worker = Worker::new(Kind::Readiness, &probe(0, 2, 1));
    let target = Target { adopted: Some(true), ..target("a") };
    worker.tick(Some(&target), at(200));
    assert_eq!(worker.verdict("a"), Some(true));
    worker.observe("a", &failure());
    assert_eq!(worker.verdict("a"), Some(true));
    worker.observe("a", &failure());
    assert_eq!(worker.verdict("a"), Some(false));
}
