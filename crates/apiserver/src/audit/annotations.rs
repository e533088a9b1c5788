//! What the steps of a request have to say in its audit event, such as which policy let it pass:
//! <https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/>.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Notes for the audit event of a request. Clones share them. Nothing is kept, and nothing costs
/// anything, unless somebody will read it.
#[derive(Debug, Clone, Default)]
pub struct Annotations(Option<Arc<Mutex<BTreeMap<String, String>>>>);

// === impl Annotations ===

impl Annotations {
    /// Notes that somebody will read.
    #[must_use]
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether somebody will read what is added, for those to whom it would be work.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Notes `value` under `key`, a domain with a word such as
    /// `authorization.k8s.io/decision`. What was noted under a key first stays.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        let Some(notes) = &self.0 else { return };
        let (key, value) = (key.into(), value.into());
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = notes.get(&key) {
            if *first != value {
                tracing::warn!(key, value, first, "the audit annotation is set already");
            }
            return;
        }
        notes.insert(key, value);
    }

    /// All notes so far, by key.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, String> {
        let notes =
            self.0.as_ref().map(|notes| notes.lock().unwrap_or_else(PoisonError::into_inner));
        notes.map(|notes| notes.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_note_stays() {
        let notes = Annotations::kept();
        let shared = notes.clone();
        shared.add("a", "1");
        shared.add("b", "2");
        shared.add("a", "3");
        let all = notes.all();
        assert_eq!(all.iter().map(|(k, v)| format!("{k}{v}")).collect::<Vec<_>>(), ["a1", "b2"]);
    }

    #[test]
    fn nothing_is_kept_that_nobody_reads() {
        let notes = Annotations::default();
        notes.add("a", "1");
        assert!(!notes.is_kept() && notes.all().is_empty());
    }
}
