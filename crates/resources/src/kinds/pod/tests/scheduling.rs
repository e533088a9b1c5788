//! What tells the scheduler where a Pod may go, and names.

use serde_json::json;

use crate::checks::{check, check_update, created};

fn one(rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{labels: {{v: '1'}}}}, spec: {{containers: [{{name: c, image: i}}], {rest}}}}}"
    )
}

#[track_caller]
fn pod(rest: &str, expected: &[&str]) {
    check(&one(rest), expected);
}

const RELABEL: &str = "{metadata: {labels: {a: b}}}";

#[test]
fn tolerations() {
    pod(
        "tolerations: [{key: a, operator: Gt, value: '5'}, {key: a, operator: X}, {value: v}, {key: a, tolerationSeconds: 1}]",
        &[
            r#"spec.tolerations[0].operator: Unsupported value: "Gt": supported values: "Equal", "Exists", "Lt", "Gt""#,
            r#"spec.tolerations[1].operator: Unsupported value: "X": supported values: "Equal", "Exists""#,
            r#"spec.tolerations[2].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
            r#"spec.tolerations[3].effect: Invalid value: "": effect must be 'NoExecute' when `tolerationSeconds` is set"#,
        ],
    );
    // Comparisons that are there are checked as such.
    let numeric = |value: &str, expected: &[&str]| {
        let old = one(&format!("tolerations: [{{key: a, operator: Lt, value: '{value}'}}]"));
        check_update(&old, RELABEL, expected);
    };
    numeric("-5", &[]);
    let canonical = r#"spec.tolerations[0].value: Invalid value: "05": must be a valid decimal integer in canonical form"#;
    numeric("05", &[canonical, canonical]);
}

#[test]
fn affinity() {
    let term = |term: &str| {
        format!(
            "affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{{term}}}]}}}}"
        )
    };
    let at = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    pod(&term("topologyKey: k, labelSelector: {matchLabels: {a: b}}, matchLabelKeys: [v]"), &[]);
    pod(
        &term("topologyKey: '', namespaces: [A], matchLabelKeys: [v]"),
        &[
            &format!(
                "{at}.namespace: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ),
            &format!(
                "{at}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"
            ),
            &format!("{at}.topologyKey: Required value: can not be empty"),
            &format!("{at}.topologyKey: Invalid value: \"\": name part must be non-empty"),
            &format!(
                "{at}.topologyKey: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ),
        ],
    );
    pod(
        &term(
            "topologyKey: k, labelSelector: {matchLabels: {v: x}}, matchLabelKeys: [v], mismatchLabelKeys: [v]",
        ),
        &[
            &format!(
                "{at}[0]: Invalid value: \"v\": exists in both matchLabelKeys and labelSelector"
            ),
            &format!(
                "{at}[0]: Invalid value: \"v\": exists in both matchLabelKeys and labelSelector"
            ),
            &format!(
                "{at}.matchLabelKeys[0]: Invalid value: \"v\": exists in both matchLabelKeys and mismatchLabelKeys"
            ),
        ],
    );
    pod(
        "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchExpressions: [{key: a, operator: In, values: ['-']}], matchFields: [{key: a, operator: Exists}]}}]}}",
        &[
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
            r#"spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchFields[0].operator: Invalid value: "Exists": not a valid selector operator"#,
            r#"spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchFields[0].key: Invalid value: "a": not a valid field selector key"#,
        ],
    );
    // Values that no label has stay where they are.
    for odd in [
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: ['-']}]}]}}}",
        "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: k, labelSelector: {matchExpressions: [{key: a, operator: In, values: ['-']}]}}]}}",
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchExpressions: [{key: a, operator: In, values: ['-']}]}}]",
    ] {
        check_update(&one(odd), RELABEL, &[]);
    }
}

#[test]
fn spread() {
    let spread = |constraints: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|text| format!("spec.topologySpreadConstraints{text}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        pod(&format!("topologySpreadConstraints: [{constraints}]"), &expected);
    };
    let good = "maxSkew: 1, topologyKey: a b, whenUnsatisfiable: DoNotSchedule";
    spread(&format!("{{{good}, minDomains: 2}}"), &[]);
    spread(
        &format!("{{{good}}}, {{{good}}}"),
        &[r#"[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{a b, DoNotSchedule}""#],
    );
    spread(
        "{maxSkew: 0, topologyKey: '', whenUnsatisfiable: X, minDomains: 0, nodeAffinityPolicy: '', nodeTaintsPolicy: X, matchLabelKeys: [v]}",
        &[
            "[0].maxSkew: Invalid value: 0: must be greater than zero",
            "[0].topologyKey: Required value: can not be empty",
            r#"[0].whenUnsatisfiable: Unsupported value: "X": supported values: "DoNotSchedule", "ScheduleAnyway""#,
            "[0].minDomains: Invalid value: 0: must be greater than zero",
            "[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not X",
            r#"[0].nodeAffinityPolicy: Unsupported value: "": supported values: "Honor", "Ignore""#,
            r#"[0].nodeTaintsPolicy: Unsupported value: "X": supported values: "Honor", "Ignore""#,
            "[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
        ],
    );
}

#[test]
fn labels_named_beside_selectors_become_part_of_them() {
    let object = created(&one(
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule, labelSelector: {}, matchLabelKeys: [v, absent]}], affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: k, labelSelector: {}, mismatchLabelKeys: [v]}}]}}",
    ));
    let made = |operator: &str| json!([{"key": "v", "operator": operator, "values": ["1"]}]);
    assert_eq!(
        object["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"],
        made("In")
    );
    let affinity = &object["spec"]["affinity"]["podAntiAffinity"];
    let term = &affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(term["labelSelector"]["matchExpressions"], made("NotIn"));
}

#[test]
fn names() {
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    pod("hostnameOverride: a.b", &[]);
    pod(
        "hostnameOverride: '', setHostnameAsFQDN: true, hostNetwork: true",
        &[
            "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
            "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
            &format!("spec.hostnameOverride: Invalid value: \"\": {subdomain}"),
        ],
    );
    let long = vec!["a"; 65].concat();
    pod(
        &format!("hostnameOverride: {long}"),
        &["spec.hostnameOverride: Too long: may not be more than 64 bytes"],
    );
    pod(
        "runtimeClassName: '', preemptionPolicy: ''",
        &[
            &format!("spec.runtimeClassName: Invalid value: \"\": {subdomain}"),
            "spec.preemptionPolicy: Required value",
        ],
    );
    pod(
        "preemptionPolicy: X",
        &[
            r#"spec.preemptionPolicy: Unsupported value: "X": supported values: "PreemptLowerPriority", "Never""#,
        ],
    );
    pod(
        "schedulingGates: [{name: a}, {name: a}], nodeName: n",
        &[
            r#"spec.schedulingGates[1]: Duplicate value: "a""#,
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ],
    );
}

#[test]
fn dns() {
    pod("dnsConfig: {searches: [_tcp.a_b.example., .], nameservers: ['::1']}", &[]);
    let underscores = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
    pod(
        "dnsConfig: {searches: [__a, A.], nameservers: [010.0.0.1, x], options: [{}]}, hostAliases: [{ip: '::ffff:1.2.3.4', hostnames: [a]}]",
        &[
            "spec.dnsConfig.nameservers[0]: Invalid value: \"010.0.0.1\": must not have leading 0s",
            "spec.dnsConfig.nameservers[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            &format!("spec.dnsConfig.searches[0]: Invalid value: \"__a\": {underscores}"),
            &format!("spec.dnsConfig.searches[1]: Invalid value: \"A\": {underscores}"),
            "spec.dnsConfig.options[0]: Required value: must not be empty",
            "spec.hostAliases[0].ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address",
        ],
    );
    pod(
        "dnsPolicy: None",
        &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    );
    pod(
        "dnsPolicy: None, dnsConfig: {}",
        &[
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ],
    );
}
