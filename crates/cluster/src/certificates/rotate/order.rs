//! How control planes are told what to do, and tell what they have: a Secret says who takes which
//! step, an annotation of each control plane's Node says how far it is. So it does not matter on
//! which machine their files are.
//!
//! The new key is encrypted with one that only those can make who have the old key: the Secret gives
//! it to nobody who could not sign before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use component::authorities::digest;
use component::pki::Pair;
use component::tls;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::RotateError;
use super::step::{Report, Step};
use crate::certificates::inventory::{self, Root};
use crate::seal::Key;

/// The Secret.
pub(crate) const SECRET: &str = "certificate-rotation";
/// Its namespace.
pub(crate) const NAMESPACE: &str = "kube-system";
/// The annotation: reports by the name of what they are about, as JSON.
pub(crate) const ANNOTATION: &str = "ironclad.local/certificate-authorities";

/// Reports of one control plane.
pub(crate) type Reports = BTreeMap<String, Report>;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// What is replaced.
    pub(crate) root: Root,
    /// How far it is.
    pub(crate) terms: Terms,
    /// What takes over, as others believe it: a certificate, or a public key.
    pub(crate) public: String,
    /// Its key, encrypted; empty once everybody has it.
    sealed: Vec<u8>,
}

/// What changes from step to step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    /// The name of what is replaced.
    name: String,
    /// The step.
    pub(crate) step: Step,
    /// Who takes it.
    pub(crate) members: BTreeSet<String>,
    /// How long certificates are good that are issued.
    validity: Duration,
    /// When the new one was first told to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signs_since: Option<SystemTime>,
}

fn sealing(root: Root, old_key: &str) -> Result<Key, RotateError> {
    let secret = tls::private_key(old_key.as_bytes())?;
    Ok(Key::derived(secret.secret_der(), &format!("ironclad {SECRET} {}", root.name)))
}

// === impl Order ===

impl Order {
    /// The first one of a rotation.
    pub(crate) fn begin(
        root: Root,
        new: &Pair,
        old_key: &str,
        validity: Duration,
    ) -> Result<Self, RotateError> {
        let terms = Terms {
            name: root.name.to_owned(),
            step: Step::Prepare,
            members: BTreeSet::new(),
            validity,
            signs_since: None,
        };
        let sealed = sealing(root, old_key)?.encrypt(&new.key)?;
        Ok(Self { root, terms, public: new.certificate.clone(), sealed })
    }

    /// Another step of the same rotation, from `now` on.
    pub(crate) fn next(&self, step: Step, members: BTreeSet<String>, now: SystemTime) -> Self {
        let mut order = self.clone();
        order.terms.step = step;
        order.terms.members = members;
        if step >= Step::Sign {
            order.terms.signs_since.get_or_insert(now);
        }
        if step > Step::Sign {
            order.sealed.clear();
        }
        order
    }

    /// By what the new one is known.
    pub(crate) fn digest(&self) -> String {
        digest(&self.public)
    }

    /// How long certificates are good that are issued.
    pub(crate) fn validity(&self) -> Duration {
        self.terms.validity
    }

    /// The new one, for who has the old key.
    pub(crate) fn open(&self, old_key: &str) -> Result<Pair, RotateError> {
        let key = sealing(self.root, old_key)?.decrypt(&self.sealed)?;
        Ok(Pair { certificate: self.public.clone(), key })
    }

    /// What a Secret says, if it is one of these.
    pub(crate) fn read(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let terms: Terms = serde_json::from_slice(&data.get("order")?.0).ok()?;
        let root = inventory::rotated(&terms.name)?;
        let public = String::from_utf8(data.get("public")?.0.clone()).ok()?;
        let sealed = data.get("key").map(|bytes| bytes.0.clone()).unwrap_or_default();
        Some(Self { root, terms, public, sealed })
    }

    /// The Secret that says it.
    pub(crate) fn secret(&self) -> Secret {
        let terms = serde_json::to_vec(&self.terms).expect("an order has string keys only");
        let data = [
            ("order", terms),
            ("public", self.public.clone().into_bytes()),
            ("key", self.sealed.clone()),
        ];
        Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(data.map(|(name, bytes)| (name.to_owned(), ByteString(bytes))).into()),
            ..Secret::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::pki;

    #[test]
    fn an_order_says_the_same_at_its_other_end_and_its_key_only_to_those_who_had_the_old_one() {
        let [old, new, other] = [(); 3].map(|()| pki::signing_key().unwrap());
        let pair = Pair { certificate: new.1, key: new.0 };
        let hour = Duration::from_secs(3600);
        let first = Order::begin(inventory::CA, &pair, &old.0, hour).unwrap();
        let now = SystemTime::now();
        for step in [Step::Prepare, Step::Sign, Step::Issue] {
            let order = first.next(step, ["m1".to_owned()].into(), now);
            let read = Order::read(&order.secret()).unwrap();
            assert_eq!(read, order);
            assert_eq!(read.terms.signs_since.is_some(), step >= Step::Sign);
            assert_eq!(read.open(&old.0).is_ok(), step <= Step::Sign);
            assert!(read.open(&other.0).is_err());
        }
        assert_eq!(first.open(&old.0).unwrap().key, pair.key);
        let text = serde_json::to_string(&first.secret()).unwrap();
        assert!(!text.contains(&pair.key));
        assert_eq!(Order::read(&Secret::default()), None);
    }
}
