use machinery::meta;

use crate::checks::{check, check_default, check_status, check_update, created, updated};

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
            "{RULES}, paramKind: {{apiVersion: V1, kind: K}}, variables: [{{name: 1a, expression: '1'}}]"
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
            r#"spec.validations[0].reason: Unsupported value: "X": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge""#,
        ],
    );
}

#[test]
fn expressions_must_compile() {
    check(
        &policy(&format!(
            "{RULES}, matchConditions: [{{name: c, expression: object.x}}], validations: [{{expression: '1', messageExpression: '1'}}], auditAnnotations: [{{key: a, valueExpression: params.x}}]"
        )),
        &[
            r#"spec.matchConditions[0].expression: Invalid value: "object.x": must evaluate to bool but got dyn"#,
            r#"spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int"#,
            r#"spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int"#,
            r#"spec.auditAnnotations[0].valueExpression: Invalid value: "params.x": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')
 | params.x
 | ^"#,
        ],
    );
}

#[test]
fn mutating_policies() {
    let policy = |spec: &str| {
        format!(
            "{{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, spec: {{{RULES}, {spec}}}}}"
        )
    };
    let patch = |expression: &str| {
        policy(&format!(
            "reinvocationPolicy: Never, mutations: [{{patchType: JSONPatch, jsonPatch: {{expression: '{expression}'}}}}]"
        ))
    };
    check(
        &patch(r#"[JSONPatch{op: "add", path: "/" + jsonpatch.escapeKey("a/b"), value: 1}]"#),
        &[],
    );
    check(
        &patch("[1]"),
        &[
            r#"spec.mutations[0].jsonPatch.expression: Invalid value: "[1]": must evaluate to list(JSONPatch) but got list(int)"#,
        ],
    );
    check(
        &policy(
            "reinvocationPolicy: Always, mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: '{}'}, jsonPatch: {expression: x}}, {patchType: JSONPatch}, {}]",
        ),
        &[
            r#"spec.mutations[0].jsonPatch: Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration"#,
            "spec.mutations[1].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            "spec.mutations[2].patchType: Required value",
            r#"spec.reinvocationPolicy: Unsupported value: "Always": supported values: "Never", "IfNeeded""#,
            r#"spec.mutations[0].applyConfiguration.expression: Invalid value: "{}": must evaluate to Object but got map(dyn, dyn)"#,
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

#[test]
fn conditions_and_statuses_of_policies() {
    // Conditions that stay are not looked at again.
    let conditions = policy(&format!(
        "{RULES}, matchConditions: [{{name: a, expression: '5'}}], validations: [{{expression: 'true'}}]"
    ));
    check_update(&conditions, "spec: {failurePolicy: Ignore}", &[]);
    check_status(
        &conditions,
        "status: {typeChecking: {expressionWarnings: [{}]}, conditions: [{type: T, status: X}]}",
        &[
            "status.typeChecking.expressionWarnings[0].warning: Required value",
            "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
            r#"status.conditions[0].status: Unsupported value: "X": supported values: "False", "True", "Unknown""#,
            "status.conditions[0].lastTransitionTime: Required value: must be set",
            "status.conditions[0].reason: Required value: must be set",
        ],
    );
}

#[test]
fn mutations() {
    let policy = |spec: &str| policy(spec).replace("Validating", "Mutating");
    let mutation = |mutation: &str, errors: &[&str]| {
        let spec = format!("{RULES}, reinvocationPolicy: Never, mutations: [{{{mutation}}}]");
        check(&policy(&spec), errors);
    };
    mutation("patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{}'}", &[]);
    mutation("jsonPatch: {expression: x}", &["spec.mutations[0].patchType: Required value"]);
    mutation(
        "patchType: JSONPatch, jsonPatch: {expression: ' '}, applyConfiguration: {expression: x}",
        &[
            "spec.mutations[0].jsonPatch.expression: Required value",
            r#"spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch"#,
        ],
    );
    mutation(
        "patchType: ApplyConfiguration",
        &[
            "spec.mutations[0].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
        ],
    );
    mutation(
        "patchType: X",
        &[
            r#"spec.mutations[0].patchType: Unsupported value: "X": supported values: "ApplyConfiguration", "JSONPatch""#,
        ],
    );
    check(
        &policy(
            "matchConstraints: {resourceRules: [{operations: [DELETE], apiGroups: [a], apiVersions: [v1], resources: [r]}]}",
        ),
        &[
            r#"spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#,
            "spec.mutations: Required value: mutations must contain at least one item",
            "spec.reinvocationPolicy: Required value",
        ],
    );
}

#[test]
fn what_was_so_before_may_stay() {
    let registration =
        crate::find_kind("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")
            .unwrap();
    let mut old = created(&webhooks(&format!("name: a.b.c, {CLIENT}")));
    let ctx = crate::checks::ctx();
    let mut new = old.clone();
    for (field, value) in [
        ("sideEffects", serde_json::json!("Unknown")),
        ("admissionReviewVersions", serde_json::json!(["v2"])),
        ("objectSelector", serde_json::json!({"matchLabels": {"a": "-"}})),
        ("matchConditions", serde_json::json!([{"name": "a", "expression": "1"}])),
    ] {
        new["webhooks"][0][field] = value.clone();
        assert_eq!(registration.check_update(&ctx, &new, &old).len(), 1, "{field}");
        old["webhooks"][0][field] = value;
        assert_eq!(registration.check_update(&ctx, &new, &old).len(), 0, "{field}");
    }
}
