//! What a real host needs besides ([`crate::preflight`]), with kubeadm's names for the checks.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use super::{Runtime, units};
use crate::etcd;
use crate::node::files::{KUBELET_CONFIG, KUBELET_KUBECONFIG, MANIFESTS, PKI};
use crate::preflight::{self, Problem};

/// Least memory of a control plane, in MiB.
const CONTROL_PLANE_MEMORY: u64 = 1700;
/// Components of the control plane, of which no manifest may be there.
const COMPONENTS: [&str; 5] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "virtual-ip", "etcd"];

/// What the host is to become.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Port of the API server, if it runs the control plane.
    pub(super) api_port: Option<u16>,
    /// Whether it runs a member of an etcd cluster, as far as that is known yet.
    pub(super) etcd: bool,
    /// Its name in the cluster.
    pub(super) name: String,
    /// Where it is reached by other nodes.
    pub(super) address: Option<Ipv4Addr>,
}

/// Some checks failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "error execution phase preflight: [preflight] Some fatal errors occurred:\n{}\n[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`",
    .0.iter().map(|problem| format!("\t{problem}")).collect::<Vec<_>>().join("\n")
)]
pub struct PreflightError(pub(super) Vec<Problem>);

/// Looks at this host; `ignored` are checks whose errors are warnings. Gives the warnings.
///
/// # Errors
/// Everything that is wrong at once.
pub(super) fn run(
    part: &Part,
    runtime: &Runtime,
    ignored: &BTreeSet<String>,
) -> Result<Vec<Problem>, PreflightError> {
    let mut problems = preflight::machine();
    problems.extend(systemd());
    problems.extend(hardware(part));
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    problems.extend(swap(&read("/proc/swaps")));
    problems.extend(sysctls(&read));
    problems.extend(cgroups(&read("/proc/self/mountinfo")));
    problems.extend(preflight::instances(1, usize::from(part.api_port.is_some())));
    problems.extend(hostname(&part.name));
    problems.extend(ports(part));
    problems.extend(files(part));
    problems.extend(runtime.problems());
    if part.etcd {
        problems.extend(etcd_problems());
    }
    if part.address.is_none() {
        let remedy = "give the host an address and a default route, or name one with \
                      --apiserver-advertise-address (init) or --node-ip (join)";
        let what = "no address that other nodes could reach was found";
        problems.push(Problem::error("NodeAddress", what, remedy));
    }
    judge(problems, ignored)
}

/// Splits problems into warnings and errors.
pub(super) fn judge(
    mut problems: Vec<Problem>,
    ignored: &BTreeSet<String>,
) -> Result<Vec<Problem>, PreflightError> {
    for problem in &mut problems {
        let name = problem.check.to_lowercase();
        problem.warning |= ignored.contains("all") || ignored.contains(&name);
    }
    let (warnings, errors): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.warning);
    if errors.is_empty() { Ok(warnings) } else { Err(PreflightError(errors)) }
}

fn systemd() -> Option<Problem> {
    // As sd_booted(3).
    let booted = Path::new("/run/systemd/system").is_dir();
    let what = "this host is not run by systemd, which has to keep the kubelet running";
    let remedy = "boot it with systemd; without, `ironclad up` makes a cluster in namespaces";
    (!booted).then(|| Problem::error("InitSystem", what, remedy))
}

fn hardware(part: &Part) -> Vec<Problem> {
    let mut problems = Vec::new();
    if part.api_port.is_none() {
        return problems;
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if processors < 2 {
        let what = format!("the number of available CPUs {processors} is less than the required 2");
        problems.push(Problem::error("NumCPU", what, "give the machine more processors"));
    }
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    if let Some(mib) = memory(&meminfo)
        && mib < CONTROL_PLANE_MEMORY
    {
        let what =
            format!("the system RAM ({mib} MB) is less than the minimum {CONTROL_PLANE_MEMORY} MB");
        problems.push(Problem::error("Mem", what, "give the machine more memory"));
    }
    problems
}

/// Memory of the machine in MiB, from the text of `/proc/meminfo`.
fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// Swap is borne, since the kubelet does not fail over it, but limits of memory then mean less.
fn swap(swaps: &str) -> Option<Problem> {
    let what = "swap is enabled; limits of memory are not kept while it is";
    let remedy = "switch it off with `swapoff -a` and take it out of /etc/fstab";
    (swaps.lines().count() > 1).then(|| Problem::warning("Swap", what, remedy))
}

fn sysctls(read: &dyn Fn(&str) -> String) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in ["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"] {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let text = read(&path);
        // What is missing altogether is told by the check of the kernel module.
        if text.is_empty() || text.trim() == "1" {
            continue;
        }
        let check = format!("FileContent-{}", path.replace('/', "-"));
        let what = format!("{path} contents are not set to 1");
        let remedy = format!("set it with `sysctl -w {name}=1`, and in /etc/sysctl.d to keep it");
        problems.push(Problem::error(check, what, remedy));
    }
    problems
}

/// What the kubelet limits containers with has to be there, in either version of cgroups.
fn cgroups(mountinfo: &str) -> Vec<Problem> {
    let hierarchies = crate::node::cgroups::hierarchies(mountinfo);
    let root = Path::new("/sys/fs/cgroup");
    let unified = hierarchies.iter().find(|h| h.kind == "cgroup2" && h.mount_point == root);
    let offered: Vec<String> = match unified {
        Some(unified) => {
            let path = unified.mount_point.join("cgroup.controllers");
            let text = fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        }
        None => hierarchies
            .iter()
            .filter(|h| h.kind == "cgroup")
            .flat_map(|h| h.options.split(',').map(str::to_owned).collect::<Vec<_>>())
            .collect(),
    };
    let missing: Vec<_> = ["cpu", "cpuset", "memory", "pids"]
        .into_iter()
        .filter(|wanted| !offered.iter().any(|known| known == wanted))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let what = format!("missing required cgroups: {}", missing.join(" "));
    let remedy = "boot with them, for memory with the kernel parameter cgroup_enable=memory";
    vec![Problem::error("SystemVerification", what, remedy)]
}

fn hostname(name: &str) -> Option<Problem> {
    use std::net::ToSocketAddrs as _;
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        let what = format!(
            "nodename {name:?} is invalid: a lowercase RFC 1123 subdomain must consist of lower \
             case alphanumeric characters, '-' or '.', and must start and end with an \
             alphanumeric character"
        );
        return Some(Problem::error("Hostname", what, "name the node with --node-name"));
    }
    let known = (name, 0).to_socket_addrs().is_ok_and(|mut all| all.next().is_some());
    let what = format!("hostname {name:?} could not be reached");
    let remedy = "name the host in /etc/hosts or in the DNS";
    (!known).then(|| Problem::warning("Hostname", what, remedy))
}

fn ports(part: &Part) -> Vec<Problem> {
    let control_plane = part.api_port.map(|port| [port, 10_257, 10_259]);
    let wanted = control_plane.into_iter().flatten().chain([10_250, 10_248]);
    wanted
        .filter_map(|port| {
            taken(port, format!("end what listens there (`ss -ltnp sport = :{port}` shows it)"))
        })
        .collect()
}

fn taken(port: u16, remedy: String) -> Option<Problem> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).err()?;
    Some(Problem::error(format!("Port-{port}"), format!("Port {port} is in use"), remedy))
}

/// What a member of an etcd cluster needs.
pub(super) fn etcd_problems() -> Vec<Problem> {
    // The package starts one of its own.
    let remedy = "end the etcd that runs already, as with `systemctl disable --now etcd`";
    let ports = [etcd::CLIENT_PORT, etcd::PEER_PORT, etcd::METRICS_PORT];
    let mut problems: Vec<_> =
        ports.into_iter().filter_map(|port| taken(port, remedy.to_owned())).collect();
    problems.extend(etcd::Program::find().err());
    problems.extend(full(etcd::DATA));
    problems
}

/// A folder that should be empty, or not be there.
fn full(folder: &str) -> Option<Problem> {
    let first = fs::read_dir(folder).ok()?.next();
    first.as_ref()?;
    let check = format!("DirAvailable-{}", folder.replace('/', "-"));
    let remedy = "remove what is left of another cluster with `ironclad reset`";
    Some(Problem::error(check, format!("{folder} is not empty"), remedy))
}

/// Files of another cluster must not be taken for ours.
fn files(part: &Part) -> Vec<Problem> {
    let mut paths =
        vec![KUBELET_KUBECONFIG.to_owned(), KUBELET_CONFIG.to_owned(), units::path("kubelet")];
    if part.api_port.is_some() {
        paths.extend(COMPONENTS.map(|name| format!("{MANIFESTS}/{name}.yaml")));
    } else {
        paths.push(format!("{PKI}/ca.crt"));
    }
    let mut problems: Vec<_> = paths
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| {
            let check = format!("FileAvailable-{}", path.replace('/', "-"));
            let remedy = "remove what is left of another cluster with `ironclad reset`";
            Problem::error(check, format!("{path} already exists"), remedy)
        })
        .collect();
    // Another network configuration would come before ours, by its name.
    let folders =
        [Some(MANIFESTS), Some("/etc/cni/net.d"), part.api_port.map(|_| crate::manifests::STORE)];
    // The manifests of a control plane have told of themselves already.
    let untold = |folder: &&str| *folder != MANIFESTS || part.api_port.is_none();
    problems.extend(folders.into_iter().flatten().filter(untold).filter_map(full));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_their_check_and_remedy_and_can_be_ignored() {
        let problem = |check: &str| Problem::error(check, "w", "r");
        let ignored = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let all =
            || vec![problem("Port-6443"), problem("NumCPU"), Problem::warning("Swap", "s", "t")];
        let error = judge(all(), &ignored(&["numcpu"])).unwrap_err().to_string();
        assert!(error.contains("\t[ERROR Port-6443]: w; r\n"), "{error}");
        assert!(!error.contains("NumCPU") && !error.contains("Swap"), "{error}");
        let warnings = judge(all(), &ignored(&["numcpu", "port-6443"])).unwrap();
        assert_eq!(warnings.len(), 3);
        assert_eq!(judge(all(), &ignored(&["all"])).unwrap().len(), 3);
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert_eq!(memory("MemTotal:        2048000 kB\nMemFree: 1 kB\n"), Some(2000));
        let head = "Filename Type Size Used Priority\n";
        assert_eq!(swap(head), None);
        assert!(swap(&format!("{head}/dev/sda2 partition 1 0 -2\n")).is_some());
        let read = |path: &str| if path.ends_with("ip_forward") { "0\n" } else { "1\n" }.to_owned();
        let problems = sysctls(&read);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].check, "FileContent--proc-sys-net-ipv4-ip_forward");
        let mounts = "27 25 0:24 / /sys/fs/cgroup/a rw - cgroup cgroup rw,cpu,cpuset,pids";
        assert_eq!(cgroups(mounts)[0].what, "missing required cgroups: memory");
    }

    #[test]
    fn names_that_no_node_can_have_are_errors_and_unknown_ones_warnings() {
        assert_eq!(hostname("localhost"), None);
        for wrong in ["", "A", "a_b", "-a", "a..b"] {
            assert!(!hostname(wrong).unwrap().warning, "{wrong}");
        }
        assert!(hostname("name.invalid").unwrap().warning);
    }

    #[test]
    fn a_port_in_use_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let part = Part { api_port: Some(port), etcd: false, name: String::new(), address: None };
        let problems = ports(&part);
        assert!(problems.iter().any(|p| p.check == format!("Port-{port}")), "{problems:?}");
    }
}
