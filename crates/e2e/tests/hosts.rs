//! Real hosts: init, join and reset where a systemd runs services, and nothing is left at the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::cluster::{BUSYBOX, environment, eventually, eventually_equal, images, stdout};

/// The bridge between the hosts of a test.
const BRIDGES: [&str; 2] = ["ice2e0", "ice2e1"];
/// Where a host has the program and the images, wherever they are on this machine.
const PROGRAM: &str = "/var/opt/ironclad/ironclad";
const IMAGES: &str = "/var/opt/ironclad/images";
/// Their networks, of which this machine is 1.
const NETWORKS: [&str; 2] = ["10.188.0", "10.188.1"];

/// Hosts and their network, gone at the end.
struct Hosts {
    /// Which network.
    network: usize,
    folder: tempfile::TempDir,
    hosts: Vec<Host>,
}

struct Host {
    name: &'static str,
    folder: PathBuf,
    boot: Child,
    /// Its systemd.
    pid: u32,
}

fn ip(arguments: &str) {
    stdout(Command::new("ip").args(arguments.split_whitespace()));
}

impl Hosts {
    fn boot(network: usize, names: &[&'static str]) -> Self {
        let bridge = BRIDGES[network];
        // What a run that was killed may have left behind.
        Command::new("ip").args(["link", "del", bridge]).stderr(Stdio::null()).status().ok();
        ip(&format!("link add {bridge} type bridge"));
        ip(&format!("address add {}.1/24 dev {bridge}", NETWORKS[network]));
        ip(&format!("link set {bridge} up"));
        // Containers need a real file system below them, which /tmp may not be.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut hosts = Self { network, folder, hosts: Vec::new() };
        for (index, name) in names.iter().enumerate() {
            let host = Host::boot(name, hosts.folder.path(), network, index + 2);
            hosts.hosts.push(host);
        }
        hosts
    }

    /// Boots a host that was switched off, with the files it had.
    fn boot_again(&mut self, index: usize) {
        let name = self.hosts[index].name;
        self.hosts[index] = Host::boot(name, self.folder.path(), self.network, index + 2);
        self.hosts[index].prepare();
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.pull_the_plug();
        }
        Command::new("ip").args(["link", "del", BRIDGES[self.network]]).status().ok();
    }
}

impl Host {
    fn boot(name: &'static str, all: &Path, network: usize, number: usize) -> Self {
        let (bridge, network) = (BRIDGES[network], NETWORKS[network]);
        let folder = all.join(name);
        let inside = |path: &str| folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(inside(IMAGES)).unwrap();
        fs::copy(environment("IRONCLAD_BIN"), inside(PROGRAM)).unwrap();
        for image in fs::read_dir(images()).unwrap() {
            let image = image.unwrap();
            fs::copy(image.path(), inside(IMAGES).join(image.file_name())).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host.sh");
        let log = fs::File::create(all.join(format!("{name}.log"))).unwrap();
        let boot = Command::new(script)
            .arg(name)
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", boot.id());
        let pid = eventually("booted", || {
            let text = fs::read_to_string(&children).unwrap_or_default();
            let pid = text.trim().parse().map_err(|_| format!("{name} has no child: {text:?}"))?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.trim() == "systemd" { Ok(pid) } else { Err(name) }
        });
        let host = Self { name, folder, boot, pid };
        ip(&format!("link add {name} type veth peer name eth0 netns {pid}"));
        ip(&format!("link set {name} up master {bridge}"));
        host.run("ip link set lo up");
        host.run(&format!("ip address add {network}.{number}/24 dev eth0"));
        host.run("ip link set eth0 up");
        host.run(&format!("ip route add default via {network}.1"));
        eventually("systemd runs", || {
            let state = host.output("systemctl is-system-running");
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            if matches!(state.as_str(), "running" | "degraded") { Ok(()) } else { Err(state) }
        });
        host
    }

    /// What an administrator sees to before a host can be a node.
    fn prepare(&self) {
        self.run("sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1");
    }

    /// A command in the host.
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-m", "-u", "-i", "-n", "-p", "-C", "--"]);
        // It is about this machine's clusters, if anything.
        command.args(words.split_whitespace()).stdin(Stdio::null()).env_remove("KUBECONFIG");
        command
    }

    fn output(&self, words: &str) -> Output {
        self.command(words).output().expect("nsenter runs")
    }

    /// What a command prints that must succeed.
    fn run(&self, words: &str) -> String {
        stdout(&mut self.command(words))
    }

    fn ironclad(&self, words: &str) -> String {
        self.run(&format!("{PROGRAM} {words}"))
    }

    /// The output and exit code of a command that must fail.
    fn refused(&self, words: &str) -> (String, Option<i32>) {
        let output = self.output(&format!("{PROGRAM} {words}"));
        assert!(!output.status.success(), "{words}: {output:?}");
        (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
    }

    /// kubectl of this machine, as the administrator of the host's cluster.
    fn command_of_admin(&self, words: &str) -> Command {
        let mut command = Command::new(environment("KUBECTL"));
        command.env("KUBECONFIG", self.folder.join("etc/kubernetes/admin.conf"));
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    fn kubectl(&self, words: &str) -> String {
        stdout(&mut self.command_of_admin(words))
    }

    /// Waits for something of a cluster that depends on the services of `host`, and tells what these
    /// said where it never comes.
    fn wait(&self, what: &str, host: &Host) {
        let waited = self.command_of_admin(&format!("wait --timeout=120s --for={what}")).output();
        let waited = waited.expect("kubectl runs");
        let journal = "journalctl --no-pager --lines=60 --unit=containerd --unit=kubelet";
        assert!(waited.status.success(), "{waited:?}\n{}", host.run(journal));
    }

    /// All that a node could leave on a host.
    fn traces(&self) -> BTreeSet<String> {
        let mut traces = BTreeSet::new();
        for folder in ["etc", "var"] {
            walk(&self.folder.join(folder), &mut traces);
        }
        // What systemd itself keeps, and the cache of the linker.
        traces.retain(|path| {
            !["/var/log/journal", "/var/lib/systemd", "/var/tmp/systemd"]
                .iter()
                .any(|own| path.contains(own))
        });
        // A folder of this machine shows up in the overlay once there was something in it.
        traces.retain(|path| {
            let inside = path.strip_prefix(&*self.folder.to_string_lossy()).unwrap_or(path);
            !inside.starts_with("/etc/") || !Path::new(inside).is_dir()
        });
        for words in ["ip -o link", "ip route", "nft list tables", "cat /proc/self/mountinfo"] {
            let text = self.run(words);
            // Of interfaces the name, and of mounts where they are: the rest has numbers that are
            // others after the next boot.
            let fields = |line: &str| {
                let (skipped, taken) = match words {
                    "ip -o link" => (1, 1),
                    "cat /proc/self/mountinfo" => (4, 1),
                    _ => (0, 9),
                };
                let fields = line.split('@').next().unwrap_or_default().split_whitespace();
                fields.skip(skipped).take(taken).collect::<Vec<_>>().join(" ")
            };
            traces.extend(text.lines().map(|line| format!("{words}: {}", fields(line))));
        }
        let processes = self.run("ps -eo args=");
        let node = ["containerd", "kube", "ironclad"];
        traces.extend(
            processes
                .lines()
                .filter(|line| node.iter().any(|word| line.contains(word)))
                .map(|line| format!("process {line}")),
        );
        let groups = self.run("find /sys/fs/cgroup -name kube*");
        traces.extend(groups.lines().map(|line| format!("cgroup {line}")));
        traces
    }

    /// Ends a host as it is, and what is left of one that is off.
    fn pull_the_plug(&mut self) {
        // The number of one that has ended may be another's by now.
        if matches!(self.boot.try_wait(), Ok(None)) {
            Command::new("kill").args(["-9", &self.pid.to_string()]).status().ok();
            self.boot.wait().ok();
        }
        // The kernel takes it away some time after the host's end of it.
        Command::new("ip").args(["link", "del", self.name]).stderr(Stdio::null()).status().ok();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove_groups(&hierarchy.path().join(self.name));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(self.name));
    }
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    fs::remove_dir(group).ok();
}

fn walk(path: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        }
    }
}

#[test]
fn hosts_are_made_nodes_and_hosts_again() {
    let mut hosts = Hosts::boot(0, &["e2e-cp", "e2e-worker"]);
    let [cp, worker] = hosts.hosts.as_slice() else { panic!("there are two") };

    cp.run("sysctl -qw net.ipv4.ip_forward=0");
    let (error, code) = cp.refused("init");
    assert_eq!(code, Some(2), "{error}");
    let check = "[ERROR FileContent--proc-sys-net-ipv4-ip_forward]";
    assert!(error.contains(check) && error.contains("sysctl -w net.ipv4.ip_forward=1"), "{error}");
    for host in &hosts.hosts {
        host.prepare();
    }
    let clean = [cp.traces(), worker.traces()];
    assert!(cp.ironclad("reset --force").contains("nothing to undo"));

    let said = cp.ironclad(&format!("init --images {IMAGES}"));
    let join = said.lines().find_map(|line| line.trim().strip_prefix("ironclad join"));
    let join = join.unwrap_or_else(|| panic!("no command to join with in {said}")).trim();
    assert!(cp.run("systemctl status kubelet").contains("active (running)"));
    let (error, code) = cp.refused("init");
    assert_eq!(code, Some(2));
    for check in ["Port-6443", "Port-10250", "FileAvailable--etc-kubernetes-kubelet.conf"] {
        assert!(error.contains(&format!("[ERROR {check}]: ")), "{check} is not in {error}");
    }

    mistakes(worker, join);
    tokens(cp);
    let mirror = "--registry-mirror docker.io=https://mirror.example";
    worker.ironclad(&format!("join {join} --images {IMAGES} {mirror}"));
    let hosts_toml = worker.folder.join("etc/ironclad/certs.d/docker.io/hosts.toml");
    let hosts_toml = fs::read_to_string(hosts_toml).unwrap();
    assert!(hosts_toml.contains("https://mirror.example"), "{hosts_toml}");
    cp.kubectl("wait --for=condition=Ready node --all --timeout=90s");
    let nodes = cp.kubectl("get nodes --no-headers");
    let rows: Vec<Vec<&str>> =
        nodes.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(rows, [["e2e-cp", "Ready", "control-plane"], ["e2e-worker", "Ready", "<none>"]]);
    certificates(cp, worker);
    services(cp, worker);
    administration(cp, worker);
    inhibitor(worker);
    off_and_on(&mut hosts);

    let [cp, worker] = hosts.hosts.as_slice() else { panic!("there are two") };
    worker.ironclad("reset --force");
    cp.kubectl("delete node e2e-worker");
    cp.ironclad("reset --force");
    for (host, clean) in hosts.hosts.iter().zip(&clean) {
        let left: Vec<_> = host.traces().difference(clean).cloned().collect();
        assert_eq!(left, [""; 0], "left on {}", host.name);
    }
}

/// Nothing is done on a host whose user mistyped, or was told something wrong.
fn mistakes(worker: &Host, join: &str) {
    let mut words: Vec<&str> = join.split_whitespace().collect();
    let at = |words: &[&str], flag: &str| words.iter().position(|w| *w == flag).unwrap() + 1;
    let (token, pin) = (at(&words, "--token"), at(&words, "--discovery-token-ca-cert-hash"));

    let other = format!("sha256:{}", "0".repeat(64));
    let good = std::mem::replace(&mut words[pin], &other);
    let (error, _) = worker.refused(&format!("join {}", words.join(" ")));
    assert!(error.contains("none of the public keys") && error.contains(good), "{error}");
    words[pin] = good;

    let (id, _) = words[token].split_once('.').unwrap();
    let forged = format!("{id}.{}", "0".repeat(16));
    words[token] = &forged;
    let (error, _) = worker.refused(&format!("join {}", words.join(" ")));
    assert!(error.contains("the token does not fit its signature"), "{error}");
    assert!(!worker.folder.join("etc/kubernetes").exists());
}

/// Tokens are made, shown, removed, and end by themselves.
fn tokens(cp: &Host) {
    let made = cp.ironclad("token create --ttl 1h --description test --print-join-command");
    assert!(made.starts_with("ironclad join 10.188.0.2:6443 --token "), "{made}");
    let token = made.split_whitespace().nth(4).unwrap();
    let list = cp.ironclad("token list");
    let row = list.lines().find(|line| line.starts_with(token)).unwrap();
    assert!(row.contains("authentication,signing   test"), "{row}");
    let short = cp.ironclad("token create --ttl 1s");
    let id = token.split_once('.').unwrap().0;
    assert!(cp.ironclad(&format!("token delete {id}")).contains("deleted"));
    let (error, _) = cp.refused(&format!("token delete {id}"));
    assert!(error.contains("no token with id"), "{error}");
    eventually("the short token ended", || {
        let list = cp.ironclad("token list");
        if list.contains(short.trim()) { Err(list) } else { Ok(()) }
    });
}

/// Kubelets got their certificates by asking for them.
fn certificates(cp: &Host, worker: &Host) {
    let requests = cp.kubectl("get csr --no-headers");
    let signers = |name: &str| {
        let rows = requests.lines().filter(|line| line.contains("Approved,Issued"));
        let rows = rows.filter(|line| line.contains(name));
        rows.map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let token = signers("system:bootstrap:");
    assert_eq!(token, ["kubernetes.io/kube-apiserver-client-kubelet"], "{requests}");
    assert_eq!(signers("system:node:e2e-worker"), ["kubernetes.io/kubelet-serving"], "{requests}");
    assert!(!worker.folder.join("etc/kubernetes/bootstrap-kubelet.conf").exists());
    let text = fs::read_to_string(worker.folder.join("etc/kubernetes/kubelet.conf")).unwrap();
    assert!(text.contains("/var/lib/kubelet/pki/kubelet-client-current.pem"), "{text}");
    assert!(cp.ironclad("certs renew all").contains("certificate for serving the Kubernetes API"));
    eventually("known on both hosts", || {
        let tables = [cp, worker].map(|host| host.ironclad("certs check"));
        let whole = tables[0].contains("scheduler.conf") && !tables[1].contains("scheduler.conf");
        let serving = tables.iter().all(|table| table.contains("kubelet-server"));
        if whole && serving { Ok(()) } else { Err(tables.concat()) }
    });
    assert!(cp.ironclad("upgrade plan").contains("Nothing is left to upgrade."));
}

/// A Pod runs on the worker, and outlives its kubelet.
fn services(cp: &Host, worker: &Host) {
    // It does not end by itself, and takes longer than logind waits unless it is told to.
    let grace = r#"{"spec":{"terminationGracePeriodSeconds":8}}"#;
    cp.kubectl(&format!(
        "run sleeper --image {BUSYBOX} --image-pull-policy Never --restart Never \
         --overrides {grace} -- sleep infinity"
    ));
    cp.kubectl("wait --for=condition=Ready pod/sleeper --timeout=90s");
    let exec = || {
        let output = cp.command_of_admin("exec sleeper -- cat /etc/hostname").output();
        output.expect("kubectl runs").stdout
    };
    eventually_equal("reachable", &b"sleeper\n".to_vec(), exec);
    worker.run("systemctl stop kubelet");
    worker.run("systemctl restart containerd");
    assert!(worker.run("ps -eo args=").contains("sleep infinity"));
    worker.run("systemctl start kubelet");
    eventually_equal("reachable again", &b"sleeper\n".to_vec(), exec);
    let pod = cp.kubectl("get pod sleeper --no-headers");
    assert!(pod.contains("1/1") && pod.split_whitespace().nth(3) == Some("0"), "{pod}");
}

/// What an administrator does to a cluster works on hosts as it does with namespaced nodes.
fn administration(cp: &Host, worker: &Host) {
    let imported = worker.ironclad(&format!("image import {IMAGES}/web-1.tar"));
    assert!(imported.contains("e2e-worker: ironclad.local/web:1"), "{imported}");
    for host in [cp, worker] {
        let list = host.ironclad("image list");
        let row = list.lines().find(|line| line.contains("ironclad.local/web:1"));
        assert!(row.is_some_and(|row| row.trim_end().ends_with("yes")), "{list}");
    }
    cp.kubectl("create configmap before");
    let saved = cp.ironclad("snapshot save /var/tmp/snapshot");
    assert!(saved.contains("Saved revision "), "{saved}");
    cp.kubectl("delete configmap before");
    cp.kubectl("create configmap after");
    let restored = cp.ironclad("snapshot restore /var/tmp/snapshot");
    assert!(restored.contains("the store goes on from revision"), "{restored}");
    fs::remove_file(cp.folder.join("var/tmp/snapshot")).unwrap();
    cp.kubectl("get configmap before");
    assert!(!cp.kubectl("get configmap -o name").contains("configmap/after"));
    let upgraded = cp.ironclad("upgrade apply");
    assert!(upgraded.contains("[upgrade] Upgraded to v1.36."), "{upgraded}");
    let upgraded = worker.ironclad("upgrade node");
    assert!(upgraded.contains("This node was upgraded to v1.36."), "{upgraded}");
    let pod = cp.kubectl("get pod sleeper --no-headers");
    assert!(pod.contains("1/1") && pod.split_whitespace().nth(3) == Some("0"), "{pod}");
}

/// The kubelet has logind wait when the host is to stop, and for as long as its Pods may take.
fn inhibitor(worker: &Host) {
    eventually("logind is asked to wait", || {
        let locks = worker.run("systemd-inhibit --list --no-pager");
        let own = locks.lines().any(|line| line.contains("kubelet") && line.contains("delay"));
        if own { Ok(()) } else { Err(locks) }
    });
    let logind = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
    let allowed = worker.run(&format!("busctl get-property {logind} InhibitDelayMaxUSec"));
    assert_eq!(allowed.trim(), "t 30000000");
}

/// Pods end in order when a host is switched off, and it is a node again when it boots, also when its
/// plug was pulled.
fn off_and_on(hosts: &mut Hosts) {
    let [cp, worker] = hosts.hosts.as_mut_slice() else { panic!("there are two") };
    worker.run("systemctl poweroff --no-block");
    eventually("told that the Pod was ended", || {
        let said = cp.kubectl("get pod sleeper -o jsonpath={.status.reason}:{.status.message}");
        let wanted = "Terminated:Pod was terminated in response to imminent node shutdown.";
        if said == wanted { Ok(()) } else { Err(said) }
    });
    eventually("the node says why it is not ready", || {
        let path =
            "get node e2e-worker -o jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
        let said = cp.kubectl(path);
        if said.contains("node is shutting down") { Ok(()) } else { Err(said) }
    });
    eventually("off", || match worker.boot.try_wait() {
        Ok(Some(_)) => Ok(()),
        running => Err(format!("{running:?}")),
    });
    worker.pull_the_plug();
    hosts.boot_again(1);

    let [cp, worker] = hosts.hosts.as_mut_slice() else { panic!("there are two") };
    cp.wait("condition=Ready node/e2e-worker", worker);
    cp.kubectl(&format!("run again --image {BUSYBOX} --image-pull-policy Never -- sleep infinity"));
    cp.wait("condition=Ready pod/again", worker);
    worker.pull_the_plug();

    // As on a machine that is out of inotify instances, until it is not.
    let drop_in = "etc/systemd/system/containerd.service.d";
    let folder = worker.folder.join(drop_in);
    fs::create_dir(&folder).unwrap();
    let none = "[Service]\nSystemCallFilter=~inotify_init1\nSystemCallErrorNumber=EMFILE\n";
    fs::write(folder.join("none.conf"), none).unwrap();
    hosts.boot_again(1);
    let [cp, worker] = hosts.hosts.as_slice() else { panic!("there are two") };
    eventually("a runtime that cannot serve kubelets ends", || {
        let said = worker.run("journalctl --no-pager --unit=containerd");
        if said.contains("load required plugin") { Ok(()) } else { Err(said) }
    });
    worker.run(&format!("rm -r /{drop_in}"));
    worker.run("systemctl daemon-reload");
    cp.wait("jsonpath={.status.containerStatuses[0].restartCount}=1 pod/again", worker);
    cp.wait("condition=Ready pod/again", worker);
}

#[test]
fn a_second_control_plane_joins_and_leaves() {
    let hosts = Hosts::boot(1, &["e2e-one", "e2e-two"]);
    let [one, two] = hosts.hosts.as_slice() else { panic!("there are two") };
    for host in &hosts.hosts {
        host.prepare();
        // The package may have left one on a machine with services.
        fs::remove_dir_all(host.folder.join("var/lib/etcd")).ok();
    }
    let clean = [one.traces(), two.traces()];
    let address = format!("{}.254", NETWORKS[1]);
    let flags = "--store etcd --upload-certs --snapshot-every 1h";
    let said = one.ironclad(&format!("init {flags} --virtual-ip {address} --images {IMAGES}"));
    let join = said.lines().find(|line| line.contains("--control-plane --certificate-key"));
    let join = join.unwrap_or_else(|| panic!("no command to join with in {said}")).trim();
    let join = join.trim_start_matches("ironclad ").to_owned();
    assert!(join.starts_with(&format!("join {address}:6443 ")), "{join}");

    let wrong = format!("{} {}", join.rsplit_once(' ').unwrap().0, "0".repeat(64));
    let (error, _) = two.refused(&wrong);
    assert!(error.contains("does not decrypt the Secret kubeadm-certs"), "{error}");
    two.ironclad(&format!("{join} --images {IMAGES}"));
    one.kubectl("wait --for=condition=Ready node --all --timeout=90s");
    let voters = |host: &Host| {
        let output =
            host.command_of_admin("get --raw /store/members --request-timeout=10s").output();
        let output = output.unwrap();
        let all: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let all = all["members"].as_array().cloned().unwrap_or_default();
        let voters = all.iter().filter(|member| member["isLearner"] == false);
        Ok(voters.map(|member| member["name"].as_str().unwrap().to_owned()).collect())
    };
    let both: Result<BTreeSet<String>, String> =
        Ok(["e2e-one", "e2e-two"].map(str::to_owned).into());
    eventually_equal("two with a vote", &both, || voters(two));
    eventually("both behind the Service", || {
        let path = "get endpointslice kubernetes -o jsonpath={.endpoints[*].addresses[0]}";
        let text = one.kubectl(path);
        if text.split_whitespace().count() == 2 { Ok(()) } else { Err(text) }
    });

    // Each with its own files, told through the API.
    for authority in ["ca", "etcd-ca", "front-proxy-ca"] {
        let said = two.ironclad(&format!("certs rotate-ca --authority {authority} --grace 5s"));
        assert!(said.contains("The new authority has taken over"), "{said}");
    }
    for host in &hosts.hosts {
        host.ironclad("certs check");
    }
    for file in ["ca.crt", "ca.key", "etcd/ca.crt", "etcd/ca.key", "front-proxy-ca.crt"] {
        let [one, two] = [one, two].map(|host| {
            fs::read_to_string(host.folder.join("etc/kubernetes/pki").join(file)).unwrap()
        });
        assert_eq!(one, two, "{file}");
    }
    assert!(!one.folder.join("etc/kubernetes/pki/ca-next.key").exists());

    // The first one goes; the second has all, and gets the address.
    let said = one.ironclad("reset --force");
    assert!(said.contains("Removed this host's member from the etcd cluster"), "{said}");
    let second = Ok(["e2e-two".to_owned()].into());
    eventually_equal("one is left", &second, || voters(two));
    two.kubectl("delete node e2e-one");
    two.kubectl("create configmap after");
    let said = two.ironclad("reset --force");
    assert!(said.contains("snapshots of the store are left in /var/lib/ironclad"), "{said}");
    for (host, clean) in hosts.hosts.iter().zip(&clean) {
        // What was asked for stays, and nothing else.
        let kept = host.folder.join("var/lib/ironclad");
        let entries = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(entries.collect::<Vec<_>>(), ["snapshots"], "on {}", host.name);
        fs::remove_dir_all(kept).unwrap();
        let left: Vec<_> = host.traces().difference(clean).cloned().collect();
        assert_eq!(left, [""; 0], "left on {}", host.name);
    }
}
