//! Rules for security contexts.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::options::Options;
use super::volumes::descending_path;
use super::windows;
use crate::cursor::At;
use crate::kinds::internal;

const SYSCTL: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
/// The longest name of a profile, as the kernel has for paths.
pub(super) const PROFILE_MAX: usize = 4095;
const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// Checks what a Pod says for all its containers.
pub(super) fn pod(spec: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
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
    sysctls(spec, options.host_sysctls, errors);
    set_to_one_of(&context.get("fsGroupChangePolicy"), &["Always", "OnRootMismatch"], errors);
    seccomp(&context.get("seccompProfile"), errors);
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
    set_to_one_of(&context.get("supplementalGroupsPolicy"), &["Merge", "Strict"], errors);
    let policies: &[&str] = match options.any_selinux_policy {
        true => &["MountOption", "Recursive"],
        false => &["Recursive"],
    };
    set_to_one_of(&context.get("seLinuxChangePolicy"), policies, errors);
}

fn set_to_one_of(field: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    if field.is_set() && !supported.contains(&field.str()) {
        field.unsupported(errors, supported);
    }
}

fn sysctls(spec: &At<'_>, host_too: bool, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for sysctl in spec.get("securityContext").get("sysctls").list() {
        let name = sysctl.get("name");
        if name.must(errors) {
            if !is_sysctl(name.str()) {
                name.invalid(errors, SYSCTL);
            } else if taken.contains(name.str()) {
                name.duplicate(errors);
            }
        }
        if let Some(field) = host_namespace(name.str(), spec).filter(|_| !host_too) {
            let detail = format!("may not be specified when '{field}' is true");
            errors.push(Error::invalid(&name.path, name.str(), detail));
        }
        taken.insert(name.str());
    }
}

/// The field by which the namespace that a kernel parameter belongs to is the host's.
fn host_namespace(name: &str, spec: &At<'_>) -> Option<&'static str> {
    let plain = name.replace('/', ".");
    let field = if plain.starts_with("net.") {
        "hostNetwork"
    } else if ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| plain.starts_with(p))
        || plain == "kernel.sem"
    {
        "hostIPC"
    } else {
        return None;
    };
    spec.get(field).bool().then_some(field)
}

/// Whether a Pod sets kernel parameters of namespaces that are the host's.
pub(super) fn has_host_sysctls(spec: &At<'_>) -> bool {
    let mut sysctls = spec.get("securityContext").get("sysctls").list();
    sysctls.any(|sysctl| host_namespace(sysctl.get("name").str(), spec).is_some())
}

/// Checks what a container says for itself.
pub(super) fn container(context: &At<'_>, host_users: bool, errors: &mut ErrorList) {
    if !context.is_set() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(&context.get(field), errors);
    }
    let proc = context.get("procMount");
    set_to_one_of(&proc, &["Default", "Unmasked"], errors);
    if host_users && proc.str() == "Unmasked" {
        proc.invalid(errors, "`hostUsers` must be false to use `Unmasked`");
    }
    seccomp(&context.get("seccompProfile"), errors);
    if context.get("allowPrivilegeEscalation").value.as_bool() == Some(false) {
        let mut wrong = |what: &str| {
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            let shown = internal::form(context.value, "SecurityContext");
            errors.push(Error::invalid(&context.path, shown, detail));
        };
        if context.get("privileged").bool() {
            wrong("`privileged` to true");
        }
        let added = context.get("capabilities").get("add");
        for _ in added.items().iter().filter(|c| c.as_str() == Some("CAP_SYS_ADMIN")) {
            wrong("`capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
}

/// Checks the number of a user or group.
pub(super) fn id(id: &At<'_>, errors: &mut ErrorList) {
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
    kind.may_be_one_of(errors, &PROFILE_TYPES);
    match (kind.str(), local.is_set()) {
        ("Localhost", false) => {
            local.required(errors, "must be set when seccomp type is Localhost");
        }
        ("Localhost", true) => descending_path(&local, errors),
        (_, true) => {
            let shown = internal::form(profile.value, "SeccompProfile");
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(&local.path, shown, detail));
        }
        _ => {}
    }
}

fn app_armor(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.str() {
        "Localhost" => {
            let text = local.str();
            if text.trim() != text {
                local.invalid(errors, "must not be padded with whitespace");
            } else if text.is_empty() {
                local.required(errors, "must be set when AppArmor type is Localhost");
            }
            if text.len() > PROFILE_MAX {
                errors.push(Error::too_long(&local.path, PROFILE_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.is_set() {
                local.invalid(errors, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => kind.required(errors, "type is required when appArmorProfile is set"),
        _ => kind.unsupported(errors, &PROFILE_TYPES),
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
