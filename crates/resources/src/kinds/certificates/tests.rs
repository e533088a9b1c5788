use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::checks::{check, check_status, check_update, created, ctx};

/// A request for a certificate, signed with its own key, as base64 of PEM.
fn request() -> String {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    STANDARD.encode(request.pem().unwrap())
}

/// A certificate in PEM.
fn certificate(authority: bool) -> String {
    let mut params = CertificateParams::default();
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn csr(request: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, spec: {{request: {request}, {rest}}}}}"
    )
}

const GOOD: &str = "signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]";

#[test]
fn requests() {
    let request = request();
    check(&csr(&request, GOOD), &[]);
    check(
        &csr(
            &request,
            "signerName: a/b, usages: [client auth, client auth], expirationSeconds: 599",
        ),
        &[
            r#"spec.usages[1]: Duplicate value: "client auth""#,
            r#"spec.signerName: Invalid value: "a": should be a domain with at least two segments separated by dots"#,
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ],
    );
    check(
        &csr(&request, "signerName: a, usages: []"),
        &[
            "spec.usages: Required value",
            "spec.signerName: Invalid value: \"a\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
        ],
    );
    check(
        &csr(&request, "signerName: kubernetes.io/legacy-unknown, usages: [any]"),
        &[
            r#"spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version"#,
        ],
    );
    check(
        &csr("eA==", GOOD),
        &[r#"spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST"#],
    );
    // A signature that is not that of the key.
    let mut bytes = pem::parse(STANDARD.decode(&request).unwrap()).unwrap().into_contents();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let forged = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", bytes));
    let forged = STANDARD.encode(forged);
    check(
        &csr(&forged, GOOD),
        &[&format!("spec.request: Invalid value: \"{forged}\": x509: ECDSA verification failure")],
    );
}

#[test]
fn statuses() {
    let csr = csr(&request(), GOOD);
    let issued = |text: &str, errors: &[&str]| {
        let text = STANDARD.encode(text);
        check_status(&csr, &format!("{{status: {{certificate: {text}}}}}"), errors);
    };
    let certificate = certificate(false);
    let wrong =
        |why: &str| format!(r#"status.certificate: Invalid value: "<certificate data>": {why}"#);
    issued(&certificate, &[]);
    issued("x", &[&wrong("must contain at least one CERTIFICATE PEM block")]);
    issued(
        &certificate.replace("CERTIFICATE", "THING"),
        &[&wrong("only CERTIFICATE PEM blocks are allowed, found \"THING\"")],
    );
    issued(
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        &[&wrong("x509: malformed certificate")],
    );
    check_status(
        &csr,
        "{status: {conditions: [{type: Failed, status: 'False'}, {type: X}, {type: X}]}}",
        &[
            r#"status.conditions[0].status: Unsupported value: "False": supported values: "True""#,
            r#"status.conditions[2].type: Duplicate value: "X""#,
        ],
    );
}

#[test]
fn approvals() {
    let registration =
        crate::find_kind("certificates.k8s.io", "v1", "CertificateSigningRequest").unwrap();
    let old = created(&csr(&request(), GOOD));
    let with = |conditions: &str| {
        let mut new = old.clone();
        new["status"] = serde_yaml::from_str(&format!("{{conditions: [{conditions}]}}")).unwrap();
        new
    };
    let approve = |new: &machinery::Value, old: &machinery::Value| {
        let mut new = new.clone();
        registration.prepare_subresource_update(&ctx(), "approval", &mut new, old);
        registration.check_subresource_update(&ctx(), "approval", &new, old).aggregate()
    };
    let (approved, denied) = (with("{type: Approved}"), with("{type: Denied}"));
    assert_eq!(approve(&approved, &old), "[]");
    assert_eq!(
        approve(&with("{type: Approved}, {type: Denied}"), &old),
        r#"status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#
    );
    let mut before = approved.clone();
    registration.prepare_subresource_update(&ctx(), "approval", &mut before, &old);
    assert_eq!(
        approve(&denied, &before),
        r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#
    );
}

#[test]
fn bundles() {
    let bundle = |name: &str, spec: &str| {
        format!(
            "{{apiVersion: certificates.k8s.io/v1beta1, kind: ClusterTrustBundle, metadata: {{name: '{name}'}}, spec: {{{spec}}}}}"
        )
    };
    let text = |pem: &str| format!("trustBundle: {}", serde_json::to_string(pem).unwrap());
    let (root, leaf) = (certificate(true), certificate(false));
    let anchor = text(&root);
    check(&bundle("a", &anchor), &[]);
    check(&bundle("a.b:c:x", &format!("signerName: a.b/c, {anchor}")), &[]);
    check(
        &bundle("x", &format!("signerName: a.b/c, {anchor}")),
        &[
            r#"metadata.name: Invalid value: "x": ClusterTrustBundle for signerName a.b/c must be named with prefix a.b:c:"#,
        ],
    );
    let wrong = |why: &str| format!(r#"spec.trustBundle: Invalid value: "<value omitted>": {why}"#);
    check(&bundle("a", "trustBundle: ''"), &[&wrong("at least one trust anchor must be provided")]);
    check(
        &bundle("a", &text(&format!("{leaf}{}", root.replace("CERTIFICATE", "THING")))),
        &[
            &wrong("entry 0 does not have the CA bit set"),
            &wrong("entry 1 has bad block type: THING"),
        ],
    );
    check(
        &bundle("a", &text("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")),
        &[&wrong("entry 0 does not parse as X.509")],
    );
    check(
        &bundle("a", &text(&format!("{root}{}{root}", certificate(true)))),
        &[&wrong("duplicate trust anchor (indices [0 2])")],
    );
    check_update(
        &bundle("a.b:c:x", &format!("signerName: a.b/c, {anchor}")),
        "spec: {signerName: a.b/d}",
        &[
            r#"metadata.name: Invalid value: "a.b:c:x": ClusterTrustBundle for signerName a.b/d must be named with prefix a.b:d:"#,
            r#"spec.signerName: Invalid value: "a.b/d": field is immutable"#,
        ],
    );
    // What stays is not read again.
    check_update(&bundle("a", &text("x")), "metadata: {labels: {a: b}}", &[]);
}

fn pod_request(spec: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let request = STANDARD.encode(request.der());
    format!(
        "{{apiVersion: certificates.k8s.io/v1beta1, kind: PodCertificateRequest, spec: {{podName: p, podUID: a, serviceAccountName: s, serviceAccountUID: b, nodeName: n, nodeUID: c, stubPKCS10Request: {request}, {spec}}}}}"
    )
}

#[test]
fn requests_for_pods() {
    check(&pod_request("signerName: a.b/c"), &[]);
    check(
        &pod_request("signerName: kubernetes.io/c, maxExpirationSeconds: 86401"),
        &["spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"],
    );
    check(
        &pod_request("signerName: a.b/c, maxExpirationSeconds: 60"),
        &["spec.maxExpirationSeconds: Invalid value: 60: must be in the range [3600, 7862400]"],
    );
    let (registration, _) = crate::checks::decoded(&pod_request("signerName: a.b/c"));
    let old = created(&pod_request("signerName: a.b/c"));
    let mut new = old.clone();
    new["spec"]["signerName"] = "a.b/d".into();
    let errors = registration.check_update(&ctx(), &new, &old).aggregate();
    assert!(errors.starts_with("spec: ") && errors.ends_with("field is immutable"), "{errors}");
    let status = |status: &str, errors: &[&str]| {
        check_status(&pod_request("signerName: a.b/c"), &format!("status: {{{status}}}"), errors);
    };
    let condition = |kind: &str| {
        format!(
            "conditions: [{{type: {kind}, status: 'True', reason: R, lastTransitionTime: '2024-01-01T00:00:00Z'}}]"
        )
    };
    status(&condition("Denied"), &[]);
    status(
        &format!("{}, certificateChain: x", condition("Failed")),
        &[
            "status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest",
        ],
    );
    status(
        "certificateChain: x",
        &[
            "status: Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
        ],
    );
    status(
        &condition("X"),
        &[
            r#"status.conditions[0].type: Unsupported value: "X": supported values: "Issued", "Denied", "Failed""#,
        ],
    );
    status(
        &condition("Issued"),
        &[
            "status.certificateChain: Invalid value: null: issued certificate chain must contain at least one certificate",
        ],
    );
}
