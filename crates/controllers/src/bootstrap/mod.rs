//! Bootstrap tokens: those that expired go, and the others sign `kube-public/cluster-info`, so that
//! who holds a token knows that what it reads there comes from the cluster.
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

pub(crate) mod cleaner;
pub(crate) mod signer;
#[cfg(test)]
mod tests;

use component::bootstrap_token::{TYPE, Token};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;

/// A field of a token's Secret.
fn field<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(name)?.0).ok()
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE)
}

/// The token in a Secret.
fn token(secret: &Secret) -> Option<Token> {
    let (id, own) = (field(secret, "token-id")?, field(secret, "token-secret")?);
    format!("{id}.{own}").parse().ok()
}

/// When a token ends, if it does; what cannot be read has ended long ago.
fn expiration(secret: &Secret) -> Option<Timestamp> {
    let text = field(secret, "expiration")?;
    Some(text.parse().unwrap_or(Timestamp::UNIX_EPOCH))
}
