//! Namespaces: a phase, and a finalizer that waits for their content.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};
use serde_json::json;

use crate::cursor::{At, copy_field};
use crate::strategy::{Ctx, Strategy, label_name};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";

/// The rules of Namespaces.
pub(super) struct Namespace;

impl Strategy for Namespace {
    fn default(&self, namespace: &mut Value) {
        let name = meta::name(namespace).to_owned();
        if !name.is_empty() {
            meta::set_label(namespace, NAME_LABEL, name);
        }
        if let Some(status) = namespace.get_mut("status").filter(|s| s.is_object()) {
            crate::cursor::set_default_zero(status, "phase", "Active");
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        label_name(name, prefix)
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, namespace: &mut Value) {
        namespace["status"] = json!({"phase": "Active"});
        if !namespace.get("spec").is_some_and(Value::is_object) {
            namespace["spec"] = json!({});
        }
        let spec = &mut namespace["spec"];
        crate::cursor::set_default(spec, "finalizers", json!([]));
        if let Some(finalizers) = spec["finalizers"].as_array_mut()
            && !finalizers.iter().any(|f| f == FINALIZER)
        {
            finalizers.push(json!(FINALIZER));
        }
        self.canonicalize(namespace);
    }

    fn validate(&self, _ctx: &Ctx<'_>, namespace: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        finalizers(namespace, false, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        copy_field(new, old, "spec");
        copy_field(new, old, "status");
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let phase = At::root(new).get("status").get("phase").value;
        let path = Path::new("status").child("Phase");
        let phase = At::new(phase, path);
        let deleted = meta::deletion_timestamp(new).is_some();
        if !deleted && phase.str() != "Active" {
            let detail = "may only be 'Active' if `deletionTimestamp` is empty";
            errors.push(Error::invalid(&phase.path, phase.str(), detail));
        }
        if deleted && phase.str() != "Terminating" {
            let detail = "may only be 'Terminating' if `deletionTimestamp` is not empty";
            errors.push(Error::invalid(&phase.path, phase.str(), detail));
        }
        errors
    }

    fn prepare_for_subresource(
        &self,
        _ctx: &Ctx<'_>,
        _subresource: &str,
        new: &mut Value,
        old: &Value,
    ) {
        // finalize writes spec.finalizers and nothing else.
        copy_field(new, old, "status");
    }

    fn validate_subresource(
        &self,
        _ctx: &Ctx<'_>,
        _subresource: &str,
        new: &Value,
        _old: &Value,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        finalizers(new, true, &mut errors);
        errors
    }

    fn canonicalize(&self, namespace: &mut Value) {
        // A generated name is known only now.
        let name = meta::name(namespace).to_owned();
        if !name.is_empty() {
            meta::set_label(namespace, NAME_LABEL, name);
        }
    }
}

/// Checks finalizers; only when they are written through `finalize` the index is reported.
fn finalizers(namespace: &Value, indexed: bool, errors: &mut ErrorList) {
    let list = At::root(namespace).get("spec").get("finalizers");
    for finalizer in list.list() {
        let path = if indexed { &finalizer.path } else { &list.path };
        let name = finalizer.str();
        for message in names::qualified_name(name) {
            errors.push(Error::invalid(path, name, message));
        }
        let standard = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
        if !name.contains('/') && !standard {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(path, name, detail));
        }
    }
}
