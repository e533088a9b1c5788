//! ConfigMaps and Secrets that Pods of this node refer to, each kept current by a watch of its own
//! for as long as a registered Pod needs it (upstream's watch-based manager).
//!
//! A watch per object, because a kubelet may only read the objects that its Pods name.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::Informer;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::seam::{PodUid, pod_uid};

/// How long a reader waits for the first answer of a watch before it asks directly.
const SYNC_TIMEOUT: Duration = Duration::from_secs(2);
/// Change notices that a slow listener may be behind.
const NOTICES: usize = 256;

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The API server said no or could not be reached.
    #[error(transparent)]
    Api(#[from] Box<kube::Error>),
    /// There is no API server.
    #[error("no API server is configured")]
    Standalone,
}

/// An object that a Pod refers to, within the Pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A ConfigMap by name.
    ConfigMap(String),
    /// A Secret by name.
    Secret(String),
}

/// Notice that an object which some registered Pod refers to has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Namespace of the object.
    pub namespace: String,
    /// The object.
    pub reference: Reference,
}

/// Reads and follows the objects of registered Pods.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
}

struct Inner {
    client: Option<kube::Client>,
    registry: Mutex<Registry>,
    changes: broadcast::Sender<Changed>,
}

#[derive(Default)]
struct Registry {
    pods: HashMap<PodUid, (String, BTreeSet<Reference>)>,
    config_maps: HashMap<(String, String), Watched<ConfigMap>>,
    secrets: HashMap<(String, String), Watched<Secret>>,
}

/// A watch and the Pods that need it.
struct Watched<K: Resource + 'static> {
    users: BTreeSet<PodUid>,
    informer: Informer<K>,
    _stop: DropGuard,
}

// === impl Objects ===

impl Objects {
    /// A manager without registered Pods; without `client` every object is out of reach.
    pub fn new(client: Option<kube::Client>) -> Self {
        let (changes, _) = broadcast::channel(NOTICES);
        Self { inner: Arc::new(Inner { client, registry: Mutex::default(), changes }) }
    }

    /// Follows what `pod` refers to; call it again when the Pod has changed.
    pub fn register(&self, pod: &Pod) {
        let Some(client) = &self.inner.client else { return };
        let uid = pod_uid(pod);
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let wanted = references(pod);
        self.with(|registry| {
            for reference in &wanted {
                match reference {
                    Reference::ConfigMap(name) => {
                        let key = (namespace.clone(), name.clone());
                        self.follow(&mut registry.config_maps, client, key, &uid);
                    }
                    Reference::Secret(name) => {
                        let key = (namespace.clone(), name.clone());
                        self.follow(&mut registry.secrets, client, key, &uid);
                    }
                }
            }
            let old = registry.pods.insert(uid.clone(), (namespace, wanted.clone()));
            if let Some((namespace, old)) = old {
                registry.release(&uid, &namespace, old.difference(&wanted));
            }
        });
    }

    /// Ends following what only `pod` needed.
    pub fn unregister(&self, pod: &Pod) {
        let uid = pod_uid(pod);
        self.with(|registry| {
            if let Some((namespace, old)) = registry.pods.remove(&uid) {
                registry.release(&uid, &namespace, old.iter());
            }
        });
    }

    /// A ConfigMap; `None` when there is none of that name.
    pub async fn configmap(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<ConfigMap>>, ObjectError> {
        let key = (namespace.to_owned(), name.to_owned());
        let informer =
            self.with(|registry| registry.config_maps.get(&key).map(|w| w.informer.clone()));
        self.read(informer, namespace, name).await
    }

    /// A Secret; `None` when there is none of that name.
    pub async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Secret>>, ObjectError> {
        let key = (namespace.to_owned(), name.to_owned());
        let informer = self.with(|registry| registry.secrets.get(&key).map(|w| w.informer.clone()));
        self.read(informer, namespace, name).await
    }

    /// Notices of changes to objects that registered Pods refer to.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.inner.changes.subscribe()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> T {
        act(&mut self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn follow<K>(
        &self,
        watched: &mut HashMap<(String, String), Watched<K>>,
        client: &kube::Client,
        key: (String, String),
        uid: &PodUid,
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        if let Some(entry) = watched.get_mut(&key) {
            entry.users.insert(uid.clone());
            return;
        }
        let stop = CancellationToken::new();
        let api = Api::<K>::namespaced(client.clone(), &key.0);
        let informer =
            Informer::builder(api).fields(&format!("metadata.name={}", key.1)).start(&stop);
        let changes = self.inner.changes.clone();
        let changed = Changed { namespace: key.0.clone(), reference: reference_to::<K>(&key.1) };
        // Called under the informer's lock, and here under the registry's: it must take neither.
        informer.on_event(move |_| {
            changes.send(changed.clone()).ok(); // Nobody listens: nothing to refresh.
        });
        let users = BTreeSet::from([uid.clone()]);
        watched.insert(key, Watched { users, informer, _stop: stop.drop_guard() });
    }

    async fn read<K>(
        &self,
        informer: Option<Informer<K>>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<K>>, ObjectError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        if let Some(informer) = informer {
            // Past the limit, asking directly tells what is wrong.
            tokio::time::timeout(SYNC_TIMEOUT, informer.synced()).await.ok();
            if let Some(object) = informer.get(Some(namespace), name) {
                return Ok(Some(object));
            }
        }
        // Also when the watch says that there is none: it may be a moment behind the Pod.
        let client = self.inner.client.clone().ok_or(ObjectError::Standalone)?;
        let api = Api::<K>::namespaced(client, namespace);
        Ok(api.get_opt(name).await.map_err(Box::new)?.map(Arc::new))
    }
}

// === impl Registry ===

impl Registry {
    fn release<'a>(
        &mut self,
        uid: &PodUid,
        namespace: &str,
        references: impl Iterator<Item = &'a Reference>,
    ) {
        fn leave<K: Resource + 'static>(
            watched: &mut HashMap<(String, String), Watched<K>>,
            key: (String, String),
            uid: &PodUid,
        ) {
            if let Some(entry) = watched.get_mut(&key) {
                entry.users.remove(uid);
                if entry.users.is_empty() {
                    watched.remove(&key);
                }
            }
        }
        for reference in references {
            match reference {
                Reference::ConfigMap(name) => {
                    leave(&mut self.config_maps, (namespace.to_owned(), name.clone()), uid);
                }
                Reference::Secret(name) => {
                    leave(&mut self.secrets, (namespace.to_owned(), name.clone()), uid);
                }
            }
        }
    }
}

fn reference_to<K: Resource<DynamicType = ()>>(name: &str) -> Reference {
    if K::kind(&()) == "Secret" {
        Reference::Secret(name.to_owned())
    } else {
        Reference::ConfigMap(name.to_owned())
    }
}

/// Everything that `pod` names in volumes, environment and image pull secrets.
pub fn references(pod: &Pod) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let Some(spec) = &pod.spec else { return found };
    let config_map = |name: &str| Reference::ConfigMap(name.to_owned());
    let secret = |name: &str| Reference::Secret(name.to_owned());
    for volume in spec.volumes.iter().flatten() {
        if let Some(source) = &volume.config_map {
            found.insert(config_map(&source.name));
        }
        if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.as_deref()) {
            found.insert(secret(name));
        }
        let projections = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        for projection in projections {
            found.extend(projection.config_map.iter().map(|source| config_map(&source.name)));
            found.extend(projection.secret.iter().map(|source| secret(&source.name)));
        }
    }
    for reference in spec.image_pull_secrets.iter().flatten() {
        found.insert(secret(&reference.name));
    }
    let mut environment = |env_from: &Option<Vec<_>>, env: &Option<Vec<_>>| {
        for from in env_from.iter().flatten() {
            let from: &k8s_openapi::api::core::v1::EnvFromSource = from;
            found.extend(from.config_map_ref.iter().map(|source| config_map(&source.name)));
            found.extend(from.secret_ref.iter().map(|source| secret(&source.name)));
        }
        for variable in env.iter().flatten() {
            let variable: &k8s_openapi::api::core::v1::EnvVar = variable;
            let Some(from) = &variable.value_from else { continue };
            found.extend(from.config_map_key_ref.iter().map(|source| config_map(&source.name)));
            found.extend(from.secret_key_ref.iter().map(|source| secret(&source.name)));
        }
    };
    let containers: Vec<&Container> =
        spec.init_containers.iter().flatten().chain(&spec.containers).collect();
    for container in containers {
        environment(&container.env_from, &container.env);
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        environment(&container.env_from, &container.env);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_an_object_is_found() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": {
                "imagePullSecrets": [{ "name": "pull" }],
                "initContainers": [{ "name": "i", "envFrom": [
                    { "configMapRef": { "name": "from-cm" } },
                    { "secretRef": { "name": "from-secret" } },
                ] }],
                "containers": [{ "name": "c", "env": [
                    { "name": "A", "valueFrom": { "configMapKeyRef": { "name": "key-cm", "key": "k" } } },
                    { "name": "B", "valueFrom": { "secretKeyRef": { "name": "key-secret", "key": "k" } } },
                ] }],
                "volumes": [
                    { "name": "a", "configMap": { "name": "vol-cm" } },
                    { "name": "b", "secret": { "secretName": "vol-secret" } },
                    { "name": "c", "projected": { "sources": [
                        { "configMap": { "name": "proj-cm" } }, { "secret": { "name": "proj-secret" } },
                    ] } },
                ],
            },
        }))
        .unwrap();
        let (config_maps, secrets): (Vec<_>, Vec<_>) = references(&pod)
            .into_iter()
            .partition(|reference| matches!(reference, Reference::ConfigMap(_)));
        let names = |all: Vec<Reference>| -> Vec<String> {
            all.into_iter()
                .map(|reference| match reference {
                    Reference::ConfigMap(name) | Reference::Secret(name) => name,
                })
                .collect()
        };
        assert_eq!(names(config_maps), ["from-cm", "key-cm", "proj-cm", "vol-cm"]);
        assert_eq!(
            names(secrets),
            ["from-secret", "key-secret", "proj-secret", "pull", "vol-secret"]
        );
    }

    #[tokio::test]
    async fn without_an_api_server_objects_are_out_of_reach() {
        let objects = Objects::new(None);
        assert!(matches!(objects.secret("n", "s").await, Err(ObjectError::Standalone)));
    }
}
