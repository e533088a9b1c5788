use std::time::Duration;

use component::bootstrap_token::{KUBECONFIG_KEY, TYPE};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;

use super::cleaner::left;
use super::signer::plan;

fn secret(fields: &[(&str, &str)]) -> Secret {
    let fields = fields.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec())));
    Secret { type_: Some(TYPE.to_owned()), data: Some(fields.collect()), ..Secret::default() }
}

fn signing(id: &str, more: &[(&str, &str)]) -> Secret {
    let own = [
        ("token-id", id),
        ("token-secret", "0123456789abcdef"),
        ("usage-bootstrap-signing", "true"),
    ];
    secret(&[&own, more].concat())
}

#[test]
fn only_tokens_that_ended_go() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let check = |secret: &Secret, wanted: Option<u64>| {
        assert_eq!(left(secret, now), wanted.map(Duration::from_secs), "{secret:?}");
    };
    check(&secret(&[]), None);
    check(&secret(&[("expiration", "2026-01-01T00:01:00Z")]), Some(60));
    check(&secret(&[("expiration", "2026-01-01T01:01:00+01:00")]), Some(60));
    check(&secret(&[("expiration", "2025-12-31T23:59:59Z")]), Some(0));
    check(&secret(&[("expiration", "soon")]), Some(0));
    let other = Secret { type_: None, ..secret(&[("expiration", "2025-01-01T00:00:00Z")]) };
    check(&other, None);
}

#[test]
fn every_token_that_may_signs_and_signatures_of_others_go() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let data = [(KUBECONFIG_KEY, "content"), ("jws-kubeconfig-gonee1", "x"), ("other", "stays")];
    let data = data.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let present = ConfigMap { data: Some(data.into()), ..ConfigMap::default() };
    let tokens = [
        signing("aaaaaa", &[]),
        signing("bbbbbb", &[("expiration", "2026-01-01T00:00:01Z")]),
        signing("cccccc", &[("expiration", "2026-01-01T00:00:00Z")]),
        signing("dddddd", &[("usage-bootstrap-signing", "false")]),
        signing("broken", &[("token-secret", "short")]),
    ];
    let signed = plan(&present, tokens.iter(), now).unwrap();
    let data = signed.data.as_ref().unwrap();
    let keys: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(keys, ["jws-kubeconfig-aaaaaa", "jws-kubeconfig-bbbbbb", KUBECONFIG_KEY, "other"]);
    let token: component::bootstrap_token::Token = "aaaaaa.0123456789abcdef".parse().unwrap();
    assert!(token.verify("content", &data["jws-kubeconfig-aaaaaa"]));
    assert_eq!(plan(&signed, tokens.iter(), now), None);
    assert_eq!(plan(&ConfigMap::default(), tokens.iter(), now), None);
}
