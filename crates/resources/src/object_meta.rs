//! Rules for the metadata that every object has.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupVersion;
use machinery::{meta, names};

use crate::cursor::{At, same};

const ANNOTATIONS_MAX: usize = 256 * 1024;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// A rule for names: the name, and whether it is a prefix.
pub(crate) type NameRule<'a> = &'a dyn Fn(&str, bool) -> Vec<String>;

/// Checks the metadata of a new object.
pub(crate) fn validate(
    object: &Value,
    namespaced: bool,
    check_name: NameRule<'_>,
    errors: &mut ErrorList,
) {
    validate_at(&At::root(object).get("metadata"), namespaced, check_name, errors);
}

fn validate_at(
    metadata: &At<'_>,
    namespaced: bool,
    check_name: NameRule<'_>,
    errors: &mut ErrorList,
) {
    let generate_name = metadata.get("generateName");
    if !generate_name.is_empty() {
        for message in check_name(generate_name.str(), true) {
            generate_name.invalid(errors, message);
        }
    }
    let name = metadata.get("name");
    if name.is_empty() {
        name.required(errors, "name or generateName is required");
    } else {
        for message in check_name(name.str(), false) {
            name.invalid(errors, message);
        }
    }
    let namespace = metadata.get("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => namespace.required(errors, ""),
        (true, false) => namespace.form(errors, names::dns1123_label),
        (false, false) => namespace.forbidden(errors, "not allowed on this type"),
        (false, true) => {}
    }
    metadata.get("generation").non_negative(errors);
    common(metadata, errors);
}

/// Checks the metadata of an object that is a part of another. It need not have a name, and is
/// namespaced if it says so.
pub fn check_embedded(metadata: &Value, path: &Path) -> ErrorList {
    let mut metadata = metadata.clone();
    let is_set = |field: &str| metadata[field].as_str().is_some_and(|text| !text.is_empty());
    let (named, namespaced) = (is_set("name"), is_set("namespace"));
    if !named && let Some(members) = metadata.as_object_mut() {
        members.insert("name".to_owned(), "x".into());
    }
    let mut errors = ErrorList::new();
    let at = At::new(&metadata, path.clone());
    let check_name = |name: &str, prefix: bool| match prefix {
        true => names::path_segment_prefix(name),
        false => names::path_segment(name),
    };
    validate_at(&at, namespaced, &check_name, &mut errors);
    errors
}

/// Checks the metadata of an object that replaces `old`.
pub(crate) fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let metadata = At::root(new).get("metadata");
    let before = At::root(old).get("metadata");
    if meta::deletion_timestamp(old).is_some() {
        let mut added: Vec<&str> =
            meta::finalizers(new).filter(|f| !meta::finalizers(old).any(|o| o == *f)).collect();
        added.sort_unstable();
        if !added.is_empty() {
            let list = added.iter().map(|f| machinery::field::quote(f)).collect::<Vec<_>>();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            metadata.get("finalizers").forbidden(errors, detail);
        }
    }
    let version = metadata.get("resourceVersion");
    if version.is_empty() {
        errors.push(Error::invalid(&version.path, "", "must be specified for an update"));
    }
    let generation = metadata.get("generation");
    if generation.int_or_zero() < before.get("generation").int_or_zero() {
        errors.push(Error::invalid(
            &generation.path,
            generation.int_or_zero(),
            "must not be decremented",
        ));
    }
    for field in ["name", "namespace", "uid"] {
        let (new, old) = (metadata.get(field), before.get(field));
        if new.str() != old.str() {
            errors.push(Error::immutable(&new.path, new.str()));
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.get(field).unchanged(&before.get(field), errors);
    }
    common(&metadata, errors);
}

/// Checks the metadata of a Pod template: labels and annotations, which upstream places right below
/// the template.
pub(crate) fn validate_template(template: &At<'_>, errors: &mut ErrorList) {
    let metadata = template.get("metadata");
    for (field, check) in [
        ("labels", labels as fn(&At<'_>, &mut ErrorList)),
        ("annotations", annotations as fn(&At<'_>, &mut ErrorList)),
    ] {
        check(&At::new(metadata.get(field).value, template.path.child(field)), errors);
    }
}

fn common(metadata: &At<'_>, errors: &mut ErrorList) {
    labels(&metadata.get("labels"), errors);
    annotations(&metadata.get("annotations"), errors);
    owner_references(&metadata.get("ownerReferences"), errors);
    finalizers(&metadata.get("finalizers"), errors);
    let managed_fields = metadata.get("managedFields");
    machinery::apply::check_entries(managed_fields.value, &managed_fields.path, errors);
}

/// Checks a map of labels.
pub(crate) fn labels(labels: &At<'_>, errors: &mut ErrorList) {
    for (key, value) in labels.entries() {
        for message in names::qualified_name(key) {
            errors.push(Error::invalid(&labels.path, key, message));
        }
        for message in names::label_value(value.str()) {
            errors.push(Error::invalid(&labels.path, value.str(), message));
        }
    }
}

/// Checks a map of annotations.
pub(crate) fn annotations(annotations: &At<'_>, errors: &mut ErrorList) {
    for (key, _) in annotations.entries() {
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.push(Error::invalid(&annotations.path, key, message));
        }
    }
    annotations_size(annotations, errors);
}

/// Checks how much is noted.
pub(crate) fn annotations_size(annotations: &At<'_>, errors: &mut ErrorList) {
    let size: usize = annotations.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if size > ANNOTATIONS_MAX {
        errors.push(Error::too_long(&annotations.path, ANNOTATIONS_MAX));
    }
}

fn owner_references(references: &At<'_>, errors: &mut ErrorList) {
    let path = &references.path;
    let mut controller: Option<String> = None;
    for reference in references.items() {
        let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
        let version = GroupVersion::parse(api_version).unwrap_or_default();
        if version.version.is_empty() {
            let path = path.child("apiVersion");
            errors.push(Error::invalid(&path, api_version, "version must not be empty"));
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                errors.push(Error::invalid(&path.child(field), "", "must not be empty"));
            }
        }
        if version.group.is_empty() && version.version == "v1" && kind == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(Error::invalid(path, reference.clone(), detail));
        }
        if reference.get("controller").and_then(Value::as_bool) == Some(true) {
            let current = format!("{kind}/{name}");
            if let Some(first) = &controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                );
                errors.push(Error::invalid(path, references.value.clone(), detail));
            } else {
                controller = Some(current);
            }
        }
    }
}

fn finalizers(finalizers: &At<'_>, errors: &mut ErrorList) {
    let mut found = [false; 2];
    for finalizer in finalizers.items() {
        let finalizer = finalizer.as_str().unwrap_or_default();
        finalizer_name(finalizer, &finalizers.path, errors);
        found[0] |= finalizer == ORPHAN;
        found[1] |= finalizer == FOREGROUND;
    }
    if found == [true, true] {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        finalizers.invalid(errors, detail);
    }
}

/// Checks one finalizer, as a qualified name.
fn finalizer_name(finalizer: &str, path: &Path, errors: &mut ErrorList) {
    for message in names::qualified_name(finalizer) {
        errors.push(Error::invalid(path, finalizer, message));
    }
}

/// What the kinds of the core ask of finalizers besides: that their names say whose they are.
pub(crate) fn core_finalizers(object: &Value, errors: &mut ErrorList) {
    for finalizer in At::root(object).get("metadata").get("finalizers").list() {
        let name = finalizer.str();
        if !name.contains('/') && !matches!(name, "kubernetes" | ORPHAN | FOREGROUND) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            finalizer.invalid(errors, detail);
        }
    }
}

/// Whether two objects differ in anything but metadata and status.
pub(crate) fn content_differs(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a != b;
    };
    let null = Value::Null;
    let counts = |k: &str| !matches!(k, "metadata" | "status" | "apiVersion" | "kind");
    a.iter().any(|(k, v)| counts(k) && !same(v, b.get(k).unwrap_or(&null)))
        || b.iter().any(|(k, v)| counts(k) && !a.contains_key(k) && !same(v, &null))
}
