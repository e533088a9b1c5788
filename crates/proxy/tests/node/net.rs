//! The namespaces of a test, with servers and clients in them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use proxy::host::Host;
use proxy::nft::Writer;

/// Namespaces of one test; gone when dropped, also after a failure.
pub(crate) struct Net {
    tag: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Net {
    pub(crate) fn new() -> Option<Self> {
        let there = |program: &str| Host::default().find(program).is_ok();
        if !nix::unistd::geteuid().is_root() || !["nft", "ip"].into_iter().all(there) {
            eprintln!("skipped: needs root, nft and ip");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("pxt{}-{count}", std::process::id());
        let net = Net { tag, folder: tempfile::tempdir().unwrap() };
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
            net.on("node", &format!("ip link set v-{pod} type bridge_slave hairpin on"));
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

    pub(crate) fn ns(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    pub(crate) fn ip(&self, args: &[&str]) {
        let status = Command::new("ip").args(args).status().unwrap();
        assert!(status.success(), "ip {args:?}");
    }

    /// A veth pair between `name` (eth0, with an address and default route) and the node.
    pub(crate) fn wire(&self, name: &str, address: &str, gateway: &str) {
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

    pub(crate) fn output(&self, name: &str, script: &str) -> (bool, String) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.ns(name), "sh", "-c", script])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.trim().to_owned())
    }

    pub(crate) fn on(&self, name: &str, script: &str) {
        let (ok, text) = self.output(name, script);
        assert!(ok, "{name}: {script}: {text}");
    }

    /// Runs `work` on a thread of its own in a namespace.
    pub(crate) fn inside<T: Send + 'static>(
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
    pub(crate) fn serve(&self, name: &'static str, port: u16) {
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
    pub(crate) fn ask(&self, name: &str, target: &str) -> String {
        let target: SocketAddr = target.parse().unwrap();
        let ask = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        self.inside(name, ask).join().unwrap().unwrap_or_else(|error| error.to_string())
    }

    /// A host whose programs run in the node's namespace.
    pub(crate) fn writer(&self) -> Writer {
        let wrapper: PathBuf = self.folder.path().join("nft");
        let text = format!("#!/bin/sh\nexec ip netns exec {} nft \"$@\"\n", self.ns("node"));
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
            Command::new("ip").args(["netns", "del", &ns]).stderr(Stdio::null()).status().ok();
        }
    }
}
