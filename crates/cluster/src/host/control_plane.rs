//! The keys that all control planes of a cluster share: how a further one gets them. As kubeadm
//! does, they are kept for two hours in the Secret `kube-system/kubeadm-certs`, encrypted with a key
//! that the administrator carries over ([`crate::seal`]).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use component::pki::{self, Authority};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use machinery::hex;

use super::HostError;
use crate::addons;
use crate::node::files::{ClusterKeys, Content, PKI};
use crate::seal::{Key, LENGTH};
use crate::tokens;

/// The Secret.
pub(super) const SECRET: &str = "kubeadm-certs";
/// How long it stays.
const TTL: Duration = Duration::from_secs(2 * 3600);

/// A key that the shared keys are encrypted with.
pub(super) struct CertificateKey(Key);

impl CertificateKey {
    /// Reads it from hexadecimal.
    pub(super) fn parse(text: &str) -> Result<Self, HostError> {
        let wrong =
            || HostError::CertificateKey("the certificate key must be 64 hexadecimal digits");
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let bytes =
            bytes.filter(|_| text.is_ascii() && text.len() == 2 * LENGTH).ok_or_else(wrong)?;
        Ok(Self(Key::from_bytes(bytes.try_into().map_err(|_| wrong())?)))
    }

    fn decrypt(&self, bytes: &[u8]) -> Result<String, HostError> {
        self.0.decrypt(bytes).map_err(|_| {
            HostError::CertificateKey(
                "the certificate key does not decrypt the Secret kubeadm-certs; it has to be the one that `ironclad init --upload-certs` printed",
            )
        })
    }
}

impl std::fmt::Display for CertificateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::digits(self.0.bytes()))
    }
}

/// The keys of a control plane that has them in `folder`.
pub(crate) fn keys_of(folder: &Path) -> Result<ClusterKeys, HostError> {
    if !folder.join("ca.key").exists() {
        let problem = "the key of the cluster's authority is not here".to_owned();
        return Err(HostError::Keys { path: folder.join("ca.key").display().to_string(), problem });
    }
    keys(folder)
}

/// The keys that are in `folder`, and new ones for those that are not.
pub(super) fn keys(folder: &Path) -> Result<ClusterKeys, HostError> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    assemble(&read, &folder.display().to_string())
}

fn assemble(read: &dyn Fn(&str) -> Option<String>, place: &str) -> Result<ClusterKeys, HostError> {
    let half = |name: &str| HostError::Keys {
        path: format!("{place}/{name}"),
        problem: "the other half of the pair is missing; restore it, or remove this one".to_owned(),
    };
    let authority = |stem: &str, common_name: &str| {
        let (certificate, key) = (format!("{stem}.crt"), format!("{stem}.key"));
        match (read(&certificate), read(&key)) {
            (Some(certificate), Some(key)) => Ok(Authority::load(&certificate, &key)?),
            (None, None) => Ok(Authority::generate(common_name)?),
            (Some(_), None) => Err(half(&certificate)),
            (None, Some(_)) => Err(half(&key)),
        }
    };
    let service_accounts = match (read("sa.key"), read("sa.pub")) {
        (Some(private), Some(public)) => (private, public),
        (None, None) => pki::signing_key()?,
        (Some(_), None) => return Err(half("sa.key")),
        (None, Some(_)) => return Err(half("sa.pub")),
    };
    Ok(ClusterKeys {
        ca: authority("ca", "kubernetes")?,
        front_proxy: authority("front-proxy-ca", "front-proxy-ca")?,
        service_accounts,
        etcd: read("etcd/ca.key").map(|_| authority("etcd/ca", "etcd-ca")).transpose()?,
    })
}

/// Keeps the shared keys in the cluster, for further control planes, and gives the key that they
/// are encrypted with.
pub(super) async fn upload(
    client: &Client,
    keys: &ClusterKeys,
) -> Result<CertificateKey, HostError> {
    let certificate_key = CertificateKey(Key::generate()?);
    // The Secret goes with the token that owns it, which expires.
    let owner = tokens::generate()?;
    let settings = tokens::Settings {
        ttl: Some(TTL),
        usages: Vec::new(),
        groups: Vec::new(),
        description: "Proxy for managing TTL for the kubeadm-certs secret".to_owned(),
    };
    tokens::create(client, &owner, &settings).await?;
    let api: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let failed = |source| HostError::Api { what: "keeping the keys in the cluster", source };
    let made = api.get(&owner.secret_name()).await.map_err(|e| failed(Box::new(e)))?;
    let mut data = BTreeMap::new();
    for file in keys.files() {
        if let Content::Text(text) = &file.content {
            data.insert(entry(&file.path), ByteString(certificate_key.0.encrypt(text)?));
        }
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            namespace: Some("kube-system".to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Secret".to_owned(),
                name: owner.secret_name(),
                uid: made.metadata.uid.unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..Secret::default()
    };
    let params = PatchParams::apply("ironclad").force();
    let applied = api.patch(SECRET, &params, &Patch::Apply(&secret)).await;
    applied.map_err(|error| failed(Box::new(error)))?;
    addons::share_keys(client).await?;
    Ok(certificate_key)
}

/// What a file is called in the Secret.
fn entry(path: &Path) -> String {
    path.strip_prefix(PKI).unwrap_or(path).to_string_lossy().replace('/', "-")
}

/// The shared keys, from what the cluster keeps.
pub(super) fn unseal(secret: &Secret, key: &CertificateKey) -> Result<ClusterKeys, HostError> {
    let mut texts = BTreeMap::new();
    for (name, bytes) in secret.data.iter().flatten() {
        texts.insert(name.clone(), key.decrypt(&bytes.0)?);
    }
    for name in ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"]
    {
        if !texts.contains_key(name) {
            let problem = "the Secret kubeadm-certs does not hold it".to_owned();
            return Err(HostError::Keys { path: format!("{PKI}/{name}"), problem });
        }
    }
    assemble(&|name| texts.get(&entry(Path::new(name))).cloned(), PKI)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterConfiguration;

    #[test]
    fn keys_come_back_with_their_key_and_with_no_other() {
        let config = ClusterConfiguration::new("c", "192.0.2.1:6443").with_local_etcd();
        let keys = ClusterKeys::generate().unwrap().for_cluster(&config).unwrap();
        let key = CertificateKey(Key::generate().unwrap());
        let mut data = BTreeMap::new();
        for file in keys.files() {
            let Content::Text(text) = &file.content else { continue };
            data.insert(entry(&file.path), ByteString(key.0.encrypt(text).unwrap()));
        }
        assert!(data.contains_key("etcd-ca.key"));
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        let carried = CertificateKey::parse(&key.to_string()).unwrap();
        let back = unseal(&secret, &carried).unwrap();
        assert_eq!(back.ca.certificate(), keys.ca.certificate());
        assert_eq!(back.service_accounts, keys.service_accounts);
        let etcd = |keys: &ClusterKeys| keys.etcd.as_ref().unwrap().certificate().to_owned();
        assert_eq!(etcd(&back), etcd(&keys));
        let other = CertificateKey(Key::generate().unwrap());
        assert!(matches!(unseal(&secret, &other), Err(HostError::CertificateKey(_))));
        secret.data.as_mut().unwrap().remove("sa.pub");
        assert!(matches!(unseal(&secret, &key), Err(HostError::Keys { .. })));
        for wrong in ["", "ab", &"z".repeat(64), &"a".repeat(63)] {
            assert!(CertificateKey::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_that_are_there_are_used_and_half_a_pair_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::generate("own").unwrap();
        fs::write(folder.path().join("ca.crt"), ca.certificate()).unwrap();
        assert!(matches!(keys(folder.path()), Err(HostError::Keys { .. })));
        fs::write(folder.path().join("ca.key"), &ca.pair().key).unwrap();
        assert_eq!(keys(folder.path()).unwrap().ca.certificate(), ca.certificate());
        fs::write(folder.path().join("sa.pub"), "x").unwrap();
        assert!(matches!(keys(folder.path()), Err(HostError::Keys { .. })));
    }
}
