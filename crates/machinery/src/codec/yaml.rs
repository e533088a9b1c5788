//! YAML as upstream's `sigs.k8s.io/yaml` has it: YAML 1.1 on the way to JSON.
//!
//! `yes`, `on` and their kin are booleans, `0777` and `0o777` are octal, `1_000` is a number, a
//! document ends where the next begins, aliases and merge keys are followed. What comes out is the
//! tree that the JSON text would give. What is written quotes every text that would be read as
//! something else.

mod json;
mod load;
mod resolve;
#[cfg(test)]
mod tests;
mod write;

use serde_json::Value;

pub use self::load::read;
pub use self::write::write;

/// The first document of a YAML stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// The tree; keys in order of name, null if there is nothing at all.
    pub value: Value,
    /// Keys that stand in a mapping twice, of which the last one counts: `line 3: key "a" already
    /// set in map`.
    pub duplicates: Vec<String>,
}

/// Why a text is no YAML that has a JSON form, in the words of upstream's parser.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: {0}")]
pub struct Error(String);

impl Document {
    /// The objection of a strict reader to keys that stand there twice.
    #[must_use]
    pub fn duplicate_keys(&self) -> Option<Error> {
        if self.duplicates.is_empty() {
            return None;
        }
        let lines = self.duplicates.join("\n  ");
        Some(Error(format!("yaml: unmarshal errors:\n  {lines}")))
    }
}
