//! Rules of the baseline level: nothing that is known to lead out of a container.

use machinery::{Value, meta};

use super::standard::{
    Pod, Violation, containers, distinct, of, plural, quoted, setters, violation,
};

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Sysctls that reach no further than the Pod, and since which release they are known to.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// What a profile of seccomp or AppArmor may be.
pub(super) fn is_confined(profile: &str) -> bool {
    matches!(profile, "RuntimeDefault" | "Localhost")
}

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let mut bad: Vec<&str> = Vec::new();
    let mut who = Vec::new();
    let loose = |context: Option<&Value>| !text(context).is_none_or(is_confined);
    let field = "/appArmorProfile/type";
    if loose(pod.own(field)) {
        who.push("pod".to_owned());
        bad.extend(text(pod.own(field)));
    }
    let named = pod.named(|container| loose(of(container, field)));
    bad.extend(pod.containers().filter_map(|c| text(of(c, field))).filter(|t| !is_confined(t)));
    if !named.is_empty() {
        who.push(containers(&named));
    }
    let mut keys: Vec<&str> = Vec::new();
    for (key, value) in meta::annotations(pod.pod).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let allowed =
            value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if key.starts_with(APP_ARMOR) && !allowed {
            keys.push(key);
            bad.push(value);
        }
    }
    if !keys.is_empty() {
        let keys = distinct(keys.into_iter());
        who.push(format!("{} {}", plural("annotation", "annotations", keys.len()), quoted(&keys)));
    }
    if who.is_empty() {
        return None;
    }
    let bad = distinct(bad.into_iter());
    violation(
        plural("forbidden AppArmor profile", "forbidden AppArmor profiles", bad.len()),
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&bad)),
    )
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let added = |container: &Value| -> Vec<String> {
        let added = of(container, "/capabilities/add").and_then(Value::as_array);
        let added = added.into_iter().flatten().filter_map(Value::as_str);
        added.filter(|c| !DEFAULT_CAPABILITIES.contains(c)).map(str::to_owned).collect()
    };
    let named = pod.named(|container| !added(container).is_empty());
    if named.is_empty() {
        return None;
    }
    let all: Vec<String> = pod.containers().flat_map(added).collect();
    let all = distinct(all.iter().map(String::as_str));
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(&named),
        quoted(&all)
    );
    violation("non-default capabilities", detail)
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let shared: Vec<String> = shared
        .filter(|field| pod.spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

pub(super) fn host_paths(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> = volumes
        .filter(|volume| volume["hostPath"].is_object())
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    violation("hostPath volumes", detail)
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let used = |container: &Value| -> Vec<u64> {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.filter_map(|port| port["hostPort"].as_u64()).filter(|port| *port != 0).collect()
    };
    let named = pod.named(|container| !used(container).is_empty());
    if named.is_empty() {
        return None;
    }
    let all: Vec<String> = pod.containers().flat_map(used).map(|port| port.to_string()).collect();
    let all = distinct(all.iter().map(String::as_str));
    let detail = format!(
        "{} {} {} {}",
        containers(&named),
        plural("uses", "use", named.len()),
        plural("hostPort", "hostPorts", all.len()),
        all.join(", ")
    );
    violation("hostPort", detail)
}

pub(super) fn host_probes(pod: &Pod<'_>) -> Option<Violation> {
    const HANDLERS: [&str; 5] = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    let hosts = |container: &Value| -> Vec<String> {
        let handlers = HANDLERS.into_iter().filter_map(|handler| container.pointer(handler));
        handlers
            .flat_map(|handler| {
                [handler.pointer("/httpGet/host"), handler.pointer("/tcpSocket/host")]
            })
            .filter_map(text)
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let named = distinct(pod.named(|container| !hosts(container).is_empty()).into_iter());
    if named.is_empty() {
        return None;
    }
    let all: Vec<String> = pod.containers().flat_map(hosts).collect();
    let all = distinct(all.iter().map(String::as_str));
    let detail = format!(
        "{} {} {} {}",
        containers(&named),
        plural("uses", "use", named.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", all.len()),
        quoted(&all)
    );
    violation("probe or lifecycle host", detail)
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let named = pod.named(|c| of(c, "/privileged").is_some_and(|on| *on == true));
    if named.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.privileged=true", containers(&named));
    violation("privileged", detail)
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let masked =
        |container: &Value| text(of(container, "/procMount")).is_none_or(|kind| kind == "Default");
    let named = pod.named(|container| !masked(container));
    if named.is_empty() {
        return None;
    }
    let kinds = pod.containers().filter_map(|c| text(of(c, "/procMount")));
    let kinds = distinct(kinds.filter(|kind| *kind != "Default"));
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        containers(&named),
        quoted(&kinds)
    );
    violation("procMount", detail)
}

pub(super) fn proc_mount_unless_mapped(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}

pub(super) fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    se_linux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

pub(super) fn se_linux_with_engine(pod: &Pod<'_>) -> Option<Violation> {
    let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    se_linux_of(pod, &types)
}

fn se_linux_of(pod: &Pod<'_>, types: &[&str]) -> Option<Violation> {
    let field =
        |options: &Value, field: &str| options[field].as_str().unwrap_or_default().to_owned();
    let is_bad = |options: Option<&Value>| {
        options.is_some_and(|options| {
            !types.contains(&&*field(options, "type"))
                || !field(options, "user").is_empty()
                || !field(options, "role").is_empty()
        })
    };
    const OPTIONS: &str = "/seLinuxOptions";
    let own = is_bad(pod.own(OPTIONS));
    let named = pod.named(|container| is_bad(of(container, OPTIONS)));
    if !own && named.is_empty() {
        return None;
    }
    let all: Vec<&Value> = pod
        .own(OPTIONS)
        .into_iter()
        .chain(pod.containers().filter_map(|container| of(container, OPTIONS)))
        .collect();
    let bad: Vec<String> = all
        .iter()
        .map(|options| field(options, "type"))
        .filter(|kind| !types.contains(&kind.as_str()))
        .collect();
    let bad = distinct(bad.iter().map(String::as_str));
    let mut what = Vec::new();
    if !bad.is_empty() {
        what.push(format!("{} {}", plural("type", "types", bad.len()), quoted(&bad)));
    }
    for part in ["user", "role"] {
        if all.iter().any(|options| !field(options, part).is_empty()) {
            what.push(format!("{part} may not be set"));
        }
    }
    let detail = format!(
        "{} set forbidden securityContext.seLinuxOptions: {}",
        setters(own, &named),
        what.join("; ")
    );
    violation("seLinuxOptions", detail)
}

pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let names: Vec<String> = pod
        .containers()
        .map(|container| format!("{SECCOMP_OF_CONTAINER}{}", super::standard::name(container)))
        .collect();
    let mut bad: Vec<String> = Vec::new();
    for (key, value) in meta::annotations(pod.pod).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let allowed = matches!(value, "runtime/default" | "docker/default")
            || value.starts_with("localhost/");
        if (key == SECCOMP_OF_POD || names.contains(key)) && !allowed {
            bad.push(format!("{key}={value:?}"));
        }
    }
    if bad.is_empty() {
        return None;
    }
    bad.sort();
    let word = plural("annotation", "annotations", bad.len());
    violation("seccompProfile", format!("forbidden {word} {}", bad.join(", ")))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    const PROFILE: &str = "/seccompProfile/type";
    let is_bad = |profile: Option<&Value>| !text(profile).is_none_or(is_confined);
    let own = is_bad(pod.own(PROFILE));
    let named = pod.named(|container| is_bad(of(container, PROFILE)));
    if !own && named.is_empty() {
        return None;
    }
    let all = pod.own(PROFILE).into_iter().chain(pod.containers().filter_map(|c| of(c, PROFILE)));
    let bad = distinct(all.filter_map(Value::as_str).filter(|profile| !is_confined(profile)));
    let detail = format!(
        "{} must not set securityContext.seccompProfile.type to {}",
        setters(own, &named),
        quoted(&bad)
    );
    violation("seccompProfile", detail)
}

pub(super) fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let sysctls = pod.own("/sysctls").and_then(Value::as_array).into_iter().flatten();
    let bad: Vec<&str> = sysctls
        .filter_map(|sysctl| sysctl["name"].as_str())
        .filter(|name| !SYSCTLS.iter().any(|(known, since)| known == name && *since <= pod.release))
        .collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "/windowsOptions/hostProcess";
    let is_on = |value: Option<&Value>| value.is_some_and(|on| *on == true);
    let own = is_on(pod.own(FIELD));
    let named = pod.named(|container| is_on(of(container, FIELD)));
    if !own && named.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.windowsOptions.hostProcess=true",
        setters(own, &named)
    );
    violation("hostProcess", detail)
}
