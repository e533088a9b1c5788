//! JSON Web Tokens, as far as service accounts use them: compact form, ES256 made and checked,
//! RS256 checked (keys of a cluster that was set up by others).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// What is wrong with a key or a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file has nothing of use.
    #[error("no usable key: {0}")]
    Key(String),
    /// The token is not a JWT.
    #[error("malformed token")]
    Malformed,
    /// No known key made the signature.
    #[error("invalid signature")]
    Signature,
    /// No randomness.
    #[error("cannot sign")]
    Sign,
}

/// Signs tokens.
pub struct Signer {
    key: EcdsaKeyPair,
    key_id: String,
    header: String,
}

/// A key that tokens are checked with.
pub struct Verifier {
    kind: Kind,
    key: Vec<u8>,
    key_id: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    Rsa,
}

/// DER of the SPKI of a P-256 key up to its 65-byte point.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

// === impl Signer ===

impl Signer {
    /// Reads a P-256 private key (PKCS #8 PEM).
    ///
    /// # Errors
    /// When there is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let key = component::tls::private_key(pem).map_err(|e| Error::Key(e.to_string()))?;
        let PrivateKeyDer::Pkcs8(der) = key else {
            return Err(Error::Key("not PKCS #8".to_owned()));
        };
        let random = SystemRandom::new();
        let der = der.secret_pkcs8_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
            .map_err(|e| Error::Key(format!("not an ECDSA P-256 key: {e}")))?;
        let key_id = key_id(&spki(key.public_key().as_ref()));
        let header = json!({"alg": "ES256", "kid": key_id}).to_string();
        Ok(Self { key, key_id, header: URL_SAFE_NO_PAD.encode(header) })
    }

    /// Makes a token of the claims.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        let mut token = format!("{}.", self.header);
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let signature =
            self.key.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| Error::Sign)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        let key = self.key.public_key().as_ref().to_vec();
        Verifier { kind: Kind::P256, key, key_id: self.key_id.clone() }
    }
}

// === impl Verifier ===

impl Verifier {
    /// Reads all keys of a PEM file: public keys, certificates, or private P-256 keys.
    ///
    /// # Errors
    /// When there is no key of use.
    pub fn from_pem(text: &[u8]) -> Result<Vec<Self>, Error> {
        let blocks = pem::parse_many(text).map_err(|e| Error::Key(e.to_string()))?;
        let mut found = Vec::new();
        for block in blocks {
            match block.tag() {
                "PUBLIC KEY" => found.push(Self::from_spki(block.contents())?),
                "PRIVATE KEY" => found.push(Signer::from_pem(text)?.verifier()),
                "CERTIFICATE" => {
                    let (_, certificate) =
                        x509_parser::certificate::X509Certificate::from_der(block.contents())
                            .map_err(|e| Error::Key(e.to_string()))?;
                    found.push(Self::from_spki(certificate.public_key().raw)?);
                }
                _ => {}
            }
        }
        if found.is_empty() {
            return Err(Error::Key("the file has no public key".to_owned()));
        }
        Ok(found)
    }

    fn from_spki(der: &[u8]) -> Result<Self, Error> {
        let wrong = |e: &dyn std::fmt::Display| Error::Key(e.to_string());
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|e| wrong(&e))?;
        let kind = match info.parsed().map_err(|e| wrong(&e))? {
            PublicKey::EC(point) if point.key_size() == 256 => Kind::P256,
            PublicKey::RSA(_) => Kind::Rsa,
            _ => return Err(wrong(&"neither ECDSA P-256 nor RSA")),
        };
        let key = info.subject_public_key.data.to_vec();
        Ok(Self { kind, key, key_id: key_id(der) })
    }

    fn matches(&self, algorithm: &str, key_id: Option<&str>) -> bool {
        let expected = if self.kind == Kind::P256 { "ES256" } else { "RS256" };
        algorithm == expected && key_id.is_none_or(|id| id == self.key_id)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let result = match self.kind {
            Kind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.key)
                .verify(message, signature),
            Kind::Rsa => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key)
                .verify(message, signature),
        };
        result.is_ok()
    }

    /// The key as a member of a JSON Web Key Set.
    #[must_use]
    pub fn jwk(&self) -> Option<Value> {
        match self.kind {
            Kind::P256 => {
                let (x, y) = self.key.get(1..65)?.split_at(32);
                Some(json!({
                    "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
                    "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
                }))
            }
            Kind::Rsa => {
                let (_, key) = x509_parser::der_parser::ber::parse_ber_sequence(&self.key).ok()?;
                let parts = key.as_sequence().ok()?;
                let number = |at: usize| {
                    let bytes = parts.get(at)?.as_slice().ok()?;
                    let start = bytes.iter().position(|byte| *byte != 0)?;
                    Some(URL_SAFE_NO_PAD.encode(&bytes[start..]))
                };
                Some(json!({
                    "use": "sig", "kty": "RSA", "kid": self.key_id, "alg": "RS256",
                    "n": number(0)?, "e": number(1)?,
                }))
            }
        }
    }
}

/// Checks a token's signature with any of `keys` and gives its claims. Says nothing about whether
/// they hold.
///
/// # Errors
/// When the token is malformed or none of the keys signed it.
pub fn verify(token: &str, keys: &[Verifier]) -> Result<Value, Error> {
    let (message, signature) = token.rsplit_once('.').ok_or(Error::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Error::Malformed)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Malformed);
    let parse = |text: &str| -> Result<Value, Error> {
        serde_json::from_slice(&decode(text)?).map_err(|_| Error::Malformed)
    };
    let header = parse(header)?;
    let algorithm = header["alg"].as_str().ok_or(Error::Malformed)?;
    let key_id = header["kid"].as_str();
    let signature = decode(signature)?;
    let mut candidates = keys.iter().filter(|key| key.matches(algorithm, key_id));
    if !candidates.any(|key| key.verify(message.as_bytes(), &signature)) {
        return Err(Error::Signature);
    }
    parse(claims)
}

/// The claims of a token without any check, to see who claims to have issued it.
#[must_use]
pub fn unverified_claims(token: &str) -> Option<Value> {
    let claims = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

fn spki(point: &[u8]) -> Vec<u8> {
    let mut der = P256_PREFIX.to_vec();
    der.extend_from_slice(point);
    der
}

fn key_id(spki: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, spki))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_tokens_verify() {
        let (private, public) = component::pki::signing_key().unwrap();
        let signer = Signer::from_pem(private.as_bytes()).unwrap();
        let keys = Verifier::from_pem(public.as_bytes()).unwrap();
        assert_eq!(keys[0].key_id, signer.key_id);
        let claims = json!({"iss": "me", "exp": 1});
        let token = signer.sign(&claims).unwrap();
        assert_eq!(verify(&token, &keys).unwrap(), claims);
        assert_eq!(unverified_claims(&token).unwrap(), claims);

        let (head, _) = token.split_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(json!({"iss": "you"}).to_string());
        let forged = format!("{head}.{forged}.{signature}");
        assert!(matches!(verify(&forged, &keys), Err(Error::Signature)));
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
        let none = format!("{none}.{}.", token.split('.').nth(1).unwrap());
        assert!(matches!(verify(&none, &keys), Err(Error::Signature)));
        assert!(matches!(verify("a.b", &keys), Err(Error::Malformed)));

        let (_, other) = component::pki::signing_key().unwrap();
        let other = Verifier::from_pem(other.as_bytes()).unwrap();
        assert!(matches!(verify(&token, &other), Err(Error::Signature)));
        assert_eq!(keys[0].jwk().unwrap()["crv"], "P-256");
    }
}
