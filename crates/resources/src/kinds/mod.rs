//! The rules of single kinds, one file or folder per family.

pub mod service;

use crate::strategy::{PlainSubdomain, Strategy};

/// The strategy of a built-in kind.
pub(crate) fn strategy(_group: &str, _version: &str, _kind: &str) -> &'static dyn Strategy {
    &PlainSubdomain
}
