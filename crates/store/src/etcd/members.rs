//! The cluster's members and which of them is asked. All calls go to one member until it fails;
//! then the next one's turn has come. Connections are made when they are needed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rand::Rng;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::Options;
use super::failure::{Failure, Refusal};
use crate::types::Error;

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// For one attempt of a call: longer than etcd itself waits for a quorum.
const ATTEMPT: Duration = Duration::from_secs(8);
/// For all attempts of a call together.
const DEADLINE: Duration = Duration::from_secs(20);
/// A member that is silent for so long is asked whether it lives, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the files of certificates were replaced.
pub(super) const LOOK: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Members {
    servers: Vec<String>,
    files: Files,
    connected: RwLock<Connected>,
    current: AtomicUsize,
}

/// Connections, and what they are made with.
#[derive(Debug)]
struct Connected {
    /// Empty once the store is closed.
    channels: Vec<Channel>,
    credentials: Credentials,
}

/// What a call may be repeated after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Any failure: making it twice is as good as once.
    Always,
    /// Failures before it was made.
    Unmade,
}

impl Members {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let servers = options.servers.clone();
        let files = Files::new(options)?;
        let credentials = files.read()?;
        let channels = credentials.connect(&servers)?;
        if channels.is_empty() {
            return Err(Error::Engine("no etcd servers are given".to_owned()));
        }
        // Several API servers spread over the members.
        let current = AtomicUsize::new(rand::rng().random_range(0..channels.len()));
        let connected = RwLock::new(Connected { channels, credentials });
        Ok(Self { servers, files, connected, current })
    }

    /// The member to ask, with its number; `None` once the store is closed.
    pub(super) fn pick(&self) -> Option<(usize, Channel)> {
        let at = self.current.load(Ordering::Relaxed) % self.servers.len();
        let connected = self.connected.read().unwrap_or_else(PoisonError::into_inner);
        Some((at, connected.channels.get(at)?.clone()))
    }

    /// Lets go of all connections.
    pub(super) fn close(&self) {
        self.connected.write().unwrap_or_else(PoisonError::into_inner).channels.clear();
    }

    /// Member `at` has failed: the next is asked from now on, unless another call saw to that.
    pub(super) fn failed(&self, at: usize) {
        let next = (at + 1) % self.servers.len();
        // The loser of a race has nothing left to do.
        self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).ok();
        // Perhaps it does not take our certificate any more.
        self.refresh();
    }

    /// Makes new connections if the certificates were replaced. Calls that run end on the old ones.
    pub(super) fn refresh(&self) {
        // What cannot be read is being replaced; it is looked at again.
        let Ok(credentials) = self.files.read() else { return };
        let mut connected = self.connected.write().unwrap_or_else(PoisonError::into_inner);
        if connected.channels.is_empty() || connected.credentials == credentials {
            return;
        }
        match credentials.connect(&self.servers) {
            Ok(channels) => *connected = Connected { channels, credentials },
            Err(error) => tracing::warn!(%error, "certificates for etcd are left as they were"),
        }
    }

    /// Makes a call, as often as `repeat` allows and the deadline leaves time for.
    pub(super) async fn call<T, F>(
        &self,
        repeat: Repeat,
        call: impl Fn(Channel) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut pause = Pause::default();
        loop {
            let Some((at, channel)) = self.pick() else {
                return Err(Failure::Refused(Refusal::Other(Error::Closed)));
            };
            let failure = match tokio::time::timeout(ATTEMPT, call(channel)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => Failure::from(status),
                Err(_) => Failure::Unknown(Status::deadline_exceeded("context deadline exceeded")),
            };
            match &failure {
                Failure::Refused(_) => return Err(failure),
                Failure::NotMade(status) | Failure::Unknown(status) => {
                    tracing::debug!(member = at, %status, "etcd call failed");
                }
            }
            self.failed(at);
            let repeated = repeat == Repeat::Always || matches!(failure, Failure::NotMade(_));
            if !repeated || tokio::time::Instant::now() >= deadline {
                return Err(failure);
            }
            pause.wait(self.servers.len()).await;
        }
    }
}

/// Pauses that grow each time round the members.
#[derive(Debug, Default)]
pub(super) struct Pause {
    attempts: u32,
}

impl Pause {
    pub(super) async fn wait(&mut self, members: usize) {
        self.attempts += 1;
        let rounds = self.attempts / u32::try_from(members).unwrap_or(1);
        if rounds == 0 {
            return;
        }
        let most = Duration::from_millis(25 << rounds.min(6)).min(LONGEST_PAUSE);
        let part = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(most.mul_f64(part)).await;
    }

    /// Something worked: the next failure is a new one.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

impl Members {
    /// A connection to one at `url`.
    pub(super) fn connect(&self, url: &str) -> Result<Channel, Error> {
        let connected = self.connected.read().unwrap_or_else(PoisonError::into_inner);
        connected.credentials.connect(&[url.to_owned()])?.pop().ok_or(Error::Closed)
    }

    pub(super) fn count(&self) -> usize {
        self.servers.len()
    }
}

fn channel(server: &str, tls: Option<&ClientTlsConfig>) -> Result<Channel, Error> {
    let url = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let wrong = |error: &dyn std::fmt::Display| Error::Engine(format!("etcd {server}: {error}"));
    let mut endpoint = Endpoint::from_shared(url)
        .map_err(|error| wrong(&error))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(8 << 20)
        .initial_stream_window_size(4 << 20);
    if server.starts_with("https://") {
        let config = tls.cloned().unwrap_or_default();
        endpoint = endpoint.tls_config(config).map_err(|error| wrong(&error))?;
    }
    Ok(endpoint.connect_lazy())
}

/// Where certificates are.
#[derive(Debug)]
struct Files {
    ca: Option<PathBuf>,
    pair: Option<(PathBuf, PathBuf)>,
}

/// What is in them.
#[derive(Debug, PartialEq)]
struct Credentials {
    ca: Option<Vec<u8>>,
    pair: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    fn new(options: &Options) -> Result<Self, Error> {
        let pair = match (&options.cert_file, &options.key_file) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => {
                let text = "an etcd client certificate and its key go together";
                return Err(Error::Engine(text.to_owned()));
            }
        };
        Ok(Self { ca: options.ca_file.clone(), pair })
    }

    fn read(&self) -> Result<Credentials, Error> {
        let read = |path: &Path| {
            let wrong = |error| Error::Engine(format!("{}: {error}", path.display()));
            std::fs::read(path).map_err(wrong)
        };
        let ca = self.ca.as_deref().map(read).transpose()?;
        let pair = match &self.pair {
            Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        Ok(Credentials { ca, pair })
    }
}

impl Credentials {
    fn connect(&self, servers: &[String]) -> Result<Vec<Channel>, Error> {
        let tls = (self.ca.is_some() || self.pair.is_some()).then(|| self.tls());
        servers.iter().map(|server| channel(server, tls.as_ref())).collect()
    }

    fn tls(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new().timeout(ATTEMPT);
        if let Some(ca) = &self.ca {
            config = config.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((certificate, key)) = &self.pair {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        config
    }
}
