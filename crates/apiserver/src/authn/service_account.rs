//! Service-account tokens, bound to an audience, a time and objects:
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jwt::{self, Signer, Verifier};
use super::user::{SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS, User};

/// A second that upstream allows clocks to differ by is enough on one machine; nodes need more.
const LEEWAY: u64 = 60;

/// For how many seconds admission asks for the tokens of Pods; the odd ones tell them from those that
/// were asked for by others.
pub const ADMISSION_SECONDS: u64 = 3607;

/// What such a token is good for in truth: whoever has it may never read it again, and outlives the
/// clocks of nodes that differ. Upstream's `--service-account-extend-token-expiration`, which is on.
const EXTENDED: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tokens whose signature was checked are remembered up to this many.
const REMEMBERED: usize = 4096;

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a token of ours, or a forged one.
    #[error(transparent)]
    Token(#[from] jwt::Error),
    /// Made by somebody else.
    #[error("the token was not issued by this server")]
    Issuer,
    /// Its claims are not those of a service account.
    #[error("the token does not name a service account")]
    Claims,
    /// Too old.
    #[error("service account token has expired")]
    Expired,
    /// Too young.
    #[error("service account token is not valid yet")]
    NotYetValid,
    /// Meant for others.
    #[error("token audiences {0:?} is invalid for the target audiences {1:?}")]
    Audience(Vec<String>, Vec<String>),
    /// What it is bound to is gone.
    #[error("service account token has been invalidated: {0}")]
    Invalidated(String),
}

/// A named object with its identity over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its UID.
    #[serde(default)]
    pub uid: String,
}

/// The private claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Namespace of the account and of what the token is bound to.
    pub namespace: String,
    /// A node the token is bound to (or the Pod's node, for information).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// A Pod the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// A secret the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
}

#[derive(Clone, Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    aud: Audiences,
    #[serde(default)]
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    jti: String,
    #[serde(rename = "kubernetes.io")]
    binding: Binding,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Looks up objects that tokens are bound to.
pub trait Objects: Send + Sync {
    /// UID and deletion time (seconds since the epoch) of an object of the core group, `None` when
    /// it does not exist.
    fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<(String, Option<u64>)>;
}

/// An authenticated account.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user that it is.
    pub user: Arc<User>,
    /// Those of the token's audiences that were asked for.
    pub audiences: Vec<String>,
}

struct Remembered {
    claims: Arc<Claims>,
    user: Arc<User>,
}

/// The keys of service-account tokens.
pub struct Keys {
    signer: Signer,
    verifiers: Vec<Verifier>,
}

impl Keys {
    /// Tokens are signed by `signer`, and those that one of `trusted` checks are believed as well.
    #[must_use]
    pub fn new(signer: Signer, mut trusted: Vec<Verifier>) -> Self {
        trusted.push(signer.verifier());
        Self { signer, verifiers: trusted }
    }
}

/// Makes and checks service-account tokens.
pub struct ServiceAccounts {
    issuer: String,
    audiences: Vec<String>,
    keys: RwLock<Arc<Keys>>,
    objects: Box<dyn Objects>,
    remembered: Mutex<HashMap<[u8; 32], Arc<Remembered>>>,
}

// === impl ServiceAccounts ===

impl ServiceAccounts {
    /// Tokens of `issuer`, for this server when one of `audiences` (the issuer, when empty) is in
    /// them.
    #[must_use]
    pub fn new(
        issuer: String,
        mut audiences: Vec<String>,
        keys: Keys,
        objects: Box<dyn Objects>,
    ) -> Self {
        if audiences.is_empty() {
            audiences.push(issuer.clone());
        }
        let keys = RwLock::new(Arc::new(keys));
        Self { issuer, audiences, keys, objects, remembered: Mutex::default() }
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over other keys: what only the old ones check is not believed any more.
    pub fn replace_keys(&self, keys: Keys) {
        let mut remembered = self.remembered.lock().expect("nothing panics under the lock");
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        remembered.clear();
    }

    /// Who issues the tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences of this server, which tokens get when none are asked for.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The public keys as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let mut keys: Vec<Value> = Vec::new();
        for key in self.keys().verifiers.iter().filter_map(Verifier::jwk) {
            if !keys.iter().any(|known| known["kid"] == key["kid"]) {
                keys.push(key);
            }
        }
        json!({ "keys": keys })
    }

    /// Issues a token that is valid from `now` for `lifetime`; for a year, with a note of when it was
    /// to end, if it is one for Pods and this server.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn issue(
        &self,
        binding: &Binding,
        audiences: &[String],
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<String, jwt::Error> {
        let now = seconds(now);
        let own = |audience: &String| self.audiences.contains(audience);
        let extended = lifetime.as_secs() == ADMISSION_SECONDS && audiences.iter().all(own);
        let life = if extended { EXTENDED } else { lifetime };
        let mut claims = json!({
            "aud": audiences,
            "exp": now + life.as_secs(),
            "iat": now,
            "iss": self.issuer,
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        claims["kubernetes.io"] = json!(binding);
        if extended {
            claims["kubernetes.io"]["warnafter"] = (now + lifetime.as_secs()).into();
        }
        claims["nbf"] = now.into();
        let Binding { namespace, serviceaccount, .. } = binding;
        claims["sub"] =
            format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{}", serviceaccount.name).into();
        self.keys().signer.sign(&claims)
    }

    /// Checks a token for use with any of `audiences` (this server's when empty).
    ///
    /// # Errors
    /// Why it is refused.
    pub fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Identity, Error> {
        self.authenticate_at(token, audiences, SystemTime::now())
    }

    fn authenticate_at(
        &self,
        token: &str,
        audiences: &[String],
        now: SystemTime,
    ) -> Result<Identity, Error> {
        let known = self.verified(token)?;
        let claims = &known.claims;
        let now = seconds(now);
        if now > claims.exp.saturating_add(LEEWAY) {
            return Err(Error::Expired);
        }
        if now + LEEWAY < claims.nbf {
            return Err(Error::NotYetValid);
        }
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let held = match &claims.aud {
            Audiences::One(one) => std::slice::from_ref(one),
            Audiences::Many(many) => many,
        };
        let both: Vec<_> = wanted.iter().filter(|a| held.contains(a)).cloned().collect();
        if both.is_empty() {
            return Err(Error::Audience(held.to_vec(), wanted.to_vec()));
        }
        self.check_bound(&claims.binding, now)?;
        Ok(Identity { user: known.user.clone(), audiences: both })
    }

    /// The claims of a token whose signature and issuer are good, remembered by its hash.
    fn verified(&self, token: &str) -> Result<Arc<Remembered>, Error> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let lock = || self.remembered.lock().expect("nothing panics under the lock");
        if let Some(known) = lock().get(&hash) {
            return Ok(known.clone());
        }
        let keys = self.keys();
        let claims = jwt::verify(token, &keys.verifiers)?;
        let claims: Claims = serde_json::from_value(claims).map_err(|_| Error::Claims)?;
        if claims.iss != self.issuer {
            return Err(Error::Issuer);
        }
        let Binding { namespace, serviceaccount, .. } = &claims.binding;
        let name = format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{}", serviceaccount.name);
        if claims.sub != name {
            return Err(Error::Claims);
        }
        let user = Arc::new(user(name, &claims));
        let known = Arc::new(Remembered { claims: Arc::new(claims), user });
        let mut remembered = lock();
        // Keys that were replaced meanwhile vouch for nothing that stays.
        if Arc::ptr_eq(&keys, &self.keys()) {
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(hash, known.clone());
        }
        Ok(known)
    }

    fn check_bound(&self, binding: &Binding, now: u64) -> Result<(), Error> {
        let namespace = binding.namespace.as_str();
        let mut bound = vec![("serviceaccounts", namespace, &binding.serviceaccount)];
        if let Some(pod) = &binding.pod {
            bound.push(("pods", namespace, pod));
        } else if let Some(node) = &binding.node {
            bound.push(("nodes", "", node));
        }
        if let Some(secret) = &binding.secret {
            bound.push(("secrets", namespace, secret));
        }
        for (resource, namespace, reference) in bound {
            let gone = |what: &str| {
                Error::Invalidated(format!("{resource} {namespace}/{} {what}", reference.name))
            };
            let found = self.objects.find(resource, namespace, &reference.name);
            let (uid, deleted) = found.ok_or_else(|| gone("does not exist"))?;
            if uid != reference.uid {
                return Err(gone("is another one"));
            }
            // A Pod on its way out may still need the API to shut down properly.
            if deleted.is_some_and(|at| now > at + LEEWAY) {
                return Err(gone("is deleted"));
            }
        }
        Ok(())
    }
}

fn user(name: String, claims: &Claims) -> User {
    let binding = &claims.binding;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    if !claims.jti.is_empty() {
        add("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &binding.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &binding.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    let groups =
        vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{}", binding.namespace)];
    User { name, uid: binding.serviceaccount.uid.clone(), groups, extra }.authenticated()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
