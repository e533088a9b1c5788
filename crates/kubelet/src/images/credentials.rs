//! Registry credentials out of image pull secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::keyring::{Keyring, Source};
use super::pull_records::Coordinates;

/// With padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A pull secret that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not the JSON that its type promises.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// `auth` is not base64.
    #[error("unable to decode auth field: {0}")]
    Base64(#[from] base64::DecodeError),
    /// `auth` has no colon.
    #[error("unable to parse auth field, must be formatted as base64(username:password)")]
    Auth,
}

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// The credentials in `secrets`, of either type.
///
/// # Errors
/// [`SecretError`] for the first secret that makes no sense: upstream tries no pull then.
pub fn keyring(secrets: &[Arc<Secret>]) -> Result<Keyring, SecretError> {
    let mut keyring = Keyring::default();
    for secret in secrets {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let source = Source::Secret(Coordinates {
            uid: text(&secret.metadata.uid),
            namespace: text(&secret.metadata.namespace),
            name: text(&secret.metadata.name),
        });
        for (server, entry) in entries(secret)? {
            let (username, password) = entry.into_pair()?;
            keyring.add(&server, username, password, &source);
        }
    }
    Ok(keyring)
}

fn entries(secret: &Secret) -> Result<BTreeMap<String, Entry>, SecretError> {
    let data = |key: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key));
        data.map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty())
    };
    Ok(match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => match data(".dockerconfigjson") {
            Some(bytes) => serde_json::from_slice::<ConfigJson>(bytes)?.auths,
            None => BTreeMap::new(),
        },
        Some("kubernetes.io/dockercfg") => match data(".dockercfg") {
            Some(bytes) => serde_json::from_slice(bytes)?,
            None => BTreeMap::new(),
        },
        _ => BTreeMap::new(),
    })
}

impl Entry {
    fn into_pair(self) -> Result<(String, String), SecretError> {
        if self.auth.is_empty() {
            return Ok((self.username, self.password));
        }
        let packed = BASE64.decode(self.auth.trim())?;
        let packed = String::from_utf8_lossy(&packed);
        let (user, password) = packed.split_once(':').ok_or(SecretError::Auth)?;
        Ok((user.to_owned(), password.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(kind: &str, key: &str, text: &str) -> Arc<Secret> {
        Arc::new(Secret {
            type_: Some(kind.to_owned()),
            data: Some(BTreeMap::from([(key.to_owned(), ByteString(text.as_bytes().to_vec()))])),
            ..Secret::default()
        })
    }

    #[test]
    fn both_types_of_secrets_are_read() {
        let new = r#"{"auths": {"https://host/": {"auth": "dTpwOnE="}, "b": {"username": "v",
            "password": "w", "email": "x"}}, "credHelpers": {}}"#;
        let old = r#"{"host": {"auth": "bzo"}}"#;
        let secrets = [
            secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", new),
            secret("kubernetes.io/dockercfg", ".dockercfg", old),
            secret("Opaque", ".dockercfg", r#"{"host": {"username": "not"}}"#),
        ];
        let keyring = keyring(&secrets).unwrap();
        let pairs = |image: &str| -> Vec<(String, String)> {
            keyring.lookup(image).into_iter().map(|a| (a.auth.username, a.auth.password)).collect()
        };
        let pair = |user: &str, password: &str| (user.to_owned(), password.to_owned());
        assert_eq!(pairs("host/x"), [pair("u", "p:q"), pair("o", "")]);
        assert_eq!(pairs("b/x"), [pair("v", "w")]);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for (text, wanted) in [
            ("{", "EOF while parsing"),
            (r#"{"auths": {"h": {"auth": "!"}}}"#, "unable to decode auth field"),
            (r#"{"auths": {"h": {"auth": "dQ=="}}}"#, "must be formatted as base64"),
        ] {
            let one = secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", text);
            let error = keyring(&[one]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
