//! Images: making sure that a container's image is on the node, importing image files, and removing
//! what nobody uses.

pub mod accounts;
pub mod admin;
pub mod archive;
pub mod collect;
pub mod credentials;
pub mod folder;
pub mod import;
pub mod keyring;
mod metrics;
pub mod provider_config;
pub mod providers;
pub mod pull_records;
pub mod record;
pub mod reference;
pub mod writers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{OnceCell, Semaphore};

use self::accounts::{Accounts, Requester};
use self::folder::Folders;
use self::keyring::Credential;
use self::metrics::Request;
use self::providers::Plugin;
use self::pull_records::{Named, PullRecords};
use crate::cri::{Runtime, RuntimeError, proto};
use crate::events::{EventType, Events};
use crate::pod::backoff::Backoff;
use crate::pod::plan::Waiting;
use crate::runtime::security::ImageUser;
use crate::seam::pod_uid;

/// Between looks for an image that may be imported any moment.
const IMPORT_LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// An image that a Pod asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container that is to run it; none for a volume.
    pub container: Option<&'a str>,
    /// Its name as the Pod has it.
    pub named: &'a str,
    /// When to pull it, if the Pod says.
    pub policy: Option<&'a str>,
}

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
    /// What the last pull came to, by the key of its back-off.
    failures: Arc<Mutex<HashMap<String, String>>>,
    /// Held while pulling when pulls are serialized.
    pulls: Arc<Semaphore>,
    /// The archives from which what is missing may come.
    folders: Folders,
    /// Programs that know credentials, and the accounts that they may act for.
    plugins: Arc<[Plugin]>,
    accounts: Accounts,
    /// Who may use what is here.
    records: Arc<PullRecords>,
    /// What the runtime makes sandboxes of, once it said so.
    sandbox: Arc<OnceCell<String>>,
}

// === impl Wish ===

impl<'a> Wish<'a> {
    /// The image of a container.
    #[must_use]
    pub fn of_container(pod: &'a Pod, container: &'a Container) -> Self {
        Self {
            pod,
            container: Some(&container.name),
            named: container.image.as_deref().unwrap_or_default(),
            policy: container.image_pull_policy.as_deref(),
        }
    }

    /// The image of a volume.
    #[must_use]
    pub fn of_volume(pod: &'a Pod, source: &'a ImageVolumeSource) -> Self {
        Self {
            pod,
            container: None,
            named: source.reference.as_deref().unwrap_or_default(),
            policy: source.pull_policy.as_deref(),
        }
    }
}

// === impl Images ===

impl Images {
    /// Images of `runtime`, which may come from `folders`; at most `parallel` pulls at a time, with
    /// credentials of which `plugins` know some, acting for `accounts`. Who may use what is here says
    /// `records`.
    pub fn new(
        runtime: Runtime,
        events: Events,
        parallel: usize,
        folders: Folders,
        (plugins, accounts): (Arc<[Plugin]>, Accounts),
        records: Arc<PullRecords>,
    ) -> Self {
        let pulls = Arc::new(Semaphore::new(parallel.max(1)));
        let (backoff, failures, sandbox) = Default::default();
        Self {
            runtime,
            events,
            backoff,
            failures,
            pulls,
            folders,
            plugins,
            accounts,
            records,
            sandbox,
        }
    }

    /// The image of this name, waiting for it while archives are being imported, and importing it
    /// again when an archive holds it.
    async fn find(&self, reference: &str) -> Result<Option<proto::Image>, RuntimeError> {
        let mut state = self.folders.state();
        loop {
            let last = !state.borrow_and_update().importing;
            let found = self.runtime.image_status(reference).await?;
            if found.is_some() {
                return Ok(found);
            }
            if last {
                return match self.folders.fetch(&reference::canonical(reference)).await {
                    true => self.runtime.image_status(reference).await,
                    false => Ok(None),
                };
            }
            tokio::select! {
                () = tokio::time::sleep(IMPORT_LOOK) => {}
                changed = state.changed() => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Waits until the image that sandboxes are made of is there, or cannot come from an archive.
    pub async fn sandbox_image(&self) {
        let name =
            self.sandbox.get_or_try_init(|| async { self.runtime.sandbox_image().await.ok_or(()) });
        // Without a name, or an answer, the sandbox itself is going to say what is wrong.
        if let Ok(name) = name.await {
            self.find(name).await.ok();
        }
    }

    /// Makes sure that an image is on the node, as its pull policy has it.
    pub async fn ensure(
        &self,
        wish: Wish<'_>,
        secrets: &[Arc<Secret>],
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<Found, Missing> {
        let policy = wish.policy.unwrap_or("IfNotPresent").to_owned();
        let mut request = Request { policy, ..Request::default() };
        let provided = self.provide(wish, secrets, sandbox, &mut request).await;
        self.records.metrics.requested(&request);
        provided
    }

    /// Notes in `request` what is found.
    async fn provide(
        &self,
        wish: Wish<'_>,
        secrets: &[Arc<Secret>],
        sandbox: &proto::PodSandboxConfig,
        request: &mut Request,
    ) -> Result<Found, Missing> {
        let Wish { pod, named, .. } = wish;
        let wanted = match reference::with_default_tag(named) {
            Ok(wanted) => wanted,
            Err(error) => {
                let message = format!("Failed to apply default image tag {named:?}: {error}");
                self.warn(wish, "InspectFailed", &message);
                return Err(missing("InvalidImageName", message, None));
            }
        };
        let present = match self.find(&wanted).await {
            Ok(present) => present,
            Err(error) => {
                let message = format!("Failed to inspect image {wanted:?}: {error}");
                self.warn(wish, "InspectFailed", &message);
                return Err(missing("ImageInspectError", message, None));
            }
        };
        // What counts is the registry's then.
        let is_asked = request.policy != "Always";
        request.present = is_asked.then_some(present.is_some());
        let present = match present.filter(|_| is_asked) {
            Some(image) => {
                let repository = reference::repository(&wanted);
                let preloaded = self.folders.held().holds(&image);
                let named = Named { preloaded, wanted: &wanted, repository: &repository };
                // Secrets that make no sense are those of a Pod without any: a pull is going to say so.
                let credentials = async { self.credentials(pod, &repository, secrets).await.ok() };
                let allowed = self.records.allows(named, &image.id, credentials).await;
                allowed.then_some(image)
            }
            None => None,
        };
        // One that is not here and must not be pulled is not asked for.
        let is_hopeless = request.policy == "Never" && request.present == Some(false);
        request.required = (!is_hopeless).then_some(present.is_none());
        // Who may not use an image is not told that it is here.
        match (request.policy.as_str(), present) {
            ("Always", _) => self.pull(wish, &wanted, secrets, sandbox).await,
            (_, Some(image)) => {
                let message = format!(
                    "Container image {named:?} already present on machine and can be accessed by the pod"
                );
                self.tell(wish, EventType::Normal, "Pulled", message);
                Ok(found(image))
            }
            ("Never", None) => {
                let message =
                    format!("Container image {named:?} is not present with pull policy of Never");
                self.warn(wish, "ErrImageNeverPull", &message);
                Err(missing("ErrImageNeverPull", message, None))
            }
            (_, None) => self.pull(wish, &wanted, secrets, sandbox).await,
        }
    }

    async fn pull(
        &self,
        wish: Wish<'_>,
        wanted: &str,
        secrets: &[Arc<Secret>],
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<Found, Missing> {
        let Wish { pod, named, .. } = wish;
        let key = format!("{}_{named}", pod_uid(pod));
        let waiting = self.backoff().waiting_since_failure(&key, Timestamp::now());
        if let Some((_, until)) = waiting {
            let mut message = format!("Back-off pulling image {named:?}");
            self.tell(wish, EventType::Normal, "BackOff", &*message);
            if let Some(failure) = self.failures().get(&key) {
                message = format!("{message}: {failure}");
            }
            return Err(missing("ImagePullBackOff", message, Some(until)));
        }
        self.failures().remove(&key);
        let message = format!("Pulling image {named:?}");
        self.tell(wish, EventType::Normal, "Pulling", message);
        let asked = std::time::Instant::now();
        let permit = self.pulls.acquire().await.expect("the semaphore is never closed");
        let begun = std::time::Instant::now();
        let pulled = self.pull_noted(pod, wanted, secrets, sandbox).await;
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
                self.tell(wish, EventType::Normal, "Pulled", message);
                Ok(found(image))
            }
            Err(text) => {
                let mut backoff = self.backoff();
                backoff.next(&key, now, now);
                let retry_at = backoff.waiting_since_failure(&key, now).map(|(_, until)| until);
                drop(backoff);
                let message = format!("Failed to pull image {named:?}: {text}");
                self.warn(wish, "Failed", &message);
                let (reason, text) = judge(named, &text);
                self.failures().insert(key, format!("{reason}: {text}"));
                Err(missing(reason, text, retry_at))
            }
        }
    }

    /// Pulls, and takes note of who may use the image then.
    async fn pull_noted(
        &self,
        pod: &Pod,
        wanted: &str,
        secrets: &[Arc<Secret>],
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<proto::Image, String> {
        let repository = reference::repository(wanted);
        let found = self.credentials(pod, &repository, secrets).await?;
        self.records.begin(wanted).map_err(|error| {
            format!("failed to record image pull intent for container image {wanted:?}: {error}")
        })?;
        match self.pull_with_any(wanted, found, sandbox).await {
            Ok((image, credential)) => {
                let named = Named { preloaded: false, wanted, repository: &repository };
                self.records.pulled(named, &image.id, credential.as_ref());
                Ok(image)
            }
            Err(problem) => {
                self.records.failed(wanted);
                Err(problem)
            }
        }
    }

    /// All credentials of a Pod that fit a repository, best first.
    async fn credentials(
        &self,
        pod: &Pod,
        repository: &str,
        secrets: &[Arc<Secret>],
    ) -> Result<Vec<Credential>, String> {
        let keyring = credentials::keyring(secrets).map_err(|error| error.to_string())?;
        let mut found = keyring.lookup(repository);
        let requester = Requester::of(pod);
        for plugin in self.plugins.iter() {
            found.extend(plugin.credentials(repository, &requester, &self.accounts).await);
        }
        Ok(found)
    }

    /// Tries all these credentials, or none if there are none; tells which one was good.
    async fn pull_with_any(
        &self,
        wanted: &str,
        found: Vec<Credential>,
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<(proto::Image, Option<Credential>), String> {
        let mut candidates: Vec<_> = found.into_iter().map(Some).collect();
        if candidates.is_empty() {
            candidates.push(None);
        }
        let mut problems = Vec::new();
        for credential in candidates {
            let auth = credential.as_ref().map(|credential| credential.auth.clone());
            match self.pull_once(wanted, auth, sandbox).await {
                Ok(image) => return Ok((image, credential)),
                Err(problem) => problems.push(problem),
            }
        }
        Err(aggregate(problems))
    }

    async fn pull_once(
        &self,
        wanted: &str,
        auth: Option<proto::AuthConfig>,
        sandbox: &proto::PodSandboxConfig,
    ) -> Result<proto::Image, String> {
        let pulled = self.runtime.pull_image(wanted, auth, Some(sandbox.clone())).await;
        let pulled = pulled.map_err(|error| match error {
            // As upstream: a code that says nothing is left out.
            RuntimeError::Call { code: tonic::Code::Unknown, message } => message,
            other => other.to_string(),
        })?;
        let image = self.runtime.image_status(&pulled).await.map_err(|error| error.to_string())?;
        image.ok_or_else(|| RuntimeError::Missing("pulled image").to_string())
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backoff(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, wish: Wish<'_>, reason: &str, message: &str) {
        self.tell(wish, EventType::Warning, reason, message);
    }

    fn tell(&self, wish: Wish<'_>, kind: EventType, reason: &str, message: impl Into<String>) {
        match wish.container {
            Some(container) => self.events.container(wish.pod, container, kind, reason, message),
            None => self.events.pod(wish.pod, kind, reason, message),
        }
    }
}

fn found(image: proto::Image) -> Found {
    let user = ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username };
    Found { reference: image.id, user }
}

/// Several errors as Go prints them: each one once, in brackets if there is more than one.
fn aggregate(mut problems: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    match problems.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// Reason and message of a failed pull of `named`: runtimes tell two causes apart by how their error
/// begins.
fn judge(named: &str, text: &str) -> (&'static str, String) {
    for (reason, what) in [
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ] {
        if let Some(rest) = text.strip_prefix(reason) {
            return (reason, format!("image pull failed for {named} because {what}{rest}"));
        }
    }
    ("ErrImagePull", text.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_pulls_read_as_upstreams() {
        let problems = |all: &[&str]| aggregate(all.iter().map(|p| (*p).to_owned()).collect());
        assert_eq!(problems(&["a"]), "a");
        assert_eq!(problems(&["a", "a"]), "a");
        assert_eq!(problems(&["a", "b", "a"]), "[a, b]");
        assert_eq!(judge("x:1", "not found"), ("ErrImagePull", "not found".to_owned()));
        let (reason, text) = judge("x:1", "RegistryUnavailable: no route");
        assert_eq!(reason, "RegistryUnavailable");
        assert_eq!(text, "image pull failed for x:1 because the registry is unavailable: no route");
    }
}
