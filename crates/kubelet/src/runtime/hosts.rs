//! Host names of Pods and the `/etc/hosts` file that their containers see.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// Longest host name that Linux takes, less the terminator.
const MAX_HOSTNAME: usize = 63;

/// Short host name and cluster subdomain (empty when the Pod has none).
pub fn names(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec.clone().unwrap_or_default();
    if let Some(name) = &spec.hostname_override {
        return (name.clone(), String::new());
    }
    let name = match &spec.hostname {
        Some(name) if !name.is_empty() => name.clone(),
        _ => truncate(pod.metadata.name.as_deref().unwrap_or_default()),
    };
    let domain = match &spec.subdomain {
        Some(sub) if !sub.is_empty() => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            format!("{sub}.{namespace}.svc.{cluster_domain}")
        }
        _ => String::new(),
    };
    (name, domain)
}

/// The name that the sandbox's UTS namespace gets; with `setHostnameAsFQDN` the full one.
pub fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = names(pod, cluster_domain);
    let full = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    if !full || domain.is_empty() {
        return Ok(name);
    }
    let fqdn = format!("{name}.{domain}");
    // The kernel's limit is 64 bytes including the terminator.
    if fqdn.len() > MAX_HOSTNAME + 1 {
        return Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({} characters is the max, {} characters requested)",
            MAX_HOSTNAME + 1,
            fqdn.len()
        ));
    }
    Ok(fqdn)
}

/// A host name must not end in a dash or dot after it was cut.
fn truncate(name: &str) -> String {
    let cut = name.char_indices().nth(MAX_HOSTNAME).map_or(name, |(end, _)| &name[..end]);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// Content of the Pod's hosts file; host-network Pods see the node's with their aliases added.
pub fn hosts_file(pod: &Pod, ips: &[String], cluster_domain: &str, node_file: &str) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut text = String::new();
    if spec.host_network == Some(true) {
        text.push_str("# Kubernetes-managed hosts file (host network).\n");
        text.push_str(node_file);
    } else {
        text.push_str(
            "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        let (name, domain) = names(pod, cluster_domain);
        for ip in ips {
            let line = if domain.is_empty() {
                writeln!(text, "{ip}\t{name}")
            } else {
                writeln!(text, "{ip}\t{name}.{domain}\t{name}")
            };
            line.expect("writing to a String cannot fail");
        }
    }
    append_aliases(&mut text, &spec);
    text
}

fn append_aliases(text: &mut String, spec: &PodSpec) {
    let Some(aliases) = spec.host_aliases.as_ref().filter(|all| !all.is_empty()) else {
        return;
    };
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        writeln!(text, "{}\t{names}", alias.ip).expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn names_come_from_the_spec_else_from_the_pod() {
        let names = |spec| names(&pod(spec), "cluster.local");
        assert_eq!(names(json!({"containers": []})), ("web-0".into(), String::new()));
        assert_eq!(
            names(json!({"containers": [], "hostname": "a", "subdomain": "web"})),
            ("a".into(), "web.shop.svc.cluster.local".into())
        );
        let long = format!("{}-x", "a".repeat(62));
        assert_eq!(truncate(&long), "a".repeat(62));
    }

    #[test]
    fn a_full_name_must_fit_the_kernel() {
        let pod = pod(
            json!({"containers": [], "hostname": "a".repeat(50), "subdomain": "web", "setHostnameAsFQDN": true}),
        );
        let error = sandbox_hostname(&pod, "cluster.local").unwrap_err();
        assert!(
            error.ends_with("is too long (64 characters is the max, 77 characters requested)"),
            "{error}"
        );
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let pod = pod(json!({
            "containers": [], "subdomain": "web",
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["x", "y"]}]
        }));
        let text = hosts_file(&pod, &["10.0.0.5".into()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with(
            "10.0.0.5\tweb-0.web.shop.svc.cluster.local\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"
        ));
    }
}
