use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::apply;
use super::plan::{OF_CLAIMS, Step, step, uses};

fn metadata(deleted: bool, finalizers: &[&str]) -> ObjectMeta {
    let deleted = deleted.then_some("2026-01-01T00:00:00Z");
    serde_json::from_value(json!({"deletionTimestamp": deleted, "finalizers": finalizers})).unwrap()
}

#[test]
fn finalizers_come_at_once_and_go_when_nothing_is_used() {
    let check = |deleted, finalizers: &[&str], used, want| {
        let mut metadata = metadata(deleted, finalizers);
        let planned = step(&metadata, OF_CLAIMS, used);
        assert_eq!(planned, want, "{deleted} {finalizers:?} {used}");
        if let Some(planned) = planned {
            apply(&mut metadata, planned, OF_CLAIMS);
            assert_eq!(step(&metadata, OF_CLAIMS, used), None);
        }
    };
    check(false, &[], false, Some(Step::Protect));
    check(false, &[OF_CLAIMS], false, None);
    check(true, &["other", OF_CLAIMS], true, None);
    check(true, &["other", OF_CLAIMS], false, Some(Step::Release));
    check(true, &["other"], false, None);
}

#[test]
fn pods_on_nodes_use_their_claims() {
    let pod = |node: Option<&str>, grace: Option<i64>| -> Pod {
        let deleted = grace.map(|_| "2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": "p", "deletionTimestamp": deleted,
                "deletionGracePeriodSeconds": grace},
            "spec": {"nodeName": node, "containers": [], "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "own", "ephemeral": {}}, {"name": "x", "emptyDir": {}}]}}))
        .unwrap()
    };
    assert!(uses(&pod(Some("n"), None), "c"));
    assert!(uses(&pod(Some("n"), None), "p-own"));
    assert!(!uses(&pod(Some("n"), None), "other"));
    assert!(!uses(&pod(None, None), "c"));
    assert!(uses(&pod(Some("n"), Some(30)), "c"));
    assert!(!uses(&pod(Some("n"), Some(0)), "c"));
}
