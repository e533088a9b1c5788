//! The rules of single kinds, one file or folder per family.

pub mod pod;
pub mod service;

use crate::strategy::{PlainSubdomain, Strategy};

/// The strategy of a built-in kind.
pub(crate) fn strategy(group: &str, _version: &str, kind: &str) -> &'static dyn Strategy {
    match (group, kind) {
        ("", "Pod") => &pod::Pod,
        _ => &PlainSubdomain,
    }
}
