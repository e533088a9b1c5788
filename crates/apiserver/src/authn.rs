//! Authentication: who is asking?
//!
//! Tried in upstream's order: client certificate, bearer token (of a service account, then of a
//! node that joins), anonymous. What a certificate says is worked out once per connection, and a
//! token's signature is checked once; whether the things it is bound to still exist is looked up
//! each time.

pub mod bootstrap_token;
pub mod jwt;
pub mod service_account;
pub mod user;
pub mod x509;

pub use user::User;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use component::serve::Certificates;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use machinery::Value;
use machinery::status::Status;
use machinery::time::Timestamp;

use self::service_account::ServiceAccounts;

/// Authenticates requests.
pub struct Authenticator {
    anonymous: Arc<User>,
    service_accounts: Arc<ServiceAccounts>,
    secrets: Option<Secrets>,
}

/// Looks up a Secret by namespace and name.
pub type Secrets = Box<dyn Fn(&str, &str) -> Option<Value> + Send + Sync>;

/// What a connection says about its client.
#[derive(Clone, Debug)]
pub enum ConnectionUser {
    /// No certificate.
    None,
    /// A good one.
    Known(Arc<User>),
    /// One that proves nothing.
    Rejected,
}

// === impl Authenticator ===

impl Authenticator {
    /// An authenticator that takes service-account tokens and, where it can look up their
    /// Secrets, bootstrap tokens.
    #[must_use]
    pub fn new(service_accounts: Arc<ServiceAccounts>, secrets: Option<Secrets>) -> Self {
        Self { anonymous: Arc::new(User::anonymous()), service_accounts, secrets }
    }

    /// Works out the user of a connection's client certificate.
    #[must_use]
    pub fn connection(&self, certificates: &Certificates) -> ConnectionUser {
        match certificates {
            Certificates::None => ConnectionUser::None,
            Certificates::Trusted(chain) => match chain.first().map(|leaf| x509::user(leaf)) {
                Some(Ok(user)) => ConnectionUser::Known(Arc::new(user.authenticated())),
                Some(Err(error)) => {
                    tracing::info!(%error, "client certificate names no user");
                    ConnectionUser::Rejected
                }
                None => ConnectionUser::None,
            },
            Certificates::Rejected(error) => {
                tracing::info!(%error, "client certificate is not trusted");
                ConnectionUser::Rejected
            }
        }
    }

    /// The user of a request.
    ///
    /// # Errors
    /// 401 when credentials were given and none of them is good.
    pub fn authenticate(
        &self,
        connection: &ConnectionUser,
        headers: &HeaderMap,
    ) -> Result<Arc<User>, Box<Status>> {
        if let ConnectionUser::Known(user) = connection {
            return Ok(user.clone());
        }
        if let Some(token) = bearer_token(headers) {
            if let Some(user) = self.bootstrap_token(token) {
                return Ok(Arc::new(user));
            }
            return match self.service_accounts.authenticate(token, &[]) {
                Ok(identity) => Ok(identity.user),
                Err(error) => {
                    tracing::debug!(%error, "token refused");
                    Err(Box::new(Status::unauthorized("Unauthorized")))
                }
            };
        }
        match connection {
            ConnectionUser::Rejected => Err(Box::new(Status::unauthorized("Unauthorized"))),
            _ => Ok(self.anonymous.clone()),
        }
    }

    /// The user of a bootstrap token; no token of another kind has its form.
    fn bootstrap_token(&self, token: &str) -> Option<User> {
        let (id, secret) = bootstrap_token::parse(token)?;
        let name = format!("{}{id}", bootstrap_token::NAME_PREFIX);
        let kept = self.secrets.as_ref()?(bootstrap_token::NAMESPACE, &name)?;
        bootstrap_token::user(&kept, id, secret, Timestamp::now())
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// How browsers send a token: as a sub-protocol of a WebSocket, because they cannot set headers.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Moves the token among a WebSocket's sub-protocols to where all others have it, so that it is
/// neither answered nor passed on.
pub fn unpack_websocket_token(headers: &mut HeaderMap) {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<String> = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    let (tokens, others): (Vec<_>, Vec<_>) =
        offered.into_iter().partition(|name| name.starts_with(TOKEN_PROTOCOL));
    let [token] = tokens.as_slice() else { return };
    let decoded = URL_SAFE_NO_PAD.decode(&token[TOKEN_PROTOCOL.len()..]);
    let header = decoded
        .ok()
        .and_then(|token| HeaderValue::from_bytes(&[b"Bearer ", &token[..]].concat()).ok());
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    // There must be another one to agree to.
    let Ok(rest) = HeaderValue::from_str(&others.join(", ")) else { return };
    if others.is_empty() {
        return;
    }
    headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
    if let (Some(mut header), false) = (header, headers.contains_key(AUTHORIZATION)) {
        header.set_sensitive(true);
        headers.insert(AUTHORIZATION, header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_browsers() {
        let check = |offered: &str, token: Option<&str>, left: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.parse().unwrap());
            unpack_websocket_token(&mut headers);
            assert_eq!(bearer_token(&headers), token, "{offered}");
            let protocols = headers.get(SEC_WEBSOCKET_PROTOCOL).map(|v| v.to_str().unwrap());
            assert_eq!(protocols, left, "{offered}");
        };
        let token = format!("{TOKEN_PROTOCOL}dG9rZW4");
        check(&format!("{token}, v4.channel.k8s.io"), Some("token"), Some("v4.channel.k8s.io"));
        check(&format!("a,{token} ,b"), Some("token"), Some("a, b"));
        check("v4.channel.k8s.io", None, Some("v4.channel.k8s.io"));
        check(&token, None, None);
        check(&format!("{TOKEN_PROTOCOL}!, a"), None, Some("a"));
    }
}
