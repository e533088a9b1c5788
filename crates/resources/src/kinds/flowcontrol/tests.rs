use crate::checks::{check, check_default, check_status};

fn schema(spec: &str) -> String {
    format!("{{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, spec: {{{spec}}}}}")
}

fn level(spec: &str) -> String {
    format!(
        "{{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, spec: {{{spec}}}}}"
    )
}

#[test]
fn schemas() {
    check_default(
        &schema("priorityLevelConfiguration: {name: a}"),
        "/spec/matchingPrecedence",
        "1000",
    );
    check(
        &schema(
            "priorityLevelConfiguration: {name: a}, rules: [{subjects: [{kind: Group, group: {name: g}}], resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*']}]}]",
        ),
        &[],
    );
    check(
        &schema(
            "matchingPrecedence: 1, priorityLevelConfiguration: {name: ''}, rules: [{subjects: []}]",
        ),
        &[
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
        ],
    );
    check(
        &schema(
            "priorityLevelConfiguration: {name: a}, rules: [{subjects: [{kind: User, group: {name: g}}], nonResourceRules: [{verbs: [get], nonResourceURLs: [a, /b*]}]}]",
        ),
        &[
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
            r#"spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "a": must start with slash"#,
            r#"spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "/b*": wildcard can only do suffix matching"#,
        ],
    );
}

#[test]
fn levels() {
    check_default(
        &level("type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}"),
        "/spec/limited",
        "{nominalConcurrencyShares: 30, lendablePercent: 0, limitResponse: {type: Queue, queuing: {queues: 64, handSize: 8, queueLengthLimit: 50}}}",
    );
    check(&level("type: Limited, limited: {limitResponse: {type: Reject}}"), &[]);
    check(
        &level("type: Exempt"),
        &[
            r#"spec.type: Invalid value: "Exempt": type must be 'Exempt' if and only if name is 'exempt'"#,
        ],
    );
    check(
        &level(
            "type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 4, handSize: 8, queueLengthLimit: -1}}}",
        ),
        &[
            "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)",
        ],
    );
    check(
        &level(
            "type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 512, handSize: 8}}}",
        ),
        &[
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
        ],
    );
}

#[test]
fn what_every_server_has_stays() {
    for (kind, name) in super::mandatory::ALL {
        let spec = super::mandatory::spec(kind, name).unwrap();
        let object = serde_json::json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind,
            "metadata": {"name": name}, "spec": spec,
        });
        check(&object.to_string(), &[]);
    }
    let named = |kind: &str, name: &str, spec: &str| {
        format!(
            "{{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
        )
    };
    let level = "PriorityLevelConfiguration";
    check(&named(level, "exempt", "type: Exempt, exempt: {nominalConcurrencyShares: 7}"), &[]);
    check(
        &named(
            level,
            "catch-all",
            "type: Limited, limited: {nominalConcurrencyShares: 7, limitResponse: {type: Reject}}",
        ),
        &[
            r#"spec: Invalid value: {"Type":"Limited","Limited":{"NominalConcurrencyShares":7,"LimitResponse":{"Type":"Reject","Queuing":null},"LendablePercent":0,"BorrowingLimitPercent":null},"Exempt":null}: spec of 'catch-all' must equal the fixed value"#,
        ],
    );
    check(
        &named(
            level,
            "exempt",
            "type: Limited, limited: {nominalConcurrencyShares: -1, limitResponse: {type: Reject}}",
        ),
        &[
            r#"spec.type: Invalid value: "Limited": type must be 'Exempt' if and only if name is 'exempt'"#,
            "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            r#"spec: Invalid value: {"Type":"Limited","Limited":{"NominalConcurrencyShares":-1,"LimitResponse":{"Type":"Reject","Queuing":null},"LendablePercent":0,"BorrowingLimitPercent":null},"Exempt":null}: spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"#,
        ],
    );
    check(
        &named(
            "FlowSchema",
            "exempt",
            "matchingPrecedence: 1, priorityLevelConfiguration: {name: exempt}, distinguisherMethod: {type: X}",
        ),
        &[
            r#"spec.distinguisherMethod.type: Unsupported value: {"Type":"X"}: supported values: "ByNamespace", "ByUser""#,
            r#"spec: Invalid value: {"PriorityLevelConfiguration":{"Name":"exempt"},"MatchingPrecedence":1,"DistinguisherMethod":{"Type":"X"},"Rules":null}: spec of 'exempt' must equal the fixed value"#,
        ],
    );
}

#[test]
fn statuses() {
    check_status(
        &schema("priorityLevelConfiguration: {name: a}"),
        "{status: {conditions: [{type: A}, {type: A}, {}]}}",
        &[
            r#"status.conditions[1].type: Duplicate value: "A""#,
            "status.conditions[2].type: Required value: must not be empty",
        ],
    );
}
