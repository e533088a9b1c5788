//! In which version objects are stored, and bringing them into another.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use machinery::field::{Error, ErrorList};
use machinery::{Value, names};

use super::forms;
use crate::cursor::At;
use crate::strategy::{Ctx, StatusMetadata, Strategy, subdomain_name};

// === StorageVersion ===

/// The rules of StorageVersions.
pub(super) struct StorageVersion;

impl Strategy for StorageVersion {
    fn check_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        let Some((group, resource)) = name.rsplit_once('.') else {
            return vec!["name must be in the form of <group>.<resource>".to_owned()];
        };
        let of = |part: &str, messages: Vec<String>| -> Vec<String> {
            messages.into_iter().map(|message| format!("the {part} segment {message}")).collect()
        };
        let mut messages = of("group", names::dns1123_subdomain(group));
        messages.extend(of("resource", names::dns1035_label(resource)));
        messages
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn validate(&self, _ctx: &Ctx<'_>, version: &Value) -> ErrorList {
        stored_versions(version)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        stored_versions(new)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn stored_versions(version: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let status = At::root(version).get("status");
    let servers = status.get("storageVersions");
    for server in servers.list() {
        check_server(&server, &mut errors);
    }
    let mut versions = servers.list().map(|server| server.get("encodingVersion").str());
    let first = versions.next();
    let agreed = first.filter(|first| versions.all(|version| version == *first));
    let common = status.get("commonEncodingVersion");
    let wrong = match agreed {
        None if !common.is_set() => None,
        None => Some("should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet".to_owned()),
        Some(agreed) if !common.is_set() => Some(format!("the common encoding version is {agreed}")),
        Some(agreed) if agreed == common.str() => None,
        Some(agreed) => Some(format!("the actual common encoding version is {agreed}")),
    };
    if let Some(detail) = wrong {
        common.invalid(&mut errors, detail);
    }
    // Upstream's paths leave out where conditions are.
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, condition) in status.get("conditions").list().enumerate() {
        let condition = At::new(condition.value, status.path.index(i));
        let kind = condition.get("type");
        if let Some(earlier) = taken.insert(kind.str(), i) {
            let detail = format!(
                "the type of the condition is not unique, it also appears in conditions[{earlier}]"
            );
            kind.invalid(&mut errors, detail);
        }
        kind.form(&mut errors, names::qualified_name);
        let state = condition.get("status");
        for message in names::qualified_name(state.str()) {
            errors.push(Error::invalid(&state.path, kind.str(), message));
        }
        for (field, detail) in
            [("reason", "reason cannot be empty"), ("message", "message cannot be empty")]
        {
            if condition.get(field).is_empty() {
                condition.get(field).required(&mut errors, detail);
            }
        }
    }
    errors
}

fn check_server(server: &At<'_>, errors: &mut ErrorList) {
    server.get("apiServerID").form(errors, names::dns1123_subdomain);
    let encoding = server.get("encodingVersion");
    forms::joined(&encoding, api_version, errors);
    let (decodable, served) = (server.get("decodableVersions"), server.get("servedVersions"));
    for version in decodable.list() {
        forms::joined(&version, api_version, errors);
    }
    let decodes = |wanted: &str| decodable.items().iter().any(|version| version == wanted);
    if !decodes(encoding.str()) {
        let detail = format!("decodableVersions must include encodingVersion {}", encoding.str());
        decodable.invalid(errors, detail);
    }
    for version in served.list() {
        forms::joined(&version, api_version, errors);
        if !decodes(version.str()) {
            let known: Vec<&str> = decodable.list().map(|version| version.str()).collect();
            let detail = format!(
                "individual served version : {} must be included in decodableVersions : [{}]",
                version.str(),
                known.join(" ")
            );
            version.invalid(errors, detail);
        }
    }
}

/// A version, which may stand under a group.
fn api_version(text: &str) -> Vec<String> {
    let part = |name: &str, text: &str, rule: fn(&str) -> Vec<String>| -> Vec<String> {
        let messages = match text {
            "" => vec!["must be non-empty".to_owned()],
            _ => rule(text),
        };
        messages.into_iter().map(|message| format!("{name} part: {message}")).collect()
    };
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [version] => part("version", version, names::dns1035_label),
        [group, version] => {
            let mut messages = part("group", group, names::dns1123_subdomain);
            messages.extend(part("version", version, names::dns1035_label));
            messages
        }
        _ => vec!["an apiVersion is a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')".to_owned()],
    }
}

// === StorageVersionMigration ===

/// The rules of StorageVersionMigrations.
pub(super) struct Migration;

impl Strategy for Migration {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn validate(&self, _ctx: &Ctx<'_>, migration: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let resource = At::root(migration).get("spec").get("resource").get("resource");
        if resource.is_empty() {
            resource.required(&mut errors, "resource is required");
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let part = |migration, field| At::root(migration).get("spec").get("resource").get(field);
        for field in ["group", "resource"] {
            let text = part(new, field).str();
            if text != part(old, field).str() {
                let path = machinery::field::Path::new(field);
                errors.push(Error::immutable(&path, text));
            }
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
        let (revision, conditions) = (status.get("resourceVersion"), status.get("conditions"));
        check_revision(&revision, &mut errors);
        forms::conditions(&conditions, &mut errors);
        let earlier = before.get("resourceVersion");
        if !earlier.is_empty() && earlier.str() != revision.str() {
            errors.push(Error::invalid(&revision.path, revision.str(), "cannot be updated"));
        }
        let is = |status: &At<'_>, kind: &str| {
            status.get("conditions").list().any(|condition| {
                condition.get("type").str() == kind && condition.get("status").str() == "True"
            })
        };
        let [succeeded, failed, running] =
            ["Succeeded", "Failed", "Running"].map(|kind| is(&status, kind));
        for (wrong, detail) in [
            (
                succeeded && failed,
                "Both success and failed conditions cannot be true at the same time",
            ),
            (
                succeeded && running,
                "Running condition cannot be true when success condition is true",
            ),
            (failed && running, "Running condition cannot be true when failed condition is true"),
            (
                is(&before, "Succeeded") && !succeeded,
                "Success condition cannot be set to false once it is true",
            ),
            (
                is(&before, "Failed") && !failed,
                "Failed condition cannot be set to false once it is true",
            ),
        ] {
            if wrong {
                conditions.invalid(&mut errors, detail);
            }
        }
        errors
    }
}

/// The resource version that a migration started from is a number.
fn check_revision(revision: &At<'_>, errors: &mut ErrorList) {
    if revision.is_empty() {
        return;
    }
    match revision.str().parse::<i64>() {
        Ok(number) if number < 0 => {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(&revision.path, number, detail));
        }
        Ok(_) => {}
        Err(error) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let why = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let shown = machinery::field::quote(revision.str());
            let detail = format!(
                "failed to parse resource version {shown}: strconv.ParseInt: parsing {shown}: {why}"
            );
            revision.invalid(errors, detail);
        }
    }
}
