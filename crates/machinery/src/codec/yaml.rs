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

use serde::Serialize;
use serde::de::DeserializeOwned;
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

/// Reads the first document of a stream as what it is meant to be.
///
/// # Errors
/// When the text is no YAML, has a key twice, or says something else.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let document = read(text)?;
    if let Some(error) = document.duplicate_keys() {
        return Err(error);
    }
    serde_json::from_value(document.value).map_err(|error| Error(error.to_string()))
}

/// What something with a JSON form is in YAML.
///
/// # Errors
/// When it has none, because of keys that are no text.
pub fn to_string(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_value(value).map(|value| write(&value))
}

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
