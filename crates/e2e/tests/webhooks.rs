//! Webhooks of other people: a program on the host that the API server asks, and what it decides.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair};

use crate::cluster::{Cluster, Namespace, environment, eventually, feed};

/// A webhook on the host, where the API server reaches it.
pub(crate) struct Webhook {
    process: Child,
    pub(crate) address: String,
    pub(crate) port: String,
    /// The bundle that its certificate leads to, as API objects have it.
    pub(crate) authority: String,
}

impl Webhook {
    /// With a certificate for its address and more names.
    pub(crate) fn start(cluster: &Cluster, names: &[String]) -> Self {
        // The host's address on the way to the nodes.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((cluster.addresses()[0].as_str(), 6443)).unwrap();
        let address = socket.local_addr().unwrap().ip().to_string();
        let key = KeyPair::generate().unwrap();
        let names = names.iter().chain([&address]).cloned().collect::<Vec<_>>();
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/webhook.py");
        let mut command = Command::new(environment("PYTHON"));
        command.arg(program).arg(file("crt", &certificate)).arg(file("key", &key.serialize_pem()));
        let mut process = command.arg(&address).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let authority = base64::engine::general_purpose::STANDARD.encode(certificate);
        Self { process, address, port: port.trim().to_owned(), authority }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.process.kill().ok(); // it may have ended
        self.process.wait().ok();
    }
}

/// Webhook configurations that end with the test.
struct Configurations {
    cluster: Cluster,
    name: String,
}

impl Drop for Configurations {
    fn drop(&mut self) {
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let arguments = format!("delete {kind} {}", self.name);
            self.cluster.command(&arguments).stdout(Stdio::null()).status().ok(); // the test is over
        }
    }
}

#[test]
fn admission_webhooks_behind_a_service_change_and_refuse() {
    let space = Namespace::new("webhooks");
    let name = space.name.clone();
    let webhook = Webhook::start(&space.cluster, &[format!("hook.{name}.svc")]);
    space.pipe(
        "create -f -",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: hook}}\n\
             spec: {{ports: [{{port: 443}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: hook, labels: {{kubernetes.io/service-name: hook}}}}\n\
             addressType: IPv4\nports: [{{port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n",
            webhook.port, webhook.address
        ),
    );
    let configuration = |kind: &str, path: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n\
             webhooks:\n- name: {path}.e2e.ironclad.local\n  sideEffects: None\n  \
             admissionReviewVersions: [v1]\n  timeoutSeconds: 10\n  \
             namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}\n  \
             objectSelector: {{matchLabels: {{app: e2e}}}}\n  rules:\n  \
             - {{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}}\n  \
             clientConfig: {{caBundle: {}, service: {{namespace: {name}, name: hook, path: /{path}}}}}\n",
            webhook.authority
        )
    };
    let _configurations = Configurations { cluster: space.cluster.clone(), name: name.clone() };
    space.pipe("create -f -", &configuration("MutatingWebhookConfiguration", "mutate"));
    space.pipe("create -f -", &configuration("ValidatingWebhookConfiguration", "look"));
    let map = |name: &str, labels: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
             data: {{a: b}}\n"
        )
    };
    // kube-proxy may still be on its way.
    let warned = eventually("asked", || {
        let output = feed(&mut space.command("create -f -"), &map("good", "app: e2e"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    });
    assert!(warned.contains("Warning: seen by a webhook"), "{warned}");
    assert_eq!(space.json("get configmap good")["data"]["touched"], "yes");
    let refused = |name: &str, labels: &str| {
        let output = feed(&mut space.command("create -f -"), &map(name, labels));
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = refused("bad", "app: e2e, forbidden: x");
    let expected = "admission webhook \"mutate.e2e.ironclad.local\" denied the request: the label \
                    says no";
    assert!(error.contains(expected), "{error}");

    drop(webhook);
    let error = refused("unasked", "app: e2e");
    let expected = "failed calling webhook \"mutate.e2e.ironclad.local\": failed to call webhook: \
                    Post";
    assert!(error.contains(expected), "{error}");
    space.pipe("create -f -", &map("unconcerned", "app: other"));
}
