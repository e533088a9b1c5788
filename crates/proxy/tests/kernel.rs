//! The rules in a real kernel, with real packets, in network namespaces of the test's own.
//!
//! ```text
//! client 192.0.2.9 ── 192.0.2.1 node 10.244.1.1 (bridge cni0) ── pod1 10.244.1.2, pod2 10.244.1.3
//! ```
//!
//! Needs root, nft and ip, like the proxy's users have; says so where they are missing.

#![allow(clippy::unwrap_used)] // A test that meets an error must fail.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use nix::sched::{CloneFlags, setns};
use proxy::host::Host;
use proxy::model::Family;
use proxy::nft::{Outcome, Writer};
use proxy::rules::{NodeFacts, build};
use serde_json::{Value, json};

/// Namespaces of one test; gone when dropped, also after a failure.
struct Net {
    tag: String,
    folder: tempfile::TempDir,
}

impl Net {
    fn new() -> Option<Self> {
        let there = |program: &str| Host::default().find(program).is_ok();
        if !nix::unistd::geteuid().is_root() || !["nft", "ip"].into_iter().all(there) {
            eprintln!("skipped: needs root, nft and ip");
            return None;
        }
        let tag = format!("pxt{}", std::process::id());
        let net = Net {
            tag,
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["node", "client", "pod1", "pod2"] {
            net.ip(&["netns", "add", &net.ns(name)]);
            net.on(name, "ip link set lo up");
        }
        net.on("node", "ip link add cni0 type bridge");
        net.on("node", "ip link set cni0 type bridge mcast_snooping 0");
        net.on("node", "ip addr add 10.244.1.1/24 dev cni0");
        net.on("node", "ip link set cni0 up");
        net.wire("client", "192.0.2.9/24", "192.0.2.1");
        net.on("node", "ip addr add 192.0.2.1/24 dev v-client");
        for (pod, address) in [("pod1", "10.244.1.2/24"), ("pod2", "10.244.1.3/24")] {
            net.wire(pod, address, "10.244.1.1");
            net.on("node", &format!("ip link set v-{pod} master cni0"));
            net.on(
                "node",
                &format!("ip link set v-{pod} type bridge_slave hairpin on"),
            );
        }
        net.on("node", "ip route add default via 192.0.2.9");
        net.on("node", "sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'");
        net.on(
            "node",
            "sh -c 'f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 1 > $f'",
        );
        for pod in ["pod1", "pod2"] {
            net.serve(pod, 8080);
        }
        Some(net)
    }

    fn ns(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    fn ip(&self, args: &[&str]) {
        let status = Command::new("ip").args(args).status().unwrap();
        assert!(status.success(), "ip {args:?}");
    }

    /// A veth pair between `name` (eth0, with an address and default route) and the node.
    fn wire(&self, name: &str, address: &str, gateway: &str) {
        let peer = format!("v-{name}");
        let (node, own) = (self.ns("node"), self.ns(name));
        self.ip(&[
            "link", "add", "eth0", "netns", &own, "type", "veth", "peer", "name", &peer, "netns",
            &node,
        ]);
        self.on("node", &format!("ip link set {peer} up"));
        self.on(name, &format!("ip addr add {address} dev eth0"));
        self.on(name, "ip link set eth0 up");
        self.on(name, &format!("ip route add default via {gateway}"));
    }

    fn output(&self, name: &str, script: &str) -> (bool, String) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.ns(name), "sh", "-c", script])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.trim().to_owned())
    }

    fn on(&self, name: &str, script: &str) {
        let (ok, text) = self.output(name, script);
        assert!(ok, "{name}: {script}: {text}");
    }

    /// Runs `work` on a thread of its own in a namespace.
    fn inside<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let namespace = File::open(format!("/run/netns/{}", self.ns(name))).unwrap();
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// Answers every TCP connection with `NAME CLIENT-ADDRESS`, until the process ends.
    fn serve(&self, name: &'static str, port: u16) {
        let listener = self
            .inside(name, move || TcpListener::bind(("0.0.0.0", port)).unwrap())
            .join()
            .unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, client)) = listener.accept() {
                write!(stream, "{name} {client}").ok();
            }
        });
    }

    /// What `target` answers to `name`: `pod1 CLIENT`, or the error.
    fn ask(&self, name: &str, target: &str) -> String {
        let target: SocketAddr = target.parse().unwrap();
        let ask = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        self.inside(name, ask)
            .join()
            .unwrap()
            .unwrap_or_else(|error| error.to_string())
    }

    /// A host whose programs run in the node's namespace.
    fn writer(&self) -> Writer {
        let wrapper: PathBuf = self.folder.path().join("nft");
        let text = format!(
            "#!/bin/sh\nexec ip netns exec {} nft \"$@\"\n",
            self.ns("node")
        );
        std::fs::write(&wrapper, text).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        Writer::new(Host::default(), wrapper.to_str().unwrap())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in ["node", "client", "pod1", "pod2"] {
            let ns = self.ns(name);
            Command::new("ip")
                .args(["netns", "del", &ns])
                .stderr(Stdio::null())
                .status()
                .ok();
        }
    }
}

fn service(name: &str, spec: Value) -> Arc<Service> {
    let object = json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn slice(service: &str, addresses: &[&str]) -> Arc<EndpointSlice> {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|a| json!({ "addresses": [a], "nodeName": "w1" }))
        .collect();
    let object = json!({
        "addressType": "IPv4",
        "metadata": {
            "namespace": "default", "name": service,
            "labels": { "kubernetes.io/service-name": service },
        },
        "ports": [{ "port": 8080 }],
        "endpoints": endpoints,
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

#[tokio::test]
async fn packets_reach_what_the_services_say() {
    let Some(net) = Net::new() else { return };
    let facts = NodeFacts {
        name: "w1".to_owned(),
        zone: None,
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
    };
    let services = [
        service(
            "web",
            json!({ "clusterIP": "10.96.0.80", "type": "NodePort",
                    "ports": [{ "port": 80, "nodePort": 30080 }] }),
        ),
        service(
            "one",
            json!({ "clusterIP": "10.96.0.81", "ports": [{ "port": 80 }] }),
        ),
        service(
            "sticky",
            json!({ "clusterIP": "10.96.0.82", "sessionAffinity": "ClientIP",
                    "ports": [{ "port": 80 }] }),
        ),
        service(
            "none",
            json!({ "clusterIP": "10.96.0.83", "type": "NodePort",
                    "ports": [{ "port": 80, "nodePort": 30083 }] }),
        ),
    ];
    let both = ["10.244.1.2", "10.244.1.3"];
    let slices = |web: &[&str]| {
        vec![
            slice("web", web),
            slice("one", &both[..1]),
            slice("sticky", &both),
        ]
    };
    let table = |web: &[&str]| build(Family::V4, &services, &slices(web), &facts);
    let mut writer = net.writer();
    assert_eq!(writer.write(table(&both)).await.unwrap(), Outcome::Replaced);

    // From the node itself and from outside, both endpoints answer in the long run.
    for (from, to) in [("node", "10.96.0.80:80"), ("client", "192.0.2.1:30080")] {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let answer = net.ask(from, to);
            let (pod, client) = answer.split_once(' ').unwrap_or((&answer, ""));
            assert!(pod.starts_with("pod"), "{from} → {to}: {answer}");
            // Masqueraded: the Pod sees its own gateway.
            assert!(client.starts_with("10.244.1.1:"), "{from} → {to}: {answer}");
            seen.insert(pod.to_owned());
            if seen.len() == 2 {
                break;
            }
        }
        assert_eq!(seen.len(), 2, "{from} → {to}: {seen:?}");
    }
    // From Pod to Pod the address is kept, and a Pod reaches itself.
    assert!(
        net.ask("pod2", "10.96.0.81:80")
            .starts_with("pod1 10.244.1.3:")
    );
    assert!(
        net.ask("pod1", "10.96.0.81:80")
            .starts_with("pod1 10.244.1.1:")
    );
    // Affinity: once chosen, always chosen.
    let first = net.ask("client", "10.96.0.82:80");
    let pod = first.split(' ').next().unwrap();
    for _ in 0..10 {
        let next = net.ask("client", "10.96.0.82:80");
        assert!(next.starts_with(pod), "{first} then {next}");
    }
    // Nothing behind it, or no such port: refused at once rather than timed out.
    for (from, to) in [
        ("node", "10.96.0.83:80"),
        ("pod1", "10.96.0.83:80"),
        ("client", "192.0.2.1:30083"),
        ("pod1", "10.96.0.80:81"),
    ] {
        let answer = net.ask(from, to);
        assert!(answer.contains("refused"), "{from} → {to}: {answer}");
    }

    // Scaling down changes the answer, in place.
    assert_eq!(
        writer.write(table(&both[1..])).await.unwrap(),
        Outcome::Changed
    );
    for _ in 0..8 {
        assert!(net.ask("client", "192.0.2.1:30080").starts_with("pod2"));
    }
    assert_eq!(
        writer.write(table(&both[1..])).await.unwrap(),
        Outcome::Unchanged
    );
    assert_eq!(writer.verify().await.unwrap(), 0);

    // A table that somebody removed or changed comes back.
    net.on("node", "nft delete table ip kube-proxy");
    assert_eq!(writer.verify().await.unwrap(), 1);
    assert!(net.ask("node", "10.96.0.80:80").starts_with("pod2"));
    assert_eq!(writer.verify().await.unwrap(), 0);
    net.on("node", "nft flush chain ip kube-proxy services");
    assert_eq!(writer.verify().await.unwrap(), 1);
    assert!(net.ask("node", "10.96.0.80:80").starts_with("pod2"));

    // A difference that the kernel refuses is mended by writing the table anew.
    net.on("node", "nft delete table ip kube-proxy");
    assert_eq!(writer.write(table(&both)).await.unwrap(), Outcome::Replaced);

    // Services go, chains go with them.
    let frame = build(Family::V4, &[], &[], &facts);
    assert_eq!(writer.write(frame).await.unwrap(), Outcome::Changed);
    let (_, listing) = net.output("node", "nft list ruleset");
    assert!(!listing.contains("default/web"), "{listing}");
}
