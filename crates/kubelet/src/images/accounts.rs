//! Service accounts of Pods, for credential provider plugins that act for them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::Api;

use super::provider_config::TokenAttributes;
use crate::pod::spec;
use crate::seam::{PodUid, pod_uid};
use crate::token::{TokenError, TokenKey, Tokens};

/// How long such a token lives, in seconds.
const LIFE: i64 = 3600;

/// Why a service account is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The API server does not show it.
    #[error("failed to get service account {namespace}/{name}: {source}")]
    Api {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// It lacks something.
    #[error("required annotation {0:?} not found in service account {1}/{2}")]
    Annotation(String, String, String),
    /// There is no token for it.
    #[error("failed to get service account token: {0}")]
    Token(#[from] TokenError),
}

/// A Pod whose image is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// Its namespace.
    pub namespace: String,
    /// Its service account; empty without one.
    pub service_account: String,
    pod: String,
    uid: PodUid,
}

/// What a program is told.
#[derive(Clone)]
pub struct Account {
    /// The account's UID.
    pub uid: String,
    /// Of its annotations those that are wanted.
    pub annotations: BTreeMap<String, String>,
    /// A token of it, bound to the Pod.
    pub token: String,
}

/// Looks service accounts up.
#[derive(Clone)]
pub struct Accounts {
    client: Option<kube::Client>,
    tokens: Tokens,
}

impl Requester {
    /// The one that `pod` is.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            service_account: spec::spec(pod).service_account_name.clone().unwrap_or_default(),
            pod: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod_uid(pod),
        }
    }
}

impl Accounts {
    /// Those that `client` shows, with tokens out of `tokens`.
    #[must_use]
    pub fn new(client: Option<kube::Client>, tokens: Tokens) -> Self {
        Self { client, tokens }
    }

    /// The service account of a Pod.
    ///
    /// # Errors
    /// [`AccountError`], upon which a program is not asked.
    pub(super) async fn look(
        &self,
        requester: &Requester,
        attributes: &TokenAttributes,
    ) -> Result<Account, AccountError> {
        let (namespace, name) = (&requester.namespace, &requester.service_account);
        let client = self.client.clone().ok_or(TokenError::Standalone)?;
        let api: Api<ServiceAccount> = Api::namespaced(client, namespace);
        let account = api.get(name).await.map_err(|source| AccountError::Api {
            namespace: namespace.clone(),
            name: name.clone(),
            source: Box::new(source),
        })?;
        let annotations = annotations(&account, attributes)
            .map_err(|key| AccountError::Annotation(key, namespace.clone(), name.clone()))?;
        let key = TokenKey {
            namespace: namespace.clone(),
            service_account: name.clone(),
            pod: requester.pod.clone(),
            uid: requester.uid.clone(),
            audience: attributes.service_account_token_audience.clone(),
            expiration_seconds: LIFE,
        };
        let token = self.tokens.token(&key, Timestamp::now()).await?;
        Ok(Account { uid: account.metadata.uid.unwrap_or_default(), annotations, token })
    }
}

/// Of an account's annotations those that are wanted, or the one that is missing.
fn annotations(
    account: &ServiceAccount,
    attributes: &TokenAttributes,
) -> Result<BTreeMap<String, String>, String> {
    let held = account.metadata.annotations.as_ref();
    let get = |key: &String| held.and_then(|held| Some((key.clone(), held.get(key)?.clone())));
    let mut found = BTreeMap::new();
    for key in &attributes.required_service_account_annotation_keys {
        found.extend([get(key).ok_or_else(|| key.clone())?]);
    }
    found.extend(attributes.optional_service_account_annotation_keys.iter().filter_map(get));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_annotations_that_are_wanted_are_told_and_some_are_required() {
        let attributes: TokenAttributes = serde_json::from_value(serde_json::json!({
            "requiredServiceAccountAnnotationKeys": ["a"],
            "optionalServiceAccountAnnotationKeys": ["b", "c"],
        }))
        .unwrap();
        let check = |held: &[&str]| {
            let mut account = ServiceAccount::default();
            let held = held.iter().map(|key| ((*key).to_owned(), format!("of {key}")));
            account.metadata.annotations = Some(held.collect());
            annotations(&account, &attributes).map(|found| found.into_values().collect::<Vec<_>>())
        };
        assert_eq!(check(&["a", "b", "x"]), Ok(vec!["of a".to_owned(), "of b".to_owned()]));
        assert_eq!(check(&["b"]), Err("a".to_owned()));
    }
}
