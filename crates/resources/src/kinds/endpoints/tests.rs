use machinery::meta;

use crate::checks::{check, check_default, check_update, check_warnings, created, updated};

fn endpoints(subset: &str) -> String {
    format!("{{apiVersion: v1, kind: Endpoints, subsets: [{{{subset}}}]}}")
}

fn slice(rest: &str) -> String {
    format!("{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, {rest}}}")
}

#[test]
fn subsets() {
    check(&endpoints("addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]"), &[]);
    check_default(
        &endpoints("addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]"),
        "/subsets/0/ports/0/protocol",
        "TCP",
    );
    check(
        &endpoints("ports: [{port: 80}]"),
        &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
    );
    check(
        &endpoints(
            "addresses: [{ip: x}, {ip: 127.0.0.1}, {ip: 169.254.0.1}, {ip: 224.0.0.9}, {ip: 0.0.0.0}]",
        ),
        &[
            r#"subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
            r#"subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address"#,
            r#"subsets[0].addresses[1].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
            r#"subsets[0].addresses[2].ip: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)"#,
            r#"subsets[0].addresses[3].ip: Invalid value: "224.0.0.9": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"#,
            r#"subsets[0].addresses[4].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)"#,
        ],
    );
    check(
        &endpoints(
            "addresses: [{ip: 10.0.0.1}], ports: [{port: 0}, {port: 1, name: a, protocol: X}]",
        ),
        &[
            "subsets[0].ports[0].name: Required value",
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            r#"subsets[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
        ],
    );
}

#[test]
fn slices() {
    check(
        &slice("addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]"),
        &[],
    );
    check_default(
        &slice("addressType: IPv4, endpoints: [], ports: [{port: 80}]"),
        "/ports/0",
        "{name: '', port: 80, protocol: TCP}",
    );
    check(&slice("endpoints: []"), &["addressType: Required value"]);
    check(
        &slice("addressType: X, endpoints: []"),
        &[r#"addressType: Unsupported value: "X": supported values: "FQDN", "IPv4", "IPv6""#],
    );
    check(
        &slice("addressType: IPv4, endpoints: [{addresses: ['2001:db8::1']}, {addresses: []}]"),
        &[
            r#"endpoints[0].addresses[0]: Invalid value: "2001:db8::1": must be a valid IPv4 address"#,
            "endpoints[1].addresses: Required value: must contain at least 1 address",
        ],
    );
    check(
        &slice("addressType: FQDN, endpoints: [{addresses: [a.b.]}, {addresses: [a]}]"),
        &[
            r#"endpoints[1].addresses[0]: Invalid value: "a": should be a domain with at least two segments separated by dots"#,
        ],
    );
    check(
        &slice(
            "addressType: IPv4, endpoints: [], ports: [{port: 1}, {port: 2}, {name: a, protocol: Z}]",
        ),
        &[
            r#"ports[1].name: Duplicate value: """#,
            r#"ports[2].protocol: Unsupported value: "Z": supported values: "SCTP", "TCP", "UDP""#,
        ],
    );
    check_update(
        &slice("addressType: IPv4, endpoints: []"),
        "{addressType: IPv6}",
        &[r#"addressType: Invalid value: "IPv6": field is immutable"#],
    );
}

#[test]
fn slices_count_changes_of_labels() {
    let slice = slice(
        "addressType: IPv4, endpoints: [{addresses: [10.0.0.1], deprecatedTopology: {a: b}}]",
    );
    let object = created(&slice);
    assert_eq!(meta::generation(&object), 1);
    assert!(object.pointer("/endpoints/0/deprecatedTopology").is_none());
    assert_eq!(meta::generation(&updated(&slice, "{metadata: {labels: {a: b}}}")), 2);
    assert_eq!(meta::generation(&updated(&slice, "{metadata: {annotations: {a: b}}}")), 1);
}

#[test]
fn warnings_about_slices() {
    let odd = "addressType: IPv6, endpoints: [{addresses: ['2001:DB8::1']}]";
    check_warnings(
        &slice(odd),
        &[
            "endpoints[0].addresses[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
        ],
    );
    let ours = "metadata: {labels: {endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}";
    check_warnings(&slice(&format!("{ours}, {odd}")), &[]);
    check_warnings(
        &slice("addressType: FQDN, endpoints: []"),
        &["addressType: FQDN endpoints are deprecated"],
    );
}
