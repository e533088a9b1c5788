//! `ironclad upgrade`: the release that this program is takes the place of the one that runs.
//!
//! Data flow: [`look`] reads the versions that run → [`skew`] says what may not be together (pure) →
//! [`apply`] goes over the control planes (images, static Pods, kubelet), then kube-proxy and DNS, then
//! the other nodes, one after the other. [`machine`] is what differs between nodes in namespaces and
//! real hosts.
//!
//! Invariants: an API server is never older than a kubelet; the next node comes when the one before
//! is as it should be; containers of users are left alone, for kubelets adopt what runs; every step is
//! skipped where it is done already, so that an interrupted upgrade goes on when it is repeated.

pub mod machine;
pub mod skew;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, PodSpec};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};

use crate::config::ClusterConfiguration;
use crate::image::{self, ImageError, REPOSITORY};
use crate::status::{is_ready, pod_is_ready};
use machine::{Machine, MachineError};
use machinery::codec::yaml;
use skew::{Kubelet, NoVersion, Version};

/// Between looks at what others have to do.
const POLL: Duration = Duration::from_millis(250);
/// The static Pods that an upgrade is about, the API server first.
const API_SERVER: &str = "kube-apiserver";
const OTHERS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kube-certificates"];

/// Why an upgrade stopped.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// These versions may not be together.
    #[error("{}", .0.join("\n"))]
    Skew(Vec<String>),
    /// Somebody has a version that is none.
    #[error(transparent)]
    Version(#[from] NoVersion),
    /// The API server refused.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A node's files or services.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The images could not be written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A manifest could not be changed.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something did not come up.
    #[error("{what} was not there after {} seconds; repeated, the command goes on from here", patience.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        patience: Duration,
    },
}

/// The versions that run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// That of the API server that answered.
    pub api_server: Version,
    /// Those of all kubelets.
    pub kubelets: Vec<Kubelet>,
}

/// An upgrade under way.
pub struct Upgrade<'a> {
    /// The cluster's administrator.
    pub client: Client,
    /// How long each thing may take to come up.
    pub patience: Duration,
    /// Where progress is told.
    pub say: &'a mut dyn FnMut(String),
}

/// The version that this program is.
///
/// # Errors
/// [`NoVersion`] when it was built with something else.
pub fn target() -> Result<Version, NoVersion> {
    component::version::release().parse()
}

/// Reads the versions that run.
///
/// # Errors
/// When the API server does not tell.
pub async fn look(client: &Client) -> Result<Running, UpgradeError> {
    let server = client.apiserver_version().await.map_err(failed("reading the version"))?;
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await.map_err(failed("reading the nodes"))?;
    let kubelets = nodes.items.iter().map(|node| {
        let version = kubelet_version(node).parse()?;
        Ok(Kubelet { node: node.name_any(), version })
    });
    let kubelets = kubelets.collect::<Result<_, NoVersion>>()?;
    Ok(Running { api_server: server.git_version.parse()?, kubelets })
}

fn kubelet_version(node: &Node) -> &str {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.map_or("", |info| &info.kubelet_version)
}

fn failed(what: &str) -> impl FnOnce(kube::Error) -> UpgradeError + use<> {
    let what = what.to_owned();
    |source| UpgradeError::Api { what, source: Box::new(source) }
}

// === impl Upgrade ===

impl Upgrade<'_> {
    /// Upgrades these machines, the control planes among them first, and what the cluster runs of its
    /// own.
    ///
    /// # Errors
    /// [`UpgradeError`] with the step that failed.
    pub async fn apply(&mut self, machines: &[Machine]) -> Result<(), UpgradeError> {
        let running = look(&self.client).await?;
        let problems = skew::problems(target()?, running.api_server, &running.kubelets);
        if !problems.is_empty() {
            return Err(UpgradeError::Skew(problems));
        }
        for folder in machine::images(machines) {
            image::write(&folder, None)?;
        }
        let (control_planes, workers): (Vec<_>, Vec<_>) =
            machines.iter().partition(|machine| machine.control_plane);
        for machine in control_planes {
            self.control_plane(machine).await?;
            self.kubelet(machine).await?;
        }
        self.addons().await?;
        for machine in workers {
            self.kubelet(machine).await?;
        }
        Ok(())
    }

    /// Upgrades the kubelet of this one machine, whose control plane has been upgraded.
    ///
    /// # Errors
    /// [`UpgradeError`] with the step that failed.
    pub async fn node(&mut self, machine: &Machine) -> Result<(), UpgradeError> {
        let server = self.client.apiserver_version().await;
        let server = server.map_err(failed("reading the version"))?.git_version.parse()?;
        if let Some(problem) = skew::kubelet_problem(target()?, server) {
            return Err(UpgradeError::Skew(vec![problem]));
        }
        for folder in machine::images(std::slice::from_ref(machine)) {
            image::write(&folder, None)?;
        }
        self.kubelet(machine).await
    }

    /// Gives the static Pods of a control plane the image of this release.
    async fn control_plane(&mut self, machine: &Machine) -> Result<(), UpgradeError> {
        let name = &machine.node;
        (self.say)(format!("{name}: waiting for the image {}", image::own()));
        let nodes: Api<Node> = Api::all(self.client.clone());
        self.until(&format!("the image on {name}"), async || {
            let node = nodes.get(name).await?;
            let images = node.status.unwrap_or_default().images.unwrap_or_default();
            let own = image::own();
            Ok(images.iter().any(|image| image.names.iter().flatten().any(|name| *name == own)))
        })
        .await?;
        (self.say)(format!("{name}: upgrading {API_SERVER}"));
        self.static_pods(machine, &[API_SERVER]).await?;
        (self.say)(format!("{name}: upgrading {}", OTHERS.join(", ")));
        self.static_pods(machine, &OTHERS).await
    }

    async fn static_pods(&mut self, machine: &Machine, names: &[&str]) -> Result<(), UpgradeError> {
        for name in names {
            let path = machine.root.join("etc/kubernetes/manifests").join(format!("{name}.yaml"));
            let failed = |source| UpgradeError::Manifest { path: path.clone(), source };
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                // A control plane of before there was such a Pod.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            if let Some(text) = with_image(&text, &image::own()) {
                let partial = path.with_file_name(format!(".{name}.partial"));
                std::fs::write(&partial, text)
                    .and_then(|()| std::fs::rename(&partial, &path))
                    .map_err(failed)?;
            }
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), "kube-system");
            let pod = format!("{name}-{}", machine.node);
            self.until(&format!("a ready Pod {pod} of this release"), async || {
                let found = pods.get(&pod).await?;
                let own = image::own();
                let spec = found.spec.as_ref();
                let upgraded = spec.is_some_and(|spec| {
                    spec.containers.iter().any(|c| c.image.as_deref() == Some(&own))
                });
                Ok(upgraded && pod_is_ready(&found))
            })
            .await?;
        }
        Ok(())
    }

    /// Replaces the program of a machine and restarts its kubelet.
    async fn kubelet(&mut self, machine: &Machine) -> Result<(), UpgradeError> {
        let name = &machine.node;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let upgraded = async || {
            let node = nodes.get(name).await?;
            let same = kubelet_version(&node) == component::version::release();
            Ok(same && is_ready(&node))
        };
        machine.install()?;
        if !upgraded().await.unwrap_or(false) {
            (self.say)(format!("{name}: restarting the kubelet"));
            machine.restart_kubelet()?;
        }
        self.until(&format!("a ready node {name} with a kubelet of this release"), upgraded).await
    }

    /// Gives kube-proxy and DNS the image of this release.
    async fn addons(&mut self) -> Result<(), UpgradeError> {
        (self.say)("upgrading kube-proxy and kube-dns".to_owned());
        let system = "kube-system";
        let daemons: Api<DaemonSet> = Api::namespaced(self.client.clone(), system);
        self.until("kube-proxy of this release on all nodes", async || {
            let mut set = daemons.get("kube-proxy").await?;
            let generation = set.metadata.generation;
            if let Some(spec) = &mut set.spec
                && let Some(pod) = &mut spec.template.spec
                && set_image(pod)
            {
                daemons.replace("kube-proxy", &PostParams::default(), &set).await?;
                return Ok(false);
            }
            let status = set.status.unwrap_or_default();
            let wanted = status.desired_number_scheduled;
            Ok(status.observed_generation == generation
                && status.updated_number_scheduled == Some(wanted)
                && status.number_ready == wanted)
        })
        .await?;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), system);
        self.until("kube-dns of this release", async || {
            let mut deployment = deployments.get("kube-dns").await?;
            let generation = deployment.metadata.generation;
            let spec = deployment.spec.as_mut();
            let replicas = spec.as_ref().and_then(|spec| spec.replicas);
            if spec.and_then(|spec| spec.template.spec.as_mut()).is_some_and(set_image) {
                deployments.replace("kube-dns", &PostParams::default(), &deployment).await?;
                return Ok(false);
            }
            let status = deployment.status.unwrap_or_default();
            Ok(status.observed_generation == generation
                && status.updated_replicas == replicas
                && status.replicas == replicas
                && status.available_replicas == replicas)
        })
        .await?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), system);
        self.until("kubeadm-config with this release", async || {
            let mut map = maps.get("kubeadm-config").await?;
            let data = map.data.get_or_insert_default();
            let text = data.entry("ClusterConfiguration".to_owned()).or_default();
            let Ok(mut config) = ClusterConfiguration::parse(text) else { return Ok(true) };
            if config.kubernetes_version == component::version::release() {
                return Ok(true);
            }
            config.kubernetes_version = component::version::release().to_owned();
            *text = config.to_yaml();
            maps.replace("kubeadm-config", &PostParams::default(), &map).await?;
            Ok(true)
        })
        .await
    }

    /// Asks until the answer is yes. An API server that is being replaced does not answer.
    async fn until(
        &self,
        what: &str,
        mut question: impl AsyncFnMut() -> Result<bool, kube::Error>,
    ) -> Result<(), UpgradeError> {
        let waiting = async {
            loop {
                match question().await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) => tracing::debug!(%error, what, "not yet"),
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let timed_out =
            |_| UpgradeError::TimedOut { what: what.to_owned(), patience: self.patience };
        tokio::time::timeout(self.patience, waiting).await.map_err(timed_out)
    }
}

/// Whether an image is one of this program's, of any release.
fn is_ours(image: &str) -> bool {
    image.strip_prefix(REPOSITORY).is_some_and(|rest| rest.starts_with(':'))
}

/// Gives containers of this program the image of this release; whether that changed any.
fn set_image(pod: &mut PodSpec) -> bool {
    let own = image::own();
    let mut changed = false;
    for image in pod.containers.iter_mut().filter_map(|container| container.image.as_mut()) {
        if is_ours(image) && *image != own {
            image.clone_from(&own);
            changed = true;
        }
    }
    changed
}

/// The manifest with another image of this program, and all that an administrator changed; nothing if
/// it has that already.
fn with_image(manifest: &str, own: &str) -> Option<String> {
    let mut pod: serde_json::Value = yaml::from_str(manifest).ok()?;
    let containers = pod.get_mut("spec")?.get_mut("containers")?.as_array_mut()?;
    let mut changed = false;
    for image in containers.iter_mut().filter_map(|container| container.get_mut("image")) {
        if image.as_str().is_some_and(|image| is_ours(image) && image != own) {
            *image = own.into();
            changed = true;
        }
    }
    if changed { yaml::to_string(&pod).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_images_change_and_only_once() {
        let manifest = "spec:\n  containers:\n  - image: ironclad.local/ironclad:v1.36.0\n    \
                        command: [/ironclad, x, --quota=1]\n  - image: ironclad.local/ironclad-x:1\n";
        let new = with_image(manifest, "ironclad.local/ironclad:v1.36.1").unwrap();
        assert!(new.contains("ironclad:v1.36.1") && new.contains("--quota=1"), "{new}");
        assert!(new.contains("ironclad-x:1"), "{new}");
        assert_eq!(with_image(&new, "ironclad.local/ironclad:v1.36.1"), None);
        assert_eq!(with_image("rubbish", "x"), None);
    }

    #[test]
    fn this_program_is_a_release() {
        assert_eq!(target().unwrap().to_string(), component::version::release());
    }
}
