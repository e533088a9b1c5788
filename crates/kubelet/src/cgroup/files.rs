//! The files of the hierarchies.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::resources::GroupLimits;
use super::usage::Usage;
use super::{CgroupError, Version};

/// Controllers that Pods' groups use on v2.
const V2_CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/// From here on, a v1 memory limit is none: the kernel's own maximum in whole pages, at most.
const V1_UNLIMITED: i64 = i64::MAX - (1 << 20);

/// Mounted control groups.
#[derive(Debug)]
pub(super) enum Hierarchy {
    /// Directory of each v1 hierarchy, with the controllers in it.
    V1(Vec<(BTreeSet<String>, PathBuf)>),
    /// Root of the unified hierarchy.
    V2(PathBuf),
}

impl Hierarchy {
    pub(super) fn detect(root: &Path) -> Result<Self, CgroupError> {
        if root.join("cgroup.controllers").exists() {
            return Ok(Self::V2(root.to_owned()));
        }
        // Controllers mounted together have one directory and a link for each name.
        let mut found: Vec<(BTreeSet<String>, PathBuf)> = Vec::new();
        for entry in fs::read_dir(root).map_err(|source| file_error(root, source))?.flatten() {
            let Ok(path) = entry.path().canonicalize() else { continue };
            let v1 =
                path.join("cgroup.procs").exists() && !path.join("cgroup.controllers").exists();
            if !v1 {
                continue;
            }
            let names = entry.file_name().to_string_lossy().into_owned();
            let names = names.split(',').map(str::to_owned);
            match found.iter_mut().find(|(_, known)| *known == path) {
                Some((controllers, _)) => controllers.extend(names),
                None => found.push((names.collect(), path)),
            }
        }
        for controller in ["cpu", "memory"] {
            if !found.iter().any(|(controllers, _)| controllers.contains(controller)) {
                return Err(CgroupError::NotMounted { controller, root: root.to_owned() });
            }
        }
        Ok(Self::V1(found))
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Self::V1(_) => Version::V1,
            Self::V2(_) => Version::V2,
        }
    }

    fn roots(&self) -> Vec<&Path> {
        match self {
            Self::V1(all) => all.iter().map(|(_, path)| path.as_path()).collect(),
            Self::V2(root) => vec![root],
        }
    }

    fn controller(&self, name: &str) -> Option<&Path> {
        match self {
            Self::V1(all) => all
                .iter()
                .find(|(controllers, _)| controllers.contains(name))
                .map(|(_, path)| path.as_path()),
            Self::V2(root) => Some(root),
        }
    }

    /// Where `group` is in some hierarchy, for messages.
    pub(super) fn any_path(&self, group: &str) -> PathBuf {
        self.roots().first().map(|root| below(root, group)).unwrap_or_default()
    }

    pub(super) fn exists(&self, group: &str) -> bool {
        self.roots().into_iter().any(|root| below(root, group).is_dir())
    }

    /// Names of the groups below `group`.
    pub(super) fn children(&self, group: &str) -> BTreeSet<String> {
        self.roots().into_iter().flat_map(|root| subdirectories(&below(root, group))).collect()
    }

    /// Makes `group` in every hierarchy and writes `limits`.
    pub(super) fn ensure(&self, group: &str, limits: &GroupLimits) -> Result<(), CgroupError> {
        match self {
            Self::V1(all) => {
                for (controllers, root) in all {
                    let path = below(root, group);
                    fs::create_dir_all(&path).map_err(|source| file_error(&path, source))?;
                    if controllers.contains("cpuset") {
                        inherit_cpuset(root, group)?;
                    }
                }
                self.write_v1(group, limits)
            }
            Self::V2(root) => {
                let mut path = root.clone();
                enable_controllers(&path);
                for part in group.trim_matches('/').split('/') {
                    path.push(part);
                    if !path.is_dir() {
                        fs::create_dir(&path).map_err(|source| file_error(&path, source))?;
                    }
                    enable_controllers(&path);
                }
                write_v2(&path, limits)
            }
        }
    }

    fn write_v1(&self, group: &str, limits: &GroupLimits) -> Result<(), CgroupError> {
        let file = |controller, name: &str| {
            self.controller(controller).map(|root| below(root, group).join(name))
        };
        if let (Some(shares), Some(path)) = (limits.cpu_shares, file("cpu", "cpu.shares")) {
            write(&path, &shares.to_string())?;
        }
        if let (Some(quota), Some(path)) = (limits.cpu_quota, file("cpu", "cpu.cfs_quota_us")) {
            let period = path.with_file_name("cpu.cfs_period_us");
            if period.exists() {
                write(&period, &limits.cpu_period.to_string())?;
                write(&path, &quota.to_string())?;
            }
        }
        if let (Some(memory), Some(path)) = (limits.memory, file("memory", "memory.limit_in_bytes"))
        {
            write(&path, &memory.to_string())?;
        }
        if let (Some(pids), Some(path)) = (limits.pids, file("pids", "pids.max")) {
            write(&path, &pids.to_string())?;
        }
        Ok(())
    }

    /// The limits that `group` has; what cannot be read is absent.
    pub(super) fn limits(&self, group: &str) -> GroupLimits {
        let file = |controller: &str, name: &str| {
            let path = below(self.controller(controller)?, group).join(name);
            Some(fs::read_to_string(path).ok()?.trim().to_owned())
        };
        let number = |controller: &str, name: &str| file(controller, name)?.parse::<i64>().ok();
        let mut limits = GroupLimits::default();
        match self {
            Self::V1(_) => {
                limits.cpu_shares = number("cpu", "cpu.shares");
                limits.cpu_quota = number("cpu", "cpu.cfs_quota_us");
                if let Some(period) = number("cpu", "cpu.cfs_period_us") {
                    limits.cpu_period = period;
                }
                let memory = number("memory", "memory.limit_in_bytes");
                limits.memory = memory.filter(|limit| *limit < V1_UNLIMITED);
                limits.pids = number("pids", "pids.max");
            }
            Self::V2(_) => {
                limits.cpu_shares = number("cpu", "cpu.weight").map(shares);
                if let Some((quota, period)) =
                    file("cpu", "cpu.max").as_deref().and_then(|max| max.split_once(' '))
                {
                    limits.cpu_quota = Some(quota.parse().unwrap_or(-1));
                    limits.cpu_period = period.parse().unwrap_or(limits.cpu_period);
                }
                limits.memory = number("memory", "memory.max");
                limits.pids = number("pids", "pids.max");
            }
        }
        limits
    }

    /// Sends SIGKILL to every process in `group` and below.
    pub(super) fn kill(&self, group: &str) -> Result<(), CgroupError> {
        for root in self.roots() {
            let path = below(root, group);
            let at_once = path.join("cgroup.kill");
            if at_once.exists() {
                write(&at_once, "1")?;
                continue;
            }
            for pid in processes(&path) {
                kill(pid, Signal::SIGKILL).ok(); // Gone since it was listed.
            }
        }
        Ok(())
    }

    /// Removes `group` with the groups below it; false while one of them is still in use.
    pub(super) fn remove(&self, group: &str) -> Result<bool, CgroupError> {
        let mut done = true;
        for root in self.roots() {
            done &= remove_tree(&below(root, group))?;
        }
        Ok(done)
    }

    pub(super) fn usage(&self, group: &str) -> Usage {
        match self {
            Self::V1(_) => {
                let file = |controller, name: &str| {
                    self.controller(controller).map(|root| below(root, group).join(name))
                };
                Usage::read_v1(
                    file("cpuacct", "cpuacct.usage"),
                    file("memory", "memory.usage_in_bytes"),
                    file("memory", "memory.stat"),
                    file("pids", "pids.current"),
                )
            }
            Self::V2(root) => Usage::read_v2(&below(root, group)),
        }
    }
}

fn below(root: &Path, group: &str) -> PathBuf {
    root.join(group.trim_start_matches('/'))
}

fn file_error(path: &Path, source: io::Error) -> CgroupError {
    CgroupError::File { path: path.to_owned(), source }
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    fs::write(path, text).map_err(|source| file_error(path, source))
}

fn subdirectories(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// A new v1 cpuset has no processors and no memory, and takes no process until it has.
fn inherit_cpuset(root: &Path, group: &str) -> Result<(), CgroupError> {
    let mut path = root.to_owned();
    for part in group.trim_matches('/').split('/') {
        let parent = path.clone();
        path.push(part);
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let own = path.join(name);
            if !own.exists() {
                continue;
            }
            let text = fs::read_to_string(&own).map_err(|source| file_error(&own, source))?;
            if text.trim().is_empty() {
                let from = parent.join(name);
                let text = fs::read_to_string(&from).map_err(|source| file_error(&from, source))?;
                write(&own, text.trim())?;
            }
        }
    }
    Ok(())
}

/// Lets the groups below `path` use the controllers that `path` has itself. One at a time: the
/// kernel refuses all of a list when it refuses one, and none of them is indispensable.
fn enable_controllers(path: &Path) {
    let available = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
    let control = path.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    let has = |list: &str, name: &str| list.split_whitespace().any(|item| item == name);
    for controller in V2_CONTROLLERS {
        if has(&available, controller)
            && !has(&enabled, controller)
            && let Err(error) = fs::write(&control, format!("+{controller}"))
        {
            tracing::warn!(path = %path.display(), controller, %error, "cgroup controller not enabled");
        }
    }
}

fn write_v2(path: &Path, limits: &GroupLimits) -> Result<(), CgroupError> {
    let optional = |name: &str, text: Option<String>| -> Result<(), CgroupError> {
        let file = path.join(name);
        match text {
            // The controller may be absent.
            Some(text) if file.exists() => write(&file, &text),
            _ => Ok(()),
        }
    };
    optional("cpu.weight", limits.cpu_shares.map(|shares| weight(shares).to_string()))?;
    let quota = limits.cpu_quota.map(|quota| match quota {
        ..=0 => format!("max {}", limits.cpu_period),
        quota => format!("{quota} {}", limits.cpu_period),
    });
    optional("cpu.max", quota)?;
    optional("memory.max", limits.memory.map(|memory| memory.to_string()))?;
    optional("pids.max", limits.pids.map(|pids| pids.to_string()))
}

/// v2 weight (1 to 10000) for v1 shares (2 to 262144), as the runtimes convert them.
pub(super) fn weight(shares: i64) -> i64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142
}

/// The fewest v1 shares that a v2 weight stands for.
fn shares(weight: i64) -> i64 {
    2 + ((weight.clamp(1, 10_000) - 1) * 262_142 + 9998) / 9999
}

fn processes(path: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<Pid> =
        own.lines().filter_map(|line| line.trim().parse().ok()).map(Pid::from_raw).collect();
    // PID 0 stands for a process outside of this PID namespace and, to kill(2), for ourselves.
    found.retain(|pid| pid.as_raw() > 1);
    for child in subdirectories(path) {
        found.extend(processes(&path.join(child)));
    }
    found
}

fn remove_tree(path: &Path) -> Result<bool, CgroupError> {
    let mut done = true;
    for child in subdirectories(path) {
        done &= remove_tree(&path.join(child))?;
    }
    if !done {
        return Ok(false);
    }
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        Err(error) => Err(file_error(path, error)),
    }
}
