//! What is found out about servers, and how it is said.

use super::*;

fn backend() -> Backend {
    Backend::of(&json!({"spec": {"group": "a.b", "version": "v1", "groupPriorityMinimum": 1,
        "versionPriority": 1, "service": {"namespace": "n", "name": "s", "port": 443}}}))
    .expect("it leads elsewhere")
}

#[test]
fn what_lacks_on_the_way() {
    let check = |service: Value, slices: Value, expected: Option<(&str, &str)>| {
        let service = Some(service).filter(|service| !service.is_null());
        let slices = slices.as_array().cloned().unwrap_or_default();
        let found = missing(&backend(), &Objects { service, slices });
        let found = found.as_ref().map(|found| (found.reason, found.message.as_str()));
        assert_eq!(found, expected);
    };
    let none = || json!([]);
    check(Value::Null, none(), Some(("ServiceNotFound", "service/s in \"n\" is not present")));
    let service = |port: u16| json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": port}]}});
    check(
        service(8443),
        none(),
        Some(("ServicePortError", "service/s in \"n\" is not listening on port 443")),
    );
    check(
        service(443),
        none(),
        Some(("EndpointsNotFound", "cannot find endpointslices for service/s in \"n\"")),
    );
    let slice = |ready: Value, port: &str| {
        json!([{"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
            "ports": [{"name": port, "port": 8443}]}])
    };
    let missing = Some((
        "MissingEndpoints",
        "endpointslices for service/s in \"n\" have no addresses with port name \"https\"",
    ));
    check(service(443), slice(json!(false), "https"), missing);
    check(service(443), slice(json!(true), "http"), missing);
    check(service(443), slice(json!(true), "https"), None);
    check(service(443), slice(Value::Null, "https"), None);
    check(json!({"spec": {"type": "ExternalName", "externalName": "x"}}), none(), None);
}

#[test]
fn the_condition_changes_when_there_is_news() {
    let finding = |is_available: bool, message: &str| Finding {
        is_available,
        reason: "R",
        message: message.to_owned(),
    };
    let told = with_condition(json!({}), &finding(false, "a"), "1").expect("news");
    assert_eq!(
        told["status"]["conditions"],
        json!([{"type": "Available", "status": "False", "lastTransitionTime": "1",
            "reason": "R", "message": "a"}])
    );
    assert_eq!(with_condition(told.clone(), &finding(false, "a"), "2"), None);
    let other = with_condition(told, &finding(false, "b"), "2").expect("another message");
    assert_eq!(other["status"]["conditions"][0]["lastTransitionTime"], "1");
    let better = with_condition(other, &finding(true, "b"), "3").expect("another status");
    assert_eq!(better["status"]["conditions"][0]["lastTransitionTime"], "3");
}

#[test]
fn legacy_lists_become_entries_of_aggregated_discovery() {
    let list = json!({"resources": [
        {"name": "things/status", "singularName": "", "namespaced": true, "kind": "Thing",
            "verbs": ["get"]},
        {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing",
            "verbs": ["get", "list"], "shortNames": ["th"]},
        {"name": "things/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling",
            "version": "v1", "verbs": ["get"]},
    ]});
    let kind = |kind: &str| json!({"group": "a.b", "version": "v1", "kind": kind});
    assert_eq!(
        resources(&list, &backend()),
        json!([{
            "resource": "things", "responseKind": kind("Thing"), "scope": "Namespaced",
            "singularResource": "thing", "verbs": ["get", "list"], "shortNames": ["th"],
            "subresources": [
                {"subresource": "status", "responseKind": kind("Thing"), "verbs": ["get"]},
                {"subresource": "scale", "verbs": ["get"],
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}},
            ],
        }])
    );
}
