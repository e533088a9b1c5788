//! Images: making sure that a container's image is on the node, importing image files, and removing
//! what nobody uses.

pub mod archive;
pub mod collect;
pub mod credentials;
pub mod import;
pub mod reference;

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use crate::cri::{Runtime, RuntimeError, proto};
use crate::events::{EventType, Events};
use crate::pod::backoff::Backoff;
use crate::pod::plan::Waiting;
use crate::runtime::security::ImageUser;
use crate::seam::pod_uid;

/// Between looks for an image that may be imported any moment.
const IMPORT_LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// An image on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What the runtime is to be asked for: the image's ID.
    pub reference: String,
    /// Who it runs as.
    pub user: ImageUser,
}

/// Why an image is not to be had now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Goes into the container's status.
    pub waiting: Waiting,
    /// When the next try makes sense.
    pub retry_at: Option<Timestamp>,
}

/// Provides images. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    runtime: Runtime,
    events: Events,
    backoff: Arc<Mutex<Backoff>>,
    /// Held while pulling when pulls are serialized.
    pulls: Arc<Semaphore>,
    /// Whether image files are still being imported, so that what is missing may yet come.
    importing: watch::Receiver<bool>,
}

// === impl Images ===

impl Images {
    /// Images of `runtime`; at most `parallel` pulls at a time. `importing` is true while image
    /// files are being imported.
    pub fn new(
        runtime: Runtime,
        events: Events,
        parallel: usize,
        importing: watch::Receiver<bool>,
    ) -> Self {
        let pulls = Arc::new(Semaphore::new(parallel.max(1)));
        Self { runtime, events, backoff: Arc::default(), pulls, importing }
    }

    /// The image of this name, waiting for it while files are being imported.
    async fn find(&self, reference: &str) -> Result<Option<proto::Image>, RuntimeError> {
        let mut importing = self.importing.clone();
        loop {
            let last = !*importing.borrow_and_update();
            let found = self.runtime.image_status(reference).await?;
            if found.is_some() || last {
                return Ok(found);
            }
            tokio::select! {
                () = tokio::time::sleep(IMPORT_LOOK) => {}
                changed = importing.changed() => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Waits until the image that sandboxes are made of is there, or the import is over.
    pub async fn sandbox_image(&self) {
        let mut importing = self.importing.clone();
        if !*importing.borrow() {
            return;
        }
        let found = async {
            match self.runtime.sandbox_image().await {
                Some(name) if self.find(&name).await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = found => {}
            _ = importing.wait_for(|importing| !importing) => {}
        }
    }

    /// Makes sure that the image of `container` is on the node, as its pull policy has it.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        secrets: &[Arc<Secret>],
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<Found, Missing> {
        let named = container.image.clone().unwrap_or_default();
        let wanted = match reference::with_default_tag(&named) {
            Ok(wanted) => wanted,
            Err(error) => {
                let message = format!("Failed to apply default image tag {named:?}: {error}");
                self.warn(pod, container, "InspectFailed", &message);
                return Err(missing("InvalidImageName", message, None));
            }
        };
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let present = match self.find(&wanted).await {
            Ok(present) => present,
            Err(error) => {
                let message = format!("Failed to inspect image {wanted:?}: {error}");
                self.warn(pod, container, "InspectFailed", &message);
                return Err(missing("ImageInspectError", message, None));
            }
        };
        match (policy, present) {
            ("Always", _) => self.pull(pod, container, &wanted, secrets, sandbox).await,
            (_, Some(image)) => {
                let message = format!(
                    "Container image {named:?} already present on machine and can be accessed by the pod"
                );
                self.events.container(pod, &container.name, EventType::Normal, "Pulled", message);
                Ok(found(image))
            }
            ("Never", None) => {
                let message =
                    format!("Container image {named:?} is not present with pull policy of Never");
                self.warn(pod, container, "ErrImageNeverPull", &message);
                Err(missing("ErrImageNeverPull", message, None))
            }
            (_, None) => self.pull(pod, container, &wanted, secrets, sandbox).await,
        }
    }

    async fn pull(
        &self,
        pod: &Pod,
        container: &Container,
        wanted: &str,
        secrets: &[Arc<Secret>],
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<Found, Missing> {
        let named = container.image.clone().unwrap_or_default();
        let key = format!("{}_{named}", pod_uid(pod));
        let waiting = self.backoff().waiting_since_failure(&key, Timestamp::now());
        if let Some((_, until)) = waiting {
            let message = format!("Back-off pulling image {named:?}");
            self.events.container(pod, &container.name, EventType::Normal, "BackOff", &*message);
            return Err(missing("ImagePullBackOff", message, Some(until)));
        }
        let message = format!("Pulling image {named:?}");
        self.events.container(pod, &container.name, EventType::Normal, "Pulling", message);
        let asked = std::time::Instant::now();
        let permit = self.pulls.acquire().await.expect("the semaphore is never closed");
        let begun = std::time::Instant::now();
        let pulled = self.pull_with_any(wanted, secrets, sandbox).await;
        drop(permit);
        let now = Timestamp::now();
        match pulled {
            Ok(image) => {
                self.backoff().reset(&key);
                let message = format!(
                    "Successfully pulled image {named:?} in {} ({} including waiting). Image size: {} bytes.",
                    milliseconds(begun.elapsed()),
                    milliseconds(asked.elapsed()),
                    image.size
                );
                self.events.container(pod, &container.name, EventType::Normal, "Pulled", message);
                Ok(found(image))
            }
            Err(error) => {
                let mut backoff = self.backoff();
                backoff.next(&key, now, now);
                let retry_at = backoff.waiting_since_failure(&key, now).map(|(_, until)| until);
                drop(backoff);
                let text = error.to_string();
                let message = format!("Failed to pull image {named:?}: {text}");
                self.warn(pod, container, "Failed", &message);
                Err(missing("ErrImagePull", text, retry_at))
            }
        }
    }

    /// Tries the credentials that fit the registry, then none.
    async fn pull_with_any(
        &self,
        wanted: &str,
        secrets: &[Arc<Secret>],
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<proto::Image, RuntimeError> {
        let mut candidates: Vec<Option<proto::AuthConfig>> =
            credentials::matching(secrets, wanted).into_iter().map(Some).collect();
        if candidates.is_empty() {
            candidates.push(None);
        }
        let mut last = RuntimeError::Missing("image");
        for auth in candidates {
            match self.runtime.pull_image(wanted, auth, Some(sandbox.clone())).await {
                Ok(pulled) => {
                    let image = self.runtime.image_status(&pulled).await?;
                    return image.ok_or(RuntimeError::Missing("pulled image"));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn backoff(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, pod: &Pod, container: &Container, reason: &str, message: &str) {
        self.events.container(pod, &container.name, EventType::Warning, reason, message);
    }
}

fn found(image: proto::Image) -> Found {
    let user = ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username };
    Found { reference: image.id, user }
}

fn missing(reason: &str, message: String, retry_at: Option<Timestamp>) -> Missing {
    Missing { waiting: Waiting { reason: reason.to_owned(), message }, retry_at }
}

/// As Go prints a duration rounded to milliseconds.
fn milliseconds(elapsed: std::time::Duration) -> String {
    let total = elapsed.as_millis();
    if total < 1000 {
        return format!("{total}ms");
    }
    let text = format!("{}.{:03}", total / 1000, total % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}
