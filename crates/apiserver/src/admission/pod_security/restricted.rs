//! Rules of the restricted level: what hardening asks for.

use machinery::Value;

use super::baseline;
use super::standard::{
    Pod, Violation, containers, distinct, of, plural, quoted, setters, violation,
};

/// Kinds of volumes that are the Pod's own, or somebody's who may make them.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let named =
        pod.named(|c| of(c, "/allowPrivilegeEscalation").is_none_or(|allowed| *allowed != false));
    if named.is_empty() {
        return None;
    }
    let detail =
        format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&named));
    violation("allowPrivilegeEscalation != false", detail)
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let list = |container: &Value, field: &str| -> Vec<String> {
        let list = of(container, field).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let added = |container: &Value| -> Vec<String> {
        let mut added = list(container, "/capabilities/add");
        added.retain(|name| name != "NET_BIND_SERVICE");
        added
    };
    let keeping =
        pod.named(|container| !list(container, "/capabilities/drop").iter().any(|c| c == "ALL"));
    let adding = pod.named(|container| !added(container).is_empty());
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&keeping)
        ));
    }
    if !adding.is_empty() {
        let all: Vec<String> = pod.containers().flat_map(added).collect();
        let all = distinct(all.iter().map(String::as_str));
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adding),
            quoted(&all)
        ));
    }
    if details.is_empty() {
        return None;
    }
    violation("unrestricted capabilities", details.join("; "))
}

pub(super) fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let mut names: Vec<&str> = Vec::new();
    let mut kinds: Vec<&str> = Vec::new();
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let kind = volume.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
        let kind = kind.filter(|field| *field != "name").find(|_| true).unwrap_or("unknown");
        if !VOLUMES.contains(&kind) {
            names.extend(volume["name"].as_str());
            kinds.push(kind);
        }
    }
    if names.is_empty() {
        return None;
    }
    let kinds = distinct(kinds.into_iter());
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    violation("restricted volume types", detail)
}

/// From this release on, users that are none of the host's may be root.
const OWN_USERS: u32 = 35;

fn may_be_root(pod: &Pod<'_>) -> bool {
    pod.release >= OWN_USERS && pod.has_own_users()
}

pub(super) fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "/runAsNonRoot";
    const REASON: &str = "runAsNonRoot != true";
    if may_be_root(pod) {
        return None;
    }
    let flag = |value: Option<&Value>| value.and_then(Value::as_bool);
    let own = flag(pod.own(FIELD));
    let bad = pod.named(|container| flag(of(container, FIELD)) == Some(false));
    if own == Some(false) || !bad.is_empty() {
        let who = setters(own == Some(false), &bad);
        return violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.named(|container| flag(of(container, FIELD)).is_none());
    if own == Some(true) || silent.is_empty() {
        return None;
    }
    let detail =
        format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
    violation(REASON, detail)
}

pub(super) fn user(pod: &Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "/runAsUser";
    if may_be_root(pod) {
        return None;
    }
    let is_root = |value: Option<&Value>| value.is_some_and(|user| *user == 0);
    let own = is_root(pod.own(FIELD));
    let named = pod.named(|container| is_root(of(container, FIELD)));
    if !own && named.is_empty() {
        return None;
    }
    violation("runAsUser=0", format!("{} must not set runAsUser=0", setters(own, &named)))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    const PROFILE: &str = "/seccompProfile/type";
    if pod.is_windows() {
        return None;
    }
    if let Some(bad) = baseline::seccomp(pod) {
        return Some(bad);
    }
    // What is set is good by now.
    let silent = pod.named(|container| of(container, PROFILE).is_none());
    if pod.own(PROFILE).is_some() || silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\"",
        containers(&silent)
    );
    violation("seccompProfile", detail)
}
