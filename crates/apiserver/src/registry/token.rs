//! Continue tokens, in upstream's form.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use machinery::status::Status;
use serde::{Deserialize, Serialize};

use super::Failure;

const VERSION: &str = "meta.k8s.io/v1";

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    v: String,
    /// The revision of the whole list; -1 for whatever is there now.
    pub(super) rv: i64,
    /// The first key that may follow, relative to the prefix of the collection.
    pub(super) start: String,
}

impl Token {
    /// To go on behind `key`, which is relative to the collection.
    pub(super) fn after(key: &str, revision: Option<u64>) -> Self {
        let rv = revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
        Self { v: VERSION.to_owned(), rv, start: format!("{key}\0") }
    }

    pub(super) fn encode(&self) -> String {
        // Serializing two texts and a number cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(super) fn decode(text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| -> Failure {
            Status::bad_request(format!("continue key is not valid: {why}")).into()
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| STANDARD.decode(text))
            .map_err(|error| refuse(&error.to_string()))?;
        let token: Self =
            serde_json::from_slice(&bytes).map_err(|error| refuse(&error.to_string()))?;
        if token.v != VERSION {
            return Err(refuse(&format!(
                "server does not recognize this encoded version {:?}",
                token.v
            )));
        }
        if token.start.is_empty() || token.start.starts_with('/') || token.start.contains("..") {
            return Err(refuse(&format!("invalid start key: {}", token.start)));
        }
        if token.rv == 0 || token.rv < -1 {
            return Err(refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_upstreams_form() {
        let token = Token::after("default/a", Some(12));
        let text = token.encode();
        assert_eq!(
            URL_SAFE_NO_PAD.decode(&text).unwrap(),
            br#"{"v":"meta.k8s.io/v1","rv":12,"start":"default/a\u0000"}"#
        );
        assert_eq!(Token::decode(&text).unwrap(), token);
        assert_eq!(Token::after("a", None).rv, -1);
    }

    #[test]
    fn refuses_others() {
        for text in ["", "!", "e30", "eyJ2IjoiMSIsInJ2IjoxLCJzdGFydCI6ImEifQ"] {
            let status = Token::decode(text).unwrap_err();
            assert_eq!(status.code, 400);
            assert!(status.message.starts_with("continue key is not valid: "), "{status}");
        }
    }
}
