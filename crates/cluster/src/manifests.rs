//! The static Pods of the control plane: what kubeadm writes to `/etc/kubernetes/manifests`.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::config::ClusterConfiguration;
use crate::node::files::PKI;

/// Folder of the embedded store.
pub const STORE: &str = "/var/lib/ironclad/store";

/// A folder of the node that a static Pod sees under the same path.
struct Folder {
    name: &'static str,
    path: &'static str,
    read_only: bool,
}

/// What differs between the Pods of the control plane.
struct Component<'a> {
    name: &'static str,
    /// What it runs of the program.
    command: &'static [&'static str],
    arguments: Vec<String>,
    cpu: &'static str,
    /// Address, port and paths of its probes, if it serves any: liveness and readiness.
    probe: Option<(Ipv4Addr, u16, &'static str, &'static str)>,
    folders: &'a [Folder],
}

/// The manifests by file name, for a control plane at `address` whose API server listens on `port`,
/// from `image`.
#[must_use]
pub fn control_plane(
    config: &ClusterConfiguration,
    address: Ipv4Addr,
    port: u16,
    image: &str,
) -> Vec<(String, Value)> {
    const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
    let pki = |file: &str| format!("{PKI}/{file}");
    let flag = |name: &str, value: &str| format!("--{name}={value}");
    let pki_folder = || Folder { name: "k8s-certs", path: PKI, read_only: true };
    let networking = &config.networking;
    let service_range = flag("service-cluster-ip-range", &networking.service_subnet);

    let issuer = format!("https://kubernetes.default.svc.{}", networking.dns_domain);
    let mut arguments = vec![
        flag("advertise-address", &address.to_string()),
        flag("secure-port", &port.to_string()),
        flag("enable-bootstrap-token-auth", "true"),
        flag("client-ca-file", &pki("ca.crt")),
        flag("tls-cert-file", &pki("apiserver.crt")),
        flag("tls-private-key-file", &pki("apiserver.key")),
        flag("kubelet-client-certificate", &pki("apiserver-kubelet-client.crt")),
        flag("kubelet-client-key", &pki("apiserver-kubelet-client.key")),
        flag("kubelet-certificate-authority", &pki("ca.crt")),
        flag("service-account-issuer", &issuer),
        flag("service-account-key-file", &pki("sa.pub")),
        flag("service-account-signing-key-file", &pki("sa.key")),
        service_range.clone(),
    ];
    let store = Folder { name: "store", path: STORE, read_only: false };
    let mut folders = vec![pki_folder()];
    match &config.etcd {
        None => {
            arguments.push(flag("data-dir", STORE));
            folders.push(store);
        }
        Some(etcd) => {
            let etcd = &etcd.external;
            arguments.push(flag("etcd-servers", &etcd.endpoints.join(",")));
            let files = [
                ("etcd-cafile", &etcd.ca_file),
                ("etcd-certfile", &etcd.cert_file),
                ("etcd-keyfile", &etcd.key_file),
            ];
            let given = files.iter().filter(|(_, path)| !path.is_empty());
            arguments.extend(given.map(|(name, path)| flag(name, path)));
        }
    }
    let api_server = Component {
        name: "kube-apiserver",
        command: &["kube-apiserver"],
        arguments,
        cpu: "250m",
        probe: Some((address, port, "/livez", "/readyz")),
        folders: &folders,
    };
    let controller_manager_conf = Folder {
        name: "kubeconfig",
        path: "/etc/kubernetes/controller-manager.conf",
        read_only: true,
    };
    let mut controllers = vec![
        flag("kubeconfig", controller_manager_conf.path),
        flag("cluster-cidr", &networking.pod_subnet),
        service_range,
        flag("root-ca-file", &pki("ca.crt")),
        flag("cluster-signing-cert-file", &pki("ca.crt")),
        flag("cluster-signing-key-file", &pki("ca.key")),
        flag("leader-elect", "true"),
        flag("controllers", "*,bootstrap-signer-controller,token-cleaner-controller"),
    ];
    let mut keeping = Vec::new();
    if let Some(period) = &config.certificate_validity_period {
        controllers.push(flag("cluster-signing-duration", period));
        keeping.push(flag("validity", period));
    }
    let controller_manager = Component {
        name: "kube-controller-manager",
        command: &["kube-controller-manager"],
        arguments: controllers,
        cpu: "200m",
        probe: Some((LOOPBACK, 10257, "/healthz", "/healthz")),
        folders: &[pki_folder(), controller_manager_conf],
    };
    let scheduler_conf =
        Folder { name: "kubeconfig", path: "/etc/kubernetes/scheduler.conf", read_only: true };
    let scheduler = Component {
        name: "kube-scheduler",
        command: &["kube-scheduler"],
        arguments: vec![flag("kubeconfig", scheduler_conf.path), flag("leader-elect", "true")],
        cpu: "100m",
        probe: Some((LOOPBACK, 10259, "/healthz", "/healthz")),
        folders: &[scheduler_conf],
    };
    // Renews the certificates of all of them, and of the administrators.
    let kubernetes = Folder { name: "kubernetes", path: "/etc/kubernetes", read_only: false };
    let certificates = Component {
        name: "kube-certificates",
        command: &["certs", "keep"],
        arguments: keeping,
        cpu: "10m",
        probe: None,
        folders: &[kubernetes],
    };
    [api_server, controller_manager, scheduler, certificates]
        .iter()
        .map(|component| (format!("{}.yaml", component.name), pod(component, image)))
        .collect()
}

fn pod(component: &Component<'_>, image: &str) -> Value {
    let mut command = vec!["/ironclad".to_owned()];
    command.extend(component.command.iter().map(|word| (*word).to_owned()));
    command.extend(component.arguments.iter().cloned());
    let mounts: Vec<Value> = component
        .folders
        .iter()
        .map(|f| json!({"name": f.name, "mountPath": f.path, "readOnly": f.read_only}))
        .collect();
    let volumes: Vec<Value> = component
        .folders
        .iter()
        .map(|f| {
            let kind = match (f.path.ends_with(".conf"), f.read_only) {
                (true, _) => "File",
                (false, true) => "Directory",
                (false, false) => "DirectoryOrCreate",
            };
            json!({"name": f.name, "hostPath": {"path": f.path, "type": kind}})
        })
        .collect();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": component.name,
            "namespace": "kube-system",
            "labels": {"component": component.name, "tier": "control-plane"},
        },
        "spec": {
            "hostNetwork": true,
            "priority": 2_000_001_000,
            "priorityClassName": "system-node-critical",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": component.name,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": command,
                "resources": {"requests": {"cpu": component.cpu}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    });
    if let Some((host, port, live, ready)) = component.probe {
        let container = &mut pod["spec"]["containers"][0];
        for (probe, path, period, failures) in [
            ("startupProbe", live, 1, 240),
            ("livenessProbe", live, 10, 8),
            ("readinessProbe", ready, 1, 3),
        ] {
            container[probe] = json!({
                "httpGet": {"host": host, "path": path, "port": port, "scheme": "HTTPS"},
                "periodSeconds": period, "timeoutSeconds": 15, "failureThreshold": failures,
            });
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_is_four_pods_that_mount_what_they_name() {
        let mut config = ClusterConfiguration::new("c", "192.0.2.1:6443");
        config.certificate_validity_period = Some("2m".to_owned());
        let pods = control_plane(&config, Ipv4Addr::new(192, 0, 2, 1), 6443, "i:1");
        let names: Vec<_> = pods.iter().map(|(file, _)| file.as_str()).collect();
        assert_eq!(
            names,
            [
                "kube-apiserver.yaml",
                "kube-controller-manager.yaml",
                "kube-scheduler.yaml",
                "kube-certificates.yaml",
            ]
        );
        for (at, flag) in [(1, "--cluster-signing-duration=2m"), (3, "--validity=2m")] {
            let command = &pods[at].1["spec"]["containers"][0]["command"];
            assert!(command.as_array().unwrap().contains(&flag.into()), "{command}");
        }
        for (file, pod) in &pods {
            let container = &pod["spec"]["containers"][0];
            let mounts = container["volumeMounts"].as_array().unwrap();
            for argument in container["command"].as_array().unwrap() {
                let Some((_, path)) = argument.as_str().unwrap().split_once("=/") else {
                    continue;
                };
                let path = format!("/{path}");
                let mounted =
                    mounts.iter().any(|m| path.starts_with(m["mountPath"].as_str().unwrap()));
                assert!(mounted, "{file}: {path} is not mounted");
            }
        }
    }
}
