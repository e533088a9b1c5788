//! Rules for security contexts.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::volumes::descending_path;
use crate::cursor::At;

const SYSCTL: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Checks what a Pod says for all its containers.
pub(super) fn pod(spec: &At<'_>, errors: &mut ErrorList) {
    let context = spec.get("securityContext");
    if !context.is_set() {
        return;
    }
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context.get(field), errors);
    }
    for group in context.get("supplementalGroups").list() {
        id(&group, errors);
    }
    if spec.get("shareProcessNamespace").bool() && spec.get("hostPID").bool() {
        // Inside the server these two stand in the security context.
        let path = context.path.child("shareProcessNamespace");
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path, true, detail));
    }
    let mut taken = BTreeSet::new();
    for sysctl in context.get("sysctls").list() {
        let name = sysctl.get("name");
        if name.must(errors) {
            if !is_sysctl(name.str()) {
                name.invalid(errors, SYSCTL);
            } else if taken.contains(name.str()) {
                name.duplicate(errors);
            }
        }
        let plain = name.str().replace('/', ".");
        if spec.get("hostNetwork").bool() && plain.starts_with("net.") {
            name.invalid(errors, "may not be specified when 'hostNetwork' is true");
        } else if spec.get("hostIPC").bool()
            && (plain.starts_with("kernel.shm")
                || plain.starts_with("kernel.msg")
                || plain.starts_with("fs.mqueue.")
                || plain == "kernel.sem")
        {
            name.invalid(errors, "may not be specified when 'hostIPC' is true");
        }
        taken.insert(name.str());
    }
    context.get("fsGroupChangePolicy").may_be_one_of(errors, &["Always", "OnRootMismatch"]);
    seccomp(&context.get("seccompProfile"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
    context.get("supplementalGroupsPolicy").may_be_one_of(errors, &["Merge", "Strict"]);
    context.get("seLinuxChangePolicy").may_be_one_of(errors, &["MountOption", "Recursive"]);
}

/// Checks what a container says for itself.
pub(super) fn container(context: &At<'_>, errors: &mut ErrorList) {
    if !context.is_set() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(&context.get(field), errors);
    }
    seccomp(&context.get("seccompProfile"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
    context.get("procMount").may_be_one_of(errors, &["Default", "Unmasked"]);
    let escalation = context.get("allowPrivilegeEscalation");
    if escalation.value.as_bool() == Some(false) {
        if context.get("privileged").bool() {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            context.invalid(errors, detail);
        }
        let added = context.get("capabilities").get("add");
        if added.items().iter().any(|c| matches!(c.as_str(), Some("SYS_ADMIN" | "CAP_SYS_ADMIN"))) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            context.invalid(errors, detail);
        }
    }
}

fn id(id: &At<'_>, errors: &mut ErrorList) {
    if let Some(n) = id.int() {
        for message in names::unix_id(n) {
            id.invalid(errors, message);
        }
    }
}

fn seccomp(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    if kind.is_empty() {
        kind.required(errors, "type is required when seccompProfile is set");
    }
    kind.may_be_one_of(errors, &["Localhost", "RuntimeDefault", "Unconfined"]);
    match (kind.str(), local.is_set()) {
        ("Localhost", false) => {
            local.required(errors, "must be set when seccomp type is Localhost");
        }
        ("Localhost", true) => descending_path(&local, errors),
        (_, true) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(&local.path, profile.value.clone(), detail));
        }
        _ => {}
    }
}

fn app_armor(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    if kind.is_empty() {
        kind.required(errors, "type is required when appArmorProfile is set");
    }
    kind.may_be_one_of(errors, &["Localhost", "RuntimeDefault", "Unconfined"]);
    match (kind.str(), local.is_set()) {
        ("Localhost", _) if local.str().trim().is_empty() => {
            local.required(errors, "must be set when AppArmor type is Localhost");
        }
        ("Localhost", _) => {}
        (_, true) => local.invalid(errors, "can only be set when AppArmor type is Localhost"),
        _ => {}
    }
}

fn is_sysctl(name: &str) -> bool {
    let alnum = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let segment = |s: &str| {
        let bytes = s.as_bytes();
        alnum(bytes.first())
            && alnum(bytes.last())
            && bytes.iter().all(|b| alnum(Some(b)) || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}
