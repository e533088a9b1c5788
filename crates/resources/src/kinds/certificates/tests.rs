use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checks::{check, check_status};

/// A request whose PEM block has the right type.
fn csr(rest: &str) -> String {
    let pem = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n";
    let request = STANDARD.encode(pem);
    format!(
        "{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, spec: {{request: {request}, {rest}}}}}"
    )
}

const GOOD: &str = "signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]";

#[test]
fn requests() {
    check(&csr(GOOD), &[]);
    check(
        &csr("signerName: a/b, usages: [client auth, client auth], expirationSeconds: 599"),
        &[
            r#"spec.usages[1]: Duplicate value: "client auth""#,
            r#"spec.signerName: Invalid value: "a": should be a domain with at least two segments separated by dots"#,
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ],
    );
    check(
        &csr("signerName: a, usages: []"),
        &[
            "spec.usages: Required value",
            "spec.signerName: Invalid value: \"a\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
        ],
    );
    let kind = "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, spec: {request: eA==, signerName: kubernetes.io/kubelet-serving, usages: [server auth]}}";
    check(
        kind,
        &[r#"spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST"#],
    );
}

#[test]
fn statuses() {
    let certificate =
        STANDARD.encode("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    check_status(&csr(GOOD), &format!("{{status: {{certificate: {certificate}}}}}"), &[]);
    check_status(
        &csr(GOOD),
        "{status: {certificate: eA==}}",
        &[
            r#"status.certificate: Invalid value: "<certificate data>": expected at least one PEM block of type CERTIFICATE"#,
        ],
    );
    check_status(
        &csr(GOOD),
        "{status: {conditions: [{type: Failed, status: 'False'}, {type: X}]}}",
        &[r#"status.conditions[0].status: Unsupported value: "False": supported values: "True""#],
    );
}

#[test]
fn bundles() {
    let bundle = |name: &str, spec: &str| {
        format!(
            "{{apiVersion: certificates.k8s.io/v1beta1, kind: ClusterTrustBundle, metadata: {{name: '{name}'}}, spec: {{{spec}}}}}"
        )
    };
    let anchor =
        "trustBundle: \"-----BEGIN CERTIFICATE-----\\nAA==\\n-----END CERTIFICATE-----\\n\"";
    check(&bundle("a", anchor), &[]);
    check(&bundle("a.b:c:x", &format!("signerName: a.b/c, {anchor}")), &[]);
    check(
        &bundle("x", &format!("signerName: a.b/c, {anchor}")),
        &[
            r#"metadata.name: Invalid value: "x": ClusterTrustBundle for signerName a.b/c must be named with prefix a.b:c:"#,
        ],
    );
    check(
        &bundle("a", "trustBundle: ''"),
        &[
            r#"spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided"#,
        ],
    );
}
