//! The id by which a request is found again in logs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};

const MAX: usize = 64;

/// The client's own id, or a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(super::AUDIT_ID) {
        Some(id) if !id.is_empty() && id.len() <= MAX => id.clone(),
        _ => new(),
    }
}

/// A version 4 UUID. Need not be secret, only unique: a random start per process and a mixed
/// counter, since asking the system for randomness on every request would cost more than
/// answering it.
fn new() -> HeaderValue {
    static SEED: OnceLock<u128> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let seed = *SEED.get_or_init(|| uuid::Uuid::new_v4().as_u128());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let low = mix(count ^ (seed as u64));
    let high = mix(low ^ ((seed >> 64) as u64));
    let id = uuid::Builder::from_u128((u128::from(high) << 64) | u128::from(low))
        .with_version(uuid::Version::Random)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid();
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).expect("a UUID is a header value")
}

/// The finalizer of SplitMix64: a bijection, so different counts give different ids.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_a_client_can_give_its_own() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| new()).collect();
        assert_eq!(ids.len(), 1000);
        let mut headers = HeaderMap::new();
        headers.insert(super::super::AUDIT_ID, HeaderValue::from_static("mine"));
        assert_eq!(of(&headers), "mine");
    }
}
