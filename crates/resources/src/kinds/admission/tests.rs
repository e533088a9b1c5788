use machinery::meta;

use crate::checks::{check, check_default, created, updated};

fn webhooks(webhook: &str) -> String {
    format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, webhooks: [{{{webhook}}}]}}"
    )
}

const CLIENT: &str = "clientConfig: {service: {name: s, namespace: n, path: /a/b}}, sideEffects: None, admissionReviewVersions: [v1]";

#[test]
fn webhook_defaults() {
    check_default(
        &webhooks(&format!(
            "name: a.b.c, rules: [{{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}}], {CLIENT}"
        )),
        "/webhooks/0",
        "{name: a.b.c, rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods], scope: '*'}], clientConfig: {service: {name: s, namespace: n, path: /a/b, port: 443}}, sideEffects: None, admissionReviewVersions: [v1], failurePolicy: Fail, matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}, timeoutSeconds: 10}",
    );
    let mutating = webhooks(&format!("name: a.b.c, {CLIENT}")).replace("Validating", "Mutating");
    check_default(&mutating, "/webhooks/0/reinvocationPolicy", "Never");
    check(&mutating, &[]);
    let new = updated(&mutating, "{webhooks: []}");
    assert_eq!((meta::generation(&created(&mutating)), meta::generation(&new)), (1, 2));
}

#[test]
fn webhook_rules() {
    check(
        &webhooks("name: a.b, clientConfig: {}, timeoutSeconds: 31"),
        &[
            r#"webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#,
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ],
    );
    check(
        &webhooks(
            "name: a.b.c, clientConfig: {url: 'http://u@h/?q'}, sideEffects: Some, admissionReviewVersions: [v2, v2]",
        ),
        &[
            r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#,
            r#"webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#,
            r#"webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in the URL"#,
            r#"webhooks[0].clientConfig.url: Invalid value: "q": query parameters are not permitted in the URL"#,
            r#"webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version"#,
            r#"webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1"#,
        ],
    );
    check(
        &webhooks(&format!(
            "name: a.b.c, rules: [{{operations: ['*', GET], apiGroups: [], apiVersions: [''], resources: ['*', pods, 'a/*', a/b]}}], matchConditions: [{{name: a, expression: ' '}}], {CLIENT}"
        )),
        &[
            r#"webhooks[0].rules[0].operations: Invalid value: ["*","GET"]: if '*' is present, must not specify other operations"#,
            r#"webhooks[0].rules[0].operations[1]: Unsupported value: "GET": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE""#,
            "webhooks[0].rules[0].apiGroups: Required value",
            "webhooks[0].rules[0].apiVersions[0]: Required value",
            r#"webhooks[0].rules[0].resources[3]: Invalid value: "a/b": if 'a/*' is present, must not specify a/b"#,
            r#"webhooks[0].rules[0].resources: Invalid value: ["*","pods","a/*","a/b"]: if '*' is present, must not specify other resources without subresources"#,
            "webhooks[0].matchConditions[0].expression: Required value",
        ],
    );
}

fn policy(spec: &str) -> String {
    format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, spec: {{{spec}}}}}"
    )
}

const RULES: &str = "matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [apps], apiVersions: [v1], resources: [deployments]}]}";

#[test]
fn policies() {
    check(&policy(&format!("{RULES}, validations: [{{expression: 'true'}}]")), &[]);
    check_default(&policy(RULES), "/spec/failurePolicy", "Fail");
    check_default(&policy(RULES), "/spec/matchConstraints/matchPolicy", "Equivalent");
    check(
        &policy(&format!(
            "{RULES}, paramKind: {{apiVersion: V1, kind: K}}, variables: [{{name: 1a, expression: x}}]"
        )),
        &[
            "spec.paramKind.apiVersion: Invalid value: \"V1\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            r#"spec.variables[0].name: Invalid value: "1a": name is not a valid CEL identifier"#,
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
        ],
    );
    check(
        &policy(
            "matchConstraints: {}, validations: [{expression: ' ', message: \"a\\nb\", reason: X}]",
        ),
        &[
            "spec.matchConstraints.resourceRules: Required value",
            "spec.validations[0].expression: Required value: expression is not specified",
            r#"spec.validations[0].message: Invalid value: "a\nb": message must not contain line breaks"#,
            r#"spec.validations[0].reason: Unsupported value: "X": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized""#,
        ],
    );
}

#[test]
fn bindings() {
    let binding = |spec: &str| {
        format!(
            "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, spec: {{{spec}}}}}"
        )
    };
    check(&binding("policyName: p, validationActions: [Deny, Audit], paramRef: {name: x}"), &[]);
    check_default(
        &binding("policyName: p, paramRef: {name: x}"),
        "/spec/paramRef/parameterNotFoundAction",
        "Deny",
    );
    check(
        &binding("validationActions: [Deny, Warn], paramRef: {}"),
        &[
            "spec.policyName: Required value",
            "spec.paramRef: Required value: one of name or selector must be specified",
            r#"spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#,
        ],
    );
}
