//! Which kernel parameters Pods may set. Pure; wording as upstream's kubelet.
//! <https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/>

use k8s_openapi::api::core::v1::Pod;

use super::spec;

/// Parameters that concern the Pod alone and do it no harm.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Checks the parameters of `pod`; `allowed` are names, or beginnings of names that end in `*`,
/// that the node's administrator allows besides.
pub fn check(pod: &Pod, allowed: &[String]) -> Result<(), String> {
    let spec = spec::spec(pod);
    let context = spec.security_context.iter();
    for sysctl in context.flat_map(|context| context.sysctls.iter().flatten()) {
        // Slashes and dots mean the same, unless a slash comes first.
        let name = match sysctl.name.find(['.', '/']) {
            Some(at) if sysctl.name[at..].starts_with('/') => swapped(&sysctl.name),
            _ => sysctl.name.clone(),
        };
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *pattern,
        };
        let namespace = namespace(&name);
        let known = SAFE.contains(&name.as_str()) || allowed.iter().any(matches);
        let shared = match namespace {
            Some("ipc") => spec.host_ipc == Some(true),
            _ => spec::host_network(pod),
        };
        match namespace {
            Some(host) if known && shared => {
                return Err(format!(
                    "forbidden sysctl: {name:?} not allowed with host {host} enabled"
                ));
            }
            Some(_) if known => {}
            _ => return Err(format!("forbidden sysctl: {name:?} not allowlisted")),
        }
    }
    Ok(())
}

fn swapped(name: &str) -> String {
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// The namespace that a parameter belongs to; one without would be the whole node's.
fn namespace(name: &str) -> Option<&'static str> {
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    if name == "kernel.sem" || ipc.iter().any(|beginning| name.starts_with(beginning)) {
        return Some("ipc");
    }
    name.starts_with("net.").then_some("net")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_the_pods_own_may_be_set() {
        let check = |name: &str, more: serde_json::Value, expected: &str| {
            let mut spec = json!({"containers": [],
                "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let pod: Pod = serde_json::from_value(json!({ "spec": spec })).unwrap();
            let allowed = ["kernel.msg*", "net.core.somaxconn", "vm.swappiness"];
            let got = super::check(&pod, &allowed.map(str::to_owned)).err().unwrap_or_default();
            assert_eq!(got, expected, "{name}");
        };
        let none = || json!({});
        check("kernel.shm_rmid_forced", none(), "");
        check("net/ipv4/tcp_syncookies", none(), "");
        check("kernel.msgmax", none(), "");
        check("net.core.somaxconn", none(), "");
        check("kernel.sem", none(), "forbidden sysctl: \"kernel.sem\" not allowlisted");
        check("vm.swappiness", none(), "forbidden sysctl: \"vm.swappiness\" not allowlisted");
        check(
            "net.ipv4.tcp_syncookies",
            json!({"hostNetwork": true}),
            "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled",
        );
        check(
            "kernel.msgmax",
            json!({"hostIPC": true}),
            "forbidden sysctl: \"kernel.msgmax\" not allowed with host ipc enabled",
        );
    }
}
