use crate::checks::{check, check_default};

fn hpa(spec: &str) -> String {
    format!(
        "{{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {{scaleTargetRef: {{kind: Deployment, name: d}}, maxReplicas: 3, {spec}}}}}"
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
