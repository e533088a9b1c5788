//! Where the control plane of a cluster is, and how its API servers are stopped and started: as an
//! administrator does it, by taking their manifests out of the kubelet's folder for a while.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::ConnectOptions;
use machinery::codec::yaml;
use serde_json::Value;

use crate::config::YEAR;
use crate::plan::Role;
use crate::state::{self, StateError};

/// The static Pod's manifest.
const MANIFEST: &str = "etc/kubernetes/manifests/kube-apiserver.yaml";
/// Where it is meanwhile.
const ASIDE: &str = "etc/kubernetes/kube-apiserver.yaml.stopped";
/// The administrator's kubeconfig of a real host.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// How long an API server may take to end, or to answer again.
const PATIENCE: Duration = Duration::from_secs(120);
/// No event tells of either.
const POLL: Duration = Duration::from_millis(100);
/// For one attempt to reach it.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Why an API server cannot be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// There is no such cluster.
    #[error(transparent)]
    State(#[from] StateError),
    /// No control plane was set up here.
    #[error("{} is not there: no control plane runs on this host", path.display())]
    NoControlPlane {
        /// The manifest.
        path: PathBuf,
    },
    /// A manifest cannot be read or moved.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not say what it must.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// It does not end.
    #[error(
        "the API server at {0} still runs although its manifest was taken away; does the kubelet of its node run?"
    )]
    DoesNotStop(SocketAddr),
    /// It does not answer.
    #[error("the API server does not answer again; see its Pod's log on its node")]
    DoesNotStart,
    /// No client could be made.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
}

/// The control plane of a cluster.
#[derive(Debug)]
pub struct Site {
    /// The kubeconfig of its administrator.
    pub kubeconfig: PathBuf,
    /// Its API servers.
    pub servers: Vec<Server>,
}

/// A node of a cluster, by its files.
#[derive(Clone, Debug)]
pub struct NodeFiles {
    /// Its name.
    pub name: String,
    /// The root of its files as this host sees them while it runs.
    pub root: PathBuf,
    /// Where its `/var` is for good.
    pub var: PathBuf,
    /// Whether it runs the control plane.
    pub control_plane: bool,
}

/// The nodes of the cluster `name` of this host, and the kubeconfig of its administrator; without a
/// name those of `ironclad`, or else this host itself, as far as it is a node.
///
/// # Errors
/// [`SiteError`] when there is no such cluster.
pub fn locate(clusters: &Path, name: Option<&str>) -> Result<(Vec<NodeFiles>, PathBuf), SiteError> {
    let wanted = name.unwrap_or("ironclad");
    let found = state::all(clusters).into_iter().find(|cluster| cluster.plan.name == wanted);
    let Some(cluster) = found else {
        if let Some(name) = name {
            return Err(StateError::Missing(name.to_owned()).into());
        }
        let root = Path::new("/");
        let control_plane = [MANIFEST, ASIDE].iter().any(|file| root.join(file).exists());
        let host = NodeFiles {
            name: crate::host::default_name(),
            root: root.to_owned(),
            var: root.join("var"),
            control_plane,
        };
        return Ok((vec![host], ADMIN.into()));
    };
    let nodes = cluster.plan.nodes.iter().map(|node| {
        // What a running node mounted over its files must not be changed from below.
        let process = cluster.nodes.get(&node.name).filter(|process| process.runs());
        let folder = state::node(clusters, wanted, &node.name);
        let var = folder.join("var");
        let root = match process {
            Some(process) => PathBuf::from(format!("/proc/{}/root", process.pid)),
            None => folder,
        };
        let control_plane = node.role == Role::ControlPlane;
        NodeFiles { name: node.name.clone(), root, var, control_plane }
    });
    Ok((nodes.collect(), state::kubeconfig(clusters, wanted)))
}

/// One API server, by the manifest of its static Pod.
#[derive(Debug)]
pub struct Server {
    /// The root of its node's files as this host sees them while the node runs.
    root: PathBuf,
    /// Where its `/var` is for good.
    var: PathBuf,
    arguments: Vec<String>,
}

// === impl Site ===

impl Site {
    /// The cluster `name` of this host; without a name `ironclad`, or else the control plane that
    /// this host itself is.
    ///
    /// # Errors
    /// [`SiteError`] when there is none.
    pub fn find(clusters: &Path, name: Option<&str>) -> Result<Self, SiteError> {
        let (nodes, kubeconfig) = locate(clusters, name)?;
        let control_planes = nodes.iter().filter(|node| node.control_plane);
        let servers = control_planes.map(Server::read);
        let servers: Vec<_> = servers.collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(SiteError::NoControlPlane { path: Path::new("/").join(MANIFEST) });
        }
        Ok(Self { kubeconfig, servers })
    }

    /// A client of the administrator.
    ///
    /// # Errors
    /// When the kubeconfig is of no use.
    pub async fn client(&self) -> Result<kube::Client, SiteError> {
        connect(&self.kubeconfig).await
    }

    /// Stops all API servers and waits until they have ended. What cannot be stopped is left
    /// running, the others too.
    ///
    /// # Errors
    /// [`SiteError`] with the first that does not end.
    pub async fn stop(&self) -> Result<(), SiteError> {
        let stopped = async {
            for server in &self.servers {
                server.move_manifest(MANIFEST, ASIDE)?;
            }
            for server in &self.servers {
                server.ended().await?;
            }
            Ok(())
        };
        let result = stopped.await;
        if result.is_err() {
            self.put_back()?;
        }
        result
    }

    /// Starts all API servers and waits until one of them is ready.
    ///
    /// # Errors
    /// When a manifest cannot be put back, or none gets ready.
    pub async fn start(&self) -> Result<(), SiteError> {
        self.put_back()?;
        let ready = async {
            loop {
                if is_ready(&self.kubeconfig).await {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.map_err(|_| SiteError::DoesNotStart)
    }

    fn put_back(&self) -> Result<(), SiteError> {
        self.servers.iter().try_for_each(|server| server.move_manifest(ASIDE, MANIFEST))
    }
}

/// A client with the kubeconfig at `path`.
///
/// # Errors
/// When it is of no use.
pub async fn connect(path: &Path) -> Result<kube::Client, SiteError> {
    let options = ConnectOptions {
        kubeconfig: Some(path.to_owned()),
        user_agent: "ironclad-admin".to_owned(),
    };
    Ok(client::connect(&options).await?)
}

async fn is_ready(kubeconfig: &Path) -> bool {
    // A new connection each time: the one before may hang in a server that is gone.
    let Ok(client) = connect(kubeconfig).await else { return false };
    let request = http::Request::get("/readyz").body(Vec::new()).expect("the path is valid");
    let answer = tokio::time::timeout(ATTEMPT, client.request_text(request)).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|text| text == "ok"))
}

// === impl NodeFiles, Server ===

impl NodeFiles {
    /// How long certificates are good that are issued here, as its manifests say.
    #[must_use]
    pub fn certificate_validity(&self) -> Duration {
        let path = self.root.join("etc/kubernetes/manifests/kube-certificates.yaml");
        let arguments = std::fs::read_to_string(path).ok().and_then(|text| arguments(&text).ok());
        let arguments = arguments.unwrap_or_default();
        let given = arguments.iter().find_map(|argument| argument.strip_prefix("--validity="));
        given.and_then(|text| machinery::duration::parse(text).ok()).unwrap_or(YEAR)
    }
}

impl Server {
    fn read(node: &NodeFiles) -> Result<Self, SiteError> {
        let root = &node.root;
        // One that was stopped by an attempt that broke off is as good.
        let path = [MANIFEST, ASIDE].map(|file| root.join(file)).into_iter().find(|p| p.exists());
        let Some(path) = path else {
            return Err(SiteError::NoControlPlane { path: root.join(MANIFEST) });
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|source| SiteError::File { path: path.clone(), source })?;
        let arguments = arguments(&text)
            .map_err(|reason| SiteError::Manifest { path: path.clone(), reason })?;
        Ok(Self { root: root.to_owned(), var: node.var.clone(), arguments })
    }

    /// The value of a flag.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&str> {
        let value = |argument: &'_ String| {
            argument.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('=').map(str::len)
        };
        self.arguments
            .iter()
            .rev()
            .find_map(|argument| value(argument).map(|length| &argument[argument.len() - length..]))
    }

    /// A path of its node as this host sees it: what the node keeps below `/var` under a path that
    /// stays when the node is switched off.
    #[must_use]
    pub fn path(&self, on_node: &str) -> PathBuf {
        match on_node.strip_prefix("/var/") {
            Some(kept) => self.var.join(kept),
            None => self.root.join(on_node.trim_start_matches('/')),
        }
    }

    /// Where it listens for its node's network.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let address: IpAddr = self.flag("advertise-address")?.parse().ok()?;
        let port = self.flag("secure-port").map_or(Some(6443), |port| port.parse().ok())?;
        Some(SocketAddr::new(address, port))
    }

    fn move_manifest(&self, from: &str, to: &str) -> Result<(), SiteError> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        match std::fs::rename(&from, &to) {
            // It is there already.
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
            moved => moved.map_err(|source| SiteError::File { path: from, source }),
        }
    }

    async fn ended(&self) -> Result<(), SiteError> {
        let Some(address) = self.address() else { return Ok(()) };
        let ended = async {
            loop {
                let connected = tokio::net::TcpStream::connect(address);
                match tokio::time::timeout(ATTEMPT, connected).await {
                    Ok(Ok(_)) => tokio::time::sleep(POLL).await,
                    _ => return,
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.map_err(|_| SiteError::DoesNotStop(address))
    }
}

/// The arguments of the first container of a Pod.
fn arguments(manifest: &str) -> Result<Vec<String>, String> {
    let pod: Value = yaml::from_str(manifest).map_err(|error| error.to_string())?;
    let container = &pod["spec"]["containers"][0];
    let words = ["command", "args"]
        .into_iter()
        .filter_map(|field| container[field].as_array())
        .flatten()
        .filter_map(|word| word.as_str().map(str::to_owned));
    let words: Vec<String> = words.collect();
    if words.is_empty() { Err("it has no command".to_owned()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(root: &Path, folder: &Path) -> NodeFiles {
        NodeFiles {
            name: "m1".to_owned(),
            root: root.to_owned(),
            var: folder.join("var"),
            control_plane: true,
        }
    }

    fn server(root: &Path) -> Server {
        let file = root.join(MANIFEST);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let pod = serde_json::json!({"spec": {"containers": [{"command": [
            "/ironclad", "kube-apiserver", "--advertise-address=192.0.2.1", "--data-dir=/var/lib/s",
        ], "args": ["--secure-port=7443", "--data-dir=/other"]}]}});
        std::fs::write(file, pod.to_string()).unwrap();
        Server::read(&files(root, root)).unwrap()
    }

    #[test]
    fn a_manifest_says_where_things_are() {
        let node = tempfile::tempdir().unwrap();
        let server = server(node.path());
        assert_eq!(server.flag("data-dir"), Some("/other"), "the last one counts");
        assert_eq!(server.flag("data"), None);
        assert_eq!(server.address().unwrap().to_string(), "192.0.2.1:7443");
        assert_eq!(server.path("/var/lib/s"), node.path().join("var/lib/s"));
        let running = Server::read(&files(node.path(), Path::new("/clusters/c/nodes/m1"))).unwrap();
        let kept = running.path("/var/lib/ironclad/store");
        assert_eq!(kept, Path::new("/clusters/c/nodes/m1/var/lib/ironclad/store"));
        assert_eq!(running.path("/etc/a"), node.path().join("etc/a"));
    }

    #[test]
    fn a_manifest_that_was_moved_is_found_again() {
        let node = tempfile::tempdir().unwrap();
        let first = server(node.path());
        first.move_manifest(MANIFEST, ASIDE).unwrap();
        assert!(!node.path().join(MANIFEST).exists());
        first.move_manifest(MANIFEST, ASIDE).unwrap();
        let again = Server::read(&files(node.path(), node.path())).unwrap();
        assert_eq!(again.arguments, first.arguments);
        again.move_manifest(ASIDE, MANIFEST).unwrap();
        assert!(node.path().join(MANIFEST).exists());
        let empty = tempfile::tempdir().unwrap();
        let error = Server::read(&files(empty.path(), empty.path())).unwrap_err().to_string();
        assert!(error.ends_with("no control plane runs on this host"), "{error}");
    }
}
