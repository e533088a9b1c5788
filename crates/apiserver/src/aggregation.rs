//! The aggregation layer: versions of groups that other servers serve,
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>.
//!
//! Data flow: APIServices in the watch cache → [`Backend`]s → requests for their versions are
//! [`pass`]ed on under the user's name → answers. [`availability`] asks each server what it serves,
//! says so in the APIService's status, and keeps the documents for discovery. [`local`] keeps the
//! APIServices of what this server serves itself.
//!
//! Invariants: who asks is known and may do it before anybody else hears of it; the other server
//! believes what it is told of the user because of this server's certificate, and gets no
//! credentials of users.

pub(crate) mod availability;
pub(crate) mod local;
mod pass;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::Value;
use rustls::ClientConfig;
use streams::upgrade::Target;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::feed;
use crate::registry::Registry;
use crate::webhook::{Caller, tls};

pub(crate) use pass::pass;

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";

/// A server that serves a version of a group.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// The group.
    pub(crate) group: String,
    /// The version.
    pub(crate) version: String,
    /// Where the group stands among the others; higher ones come first.
    pub(crate) group_priority: i64,
    /// Where the version stands within its group.
    pub(crate) version_priority: i64,
    /// What it says that it serves, once it was asked.
    pub(crate) known: Option<Arc<Known>>,
    place: Place,
    /// Whether requests are passed on.
    is_available: bool,
}

/// Where a server is and whom to trust there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    namespace: String,
    service: String,
    port: u16,
    /// PEM certificates to trust; the system's if empty.
    ca_bundle: Vec<u8>,
    /// Anybody is trusted.
    insecure: bool,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    /// Its resources as aggregated discovery has them.
    pub(crate) resources: Value,
    /// Hash of its OpenAPI v3 document, if there is one.
    pub(crate) openapi: Option<String>,
    /// Whether it did not answer when it was last asked.
    pub(crate) is_stale: bool,
}

/// A certificate and its key, both PEM.
type Identity = (Vec<u8>, Vec<u8>);

/// See the module.
pub(crate) struct Aggregation {
    caller: Caller,
    /// What is shown to other servers.
    identity: RwLock<Option<Identity>>,
    /// By group and version. Replaced as a whole, so that documents can tell that they are old.
    backends: watch::Sender<Arc<[Arc<Backend>]>>,
    /// TLS by whom it trusts; anybody is nobody in particular. Until certificates or servers change.
    tls: Mutex<HashMap<Option<Vec<u8>>, Arc<ClientConfig>>>,
}

/// Why a server cannot be asked.
#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error(transparent)]
    Resolve(#[from] crate::webhook::Unresolved),
    #[error(transparent)]
    Bundle(#[from] tls::BundleError),
    #[error(transparent)]
    Tls(#[from] streams::tls::TlsError),
}

// === impl Backend ===

impl Backend {
    /// What an APIService says; none for what this server serves itself.
    fn of(service: &Value) -> Option<Self> {
        let spec = &service["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let backend = spec.get("service").filter(|backend| backend.is_object())?;
        let condition = availability::condition(service);
        Some(Self {
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            known: None,
            place: Place {
                namespace: text(&backend["namespace"]),
                service: text(&backend["name"]),
                port: backend["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
                ca_bundle: STANDARD.decode(text(&spec["caBundle"])).unwrap_or_default(),
                insecure: spec["insecureSkipTLSVerify"].as_bool().unwrap_or_default(),
            },
            is_available: condition.is_some_and(|condition| condition["status"] == "True"),
        })
    }

    /// The name of its APIService.
    fn name(&self) -> String {
        format!("{}.{}", self.version, self.group)
    }

    /// Its root.
    fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
}

// === impl Aggregation ===

impl Aggregation {
    /// A layer that nothing is known of yet.
    ///
    /// # Errors
    /// When the certificate that the configuration names cannot be read.
    pub(crate) fn new(config: &Config, caller: Caller) -> Result<Self, crate::Error> {
        let identity = RwLock::new(identity(config)?);
        let backends = watch::Sender::new(Arc::from([]));
        Ok(Self { caller, identity, backends, tls: Mutex::default() })
    }

    /// Reads the certificate anew.
    ///
    /// # Errors
    /// When it cannot be read; the old one stays in use then.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), crate::Error> {
        let fresh = identity(config)?;
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.configs().clear();
        Ok(())
    }

    /// All servers, by group and version.
    pub(crate) fn backends(&self) -> Arc<[Arc<Backend>]> {
        self.backends.borrow().clone()
    }

    /// The server of a path, if it is another one.
    pub(crate) fn backend(&self, path: &str) -> Option<Arc<Backend>> {
        let own = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let (group, rest) = own.strip_prefix("/apis/")?.split_once('/')?;
        let version = rest.split_once('/').map_or(rest, |(version, _)| version);
        let backends = self.backends.borrow();
        backends.iter().find(|b| b.group == group && b.version == version).cloned()
    }

    /// Takes in what an APIService says now.
    fn apply(&self, name: &str, service: Option<&Value>) {
        self.change(|backends| {
            let old = backends.iter().position(|b| b.name() == name).map(|at| backends.remove(at));
            let Some(mut backend) = service.and_then(Backend::of) else { return };
            let same = old.filter(|old| old.place == backend.place);
            backend.known = same.and_then(|old| old.known.clone());
            let at = |b: &Arc<Backend>| {
                (b.group.as_str(), b.version.as_str()) < (&backend.group, &backend.version)
            };
            backends.insert(backends.partition_point(at), Arc::new(backend));
        });
    }

    /// Takes in what a server said; none if it did not answer.
    fn learn(&self, name: &str, said: Option<Known>) {
        self.change(|backends| {
            let Some(backend) = backends.iter_mut().find(|b| b.name() == name) else { return };
            let known = said.or_else(|| {
                let known = backend.known.as_deref()?;
                Some(Known { is_stale: true, ..known.clone() })
            });
            if known.as_ref() != backend.known.as_deref() {
                Arc::make_mut(backend).known = known.map(Arc::new);
            }
        });
    }

    /// Changes the set, if that changes anything.
    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Backend>>)) {
        let changed = self.backends.send_if_modified(|backends| {
            let mut changed = backends.to_vec();
            change(&mut changed);
            let same = changed.len() == backends.len()
                && changed.iter().zip(backends.iter()).all(|(new, old)| Arc::ptr_eq(new, old));
            if !same {
                *backends = changed.into();
            }
            !same
        });
        if changed {
            self.configs().clear();
        }
    }

    /// Where a server is now. With `anybody` its certificate does not matter.
    fn target(&self, backend: &Backend, anybody: bool) -> Result<Target, Unreachable> {
        let place = &backend.place;
        let (host, port) = self.caller.resolve(&place.namespace, &place.service, place.port)?;
        let trusted = (!anybody && !place.insecure).then_some(&place.ca_bundle);
        let tls = self.tls(trusted)?;
        let name = format!("{}.{}.svc", place.service, place.namespace);
        Ok(Target { host, port, tls: Some(tls), server_name: Some(name) })
    }

    fn tls(&self, trusted: Option<&Vec<u8>>) -> Result<Arc<ClientConfig>, Unreachable> {
        let mut configs = self.configs();
        if let Some(config) = configs.get(&trusted.cloned()) {
            return Ok(config.clone());
        }
        let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner);
        let config = match trusted {
            Some(bundle) => Arc::new(tls::client(bundle, identity.as_ref())?),
            None => {
                let identity = identity
                    .as_ref()
                    .map(|(certificate, key)| streams::tls::Identity { certificate, key });
                streams::tls::client_config(None, identity)?
            }
        };
        configs.insert(trusted.cloned(), config.clone());
        Ok(config)
    }

    fn configs(&self) -> MutexGuard<'_, HashMap<Option<Vec<u8>>, Arc<ClientConfig>>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows APIServices from now on. Those that exist are known when this returns.
pub(crate) async fn follow(
    registry: &Registry,
    aggregation: &Arc<Aggregation>,
    until: (&TaskTracker, &CancellationToken),
) {
    let aggregation = aggregation.clone();
    feed::follow(registry, (GROUP, "v1", PLURAL), until, move |_, name, service| {
        aggregation.apply(name, service);
    })
    .await;
}

/// The files of the certificate.
pub(crate) fn files(config: &Config) -> Vec<PathBuf> {
    let files = [&config.proxy_client_certificate, &config.proxy_client_key];
    files.into_iter().flatten().cloned().collect()
}

fn identity(config: &Config) -> Result<Option<Identity>, crate::Error> {
    match files(config).as_slice() {
        [certificate, key] => {
            Ok(Some((crate::server::read(certificate)?, crate::server::read(key)?)))
        }
        _ => Ok(None),
    }
}
