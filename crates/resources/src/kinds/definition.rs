//! Definitions of custom resources.

mod conversion;
mod schema;
#[cfg(test)]
mod tests;
mod versions;

use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta, names, time};
use serde_json::json;

use super::forms;
use crate::cursor::{At, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

/// Keeps a definition until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const APPROVAL: &str = "api-approved.kubernetes.io";

/// The rules of CustomResourceDefinitions.
pub(super) struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    /// The finalizer that waits for the objects goes with a write of the status.
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::KeptButFinalizers
    }

    fn default(&self, crd: &mut Value) {
        let Some(spec) = crd.get_mut("spec").filter(|s| s.is_object()) else { return };
        if let Some(names) = spec.get_mut("names").filter(|n| n.is_object()) {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !kind.is_empty() {
                set_default_zero(names, "singular", kind.to_lowercase());
                set_default_zero(names, "listKind", format!("{kind}List"));
            }
        }
        set_default(spec, "conversion", json!({}));
        set_default_zero(&mut spec["conversion"], "strategy", "None");
        if let Some(service) = spec
            .pointer_mut("/conversion/webhook/clientConfig/service")
            .filter(|service| service.is_object())
        {
            set_default(service, "port", 443);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, crd: &mut Value) {
        let stored = stored_version(crd);
        crd["status"] = json!({
            "conditions": null,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": stored.into_iter().collect::<Vec<_>>(),
        });
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, _old: &Value) {
        let Some(version) = stored_version(new) else { return };
        let Some(status) = new.get_mut("status").filter(|s| s.is_object()) else { return };
        set_default(status, "storedVersions", json!([]));
        if let Some(stored) = status["storedVersions"].as_array_mut()
            && !stored.iter().any(|v| *v == version)
        {
            stored.push(json!(version));
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, crd: &Value) -> ErrorList {
        let mut errors = check_definition(crd, None);
        check_preserving(crd, &mut errors);
        let group = At::root(crd).get("spec").get("group");
        approval(crd, group.str(), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = check_definition(new, Some(old));
        if !At::root(old).get("spec").get("preserveUnknownFields").bool() {
            check_preserving(new, &mut errors);
        }
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let (names, names_before) = (spec.get("names"), before.get("names"));
        let conditions = At::root(old).get("status").get("conditions");
        let established = conditions
            .list()
            .any(|c| c.get("type").str() == "Established" && c.get("status").str() == "True");
        if established {
            // Objects are stored under these.
            spec.get("scope").unchanged(&before.get("scope"), &mut errors);
            names.get("kind").unchanged(&names_before.get("kind"), &mut errors);
            conversion::check_bundle(
                &spec.get("conversion"),
                &before.get("conversion"),
                &mut errors,
            );
        }
        spec.get("group").unchanged(&before.get("group"), &mut errors);
        names.get("plural").unchanged(&names_before.get("plural"), &mut errors);
        // Who was approved in any way stays so.
        let group = spec.get("group").str();
        let (mut now, mut then) = (ErrorList::new(), ErrorList::new());
        approval(new, group, &mut now);
        approval(old, group, &mut then);
        if now != then {
            errors.extend(now);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check_names(&At::root(new).get("status").get("acceptedNames"), &mut errors);
        stored_versions(new, &mut errors);
        errors
    }

    /// Its objects go first.
    fn prepare_for_deletion(&self, ctx: &Ctx<'_>, crd: &mut Value) {
        let mut finalizers: Vec<String> = meta::finalizers(crd).map(str::to_owned).collect();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            meta::set_finalizers(crd, finalizers);
        }
        if !crd["status"]["conditions"].is_array() {
            crd["status"]["conditions"] = json!([]);
        }
        let Some(conditions) = crd["status"]["conditions"].as_array_mut() else { return };
        conditions.retain(|condition| condition["type"] != "Terminating");
        conditions.push(json!({
            "type": "Terminating",
            "status": "True",
            "lastTransitionTime": time::format(ctx.now),
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        }));
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// What holds for definitions whatever they were before.
fn check_definition(crd: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(crd).get("spec");
    let (group, plural) = (spec.get("group"), spec.get("names").get("plural"));
    let name = meta::name(crd);
    if name != format!("{}.{}", plural.str(), group.str()) && !name.is_empty() {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        At::root(crd).get("metadata").get("name").invalid(&mut errors, detail);
    }
    if group.must(&mut errors) {
        let before = errors.len();
        forms::joined(&group, names::dns1123_subdomain, &mut errors);
        if errors.len() == before && !group.str().contains('.') {
            group.invalid(&mut errors, "should be a domain with at least one dot");
        }
    }
    spec.get("scope").one_of(&mut errors, &["Cluster", "Namespaced"]);
    let before = old.map(|old| At::root(old).get("spec"));
    versions::check(&spec, before.as_ref(), &mut errors);
    for field in ["plural", "singular", "kind", "listKind"] {
        spec.get("names").get(field).must(&mut errors);
    }
    check_names(&spec.get("names"), &mut errors);
    conversion::check(&spec.get("conversion"), &mut errors);
    check_names(&At::root(crd).get("status").get("acceptedNames"), &mut errors);
    stored_versions(crd, &mut errors);
    errors
}

/// Every schema says for itself what it preserves.
fn check_preserving(crd: &Value, errors: &mut ErrorList) {
    let preserve = At::root(crd).get("spec").get("preserveUnknownFields");
    if preserve.bool() {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        preserve.invalid(errors, detail);
    }
}

fn stored_version(crd: &Value) -> Option<String> {
    let versions = crd.pointer("/spec/versions")?.as_array()?;
    let stored =
        versions.iter().find(|v| v.get("storage").and_then(Value::as_bool) == Some(true))?;
    stored.get("name")?.as_str().map(str::to_owned)
}

fn check_names(names: &At<'_>, errors: &mut ErrorList) {
    for field in ["plural", "singular"] {
        let name = names.get(field);
        if !name.is_empty() {
            forms::joined(&name, names::dns1035_label, errors);
        }
    }
    let (kind, list) = (names.get("kind"), names.get("listKind"));
    forms::kind_name(&kind, errors);
    forms::kind_name(&list, errors);
    for name in names.get("shortNames").list() {
        forms::joined(&name, names::dns1035_label, errors);
    }
    if !kind.is_empty() && kind.str() == list.str() {
        list.invalid(errors, "kind and listKind may not be the same");
    }
    for name in names.get("categories").list() {
        forms::joined(&name, names::dns1035_label, errors);
    }
}

/// Every version in which objects may be stored must stay.
fn stored_versions(crd: &Value, errors: &mut ErrorList) {
    let stored = At::root(crd).get("status").get("storedVersions");
    if stored.is_empty() {
        stored.invalid(errors, "must have at least one stored version");
        return;
    }
    let versions = At::root(crd).get("spec").get("versions");
    for version in stored.list() {
        let name = version.str();
        if !versions.list().any(|known| known.get("name").str() == name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            version.invalid(errors, detail);
        }
    }
    if let Some(current) = stored_version(crd)
        && !stored.items().iter().any(|version| *version == current)
    {
        stored.invalid(errors, format!("must have the storage version {current}"));
    }
}

/// The API's own groups take definitions that its reviewers saw.
fn approval(crd: &Value, group: &str, errors: &mut ErrorList) {
    let protected = group == "k8s.io"
        || group == "kubernetes.io"
        || group.ends_with(".k8s.io")
        || group.ends_with(".kubernetes.io");
    if !protected {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    match meta::annotation(crd, APPROVAL).unwrap_or_default() {
        "" => {
            let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
            errors.push(Error::required(&path, detail));
        }
        given if given.starts_with("unapproved") || given.starts_with("https://") => {}
        given => {
            let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";
            errors.push(Error::invalid(&path, given, detail));
        }
    }
}
