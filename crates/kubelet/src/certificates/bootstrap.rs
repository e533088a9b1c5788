//! The first client certificate: a node that has none introduces itself with a bootstrap token.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use client::ConnectOptions;
use component::pki::Certificate;
use k8s_openapi::jiff::Timestamp;
use kube::config::{AuthInfo, Context, Kubeconfig, NamedAuthInfo, NamedContext};
use machinery::codec::yaml;
use tokio_util::sync::CancellationToken;

use super::request::{self, Purpose, RequestError, obtain};
use super::store::{CLIENT, Store};

/// First wait between tries; doubles up to [`MAX_RETRY`]. A cluster that comes up should not wait
/// for its nodes.
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait between tries.
const MAX_RETRY: Duration = Duration::from_millis(400);
/// What kubelets call the parts of the kubeconfig that they write, as upstream.
const USER: &str = "default-auth";
const CONTEXT: &str = "default-context";

/// Why a node cannot introduce itself.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// There is neither a usable kubeconfig nor one to get it with.
    #[error(
        "no valid client certificate in kubeconfig {kubeconfig}, and bootstrap kubeconfig {bootstrap} does not exist"
    )]
    Nothing {
        /// The kubeconfig.
        kubeconfig: PathBuf,
        /// The bootstrap kubeconfig.
        bootstrap: PathBuf,
    },
    /// A kubeconfig is of no use.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// The bootstrap kubeconfig cannot be used.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// No key could be made.
    #[error(transparent)]
    Pki(#[from] component::pki::Error),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes sure that `kubeconfig` has a client certificate that is good, by asking for one with the
/// credentials in `bootstrap` if need be; tries until it works or shutdown.
///
/// # Errors
/// [`BootstrapError`] when nothing will come of trying.
pub async fn ensure(
    bootstrap: &Path,
    kubeconfig: &Path,
    node_name: &str,
    pki: &Path,
    user_agent: &str,
    shutdown: &CancellationToken,
) -> Result<(), BootstrapError> {
    if is_usable(kubeconfig, SystemTime::now()) {
        return Ok(());
    }
    if !bootstrap.exists() {
        return Err(BootstrapError::Nothing {
            kubeconfig: kubeconfig.to_owned(),
            bootstrap: bootstrap.to_owned(),
        });
    }
    let client = client::connect(&ConnectOptions {
        kubeconfig: Some(bootstrap.to_owned()),
        user_agent: user_agent.to_owned(),
    })
    .await?;
    let store = Store::new(pki, CLIENT);
    let pending = pki.join(format!("{CLIENT}.key.tmp"));
    let mut pause = RETRY;
    loop {
        let key = pending_key(&pending)?;
        let subject = request::subject(node_name, Vec::new());
        let asked = tokio::select! {
            asked = obtain(&client, Purpose::Client, &subject, &key) => asked,
            () = shutdown.cancelled() => return Ok(()),
        };
        match asked {
            Ok(certificate) => {
                let saved = store.save(&certificate, &key, Timestamp::now());
                let path = saved.map_err(file(store.folder()))?;
                write_kubeconfig(bootstrap, kubeconfig, &store.current())?;
                fs::remove_file(&pending).map_err(file(&pending))?;
                tracing::info!(path = %path.display(), "client certificate obtained");
                return Ok(());
            }
            // The same request would be refused again: ask anew, with another key.
            Err(error @ (RequestError::Refused { .. } | RequestError::Taken(_))) => {
                tracing::error!(%error, "no client certificate");
                fs::remove_file(&pending).map_err(file(&pending))?;
                pause = MAX_RETRY;
            }
            Err(error) if pause == RETRY => tracing::warn!(%error, "no client certificate yet"),
            Err(error) => tracing::debug!(%error, "no client certificate yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        pause = (pause * 2).min(MAX_RETRY);
    }
}

/// Whether the current user of a kubeconfig has a client certificate that has not ended at `now`, or
/// credentials of another kind, which are not ours to judge. One that is good only later is kept, as
/// upstream does: it is the clock that is wrong.
fn is_usable(kubeconfig: &Path, now: SystemTime) -> bool {
    let Ok(config) = Kubeconfig::read_from(kubeconfig) else { return false };
    let context = config.current_context.as_ref();
    let context = config.contexts.iter().find(|known| Some(&known.name) == context);
    let user = context.and_then(|known| known.context.as_ref()?.user.clone());
    let user = config.auth_infos.into_iter().find(|known| Some(&known.name) == user.as_ref());
    let Some(user) = user.and_then(|user| user.auth_info) else { return false };
    let pem = match (&user.client_certificate, &user.client_certificate_data) {
        (Some(path), _) => fs::read(path).ok(),
        (None, Some(data)) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(data).ok()
        }
        (None, None) => return true,
    };
    let certificate = pem.and_then(|pem| Certificate::parse(&pem));
    certificate.is_some_and(|certificate| now < certificate.not_after)
}

/// The key of the request that is under way, so that a restart takes it up.
fn pending_key(path: &Path) -> Result<String, BootstrapError> {
    if let Ok(key) = fs::read_to_string(path)
        && component::tls::private_key(key.as_bytes()).is_ok()
    {
        return Ok(key);
    }
    let (key, _) = component::pki::signing_key()?;
    write_private(path, &key)?;
    Ok(key)
}

/// Writes a kubeconfig for the cluster that the bootstrap kubeconfig names, with the certificate
/// at `current` instead of the token.
fn write_kubeconfig(
    bootstrap: &Path,
    kubeconfig: &Path,
    current: &Path,
) -> Result<(), BootstrapError> {
    let failed = |source| BootstrapError::Kubeconfig { path: bootstrap.to_owned(), source };
    let mut config = Kubeconfig::read_from(bootstrap).map_err(failed)?;
    let context = config.current_context.take();
    let context = config.contexts.iter().find(|known| Some(&known.name) == context.as_ref());
    let cluster = context
        .and_then(|known| known.context.as_ref().map(|context| context.cluster.clone()))
        .unwrap_or_default();
    let path = current.display().to_string();
    config.clusters.retain(|known| known.name == cluster);
    config.auth_infos = vec![NamedAuthInfo {
        name: USER.to_owned(),
        auth_info: Some(AuthInfo {
            client_certificate: Some(path.clone()),
            client_key: Some(path),
            ..AuthInfo::default()
        }),
        ..NamedAuthInfo::default()
    }];
    config.contexts = vec![NamedContext {
        name: CONTEXT.to_owned(),
        context: Some(Context { cluster, user: Some(USER.to_owned()), ..Context::default() }),
        ..NamedContext::default()
    }];
    config.current_context = Some(CONTEXT.to_owned());
    config.api_version = Some("v1".to_owned());
    config.kind = Some("Config".to_owned());
    let text = yaml::to_string(&config).map_err(|error| BootstrapError::File {
        path: kubeconfig.to_owned(),
        source: io::Error::other(error),
    })?;
    write_private(kubeconfig, &text)
}

/// Writes a file that only root may read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), BootstrapError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let partial = path.with_added_extension("partial");
        let mut options = fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        io::Write::write_all(&mut out, text.as_bytes())?;
        fs::rename(&partial, path)
    };
    write().map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> BootstrapError + use<> {
    let path = path.to_owned();
    |source| BootstrapError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::pki::{Authority, Subject};

    const BOOTSTRAP: &str = "
apiVersion: v1
kind: Config
clusters:
- name: other
  cluster: {server: 'https://192.0.2.9:6443'}
- name: kubernetes
  cluster: {server: 'https://192.0.2.1:6443', certificate-authority-data: QUJD}
contexts:
- name: tls-bootstrap-token-user@kubernetes
  context: {cluster: kubernetes, user: tls-bootstrap-token-user}
current-context: tls-bootstrap-token-user@kubernetes
users:
- name: tls-bootstrap-token-user
  user: {token: abcdef.0123456789abcdef}
";

    #[test]
    fn the_written_kubeconfig_has_the_certificate_and_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("bootstrap"), BOOTSTRAP).unwrap();
        let store = Store::new(path("pki"), CLIENT);
        let now = SystemTime::now();
        assert!(!is_usable(&path("kubelet.conf"), now));
        write_kubeconfig(&path("bootstrap"), &path("kubelet.conf"), &store.current()).unwrap();
        let text = fs::read_to_string(path("kubelet.conf")).unwrap();
        assert!(!text.contains("abcdef") && !text.contains("192.0.2.9"), "{text}");
        assert!(text.contains("https://192.0.2.1:6443") && text.contains("QUJD"), "{text}");
        assert!(!is_usable(&path("kubelet.conf"), now), "the certificate is missing");

        let ca = Authority::generate("ca").unwrap();
        let subject = Subject { client: true, ..request::subject("n", Vec::new()) };
        let hour = Duration::from_secs(3600);
        let pair = ca.issue(&subject, hour).unwrap();
        store.save(&pair.certificate, &pair.key, Timestamp::now()).unwrap();
        assert!(is_usable(&path("kubelet.conf"), now));
        assert!(is_usable(&path("kubelet.conf"), now - hour), "the clock is behind");
        assert!(!is_usable(&path("kubelet.conf"), now + 2 * hour), "it has expired");
    }

    #[test]
    fn credentials_of_another_kind_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        fs::write(&path, BOOTSTRAP).unwrap();
        assert!(is_usable(&path, SystemTime::now()));
    }

    #[test]
    fn the_key_of_a_request_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pki/key.tmp");
        let first = pending_key(&path).unwrap();
        assert_eq!(pending_key(&path).unwrap(), first);
        fs::write(&path, "rubbish").unwrap();
        assert_ne!(pending_key(&path).unwrap(), first);
    }

    #[tokio::test]
    async fn without_any_credentials_there_is_nothing_to_wait_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let shutdown = CancellationToken::new();
        let failed = ensure(&path("b"), &path("k"), "n", &path("pki"), "", &shutdown).await;
        assert!(matches!(failed, Err(BootstrapError::Nothing { .. })));
    }
}
