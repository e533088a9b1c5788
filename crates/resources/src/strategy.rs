//! What differs from kind to kind: defaults, rules and preparation of writes.
//!
//! Everything here is pure. The order of calls is in [`crate::Registration`], which adds what all
//! kinds have in common.

use machinery::field::ErrorList;
use machinery::time::Timestamp;
use machinery::{Value, meta, names};

use crate::cursor::copy_field;

/// What a strategy may know about the request besides the objects.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    /// The time of the request.
    pub now: Timestamp,
    /// Who asks, in the form of `authentication.k8s.io` UserInfo; null when nobody in particular.
    pub user: &'a Value,
}

/// What happens to dependents of a deleted object when the request does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents are collected after the owner is gone.
    Background,
    /// Dependents stay.
    Orphan,
}

/// When `metadata.generation` counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// It is never set.
    None,
    /// It starts at 1 and stays.
    Fixed,
    /// It starts at 1 and counts changes of `spec`.
    Spec,
    /// As [`Generation::Spec`], and changes of annotations count too.
    SpecAndAnnotations,
    /// It starts at 1 and counts changes of anything but metadata and status.
    Content,
    /// It starts at 1 and counts changes of anything but metadata.
    All,
    /// As [`Generation::Content`], and changes of labels count too.
    ContentAndLabels,
}

/// What becomes of `status` when an object is created through the main resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusOnCreate {
    /// Dropped; the usual case.
    Drop,
    /// Stored as sent.
    Keep,
}

/// What a write of the status leaves of the metadata as it was. Managed fields are written always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMetadata {
    /// Nothing: metadata is written as sent.
    Written,
    /// The fields named.
    Keeps(&'static [&'static str]),
    /// All that users write.
    Kept,
    /// All that users write but finalizers.
    KeptButFinalizers,
}

/// The rules of one kind. A kind without rules of its own gets by with the provided ones.
pub trait Strategy: Send + Sync {
    /// Fills in what the client left open, on top of the defaults declared in the schema.
    fn default(&self, _object: &mut Value) {}

    /// Messages about a name, or about the prefix given as `generateName`.
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        if prefix { names::path_segment_prefix(name) } else { names::path_segment(name) }
    }

    /// How `metadata.generation` moves.
    fn generation(&self) -> Generation {
        Generation::None
    }

    /// What becomes of `status` on creation.
    fn status_on_create(&self) -> StatusOnCreate {
        StatusOnCreate::Drop
    }

    /// Changes a new object before it is checked.
    fn prepare_for_create(&self, _ctx: &Ctx<'_>, _object: &mut Value) {}

    /// Checks a new object, metadata aside.
    fn validate(&self, _ctx: &Ctx<'_>, _object: &Value) -> ErrorList {
        ErrorList::new()
    }

    /// Changes an object that replaces `old` before it is checked.
    fn prepare_for_update(&self, _ctx: &Ctx<'_>, _new: &mut Value, _old: &Value) {}

    /// Checks an object that replaces `old`, metadata aside.
    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        self.validate(ctx, new)
    }

    /// What a write of the status leaves of the metadata as it was.
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Written
    }

    /// Changes an object whose status replaces that of `old`.
    fn prepare_for_status_update(&self, _ctx: &Ctx<'_>, _new: &mut Value, _old: &Value) {}

    /// Checks a new status.
    fn validate_status_update(&self, _ctx: &Ctx<'_>, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    /// Changes an object written through another subresource (`finalize`, `approval`,
    /// `ephemeralcontainers`, `resize`).
    fn prepare_for_subresource(
        &self,
        _ctx: &Ctx<'_>,
        _subresource: &str,
        _new: &mut Value,
        _old: &Value,
    ) {
    }

    /// Checks an object written through another subresource.
    fn validate_subresource(
        &self,
        ctx: &Ctx<'_>,
        _subresource: &str,
        new: &Value,
        old: &Value,
    ) -> ErrorList {
        self.validate_update(ctx, new, old)
    }

    /// What the client should be told although the write is accepted; `old` is there on updates.
    fn warnings(&self, _ctx: &Ctx<'_>, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// What the client should be told about a new object before anything is made of it.
    fn warnings_before_create(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// What the client should be told although the write of a status is accepted.
    fn status_warnings(&self, _ctx: &Ctx<'_>, _new: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Brings an accepted object into its one stored form.
    fn canonicalize(&self, _object: &mut Value) {}

    /// Whether `PUT` of an object that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether a `PUT` without resourceVersion replaces whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// The seconds a deleted object stays to finish its work; `None` where deletion is at once.
    /// `requested` is what the delete options say.
    fn graceful_deletion(
        &self,
        _ctx: &Ctx<'_>,
        _object: &Value,
        _requested: Option<i64>,
    ) -> Option<i64> {
        None
    }

    /// Changes an object whose deletion is asked for the first time. Finalizers that are put on it
    /// here keep it.
    fn prepare_for_deletion(&self, _ctx: &Ctx<'_>, _object: &mut Value) {}

    /// What happens to dependents by default.
    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }
}

// === impl StatusMetadata ===

impl StatusMetadata {
    /// The fields below `metadata` that stay.
    pub const fn kept(self) -> &'static [&'static str] {
        const ALL: &[&str] = &["labels", "annotations", "ownerReferences", "finalizers"];
        const BUT_FINALIZERS: &[&str] = &["labels", "annotations", "ownerReferences"];
        match self {
            Self::Written => &[],
            Self::Keeps(fields) => fields,
            Self::Kept => ALL,
            Self::KeptButFinalizers => BUT_FINALIZERS,
        }
    }

    /// Gives `new` what stays of the metadata of `old`.
    pub(crate) fn keep(self, new: &mut Value, old: &Value) {
        let before = old.get("metadata").unwrap_or(&Value::Null);
        for field in self.kept() {
            meta::metadata_mut(new);
            copy_field(&mut new["metadata"], before, field);
        }
    }
}

/// A kind without rules of its own whose names are DNS subdomains.
#[derive(Clone, Copy, Debug)]
pub struct PlainSubdomain;

impl Strategy for PlainSubdomain {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }
}

/// The usual rule for names.
pub(crate) fn subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix {
        names::dns1123_subdomain(&names::mask_trailing_dash(name))
    } else {
        names::dns1123_subdomain(name)
    }
}

/// Names that are DNS labels.
pub(crate) fn label_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix {
        names::dns1123_label(&names::mask_trailing_dash(name))
    } else {
        names::dns1123_label(name)
    }
}
