//! The aggregation layer: versions of groups that other servers serve,
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>.
//!
//! Data flow: APIServices in the watch cache → [`Backend`]s → requests for their versions are
//! [`pass`]ed on under the user's name, over connections that are kept → answers. [`availability`]
//! asks each server what it serves, says so in the APIService's status, and keeps the documents for
//! discovery; [`openapi`] does so with those of OpenAPI v2. [`local`] keeps the APIServices of what
//! this server serves itself.
//!
//! Invariants: who asks is known and may do it before anybody else hears of it; the other server
//! believes what it is told of the user because of this server's certificate, and gets no
//! credentials of users.

pub(crate) mod availability;
pub(crate) mod local;
pub(crate) mod openapi;
mod pass;
mod schedule;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use machinery::Value;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use streams::upgrade::{PassBody, Target};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::feed;
use crate::metrics::aggregation as metrics;
use crate::outward::{self, Client, Services, tls};
use crate::registry::Registry;

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
    /// Its part of its OpenAPI v2 document, once that was downloaded.
    pub(crate) swagger: Option<Arc<openapi::Swagger>>,
    place: Place,
    /// Whether requests are passed on.
    is_available: bool,
}

/// Where a server is and whom to trust there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    services: Services,
    /// What is shown to other servers.
    identity: RwLock<Option<Identity>>,
    /// By group and version. Replaced as a whole, so that documents can tell that they are old.
    backends: watch::Sender<Arc<[Arc<Backend>]>>,
    made: Mutex<Made>,
}

/// What is made for servers as they are, until they or this server's certificate change.
#[derive(Default)]
struct Made {
    /// TLS by whom it trusts; anybody is nobody in particular.
    tls: HashMap<Option<Vec<u8>>, Arc<ClientConfig>>,
    /// Connections by the server and whether it may be anybody.
    clients: HashMap<(Place, bool), Client<PassBody>>,
}

/// A server that can be asked, and where it is now.
struct Server {
    client: Client<PassBody>,
    authority: String,
}

/// Why a server cannot be asked.
#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error(transparent)]
    Resolve(#[from] outward::Unresolved),
    #[error("invalid server name {0:?}")]
    Name(String),
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
        Some(Self {
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            known: None,
            swagger: None,
            place: Place {
                namespace: text(&backend["namespace"]),
                service: text(&backend["name"]),
                port: backend["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
                ca_bundle: STANDARD.decode(text(&spec["caBundle"])).unwrap_or_default(),
                insecure: spec["insecureSkipTLSVerify"].as_bool().unwrap_or_default(),
            },
            is_available: availability::is_available(service),
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

// === impl Place ===

impl Place {
    /// The name in the server's certificate.
    fn name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Whom to trust; none if anybody.
    fn trusted(&self) -> Option<&Vec<u8>> {
        (!self.insecure).then_some(&self.ca_bundle)
    }
}

// === impl Aggregation ===

impl Aggregation {
    /// A layer that nothing is known of yet.
    ///
    /// # Errors
    /// When the certificate that the configuration names cannot be read.
    pub(crate) fn new(config: &Config, services: Services) -> Result<Self, crate::Error> {
        metrics::register();
        let identity = RwLock::new(identity(config)?);
        let backends = watch::Sender::new(Arc::from([]));
        Ok(Self { services, identity, backends, made: Mutex::default() })
    }

    /// Reads the certificate anew.
    ///
    /// # Errors
    /// When it cannot be read; the old one stays in use then.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), crate::Error> {
        let fresh = identity(config)?;
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        *self.made() = Made::default();
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
        metrics::available(name, service.map(availability::is_available));
        self.change(|backends| {
            let old = backends.iter().position(|b| b.name() == name).map(|at| backends.remove(at));
            let Some(mut backend) = service.and_then(Backend::of) else {
                if old.is_some_and(|old| old.swagger.is_some()) {
                    metrics::regeneration(name, "delete");
                }
                return;
            };
            if let Some(same) = old.filter(|old| old.place == backend.place) {
                backend.known = same.known.clone();
                backend.swagger = same.swagger.clone();
            }
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

    /// Takes in a server's OpenAPI v2 document.
    fn learn_openapi(&self, name: &str, swagger: openapi::Swagger) {
        self.change(|backends| {
            let Some(backend) = backends.iter_mut().find(|b| b.name() == name) else { return };
            metrics::regeneration(name, if backend.swagger.is_some() { "update" } else { "add" });
            Arc::make_mut(backend).swagger = Some(Arc::new(swagger));
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
            let backends = self.backends();
            let used = |is: &dyn Fn(&Place) -> bool| backends.iter().any(|b| is(&b.place));
            let mut made = self.made();
            made.clients.retain(|(place, _), _| used(&|used| used == place));
            made.tls.retain(|bundle, _| match bundle {
                Some(bundle) => used(&|used| used.ca_bundle == *bundle),
                None => true,
            });
        }
    }

    /// Where a server is now, for a connection of its own.
    fn target(&self, backend: &Backend) -> Result<Target, Unreachable> {
        let place = &backend.place;
        let (host, port) = self.services.resolve(&place.namespace, &place.service, place.port)?;
        let tls = self.tls(place.trusted())?;
        Ok(Target { host, port, tls: Some(tls), server_name: Some(place.name()) })
    }

    /// A server for ordinary requests. With `anybody` its certificate does not matter.
    fn server(&self, backend: &Backend, anybody: bool) -> Result<Server, Unreachable> {
        let place = &backend.place;
        let (host, port) = self.services.resolve(&place.namespace, &place.service, place.port)?;
        let authority = outward::authority(&host, port);
        let key = (place.clone(), anybody);
        if let Some(client) = self.made().clients.get(&key) {
            return Ok(Server { client: client.clone(), authority });
        }
        let tls = self.tls(if anybody { None } else { place.trusted() })?;
        let name = place.name();
        let name = ServerName::try_from(name.clone()).map_err(|_| Unreachable::Name(name))?;
        let client = outward::client((*tls).clone(), name, |uri| Ok(outward::address_of(uri)));
        self.made().clients.insert(key, client.clone());
        Ok(Server { client, authority })
    }

    fn tls(&self, trusted: Option<&Vec<u8>>) -> Result<Arc<ClientConfig>, Unreachable> {
        let mut made = self.made();
        if let Some(config) = made.tls.get(&trusted.cloned()) {
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
        made.tls.insert(trusted.cloned(), config.clone());
        Ok(config)
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Server ===

impl Server {
    /// The address of a path.
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority)
    }

    /// Sends a request without a body, again if a connection that was kept is closed by now.
    async fn ask(&self, request: Request<()>) -> Result<Response<Incoming>, legacy::Error> {
        let (parts, ()) = request.into_parts();
        let send = || {
            let request = Request::from_parts(parts.clone(), Either::Left(Empty::new()));
            self.client.request(request)
        };
        let is_safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match send().await {
            Err(error) if is_safe && outward::was_closed(&error) => send().await,
            result => result,
        }
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
