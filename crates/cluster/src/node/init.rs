//! The first process of a node in namespaces: prepares what the node sees, then supervises
//! containerd and the kubelet, and reaps whatever ends (`ironclad node-init`).

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

use super::cgroups;
use super::control::Control;
use super::files::{BOOTSTRAP_KUBECONFIG, CLOCK, KUBELET_CONFIG, KUBELET_KUBECONFIG};
use super::mounts::{Folders, MountError};
use super::services::{Ending, Service, Supervisor, signals};
use crate::image::PAUSE_IMAGE;
use crate::images::{OWN, SHARED};

/// The program that an upgrade put in the place of the one that this node was booted with.
pub const UPGRADED: &str = "/var/lib/ironclad/bin/ironclad";

/// What `ironclad up` tells the first process of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node.
    pub node: String,
    /// Its address.
    pub address: std::net::Ipv4Addr,
    /// Its folder on the host.
    pub folder: PathBuf,
    /// The images folder that all nodes of the cluster share.
    pub images: PathBuf,
}

/// Why a node could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The specification cannot be read.
    #[error("reading {}: {source}", path.display())]
    Spec {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A step on the way failed.
    #[error("{what}: {source}")]
    Step {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// `ironclad up` ended before the node's network was there.
    #[error("the cluster was given up before this node was connected")]
    Abandoned,
}

fn step<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> InitError {
    move |source| InitError::Step { what, source: source.into() }
}

/// Prepares the node that `spec` describes and supervises its services until it is told to end.
///
/// # Errors
/// [`InitError`] with the step of the preparation that failed.
pub fn run(spec: &Path) -> Result<(), InitError> {
    let failed = |source| InitError::Spec { path: spec.to_owned(), source };
    let text = fs::read(spec).map_err(failed)?;
    let spec: Spec =
        serde_json::from_slice(&text).map_err(|error| failed(io::Error::other(error)))?;
    let mask = signals();
    mask.thread_block().map_err(step("blocking signals"))?;
    let events = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(step("opening a signal descriptor"))?;

    // In the folder as the host sees it, which what is mounted next hides.
    let mut control = Control::listen(&spec.folder).map_err(step("opening the control socket"))?;
    prepare(&spec)?;
    // A byte means that the network is there; the end of the pipe, that `up` gave up.
    io::stdin().read_exact(&mut [0]).map_err(|_| InitError::Abandoned)?;

    let mut supervisor = Supervisor::new(services(&spec), Instant::now());
    supervise(&mut supervisor, &mut control, &events)
}

fn prepare(spec: &Spec) -> Result<(), InitError> {
    let hierarchies = cgroups::mounted().map_err(step("reading the mounted cgroups"))?;
    cgroups::enter(&hierarchies, &spec.cluster, &spec.node).map_err(step("entering a cgroup"))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).map_err(step("making a cgroup namespace"))?;
    nix::unistd::sethostname(&spec.node).map_err(step("setting the host name"))?;
    Folders::new(&spec.folder).mount(&spec.images, &hierarchies)?;
    leave_root_group().map_err(step("preparing cgroup v2"))
}

/// cgroup v2 admits no process in a group whose children have controllers, and the kubelet is
/// going to make such children: move aside, as systemd's `init.scope` does.
fn leave_root_group() -> io::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if !root.join("cgroup.controllers").exists() {
        return Ok(());
    }
    let aside = root.join("init.scope");
    fs::create_dir_all(&aside)?;
    fs::write(aside.join("cgroup.procs"), "0")?;
    cgroups::enable_controllers(root)
}

fn services(spec: &Spec) -> Vec<Service> {
    let kubelet = [
        "kubelet".to_owned(),
        format!("--config={KUBELET_CONFIG}"),
        format!("--bootstrap-kubeconfig={BOOTSTRAP_KUBECONFIG}"),
        format!("--kubeconfig={KUBELET_KUBECONFIG}"),
        "--follow-authorities".to_owned(),
        format!("--hostname-override={}", spec.node),
        format!("--node-ip={}", spec.address),
        format!("--images-dir={SHARED}"),
        format!("--images-dir={OWN}"),
        format!("--sandbox-image={PAUSE_IMAGE}"),
        format!("--clock-file={CLOCK}"),
    ];
    vec![
        Service {
            name: "containerd",
            description: "containerd container runtime",
            program: "containerd".into(),
            upgraded: None,
            arguments: vec!["--config".into(), "/etc/containerd/config.toml".into()],
            log: "/var/log/containerd.log".into(),
        },
        Service {
            name: "kubelet",
            description: "kubelet: The Kubernetes Node Agent",
            // This very program, wherever it lies on the host.
            program: "/proc/self/exe".into(),
            upgraded: Some(UPGRADED.into()),
            arguments: kubelet.into_iter().map(Into::into).collect(),
            log: "/var/log/kubelet.log".into(),
        },
    ]
}

fn supervise(
    supervisor: &mut Supervisor,
    control: &mut Control,
    events: &SignalFd,
) -> Result<(), InitError> {
    loop {
        let now = Instant::now();
        supervisor.act(now);
        control.answer(supervisor, now);
        wait(events, control, supervisor.next(now)).map_err(step("waiting for events"))?;
        while let Some(signal) = events.read_signal().map_err(step("reading a signal"))? {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                return Ok(());
            }
        }
        // One SIGCHLD may stand for several children, most of them orphans of containers.
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, ending) = match status {
                WaitStatus::Exited(pid, code) => (pid, Ending::Exited(code)),
                WaitStatus::Signaled(pid, signal, _) => (pid, Ending::Killed(signal as i32)),
                _ => break,
            };
            supervisor.ended(pid, ending, Instant::now());
        }
        control.accept(supervisor, Instant::now());
    }
}

fn wait(events: &SignalFd, control: &Control, timeout: Option<Duration>) -> io::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    // Rounded up, or the last millisecond would spin.
    let timeout = timeout.map_or(PollTimeout::NONE, |left| {
        let milliseconds = left.as_millis().saturating_add(1);
        PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
    });
    let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
    match poll(&mut [ready(events.as_fd()), ready(control.listener().as_fd())], timeout) {
        Err(nix::errno::Errno::EINTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
