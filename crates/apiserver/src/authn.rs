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

use component::serve::Certificates;
use http::HeaderMap;
use http::header::AUTHORIZATION;
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

/// The token of an `Authorization: Bearer` header, or of the WebSocket sub-protocol that browsers
/// use because they cannot set headers.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
