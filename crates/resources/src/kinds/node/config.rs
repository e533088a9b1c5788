//! Where kubelets once took their configuration from. Nobody uses it any more, but Nodes that have
//! it keep it.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use crate::cursor::{At, remove};
use crate::kinds::internal;

/// Drops a source that was not there before.
pub(super) fn drop_spec(node: &mut Value, old: Option<&Value>) {
    let used = old.and_then(|old| old.pointer("/spec/configSource")).is_some_and(Value::is_object);
    if let Some(spec) = node.get_mut("spec").filter(|spec| spec.is_object() && !used) {
        remove(spec, "configSource");
    }
}

/// Checks the source that is asked for, and those that are in use.
pub(super) fn check(node: &Value, errors: &mut ErrorList) {
    source(&At::root(node).get("spec").get("configSource"), false, errors);
    for used in ["assigned", "active", "lastKnownGood"] {
        source(&At::root(node).get("status").get("config").get(used), true, errors);
    }
}

fn source(source: &At<'_>, in_use: bool, errors: &mut ErrorList) {
    if !source.is_set() {
        return;
    }
    let map = source.get("configMap");
    if !map.is_set() {
        let shown = internal::form(source.value, "NodeConfigSource");
        let detail = "exactly one reference subfield must be non-nil";
        errors.push(Error::invalid(&source.path, shown, detail));
        return;
    }
    for field in ["uid", "resourceVersion"] {
        let field_at = map.get(field);
        if in_use {
            field_at.must(errors);
        } else if !field_at.is_empty() {
            field_at.forbidden(errors, format!("{field} must not be set in spec"));
        }
    }
    map.get("namespace").must_form(errors, names::dns1123_label);
    map.get("name").must_form(errors, names::dns1123_subdomain);
    map.get("kubeletConfigKey").must_form(errors, names::config_map_key);
}
