//! Whole Pods without an API server: static Pods on a real container runtime.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kubelet::cri::proto::{self, ContainerState};
use kubelet::{Config, KubeletConfiguration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{Containerd, IMAGE, free_port};

/// A kubelet of the test's own.
pub(crate) struct Kubelet {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), kubelet::Error>>,
}

impl Kubelet {
    pub(crate) fn start(containerd: &Containerd, dir: &Path, kubeconfig: Option<PathBuf>) -> Self {
        let shared = KubeletConfiguration {
            static_pod_path: Some(dir.join("manifests")),
            cgroup_root: containerd.cgroup.clone(),
            container_runtime_endpoint: format!("unix://{}", containerd.runtime.socket().display()),
            port: free_port(),
            healthz_port: free_port(),
            ..Default::default()
        };
        let config = Config {
            node_name: Some("n1".into()),
            kubeconfig,
            root_dir: dir.join("kubelet"),
            pod_log_dir: dir.join("log/pods"),
            ..Config::new(shared)
        };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(kubelet::run(config, shutdown.clone()));
        Self { shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// The containers as they are once `enough` says so.
async fn containers(
    containerd: &Containerd,
    what: &str,
    enough: impl Fn(&[proto::Container]) -> bool,
) -> Vec<proto::Container> {
    for _ in 0..600 {
        let all = containerd.runtime.list_containers(Default::default()).await.unwrap();
        if enough(&all) {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no {what}");
}

fn named<'a>(all: &'a [proto::Container], name: &str) -> Vec<&'a proto::Container> {
    all.iter().filter(|c| c.metadata.as_ref().is_some_and(|m| m.name == name)).collect()
}

fn runs(all: &[proto::Container], name: &str) -> bool {
    named(all, name).iter().any(|c| c.state() == ContainerState::ContainerRunning)
}

fn manifest(dir: &Path, name: &str, containers: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  \
         terminationGracePeriodSeconds: 2\n{containers}"
    );
    std::fs::write(dir.join("manifests").join(format!("{name}.yaml")), text).unwrap();
}

fn container(name: &str, command: &str) -> String {
    format!("  - {{name: {name}, image: '{IMAGE}', command: [sh, -c, '{command}']}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn static_pods_run_outlive_the_kubelet_and_go_with_their_file() {
    let Some(containerd) = Containerd::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("manifests")).unwrap();
    let init = format!("  initContainers:\n{}", container("setup", "echo ready"));
    let main = format!(
        "  containers:\n{}",
        container("main", "trap exit TERM; while true; do sleep 0.1; done")
    );
    manifest(dir.path(), "web", &(init + &main));

    let kubelet = Kubelet::start(&containerd, dir.path(), None);
    let all = containers(&containerd, "running pod", |all| runs(all, "main")).await;
    assert_eq!(named(&all, "setup")[0].state(), ContainerState::ContainerExited);
    let before = named(&all, "main")[0].id.clone();
    kubelet.stop().await;

    // The next kubelet takes the container over, and restarts what crashes.
    let kubelet = Kubelet::start(&containerd, dir.path(), None);
    manifest(dir.path(), "crash", &format!("  containers:\n{}", container("crash", "exit 3")));
    let again = |all: &[proto::Container]| {
        named(all, "crash").iter().any(|c| c.metadata.as_ref().is_some_and(|m| m.attempt == 1))
    };
    let all = containers(&containerd, "restart of the crashing container", again).await;
    let kept = named(&all, "main");
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].id.as_str(), kept[0].state()),
        (before.as_str(), ContainerState::ContainerRunning)
    );

    for name in ["web", "crash"] {
        std::fs::remove_file(dir.path().join("manifests").join(format!("{name}.yaml"))).unwrap();
    }
    containers(&containerd, "end of all containers", |all| all.is_empty()).await;
    let sandboxes = async || containerd.runtime.list_sandboxes(Default::default()).await.unwrap();
    for _ in 0..100 {
        if sandboxes().await.is_empty() && entries(&dir.path().join("log/pods")) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(sandboxes().await.is_empty());
    assert_eq!(entries(&dir.path().join("kubelet/pods")), 0);
    assert_eq!(entries(&dir.path().join("log/pods")), 0);
    kubelet.stop().await;
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}
