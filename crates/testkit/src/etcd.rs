//! A real etcd cluster on the loopback interface, which ends with its value or with the test.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// Members of one cluster, each a process.
#[derive(Debug)]
pub struct EtcdCluster {
    folder: tempfile::TempDir,
    members: Vec<Member>,
    tls: Option<Tls>,
    arguments: Vec<String>,
}

#[derive(Debug)]
struct Member {
    name: String,
    client_port: u16,
    process: Option<Child>,
}

/// Files (PEM) for encrypted members that check their clients.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Authority of the members' and the clients' certificates.
    pub ca: PathBuf,
    /// The members' certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Every process has a loopback address of its own, so ports need not be searched for.
fn address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low)
}

static NEXT_PORT: AtomicU16 = AtomicU16::new(2379);

// === impl EtcdCluster ===

impl EtcdCluster {
    /// Starts `count` members; with `arguments` besides those that make a cluster of them.
    ///
    /// # Panics
    /// When etcd is not installed.
    #[must_use]
    pub fn start(count: usize, arguments: &[&str], tls: Option<Tls>) -> Self {
        let folder = tempfile::Builder::new().prefix("ironclad-etcd-").tempdir();
        let members = (0..count).map(|number| Member {
            name: format!("m{number}"),
            client_port: NEXT_PORT.fetch_add(2, Ordering::Relaxed),
            process: None,
        });
        let mut cluster = Self {
            folder: folder.expect("a temporary folder can be made"),
            members: members.collect(),
            tls,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        for at in 0..count {
            cluster.resume(at);
        }
        cluster
    }

    /// URLs for clients.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let url = |member: &Member| format!("{scheme}://{}:{}", address(), member.client_port);
        self.members.iter().map(url).collect()
    }

    /// Where the members are, as certificates have to name it.
    #[must_use]
    pub fn address() -> String {
        address().to_string()
    }

    /// Pulls the plug of a member (kill -9).
    ///
    /// # Panics
    /// When the process cannot be awaited.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut process) = self.members[at].process.take() {
            process.kill().expect("the process is ours");
            process.wait().expect("the process is ours");
        }
    }

    /// Starts a member on its data.
    ///
    /// # Panics
    /// When etcd is not installed.
    pub fn resume(&mut self, at: usize) {
        let address = address();
        let peer = |member: &Member| format!("http://{address}:{}", member.client_port + 1);
        let cluster: Vec<String> =
            self.members.iter().map(|member| format!("{}={}", member.name, peer(member))).collect();
        let member = &self.members[at];
        let client = self.servers().swap_remove(at);
        // The member must not outlive a test that is killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "etcd", "--logger", "zap", "--log-level", "error"])
            .args(["--name", &member.name, "--initial-cluster", &cluster.join(",")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(member)])
            .args(["--initial-advertise-peer-urls", &peer(member)])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .arg("--data-dir")
            .arg(self.data_dir(at))
            .args(&self.arguments)
            .stdin(Stdio::null());
        if let Some(tls) = &self.tls {
            command.arg("--trusted-ca-file").arg(&tls.ca).arg("--client-cert-auth");
            command.arg("--cert-file").arg(&tls.certificate).arg("--key-file").arg(&tls.key);
        }
        let installed = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
        assert!(installed.is_ok(), "etcd is not installed: scripts/deps.sh test");
        self.members[at].process = Some(command.spawn().expect("setpriv is part of util-linux"));
    }

    fn data_dir(&self, at: usize) -> PathBuf {
        self.folder.path().join(&self.members[at].name)
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}
