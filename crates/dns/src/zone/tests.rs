//! Questions and their answers, for one small cluster.

use serde_json::json;

use super::*;

fn index() -> Index {
    let mut index = Index::default();
    for name in ["default", "kube-system"] {
        index.set_namespace(name, true);
    }
    for (name, spec) in [
        (
            "web",
            json!({ "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "ports": [
                { "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" } ] }),
        ),
        ("db", json!({ "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] })),
        ("empty", json!({ "clusterIP": "None" })),
        ("out", json!({ "type": "ExternalName", "externalName": "example.com" })),
        ("in", json!({ "type": "ExternalName", "externalName": "web.default.svc.cluster.local" })),
        (
            "loop",
            json!({ "type": "ExternalName", "externalName": "loop.default.svc.cluster.local" }),
        ),
    ] {
        let service = json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec });
        index.set_service(&serde_json::from_value(service).unwrap());
    }
    let slice = json!({
        "metadata": { "namespace": "default", "name": "db-1",
                      "labels": { "kubernetes.io/service-name": "db" } },
        "addressType": "IPv4",
        "ports": [{ "name": "sql", "port": 5432 }],
        "endpoints": [
            { "addresses": ["10.244.1.5"], "hostname": "db-0" },
            { "addresses": ["10.244.2.6"], "conditions": { "ready": true } },
            { "addresses": ["10.244.2.7"], "conditions": { "ready": false } },
        ],
    });
    index.set_slice(&serde_json::from_value(slice).unwrap());
    index
}

/// The answer as `CODE: data, data [+ additional]`.
fn ask(index: &Index, name: &str, kind: RecordType) -> String {
    let zone = Zone::new("cluster.local").unwrap();
    let name = Name::from_ascii(name).unwrap();
    let (sections, tail) = match zone.answer(index, &name, kind, 0) {
        Answer::Elsewhere => return "elsewhere".to_owned(),
        Answer::Here(sections) => (sections, String::new()),
        Answer::Continue(sections, target) => (sections, format!(" → {target}")),
    };
    let negative = sections.answers.is_empty();
    let soa = sections.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
    assert_eq!(negative, soa, "negative answers, and only they, carry the SOA record");
    let list = |records: &[Record]| {
        records.iter().map(|r| r.data.to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("{:?}: {}", sections.code, list(&sections.answers));
    if !sections.additionals.is_empty() {
        text.push_str(&format!(" + {}", list(&sections.additionals)));
    }
    text + &tail
}

#[test]
fn names_of_services_and_pods() {
    use RecordType::{A, AAAA, ANY, CNAME, SRV, TXT};
    let index = index();
    for (name, kind, want) in [
        ("web.default.svc.cluster.local.", A, "NoError: 10.96.0.7"),
        ("WEB.Default.svc.Cluster.Local.", A, "NoError: 10.96.0.7"),
        ("web.default.svc.cluster.local.", AAAA, "NoError: fd00::7"),
        ("web.default.svc.cluster.local.", TXT, "NoError: "),
        ("web.default.svc.cluster.local.", ANY, "NoError: 10.96.0.7, fd00::7"),
        ("nope.default.svc.cluster.local.", A, "NXDomain: "),
        ("web.nope.svc.cluster.local.", A, "NXDomain: "),
        (
            "_http._tcp.web.default.svc.cluster.local.",
            SRV,
            "NoError: 0 100 80 web.default.svc.cluster.local. + 10.96.0.7, fd00::7",
        ),
        (
            "_dns._udp.web.default.svc.cluster.local.",
            SRV,
            "NoError: 0 100 53 web.default.svc.cluster.local. + 10.96.0.7, fd00::7",
        ),
        ("_http._udp.web.default.svc.cluster.local.", SRV, "NXDomain: "),
        ("_http._tcp.web.default.svc.cluster.local.", A, "NoError: "),
        (
            "web.default.svc.cluster.local.",
            SRV,
            "NoError: 0 50 80 web.default.svc.cluster.local., 0 50 53 \
             web.default.svc.cluster.local. + 10.96.0.7, fd00::7",
        ),
        ("db.default.svc.cluster.local.", A, "NoError: 10.244.1.5, 10.244.2.6"),
        ("db.default.svc.cluster.local.", AAAA, "NoError: "),
        ("db-0.db.default.svc.cluster.local.", A, "NoError: 10.244.1.5"),
        ("10-244-2-6.db.default.svc.cluster.local.", A, "NoError: 10.244.2.6"),
        ("10-244-2-7.db.default.svc.cluster.local.", A, "NXDomain: "),
        (
            "_sql._tcp.db.default.svc.cluster.local.",
            SRV,
            "NoError: 0 50 5432 db-0.db.default.svc.cluster.local., 0 50 5432 \
             10-244-2-6.db.default.svc.cluster.local. + 10.244.1.5, 10.244.2.6",
        ),
        ("empty.default.svc.cluster.local.", A, "NXDomain: "),
        ("out.default.svc.cluster.local.", A, "NoError: example.com. → example.com."),
        ("out.default.svc.cluster.local.", CNAME, "NoError: example.com."),
        ("in.default.svc.cluster.local.", A, "NoError: web.default.svc.cluster.local., 10.96.0.7"),
        ("loop.default.svc.cluster.local.", A, "NoError: loop.default.svc.cluster.local."),
        ("10-244-9-9.default.pod.cluster.local.", A, "NoError: 10.244.9.9"),
        ("10-244-9-9.nope.pod.cluster.local.", A, "NXDomain: "),
        ("x.default.pod.cluster.local.", A, "NXDomain: "),
        ("default.svc.cluster.local.", A, "NoError: "),
        ("nope.svc.cluster.local.", A, "NXDomain: "),
        ("svc.cluster.local.", A, "NoError: "),
        ("cluster.local.", A, "NoError: "),
        ("cluster.local.", RecordType::NS, "NoError: ns.dns.cluster.local."),
        ("dns-version.cluster.local.", TXT, "NoError: 1.1.0"),
        ("a.b.c.d.e.svc.cluster.local.", A, "NXDomain: "),
        ("web.default.svc.cluster.local.example.com.", A, "elsewhere"),
        ("example.com.", A, "elsewhere"),
    ] {
        assert_eq!(ask(&index, name, kind), want, "{name} {kind}");
    }
}

#[test]
fn reverse_names() {
    let index = index();
    let six = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
    for (name, want) in [
        ("7.0.96.10.in-addr.arpa.", "NoError: web.default.svc.cluster.local."),
        (six, "NoError: web.default.svc.cluster.local."),
        ("5.1.244.10.in-addr.arpa.", "NoError: db-0.db.default.svc.cluster.local."),
        ("9.9.9.9.in-addr.arpa.", "elsewhere"),
        ("96.10.in-addr.arpa.", "elsewhere"),
    ] {
        assert_eq!(ask(&index, name, RecordType::PTR), want, "{name}");
    }
}

#[test]
fn addresses_take_turns() {
    let zone = Zone::new("cluster.local").unwrap();
    let name = Name::from_ascii("db.default.svc.cluster.local.").unwrap();
    let index = index();
    let first = |turn| match zone.answer(&index, &name, RecordType::A, turn) {
        Answer::Here(sections) => sections.answers[0].data.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!([first(0), first(1), first(2)], ["10.244.1.5", "10.244.2.6", "10.244.1.5"]);
}

#[test]
fn what_is_removed_has_no_name() {
    let mut index = index();
    index.remove_service("default", "web");
    assert_eq!(ask(&index, "web.default.svc.cluster.local.", RecordType::A), "NXDomain: ");
    assert_eq!(ask(&index, "7.0.96.10.in-addr.arpa.", RecordType::PTR), "elsewhere");
    let slice = json!({
        "metadata": { "namespace": "default", "name": "db-1",
                      "labels": { "kubernetes.io/service-name": "db" } },
        "addressType": "IPv4", "endpoints": [{ "addresses": ["10.244.1.6"], "hostname": "db-0" }],
    });
    let slice = serde_json::from_value(slice).unwrap();
    index.set_slice(&slice);
    assert_eq!(ask(&index, "db.default.svc.cluster.local.", RecordType::A), "NoError: 10.244.1.6");
    assert_eq!(ask(&index, "5.1.244.10.in-addr.arpa.", RecordType::PTR), "elsewhere");
    index.remove_slice(&slice);
    assert_eq!(ask(&index, "db.default.svc.cluster.local.", RecordType::A), "NXDomain: ");
}
