//! Authentication: who is asking?
//!
//! Tried in upstream's order: client certificate, bearer token, anonymous. What a certificate
//! says is worked out once per connection, and a token's signature is checked once; whether the
//! things it is bound to still exist is looked up each time.

pub mod jwt;
pub mod service_account;
pub mod user;
pub mod x509;

pub use user::User;

use std::sync::Arc;

use component::serve::Certificates;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use machinery::status::Status;

use self::service_account::ServiceAccounts;

/// Authenticates requests.
pub struct Authenticator {
    anonymous: Arc<User>,
    service_accounts: Arc<ServiceAccounts>,
}

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
    /// An authenticator that takes service-account tokens.
    #[must_use]
    pub fn new(service_accounts: Arc<ServiceAccounts>) -> Self {
        Self { anonymous: Arc::new(User::anonymous()), service_accounts }
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
}

/// The token of an `Authorization: Bearer` header, or of the WebSocket sub-protocol that browsers
/// use because they cannot set headers.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
