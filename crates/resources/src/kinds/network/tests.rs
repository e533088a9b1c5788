use crate::checks::{check, check_default, check_status, check_update, check_warnings, created};

fn ingress(spec: &str) -> String {
    format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {{{spec}}}}}")
}

fn path(path: &str) -> String {
    ingress(&format!("rules: [{{http: {{paths: [{{{path}}}]}}}}]"))
}

fn class(spec: &str) -> String {
    format!("{{apiVersion: networking.k8s.io/v1, kind: IngressClass, spec: {{{spec}}}}}")
}

fn policy(spec: &str) -> String {
    format!("{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {{{spec}}}}}")
}

const BACKEND: &str = "backend: {service: {name: s, port: {number: 80}}}";

#[test]
fn ingresses() {
    check(&path(&format!("path: /, pathType: Prefix, {BACKEND}")), &[]);
    check(
        &path(&format!("path: a//b/.., pathType: Exact, {BACKEND}")),
        &[
            r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must be an absolute path"#,
            r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must not contain '//'"#,
            r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": cannot end with '/..'"#,
        ],
    );
    check(
        &path(&format!("path: /, pathType: X, {BACKEND}")),
        &[
            r#"spec.rules[0].http.paths[0].pathType: Unsupported value: "X": supported values: "Exact", "ImplementationSpecific", "Prefix""#,
        ],
    );
    check(
        &path(
            "pathType: ImplementationSpecific, backend: {service: {name: s, port: {number: 80, name: a}}}",
        ),
        &[
            r#"spec.rules[0].http.paths[0].backend: Invalid value: "": cannot set both port name & port number"#,
        ],
    );
    check(
        &ingress("rules: [{host: 1.2.3.4}], tls: [{hosts: ['*.a.b'], secretName: s}]"),
        &[r#"spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#],
    );
    check(
        &ingress("defaultBackend: {}"),
        &[r#"spec.defaultBackend: Invalid value: "": resource or service backend is required"#],
    );
    let both = "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {annotations: {kubernetes.io/ingress.class: a}}, spec: {ingressClassName: b, rules: [{host: a.b}]}}";
    check(
        both,
        &[
            r#"annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified"#,
        ],
    );
    check_status(
        &ingress("rules: [{host: a.b}]"),
        "{status: {loadBalancer: {ingress: [{ip: x}]}}}",
        &[
            r#"status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
        ],
    );
}

#[test]
fn classes() {
    check(&class("controller: a.b/c"), &[]);
    check(
        &class("controller: abc"),
        &[
            r#"spec.controller: Invalid value: "abc": must be a domain-prefixed path (such as "acme.io/foo")"#,
        ],
    );
    check_default(
        &class("controller: a.b/c, parameters: {kind: K, name: n}"),
        "/spec/parameters/scope",
        "Cluster",
    );
    check(
        &class("controller: a.b/c, parameters: {scope: X}"),
        &[
            "spec.parameters.kind: Required value: kind is required",
            "spec.parameters.name: Required value: name is required",
            r#"spec.parameters.scope: Unsupported value: "X": supported values: "Cluster", "Namespace""#,
        ],
    );
    check(
        &class("controller: a.b/c, parameters: {kind: K, name: n, scope: Namespace}"),
        &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
    );
    check_update(
        &class("controller: a.b/c"),
        "{spec: {controller: a.b/d}}",
        &[r#"spec.controller: Invalid value: "a.b/d": field is immutable"#],
    );
}

#[test]
fn policies() {
    check_default(
        &policy("podSelector: {}, egress: [{}]"),
        "/spec/policyTypes",
        "[Ingress, Egress]",
    );
    check_default(&policy("podSelector: {}"), "/spec/policyTypes", "[Ingress]");
    check(
        &policy(
            "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80, endPort: 90}, {port: http}]}]",
        ),
        &[],
    );
    check(
        &policy(
            "podSelector: {}, ingress: [{from: [{}, {podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16, 10.0.0.0/8]}}]}]",
        ),
        &[
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
            r#"spec.ingress[0].from[2].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`"#,
            r#"spec.ingress[0].from[2].ipBlock.except[1]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`"#,
        ],
    );
    check(
        &policy(
            "podSelector: {}, policyTypes: [X], egress: [{ports: [{endPort: 3}, {port: 80, endPort: 79}, {port: a, endPort: 1, protocol: Y}]}]",
        ),
        &[
            "spec.egress[0].ports[0].endPort: Invalid value: 3: may not be specified when `port` is not specified",
            "spec.egress[0].ports[1].endPort: Invalid value: 80: must be greater than or equal to `port`",
            r#"spec.egress[0].ports[2].protocol: Unsupported value: "Y": supported values: "TCP", "UDP", "SCTP""#,
            "spec.egress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is non-numeric",
            r#"spec.policyTypes[0]: Unsupported value: "X": supported values: "Ingress", "Egress""#,
        ],
    );
}

#[test]
fn service_ranges() {
    let ranges = |list: &str| {
        format!("{{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, spec: {{cidrs: {list}}}}}")
    };
    check(&ranges("[10.96.0.0/12, 'fd00::/108']"), &[]);
    check(
        &ranges("[10.96.0.0/12, 10.0.0.0/24]"),
        &[
            r#"spec.cidrs: Invalid value: {"cidrs":["10.96.0.0/12","10.0.0.0/24"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#,
        ],
    );
    check(
        &ranges("[10.96.0.1/12]"),
        &[
            r#"spec.cidrs[0]: Invalid value: "10.96.0.1/12": must not have bits set beyond the prefix length"#,
        ],
    );
    check(&ranges("[]"), &["spec.cidrs: Required value: at least one CIDR required"]);
    check_update(&ranges("[10.96.0.0/12]"), "{spec: {cidrs: [10.96.0.0/12, 'fd00::/108']}}", &[]);
    check_update(
        &ranges("[10.96.0.0/12]"),
        "{spec: {cidrs: [10.96.0.0/13]}}",
        &[r#"spec.cidrs[0]: Invalid value: "10.96.0.0/13": field is immutable"#],
    );
}

#[test]
fn addresses() {
    let address = |name: &str, spec: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: IPAddress, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
        )
    };
    check(&address("10.0.0.1", "parentRef: {resource: services, namespace: a, name: b}"), &[]);
    check(
        &address("x", "parentRef: {resource: services}"),
        &[
            r#"metadata.name: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
            "spec.parentRef.name: Required value",
        ],
    );
}

#[test]
fn what_was_wrong_before_may_stay() {
    let ingress = ingress("rules: [{host: a.b}], tls: [{secretName: s}]");
    let registration = crate::find_kind("networking.k8s.io", "v1", "Ingress").unwrap();
    let mut old = created(&ingress);
    let errors = |new: &machinery::Value, old: &machinery::Value| {
        registration.check_update(&crate::checks::ctx(), new, old).len()
    };
    let mut new = old.clone();
    new["spec"]["tls"][0]["secretName"] = "-".into();
    assert_eq!(errors(&new, &old), 1);
    old["spec"]["tls"][0]["secretName"] = "_".into();
    assert_eq!(errors(&new, &old), 0);
    new["spec"]["rules"][0] = serde_json::json!({"host": "*.a.b", "http": {"paths": []}});
    assert_eq!(errors(&new, &old), 1);
    old["spec"]["rules"][0] = new["spec"]["rules"][0].clone();
    assert_eq!(errors(&new, &old), 0);
}

#[test]
fn warnings() {
    check_warnings(
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {annotations: {kubernetes.io/ingress.class: a}}, spec: {}}",
        &[
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
        ],
    );
    check_warnings(
        &policy("podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.1/8}}]}]"),
        &[
            "spec.egress[0].to[0].ipBlock.cidr: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
        ],
    );
}
