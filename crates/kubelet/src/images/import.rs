//! Import of image files: sites without a registry put tarballs into a folder.
//!
//! CRI has no import, so the runtime's own client is used: `ctr -n k8s.io images import FILE`.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use tokio::process::Command;

use crate::cri::Runtime;

/// Failure to import image files.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder cannot be read.
    #[error("reading image folder {path}: {source}")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client could not be started.
    #[error("running {client}: {source}")]
    Client {
        /// Its path.
        client: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client refused the file.
    #[error("importing {file}: {message}")]
    Refused {
        /// Which file.
        file: PathBuf,
        /// What the client said.
        message: String,
    },
}

/// Imports image files and remembers which.
pub struct Importer {
    folder: PathBuf,
    client: PathBuf,
    runtime: Runtime,
    done: HashSet<(PathBuf, Option<SystemTime>, u64)>,
}

// === impl Importer ===

impl Importer {
    /// An importer of `folder` through the containerd client at `client`.
    pub fn new(folder: PathBuf, client: PathBuf, runtime: Runtime) -> Self {
        Self { folder, client, runtime, done: HashSet::new() }
    }

    /// Imports the files that are new or changed; returns how many were. One at a time: the
    /// client writes every archive's index under the same name and blocks others meanwhile.
    pub async fn import(&mut self) -> Result<usize, ImportError> {
        let mut fresh = files(&self.folder)?;
        fresh.retain(|mark| !self.done.contains(mark));
        let sandbox = self.runtime.sandbox_image().await.unwrap_or_default();
        fresh.sort_by_key(|(path, _, length)| (!is_archive_of(path, &sandbox), Reverse(*length)));
        let mut count = 0;
        for mark in fresh {
            self.import_file(&mark.0).await?;
            self.done.insert(mark);
            count += 1;
        }
        Ok(count)
    }

    async fn import_file(&self, path: &Path) -> Result<(), ImportError> {
        let output = Command::new(&self.client)
            .arg("--address")
            .arg(self.runtime.socket())
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(path)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| ImportError::Client { client: self.client.clone(), source })?;
        if !output.status.success() {
            return Err(ImportError::Refused {
                file: path.to_owned(),
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        tracing::info!(file = %path.display(), "imported image");
        Ok(())
    }
}

/// Whether a file is named after an image, as `pause.tar` after `registry.k8s.io/pause:3.10`. Only
/// the order of imports depends on it: sandboxes can be made while the rest is being imported, and
/// of the rest the largest archives are those of the control plane.
fn is_archive_of(path: &Path, image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    let name = name.split([':', '@']).next().unwrap_or_default();
    path.file_stem().is_some_and(|stem| !name.is_empty() && stem == name)
}

fn files(folder: &Path) -> Result<Vec<(PathBuf, Option<SystemTime>, u64)>, ImportError> {
    let failed = |source| ImportError::Folder { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let image = [".tar", ".tar.gz", ".tgz", ".oci"].iter().any(|end| name.ends_with(end));
        // Names with a leading dot are files that are still being written.
        if !image || name.starts_with('.') {
            continue;
        }
        let Ok(meta) = path.metadata() else { continue };
        found.push((path, meta.modified().ok(), meta.len()));
    }
    found.sort();
    Ok(found)
}
