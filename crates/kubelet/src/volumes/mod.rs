//! Volumes of Pods: made before the containers start, kept current while they run, removed after.
//!
//! Everything lies below `<root>/pods/<uid>`: volumes in `volumes/kubernetes.io~<kind>/<name>`, bind
//! mounts for `subPath` in `volume-subpaths`. What is on disk and in the mount table is the only
//! state, so that a restarted kubelet goes on where it stopped.

mod atomic;
mod content;
mod empty_dir;
mod host_path;
mod image;
mod mount_table;
mod ownership;
mod sub_path;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;

use crate::cri::{Runtime, RuntimeError, proto};
use crate::downward::DownwardError;
use crate::env;
use crate::objects::{Changed, ObjectError, Objects, references};
use crate::seam::{PodIps, PodUid, Sources, pod_uid};
use crate::token::{TokenError, Tokens};

pub use image::{ImageMount, ImageMounts};

/// Why a volume cannot be used. The text is what follows `MountVolume.SetUp failed for volume "x" : `
/// in the event.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct VolumeError {
    /// Name of the volume.
    pub volume: String,
    /// What is wrong.
    #[source]
    pub kind: VolumeErrorKind,
}

/// Kinds of [`VolumeError`].
#[derive(Debug, thiserror::Error)]
pub enum VolumeErrorKind {
    /// A ConfigMap that is not optional does not exist.
    #[error("configmap {0:?} not found")]
    ConfigMapNotFound(String),
    /// A Secret that is not optional does not exist.
    #[error("secret {0:?} not found")]
    SecretNotFound(String),
    /// A key that is asked for is not in the ConfigMap.
    #[error("configmap references non-existent config key: {0}")]
    ConfigMapKey(String),
    /// A key that is asked for is not in the Secret.
    #[error("references non-existent secret key: {0}")]
    SecretKey(String),
    /// The path of a file leaves the volume.
    #[error("invalid path {0:?} in volume")]
    Path(String),
    /// hostPath is not what it is said to be.
    #[error("hostPath type check failed: {path} {problem}")]
    HostPath {
        /// The path on the host.
        path: String,
        /// `is not a directory` and the like.
        problem: String,
    },
    /// A `subPath` that cannot be used.
    #[error(
        "failed to prepare subPath for volumeMount {mount:?} of container {container:?}: {problem}"
    )]
    SubPath {
        /// Name of the mount.
        mount: String,
        /// Name of the container.
        container: String,
        /// What is wrong.
        problem: String,
    },
    /// A `subPathExpr` names variables that have no value.
    #[error("missing value for {}", .0.iter().cloned().collect::<Vec<_>>().join(", "))]
    SubPathExpr(BTreeSet<String>),
    /// A container mounts what the Pod does not have.
    #[error("cannot find volume {volume:?} to mount into container {container:?}")]
    NoVolume {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// A setting that is not supported.
    #[error("{0}")]
    Unsupported(String),
    /// A kind of volume that this kubelet cannot provide.
    #[error("no volume plugin matched")]
    NoPlugin,
    /// Several sources of a projected volume failed.
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<VolumeErrorKind>),
    /// An object could not be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The runtime does not give the image.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A field of the Pod is not available.
    #[error(transparent)]
    Downward(#[from] DownwardError),
    /// A file system operation failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the volume manager works with.
pub struct VolumeOptions {
    /// The kubelet's directory, usually `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// This node.
    pub node_name: String,
    /// API access, for kinds of volumes that need it.
    pub client: Option<kube::Client>,
    /// ConfigMaps and Secrets.
    pub objects: Objects,
    /// Service account tokens.
    pub tokens: Tokens,
    /// The Node object.
    pub sources: Arc<dyn Sources>,
    /// Images.
    pub runtime: Runtime,
}

/// Makes and removes the volumes of Pods.
#[derive(Clone)]
pub struct VolumeManager {
    inner: Arc<Inner>,
}

struct Inner {
    options: VolumeOptions,
    pods: Mutex<HashMap<PodUid, Arc<tokio::sync::Mutex<Mounted>>>>,
}

/// What is needed to refresh a Pod's volumes; the lock around it keeps two set-ups of one Pod apart.
#[derive(Default)]
struct Mounted {
    pod: Option<(Arc<Pod>, PodIps)>,
    removed: bool,
}

/// A volume that is ready.
#[derive(Clone, Debug)]
struct Ready {
    path: PathBuf,
    read_only: bool,
}

/// The volumes of a Pod, ready to be mounted into containers.
#[derive(Clone, Debug)]
pub struct PodVolumes {
    pod_dir: PathBuf,
    ready: HashMap<String, Ready>,
}

// === impl VolumeManager ===

impl VolumeManager {
    /// A manager; inside a tokio runtime it refreshes volumes when their objects change.
    pub fn new(options: VolumeOptions) -> Self {
        let mut changes = options.objects.changes();
        let manager = Self { inner: Arc::new(Inner { options, pods: Mutex::default() }) };
        let weak = Arc::downgrade(&manager.inner);
        tokio::spawn(async move {
            loop {
                let changed = match changes.recv().await {
                    Ok(changed) => Some(changed),
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return,
                };
                let Some(inner) = weak.upgrade() else { return };
                Self { inner }.refresh(changed).await;
            }
        });
        manager
    }

    /// Makes the volumes that the containers of `pod` mount, or brings their content up to date.
    pub async fn mount(&self, pod: &Arc<Pod>, ips: &PodIps) -> Result<PodVolumes, VolumeError> {
        let uid = pod_uid(pod);
        loop {
            let state = self.with(|pods| Arc::clone(pods.entry(uid.clone()).or_default()));
            let mut mounted = state.lock().await;
            if mounted.removed {
                // Removed while this waited; a new state has taken its place.
                continue;
            }
            mounted.pod = Some((Arc::clone(pod), ips.clone()));
            return self.set_up(pod, ips).await;
        }
    }

    /// Makes the image `id`, under which the Pod's `volume` was found, available for containers.
    pub async fn mount_image(
        &self,
        pod: &Pod,
        volume: &Volume,
        id: &str,
    ) -> Result<ImageMount, VolumeError> {
        let named = volume.image.as_ref().and_then(|source| source.reference.as_deref());
        let dir = place(&self.pod_dir(&pod_uid(pod)), image::KIND, volume);
        image::prepare(&self.inner.options.runtime, &dir, id, named.unwrap_or_default())
            .await
            .map_err(|kind| VolumeError { volume: volume.name.clone(), kind })
    }

    /// Removes everything that [`mount`](Self::mount) and [`mount_image`](Self::mount_image) made.
    /// There may be nothing.
    pub async fn unmount(&self, uid: &PodUid) -> Result<(), VolumeError> {
        let state = self.with(|pods| pods.remove(uid)).unwrap_or_default();
        let mut mounted = state.lock().await;
        mounted.removed = true;
        mounted.pod = None;
        self.inner.options.tokens.forget(uid);
        self.tear_down(&self.pod_dir(uid))
            .await
            .map_err(|kind| VolumeError { volume: String::new(), kind })
    }

    /// Unmounts what is mounted below a Pod's directory and removes its volumes. The directory itself
    /// goes when nothing else is in it.
    async fn tear_down(&self, pod_dir: &Path) -> Result<(), VolumeErrorKind> {
        mount_table::unmount_below(pod_dir)?;
        image::forget(&self.inner.options.runtime, pod_dir).await?;
        for name in ["volume-subpaths", "volumes"] {
            let path = pod_dir.join(name);
            match fs::remove_dir_all(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(io_error("remove", &path)(source)),
            }
        }
        fs::remove_dir(pod_dir).ok(); // Not empty: the rest belongs to others.
        Ok(())
    }

    /// Whether the Pod has volumes on this node.
    pub fn mounted(&self, uid: &PodUid) -> bool {
        let dir = self.pod_dir(uid);
        let filled = |name| fs::read_dir(dir.join(name)).is_ok_and(|mut all| all.next().is_some());
        filled("volumes") || filled("volume-subpaths")
    }

    /// Pods that have a directory on this node, with volumes or without.
    pub fn mounted_uids(&self) -> Vec<PodUid> {
        let entries = fs::read_dir(self.inner.options.root_dir.join("pods"));
        let names = entries.into_iter().flatten().flatten();
        names.map(|entry| PodUid(entry.file_name().to_string_lossy().into_owned())).collect()
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut HashMap<PodUid, Arc<tokio::sync::Mutex<Mounted>>>) -> T,
    ) -> T {
        act(&mut self.inner.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pod_dir(&self, uid: &PodUid) -> PathBuf {
        self.inner.options.root_dir.join("pods").join(&uid.0)
    }

    /// Writes a changed object into the volumes of the Pods that refer to it; without one, looks
    /// at all Pods.
    async fn refresh(&self, changed: Option<Changed>) {
        let states: Vec<_> = self.with(|pods| pods.values().cloned().collect());
        for state in states {
            let mounted = state.lock().await;
            let Some((pod, ips)) = &mounted.pod else { continue };
            let concerned = changed.as_ref().is_none_or(|changed| {
                pod.metadata.namespace.as_ref() == Some(&changed.namespace)
                    && references(pod).contains(&changed.reference)
            });
            if concerned && let Err(error) = self.set_up(pod, ips).await {
                let pod = pod.metadata.name.as_deref().unwrap_or_default();
                tracing::info!(pod, volume = error.volume, %error, "volume not refreshed");
            }
        }
    }

    async fn set_up(&self, pod: &Arc<Pod>, ips: &PodIps) -> Result<PodVolumes, VolumeError> {
        let pod_dir = self.pod_dir(&pod_uid(pod));
        let mut ready = HashMap::new();
        let used = used_volumes(pod);
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref());
        for volume in volumes.unwrap_or_default() {
            // Images come with the containers that mount them.
            if volume.image.is_some() || !used.contains(volume.name.as_str()) {
                continue;
            }
            let one = self.set_up_one(pod, &pod_dir, volume, ips).await;
            let one = one.map_err(|kind| VolumeError { volume: volume.name.clone(), kind })?;
            ready.insert(volume.name.clone(), one);
        }
        Ok(PodVolumes { pod_dir, ready })
    }

    async fn set_up_one(
        &self,
        pod: &Pod,
        pod_dir: &Path,
        volume: &Volume,
        ips: &PodIps,
    ) -> Result<Ready, VolumeErrorKind> {
        let options = &self.inner.options;
        let place = |kind: &str| place(pod_dir, kind, volume);
        let fs_group = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.security_context.as_ref())
            .and_then(|context| context.fs_group);
        if let Some(source) = &volume.host_path {
            let path = host_path::prepare(source)?;
            return Ok(Ready { path, read_only: false });
        }
        if let Some(source) = &volume.empty_dir {
            let path = place("empty-dir");
            empty_dir::prepare(&path, source, pod)?;
            if let Some(group) = fs_group {
                ownership::ensure_group(&path, group, false)?;
            }
            return Ok(Ready { path, read_only: false });
        }
        let gather = content::Gather {
            pod,
            ips,
            objects: &options.objects,
            tokens: &options.tokens,
            node: options.sources.node(),
            now: Timestamp::now(),
        };
        let (path, files, in_memory) = if let Some(source) = &volume.config_map {
            (place("configmap"), gather.config_map_volume(source).await?, false)
        } else if let Some(source) = &volume.secret {
            (place("secret"), gather.secret_volume(source).await?, true)
        } else if let Some(source) = &volume.downward_api {
            (place("downward-api"), gather.downward_volume(source)?, true)
        } else if let Some(source) = &volume.projected {
            (place("projected"), gather.projected_volume(source).await?, true)
        } else {
            return Err(VolumeErrorKind::NoPlugin);
        };
        create_dir_all(&path)?;
        if in_memory && !mount_table::is_mount_point(&path)? {
            mount_table::mount_tmpfs(&path, None)?;
        }
        if !in_memory {
            ownership::set_mode(&path, 0o777)?;
        }
        let group = |dir: &Path| match fs_group {
            Some(group) => ownership::apply(dir, group, true),
            None => Ok(()),
        };
        atomic::write(&path, &files, Timestamp::now(), group)?;
        if let Some(group) = fs_group {
            ownership::ensure_group(&path, group, true)?;
        }
        Ok(Ready { path, read_only: true })
    }
}

/// Volumes that some container mounts; others are not set up, as upstream.
fn used_volumes(pod: &Pod) -> HashSet<&str> {
    let Some(spec) = &pod.spec else { return HashSet::new() };
    let mounts = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .flat_map(|container| container.volume_mounts.iter().flatten());
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.chain(ephemeral).map(|mount| mount.name.as_str()).collect()
}

/// The directory of a volume of this kind.
fn place(pod_dir: &Path, kind: &str, volume: &Volume) -> PathBuf {
    pod_dir.join(format!("volumes/kubernetes.io~{kind}/{}", volume.name))
}

fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> VolumeErrorKind + 'a {
    move |source| VolumeErrorKind::Io { action, path: path.to_owned(), source }
}

fn create_dir_all(path: &Path) -> Result<(), VolumeErrorKind> {
    fs::create_dir_all(path).map_err(io_error("create directory", path))
}

// === impl PodVolumes ===

impl PodVolumes {
    /// The mounts of one container, with its environment for `subPathExpr` and the images of its
    /// volumes.
    pub fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        variables: &[(String, String)],
        images: &ImageMounts,
    ) -> Result<Vec<proto::Mount>, VolumeError> {
        let mut mounts = Vec::new();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let fail = |kind| VolumeError { volume: mount.name.clone(), kind };
            let sub_path = match mount.sub_path_expr.as_deref() {
                Some(expression) if !expression.is_empty() => {
                    let expanded = env::expand_all(expression, variables);
                    expanded.map_err(|missing| fail(VolumeErrorKind::SubPathExpr(missing)))?
                }
                _ => mount.sub_path.clone().unwrap_or_default(),
            };
            let of_image = match images.get(&mount.name) {
                Some(ImageMount::At(path)) => Some(Ready { path: path.clone(), read_only: true }),
                Some(ImageMount::ByRuntime(image)) => {
                    mounts.push(proto::Mount {
                        container_path: absolute(&mount.mount_path),
                        readonly: true,
                        selinux_relabel: true,
                        image: Some(image.clone()),
                        image_sub_path: sub_path,
                        ..proto::Mount::default()
                    });
                    continue;
                }
                None => None,
            };
            let ready = of_image.as_ref().or_else(|| self.ready.get(&mount.name));
            let ready = ready.ok_or_else(|| {
                let (volume, container) = (mount.name.clone(), container.name.clone());
                fail(VolumeErrorKind::NoVolume { volume, container })
            })?;
            let host_path = if sub_path.is_empty() {
                ready.path.clone()
            } else {
                let place = self
                    .pod_dir
                    .join("volume-subpaths")
                    .join(&mount.name)
                    .join(&container.name)
                    .join(index.to_string());
                sub_path::bind(&ready.path, &sub_path, &place).map_err(|problem| {
                    fail(VolumeErrorKind::SubPath {
                        mount: mount.name.clone(),
                        container: container.name.clone(),
                        problem: problem.to_string(),
                    })
                })?;
                place
            };
            if mount.recursive_read_only.as_deref() == Some("Enabled") {
                let problem = "recursive read-only mounts are not supported by the runtime";
                return Err(fail(VolumeErrorKind::Unsupported(problem.to_owned())));
            }
            let propagation = match mount.mount_propagation.as_deref() {
                Some("Bidirectional") => proto::MountPropagation::PropagationBidirectional,
                Some("HostToContainer") => proto::MountPropagation::PropagationHostToContainer,
                _ => proto::MountPropagation::PropagationPrivate,
            };
            mounts.push(proto::Mount {
                container_path: absolute(&mount.mount_path),
                host_path: host_path.to_string_lossy().into_owned(),
                readonly: ready.read_only || mount.read_only.unwrap_or(false),
                selinux_relabel: pod.spec.as_ref().is_some_and(|spec| {
                    spec.volumes
                        .iter()
                        .flatten()
                        .any(|volume| volume.name == mount.name && volume.host_path.is_none())
                }),
                propagation: propagation.into(),
                ..proto::Mount::default()
            });
        }
        Ok(mounts)
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests;
