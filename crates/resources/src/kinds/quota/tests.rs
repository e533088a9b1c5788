use crate::checks::{check, check_default, check_update};

fn range(item: &str) -> String {
    format!("{{apiVersion: v1, kind: LimitRange, spec: {{limits: [{{{item}}}]}}}}")
}

fn quota(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: ResourceQuota, spec: {{{spec}}}}}")
}

#[test]
fn limits_follow_from_each_other() {
    check_default(
        &range("type: Container, max: {cpu: '2'}, min: {memory: 1Mi}"),
        "/spec/limits/0",
        "{type: Container, max: {cpu: '2'}, min: {memory: 1Mi}, default: {cpu: '2'}, defaultRequest: {cpu: '2', memory: 1Mi}}",
    );
    check_default(
        &range("type: Pod, max: {cpu: '2'}"),
        "/spec/limits/0",
        "{type: Pod, max: {cpu: '2'}}",
    );
}

#[test]
fn limit_ranges() {
    check(
        &range(
            "type: Container, max: {cpu: '2'}, min: {cpu: 100m}, default: {cpu: '1'}, defaultRequest: {cpu: 500m}, maxLimitRequestRatio: {cpu: '10'}",
        ),
        &[],
    );
    check(
        &range("type: Pod, default: {cpu: '1'}, defaultRequest: {cpu: '1'}"),
        &[
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
        ],
    );
    check(
        &range(
            "type: Container, max: {cpu: 50m}, min: {cpu: 100m}, default: {cpu: 50m}, defaultRequest: {cpu: 50m}",
        ),
        &[
            r#"spec.limits[0].min[cpu]: Invalid value: "100m": min value 100m is greater than max value 50m"#,
            r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "50m": min value 100m is greater than default request value 50m"#,
            r#"spec.limits[0].default[cpu]: Invalid value: "100m": min value 100m is greater than default value 50m"#,
        ],
    );
    check(
        &range("type: Container, default: {cpu: '2'}, max: {cpu: '1'}"),
        &[
            r#"spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than max value 1"#,
            r#"spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1"#,
        ],
    );
    check(
        &range(
            "type: Container, min: {cpu: '1'}, max: {cpu: '2'}, maxLimitRequestRatio: {cpu: '3'}",
        ),
        &[
            r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000"#,
        ],
    );
    check(
        &range("type: PersistentVolumeClaim, max: {memory: 1Gi}"),
        &[
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ],
    );
    check(
        "{apiVersion: v1, kind: LimitRange, spec: {limits: [{type: Pod}, {type: Pod}]}}",
        &[r#"spec.limits[1].type: Duplicate value: "Pod""#],
    );
}

#[test]
fn names_of_limited_resources() {
    check(
        &range("type: Container, max: {storage: 1Gi}"),
        &[
            r#"spec.limits[0].max[storage]: Invalid value: "storage": must be a standard resource for containers"#,
            r#"spec.limits[0].default[storage]: Invalid value: "storage": must be a standard resource for containers"#,
            r#"spec.limits[0].defaultRequest[storage]: Invalid value: "storage": must be a standard resource for containers"#,
        ],
    );
    check(&range("type: PersistentVolumeClaim, max: {storage: 1Gi}"), &[]);
    check(&range("type: a.b/c, max: {pods: 1}"), &[]);
}

#[test]
fn limits_of_what_cannot_be_divided() {
    check(
        &range(
            "type: Container, default: {nvidia.com/gpu: 2}, defaultRequest: {nvidia.com/gpu: 1}",
        ),
        &[
            r#"spec.limits[0].defaultRequest[nvidia.com/gpu]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in nvidia.com/gpu"#,
        ],
    );
}

#[test]
fn quotas() {
    check(
        &quota(
            "hard: {pods: 5, requests.cpu: '1', count/jobs.batch: 3, requests.nvidia.com/gpu: 1, gold.storageclass.storage.k8s.io/requests.storage: 1Gi}",
        ),
        &[],
    );
    check(
        &quota("hard: {pods: 500m, nonsense: 1, cpu: -1}"),
        &[
            r#"spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.hard[nonsense]: Invalid value: "nonsense": must be a standard resource type or fully qualified"#,
            r#"spec.hard[nonsense]: Invalid value: "nonsense": must be a standard resource for quota"#,
            r#"spec.hard[pods]: Invalid value: "500m": must be an integer"#,
        ],
    );
    check(
        &quota("hard: {pods: 1, cpu: 1}, scopes: [BestEffort, NotBestEffort, Nonsense]"),
        &[
            r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Nonsense"]: unsupported scope applied to resource"#,
            r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Nonsense"]: unsupported scope"#,
            r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Nonsense"]: conflicting scopes"#,
        ],
    );
    check(
        &quota(
            "hard: {pods: 1}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In}]}",
        ),
        &[
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
        ],
    );
    check(
        &quota(
            "hard: {cpu: 1}, scopeSelector: {matchExpressions: [{scopeName: BestEffort, operator: In, values: [a]}, {scopeName: NotBestEffort, operator: Exists, values: [a]}]}",
        ),
        &[
            r#"spec.scopeSelector.matchExpressions: Invalid value: {"MatchExpressions":[{"ScopeName":"BestEffort","Operator":"In","Values":["a"]},{"ScopeName":"NotBestEffort","Operator":"Exists","Values":["a"]}]}: unsupported scope applied to resource"#,
            "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            "spec.scopeSelector.matchExpressions.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            "spec.scopeSelector.matchExpressions: Invalid value: null: conflicting scopes",
        ],
    );
    check(
        &quota("hard: {storage: 1Gi}"),
        &[r#"spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota"#],
    );
    check_update(
        &quota("hard: {pods: 1}, scopes: [BestEffort]"),
        "{spec: {scopes: [NotBestEffort]}}",
        &[r#"spec.scopes: Invalid value: ["NotBestEffort"]: field is immutable"#],
    );
}
