//! Facts of the machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use nix::unistd::{SysconfVar, sysconf};

use crate::cri::proto;

/// Memory of the machine in bytes: all of it, and what is available.
pub fn memory() -> (i64, i64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> i64 {
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = rest.and_then(|rest| rest.split_whitespace().next());
        kib.and_then(|kib| kib.parse::<i64>().ok()).map_or(0, |kib| kib * 1024)
    };
    (field("MemTotal:"), field("MemAvailable:"))
}

/// Number of processors.
pub fn processors() -> i64 {
    sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1)
}

/// Size of the filesystem at `path` and what is available of it, in bytes and in inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes.
    pub capacity: u64,
    /// Bytes left.
    pub available: u64,
    /// Inodes.
    pub inodes: u64,
    /// Inodes left.
    pub inodes_free: u64,
}

/// The filesystem at `path`.
pub fn disk(path: &Path) -> Disk {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return Disk::default() };
    let unit = stat.fragment_size();
    Disk {
        capacity: stat.blocks().saturating_mul(unit),
        available: stat.blocks_available().saturating_mul(unit),
        inodes: stat.files(),
        inodes_free: stat.files_available(),
    }
}

/// What the kernel allows of processes, and how many there are.
pub fn processes() -> (i64, i64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let max = read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0);
    let running = read("/proc/loadavg")
        .split_whitespace()
        .nth(3)
        .and_then(|tasks| tasks.split_once('/'))
        .and_then(|(_, all)| all.parse().ok())
        .unwrap_or(0);
    (max, running)
}

/// What is kept from Pods, by resource name.
pub type Reserved = BTreeMap<String, i64>;

/// Capacity of the node.
pub fn capacity(root_dir: &Path, max_pods: i64) -> BTreeMap<String, Quantity> {
    let disk = disk(root_dir);
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(processors().to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", memory().0 / 1024))),
        ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", disk.capacity / 1024))),
        ("hugepages-1Gi".to_owned(), Quantity("0".into())),
        ("hugepages-2Mi".to_owned(), Quantity("0".into())),
        ("pods".to_owned(), Quantity(max_pods.to_string())),
    ])
}

/// Capacity less what is reserved (CPU in thousandths, the rest in bytes).
pub fn allocatable(
    root_dir: &Path,
    max_pods: i64,
    reserved: &Reserved,
) -> BTreeMap<String, Quantity> {
    let mut all = capacity(root_dir, max_pods);
    let kept = |name: &str| reserved.get(name).copied().unwrap_or(0);
    let millis = (processors() * 1000 - kept("cpu")).max(0);
    let cpu = if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{millis}m") };
    all.insert("cpu".to_owned(), Quantity(cpu));
    let memory = (memory().0 - kept("memory")).max(0) / 1024;
    all.insert("memory".to_owned(), Quantity(format!("{memory}Ki")));
    let storage = i64::try_from(disk(root_dir).capacity).unwrap_or(i64::MAX);
    let storage = (storage - kept("ephemeral-storage")).max(0);
    all.insert("ephemeral-storage".to_owned(), Quantity(storage.to_string()));
    all
}

/// Software and identity of the machine.
pub fn system_info(runtime: &proto::VersionResponse) -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let first = |paths: &[&str]| {
        paths.iter().map(|path| read(path)).find(|text| !text.is_empty()).unwrap_or_default()
    };
    let machine_id = first(&["/etc/machine-id", "/var/lib/dbus/machine-id"]);
    let uuid = first(&["/sys/class/dmi/id/product_uuid", "/etc/machine-id"]);
    let os_image = read("/etc/os-release")
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned());
    NodeSystemInfo {
        machine_id,
        system_uuid: uuid,
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        os_image,
        container_runtime_version: format!(
            "{}://{}",
            runtime.runtime_name,
            runtime.runtime_version.trim_start_matches('v')
        ),
        kubelet_version: component::version::release().to_owned(),
        kube_proxy_version: String::new(),
        operating_system: "linux".into(),
        architecture: architecture().into(),
        ..Default::default()
    }
}

/// Processor architecture by Go's names, which node labels use.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The address that this machine uses towards the world: that of the default route, else the
/// first one that is not loopback.
pub fn default_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it only picks the source address.
    let by_route = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr()))
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
    by_route.or_else(|| {
        let interfaces = nix::ifaddrs::getifaddrs().ok()?;
        interfaces
            .filter_map(|interface| Some(IpAddr::V4(interface.address?.as_sockaddr_in()?.ip())))
            .find(|ip| !ip.is_loopback())
    })
}
