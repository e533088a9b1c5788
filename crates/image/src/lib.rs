//! Container images made from files, without a container engine.
//!
//! An [`ImageBuilder`] collects files, links and the configuration of one image and writes an
//! archive that container runtimes import ([`write`] puts several into one). There is one layer,
//! uncompressed, so that a binary is read twice (for its digest, then for its bytes) and never kept
//! in memory.
//!
//! Invariant: equal input gives equal bytes. Times are zero, owners are root, entries are
//! sorted.
//!
//! See <https://github.com/opencontainers/image-spec>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

mod archive;
#[cfg(test)]
mod tests;

pub use archive::write;

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that goes into the image cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file on this machine.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file changed its size between the two times it was read.
    #[error("{} changed while the image was written", path.display())]
    Changed {
        /// The file on this machine.
        path: PathBuf,
    },
    /// The archive cannot be written.
    #[error("writing the image: {0}")]
    Write(#[from] io::Error),
}

/// Where the bytes of a file come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// From memory.
    Bytes(Vec<u8>),
    /// From a file of this machine, read when the image is written.
    File(PathBuf),
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Directory { mode: u32 },
    File { source: Source, mode: u32 },
    Symlink { target: String },
}

/// An image in the making.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    reference: String,
    /// By path without the leading slash; a folder sorts before what it holds.
    entries: BTreeMap<String, Entry>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    environment: Vec<String>,
    working_directory: String,
    user: String,
    labels: BTreeMap<String, String>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Full reference, `docker.io/library/busybox:latest`.
    pub reference: String,
    /// Digest of the manifest, `sha256:...`.
    pub digest: String,
    /// Digest of the configuration, by which runtimes know the image.
    pub id: String,
}

impl ImageBuilder {
    /// An empty image called `reference`. Short names are completed as runtimes complete them:
    /// `busybox` is `docker.io/library/busybox:latest`.
    pub fn new(reference: &str) -> Self {
        Self {
            reference: full_reference(reference),
            entries: BTreeMap::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            environment: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            ],
            working_directory: "/".into(),
            user: String::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Adds a file with its permission bits. Folders above it are made with mode 0755.
    #[must_use]
    pub fn file(mut self, path: &str, source: impl Into<Source>, mode: u32) -> Self {
        self.insert(path, Entry::File { source: source.into(), mode });
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.insert(path, Entry::Symlink { target: target.to_owned() });
        self
    }

    /// Adds a folder with its permission bits.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        self.insert(path, Entry::Directory { mode });
        self
    }

    /// What a container runs.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Arguments of the entry point unless the container gives its own.
    #[must_use]
    pub fn command<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable; `PATH` has a default.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let prefix = format!("{name}=");
        self.environment.retain(|variable| !variable.starts_with(&prefix));
        self.environment.push(prefix + value);
        self
    }

    /// Folder in which a container starts; `/` unless given.
    #[must_use]
    pub fn working_directory(mut self, path: &str) -> Self {
        path.clone_into(&mut self.working_directory);
        self
    }

    /// User, or `user:group`, a container runs as; root unless given.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Attaches a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes an archive of this image.
    ///
    /// # Errors
    /// A source file that cannot be read or changes meanwhile, or an output that cannot be
    /// written.
    pub fn write(&self, out: &mut impl Write) -> Result<Written, Error> {
        let mut written = write(std::slice::from_ref(self), out)?;
        Ok(written.remove(0))
    }

    fn write_layer(&self, out: &mut impl Write) -> Result<(), Error> {
        let mut layer = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            match entry {
                Entry::Directory { mode } => {
                    let mut header = header(tar::EntryType::Directory, *mode, 0);
                    layer.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Entry::Symlink { target } => {
                    let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                    layer.append_link(&mut header, path, target)?;
                }
                Entry::File { source: Source::Bytes(bytes), mode } => {
                    let mut header = header(tar::EntryType::Regular, *mode, bytes.len() as u64);
                    layer.append_data(&mut header, path, bytes.as_slice())?;
                }
                Entry::File { source: Source::File(from), mode } => {
                    let read = |source| Error::Read { path: from.clone(), source };
                    let file = File::open(from).map_err(read)?;
                    let size = file.metadata().map_err(read)?.len();
                    let mut bytes = file.take(size);
                    let mut header = header(tar::EntryType::Regular, *mode, size);
                    layer.append_data(&mut header, path, &mut bytes)?;
                    if bytes.limit() > 0 {
                        return Err(Error::Changed { path: from.clone() });
                    }
                }
            }
        }
        layer.finish()?;
        Ok(())
    }

    fn config(&self, layer: &str) -> Value {
        let mut config = json!({
            "Env": self.environment,
            "WorkingDir": self.working_directory,
        });
        if !self.entrypoint.is_empty() {
            config["Entrypoint"] = json!(self.entrypoint);
        }
        if !self.command.is_empty() {
            config["Cmd"] = json!(self.command);
        }
        if !self.user.is_empty() {
            config["User"] = json!(self.user);
        }
        if !self.labels.is_empty() {
            config["Labels"] = json!(self.labels);
        }
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "ironclad"}],
        })
    }
}

/// The full form of a reference, as container runtimes complete it.
pub fn full_reference(reference: &str) -> String {
    let (first, rest) = match reference.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (first, rest.to_owned())
        }
        Some(_) => ("docker.io", reference.to_owned()),
        None => ("docker.io", format!("library/{reference}")),
    };
    let tagged = rest.rsplit('/').next().is_some_and(|name| name.contains(':'));
    format!("{first}/{rest}{}", if tagged { "" } else { ":latest" })
}

fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    let media_type = match kind {
        "layer" => "application/vnd.oci.image.layer.v1.tar".to_owned(),
        other => format!("application/vnd.oci.image.{other}.v1+json"),
    };
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn blob(digest: &str) -> String {
    digest.replacen("sha256:", "blobs/sha256/", 1)
}

/// Go's name of the machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Takes bytes for their digest and number.
#[derive(Default)]
struct Measure {
    hash: Sha256,
    size: u64,
}

impl Measure {
    fn finish(self) -> (String, u64) {
        (format!("sha256:{:x}", self.hash.finalize()), self.size)
    }
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
