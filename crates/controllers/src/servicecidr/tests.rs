use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T00:01:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A protected range that was deleted at the given second of the minute before.
fn cidr(name: &str, ranges: &[&str], deleted: Option<u8>) -> ServiceCIDR {
    let mut object = json!({
        "metadata": {"name": name, "finalizers": [FINALIZER]},
        "spec": {"cidrs": ranges},
    });
    if let Some(second) = deleted {
        object["metadata"]["deletionTimestamp"] =
            Value::from(format!("2026-01-01T00:00:{second:02}Z"));
    }
    serde_json::from_value(object).unwrap()
}

fn check(object: &ServiceCIDR, others: &[ServiceCIDR], addresses: &[&str], want: &str) {
    let all: Vec<ServiceCIDR> = others.iter().chain([object]).cloned().collect();
    let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    let step = plan(object, all.iter(), addresses.iter().copied(), now());
    let found = match &step {
        Step::SetCondition(ready) => {
            format!("{} {}: {}", ready.status, ready.reason, ready.message)
        }
        Step::Wait(rest) => format!("wait {}", rest.as_secs()),
        other => format!("{other:?}"),
    };
    assert_eq!(found, want);
    let after = match step {
        Step::SetCondition(ready) => with_condition(object, ready, now()),
        Step::Wait(rest) => {
            let later = now() + rest;
            let all: Vec<ServiceCIDR> = others.iter().chain([object]).cloned().collect();
            let step = plan(object, all.iter(), std::iter::empty(), later);
            assert_eq!(step, Step::RemoveFinalizer);
            return;
        }
        _ => return,
    };
    let all: Vec<ServiceCIDR> = others.iter().chain([&after]).cloned().collect();
    assert_eq!(plan(&after, all.iter(), addresses.into_iter(), now()), Step::Done);
}

#[test]
fn ranges_are_protected_then_ready() {
    let mut fresh = cidr("a", &["10.0.0.0/24"], None);
    check(&fresh, &[], &["10.0.0.5"], "True : Kubernetes Service CIDR is ready");
    fresh.metadata.finalizers = None;
    check(&fresh, &[], &[], "AddFinalizer");
}

#[test]
fn ranges_go_when_no_address_depends_on_them() {
    let blocked = "False Terminating: There are still IPAddresses referencing the ServiceCIDR, \
                   please remove them or create a new ServiceCIDR";
    let going = cidr("a", &["10.0.0.0/24", "fd00::/112"], Some(10));
    check(&going, &[], &[], "RemoveFinalizer");
    check(&cidr("a", &["10.0.0.0/24"], Some(54)), &[], &[], "wait 4");
    check(&going, &[], &["10.0.0.5"], blocked);
    check(&going, &[], &["fd00::5"], blocked);
    check(&going, &[], &["10.0.1.5"], "RemoveFinalizer");
    // Another range holds the address, or the whole range.
    check(&going, &[cidr("b", &["10.0.0.0/29"], None)], &["10.0.0.5"], "RemoveFinalizer");
    check(&going, &[cidr("b", &["10.0.0.0/29"], None)], &["10.0.0.9"], blocked);
    let wider = cidr("b", &["10.0.0.0/16", "fd00::/64"], None);
    check(&going, &[wider], &["10.0.0.9", "fd00::5"], "RemoveFinalizer");
    let mut done = going;
    done.metadata.finalizers = Some(vec!["other".to_owned()]);
    check(&done, &[], &["10.0.0.5"], "Done");
}

#[test]
fn the_grace_period_is_ten_seconds() {
    let just = cidr("a", &["10.0.0.0/24"], Some(59));
    let step = plan(&just, [&just].into_iter(), std::iter::empty(), now());
    assert_eq!(step, Step::Wait(Duration::from_secs(9)));
}
