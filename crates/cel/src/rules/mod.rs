//! `x-kubernetes-validations` of structural schemas.
//!
//! [`Rules::compile`] finds every mistake that can be found before an object exists, the cost that
//! could get too high among them. [`Rules::validate`] applies the rules to an object and, where
//! there is one, to what it was before.

mod compile;
mod field_path;
mod keyed;
mod rule;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::Value as Json;
use machinery::field::{ErrorList, Path};

use crate::schema::Decl;
use rule::Rule;

pub use field_path::field_of;
pub use keyed::Keyed;

/// The compiled rules of a schema.
#[derive(Debug, Default)]
pub struct Rules {
    root: Option<Node>,
}

/// What is left to spend on the rules of one object.
#[derive(Debug)]
pub struct Budget {
    left: i64,
    /// Mistakes that are not errors, since what they are about did not change.
    pub warnings: Vec<String>,
}

/// A part of the schema that has rules, itself or below.
#[derive(Debug)]
struct Node {
    decl: Option<Arc<Decl>>,
    /// The type as the schema spells it, which errors show in place of the value.
    ty: String,
    /// In the order of the schema; of one that does not compile, what is wrong with it.
    rules: Vec<Result<Rule, String>>,
    properties: BTreeMap<String, Node>,
    values: Option<Box<Node>>,
    items: Option<Box<Node>>,
    all_of: Vec<Node>,
    /// Keys by which items of old and new lists are matched; `None` when they cannot be.
    list_keys: Option<Vec<String>>,
    /// Whether fields of old and new values belong together.
    fields_correlate: bool,
}

impl Rules {
    /// Compiles all rules of a schema, a `JSONSchemaProps` that is structural.
    ///
    /// # Errors
    /// Everything that is wrong with the rules, at `path`.
    pub fn compile(schema: &Json, path: &Path) -> Result<Self, ErrorList> {
        compile::checked(schema, true, true, path)
    }

    /// Compiles all rules of a schema that replaces one with rules of the same cost.
    ///
    /// # Errors
    /// As [`Rules::compile`], without the limits of cost.
    pub fn compile_unlimited(schema: &Json, path: &Path) -> Result<Self, ErrorList> {
        compile::checked(schema, true, false, path)
    }

    /// Compiles all rules of a schema that was accepted before, perhaps by a server that knew more.
    /// A rule that does not compile is broken by every value, and says why; the others apply.
    pub fn compile_stored(schema: &Json) -> Self {
        compile::stored(schema)
    }

    /// Compiles the rules of a part of a schema, to be applied to values of that part alone.
    ///
    /// # Errors
    /// As [`Rules::compile`].
    pub fn compile_part(schema: &Json, path: &Path) -> Result<Self, ErrorList> {
        let is_object = crate::schema::flag(schema, "x-kubernetes-embedded-resource");
        compile::checked(schema, is_object, true, path)
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Applies the rules to `new`. Rules about changes apply where `old` has a counterpart, and a
    /// mistake in what did not change is a warning.
    pub fn validate(
        &self,
        path: &Path,
        new: &Json,
        old: Option<&Json>,
        budget: &mut Budget,
    ) -> ErrorList {
        match &self.root {
            Some(root) => validate::validate(root, path, new, old, budget),
            None => ErrorList::default(),
        }
    }
}

impl Budget {
    /// What an object may cost.
    pub fn new() -> Self {
        Self::of(crate::RUNTIME_BUDGET)
    }

    /// Another amount.
    pub fn of(units: u64) -> Self {
        Self { left: i64::try_from(units).unwrap_or(i64::MAX), warnings: Vec::new() }
    }

    /// Takes an amount; false when there is not that much left, and then there is nothing left.
    fn spend(&mut self, cost: u64) -> bool {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let enough = cost <= self.left;
        self.left = if enough { self.left - cost } else { -1 };
        enough
    }

    /// Ends all spending.
    fn exhaust(&mut self) {
        self.left = -1;
    }

    fn exhausted(&self) -> bool {
        self.left < 0
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}
