//! The static Pods of the control plane: what kubeadm writes to `/etc/kubernetes/manifests`.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::config::{ClusterConfiguration, Etcd, ExternalEtcd, SNAPSHOTS};
use crate::etcd::{self, Member};
use crate::node::files::PKI;
use crate::virtual_ip;

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
    image: &'a str,
    command: Vec<String>,
    requests: Value,
    probe: Option<Probe>,
    folders: &'a [Folder],
    /// What it may do to the node besides the usual.
    capabilities: &'static [&'static str],
}

/// Where a component tells its health.
struct Probe {
    scheme: &'static str,
    host: Ipv4Addr,
    port: u16,
    live: &'static str,
    ready: &'static str,
}

impl Probe {
    fn https(host: Ipv4Addr, port: u16, live: &'static str, ready: &'static str) -> Option<Self> {
        Some(Self { scheme: "HTTPS", host, port, live, ready })
    }
}

/// A control plane to be.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Its node.
    pub node: &'a str,
    /// Where it is announced.
    pub address: Ipv4Addr,
    /// Port of its API server.
    pub port: u16,
    /// The image of its components.
    pub image: &'a str,
    /// Its member of the etcd cluster, if it has one.
    pub etcd: Option<&'a Member>,
    /// The file that says how far its clock is off, if it is simulated.
    pub clock: Option<&'static str>,
}

/// A flag of a program.
fn flag(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

/// A file among the keys and certificates.
fn pki(file: &str) -> String {
    format!("{PKI}/{file}")
}

/// The keys and certificates.
const CERTIFICATES: Folder = Folder { name: "k8s-certs", path: PKI, read_only: true };

/// The manifests by file name.
#[must_use]
pub fn control_plane(config: &ClusterConfiguration, site: &Site<'_>) -> Vec<(String, Value)> {
    const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
    let networking = &config.networking;
    let component = |name, arguments: Vec<String>, cpu: &str, probe, folders| Component {
        name,
        image: site.image,
        command: command(["/ironclad", name], arguments),
        requests: json!({"cpu": cpu}),
        probe,
        folders,
        capabilities: &[],
    };
    let mut folders = vec![CERTIFICATES];
    let arguments = api_server(config, site, &mut folders);
    let probe = Probe::https(site.address, site.port, "/livez", "/readyz");
    let mut all = vec![component("kube-apiserver", arguments, "250m", probe, &folders)];

    let controller_manager_conf = Folder {
        name: "kubeconfig",
        path: "/etc/kubernetes/controller-manager.conf",
        read_only: true,
    };
    let mut arguments = vec![
        flag("kubeconfig", controller_manager_conf.path),
        flag("cluster-cidr", &networking.pod_subnet),
        flag("service-cluster-ip-range", &networking.service_subnet),
        flag("root-ca-file", &pki("ca.crt")),
        flag("cluster-signing-cert-file", &pki("ca.crt")),
        flag("cluster-signing-key-file", &pki("ca.key")),
        flag("leader-elect", "true"),
        flag("controllers", "*,bootstrap-signer-controller,token-cleaner-controller"),
    ];
    if let Some(period) = &config.certificate_validity_period {
        arguments.push(flag("cluster-signing-duration", period));
    }
    let probe = Probe::https(LOOPBACK, 10257, "/healthz", "/healthz");
    let folders = [CERTIFICATES, controller_manager_conf];
    all.push(component("kube-controller-manager", arguments, "200m", probe, &folders));

    let scheduler_conf =
        Folder { name: "kubeconfig", path: "/etc/kubernetes/scheduler.conf", read_only: true };
    let arguments = vec![flag("kubeconfig", scheduler_conf.path), flag("leader-elect", "true")];
    let probe = Probe::https(LOOPBACK, 10259, "/healthz", "/healthz");
    let folders = [scheduler_conf];
    all.push(component("kube-scheduler", arguments, "100m", probe, &folders));

    // Renews the certificates of all of them and of the administrators, and replaces authorities.
    let kubernetes = Folder { name: "kubernetes", path: "/etc/kubernetes", read_only: false };
    let folders = [kubernetes];
    let mut arguments = vec![flag("node-name", site.node)];
    arguments.extend(config.certificate_validity_period.iter().map(|p| flag("validity", p)));
    all.push(Component {
        name: "kube-certificates",
        image: site.image,
        command: command(["/ironclad", "certs", "keep"], arguments),
        requests: json!({"cpu": "10m"}),
        probe: None,
        folders: &folders,
        capabilities: &[],
    });

    let conf = Folder { name: "kubeconfig", path: virtual_ip::KUBECONFIG, read_only: true };
    let folders = [conf];
    if let Some(address) = config.virtual_address {
        let arguments = vec![
            flag("kubeconfig", virtual_ip::KUBECONFIG),
            flag("address", &address.to_string()),
            flag("node-ip", &site.address.to_string()),
            flag("identity", site.node),
        ];
        // No probe: one that hangs loses its lease, and with that the address.
        let mut holder = component(virtual_ip::NAME, arguments, "10m", None, &folders);
        holder.capabilities = &["NET_ADMIN", "NET_RAW"];
        all.push(holder);
    }

    let certificates =
        Folder { name: "etcd-certs", path: "/etc/kubernetes/pki/etcd", read_only: true };
    let folders = [certificates, Folder { name: "etcd-data", path: etcd::DATA, read_only: false }];
    if let Some(member) = site.etcd {
        let arguments = etcd::arguments(member, site.node, site.address, etcd::DATA);
        all.push(Component {
            name: "etcd",
            image: &member.image,
            command: command(["/usr/bin/etcd"], arguments),
            requests: json!({"cpu": "100m", "memory": "100Mi"}),
            // One that is full, or alone, is not mended by starting it anew. So its health does not
            // count, which needs a leader (always with 3.4): members that are restarted until
            // there is one do not find one.
            probe: Some(Probe {
                scheme: "HTTP",
                host: LOOPBACK,
                port: etcd::METRICS_PORT,
                live: "/metrics",
                ready: "/health",
            }),
            folders: &folders,
            capabilities: &[],
        });
    }
    let clocked = |component: &Component<'_>| site.clock.filter(|_| component.image == site.image);
    let file = |component: &Component<'_>| {
        (format!("{}.yaml", component.name), pod(component, clocked(component)))
    };
    all.iter().map(file).collect()
}

fn command<const N: usize>(program: [&str; N], arguments: Vec<String>) -> Vec<String> {
    program.map(str::to_owned).into_iter().chain(arguments).collect()
}

/// The arguments of the API server; the folders that they need are added.
fn api_server(
    config: &ClusterConfiguration,
    site: &Site<'_>,
    folders: &mut Vec<Folder>,
) -> Vec<String> {
    let networking = &config.networking;
    let issuer = format!("https://kubernetes.default.svc.{}", networking.dns_domain);
    let mut arguments = vec![
        flag("advertise-address", &site.address.to_string()),
        flag("secure-port", &site.port.to_string()),
        flag("enable-bootstrap-token-auth", "true"),
        flag("client-ca-file", &pki("ca.crt")),
        flag("tls-cert-file", &pki("apiserver.crt")),
        flag("tls-private-key-file", &pki("apiserver.key")),
        flag("kubelet-client-certificate", &pki("apiserver-kubelet-client.crt")),
        flag("kubelet-client-key", &pki("apiserver-kubelet-client.key")),
        flag("kubelet-certificate-authority", &pki("ca.crt")),
        flag("requestheader-client-ca-file", &pki("front-proxy-ca.crt")),
        flag("proxy-client-cert-file", &pki("front-proxy-client.crt")),
        flag("proxy-client-key-file", &pki("front-proxy-client.key")),
        flag("service-account-issuer", &issuer),
        flag("service-account-key-file", &pki("sa.pub")),
        flag("service-account-signing-key-file", &pki("sa.key")),
        flag("service-cluster-ip-range", &networking.service_subnet),
    ];
    let external = match &config.etcd {
        None => {
            arguments.push(flag("data-dir", STORE));
            folders.push(Folder { name: "store", path: STORE, read_only: false });
            None
        }
        // The one on the same node: it goes with the API server and comes back with it.
        Some(Etcd::Local { .. }) => Some(ExternalEtcd {
            endpoints: vec![format!("https://127.0.0.1:{}", etcd::CLIENT_PORT)],
            ca_file: pki("etcd/ca.crt"),
            cert_file: pki("apiserver-etcd-client.crt"),
            key_file: pki("apiserver-etcd-client.key"),
        }),
        Some(Etcd::External { external }) => Some(external.clone()),
    };
    if let Some(etcd) = external {
        arguments.push(flag("etcd-servers", &etcd.endpoints.join(",")));
        let files = [
            ("etcd-cafile", &etcd.ca_file),
            ("etcd-certfile", &etcd.cert_file),
            ("etcd-keyfile", &etcd.key_file),
        ];
        let given = files.iter().filter(|(_, path)| !path.is_empty());
        arguments.extend(given.map(|(name, path)| flag(name, path)));
    }
    if config.has_scheduled_snapshots() {
        folders.push(Folder { name: "snapshots", path: SNAPSHOTS, read_only: false });
    }
    arguments.extend(config.api_server.extra_args.iter().map(|a| flag(&a.name, &a.value)));
    arguments
}

fn pod(component: &Component<'_>, clock: Option<&'static str>) -> Value {
    let mut command = component.command.clone();
    let mut clock_folder = None;
    if let Some((file, (path, _))) = clock.and_then(|file| Some((file, file.rsplit_once('/')?))) {
        command.push(flag("clock-file", file));
        // Not the file itself: another one may take its place.
        clock_folder = Some(Folder { name: "clock", path, read_only: true });
    }
    let folders = || component.folders.iter().chain(&clock_folder);
    let mounts: Vec<Value> = folders()
        .map(|f| json!({"name": f.name, "mountPath": f.path, "readOnly": f.read_only}))
        .collect();
    let volumes: Vec<Value> = folders()
        .map(|f| {
            let kind = match (f.path.ends_with(".conf"), f.read_only) {
                (true, _) => "File",
                (false, true) => "Directory",
                (false, false) => "DirectoryOrCreate",
            };
            json!({"name": f.name, "hostPath": {"path": f.path, "type": kind}})
        })
        .collect();
    let mut container = json!({
        "name": component.name,
        "image": component.image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": component.requests},
        "volumeMounts": mounts,
    });
    if let Some(probe) = &component.probe {
        let with = |path: &str, period: u32, failures: u32| {
            let (host, port) = (probe.host, probe.port);
            json!({
                "httpGet": {"host": host, "path": path, "port": port, "scheme": probe.scheme},
                "periodSeconds": period, "timeoutSeconds": 15, "failureThreshold": failures,
            })
        };
        container["startupProbe"] = with(probe.live, 1, 240);
        container["livenessProbe"] = with(probe.live, 10, 8);
        container["readinessProbe"] = with(probe.ready, 1, 3);
    }
    if !component.capabilities.is_empty() {
        container["securityContext"] = json!({"capabilities": {"add": component.capabilities}});
    }
    json!({
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
            "containers": [container],
            "volumes": volumes,
        },
    })
}
