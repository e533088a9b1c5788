//! Rules for what clients write into `metadata.managedFields`.
//!
//! Entries that cannot be read do not get here: they are dropped before.

use serde_json::Value;

use crate::field::{Error, ErrorList, Path};

const MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;

/// Checks the names in a list of entries.
pub fn check_entries(list: &Value, path: &Path, errors: &mut ErrorList) {
    for (at, entry) in list.as_array().into_iter().flatten().enumerate() {
        let path = path.index(at);
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let manager = text("manager");
        if manager.len() > MANAGER_MAX {
            errors.push(Error::too_long(&path.child("manager"), MANAGER_MAX));
        }
        for (at, found) in manager.char_indices().filter(|(_, c)| c.is_control()) {
            let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(found));
            errors.push(Error::invalid(&path.child("manager"), manager, detail));
        }
        if text("subresource").len() > SUBRESOURCE_MAX {
            errors.push(Error::too_long(&path.child("subresource"), SUBRESOURCE_MAX));
        }
    }
}
