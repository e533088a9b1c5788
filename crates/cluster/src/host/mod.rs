//! Real hosts: `ironclad init` makes one the control plane of a new cluster, `ironclad join` brings
//! others in, `ironclad reset` takes all of it away again.
//!
//! Data flow: [`checks`] look at the host → [`crate::node::files`] are what a node has, as with nodes
//! in namespaces → [`units`] let systemd run containerd and the kubelet → what follows goes through
//! the API. One that joins learns of the cluster through [`discovery`].
//!
//! Invariants: nothing is written before the checks have passed; what is written is found again by
//! [`reset`] from [`record`] alone; a file that was there before is neither changed nor removed.

mod checks;
pub(crate) mod control_plane;
mod discovery;
pub mod init;
pub mod join;
pub(crate) mod members;
mod record;
pub mod reset;
mod runtime;
mod units;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

pub use checks::PreflightError;
pub use discovery::{DiscoveryError, Hints, pin};
use runtime::Runtime;

use crate::etcd;
use crate::image::{self, ImageError};
use crate::preflight::Problem;
use crate::registries::Registries;

/// Folder of what Ironclad keeps on a host.
const FOLDER: &str = "/var/lib/ironclad";
/// Archives that the kubelet imports.
pub(crate) const IMAGES: &str = crate::images::SHARED;

/// What a node gets besides what every one has.
#[derive(Clone, Debug, Default)]
pub struct Supplies {
    /// A folder of image archives.
    pub images: Option<PathBuf>,
    /// How image registries are reached.
    pub registries: Registries,
}

/// Why a host is no node.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant wraps the error of one step, documented there")]
pub enum HostError {
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Pki(#[from] component::pki::Error),
    #[error("{path}: {problem}")]
    Keys { path: String, problem: String },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("systemctl {arguments}: {problem}")]
    Systemctl { arguments: String, problem: String },
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    #[error(transparent)]
    Addon(#[from] crate::addons::AddonError),
    #[error(transparent)]
    Token(#[from] crate::tokens::TokenError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("{what}: {source}")]
    Api { what: &'static str, source: Box<kube::Error> },
    #[error(
        "{what} was not there in time\n{reasons}The logs of the kubelet are shown by `journalctl -u kubelet`, those of containers by `crictl`; `ironclad reset` undoes what was done so far"
    )]
    TimedOut { what: &'static str, reasons: String },
    #[error(
        "this cluster stores its objects in the embedded store of its one control plane; a further control plane needs a cluster that was made with `ironclad init --store etcd` or `--etcd-servers`"
    )]
    OneControlPlane,
    #[error("{0}")]
    CertificateKey(&'static str),
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    #[error("{}: {}", .0.what, .0.remedy)]
    Missing(Problem),
    #[error("this host has no address that other nodes could reach")]
    NoAddress,
    #[error(
        "the containerd of this host was not set up for the cluster, so how it reaches registries is not changed; see config_path in its configuration, and leave --registry-mirror and --registry-ca out"
    )]
    ForeignRuntime,
    #[error("interrupted")]
    Interrupted,
}

fn file(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> HostError {
    let path = path.as_ref().to_owned();
    |source| HostError::File { path, source }
}

/// Whether this host was made a node.
#[must_use]
pub fn is_node() -> bool {
    record::path().exists()
}

/// The address that this host uses towards the world: that of the default route.
#[must_use]
pub fn default_address() -> Option<Ipv4Addr> {
    // Connecting a datagram socket sends nothing; it only picks the source address.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_unspecified() && !address.is_loopback() => Some(address),
        _ => None,
    }
}

/// The program that this host's kubelet is, if its unit is ours.
pub(crate) fn program() -> Option<PathBuf> {
    let unit = fs::read_to_string(units::path("kubelet")).ok()?;
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    let mut words = line.split_whitespace();
    let program = words.next()?;
    (words.next() == Some("kubelet")).then(|| program.into())
}

/// Restarts this host's kubelet.
pub(crate) fn restart_kubelet() -> Result<(), HostError> {
    units::restart("kubelet")
}

/// The name that this host has in a cluster unless another is given.
#[must_use]
pub fn default_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().trim().to_lowercase()
}

/// The resolver configuration that is of use to Pods: not that of a resolver which listens on this
/// host alone.
fn resolv_conf() -> &'static str {
    const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
    if Path::new(RESOLVED).exists() { RESOLVED } else { "/etc/resolv.conf" }
}

/// Lays out the archives that the kubelet imports: the program's own images, and those of the user.
/// `sandbox` is what the container runtime calls the image of sandboxes.
fn lay_out_images(
    given: Option<&Path>,
    sandbox: Option<&str>,
    etcd: Option<&etcd::Program>,
) -> Result<(), HostError> {
    let images = Path::new(IMAGES);
    fs::create_dir_all(images).map_err(file(images))?;
    image::write(images, sandbox)?;
    if let Some(program) = etcd {
        image::write_etcd(images, program)?;
    }
    let Some(given) = given else { return Ok(()) };
    for entry in fs::read_dir(given).map_err(file(given))? {
        let path = entry.map_err(file(given))?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, images.join(name)).map_err(file(&path))?;
        }
    }
    Ok(())
}
