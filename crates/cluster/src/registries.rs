//! How the nodes of a cluster reach image registries: mirrors to be asked first, and authorities
//! that are trusted besides the system's. Container runtimes read it from one folder per registry
//! (<https://github.com/containerd/containerd/blob/main/docs/hosts.md>).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::node::files::{self, File};

/// The file in a cluster's folder that keeps it for nodes which come later.
const FILE: &str = "registries.json";
/// The registry that images without one come from, and where it is reached.
const DEFAULT: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Mirrors and authorities by host, with the port if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registries {
    /// URLs that are asked in this order before the registry itself.
    mirrors: BTreeMap<String, Vec<String>>,
    /// Authorities (PEM).
    authorities: BTreeMap<String, String>,
}

/// What a registry cannot be.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Not of the form.
    #[error("{0:?} is not of the form {1}")]
    Form(String, &'static str),
    /// No host.
    #[error("{0:?} is no host of a registry: it must be a name or address, with :PORT if need be")]
    Host(String),
    /// No URL.
    #[error("{0:?} is no URL of a mirror: it must begin with https:// or http://")]
    Url(String),
    /// The authority cannot be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(String),
}

// === impl Registries ===

impl Registries {
    /// Adds mirrors, as `HOST=URL,URL`.
    ///
    /// # Errors
    /// When the text is not of this form.
    pub fn add_mirrors(&mut self, text: &str) -> Result<(), RegistryError> {
        let form = || RegistryError::Form(text.to_owned(), "HOST=URL[,URL]");
        let (host, urls) = text.split_once('=').ok_or_else(form)?;
        let all = self.mirrors.entry(valid_host(host)?).or_default();
        for url in urls.split(',') {
            let url = url.trim_end_matches('/');
            if url_host(url).is_none() {
                return Err(RegistryError::Url(url.to_owned()));
            }
            all.push(url.to_owned());
        }
        Ok(())
    }

    /// Adds an authority, as `HOST=FILE`.
    ///
    /// # Errors
    /// When the text is not of this form, or the file holds no certificate.
    pub fn add_authority(&mut self, text: &str) -> Result<(), RegistryError> {
        let form = || RegistryError::Form(text.to_owned(), "HOST=FILE");
        let (host, path) = text.split_once('=').ok_or_else(form)?;
        let host = valid_host(host)?;
        let read = |source| RegistryError::Read { path: path.to_owned(), source };
        let pem = fs::read_to_string(path).map_err(read)?;
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(RegistryError::NoCertificate(path.to_owned()));
        }
        self.authorities.entry(host).or_default().push_str(&pem);
        Ok(())
    }

    /// Whether nothing is said of any registry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mirrors.is_empty() && self.authorities.is_empty()
    }

    /// What `folder` of a node holds for its container runtime.
    #[must_use]
    pub fn files(&self, folder: &str) -> Vec<File> {
        let hosts: BTreeSet<_> = self.mirrors.keys().chain(self.authorities.keys()).collect();
        let mut files = Vec::new();
        for host in hosts {
            files.push(files::plain(
                &format!("{folder}/{host}/hosts.toml"),
                self.hosts(folder, host),
            ));
            if let Some(pem) = self.authorities.get(host) {
                files.push(files::plain(&authority(folder, host), pem.clone()));
            }
        }
        files
    }

    fn hosts(&self, folder: &str, host: &str) -> String {
        let server = if host == DEFAULT.0 { DEFAULT.1 } else { host };
        let trusted = |host: &str| match self.authorities.contains_key(host) {
            true => format!("ca = \"{}\"\n", authority(folder, host)),
            false => String::new(),
        };
        let mut text = format!("server = \"https://{server}\"\n{}", trusted(host));
        for url in self.mirrors.get(host).into_iter().flatten() {
            let ca = url_host(url).map(trusted).unwrap_or_default();
            text.push_str(&format!(
                "\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{ca}"
            ));
        }
        // Before containerd 1.7 a file that names no host is none.
        if !self.mirrors.contains_key(host) {
            text.push_str(&format!("\n[host.\"https://{server}\"]\n{}", trusted(host)));
        }
        text
    }

    /// Keeps it in the folder of a cluster.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(FILE), serde_json::to_vec_pretty(self)?)
    }

    /// What was kept in the folder of a cluster.
    pub(crate) fn kept(folder: &Path) -> Self {
        let text = fs::read(folder.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

fn authority(folder: &str, host: &str) -> String {
    format!("{folder}/{host}/ca.crt")
}

/// A host becomes the name of a folder and part of a text, so nothing but a host will do.
fn valid_host(host: &str) -> Result<String, RegistryError> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let good = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && host.chars().all(known);
    if good { Ok(host.to_owned()) } else { Err(RegistryError::Host(host.to_owned())) }
}

/// The host of a URL that can stand in a configuration.
fn url_host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"))?;
    let host = rest.split('/').next()?;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    (valid_host(host).is_ok() && rest.chars().all(plain)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::files::Content;

    #[test]
    fn mirrors_come_before_the_registry_and_authorities_go_with_their_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
        let path = folder.path().join("ca.crt");
        fs::write(&path, pem).unwrap();
        let mut registries = Registries::default();
        assert!(registries.is_empty());
        registries.add_mirrors("docker.io=https://mirror:5000/,http://other/v2/hub").unwrap();
        registries.add_authority(&format!("mirror:5000={}", path.display())).unwrap();
        let files = registries.files("/certs.d");
        let found: Vec<_> = files
            .iter()
            .map(|file| match &file.content {
                Content::Text(text) => (file.path.to_str().unwrap(), text.as_str()),
                Content::Link(_) => panic!("{file:?}"),
            })
            .collect();
        let mirrored = r#"server = "https://registry-1.docker.io"

[host."https://mirror:5000"]
capabilities = ["pull", "resolve"]
ca = "/certs.d/mirror:5000/ca.crt"

[host."http://other/v2/hub"]
capabilities = ["pull", "resolve"]
"#;
        let itself = r#"server = "https://mirror:5000"
ca = "/certs.d/mirror:5000/ca.crt"

[host."https://mirror:5000"]
ca = "/certs.d/mirror:5000/ca.crt"
"#;
        assert_eq!(
            found,
            [
                ("/certs.d/docker.io/hosts.toml", mirrored),
                ("/certs.d/mirror:5000/hosts.toml", itself),
                ("/certs.d/mirror:5000/ca.crt", pem),
            ]
        );
        registries.keep(folder.path()).unwrap();
        assert_eq!(Registries::kept(folder.path()), registries);
        assert!(Registries::kept(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        let mut registries = Registries::default();
        for (text, wanted) in [
            ("docker.io", "is not of the form HOST=URL[,URL]"),
            ("../x=https://a", "no host of a registry"),
            ("a/b=https://a", "no host of a registry"),
            ("a=mirror:5000", "no URL of a mirror"),
            ("a=https://", "no URL of a mirror"),
            ("a=https://b/\"]", "no URL of a mirror"),
        ] {
            let error = registries.add_mirrors(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let text = format!("a={}", path.display());
        assert!(registries.add_authority(&text).unwrap_err().to_string().starts_with("reading "));
        fs::write(&path, "x").unwrap();
        let error = registries.add_authority(&text).unwrap_err().to_string();
        assert!(error.ends_with("ca.crt holds no certificate in PEM"), "{error}");
    }
}
