//! What is fuzzed.

mod apply;
mod expressions;
mod formats;
mod patches;
mod streams;
mod texts;

use crate::Target;

/// Every target, in order of name.
#[must_use]
pub fn all() -> Vec<Target> {
    let mut targets = Vec::new();
    targets.extend(apply::TARGETS);
    targets.extend(expressions::TARGETS);
    targets.extend(formats::TARGETS);
    targets.extend(patches::TARGETS);
    targets.extend(streams::TARGETS);
    targets.extend(texts::TARGETS);
    targets.sort_by_key(|target| target.name);
    targets
}
