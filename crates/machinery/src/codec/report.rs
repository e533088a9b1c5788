//! What decoding has found wrong, and where.

use serde_json::Value;
use smallvec::SmallVec;

use super::zero::zero;
use super::{DecodeError, Decoded, FieldValidation};
use crate::schema::TypeRef;

/// As many as upstream reports.
const MAX_STRICT_ERRORS: usize = 100;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Source {
    Json,
    Cbor,
    /// A tree that was read before, from YAML or by a patch.
    Tree,
}

/// What was found wrong so far. Decoding goes on to the end: malformed text outranks a wrong
/// type, and a wrong type outranks unknown fields.
pub(super) struct Report {
    validation: FieldValidation,
    pub(super) source: Source,
    error: Option<DecodeError>,
    strict: Vec<String>,
    /// Inside a type whose decoding upstream starts anew, without strictness.
    pub(super) muted: u32,
}

impl Report {
    pub(super) fn new(validation: FieldValidation, source: Source) -> Self {
        Self { validation, source, error: None, strict: Vec::new(), muted: 0 }
    }

    /// An object that is null as a whole is an empty one.
    pub(super) fn finish(self, value: Value, ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match self.validation {
            FieldValidation::Strict if !self.strict.is_empty() => {
                Err(DecodeError::Strict(self.strict))
            }
            _ => {
                let value = if value.is_null() { zero(ty) } else { value };
                Ok(Decoded { value, warnings: self.strict })
            }
        }
    }

    pub(super) fn fail(&mut self, error: impl FnOnce() -> DecodeError) {
        self.error.get_or_insert_with(error);
    }

    /// Notes a text about a field that should not be there.
    pub(super) fn note(&mut self, text: String) {
        if self.validation != FieldValidation::Ignore && self.strict.len() < MAX_STRICT_ERRORS {
            self.strict.push(text);
        }
    }

    #[cold]
    pub(super) fn strict(&mut self, what: &str, path: &Path<'_>, name: &str) {
        if self.validation == FieldValidation::Ignore
            || self.muted > 0
            || self.strict.len() >= MAX_STRICT_ERRORS
        {
            return;
        }
        let path = Path { parent: Some(path), step: Step::Key(name) };
        let text = format!("{what} field {:?}", path.with_indexes());
        if !self.strict.contains(&text) {
            self.strict.push(text);
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Step<'p> {
    Root,
    Field(&'p str),
    Key(&'p str),
    Index(usize),
}

/// The way from the root to a value, on the stack.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    pub(super) parent: Option<&'p Path<'p>>,
    pub(super) step: Step<'p>,
}

impl Path<'_> {
    fn steps(&self) -> SmallVec<[Step<'_>; 16]> {
        let mut steps = SmallVec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            steps.push(path.step);
            at = path.parent;
        }
        steps.reverse();
        steps
    }

    /// `spec.containers[0].limits`
    pub(super) fn with_indexes(&self) -> String {
        let mut text = String::new();
        for step in self.steps() {
            match step {
                Step::Root => {}
                Step::Field(name) | Step::Key(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(name);
                }
                Step::Index(at) => text.push_str(&format!("[{at}]")),
            }
        }
        text
    }

    /// `spec.containers.limits`: Go names only the fields.
    pub(super) fn fields_only(&self) -> String {
        let steps = self.steps();
        let names: Vec<&str> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(*name),
                _ => None,
            })
            .collect();
        names.join(".")
    }
}
