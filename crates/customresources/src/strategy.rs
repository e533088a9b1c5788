//! The rules of a custom resource in one version.

use std::sync::Arc;

use cel::rules::{Budget, Rules};
use machinery::Value;
use machinery::field::{Error, ErrorList, ErrorType, Path};
use machinery::{meta, names};
use resources::{Ctx, Generation, ScalePaths, Strategy};

use crate::structural::Structural;
use crate::validate::validate;
use crate::{default, embedded, lists, scale};

/// See the module.
#[derive(Debug)]
pub struct CustomResource {
    /// What the objects look like.
    pub schema: Structural,
    /// Whether status is written apart from the rest.
    pub has_status: bool,
    /// Where the replicas are.
    pub scale: Option<ScalePaths>,
    /// The expressions that objects must satisfy.
    pub rules: Arc<Rules>,
}

const INCOMPLETE: &str = "some validation rules were not checked because the object was invalid; \
                          correct the existing errors to complete validation";

impl CustomResource {
    fn check(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        let mut errors = validate(new, &self.schema, old);
        if let Some(scale) = &self.scale {
            scale::check_spec(new, scale, &mut errors);
            scale::check_status(new, scale, &mut errors);
        }
        embedded::check(new, &self.schema, &Path::root(), &mut errors);
        self.check_more(new, old, &mut errors);
        errors
    }

    /// What is looked at whatever of the object is written.
    fn check_more(&self, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        self.check_lists(new, old, errors);
        if self.rules.is_empty() {
            return;
        }
        if errors.iter().any(|error| blocks(error.kind)) {
            errors.push(Error::invalid(&Path::root(), Value::Null, INCOMPLETE));
        } else {
            let mut budget = Budget::new();
            errors.extend(self.rules.validate(&Path::root(), new, old, &mut budget));
        }
    }

    /// Duplicates that have been there before are borne.
    fn check_lists(&self, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        let mut found = ErrorList::new();
        lists::check(new, &self.schema, &Path::root(), &mut found);
        if found.is_empty() {
            return;
        }
        let mut before = ErrorList::new();
        if let Some(old) = old {
            lists::check(old, &self.schema, &Path::root(), &mut before);
        }
        if before.is_empty() {
            errors.extend(found);
        }
    }
}

/// Mistakes after which expressions cannot be evaluated.
fn blocks(kind: ErrorType) -> bool {
    use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

impl Strategy for CustomResource {
    fn default(&self, object: &mut Value) {
        default::apply(object, &self.schema);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        match prefix {
            true => names::dns1123_subdomain(&names::mask_trailing_dash(name)),
            false => names::dns1123_subdomain(name),
        }
    }

    fn generation(&self) -> Generation {
        if self.has_status { Generation::Content } else { Generation::All }
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        self.check(object, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.check(new, Some(old))
    }

    /// Metadata is written through the resource itself, managed fields aside.
    fn prepare_for_status_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        let managed = new.pointer("/metadata/managedFields").cloned();
        let version = meta::resource_version(new).to_owned();
        let mut metadata = old.get("metadata").cloned().unwrap_or_default();
        if let Some(members) = metadata.as_object_mut() {
            match managed {
                Some(managed) => members.insert("managedFields".to_owned(), managed),
                None => members.shift_remove("managedFields"),
            };
        }
        new["metadata"] = metadata;
        meta::set_resource_version(new, version);
    }

    /// Embedded objects and the wished scale are for those who write them.
    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = validate(new, &self.schema, Some(old));
        if let Some(scale) = &self.scale {
            scale::check_status(new, scale, &mut errors);
        }
        self.check_more(new, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let before: Vec<&str> = old.map(|old| meta::finalizers(old).collect()).unwrap_or_default();
        // What is borne because it was like this before is still said.
        let mut budget = Budget::new();
        if old.is_some() && !self.rules.is_empty() {
            self.rules.validate(&Path::root(), new, old, &mut budget);
        }
        let mut warnings = budget.warnings;
        for finalizer in meta::finalizers(new) {
            if !finalizer.contains('/') && !before.contains(&finalizer) && !is_standard(finalizer) {
                warnings.push(format!(
                    "metadata.finalizers: {finalizer:?}: prefer a domain-qualified finalizer name \
                     including a path (/) to avoid accidental conflicts with other finalizer writers"
                ));
            }
        }
        warnings
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn is_standard(finalizer: &str) -> bool {
    matches!(finalizer, "orphan" | "foregroundDeletion" | "kubernetes")
}
