//! Where kubelets are and how they are talked to.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use machinery::Value;
use machinery::gvk::GroupResource;
use machinery::status::Status;
use streams::tls::{Identity, TlsError, client_config};
use streams::upgrade::Target;

use super::ClientTls;
use crate::config::Config;
use crate::pipeline::{Call, Failure};

const DEFAULT_PORT: u16 = 10250;

/// Which of a node's addresses is used, first choice first (as kubeadm sets it).
const ADDRESS_TYPES: [&str; 5] =
    ["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"];

/// Talks to kubelets under this server's own name.
pub struct Kubelets {
    tls: RwLock<ClientTls>,
    pub(super) anything: ClientTls,
}

/// Why the client certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

// === impl Kubelets ===

impl Kubelets {
    /// Reads the certificates that the configuration names.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let tls = RwLock::new(configure(config)?);
        Ok(Self { tls, anything: client_config(None, None)? })
    }

    /// Reads the certificates anew, for connections to come.
    ///
    /// # Errors
    /// When they cannot be read; the old ones stay in use then.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), Error> {
        let fresh = configure(config)?;
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The kubelet that runs a Pod.
    pub(super) fn of_pod(&self, call: &Call<'_>, pod: &Value) -> Result<Target, Failure> {
        let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        if node.is_empty() {
            let name = machinery::meta::name(pod);
            return Err(Box::new(Status::bad_request(format!(
                "pod {name} does not have a host assigned"
            ))));
        }
        self.of_node(call, node)
    }

    /// The kubelet of a node.
    pub(super) fn of_node(&self, call: &Call<'_>, name: &str) -> Result<Target, Failure> {
        let Some(node) = call.api.registry.cached("", "nodes", "", name) else {
            return Err(Box::new(Status::not_found(&GroupResource::new("", "nodes"), name)));
        };
        let node = node.value();
        let host = address(&node).ok_or_else(|| {
            Status::internal(format!("no preferred addresses found; known addresses: [] of {name}"))
        })?;
        let port = node
            .pointer("/status/daemonEndpoints/kubeletEndpoint/Port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0)
            .unwrap_or(DEFAULT_PORT);
        let tls = self.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Target { host, port, tls: Some(tls), server_name: None })
    }
}

fn configure(config: &Config) -> Result<ClientTls, Error> {
    let read = |path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| {
                std::fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })
            })
            .transpose()
    };
    let certificate = read(&config.kubelet_client_certificate)?;
    let key = read(&config.kubelet_client_key)?;
    let authority = read(&config.kubelet_certificate_authority)?;
    let identity = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        _ => None,
    };
    Ok(client_config(authority.as_deref(), identity)?)
}

fn address(node: &Value) -> Option<String> {
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    let of_type = |wanted: &str| {
        addresses.iter().find(|a| a.get("type").and_then(Value::as_str) == Some(wanted))
    };
    let found = ADDRESS_TYPES.iter().find_map(|wanted| of_type(wanted))?;
    Some(found.get("address")?.as_str()?.to_owned())
}
