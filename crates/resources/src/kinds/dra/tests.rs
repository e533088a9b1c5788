use crate::checks::{
    check, check_below, check_default, check_status, check_update, check_warnings, created,
    status_updated, updated,
};

fn claim(devices: &str) -> String {
    format!(
        "{{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, spec: {{devices: {{{devices}}}}}}}"
    )
}

const ONE: &str = "requests: [{name: a, exactly: {deviceClassName: gpu}}]";
const NO_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

#[test]
fn requests() {
    let one = claim(ONE);
    check_default(
        &one,
        "/spec/devices/requests/0/exactly",
        "{deviceClassName: gpu, allocationMode: ExactCount, count: 1}",
    );
    check(&one, &[]);
    let requests = |list: &str, errors: &[&str]| {
        check_below(&claim(&format!("requests: [{list}]")), "spec.devices.requests", errors);
    };
    requests(
        "{name: a}, {name: a, exactly: {deviceClassName: '', allocationMode: All, count: 2}}",
        &[
            "[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "[1].exactly.deviceClassName: Required value",
            "[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            r#"[1]: Duplicate value: "a""#,
        ],
    );
    requests(
        "{name: A, exactly: {deviceClassName: c, allocationMode: X}, firstAvailable: [{name: b, deviceClassName: c}]}",
        &[
            &format!(r#"[0].name: Invalid value: "A": {LABEL}"#),
            "[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        ],
    );
    requests(
        "{name: a, firstAvailable: [{name: b, deviceClassName: c, count: -1}, {name: b, deviceClassName: c}]}",
        &[
            "[0].firstAvailable[0].count: Invalid value: -1: must be greater than zero",
            r#"[0].firstAvailable[1]: Duplicate value: "b""#,
        ],
    );
    let many = ["{name: b, deviceClassName: c}"; 9].join(", ");
    requests(
        &format!("{{name: a, firstAvailable: [{many}]}}"),
        &["[0].firstAvailable: Too many: 9: must have at most 8 items"],
    );
    let toleration = |toleration: &str, errors: &[&str]| {
        let request = format!("{{deviceClassName: c, tolerations: [{{{toleration}}}]}}");
        check_below(
            &claim(&format!("requests: [{{name: a, exactly: {request}}}]")),
            "spec.devices.requests[0].exactly.tolerations[0].",
            errors,
        );
    };
    toleration("value: v", &[]);
    toleration(
        "operator: Exists, value: v, effect: X",
        &[
            r#"value: Invalid value: "v": must be empty for operator `Exists`"#,
            r#"effect: Unsupported value: "X": supported values: "NoExecute", "NoSchedule", "None""#,
        ],
    );
    toleration(
        "operator: In",
        &[r#"operator: Unsupported value: "In": supported values: "Equal", "Exists""#],
    );
}

#[test]
fn constraints_and_configuration() {
    let below = |rest: &str, errors: &[&str]| {
        check_below(&claim(&format!("{ONE}, {rest}")), "spec.devices.", errors);
    };
    below(
        "constraints: [{requests: [a], matchAttribute: a.b/c}, {distinctAttribute: a.b/c}], config: [{requests: [a], opaque: {driver: a.b, parameters: {x: 1}}}]",
        &[],
    );
    below(
        "constraints: [{requests: [b, a, a, a/b/c]}, {matchAttribute: c}, {distinctAttribute: a/b/c}]",
        &[
            &format!(r#"constraints[0].requests[0]: Invalid value: "b": {NO_REQUEST}"#),
            &format!(r#"constraints[0].requests[3]: Invalid value: "a/b/c": {NO_REQUEST}"#),
            r#"constraints[0].requests[2]: Duplicate value: "a""#,
            "constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
            r#"constraints[1].matchAttribute: Invalid value: "c": a fully qualified name must be a domain and a name separated by a slash"#,
            r#"constraints[2].distinctAttribute: Invalid value: "a/b/c": must not contain more than one slash"#,
        ],
    );
    let long = "x".repeat(10 * 1024);
    below(
        &format!(
            "config: [{{}}, {{opaque: {{driver: '', parameters: [1]}}}}, {{opaque: {{driver: d, parameters: {{a: {long}}}}}}}, {{opaque: {{driver: d}}}}]"
        ),
        &[
            "config[0].opaque: Required value",
            "config[1].opaque.driver: Required value",
            r#"config[1].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object"#,
            "config[2].opaque.parameters: Too long: may not be more than 10240 bytes",
            "config[3].opaque.parameters: Required value",
        ],
    );
}

#[test]
fn claims_stay_as_they_are() {
    check_update(
        &claim(ONE),
        "{spec: {devices: {requests: [{name: b, exactly: {deviceClassName: gpu, selectors: [{cel: {expression: 'true'}}]}}]}}}",
        &[
            r#"spec: Invalid value: {"Devices":{"Requests":[{"Name":"b","Exactly":{"DeviceClassName":"gpu","Selectors":[{"CEL":{"Expression":"true"}}],"AllocationMode":"ExactCount","Count":1,"AdminAccess":null,"Tolerations":null,"Capacity":null},"FirstAvailable":null}],"Constraints":null,"Config":null}}: field is immutable"#,
        ],
    );
}

#[test]
fn selectors() {
    let selector = |expression: &str, errors: &[&str]| {
        let request =
            format!("{{deviceClassName: c, selectors: [{{cel: {{expression: {expression:?}}}}}]}}");
        check_below(
            &claim(&format!("requests: [{{name: a, exactly: {request}}}]")),
            "spec.devices.requests[0].exactly.selectors[0].cel.expression",
            errors,
        );
    };
    selector("device.driver == 'a.b' && device.attributes['a.b'].size > 3", &[]);
    selector("device.attributes['a.b'].healthy", &[]);
    selector("device.capacity['a.b'].memory.isGreaterThan(quantity('1Gi'))", &[]);
    selector("cel.bind(of, device.attributes['a.b'], of.x && of.y)", &[]);
    selector("device.attributes['a.b'].version.isGreaterThan(semver('1.0.0'))", &[]);
    selector("device.allowMultipleAllocations", &[]);
    selector(
        "device.driver",
        &[
            r#": Invalid value: "device.driver": must evaluate to bool or the unknown type, not string"#,
        ],
    );
    selector(
        "nothing",
        &[
            ": Invalid value: \"nothing\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing\n | ^",
        ],
    );
    selector(
        "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a != b || c != d))))",
        &[": Forbidden: too complex, exceeds cost limit"],
    );
    selector(&"x".repeat(10 * 1024 + 1), &[": Too long: may not be more than 10240 bytes"]);
    check(
        &claim("requests: [{name: a, exactly: {deviceClassName: c, selectors: [{}]}}]"),
        &["spec.devices.requests[0].exactly.selectors[0].cel: Required value"],
    );
}

#[test]
fn statuses_of_claims() {
    check_status(
        &claim(ONE),
        "{status: {reservedFor: [{resource: pods, name: p, uid: ''}, {resource: pods, name: q, uid: ''}]}}",
        &[
            "status.reservedFor[0].uid: Required value",
            "status.reservedFor[1].uid: Required value",
            r#"status.reservedFor[1]: Duplicate value: """#,
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ],
    );
    let allocated = |more: &str| {
        format!(
            "{{status: {{allocation: {{devices: {{results: [{{request: a, driver: d, pool: p, device: x}}]}}}}, {more}}}}}"
        )
    };
    check_status(
        &claim(ONE),
        &allocated(
            "reservedFor: [{resource: pods, name: p, uid: u}], devices: [{driver: d, pool: p, device: x, data: {a: b}, networkData: {interfaceName: eth0, ips: [10.0.0.1/8]}}]",
        ),
        &[],
    );
    let id = r#"{"Driver":{},"Pool":{},"Device":{},"ShareID":{}}"#;
    check_status(
        &claim(ONE),
        &allocated(
            "devices: [{driver: d, pool: q, device: y, data: [], networkData: {ips: [10.0.0.1]}}, {driver: d, pool: q, device: y}]",
        ),
        &[
            &format!(
                "status.devices[0]: Invalid value: {id}: must be an allocated device in the claim"
            ),
            r#"status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object"#,
            r#"status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"#,
            &format!(
                "status.devices[1]: Invalid value: {id}: must be an allocated device in the claim"
            ),
            &format!("status.devices[1]: Duplicate value: {id}"),
        ],
    );
    check_status(
        &claim(ONE),
        "{status: {allocation: {devices: {results: [{request: b, driver: '', pool: '', device: D, shareID: x, bindingConditions: [c]}], config: [{source: X, requests: [b]}]}, nodeSelector: {}}}}",
        &[
            &format!(
                r#"status.allocation.devices.results[0].request: Invalid value: "b": {NO_REQUEST}"#
            ),
            "status.allocation.devices.results[0].driver: Required value",
            "status.allocation.devices.results[0].pool: Required value",
            &format!(r#"status.allocation.devices.results[0].device: Invalid value: "D": {LABEL}"#),
            "status.allocation.devices.results[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
            r#"status.allocation.devices.results[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: 1"#,
            r#"status.allocation.devices.config[0].source: Unsupported value: "X": supported values: "FromClaim", "FromClass""#,
            &format!(
                r#"status.allocation.devices.config[0].requests[0]: Invalid value: "b": {NO_REQUEST}"#
            ),
            "status.allocation.devices.config[0].opaque: Required value",
            "status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
        ],
    );
}

#[test]
fn uids_have_one_form() {
    let share = |uid: &str, errors: &[&str]| {
        let result = format!("{{request: a, driver: d, pool: p, device: x, shareID: '{uid}'}}");
        let errors: Vec<String> = errors
            .iter()
            .map(|e| format!("status.allocation.devices.results[0].shareID: Invalid value: {e}"))
            .collect();
        let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
        check_status(
            &claim(ONE),
            &format!("{{status: {{allocation: {{devices: {{results: [{result}]}}}}}}}}"),
            &errors,
        );
    };
    let normal = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
    let uid = "123e4567-e89b-12d3-a456-426614174000";
    share(uid, &[]);
    let upper = uid.to_uppercase();
    share(&upper, &[&format!("\"{upper}\": {normal}")]);
    let bare: String = uid.split('-').collect();
    share(&bare, &[&format!("\"{bare}\": {normal}")]);
    let odd = uid.replace('1', "x");
    share(&odd, &[&format!("\"{odd}\": error validating uid: invalid UUID format")]);
}

/// An allocated claim, as it is stored.
const ALLOCATED: &str = "{status: {allocation: {devices: {results: [{request: a, driver: d, pool: p, device: x}, {request: a, driver: d, pool: p, device: y}]}}, devices: [{driver: d, pool: p, device: x}, {driver: d, pool: p, device: y}]}}";

#[test]
fn what_is_said_of_devices_goes_with_them() {
    let (registration, _) = crate::checks::decoded(&claim(ONE));
    let before = status_updated(&claim(ONE), ALLOCATED);
    let ctx = crate::checks::ctx();
    let mut after = before.clone();
    machinery::meta::set_label(&mut after, "a", "b");
    let results = after.pointer_mut("/status/allocation/devices/results").unwrap();
    results.as_array_mut().unwrap().pop();
    registration.prepare_status_update(&ctx, &mut after, &before);
    assert_eq!(after["status"]["devices"].as_array().unwrap().len(), 1);
    assert_eq!(after["status"]["devices"][0]["device"], "x");
    assert_eq!(machinery::meta::label(&after, "a"), None);
    let errors = registration.check_status_update(&ctx, &after, &before);
    assert!(errors.iter().any(|error| error.field == "status.allocation"), "{errors:?}");
    after["status"]["allocation"] = serde_json::Value::Null;
    registration.prepare_status_update(&ctx, &mut after, &before);
    assert!(after["status"].get("devices").is_none());
    let errors = registration.check_status_update(&ctx, &after, &before);
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn templates() {
    let template = "{apiVersion: resource.k8s.io/v1, kind: ResourceClaimTemplate, spec: {metadata: {labels: {a: b}}, spec: {devices: {requests: [{name: a, firstAvailable: [{name: b, deviceClassName: gpu}]}]}}}}";
    check(template, &[]);
    check_default(
        template,
        "/spec/spec/devices/requests/0/firstAvailable/0",
        "{name: b, deviceClassName: gpu, allocationMode: ExactCount, count: 1}",
    );
    check(
        &template.replace("a: b", "a: '-'"),
        &[
            "spec.metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    );
}

fn class(spec: &str) -> String {
    format!("{{apiVersion: resource.k8s.io/v1, kind: DeviceClass, spec: {{{spec}}}}}")
}

#[test]
fn classes() {
    check(&class("extendedResourceName: example.com/gpu"), &[]);
    check(
        &class("extendedResourceName: cpu, selectors: [{cel: {expression: '1'}}], config: [{}]"),
        &[
            r#"spec.selectors[0].cel.expression: Invalid value: "1": must evaluate to bool or the unknown type, not int"#,
            "spec.config[0].opaque: Required value",
            r#"spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name"#,
        ],
    );
    // What was accepted once is not compiled again.
    let old = class("selectors: [{cel: {expression: 'nothing'}}]");
    check_update(&old, "{spec: {extendedResourceName: a.b/c}}", &[]);
    let after = updated(&old, "{spec: {extendedResourceName: a.b/c}}");
    assert_eq!(after["metadata"]["generation"], 2);
}

const POOL: &str = "pool: {name: p, generation: 1, resourceSliceCount: 1}";

fn slice(spec: &str) -> String {
    format!("{{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, spec: {{{spec}}}}}")
}

/// A slice with one device.
fn device(device: &str) -> String {
    slice(&format!("driver: a.b, {POOL}, nodeName: w1, devices: [{{name: d, {device}}}]"))
}

#[test]
fn slices() {
    check(&slice(&format!("driver: a.b, {POOL}, nodeName: w1, devices: [{{name: d}}]")), &[]);
    const ONE_OF: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    check(
        &slice(&format!("driver: a.b, {POOL}, devices: [{{name: d}}, {{name: d}}]")),
        &[&format!("spec: Required value: {ONE_OF}"), r#"spec.devices[1]: Duplicate value: "d""#],
    );
    check(
        &slice(
            "driver: a.b, pool: {name: '', generation: -1, resourceSliceCount: 0}, nodeName: '', allNodes: false, perDeviceNodeSelection: true, nodeSelector: {nodeSelectorTerms: [{}, {}]}",
        ),
        &[
            "spec.pool.name: Required value",
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            r#"spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string"#,
            r#"spec.nodeSelector.nodeSelectorTerms: Invalid value: [{"MatchExpressions":null,"MatchFields":null},{"MatchExpressions":null,"MatchFields":null}]: must have exactly one node selector term"#,
            "spec.allNodes: Invalid value: false: must be either unset or set to true",
            &format!(
                r#"spec: Invalid value: "{{`nodeSelector`, `perDeviceNodeSelection`}}": {ONE_OF}, but multiple fields are set"#
            ),
        ],
    );
    check(
        &slice(&format!(
            "driver: a.b, {POOL}, allNodes: true, devices: [{{name: d}}], sharedCounters: [{{name: s, counters: {{c: {{value: 1}}}}}}]"
        )),
        &[r#"spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed"#],
    );
    check_update(
        &slice(&format!("driver: a.b, {POOL}, nodeName: w1")),
        "{spec: {nodeName: w2, driver: c.d, pool: {name: q}}}",
        &[
            r#"spec.pool.name: Invalid value: "q": field is immutable"#,
            r#"spec.driver: Invalid value: "c.d": field is immutable"#,
            r#"spec.nodeName: Invalid value: "w2": field is immutable"#,
        ],
    );
    check_warnings(
        &slice(&format!("driver: A.b, {POOL}, allNodes: true")),
        &[r#"spec.driver: driver names should be lowercase; "A.b" contains uppercase characters"#],
    );
    let names: Vec<String> = (0..65).map(|n| format!("{{name: d{n}}}")).collect();
    let elaborate = names.join(", ").replacen('}', ", taints: [{key: k, effect: None}]}", 1);
    check(
        &slice(&format!("driver: a.b, {POOL}, nodeName: w1, devices: [{}]", names.join(", "))),
        &[],
    );
    check(
        &slice(&format!("driver: a.b, {POOL}, nodeName: w1, devices: [{elaborate}]")),
        &["spec.devices: Too many: 65: must have at most 64 items"],
    );
}

#[test]
fn shared_counters() {
    let counters = |sets: &str, errors: &[&str]| {
        let text = slice(&format!("driver: a.b, {POOL}, nodeName: w1, sharedCounters: [{sets}]"));
        check_below(&text, "spec.sharedCounters", errors);
    };
    counters("{name: s, counters: {memory: {value: 1Gi}}}", &[]);
    counters(
        "{name: '', counters: {}}, {name: s, counters: {A: {value: 1}}}",
        &[
            "[0].name: Required value",
            "[0].counters: Required value",
            &format!(r#"[1].counters: Invalid value: "A": {LABEL}"#),
        ],
    );
}

#[test]
fn devices() {
    let below = |text: &str, errors: &[&str]| check_below(&device(text), "spec.devices[0]", errors);
    below(
        "attributes: {a: {int: 1}, x.y/b: {string: s}, c: {version: 1.2.3-rc.1+b}, e: {bool: false}}, capacity: {memory: {value: 1Gi}}",
        &[],
    );
    below(
        "attributes: {a/b/c: {int: 1}, /b: {int: 1}, x.y/: {int: 1}, 1: {int: 1}}",
        &[
            r#".attributes: Invalid value: "": the domain must not be empty"#,
            ".attributes: Invalid value: \"1\": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')",
            r#".attributes: Invalid value: "a/b/c": must not contain more than one slash"#,
            r#".attributes: Invalid value: "": the name must not be empty"#,
        ],
    );
    below(
        "attributes: {a: {}, b: {version: '1.2'}, c: {int: 1, bool: true}}",
        &[
            r#".attributes[a]: Invalid value: "": exactly one value must be specified"#,
            r#".attributes[b].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0"#,
            r#".attributes[c]: Invalid value: {"IntValue":1,"BoolValue":true,"StringValue":null,"VersionValue":null,"IntValues":null,"BoolValues":null,"StringValues":null,"VersionValues":null}: exactly one value must be specified"#,
        ],
    );
    let many: Vec<String> = (0..33).map(|n| format!("a{n}: {{int: 1}}")).collect();
    below(
        &format!("attributes: {{{}}}", many.join(", ")),
        &[": Invalid value: 33: the total number of attributes and capacities must not exceed 32"],
    );
    let long = "a".repeat(200);
    below(
        &format!("attributes: {{{long}: {{string: {long}}}}}"),
        &[
            ".attributes: Too long: may not be more than 32 bytes",
            &format!(
                ".attributes[{}...{}].string: Too long: may not be more than 64 bytes",
                "a".repeat(47),
                "a".repeat(46)
            ),
        ],
    );
    below(
        "taints: [{key: '', effect: X}], consumesCounters: [{counterSet: s, counters: {}}, {counterSet: s, counters: {c: {value: 1}}}]",
        &[
            ".taints[0].key: Invalid value: \"\": name part must be non-empty",
            ".taints[0].key: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            r#".taints[0].effect: Unsupported value: "X": supported values: "NoExecute", "NoSchedule", "None""#,
            ".consumesCounters[0].counters: Required value",
            r#".consumesCounters[1]: Duplicate value: "s""#,
        ],
    );
    below(
        "nodeName: w1",
        &[
            ": Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ],
    );
    below(
        "bindingConditions: [a, a], bindingFailureConditions: [a]",
        &[
            r#".bindingConditions[1]: Duplicate value: "a""#,
            r#".bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions"#,
        ],
    );
    below(
        "bindingFailureConditions: [a]",
        &[
            ".bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions",
        ],
    );
    let taints = created(&device("taints: [{key: k, effect: None}]"));
    let time = machinery::time::format(crate::checks::ctx().now);
    assert_eq!(taints["spec"]["devices"][0]["taints"][0]["timeAdded"], time);
}

#[test]
fn devices_with_places_of_their_own() {
    let below = |device: &str, errors: &[&str]| {
        let text = format!(
            "driver: a.b, {POOL}, perDeviceNodeSelection: true, devices: [{{name: d, {device}}}]"
        );
        check_below(&slice(&text), "spec.devices[0]", errors);
    };
    const ONE_OF: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    below("nodeName: w1", &[]);
    below(
        "nodeName: ''",
        &[
            r#".nodeName: Invalid value: "": must not be empty"#,
            &format!(": Required value: {ONE_OF}"),
        ],
    );
    below(
        "nodeName: w1, allNodes: true",
        &[&format!(r#": Invalid value: "{{`nodeName`, `allNodes`}}": {ONE_OF}"#)],
    );
}

#[test]
fn shared_capacities() {
    let policy = |policy: &str, errors: &[&str]| {
        let text = format!(
            "allowMultipleAllocations: true, capacity: {{m: {{value: 10, requestPolicy: {{{policy}}}}}}}"
        );
        check_below(&device(&text), "spec.devices[0].capacity[m].requestPolicy", errors);
    };
    policy("default: 2, validValues: [1, 2, 10]", &[]);
    policy("default: 2, validRange: {min: 2, max: 8, step: 2}", &[]);
    policy(
        "validValues: [1], validRange: {min: 1}",
        &[
            ": Forbidden: exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ],
    );
    policy("validValues: [1]", &[".default: Required value: required when validValues is defined"]);
    policy(
        "validRange: {min: 1}",
        &[".default: Required value: required when validRange is defined"],
    );
    policy(
        "default: 3, validValues: [2, 1, 2, 11]",
        &[
            r#".validValues[1]: Invalid value: "1": values must be sorted in ascending order"#,
            r#".validValues[3]: Invalid value: "11": option is larger than capacity value: 10"#,
            r#".validValues[2]: Duplicate value: "2""#,
            r#".validValues: Invalid value: "3": default value is not valid according to the requestPolicy"#,
        ],
    );
    policy(
        "default: 1, validRange: {min: 2, max: 11, step: 9}",
        &[
            r#".validRange.default: Invalid value: "1": default is less than min: 2"#,
            r#".validRange.max: Invalid value: "11": max is larger than capacity value: 10"#,
            r#".validRange.step: Invalid value: "9": one step 11 is larger than capacity value: 10"#,
            r#".validRange.step: Invalid value: "1": value is not a multiple of a given step (9) from (2)"#,
        ],
    );
    policy(
        "default: 1, validRange: {min: 1, step: 0}",
        &[r#".validRange.step: Invalid value: "0": must be greater than zero"#],
    );
    check_below(
        &device("capacity: {m: {value: 1, requestPolicy: {default: 1}}}"),
        "spec.devices[0].capacity[m].requestPolicy",
        &[": Forbidden: allowMultipleAllocations must be true"],
    );
    // What was there before may stay.
    check_update(
        &device("capacity: {m: {value: 1, requestPolicy: {default: 1}}}"),
        "{metadata: {labels: {a: b}}}",
        &[],
    );
}

#[test]
fn taint_rules() {
    let rule = |spec: &str| {
        format!("{{apiVersion: resource.k8s.io/v1alpha3, kind: DeviceTaintRule, spec: {{{spec}}}}}")
    };
    let good = rule(
        "deviceSelector: {driver: a.b, pool: p, device: d}, taint: {key: k, effect: NoSchedule}",
    );
    check(&good, &[]);
    check(
        &rule("deviceSelector: {driver: '', pool: P, device: D}, taint: {key: k, effect: X}"),
        &[
            "spec.deviceSelector.driver: Required value",
            "spec.deviceSelector.pool: Invalid value: \"P\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            &format!(r#"spec.deviceSelector.device: Invalid value: "D": {LABEL}"#),
            r#"spec.taint.effect: Unsupported value: "X": supported values: "NoExecute", "NoSchedule", "None""#,
        ],
    );
    let time = machinery::time::format(crate::checks::ctx().now);
    let old = rule("taint: {key: k, effect: NoSchedule, timeAdded: '2024-01-01T00:00:00Z'}");
    let kept = updated(&old, "{spec: {taint: {value: v}}}");
    assert_eq!(kept["spec"]["taint"]["timeAdded"], "2024-01-01T00:00:00Z");
    assert_eq!(kept["metadata"]["generation"], 2);
    let moved = updated(&old, "{spec: {taint: {effect: NoExecute}}}");
    assert_eq!(moved["spec"]["taint"]["timeAdded"], time);
    let condition = |n: usize| {
        format!(
            "{{type: t{n}, status: 'True', reason: R, lastTransitionTime: '2024-01-01T00:00:00Z'}}"
        )
    };
    let conditions: Vec<String> = (0..9).map(condition).collect();
    check_status(
        &good,
        &format!("{{status: {{conditions: [{}]}}}}", conditions.join(", ")),
        &["status.conditions: Too many: 9: must have at most 8 items"],
    );
}

#[test]
fn answers_about_pools_are_given_once() {
    let request = "{apiVersion: resource.k8s.io/v1alpha3, kind: ResourcePoolStatusRequest, spec: {driver: a.b}}";
    let (registration, _) = crate::checks::decoded(request);
    let ctx = crate::checks::ctx();
    check_status(
        request,
        "{status: {poolCount: 0, conditions: [{type: A, status: 'True', reason: R}]}}",
        &["status.conditions[0].lastTransitionTime: Required value: must be set"],
    );
    let before = status_updated(request, "{status: {poolCount: 0}}");
    let mut after = before.clone();
    assert!(registration.check_status_update(&ctx, &after, &before).is_empty());
    after["status"]["poolCount"] = 1.into();
    let errors = registration.check_status_update(&ctx, &after, &before);
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            r#"status: Invalid value: {"PoolCount":1,"Pools":null,"Conditions":null}: field is immutable"#
        ]
    );
}

#[test]
fn the_older_form_is_judged_as_the_newer_one() {
    let older = |kind: &str, spec: &str| {
        format!("{{apiVersion: resource.k8s.io/v1beta1, kind: {kind}, spec: {{{spec}}}}}")
    };
    let claim = older("ResourceClaim", "devices: {requests: [{name: a, deviceClassName: gpu}]}");
    check(&claim, &[]);
    let whole = "{name: a, deviceClassName: gpu, allocationMode: ExactCount, count: 1}";
    check_default(&claim, "/spec/devices/requests/0", whole);
    check(
        &older("ResourceClaim", "devices: {requests: [{name: a}]}"),
        &["spec.devices.requests[0].exactly.deviceClassName: Required value"],
    );
    let slice =
        "driver: d.example.com, pool: {name: p, resourceSliceCount: 1}, nodeName: n, devices:";
    check(&older("ResourceSlice", &format!("{slice} [{{name: a, basic: {{}}}}]")), &[]);
}
