//! Service account tokens for projected volumes: asked for by TokenRequest, kept, and renewed when
//! 80 % of their life or a day is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::PostParams;

use crate::seam::PodUid;

/// Tokens older than this are renewed even when they live longer.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The API server refused or could not be reached. Worded as upstream words it.
    #[error("failed to fetch token: {0}")]
    Api(#[from] Box<kube::Error>),
    /// The answer holds no token.
    #[error("failed to fetch token: empty status")]
    Empty,
    /// There is no API server.
    #[error("no API server is configured")]
    Standalone,
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenKey {
    /// Namespace of Pod and service account.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// Name of the Pod that the token is bound to.
    pub pod: String,
    /// UID of the Pod.
    pub uid: PodUid,
    /// Audience; the API server's own when empty.
    pub audience: String,
    /// Life time asked for, in seconds.
    pub expiration_seconds: i64,
}

#[derive(Clone)]
struct Issued {
    token: String,
    issued: Timestamp,
    expires: Timestamp,
}

/// Asks for tokens and keeps them.
#[derive(Clone)]
pub struct Tokens {
    client: Option<kube::Client>,
    issued: Arc<Mutex<HashMap<TokenKey, Issued>>>,
}

// === impl Tokens ===

impl Tokens {
    /// A manager that holds no tokens yet.
    pub fn new(client: Option<kube::Client>) -> Self {
        Self { client, issued: Arc::default() }
    }

    /// A token that is good for at least a fifth of its life. When renewal fails, the old token is
    /// given out until it expires.
    pub async fn token(&self, key: &TokenKey, now: Timestamp) -> Result<String, TokenError> {
        let known = self.with(|issued| issued.get(key).cloned());
        if let Some(known) = &known
            && !renewal_due(known, now)
        {
            return Ok(known.token.clone());
        }
        match (self.request(key, now).await, known) {
            (Ok(fresh), _) => {
                let token = fresh.token.clone();
                self.with(|issued| issued.insert(key.clone(), fresh));
                Ok(token)
            }
            (Err(error), Some(known)) if now < known.expires => {
                tracing::warn!(pod = key.pod, namespace = key.namespace, %error, "token not renewed");
                Ok(known.token)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Forgets the tokens of a Pod that is gone.
    pub fn forget(&self, uid: &PodUid) {
        self.with(|issued| issued.retain(|key, _| key.uid != *uid));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<TokenKey, Issued>) -> T) -> T {
        act(&mut self.issued.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn request(&self, key: &TokenKey, now: Timestamp) -> Result<Issued, TokenError> {
        let client = self.client.clone().ok_or(TokenError::Standalone)?;
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(match key.audience.as_str() {
                    "" => Vec::new(),
                    audience => vec![audience.to_owned()],
                }),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(key.pod.clone()),
                    uid: Some(key.uid.to_string()),
                }),
                expiration_seconds: Some(key.expiration_seconds),
            }),
            ..TokenRequest::default()
        };
        let api = Api::<ServiceAccount>::namespaced(client, &key.namespace);
        let answer = api
            .create_token_request(&key.service_account, &PostParams::default(), &request)
            .await
            .map_err(Box::new)?;
        let status = answer.status.ok_or(TokenError::Empty)?;
        let token = status.token.ok_or(TokenError::Empty)?;
        let expires = status.expiration_timestamp.ok_or(TokenError::Empty)?.0;
        Ok(Issued { token, issued: now, expires })
    }
}

fn renewal_due(issued: &Issued, now: Timestamp) -> bool {
    let life = issued.expires.duration_since(issued.issued);
    let age = now.duration_since(issued.issued);
    // One from the future is not good yet: the clock was set back.
    age >= life * 4 / 5 || age >= MAX_AGE || age.is_negative()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_four_fifths_of_life_or_after_a_day() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let check = |life: i64, age: i64, due: bool| {
            let issued = Issued { token: "t".into(), issued: at(1000), expires: at(1000 + life) };
            assert_eq!(renewal_due(&issued, at(1000 + age)), due, "life {life} age {age}");
        };
        check(3600, 0, false);
        check(3600, -1, true);
        check(3600, 2879, false);
        check(3600, 2880, true);
        check(7 * 86_400, 86_399, false);
        check(7 * 86_400, 86_400, true);
    }
}
