//! Hashes of Pod templates: stable names for what a template says.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;

/// Letters that cannot make words or be mistaken for each other, as upstream's.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash that names a template's ReplicaSet or revision; `collisions` makes another one.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    hash_of(template, collisions)
}

/// The hash of anything that is written as JSON with a stable order of members.
pub(crate) fn hash_of(value: &impl Serialize, collisions: Option<i32>) -> String {
    // Maps of the API types are ordered and none of them can fail to be written.
    let text = serde_json::to_vec(value).expect("API types are plain data");
    let mut hash = fnv1a(&text, 0x811c_9dc5);
    if let Some(collisions) = collisions {
        hash = fnv1a(&collisions.to_le_bytes(), hash);
    }
    safe_encode(&hash.to_string())
}

fn fnv1a(bytes: &[u8], start: u32) -> u32 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn safe_encode(text: &str) -> String {
    text.bytes().map(|b| char::from(SAFE[usize::from(b) % SAFE.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable_and_differ_by_collision() {
        let template = PodTemplateSpec::default();
        assert_eq!(hash(&template, None), hash(&template, None));
        assert_ne!(hash(&template, None), hash(&template, Some(1)));
        assert!(hash(&template, None).bytes().all(|b| SAFE.contains(&b)));
    }
}
