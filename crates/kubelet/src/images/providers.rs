//! Credentials out of programs that the administrator installs: kubelet credential provider plugins.
//!
//! A program is run with a `CredentialProviderRequest` on its standard input for images that its
//! configuration names, and answers with credentials and how long, and for which images, they are
//! good. <https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/>
//!
//! One that is to act for the service accounts of Pods gets a token of the Pod's, and its answer is
//! good for that account only.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::accounts::{Account, AccountError, Accounts, Requester};
use super::keyring::{self, Credential, Keyring, Source};
use super::provider_config::{Provider, TokenAttributes};
use super::pull_records::Coordinates;

/// How long a program may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a program gave no credentials.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It cannot be run.
    #[error("error execing credential provider plugin {name}: {source}")]
    Exec {
        /// Its name.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It takes too long.
    #[error("error execing credential provider plugin {0}: context deadline exceeded")]
    Timeout(String),
    /// The Pod's service account is of no use.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// It failed.
    #[error("error execing credential provider plugin {name}: {status}: {message}")]
    Failed {
        /// Its name.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        message: String,
    },
    /// It answered nothing that is known.
    #[error("error decoding credential provider plugin response from stdout: {0}")]
    Decode(#[from] serde_json::Error),
    /// It answered in another version.
    #[error(
        "apiVersion from credential plugin response did not match expected apiVersion:{expected}, actual apiVersion:{actual}"
    )]
    Version {
        /// That of the request.
        expected: String,
        /// That of the answer.
        actual: String,
    },
}

/// What a program answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: KeyType,
    /// A Go duration; that of the configuration if absent.
    #[serde(default)]
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, Pair>>,
}

/// For which images an answer is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum KeyType {
    Image,
    Registry,
    Global,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Pair {
    username: String,
    password: String,
}

/// Answers by whom and what they are good for.
#[derive(Debug, Default)]
struct Cache(HashMap<(String, String), (Instant, BTreeMap<String, Pair>)>);

/// A configured program with what it answered before.
#[derive(Debug)]
pub struct Plugin {
    config: Provider,
    program: PathBuf,
    cache: Mutex<Cache>,
}

// === impl Plugin ===

impl Plugin {
    /// The program of `config` in folder `programs`.
    #[must_use]
    pub fn new(config: Provider, programs: &Path) -> Self {
        let program = programs.join(&config.name);
        Self { config, program, cache: Mutex::default() }
    }

    /// Credentials for `repository`, if this program is responsible for it, for the Pod that asks. One
    /// that fails is told of in the log: the others, and the registry, may do without.
    pub async fn credentials(
        &self,
        repository: &str,
        requester: &Requester,
        accounts: &Accounts,
    ) -> Vec<Credential> {
        if !self.config.match_images.iter().any(|glob| keyring::matches(glob, repository)) {
            return Vec::new();
        }
        let provider = &self.config.name;
        let account = match &self.config.token_attributes {
            None => None,
            Some(attributes) if requester.service_account.is_empty() => {
                if attributes.requires_account() {
                    tracing::debug!(provider, "Service account name is empty; skipping plugin");
                    return Vec::new();
                }
                None
            }
            Some(attributes) => match accounts.look(requester, attributes).await {
                Ok(account) => Some(account),
                Err(error) => {
                    tracing::error!(provider, %error, "Failed to get service account data");
                    return Vec::new();
                }
            },
        };
        let whose = whose(account.as_ref(), self.config.token_attributes.as_ref());
        // Held while the program runs: those who wait for the same answer find it then.
        let mut cache = self.cache.lock().await;
        let auth = match cache.get(&whose, repository, Instant::now()) {
            Some(auth) => auth,
            None => match self.ask(repository, account.as_ref()).await {
                Ok(response) => {
                    let default = self.config.cache_duration();
                    cache.put(&whose, repository, &response, default, Instant::now());
                    response.auth.unwrap_or_default()
                }
                Err(error) => {
                    tracing::error!(provider, %error, "Failed getting credential from external registry credential provider");
                    return Vec::new();
                }
            },
        };
        drop(cache);
        let source = account.map_or(Source::Node, |account| {
            let Account { uid, .. } = account;
            let (namespace, name) = (&requester.namespace, &requester.service_account);
            let (namespace, name) = (namespace.clone(), name.clone());
            Source::ServiceAccount(Coordinates { uid, namespace, name })
        });
        let mut keyring = Keyring::default();
        for (server, pair) in auth {
            keyring.add(&server, pair.username, pair.password, &source);
        }
        keyring.lookup(repository)
    }

    async fn ask(&self, image: &str, account: Option<&Account>) -> Result<Response, PluginError> {
        let name = self.config.name.clone();
        let failed = |source| PluginError::Exec { name: self.config.name.clone(), source };
        let mut request = json!({
            "kind": "CredentialProviderRequest",
            "apiVersion": self.config.api_version,
            "image": image,
        });
        if let Some(account) = account {
            request["serviceAccountToken"] = account.token.as_str().into();
            if !account.annotations.is_empty() {
                request["serviceAccountAnnotations"] = json!(account.annotations);
            }
        }
        let mut child = Command::new(&self.program)
            .args(&self.config.args)
            .envs(self.config.env.iter().map(|variable| (&variable.name, &variable.value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take();
        let conversation = async {
            if let Some(stdin) = &mut stdin {
                // One that answers without reading has nothing to complain about.
                stdin.write_all(request.to_string().as_bytes()).await.ok();
            }
            drop(stdin);
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(TIMEOUT, conversation).await;
        let output = output.map_err(|_| PluginError::Timeout(name.clone()))?.map_err(failed)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(PluginError::Failed { name, status: output.status, message });
        }
        read(&output.stdout, &self.config.api_version)
    }
}

/// For whom an answer is good, besides for which images: everybody, or an account as it is now, or as
/// long as its token is the same.
fn whose(account: Option<&Account>, attributes: Option<&TokenAttributes>) -> String {
    let Some((account, attributes)) = account.zip(attributes) else { return String::new() };
    let token = if attributes.is_by_token() { account.token.as_str() } else { "" };
    json!([account.uid, account.annotations, token]).to_string()
}

fn read(output: &[u8], version: &str) -> Result<Response, PluginError> {
    let response: Response = serde_json::from_slice(output)?;
    if response.api_version != version || response.kind != "CredentialProviderResponse" {
        let actual = response.api_version;
        return Err(PluginError::Version { expected: version.to_owned(), actual });
    }
    Ok(response)
}

// === impl Cache ===

impl Cache {
    fn get(
        &mut self,
        whose: &str,
        repository: &str,
        now: Instant,
    ) -> Option<BTreeMap<String, Pair>> {
        self.0.retain(|_, (expires, _)| *expires > now);
        let keys = [KeyType::Image, KeyType::Registry, KeyType::Global];
        let get = |kind: &KeyType| self.0.get(&(whose.to_owned(), key(*kind, repository)));
        keys.iter().find_map(|kind| Some(get(kind)?.1.clone()))
    }

    fn put(
        &mut self,
        whose: &str,
        repository: &str,
        response: &Response,
        default: Duration,
        now: Instant,
    ) {
        let own =
            response.cache_duration.as_deref().and_then(|t| machinery::duration::parse(t).ok());
        let Some(expires) = now.checked_add(own.unwrap_or(default)) else { return };
        let auth = response.auth.clone().unwrap_or_default();
        let key = key(response.cache_key_type, repository);
        self.0.insert((whose.to_owned(), key), (expires, auth));
    }
}

fn key(kind: KeyType, repository: &str) -> String {
    match kind {
        KeyType::Image => format!("image {repository}"),
        KeyType::Registry => {
            format!("registry {}", repository.split('/').next().unwrap_or_default())
        }
        KeyType::Global => "global".to_owned(),
    }
}

#[cfg(test)]
mod tests;
