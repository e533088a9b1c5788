//! Bootstrap tokens, with which nodes and clusters introduce themselves to each other:
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SecureRandom as _;
use serde_json::json;

/// Where the Secrets of tokens are.
pub const NAMESPACE: &str = "kube-system";
/// What their names begin with; the token's id follows.
pub const NAME_PREFIX: &str = "bootstrap-token-";
/// Their type.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of all who come with a token; that of a token of its own begins with it.
pub const GROUP: &str = "system:bootstrappers";
/// The ConfigMap in `kube-public` that tells newcomers how a cluster is reached.
pub const CLUSTER_INFO: &str = "cluster-info";
/// The kubeconfig in it.
pub const KUBECONFIG_KEY: &str = "kubeconfig";
/// What the keys of the kubeconfig's signatures in it begin with; the token's id follows.
pub const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
/// What ids and secrets are made of.
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A token, `abcdef.0123456789abcdef`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its public half.
    pub id: String,
    /// Its other half.
    pub secret: String,
}

/// Not a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bootstrap token {0:?} was not of the form \"\\\\A([a-z0-9]{{6}})\\\\.([a-z0-9]{{16}})\\\\z\""
)]
pub struct InvalidToken(String);

/// Id and secret of a token; nothing if it is none.
#[must_use]
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    (is_id(id) && fits(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// Whether this is the id of a token.
#[must_use]
pub fn is_id(text: &str) -> bool {
    fits(text, ID_LENGTH)
}

fn fits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

// === impl Token ===

impl Token {
    /// A new token.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let mut letters = String::new();
        let random = ring::rand::SystemRandom::new();
        while letters.len() < ID_LENGTH + SECRET_LENGTH {
            let mut bytes = [0; 32];
            random.fill(&mut bytes)?;
            // Bytes that would favour some letters are passed over.
            let even = bytes.into_iter().filter(|byte| *byte < 252);
            letters.extend(even.map(|byte| char::from(ALPHABET[usize::from(byte % 36)])));
        }
        letters.truncate(ID_LENGTH + SECRET_LENGTH);
        let secret = letters.split_off(ID_LENGTH);
        Ok(Self { id: letters, secret })
    }

    /// The name of its Secret.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("{NAME_PREFIX}{}", self.id)
    }

    /// The signature of `content` that this token makes: a JSON Web Signature without the content
    /// (RFC 7515, appendix F).
    #[must_use]
    pub fn sign(&self, content: &str) -> String {
        let header = json!({"alg": "HS256", "kid": self.id}).to_string();
        let header = URL_SAFE_NO_PAD.encode(header);
        let tag = hmac::sign(&self.key(), &signed(&header, content));
        format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Whether `signature` of `content` was made with this token.
    #[must_use]
    pub fn verify(&self, content: &str, signature: &str) -> bool {
        let Some((header, tag)) = signature.split_once("..") else { return false };
        let tag = URL_SAFE_NO_PAD.decode(tag).unwrap_or_default();
        let fits = URL_SAFE_NO_PAD
            .decode(header)
            .ok()
            .and_then(|header| serde_json::from_slice::<serde_json::Value>(&header).ok())
            .is_some_and(|header| header["alg"] == "HS256" && header["kid"] == self.id.as_str());
        fits && hmac::verify(&self.key(), &signed(header, content), &tag).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes())
    }
}

fn signed(header: &str, content: &str) -> Vec<u8> {
    format!("{header}.{}", URL_SAFE_NO_PAD.encode(content)).into_bytes()
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (id, secret) = parse(text).ok_or_else(|| InvalidToken(text.to_owned()))?;
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_form() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        assert_eq!((token.id.as_str(), token.secret.as_str()), ("abcdef", "0123456789abcdef"));
        assert_eq!(token.to_string(), "abcdef.0123456789abcdef");
        assert!(!format!("{token:?}").contains("0123"));
        for wrong in ["", ".", "abcdef", "abcdef.0123456789abcde", "Abcdef.0123456789abcdef"] {
            let error = wrong.parse::<Token>().unwrap_err().to_string();
            let form = r#"was not of the form "\\A([a-z0-9]{6})\\.([a-z0-9]{16})\\z""#;
            assert_eq!(error, format!("the bootstrap token {wrong:?} {form}"));
        }
        let made = Token::generate().unwrap();
        assert_eq!(made.to_string().parse(), Ok(made.clone()));
        assert_ne!(Token::generate().unwrap(), made);
    }

    #[test]
    fn signatures_are_those_of_upstream() {
        // Made with openssl from the definition in RFC 7515.
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let signature = token.sign("hello");
        assert_eq!(
            signature,
            concat!(
                "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9",
                "..",
                "MxsnbCjBaYzcbNIFa06F-wuF9LX26rhMlrL4zA1511s"
            )
        );
        assert!(token.verify("hello", &signature));
        assert!(!token.verify("hallo", &signature));
        let other = Token { secret: "0123456789abcdeg".into(), ..token.clone() };
        assert!(!other.verify("hello", &signature));
        let renamed = Token { id: "abcdeg".into(), ..token.clone() };
        assert!(!renamed.verify("hello", &signature));
        for rubbish in ["", "..", "a..b", &signature[..signature.len() - 1]] {
            assert!(!token.verify("hello", rubbish), "{rubbish}");
        }
    }
}
