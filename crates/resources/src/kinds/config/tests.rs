use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::checks::{check, check_update, created};

fn secret(rest: &str) -> String {
    format!("{{apiVersion: v1, kind: Secret, {rest}}}")
}

#[test]
fn config_maps() {
    let map = |rest: &str| format!("{{apiVersion: v1, kind: ConfigMap, {rest}}}");
    check(&map("data: {a.b_c-D: x}, binaryData: {e: eA==}"), &[]);
    check(
        &map("data: {'..a': x}"),
        &[r#"data[..a]: Invalid value: "..a": must not start with '..'"#],
    );
    let large = "x".repeat(1024 * 1024);
    check(&map(&format!("data: {{a: {large}}}")), &[]);
    check(
        &map(&format!("data: {{a: {large}}}, binaryData: {{b: eA==}}")),
        &[": Too long: may not be more than 1048576 bytes"],
    );
    let fixed = map("immutable: true, data: {a: b}");
    check_update(&fixed, "{metadata: {labels: {a: b}}}", &[]);
    check_update(
        &fixed,
        "{immutable: false, data: {a: c}}",
        &[
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set",
        ],
    );
}

#[test]
fn secrets_by_type() {
    for (kind, key) in [
        ("kubernetes.io/dockercfg", ".dockercfg"),
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
    ] {
        let good = STANDARD.encode("{\"auths\": {}}");
        check(&secret(&format!("type: {kind}, data: {{{key}: {good}}}")), &[]);
        check(&secret(&format!("type: {kind}")), &[&format!("data[{key}]: Required value")]);
        let text = format!(
            "data[{key}]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input"
        );
        check(&secret(&format!("type: {kind}, data: {{{key}: ''}}")), &[&text]);
    }
    for (content, text) in [
        ("{x", "invalid character 'x' looking for beginning of object key string"),
        ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ] {
        let content = STANDARD.encode(content);
        let expected =
            format!("data[.dockercfg]: Invalid value: \"<secret contents redacted>\": {text}");
        let object = format!("type: kubernetes.io/dockercfg, data: {{.dockercfg: {content}}}");
        check(&secret(&object), &[&expected]);
    }
    check(&secret("type: kubernetes.io/basic-auth, data: {username: eA==}"), &[]);
    check(
        &secret("type: kubernetes.io/basic-auth"),
        &["data[username]: Required value", "data[password]: Required value"],
    );
    for data in ["{}", "{ssh-privatekey: ''}"] {
        let object = secret(&format!("type: kubernetes.io/ssh-auth, data: {data}"));
        check(&object, &["data[ssh-privatekey]: Required value"]);
    }
    check(
        &secret("type: kubernetes.io/service-account-token"),
        &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    );
}

#[test]
fn references_of_service_accounts() {
    let account = created(
        "{apiVersion: v1, kind: ServiceAccount, secrets: [{name: s, namespace: x, kind: Secret}]}",
    );
    assert_eq!(account["secrets"], json!([{"name": "s"}]));
}
