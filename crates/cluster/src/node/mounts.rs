//! What a node sees of the file system: the host's programs, and folders of its own wherever a
//! node keeps state.
//!
//! `/etc` is an overlay on the host's, `/var` a folder of the node (containerd's snapshots need a
//! real file system, so no overlay there), `/run` and `/tmp` are empty. Nothing of it is visible
//! on the host, and all of it ends with the node's last process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::cgroups::Hierarchy;
use super::disk;
use crate::images::{OWN, SHARED};

/// A mount that failed.
#[derive(Debug, thiserror::Error)]
#[error("mounting {what} on {}: {source}", target.display())]
pub struct MountError {
    what: String,
    target: PathBuf,
    #[source]
    source: io::Error,
}

/// Folders of a node on the host.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    /// The folders of the node whose state is in `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where files are written so that the node sees them at their path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// When the host's disk refuses.
    pub fn create(&self) -> io::Result<()> {
        for folder in ["etc", "etc.work", "var/lib", "var/log", "var/tmp", "var/cache"] {
            fs::create_dir_all(self.root.join(folder))?;
        }
        for (link, target) in [("var/run", "/run"), ("var/lock", "/run/lock")] {
            match std::os::unix::fs::symlink(target, self.root.join(link)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        for folder in [SHARED, OWN] {
            fs::create_dir_all(self.root.join(&folder[1..]))?;
        }
        Ok(())
    }

    /// Mounts everything for this process's mount namespace; `images` is the folder that all nodes
    /// share, `hierarchies` the cgroup hierarchies of the host.
    ///
    /// # Errors
    /// The first mount that failed.
    pub fn mount(&self, images: &Path, hierarchies: &[Hierarchy]) -> Result<(), MountError> {
        propagate(MsFlags::MS_PRIVATE)?;
        let etc = self.root.join("etc");
        let options = format!(
            "lowerdir=/etc,upperdir={},workdir={}",
            etc.display(),
            self.root.join("etc.work").display()
        );
        attach("overlay", "/etc", "overlay", MsFlags::empty(), &options)?;
        if disk::is_there(&self.root) {
            let (own, given) = disk::mount(&self.root).map_err(|source| MountError {
                what: "the node's disk".to_owned(),
                target: self.root.clone(),
                source,
            })?;
            bind(&own, &given)?;
        }
        let shared = self.root.join(&SHARED[1..]);
        bind(images, &shared)?;
        bind(&self.root.join("var"), Path::new("/var"))?;
        let no_suid = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        attach("tmpfs", "/run", "tmpfs", no_suid, "mode=755")?;
        attach("tmpfs", "/tmp", "tmpfs", no_suid, "mode=1777")?;
        let quiet = no_suid | MsFlags::MS_NOEXEC;
        attach("proc", "/proc", "proc", quiet, "")?;
        attach("sysfs", "/sys", "sysfs", quiet, "")?;
        cgroup_mounts(hierarchies)?;
        boot_id()?;
        fs::create_dir_all("/run/lock").map_err(|source| MountError {
            what: "folder".to_owned(),
            target: "/run/lock".into(),
            source,
        })?;
        // Pods with `mountPropagation` need shared mounts below them.
        propagate(MsFlags::MS_SHARED)
    }
}

/// Gives this boot of the node an identity of its own, by which others notice that it was off.
fn boot_id() -> Result<(), MountError> {
    const RANDOM: &str = "/proc/sys/kernel/random";
    let own = Path::new("/run/boot_id");
    let made = fs::read(format!("{RANDOM}/uuid")).and_then(|uuid| fs::write(own, uuid));
    made.map_err(|source| MountError {
        what: "boot id".to_owned(),
        target: own.to_owned(),
        source,
    })?;
    bind(own, &Path::new(RANDOM).join("boot_id"))
}

fn cgroup_mounts(hierarchies: &[Hierarchy]) -> Result<(), MountError> {
    let root = Path::new("/sys/fs/cgroup");
    let unified = hierarchies.iter().any(|h| h.kind == "cgroup2" && h.mount_point == root);
    if !unified {
        attach("tmpfs", root, "tmpfs", MsFlags::empty(), "mode=755")?;
    }
    for hierarchy in hierarchies {
        let target = &hierarchy.mount_point;
        if !target.exists() {
            fs::create_dir_all(target).map_err(|source| MountError {
                what: "folder".to_owned(),
                target: target.clone(),
                source,
            })?;
        }
        attach(hierarchy.kind, target, hierarchy.kind, MsFlags::empty(), &hierarchy.options)?;
    }
    // Hosts without a v1 hierarchy of all controllers have links such as cpu -> cpu,cpuacct.
    for hierarchy in hierarchies.iter().filter(|h| h.options.contains(',')) {
        let Some(parent) = hierarchy.mount_point.parent() else {
            continue;
        };
        for controller in hierarchy.options.split(',') {
            // One is there already where the host mounts the controller under its own name.
            std::os::unix::fs::symlink(&hierarchy.mount_point, parent.join(controller)).ok();
        }
    }
    Ok(())
}

fn propagate(flag: MsFlags) -> Result<(), MountError> {
    mount(None::<&str>, "/", None::<&str>, flag | MsFlags::MS_REC, None::<&str>).map_err(|errno| {
        MountError { what: "propagation".to_owned(), target: "/".into(), source: errno.into() }
    })
}

fn bind(source: &Path, target: &Path) -> Result<(), MountError> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>).map_err(|errno| MountError {
        what: source.display().to_string(),
        target: target.to_owned(),
        source: errno.into(),
    })
}

fn attach(
    source: &str,
    target: impl AsRef<Path>,
    kind: &str,
    flags: MsFlags,
    options: &str,
) -> Result<(), MountError> {
    let target = target.as_ref();
    mount(Some(source), target, Some(kind), flags, Some(options)).map_err(|errno| MountError {
        what: kind.to_owned(),
        target: target.to_owned(),
        source: errno.into(),
    })
}
