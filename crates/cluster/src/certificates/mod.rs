//! The certificates of a cluster: what there is, how it is renewed, and how an authority or the keys
//! of service-account tokens are replaced while everything runs.
//!
//! Data flow: [`inventory`] is the table of what a node has → [`inspect`] reads it and says what is
//! wrong → [`renew`] issues one anew from what the old one says → [`keep`] does that in time, as a
//! static Pod of every control plane, and [`rotate`] for all at once, by another authority: that Pod does
//! its control plane's part. Kubelets ask for theirs themselves.
//!
//! Invariants: every server and client follows its files, so nothing is restarted but members of etcd
//! whose authority is replaced; a certificate says
//! after its renewal what it said before; while two authorities are trusted, the one that signs is
//! the first in `ca.crt`; files that are mounted one by one into Pods are written in place, and
//! completed after a crash.

pub mod files;
pub mod inspect;
pub mod inventory;
pub mod keep;
pub mod renew;
pub mod rotate;
