//! The members of an etcd cluster that run on the control planes, one on each, as kubeadm sets them
//! up: an authority of their own, certificates under `pki/etcd`, a static Pod. The program is the
//! distribution's; its image is made of the files of this machine.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use component::pki::{self, Authority, Subject};
use image::{ImageBuilder, Source};

use crate::node::files::{File, PKI, client, keyed};
use crate::preflight::{self, Problem};

/// Where a member keeps its data.
pub const DATA: &str = "/var/lib/ironclad/etcd";
/// Port for clients.
pub const CLIENT_PORT: u16 = 2379;
/// Port for the other members.
pub const PEER_PORT: u16 = 2380;
/// Port on which a member tells its health, to its own host alone.
pub const METRICS_PORT: u16 = 2381;

/// How a member comes into its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The image that it runs.
    pub image: String,
    /// Names and peer URLs of all members, itself included, as `a=https://…,b=https://…`.
    pub initial_cluster: String,
    /// Whether the others run already and were told of it.
    pub joins: bool,
}

/// The program on this machine.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    /// The client's, for administrators who run it in the Pod; it need not be there.
    client: Option<PathBuf>,
    version: String,
}

/// Where the member at `address` is reached by the others.
#[must_use]
pub fn peer_url(address: Ipv4Addr) -> String {
    format!("https://{address}:{PEER_PORT}")
}

/// Names and peer URLs in etcd's form.
pub fn initial_cluster<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> = members.into_iter().map(|(name, url)| format!("{name}={url}")).collect();
    pairs.join(",")
}

/// The arguments of the member on node `name` at `address`, which keeps its data in `data`.
pub(crate) fn arguments(member: &Member, name: &str, address: Ipv4Addr, data: &str) -> Vec<String> {
    let flag = |name: &str, value: &str| format!("--{name}={value}");
    let pki = |file: &str| format!("{PKI}/etcd/{file}");
    let url = format!("https://{address}:{CLIENT_PORT}");
    let (local, peer) = (format!("https://127.0.0.1:{CLIENT_PORT}"), peer_url(address));
    let state = if member.joins { "existing" } else { "new" };
    vec![
        flag("name", name),
        flag("data-dir", data),
        flag("advertise-client-urls", &url),
        flag("listen-client-urls", &format!("{local},{url}")),
        flag("listen-metrics-urls", &format!("http://127.0.0.1:{METRICS_PORT}")),
        flag("initial-advertise-peer-urls", &peer),
        flag("listen-peer-urls", &peer),
        flag("initial-cluster", &member.initial_cluster),
        flag("initial-cluster-state", state),
        flag("client-cert-auth", "true"),
        flag("cert-file", &pki("server.crt")),
        flag("key-file", &pki("server.key")),
        flag("trusted-ca-file", &pki("ca.crt")),
        flag("peer-client-cert-auth", "true"),
        flag("peer-cert-file", &pki("peer.crt")),
        flag("peer-key-file", &pki("peer.key")),
        flag("peer-trusted-ca-file", &pki("ca.crt")),
        flag("snapshot-count", "10000"),
        // One that comes back does not unseat the leader.
        flag("pre-vote", "true"),
    ]
}

/// The certificates of the member on node `name` at `address`, and of those that ask it.
///
/// # Errors
/// [`pki::Error`] when signing fails.
pub(crate) fn files(
    ca: &Authority,
    name: &str,
    address: Ipv4Addr,
    validity: Duration,
) -> Result<Vec<File>, pki::Error> {
    let mut files = Vec::new();
    let own = Subject {
        common_name: name.to_owned(),
        names: [name, "localhost", &address.to_string(), "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec(),
        server: true,
        client: true,
        ..Subject::default()
    };
    for (stem, subject) in [
        ("etcd/server", own.clone()),
        ("etcd/peer", own),
        ("etcd/healthcheck-client", client("kube-etcd-healthcheck-client", &[])),
        ("apiserver-etcd-client", client("kube-apiserver-etcd-client", &[])),
    ] {
        keyed(&mut files, &format!("{PKI}/{stem}"), ca.issue(&subject, validity)?);
    }
    Ok(files)
}

// === impl Program ===

impl Program {
    /// The one that a shell would find.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn find() -> Result<Self, Problem> {
        let missing = || {
            let what = "program etcd is not on the PATH";
            Problem::error("FileExisting-etcd", what, "apt-get install etcd-server")
        };
        let path = preflight::find("etcd").ok_or_else(missing)?;
        let output = Command::new(&path).arg("--version").output().map_err(|_| missing())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = version(&text).unwrap_or("unknown").to_owned();
        Ok(Self { path, client: preflight::find("etcdctl"), version })
    }

    /// What its image is called.
    #[must_use]
    pub fn image(&self) -> String {
        format!("ironclad.local/etcd:{}", self.version)
    }

    /// Its image: the program, its client and the libraries that they are linked with.
    pub(crate) fn build(&self) -> ImageBuilder {
        let mut builder = ImageBuilder::new(&self.image())
            .entrypoint(["/usr/bin/etcd"])
            .directory("/tmp", 0o1777);
        let client = self.client.iter().map(|path| ("/usr/bin/etcdctl", path));
        for (inside, path) in [("/usr/bin/etcd", &self.path)].into_iter().chain(client) {
            builder = builder.file(inside, Source::from(path.clone()), 0o755);
            // One that is linked statically makes `ldd` fail, and needs nothing.
            let output = Command::new("ldd").arg(path).output();
            let text = output.map(|output| output.stdout).unwrap_or_default();
            for library in libraries(&String::from_utf8_lossy(&text)) {
                builder = builder.file(library, Source::from(PathBuf::from(library)), 0o755);
            }
        }
        builder
    }
}

/// The version in what `etcd --version` prints.
fn version(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("etcd Version: ")).map(str::trim)
}

/// The files in what `ldd` prints.
fn libraries(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(|word| word.trim_end_matches(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print_is_understood() {
        assert_eq!(version("etcd Version: 3.4.23\nGit SHA: x\n"), Some("3.4.23"));
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/a/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        assert_eq!(libraries(text).collect::<Vec<_>>(), ["/lib/a/libc.so.6", "/lib64/ld.so.2"]);
        assert_eq!(libraries("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn a_member_knows_all_members_and_whether_it_is_late() {
        let (one, two) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let all = initial_cluster([("m1", peer_url(one)), ("m2", peer_url(two))]);
        assert_eq!(all, "m1=https://192.0.2.1:2380,m2=https://192.0.2.2:2380");
        let mut member = Member { image: "i".into(), initial_cluster: all, joins: false };
        let has = |member: &Member, flag: &str| {
            arguments(member, "m2", two, DATA).iter().any(|argument| argument == flag)
        };
        assert!(has(&member, "--initial-cluster-state=new"));
        assert!(has(&member, "--listen-peer-urls=https://192.0.2.2:2380"));
        member.joins = true;
        assert!(has(&member, "--initial-cluster-state=existing"));
    }
}
