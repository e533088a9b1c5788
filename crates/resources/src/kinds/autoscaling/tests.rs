use crate::checks::{check, check_default, check_status, check_update, created};

fn hpa(spec: &str) -> String {
    format!(
        "{{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: d}}, maxReplicas: 3, {spec}}}}}"
    )
}

#[test]
fn defaults() {
    check_default(&hpa(""), "/spec/minReplicas", "1");
    check_default(
        &hpa(""),
        "/spec/metrics",
        "[{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]",
    );
    check_default(
        &hpa("behavior: {scaleDown: {stabilizationWindowSeconds: 5}}"),
        "/spec/behavior",
        "{scaleUp: {stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{type: Pods, value: 4, periodSeconds: 15}, {type: Percent, value: 100, periodSeconds: 15}]}, scaleDown: {stabilizationWindowSeconds: 5, selectPolicy: Max, policies: [{type: Percent, value: 100, periodSeconds: 15}]}}",
    );
    check(&hpa(""), &[]);
}

#[test]
fn metrics() {
    check(
        &hpa(
            "metrics: [{type: Pods, pods: {metric: {name: m}, target: {type: AverageValue, averageValue: '1'}}}]",
        ),
        &[],
    );
    check(
        &hpa("metrics: [{type: Resource}]"),
        &[
            "spec.metrics[0].resource: Required value: must populate information for the given metric source",
        ],
    );
    check(
        &hpa("metrics: [{type: X}]"),
        &[
            r#"spec.metrics[0].type: Unsupported value: "X": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#,
        ],
    );
    check(
        &hpa(
            "metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization}}, pods: {metric: {name: m}, target: {type: Value, averageValue: '0'}}}]",
        ),
        &[
            r#"spec.metrics[0].pods.target.averageValue: Invalid value: "0": must be positive"#,
            "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
        ],
    );
    check(
        &hpa("metrics: [{type: External, external: {metric: {name: m}, target: {type: Value}}}]"),
        &[
            "spec.metrics[0].external.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
        ],
    );
}

#[test]
fn behavior() {
    check(
        &hpa(
            "behavior: {scaleUp: {stabilizationWindowSeconds: 3601, selectPolicy: X, policies: [{type: Y, value: 0, periodSeconds: 1801}]}}",
        ),
        &[
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            r#"spec.behavior.scaleUp.selectPolicy: Unsupported value: "X": supported values: "Disabled", "Max", "Min""#,
            r#"spec.behavior.scaleUp.policies[0].type: Unsupported value: "Y": supported values: "Percent", "Pods""#,
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ],
    );
}

#[test]
fn numbers_of_replicas() {
    check(
        &hpa("minReplicas: 5"),
        &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
    );
    check(
        &hpa(
            "minReplicas: 0, metrics: [{type: External, external: {metric: {name: m}, target: {type: Value, value: 1}}}]",
        ),
        &["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"],
    );
    check_status(
        &hpa(""),
        "status: {currentReplicas: -1, desiredReplicas: -2}",
        &[
            "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.desiredReplicas: Invalid value: -2: must be greater than or equal to 0",
        ],
    );
    // Who scales to nothing already may go on.
    let registration = crate::find_kind("autoscaling", "v2", "HorizontalPodAutoscaler").unwrap();
    let mut old = created(&hpa(""));
    old["spec"]["minReplicas"] = 0.into();
    let errors = registration.check_update(&crate::checks::ctx(), &old, &old);
    assert_eq!(
        errors.aggregate(),
        "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"
    );
}

#[test]
fn references() {
    let target = |target: &str| {
        format!(
            "{{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {{maxReplicas: 3, scaleTargetRef: {target}}}}}"
        )
    };
    check(&target("{kind: ReplicationController, name: r}"), &[]);
    check(
        &target("{kind: Deployment, name: d, apiVersion: v1}"),
        &[
            r#"spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#,
        ],
    );
    check(
        &target("{name: a/b, apiVersion: a/b/c}"),
        &[
            "spec.scaleTargetRef.kind: Required value",
            r#"spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/'"#,
            r#"spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#,
        ],
    );
    check_update(&target("{kind: Deployment, name: d}"), "spec: {maxReplicas: 5}", &[]);
}

/// The older version is checked as what it is in the newer one.
#[test]
fn older_version() {
    let older = |spec: &str| {
        format!(
            "{{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: d}}, maxReplicas: 3, {spec}}}}}"
        )
    };
    check_default(&older(""), "/spec/minReplicas", "1");
    check(&older("targetCPUUtilizationPercentage: 50"), &[]);
    check(
        &older("targetCPUUtilizationPercentage: 0"),
        &[
            "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
        ],
    );
}
