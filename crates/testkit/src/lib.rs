//! A control plane in the test's own process: real components, real TLS, temporary files.
//!
//! [`ApiServer::start`] makes a PKI and a data folder, runs the API server on a free loopback
//! port and hands out clients for any user. It can be stopped and started again on the same data,
//! and it is gone with the value.
//!
//! Invariants: nothing outside the temporary folder is touched, and tests can run side by side.

pub mod etcd;
pub mod fixtures;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use component::pki::{Authority, Pair, Subject};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use apiserver::{Config, Enablement};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Anything that goes wrong here ends the test.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    folder: tempfile::TempDir,
    authority: Authority,
    address: SocketAddr,
    config: Config,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), apiserver::Error>>,
}

/// The answer to a raw request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// The body as text.
    pub text: String,
}

// === impl Answer ===

impl Answer {
    /// The body as JSON, null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header's value, empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts a server with default settings.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start() -> Result<Self, Error> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |_| {}).await
    }

    /// Starts a server on an address (port 0: any), with settings changed by `adjust`.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_on(
        address: SocketAddr,
        adjust: impl FnOnce(&mut Config),
    ) -> Result<Self, Error> {
        component::tls::install_default_provider();
        let folder = tempfile::Builder::new().prefix("ironclad-test-").tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(at(name), text);
        let authority = Authority::generate("kubernetes")?;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let serving = authority.issue(
            &Subject {
                common_name: "kube-apiserver".to_owned(),
                names: ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "10.96.0.1"]
                    .map(str::to_owned)
                    .to_vec(),
                server: true,
                ..Subject::default()
            },
            DAY,
        )?;
        let kubelet_client = authority.issue(
            &Subject {
                common_name: "kube-apiserver-kubelet-client".to_owned(),
                organizations: vec!["system:masters".to_owned()],
                client: true,
                ..Subject::default()
            },
            DAY,
        )?;
        let front_proxy = authority.issue(
            &Subject {
                common_name: "front-proxy-client".to_owned(),
                client: true,
                ..Subject::default()
            },
            DAY,
        )?;
        let (private, public) = component::pki::signing_key()?;
        write("ca.crt", authority.certificate())?;
        write("ca.key", &authority.pair().key)?;
        write("apiserver.crt", &serving.certificate)?;
        write("apiserver.key", &serving.key)?;
        write("apiserver-kubelet-client.crt", &kubelet_client.certificate)?;
        write("apiserver-kubelet-client.key", &kubelet_client.key)?;
        write("front-proxy-client.crt", &front_proxy.certificate)?;
        write("front-proxy-client.key", &front_proxy.key)?;
        write("sa.key", &private)?;
        write("sa.pub", &public)?;
        let mut config = Config {
            bind: address,
            // Nothing is there: endpoints cannot be loopback addresses.
            advertise: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            data_dir: at("store"),
            client_ca: at("ca.crt"),
            certificate: at("apiserver.crt"),
            key: at("apiserver.key"),
            service_account_keys: vec![at("sa.pub")],
            service_account_signing_key: at("sa.key"),
            kubelet_client_certificate: Some(at("apiserver-kubelet-client.crt")),
            kubelet_client_key: Some(at("apiserver-kubelet-client.key")),
            kubelet_certificate_authority: Some(at("ca.crt")),
            proxy_client_certificate: Some(at("front-proxy-client.crt")),
            proxy_client_key: Some(at("front-proxy-client.key")),
            drain: Duration::from_secs(2),
            ..Config::default()
        };
        adjust(&mut config);
        let mut server = Self { folder, authority, address, config, running: None };
        let admin = server.kubeconfig_for("kubernetes-admin", &["system:masters"])?;
        std::fs::write(server.kubeconfig(), admin)?;
        server.serve(listener).await?;
        Ok(server)
    }

    async fn serve(&mut self, listener: TcpListener) -> Result<(), Error> {
        let shutdown = CancellationToken::new();
        let work = apiserver::serve(self.config.clone(), listener, shutdown.clone());
        let running = Running { shutdown, task: tokio::spawn(work) };
        let client = self.client()?;
        let request = Request::get("/readyz").body(Vec::new())?;
        // Connections queue in the listener until the server accepts them, so one try is enough.
        if let Err(refused) = client.request_text(request).await {
            // The server's own reason says more, if it has one.
            running.shutdown.cancel();
            running.task.await??;
            return Err(refused.into());
        }
        self.running = Some(running);
        Ok(())
    }

    /// Stops the server and waits until it has drained. Its data stay.
    ///
    /// # Errors
    /// When it did not end well.
    pub async fn stop(&mut self) -> Result<(), Error> {
        if let Some(running) = self.running.take() {
            running.shutdown.cancel();
            running.task.await??;
        }
        Ok(())
    }

    /// Stops the server if it runs and starts it again on the same data and address.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await?;
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        self.serve(socket.listen(1024)?).await
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The folder of its files, which is removed with the server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority of all certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A kubeconfig file of a member of `system:masters`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.conf")
    }

    /// A client certificate for any user.
    ///
    /// # Errors
    /// When the names are not valid.
    pub fn credentials(&self, user: &str, groups: &[&str]) -> Result<Pair, Error> {
        let subject = Subject {
            common_name: user.to_owned(),
            organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
            client: true,
            ..Subject::default()
        };
        Ok(self.authority.issue(&subject, DAY)?)
    }

    /// The text of a kubeconfig for any user.
    ///
    /// # Errors
    /// When the names are not valid.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<String, Error> {
        let pair = self.credentials(user, groups)?;
        let name = user.replace(':', "-");
        let certificate = self.folder.path().join(format!("{name}.crt"));
        let key = self.folder.path().join(format!("{name}.key"));
        std::fs::write(&certificate, pair.certificate)?;
        std::fs::write(&key, pair.key)?;
        Ok(self.kubeconfig_text(&json!({"client-certificate": certificate, "client-key": key})))
    }

    fn kubeconfig_text(&self, user: &Value) -> String {
        // JSON is YAML.
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(),
                "certificate-authority": self.folder.path().join("ca.crt"),
            }}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        })
        .to_string()
    }

    /// A client of a member of `system:masters`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client(&self) -> Result<kube::Client, Error> {
        let text = std::fs::read_to_string(self.kubeconfig())?;
        connect(&text)
    }

    /// A client of any user.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_for(&self, user: &str, groups: &[&str]) -> Result<kube::Client, Error> {
        connect(&self.kubeconfig_for(user, groups)?)
    }

    /// A client with a certificate and its key, both PEM.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_with_certificate(
        &self,
        certificate: &str,
        key: &str,
    ) -> Result<kube::Client, Error> {
        let encoded = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
        connect(&self.kubeconfig_text(&json!({
            "client-certificate-data": encoded(certificate),
            "client-key-data": encoded(key),
        })))
    }

    /// A client with a bearer token; an empty one is anonymous.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client_with_token(&self, token: &str) -> Result<kube::Client, Error> {
        let user = if token.is_empty() { json!({}) } else { json!({"token": token}) };
        connect(&self.kubeconfig_text(&user))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.shutdown.cancel();
        }
    }
}

fn connect(kubeconfig: &str) -> Result<kube::Client, Error> {
    let kubeconfig = kube::config::Kubeconfig::from_yaml(kubeconfig)?;
    let options = kube::config::KubeConfigOptions::default();
    // Nothing in it is fetched from elsewhere, so the future is ready at once.
    let config = futures_ready(kube::Config::from_custom_kubeconfig(kubeconfig, &options))?;
    Ok(client::connect_with(config, "testkit")?)
}

/// Runs a future that needs no waiting.
fn futures_ready<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// Sends a raw request: method, path with query, content type (none when empty) and body.
///
/// # Errors
/// When there is no answer at all; refusals are answers.
pub async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Result<Answer, Error> {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.send(request.body(Body::from(body.into()))?).await?;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    Ok(Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Sends a JSON body (none when null) and takes JSON.
///
/// # Errors
/// As [`send`].
pub async fn send_json(
    client: &kube::Client,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Answer, Error> {
    let headers = [("content-type", "application/json"), ("accept", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    send(client, method, path, &headers, body).await
}
