//! Fields that an apply would change although others own them.

use std::collections::BTreeMap;
use std::fmt;

use super::entry::{Manager, Operation};
use super::set::{Path, Set};
use crate::field::quote;
use crate::status::{Cause, Details, Status, reason};

/// One such field.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// Who owns it.
    pub manager: Manager,
    /// In which version.
    pub api_version: String,
    /// Which field.
    pub path: Path,
}

/// At least one conflict.
#[derive(Clone, Debug)]
pub struct Conflicts(Vec<Conflict>);

impl Conflict {
    fn owner(&self) -> String {
        let mut text = quote(&self.manager.name);
        if !self.manager.subresource.is_empty() {
            text = format!("{text} with subresource {}", quote(&self.manager.subresource));
        }
        match self.manager.operation {
            Operation::Apply => text,
            Operation::Update => format!("{text} using {}", self.api_version),
        }
    }
}

impl Conflicts {
    pub(super) fn new(conflicts: Vec<Conflict>) -> Self {
        Self(conflicts)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The conflicts about fields that are not in the set.
    pub(super) fn without(&self, allowed: &Set) -> Self {
        Self(self.0.iter().filter(|conflict| !allowed.has(&conflict.path.0)).cloned().collect())
    }

    /// What the client is told.
    pub fn to_status(&self) -> Status {
        let cause = |conflict: &Conflict| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", conflict.owner()),
            field: conflict.path.to_string(),
        };
        let causes = self.0.iter().map(cause).collect();
        Status::failure(409, reason::CONFLICT, self.to_string())
            .with_details(Details { causes, ..Details::default() })
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [conflict] = self.0.as_slice() {
            let Conflict { path, .. } = conflict;
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {}: {path}",
                conflict.owner()
            );
        }
        let mut by_owner: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
        for conflict in &self.0 {
            by_owner.entry(conflict.owner()).or_default().push(&conflict.path);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        for (at, (owner, paths)) in by_owner.iter().enumerate() {
            let newline = if at > 0 { "\n" } else { "" };
            write!(f, "{newline}conflicts with {owner}:")?;
            paths.iter().try_for_each(|path| write!(f, "\n- {path}"))?;
        }
        Ok(())
    }
}
