//! A container runtime of the test's own: containerd in namespaces that end with the test, and the
//! kubelet's server in front of it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use component::pki::{Authority, Subject};
use image::ImageBuilder;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kubelet::cgroup::Cgroups;
use kubelet::cri::{Runtime, proto};
use kubelet::seam::{ContainerRef, PodAccess, PodUid, Sources};
use kubelet::server::{ServerOptions, ServingCertificate, serve};
use streams::tls::Identity;
use streams::upgrade::Target;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const BUSYBOX: &str = "/bin/busybox";
pub(crate) const IMAGE: &str = "docker.io/library/busybox:test";
const APPLETS: [&str; 6] = ["sh", "cat", "echo", "sleep", "stty", "true"];

/// containerd with everything it needs below one directory.
pub(crate) struct Containerd {
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
    process: Child,
    pub(crate) cgroup: String,
}

impl Containerd {
    /// Starts it; `None`, with the reason on standard error, where that is not possible.
    pub(crate) async fn start() -> Option<Self> {
        let missing =
            ["containerd", "ctr", "runc", "setpriv", "unshare"].into_iter().find(|program| {
                let paths = std::env::var_os("PATH").unwrap_or_default();
                !std::env::split_paths(&paths).any(|dir| dir.join(program).exists())
            });
        if !nix::unistd::geteuid().is_root() || missing.is_some() || !Path::new(BUSYBOX).exists() {
            eprintln!("needs root, containerd, runc and {BUSYBOX}; missing: {missing:?}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("config.toml"), configuration(dir.path())).unwrap();
        let log = fs::File::create(at("containerd.log")).unwrap();
        // As PID 1 of its namespace it takes its shims and their containers along when it ends.
        let script = format!(
            "mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd && exec containerd -c {}",
            at("config.toml").display()
        );
        // And it ends with the test, however the test ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "unshare"])
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                &script,
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        let process = command.spawn().unwrap();
        let runtime = Runtime::new(at("containerd.sock").to_str().unwrap()).unwrap();
        let cgroup = format!("/ironclad-test-{}", std::process::id());
        let containerd = Self { dir, runtime, process, cgroup };
        containerd.eventually("starts", async || containerd.runtime.version().await.is_ok()).await;
        containerd.import();
        // Its part for kubelets hears of images after its client is done.
        let noticed = async || matches!(containerd.runtime.image_status(IMAGE).await, Ok(Some(_)));
        containerd.eventually("notices its image", noticed).await;
        Some(containerd)
    }

    async fn eventually(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        for _ in 0..300 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = fs::read_to_string(self.dir.path().join("containerd.log")).unwrap();
        panic!("containerd never {what}:\n{log}");
    }

    fn import(&self) {
        let mut builder = ImageBuilder::new(IMAGE).file("/bin/busybox", Path::new(BUSYBOX), 0o755);
        for applet in APPLETS {
            builder = builder.symlink(&format!("/bin/{applet}"), "busybox");
        }
        for dir in ["/proc", "/sys", "/dev", "/tmp", "/etc"] {
            builder = builder.directory(dir, 0o755);
        }
        let builder = builder.env("PATH", "/bin").command(["/bin/sleep", "100000"]);
        let path = self.dir.path().join("busybox.tar");
        builder.write(&mut fs::File::create(&path).unwrap()).unwrap();
        let done = Command::new("ctr")
            .arg("--address")
            .arg(self.runtime.socket())
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs one container in a sandbox on the host's network; returns the IDs of both.
    pub(crate) async fn run(&self, command: &[&str], tty: bool) -> (String, String) {
        let logs = self.dir.path().join("logs");
        fs::create_dir_all(logs.join("c")).unwrap();
        let network = proto::NamespaceOption {
            network: proto::NamespaceMode::Node.into(),
            ..Default::default()
        };
        let sandbox_config = proto::PodSandboxConfig {
            metadata: Some(proto::PodSandboxMetadata {
                name: "p".into(),
                uid: "u".into(),
                namespace: "n".into(),
                attempt: 0,
            }),
            log_directory: logs.to_str().unwrap().into(),
            linux: Some(proto::LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/podu", self.cgroup),
                security_context: Some(proto::LinuxSandboxSecurityContext {
                    namespace_options: Some(network.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let sandbox = self.runtime.run_sandbox(sandbox_config.clone(), "").await.unwrap();
        let config = proto::ContainerConfig {
            metadata: Some(proto::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(proto::ImageSpec { image: IMAGE.into(), ..Default::default() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: "c/0.log".into(),
            stdin: true,
            tty,
            linux: Some(proto::LinuxContainerConfig {
                security_context: Some(proto::LinuxContainerSecurityContext {
                    namespace_options: Some(network),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let container =
            self.runtime.create_container(&sandbox, config, sandbox_config).await.unwrap();
        self.runtime.start_container(&container).await.unwrap();
        (sandbox, container)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("logs/c/0.log")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.process.kill().ok(); // It may have ended by itself.
        self.process.wait().ok(); // As above.
        let group = self.cgroup.trim_start_matches('/');
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove_groups(&hierarchy.path().join(group));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(group));
    }
}

fn remove_groups(path: &Path) {
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            remove_groups(&child.path());
        }
    }
    for _ in 0..50 {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                // The kernel is still reaping.
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => return,
        }
    }
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
"#
    )
}

/// One running container as the server sees it.
pub(crate) struct OnePod {
    runtime: Runtime,
    sandbox: String,
    container: Mutex<ContainerRef>,
    pod: Arc<Pod>,
}

impl OnePod {
    pub(crate) fn new(containerd: &Containerd, (sandbox, id): (String, String)) -> Arc<Self> {
        let pod = serde_json::json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": { "containers": [{ "name": "c" }] },
        });
        let container = ContainerRef {
            id,
            log_path: containerd.log_path(),
            running: true,
            started_at: None,
            finished_at: None,
            exit_code: None,
            restart_count: 0,
            image: IMAGE.into(),
        };
        Arc::new(Self {
            runtime: containerd.runtime.clone(),
            sandbox,
            container: Mutex::new(container),
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
        })
    }

    pub(crate) fn stopped(&self) {
        self.container.lock().unwrap().running = false;
    }
}

impl PodAccess for OnePod {
    fn pods(&self) -> Vec<Arc<Pod>> {
        vec![Arc::clone(&self.pod)]
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        (namespace == "n" && name == "p").then(|| Arc::clone(&self.pod))
    }

    fn sandbox_id(&self, _uid: &PodUid) -> Option<String> {
        Some(self.sandbox.clone())
    }

    fn container(&self, _uid: &PodUid, name: &str, previous: bool) -> Option<ContainerRef> {
        (name == "c" && !previous).then(|| self.container.lock().unwrap().clone())
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn sync_now(&self, _uid: &PodUid) {}

    fn healthy(&self) -> Vec<(&'static str, Result<(), String>)> {
        vec![("syncloop", Ok(()))]
    }
}

/// The kubelet's server with its authority; requests go through [`Served::target`].
pub(crate) struct Served {
    /// With a client certificate of `system:masters`.
    pub(crate) target: Target,
    /// Without credentials.
    pub(crate) stranger: Target,
    shutdown: CancellationToken,
}

impl Served {
    pub(crate) async fn start(containerd: &Containerd, access: Arc<dyn PodAccess>) -> Self {
        let authority = Authority::generate("test").unwrap();
        Self::with_authority(containerd, access, &authority).await
    }

    /// With certificates of this authority.
    pub(crate) async fn with_authority(
        containerd: &Containerd,
        access: Arc<dyn PodAccess>,
        authority: &Authority,
    ) -> Self {
        let day = Duration::from_secs(86_400);
        let issue = |subject| authority.issue(&subject, day).unwrap();
        let server = issue(Subject {
            common_name: "w1".into(),
            names: vec!["127.0.0.1".into()],
            server: true,
            ..Subject::default()
        });
        let admin = issue(Subject {
            common_name: "admin".into(),
            organizations: vec!["system:masters".into()],
            client: true,
            ..Subject::default()
        });
        let file = |name: &str, text: &str| {
            let path = containerd.dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let port = free_port();
        let options = ServerOptions {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            healthz_port: 0,
            certificate: ServingCertificate::Files {
                certificate: file("tls.crt", &server.certificate),
                key: file("tls.key", &server.key),
            },
            client_ca: Some(file("ca.crt", authority.certificate())),
            node_name: "w1".into(),
            cgroups: Cgroups::detect(Path::new("/sys/fs/cgroup")).ok(),
            ..ServerOptions::default()
        };
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(options, access, None, shutdown.clone()));
        let ca = authority.certificate().as_bytes();
        let identity =
            Identity { certificate: admin.certificate.as_bytes(), key: admin.key.as_bytes() };
        let target = |identity| Target {
            host: "127.0.0.1".into(),
            port,
            tls: Some(streams::tls::client_config(Some(ca), identity).unwrap()),
            server_name: None,
        };
        let served = Self { target: target(Some(identity)), stranger: target(None), shutdown };
        for _ in 0..100 {
            if served.target.dial().await.is_ok() {
                return served;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the kubelet's server does not listen");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Nodes and Services that nobody knows anything of.
pub(crate) struct NoSources;

impl Sources for NoSources {
    fn node(&self) -> Option<Arc<Node>> {
        None
    }

    fn services(&self, _namespace: &str) -> Vec<Arc<Service>> {
        Vec::new()
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
