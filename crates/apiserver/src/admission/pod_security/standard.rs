//! The checks of a standard, and what they share. Pure.

use machinery::Value;

use super::policy::{Level, Standard};
use super::{baseline, restricted};

/// What a Pod breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: String,
    pub(super) detail: String,
}

/// A rule: what a Pod breaks of it, if anything.
type Check = fn(&Pod<'_>) -> Option<Violation>;

/// A rule from some release on, until another one takes its place.
type Row = (u32, u32, Check);

/// For ever.
const ON: u32 = u32::MAX;

/// Rules of both levels.
const BASELINE: [Row; 11] = [
    (0, ON, baseline::app_armor),
    (0, ON, baseline::host_namespaces),
    (0, ON, baseline::host_ports),
    (34, ON, baseline::host_probes),
    (0, ON, baseline::privileged),
    (0, 35, baseline::proc_mount),
    (35, ON, baseline::proc_mount_unless_mapped),
    (0, 31, baseline::se_linux),
    (31, ON, baseline::se_linux_with_engine),
    (0, ON, baseline::sysctls),
    (0, ON, baseline::host_process),
];

/// Rules in whose place the restricted level has stricter ones.
const BASELINE_ALONE: [Row; 4] = [
    (0, ON, baseline::capabilities),
    (0, ON, baseline::host_paths),
    (0, 19, baseline::seccomp_annotations),
    (19, ON, baseline::seccomp),
];

/// Rules of the restricted level; those in whose place it has none yet are the baseline's.
const RESTRICTED: [Row; 9] = [
    (8, ON, restricted::privilege_escalation),
    (0, 22, baseline::capabilities),
    (22, ON, restricted::capabilities),
    (35, ON, baseline::proc_mount),
    (0, ON, restricted::volumes),
    (0, ON, restricted::non_root),
    (23, ON, restricted::user),
    (0, 19, baseline::seccomp_annotations),
    (19, ON, restricted::seccomp),
];

/// Everything that a Pod, or a Pod template, breaks.
pub(super) fn violations(standard: Standard, pod: &Value) -> Vec<Violation> {
    let pod = Pod { pod, spec: &pod["spec"], release: standard.release() };
    let rows: [&[Row]; 2] = match standard.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => [&BASELINE, &BASELINE_ALONE],
        Level::Restricted => [&BASELINE, &RESTRICTED],
    };
    let rows = rows.into_iter().flatten();
    let mut found: Vec<Violation> = Vec::new();
    for (from, until, check) in rows {
        if (*from..*until).contains(&pod.release)
            && let Some(violation) = check(&pod)
            && !found.contains(&violation)
        {
            found.push(violation);
        }
    }
    found
}

/// A Pod as it is looked at.
pub(super) struct Pod<'p> {
    pub(super) pod: &'p Value,
    pub(super) spec: &'p Value,
    pub(super) release: u32,
}

impl<'p> Pod<'p> {
    /// All containers, those that run first in front.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'p Value> + use<'p> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|list| spec[list].as_array().into_iter().flatten())
    }

    /// Names of the containers of which something holds.
    pub(super) fn named(&self, holds: impl Fn(&Value) -> bool) -> Vec<&'p str> {
        self.containers().filter(|container| holds(container)).map(name).collect()
    }

    /// Whether the Pod's users are none of the host's.
    pub(super) fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// Whether it is for Windows, from the release on in which that counts.
    pub(super) fn is_windows(&self) -> bool {
        self.release >= 25 && self.spec["os"]["name"] == "windows"
    }

    /// The value of a field of the Pod's security context.
    pub(super) fn own(&self, pointer: &str) -> Option<&'p Value> {
        self.spec["securityContext"].pointer(pointer)
    }
}

/// The value of a field of a container's security context.
pub(super) fn of<'c>(container: &'c Value, pointer: &str) -> Option<&'c Value> {
    container["securityContext"].pointer(pointer)
}

pub(super) fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

pub(super) fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

pub(super) fn plural<'w>(one: &'w str, many: &'w str, count: usize) -> &'w str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`
pub(super) fn quoted(words: &[impl AsRef<str>]) -> String {
    let words = words.iter().map(|word| format!("\"{}\"", word.as_ref()));
    words.collect::<Vec<_>>().join(", ")
}

/// `container "a"` or `containers "a", "b"`
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Who sets something: the Pod, containers, or both.
pub(super) fn setters(pod: bool, names: &[&str]) -> String {
    match (pod, names) {
        (true, []) => "pod".to_owned(),
        (true, names) => format!("pod and {}", containers(names)),
        (false, names) => containers(names),
    }
}

/// Different words in order.
pub(super) fn distinct<'w>(words: impl Iterator<Item = &'w str>) -> Vec<&'w str> {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words.dedup();
    words
}
