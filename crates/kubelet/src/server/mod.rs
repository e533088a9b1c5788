//! The kubelet's own HTTPS server: logs, exec and friends, and what the node uses.
//!
//! Every request is authenticated ([`auth`]: client certificate, else bearer token) and authorized
//! (SubjectAccessReview on `nodes/...`) before a handler sees it; only `/healthz` on its own
//! loopback port is open.

mod auth;
mod logs;
mod metrics;
mod node_logs;
mod response;
mod stats;
mod streaming;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use component::tls::{self, ServerTls};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cgroup::Cgroups;
use crate::seam::PodAccess;
use auth::{Auth, Identity};
use response::{Body, json_response, not_found, text};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken or not ours.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate or key file cannot be read.
    #[error("read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificate, key or authorities are not usable.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// No certificate could be made.
    #[error(transparent)]
    Certificate(#[from] component::pki::Error),
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug)]
pub enum ServingCertificate {
    /// PEM files.
    Files {
        /// Certificate chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// A PEM file with both, which may come later and be replaced.
    Requested(PathBuf),
    /// Made at start for these names; clients have to trust it blindly.
    SelfSigned(Vec<String>),
}

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port of the server, usually 10250.
    pub port: u16,
    /// Port of plain `/healthz` on the loopback address, usually 10248; 0 for none.
    pub healthz_port: u16,
    /// The serving certificate.
    pub certificate: ServingCertificate,
    /// Authorities whose client certificates are accepted.
    pub client_ca: Option<PathBuf>,
    /// Whether requests without credentials are let through to authorization.
    pub anonymous: bool,
    /// Name of the node, which authorization is about.
    pub node_name: String,
    /// The kubelet's configuration for `/configz`.
    pub configz: serde_json::Value,
    /// Control groups, for statistics.
    pub cgroups: Option<Cgroups>,
    /// Directory that `/logs/` shows, usually `/var/log`.
    pub log_dir: PathBuf,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 10250,
            healthz_port: 10248,
            certificate: ServingCertificate::SelfSigned(Vec::new()),
            client_ca: None,
            anonymous: false,
            node_name: String::new(),
            configz: serde_json::Value::Null,
            cgroups: None,
            log_dir: PathBuf::from("/var/log"),
        }
    }
}

struct Server {
    options: ServerOptions,
    access: Arc<dyn PodAccess>,
    auth: Auth,
    rates: stats::Rates,
}

/// Serves until `shutdown`.
pub async fn serve(
    options: ServerOptions,
    access: Arc<dyn PodAccess>,
    client: Option<kube::Client>,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let (tls, files) = server_tls(&options)?;
    if let Some(files) = files {
        tokio::spawn(files.follow(tls.clone(), shutdown.clone()));
    }
    let listener = listen(SocketAddr::new(options.bind, options.port)).await?;
    let healthz = match options.healthz_port {
        0 => None,
        port => Some(listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await?),
    };
    let auth = Auth::new(client, options.node_name.clone(), options.anonymous);
    let server = Arc::new(Server { options, access, auth, rates: stats::Rates::default() });
    let health = async {
        let Some(listener) = healthz else { return };
        let server = Arc::clone(&server);
        let connect = move |_peer| {
            let server = Arc::clone(&server);
            service_fn(move |request: Request<Incoming>| {
                let path = request.uri().path().to_owned();
                let answer =
                    if path.starts_with("/healthz") { server.healthz(&path) } else { not_found() };
                async move { Ok::<_, Infallible>(answer) }
            })
        };
        let options = component::serve::Options::default();
        component::serve::serve(listener, None, options, connect, shutdown.clone()).await;
    };
    let main = async {
        let server = Arc::clone(&server);
        let connect = move |peer: component::serve::Peer| {
            let server = Arc::clone(&server);
            let identity = Identity::of_peer(&peer.certificates);
            service_fn(move |request: Request<Incoming>| {
                let server = Arc::clone(&server);
                let identity = identity.clone();
                async move { Ok::<_, Infallible>(server.answer(request, identity).await) }
            })
        };
        let options = component::serve::Options::default();
        component::serve::serve(listener, Some(tls), options, connect, shutdown.clone()).await;
    };
    tokio::join!(health, main);
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })
}

/// The TLS set-up, and the files to follow if there are any.
fn server_tls(options: &ServerOptions) -> Result<(ServerTls, Option<tls::Files>), ServerError> {
    let client_ca = options.client_ca.clone();
    let files = match &options.certificate {
        ServingCertificate::Files { certificate, key } => {
            tls::Files { certificate: certificate.clone(), key: key.clone(), client_ca }
        }
        ServingCertificate::Requested(path) => {
            tls::Files { certificate: path.clone(), key: path.clone(), client_ca }
        }
        ServingCertificate::SelfSigned(names) => {
            let read = |path: &PathBuf| {
                std::fs::read(path)
                    .map_err(|source| ServerError::File { path: path.clone(), source })
            };
            let pair = component::pki::self_signed(names)?;
            let client_ca = client_ca.as_ref().map(read).transpose()?;
            let (certificate, key) = (pair.certificate.as_bytes(), pair.key.as_bytes());
            return Ok((ServerTls::new(certificate, key, client_ca.as_deref())?, None));
        }
    };
    let tls = match &options.certificate {
        ServingCertificate::Requested(_) => files.load_or_wait()?,
        _ => files.load()?,
    };
    Ok((tls, Some(files)))
}

impl Server {
    async fn answer(&self, request: Request<Incoming>, identity: Identity) -> Response<Body> {
        let user = match self.auth.authenticate(request.headers(), identity).await {
            Ok(user) => user,
            Err(refusal) => return refusal,
        };
        if let Err(refusal) =
            self.auth.authorize(&user, request.method(), request.uri().path()).await
        {
            return refusal;
        }
        self.route(request).await
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let is_get = request.method() == Method::GET;
        match parts.as_slice() {
            ["healthz", ..] if is_get => self.healthz(&path),
            ["pods"] if is_get => json_response(&pod_list(self.access.pods())),
            ["runningpods" | "runningPods"] if is_get => {
                let mut pods = self.access.pods();
                pods.retain(|pod| self.access.sandbox_id(&crate::seam::pod_uid(pod)).is_some());
                json_response(&pod_list(pods))
            }
            ["containerLogs", namespace, pod, container] if is_get => {
                logs::container_logs(&self.access, namespace, pod, container, request.uri()).await
            }
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                let access = &self.access;
                streaming::exec(access, namespace, pod, container, request).await
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
                let access = &self.access;
                streaming::attach(access, namespace, pod, container, request).await
            }
            ["run", namespace, pod, container] | ["run", namespace, pod, _, container]
                if request.method() == Method::POST =>
            {
                streaming::run(&self.access, namespace, pod, container, request.uri()).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                streaming::port_forward(&self.access, namespace, pod, request).await
            }
            ["stats", "summary"] if is_get => self.summary().await,
            ["metrics"] if is_get => metrics::prometheus(component::metrics::encode()),
            ["metrics", "resource"] if is_get => {
                let readings = self.readings().await;
                metrics::prometheus(metrics::resource(&readings).into_bytes())
            }
            ["metrics", "cadvisor" | "probes"] if is_get => metrics::prometheus(Vec::new()),
            ["configz"] if is_get => {
                json_response(&json!({ "kubeletconfig": self.options.configz }))
            }
            ["logs", rest @ ..] if is_get => {
                node_logs::show(&self.options.log_dir, &rest.join("/"), path.ends_with('/')).await
            }
            _ => not_found(),
        }
    }

    fn healthz(&self, path: &str) -> Response<Body> {
        let one = path.trim_start_matches("/healthz").trim_matches('/');
        let checks = self.access.healthy();
        let checks = checks.iter().filter(|(name, _)| one.is_empty() || *name == one);
        let failed: Vec<_> = checks.filter(|(_, verdict)| verdict.is_err()).collect();
        if failed.is_empty() {
            return text(StatusCode::OK, "ok");
        }
        let mut out = String::new();
        for (name, verdict) in failed {
            if let Err(reason) = verdict {
                out.push_str(&format!("[-]{name} failed: {reason}\n"));
            }
        }
        out.push_str("healthz check failed\n");
        text(StatusCode::INTERNAL_SERVER_ERROR, out)
    }
}

fn pod_list(pods: Vec<Arc<Pod>>) -> serde_json::Value {
    let items: Vec<_> = pods.iter().map(|pod| serde_json::to_value(pod.as_ref())).collect();
    let items: Vec<_> = items.into_iter().flatten().collect();
    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

/// Splits a query into decoded names and values.
fn query(uri: &http::Uri) -> Vec<(String, String)> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Percent decoding, with blanks as `+`.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
