//! TLS: members and clients check each other.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use store::etcd::{Options, connect};
use store::{Error, RangeRequest, Txn};

use super::EtcdCluster;
use super::cluster::Tls;

/// An authority and a certificate for members and clients, as files of which `name` tells.
fn certificates(folder: &Path, name: &str) -> Tls {
    let write = |part: &str, text: String| -> PathBuf {
        let path = folder.join(format!("{name}-{part}"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&ca_key).unwrap();
    let issuer = Issuer::from_params(&authority, &ca_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(Vec::<String>::new()).unwrap();
    let address: IpAddr = EtcdCluster::address().parse().unwrap();
    leaf.subject_alt_names = vec![SanType::IpAddress(address)];
    leaf.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    Tls {
        ca: write("ca.crt", ca.pem()),
        certificate: write("leaf.crt", certificate.pem()),
        key: write("leaf.key", key.serialize_pem()),
    }
}

#[tokio::test]
async fn members_and_clients_check_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let right = certificates(folder.path(), "right");
    let wrong = certificates(folder.path(), "wrong");
    let cluster = EtcdCluster::start(1, &[], Some(right.clone()));
    let options = |ca: &Tls, own: Option<&Tls>| Options {
        servers: cluster.servers(),
        ca_file: Some(ca.ca.clone()),
        cert_file: own.map(|own| own.certificate.clone()),
        key_file: own.map(|own| own.key.clone()),
        ..Options::default()
    };
    let store = connect(&options(&right, Some(&right))).await.unwrap();
    assert!(store.txn(Txn::create("/registry/a", "1", None)).await.unwrap().succeeded);
    assert_eq!(store.range(RangeRequest::prefix("/registry/")).await.unwrap().kvs.len(), 1);

    for options in
        [options(&wrong, Some(&right)), options(&right, Some(&wrong)), options(&right, None)]
    {
        // The members are up, so whoever is not let in yet never will be.
        let refused = tokio::time::timeout(Duration::from_secs(2), connect(&options)).await;
        assert!(refused.is_err(), "{options:?}");
    }
    let half = Options { key_file: None, ..options(&right, Some(&right)) };
    assert!(matches!(connect(&half).await.map(|_| ()), Err(Error::Engine(_))));
}

#[tokio::test]
async fn certificates_that_are_replaced_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let right = certificates(folder.path(), "right");
    let wrong = certificates(folder.path(), "wrong");
    let cluster = EtcdCluster::start(1, &[], Some(right.clone()));
    let options = Options {
        servers: cluster.servers(),
        ca_file: Some(wrong.ca.clone()),
        cert_file: Some(wrong.certificate.clone()),
        key_file: Some(wrong.key.clone()),
        ..Options::default()
    };
    let mut connecting = Box::pin(connect(&options));
    // The files are read by now, and lead nowhere.
    assert!(futures::poll!(&mut connecting).is_pending());
    for (from, to) in
        [(&right.certificate, &wrong.certificate), (&right.key, &wrong.key), (&right.ca, &wrong.ca)]
    {
        std::fs::copy(from, to).unwrap();
    }
    let store = connecting.await.unwrap();
    assert!(store.txn(Txn::create("/registry/a", "1", None)).await.unwrap().succeeded);
}
