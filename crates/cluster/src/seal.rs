//! Encryption of keys that go through the cluster: AES-256-GCM, the nonce first.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of a key.
pub(crate) const LENGTH: usize = 32;

/// What cannot be encrypted or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system has none.
    #[error("the system gives no randomness")]
    Randomness,
    /// It was encrypted with another key, or is damaged.
    #[error("it was encrypted with another key")]
    Wrong,
}

/// A key that others are encrypted with.
pub(crate) struct Key([u8; LENGTH]);

impl Key {
    /// A new one.
    pub(crate) fn generate() -> Result<Self, SealError> {
        let mut bytes = [0; LENGTH];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::Randomness)?;
        Ok(Self(bytes))
    }

    /// This very one.
    pub(crate) fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The one that whoever holds `secret` can make again, for this `purpose` alone.
    pub(crate) fn derived(secret: &[u8], purpose: &str) -> Self {
        let mut bytes = [0; LENGTH];
        Salt::new(HKDF_SHA256, &[])
            .extract(secret)
            .expand(&[purpose.as_bytes()], HKDF_SHA256)
            .and_then(|material| material.fill(&mut bytes))
            .expect("the digest is as long as the key");
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &self.0).expect("the key has the right length");
        LessSafeKey::new(key)
    }

    pub(crate) fn encrypt(&self, text: &str) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Randomness)?;
        let mut sealed = text.as_bytes().to_vec();
        self.cipher()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut sealed,
            )
            .expect("a key file is not too long to be encrypted");
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn decrypt(&self, bytes: &[u8]) -> Result<String, SealError> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Wrong)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher().open_in_place(nonce, Aad::empty(), &mut sealed);
        let text = opened.map_err(|_| SealError::Wrong)?;
        String::from_utf8(text.to_vec()).map_err(|_| SealError::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_secret_reads_it_and_only_for_its_purpose() {
        let sealed = Key::derived(b"secret", "a").encrypt("text").unwrap();
        assert_eq!(Key::derived(b"secret", "a").decrypt(&sealed).unwrap(), "text");
        for other in [Key::derived(b"secret", "b"), Key::derived(b"other", "a")] {
            assert_eq!(other.decrypt(&sealed), Err(SealError::Wrong));
        }
        let mut damaged = sealed;
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(Key::derived(b"secret", "a").decrypt(&damaged), Err(SealError::Wrong));
        assert_eq!(Key::generate().unwrap().decrypt(b"short"), Err(SealError::Wrong));
    }
}
