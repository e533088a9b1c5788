//! Rules for Pods of Windows, and for what Pods of one operating system may not say because it is
//! for another.

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::containers::all_containers;
use crate::cursor::At;

const MAX_SPEC_KIB: usize = 64;
const MAX_DOMAIN: usize = 256;
const MAX_USER: usize = 104;
const LINUX_ONLY: &str = "cannot be set for a windows pod";
const WINDOWS_ONLY: &str = "windows options cannot be set for a linux pod";

/// Checks what a Pod or container says for Windows.
pub(super) fn options(options: &At<'_>, errors: &mut ErrorList) {
    if !options.is_set() {
        return;
    }
    let name = options.get("gmsaCredentialSpecName");
    if name.is_set() {
        name.form(errors, names::dns1123_subdomain);
    }
    let spec = options.get("gmsaCredentialSpec");
    if spec.is_set() && spec.str().is_empty() {
        spec.invalid(errors, "gmsaCredentialSpec cannot be an empty string");
    } else if spec.str().len() > MAX_SPEC_KIB * 1024 {
        let detail = format!("gmsaCredentialSpec size must be under {MAX_SPEC_KIB} KiB");
        spec.invalid(errors, detail);
    }
    let user = options.get("runAsUserName");
    if user.is_set() {
        user_name(&user, errors);
    }
}

fn user_name(at: &At<'_>, errors: &mut ErrorList) {
    let text = at.str();
    if text.is_empty() {
        at.invalid(errors, "runAsUserName cannot be an empty string");
        return;
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        at.invalid(errors, "runAsUserName cannot contain control characters");
        return;
    }
    let parts: Vec<&str> = text.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => {
            at.invalid(errors, "runAsUserName cannot contain more than one backslash");
            return;
        }
    };
    if let Some(domain) = domain {
        if domain.len() >= MAX_DOMAIN {
            let detail =
                format!("runAsUserName's Domain length must be under {MAX_DOMAIN} characters");
            at.invalid(errors, detail);
        }
        if !is_netbios(domain) && !is_dns(domain) {
            let detail = "runAsUserName's Domain doesn't match the NetBios nor the DNS format";
            at.invalid(errors, detail);
        }
    }
    if user.is_empty() {
        at.invalid(errors, "runAsUserName's User cannot be empty");
        return;
    }
    if user.len() > MAX_USER {
        let detail =
            format!("runAsUserName's User length must not be longer than {MAX_USER} characters");
        at.invalid(errors, detail);
    }
    if user.bytes().all(|b| b == b'.' || b == b' ') {
        at.invalid(errors, "runAsUserName's User cannot contain only periods or spaces");
    }
    if user
        .contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']'])
    {
        let detail =
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        at.invalid(errors, detail);
    }
}

fn is_netbios(domain: &str) -> bool {
    let length = domain.chars().count();
    (1..=15).contains(&length)
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        let alnum = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= 63
            && alnum(bytes.first())
            && alnum(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}

/// Checks that processes of the host are used by all containers of a Pod or by none.
pub(super) fn host_process(spec: &At<'_>, errors: &mut ErrorList) {
    fn of<'a>(holder: &At<'a>) -> At<'a> {
        holder.get("securityContext").get("windowsOptions").get("hostProcess")
    }
    let whole = of(spec).value.as_bool();
    let (mut count, mut on_host) = (0, 0);
    for (_, container) in all_containers(spec) {
        let own = of(&container);
        if let (Some(whole), Some(value)) = (whole, own.value.as_bool())
            && whole != value
        {
            let detail = format!(
                "pod hostProcess value must be identical if both are specified, was {whole}"
            );
            own.invalid(errors, detail);
        }
        count += 1;
        on_host += usize::from(own.value.as_bool().or(whole) == Some(true));
    }
    if on_host == 0 {
        return;
    }
    if on_host != count {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(&spec.path, "", detail));
    }
    let network = spec.get("hostNetwork");
    if !network.bool() {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&network.path, false, detail));
    }
}

/// Checks the operating system that a Pod says it is for, and that it sets nothing that others
/// alone have.
pub(super) fn operating_system(spec: &At<'_>, errors: &mut ErrorList) {
    let os = spec.get("os");
    if !os.is_set() {
        return;
    }
    match os.get("name").str() {
        "" => os.get("name").required(errors, ""),
        "linux" => of_linux(spec, errors),
        "windows" => of_windows(spec, errors),
        other => errors.push(Error::not_supported(&os.path, other, &["linux", "windows"])),
    }
}

fn of_linux(spec: &At<'_>, errors: &mut ErrorList) {
    let containers = all_containers(spec).map(|(_, container)| container);
    for holder in [spec.clone()].into_iter().chain(containers) {
        let options = holder.get("securityContext").get("windowsOptions");
        if options.is_set() {
            options.forbidden(errors, WINDOWS_ONLY);
        }
    }
}

fn of_windows(spec: &At<'_>, errors: &mut ErrorList) {
    let context = spec.get("securityContext");
    let mut refuse = |field: At<'_>, given: bool| {
        if given {
            field.forbidden(errors, LINUX_ONLY);
        }
    };
    let set = |field: &At<'_>| field.is_set();
    for (holder, field) in [
        (&context, "appArmorProfile"),
        (&context, "seLinuxOptions"),
        (spec, "hostUsers"),
        (spec, "hostPID"),
        (spec, "hostIPC"),
        (&context, "seccompProfile"),
        (&context, "fsGroup"),
        (&context, "fsGroupChangePolicy"),
        (&context, "sysctls"),
        (spec, "shareProcessNamespace"),
        (&context, "runAsUser"),
        (&context, "runAsGroup"),
        (&context, "supplementalGroups"),
        (&context, "supplementalGroupsPolicy"),
        (&context, "seLinuxChangePolicy"),
    ] {
        let field_at = holder.get(field);
        let given = match field {
            "hostPID" | "hostIPC" | "sysctls" => !field_at.is_empty(),
            _ => set(&field_at),
        };
        refuse(field_at, given);
    }
    for (_, container) in all_containers(spec) {
        for field in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            let field = container.get("securityContext").get(field);
            let given = set(&field);
            refuse(field, given);
        }
    }
}
