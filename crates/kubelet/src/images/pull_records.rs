//! Whether a Pod may use an image that is on the node: only if the kubelet did not pull it, or if the
//! Pod has credentials with which it could be pulled. Otherwise whoever shares a node with those who
//! have credentials could do without.
//! <https://kubernetes.io/docs/concepts/containers/images/#ensureimagepullcredentialverification>
//!
//! What was pulled with which credentials is kept in files, as upstream keeps it: an intent before a
//! pull, a record after it. Of an image with an intent and no record it is not known how far its pull
//! came, so it counts as pulled. Of credentials only a digest is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use machinery::hex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::keyring::{Credential, Source};
use super::metrics::{Check, Metrics};

const VERSION: &str = "kubelet.config.k8s.io/v1beta1";
/// Folders of intents and of records.
const PULLING: &str = "pulling";
const PULLED: &str = "pulled";
/// How files end that are being written.
const PARTIAL: &str = "partial";
/// As many secrets a record may have before nothing is added to it without a pull.
const MANY: usize = 100;

/// Which images need no credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// All that are on the node.
    NeverVerify,
    /// Those that the kubelet did not pull.
    #[default]
    NeverVerifyPreloadedImages,
    /// Those of a list.
    NeverVerifyAllowlistedImages,
    /// None.
    AlwaysVerify,
}

/// An image is being pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intent {
    api_version: String,
    kind: String,
    image: String,
}

/// An image was pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    api_version: String,
    kind: String,
    last_updated_time: Time,
    image_ref: String,
    /// Who may use it, by the repository that it came from.
    #[serde(default)]
    credential_mapping: BTreeMap<String, Grants>,
}

/// Who may use an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Grants {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kubernetes_secrets: Vec<SecretGrant>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kubernetes_service_accounts: Vec<Coordinates>,
    /// All Pods of the node.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    node_pods_accessible: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretGrant {
    #[serde(flatten)]
    secret: Coordinates,
    credential_hash: String,
}

/// An object of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coordinates {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An image that a container names.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Whether an administrator put it on the node, whoever pulled the same besides.
    pub preloaded: bool,
    /// As it is pulled, with tag or digest.
    pub wanted: &'a str,
    /// Its repository.
    pub repository: &'a str,
}

/// What is to be asked before a Pod may use an image.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Known(Check),
    /// Whether it is one of these.
    Granted(Grants),
}

/// What a Pod's credentials come to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fit {
    No,
    Yes,
    /// Yes, and these are good from now on too.
    Also(SecretGrant),
}

/// See the module.
#[derive(Debug)]
pub struct PullRecords {
    folder: PathBuf,
    policy: Policy,
    allowlist: Vec<String>,
    /// How many pulls of each image run; held while files are changed.
    pulls: Mutex<HashMap<String, usize>>,
    pub(super) metrics: Metrics,
}

/// Decides from what is known of an image; `intended` if it is being pulled, or was when the kubelet
/// ended.
fn judge(
    policy: Policy,
    allowlist: &[String],
    Named { preloaded, repository, .. }: Named<'_>,
    record: Option<&Record>,
    intended: bool,
) -> Verdict {
    let exempt = match policy {
        Policy::NeverVerify => true,
        Policy::NeverVerifyPreloadedImages => preloaded || record.is_none() && !intended,
        Policy::NeverVerifyAllowlistedImages => {
            allowlist.iter().any(|pattern| is_listed(pattern, repository))
        }
        Policy::AlwaysVerify => false,
    };
    if exempt {
        return Verdict::Known(Check::PolicyAllowed);
    }
    match record.and_then(|record| record.credential_mapping.get(repository)) {
        None => Verdict::Known(Check::MustAuthenticate),
        Some(grants) if grants.node_pods_accessible => Verdict::Known(Check::RecordFound),
        Some(grants) => Verdict::Granted(grants.clone()),
    }
}

/// Whether a list's pattern names a repository: `registry/path`, or all below `registry/path/*`.
fn is_listed(pattern: &str, repository: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(folder) => repository.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        None => pattern == repository,
    }
}

/// Whether one of these credentials is among those that were good once.
fn fit(grants: &Grants, credentials: &[Credential]) -> Fit {
    for credential in credentials {
        match &credential.source {
            Source::Node => {}
            Source::ServiceAccount(account) => {
                if grants.kubernetes_service_accounts.contains(account) {
                    return Fit::Yes;
                }
            }
            Source::Secret(secret) => {
                let hash = hash(credential);
                let known = &grants.kubernetes_secrets;
                // The same user and password, in whatever Secret; or the same Secret, whose contents
                // are renewed now and then.
                let found = known.iter().find(|one| one.credential_hash == hash).or_else(|| {
                    known.iter().find(|one| one.secret == *secret && known.len() < MANY)
                });
                if let Some(found) = found {
                    let own = SecretGrant { secret: secret.clone(), credential_hash: hash };
                    let is_new = *found != own && known.len() < MANY;
                    return if is_new { Fit::Also(own) } else { Fit::Yes };
                }
            }
        }
    }
    Fit::No
}

fn hash(credential: &Credential) -> String {
    let auth = &credential.auth;
    let mut digest = Sha256::new();
    for part in [&auth.username, &auth.password] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex::digits(digest.finalize())
}

// === impl Grants ===

impl Grants {
    /// Lets those use it too who have this credential; whether that is news.
    fn add(&mut self, credential: Option<&Credential>) -> bool {
        let before = self.clone();
        match credential.map(|credential| (&credential.source, credential)) {
            _ if self.node_pods_accessible => {}
            // Without credentials, or with those of the node, everybody could have pulled it.
            None | Some((Source::Node, _)) => {
                *self = Self { node_pods_accessible: true, ..Self::default() };
            }
            Some((Source::ServiceAccount(account), _)) => {
                if !self.kubernetes_service_accounts.contains(account) {
                    self.kubernetes_service_accounts.push(account.clone());
                }
            }
            Some((Source::Secret(secret), credential)) => {
                let credential_hash = hash(credential);
                self.add_secret(SecretGrant { secret: secret.clone(), credential_hash });
            }
        }
        *self != before
    }

    fn add_secret(&mut self, grant: SecretGrant) {
        self.kubernetes_secrets.retain(|known| known.secret != grant.secret);
        self.kubernetes_secrets.push(grant);
        self.kubernetes_secrets.sort_by(|a, b| a.secret.cmp(&b.secret));
    }
}

// === impl PullRecords ===

impl PullRecords {
    /// What is kept below `root_dir`, the kubelet's folder.
    #[must_use]
    pub fn new(root_dir: &Path, policy: Policy, allowlist: Vec<String>) -> Self {
        let folder = root_dir.join("image_manager");
        let (pulls, metrics) = (Mutex::default(), Metrics::new());
        let records = Self { folder, policy, allowlist, pulls, metrics };
        records.count();
        records
    }

    /// Whether a Pod may use the image with the ID `id`; `credentials` are asked for only if that
    /// depends on them, and are nothing if they make no sense.
    pub async fn allows(
        &self,
        image: Named<'_>,
        id: &str,
        credentials: impl Future<Output = Option<Vec<Credential>>>,
    ) -> bool {
        let check = self.check(image, id, credentials).await;
        self.metrics.checked(check);
        check.allows()
    }

    async fn check(
        &self,
        image: Named<'_>,
        id: &str,
        credentials: impl Future<Output = Option<Vec<Credential>>>,
    ) -> Check {
        let verdict = {
            let pulls = self.lock();
            let intended = pulls.contains_key(image.wanted) || self.intent(image.wanted).exists();
            let record = match self.read(id) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(%error, id, "Unable to access cache records about image pulls");
                    return Check::Error;
                }
            };
            let (policy, list) = (self.policy, &self.allowlist);
            judge(policy, list, image, record.as_ref(), intended)
        };
        let grants = match verdict {
            Verdict::Known(check) => return check,
            Verdict::Granted(grants) => grants,
        };
        let Some(credentials) = credentials.await else { return Check::Error };
        match fit(&grants, &credentials) {
            Fit::No => return Check::MustAuthenticate,
            Fit::Yes => {}
            Fit::Also(grant) => {
                self.change(image, id, |grants| {
                    grants.add_secret(grant);
                    true
                });
            }
        }
        Check::RecordFound
    }

    /// Notes that an image is about to be pulled.
    ///
    /// # Errors
    /// When the disk refuses; then it must not be pulled.
    pub fn begin(&self, wanted: &str) -> io::Result<()> {
        let mut pulls = self.lock();
        let intent = Intent {
            api_version: VERSION.to_owned(),
            kind: "ImagePullIntent".to_owned(),
            image: wanted.to_owned(),
        };
        write(&self.intent(wanted), &intent)?;
        self.count();
        *pulls.entry(wanted.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Notes that it was pulled, with this credential or without any.
    pub fn pulled(&self, image: Named<'_>, id: &str, credential: Option<&Credential>) {
        if self.change(image, id, |grants| grants.add(credential)) {
            self.end(image.wanted);
        }
    }

    /// Notes that it was not.
    pub fn failed(&self, wanted: &str) {
        self.end(wanted);
    }

    /// Forgets images that are not on the node any more and were last heard of before `until`.
    pub fn prune(&self, present: &BTreeSet<&str>, until: Timestamp) {
        let _pulls = self.lock();
        let folder = self.folder.join(PULLED);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let record: Option<Record> = load(&entry.path()).ok().flatten();
            let gone = record.is_none_or(|record| {
                record.last_updated_time.0 < until && !present.contains(record.image_ref.as_str())
            });
            if gone && let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "a record stays");
            }
        }
        self.count();
    }

    /// Changes who may use an image; whether what is kept says so now.
    fn change(&self, image: Named<'_>, id: &str, work: impl FnOnce(&mut Grants) -> bool) -> bool {
        let _pulls = self.lock();
        // What cannot be read is as good as nothing: it is written anew.
        let mut record = self.read(id).ok().flatten().unwrap_or_else(|| Record {
            api_version: VERSION.to_owned(),
            kind: "ImagePulledRecord".to_owned(),
            last_updated_time: Time(Timestamp::UNIX_EPOCH),
            image_ref: id.to_owned(),
            credential_mapping: BTreeMap::new(),
        });
        let grants = record.credential_mapping.entry(image.repository.to_owned()).or_default();
        if !work(grants) {
            return true;
        }
        record.last_updated_time = Time(Timestamp::now());
        let written = write(&self.folder.join(PULLED).join(file_name(id)), &record);
        if let Err(error) = &written {
            tracing::error!(%error, image = image.wanted, "failed to write an image pulled record");
        }
        self.count();
        written.is_ok()
    }

    fn end(&self, wanted: &str) {
        let mut pulls = self.lock();
        match pulls.get_mut(wanted) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                pulls.remove(wanted);
                match fs::remove_file(self.intent(wanted)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::error!(%error, image = wanted, "failed to remove image pull intent");
                    }
                    _ => {}
                }
                self.count();
            }
        }
    }

    /// Tells how many files there are.
    fn count(&self) {
        let number = |name: &str| {
            let files = fs::read_dir(self.folder.join(name)).into_iter().flatten().flatten();
            files.filter(|file| file.path().extension().is_none_or(|end| end != PARTIAL)).count()
        };
        self.metrics.intents(number(PULLING));
        self.metrics.records(number(PULLED));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn intent(&self, wanted: &str) -> PathBuf {
        self.folder.join(PULLING).join(file_name(wanted))
    }

    fn read(&self, id: &str) -> io::Result<Option<Record>> {
        load(&self.folder.join(PULLED).join(file_name(id)))
    }
}

/// As upstream names these files.
fn file_name(name: &str) -> String {
    format!("sha256-{}", hex::digits(Sha256::digest(name)))
}

fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let partial = path.with_added_extension(PARTIAL);
    let file = fs::File::create(&partial)?;
    serde_json::to_writer(&file, content)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests;
