//! The rules in a real kernel, with real packets, in network namespaces of the test's own.
//!
//! ```text
//! client 192.0.2.9 ── 192.0.2.1 node 10.244.1.1 (bridge cni0) ── pod1 10.244.1.2, pod2 10.244.1.3
//! ```
//!
//! Needs root, nft and ip, like the proxy's users have; says so where they are missing.

#![allow(clippy::unwrap_used)] // A test that meets an error must fail.

mod net;
mod packets;
mod whole;
