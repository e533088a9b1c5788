use std::time::Duration;

use component::pki::{Authority, Subject};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::approve::{Recognized, recognize};
use super::sign::{Plan, plan};
use super::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const CLIENT: [&str; 3] = ["key encipherment", "digital signature", "client auth"];

fn signing_request(common_name: &str, organizations: &[&str], names: &[&str]) -> String {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let subject = Subject {
        common_name: common_name.to_owned(),
        organizations: owned(organizations),
        names: owned(names),
        ..Subject::default()
    };
    component::pki::signing_request(&subject).unwrap().0
}

fn csr(
    signer: &str,
    subject: (&str, &[&str]),
    names: &[&str],
    usages: &[&str],
) -> CertificateSigningRequest {
    let mut csr = CertificateSigningRequest::default();
    csr.metadata.name = Some("csr".to_owned());
    csr.spec.signer_name = signer.to_owned();
    csr.spec.request = ByteString(signing_request(subject.0, subject.1, names).into_bytes());
    csr.spec.usages = Some(usages.iter().map(|usage| (*usage).to_owned()).collect());
    csr.spec.username = Some("system:bootstrap:abcdef".to_owned());
    csr
}

fn approved(csr: &CertificateSigningRequest) -> CertificateSigningRequest {
    with_condition(csr, "Approved", "Test", String::new(), Timestamp::UNIX_EPOCH)
}

const NODE_1: (&str, &[&str]) = ("system:node:n1", &["system:nodes"]);

#[test]
fn kubelets_client_certificates_are_recognized() {
    use Recognized::{NodeClient, SelfNodeClient};
    let check = |csr: &CertificateSigningRequest, wanted: &[Recognized]| {
        assert_eq!(recognize(csr), wanted, "{csr:?}");
    };
    let good = csr(KUBELET_CLIENT, NODE_1, &[], &CLIENT);
    check(&good, &[NodeClient]);
    check(&csr(KUBELET_CLIENT, NODE_1, &[], &CLIENT[1..]), &[NodeClient]);
    let mut own = good.clone();
    own.spec.username = Some("system:node:n1".to_owned());
    check(&own, &[SelfNodeClient, NodeClient]);
    check(&approved(&good), &[]);
    check(&csr(API_SERVER_CLIENT, NODE_1, &[], &CLIENT), &[]);
    check(&csr(KUBELET_CLIENT, NODE_1, &["n1"], &CLIENT), &[]);
    check(&csr(KUBELET_CLIENT, NODE_1, &[], &["server auth", "digital signature"]), &[]);
    check(&csr(KUBELET_CLIENT, ("n1", &["system:nodes"]), &[], &CLIENT), &[]);
    check(&csr(KUBELET_CLIENT, ("system:node:n1", &["system:masters"]), &[], &CLIENT), &[]);
    let both = ("system:node:n1", ["system:nodes", "system:masters"].as_slice());
    check(&csr(KUBELET_CLIENT, both, &[], &CLIENT), &[]);
}

#[test]
fn approved_requests_are_signed_if_they_fit_their_signer() {
    let check = |csr: &CertificateSigningRequest, wanted: Plan| {
        assert_eq!(plan(csr, YEAR), wanted, "{csr:?}");
    };
    let fail = |text: &str| Plan::Fail(text.to_owned());
    let good = csr(KUBELET_CLIENT, NODE_1, &[], &CLIENT);
    check(&good, Plan::Nothing);
    check(&approved(&good), Plan::Sign(YEAR));
    let mut short = approved(&good);
    short.spec.expiration_seconds = Some(3600);
    check(&short, Plan::Sign(Duration::from_secs(3600)));
    let denied = with_condition(&approved(&good), "Denied", "T", String::new(), Timestamp::now());
    check(&denied, Plan::Nothing);
    let failed = with_condition(&approved(&good), "Failed", "T", String::new(), Timestamp::now());
    check(&failed, Plan::Nothing);
    check(&approved(&csr("example.com/own", NODE_1, &[], &CLIENT)), Plan::Nothing);
    let server = ["digital signature", "server auth"];
    let serving = |names: &[&str]| approved(&csr(KUBELET_SERVING, NODE_1, names, &server));
    check(&serving(&["n1", "10.0.0.1"]), Plan::Sign(YEAR));
    check(&serving(&[]), fail("DNS or IP subjectAltName is required"));
    check(&approved(&csr(KUBELET_SERVING, NODE_1, &["n1"], &CLIENT)), fail("usages did not match"));
    check(
        &approved(&csr(KUBELET_CLIENT, ("system:node:a", &["b"]), &[], &CLIENT)),
        fail("organization in csr is not system:nodes"),
    );
    let user = |usages: &[&str]| approved(&csr(API_SERVER_CLIENT, ("jane", &["dev"]), &[], usages));
    check(&user(&["client auth"]), Plan::Sign(YEAR));
    check(
        &user(&["client auth", "server auth"]),
        fail("invalid usages for client certificate: [client auth server auth]"),
    );
    let mut garbage = approved(&good);
    garbage.spec.request = ByteString(b"garbage".to_vec());
    check(
        &garbage,
        fail("unable to parse csr \"csr\": PEM block type must be CERTIFICATE REQUEST"),
    );
}

#[test]
fn serving_certificates_are_for_what_the_node_is_known_as() {
    use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeStatus};
    let server = ["digital signature", "server auth"];
    let address = |(type_, address): &(&str, &str)| NodeAddress {
        type_: (*type_).to_owned(),
        address: (*address).to_owned(),
    };
    let known = [("InternalIP", "10.0.0.1"), ("Hostname", "n1"), ("ExternalIP", "10.0.0.2")];
    let node = Node {
        status: Some(NodeStatus {
            addresses: Some(known.iter().map(address).collect()),
            ..NodeStatus::default()
        }),
        ..Node::default()
    };
    let check = |subject, names: &[&str], node: Option<&Node>, wanted: Result<(), &str>| {
        let csr = csr(KUBELET_SERVING, subject, names, &server);
        let request = serving::recognize(&csr).unwrap();
        let judged = serving::judge(&request, "n1", node);
        assert_eq!(judged, wanted.map_err(str::to_owned), "{names:?}");
    };
    check(NODE_1, &["n1", "10.0.0.1"], Some(&node), Ok(()));
    check(NODE_1, &["10.0.0.2"], Some(&node), Ok(()));
    check(NODE_1, &["n1"], None, Err("there is no node n1"));
    check(NODE_1, &["n1", "n2"], Some(&node), Err("node n1 is not known as n2"));
    check(NODE_1, &["n1", "10.0.0.3"], Some(&node), Err("node n1 is not known at 10.0.0.3"));
    check(NODE_1, &["n1"], Some(&Node::default()), Err("node n1 is not known as n1"));
    let other = ("system:node:n2", NODE_1.1);
    let wanted = Err("node n1 asks in the name of \"system:node:n2\"");
    check(other, &["n1"], Some(&node), wanted);

    let unrecognized = |csr: &CertificateSigningRequest| {
        assert_eq!(serving::recognize(csr), None, "{csr:?}");
    };
    unrecognized(&csr(KUBELET_SERVING, NODE_1, &[], &server));
    unrecognized(&csr(KUBELET_SERVING, NODE_1, &["n1"], &CLIENT));
    unrecognized(&csr(KUBELET_CLIENT, NODE_1, &["n1"], &server));
    unrecognized(&approved(&csr(KUBELET_SERVING, NODE_1, &["n1"], &server)));
}

#[test]
fn certificates_say_what_was_asked_for_and_end_with_their_authority() {
    let authority = Authority::generate("test").unwrap();
    let request = signing_request(NODE_1.0, NODE_1.1, &["n1", "10.0.0.1"]);
    let usages = ["digital signature".to_owned(), "server auth".to_owned()];
    let text = authority.sign(&request, &usages, 100 * YEAR).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:n1");
    let (_, own) = x509_parser::pem::parse_x509_pem(authority.certificate().as_bytes()).unwrap();
    let own = own.parse_x509().unwrap();
    let late = certificate.validity().not_after.timestamp() - own.validity().not_after.timestamp();
    assert!((-2..=0).contains(&late), "{late}");
    certificate.verify_signature(Some(own.public_key())).unwrap();
    let extended = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth);
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_encipherment());
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 2);
    let unknown = authority.sign(&request, &["ipsec user".to_owned()], YEAR);
    assert_eq!(unknown.unwrap_err().to_string(), "unrecognized usage \"ipsec user\"");
}

#[test]
fn old_requests_go() {
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let mut csr = csr(KUBELET_CLIENT, NODE_1, &[], &CLIENT);
    assert_eq!(clean::due(&csr), None);
    csr.metadata.creation_timestamp = Some(Time(at(0)));
    assert_eq!(clean::due(&csr), Some(at(24 * 3600)));
    assert_eq!(clean::due(&approved(&csr)), Some(at(3600)));
}
