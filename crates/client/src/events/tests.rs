use super::*;

fn occurrence(message: &str, second: i64) -> Occurrence {
    Occurrence {
        source: EventSource { component: Some("test".into()), host: None },
        regarding: ObjectReference {
            kind: Some("Pod".into()),
            namespace: Some("n".into()),
            name: Some("p".into()),
            uid: Some("u".into()),
            ..ObjectReference::default()
        },
        event_type: EventType::Normal,
        reason: "Testing".into(),
        message: message.into(),
        at: Timestamp::from_second(second).unwrap(),
    }
}

fn record(correlator: &mut Correlator, message: &str, second: i64) -> Outcome {
    let outcome = correlator.correlate(&occurrence(message, second));
    if let Outcome::Create { event, .. } | Outcome::Count { event, .. } = &outcome {
        let event = event.clone();
        correlator.written(&outcome, &event);
    }
    outcome
}

#[test]
fn equal_events_are_counted() {
    let mut correlator = Correlator::default();
    let Outcome::Create { event, .. } = record(&mut correlator, "m", 1) else { panic!() };
    assert_eq!((event.count, event.message.as_deref()), (Some(1), Some("m")));
    let Outcome::Count { name, patch, .. } = record(&mut correlator, "m", 2) else { panic!() };
    assert_eq!(Some(name), event.metadata.name);
    assert_eq!(patch["count"], 2);
    assert_eq!(patch["lastTimestamp"], "1970-01-01T00:00:02Z");
}

#[test]
fn the_tenth_different_message_is_combined() {
    let mut correlator = Correlator::default();
    for n in 0..9 {
        let outcome = record(&mut correlator, &format!("m{n}"), n);
        assert!(matches!(outcome, Outcome::Create { .. }), "{n}");
    }
    let Outcome::Create { event, .. } = record(&mut correlator, "m9", 9) else { panic!() };
    assert_eq!(event.message.as_deref(), Some("(combined from similar events): m9"));
    let Outcome::Count { patch, .. } = record(&mut correlator, "m10", 10) else { panic!() };
    assert_eq!(patch["message"], "(combined from similar events): m10");
    let later = 10 + 11 * 60;
    assert!(matches!(record(&mut correlator, "m11", later), Outcome::Create { .. }));
}

#[test]
fn a_source_may_not_flood() {
    let mut correlator = Correlator::default();
    for n in 0..25 {
        assert!(!matches!(record(&mut correlator, "m", 0), Outcome::Drop), "{n}");
    }
    assert!(matches!(record(&mut correlator, "m", 299), Outcome::Drop));
    assert!(matches!(record(&mut correlator, "m", 301), Outcome::Count { .. }));
    assert!(matches!(record(&mut correlator, "m", 302), Outcome::Drop));
}
