//! How a node says which authorities its kubelet has followed, while one takes over from another.
//! The kubelet writes these annotations of its Node, and whoever replaces the authority reads them.

use ring::digest::SHA256;

/// Digest of the bundle that the kubelet trusts.
pub const TRUSTS: &str = "ironclad.local/trusted-authorities";
/// Digest of the authority that issued all of the kubelet's certificates.
pub const ISSUER: &str = "ironclad.local/certificate-authority";

/// The digest by which a bundle, or the certificate of an authority, is known.
#[must_use]
pub fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
