//! Import of image files: sites without a registry put tarballs into a folder.
//!
//! CRI has no import, so the runtime's own client is used: `ctr -n k8s.io images import FILE`.
//! Archives whose images are all there already are left alone.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use tokio::process::Command;

use super::archive::{self, Listed};
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

    /// Imports the files that are new or changed and hold an image that is not there; returns how
    /// many those were. One at a time: the client writes every archive's index under the same name
    /// and blocks others meanwhile.
    pub async fn import(&mut self) -> Result<usize, ImportError> {
        let mut fresh = files(&self.folder)?;
        fresh.retain(|mark| !self.done.contains(mark));
        let paths: Vec<PathBuf> = fresh.iter().map(|(path, ..)| path.clone()).collect();
        let contents = tokio::task::spawn_blocking(move || {
            // One that cannot be read is the client's to judge.
            paths.iter().map(|path| archive::contents(path).unwrap_or_default()).collect::<Vec<_>>()
        });
        let contents = contents.await.unwrap_or_default();
        let mut fresh: Vec<_> = fresh.into_iter().zip(contents).collect();
        let sandbox = self.runtime.sandbox_image().await.unwrap_or_default();
        // Sandboxes can be made while the rest is being imported, and of the rest the largest
        // archives are those that most is waiting for.
        fresh.sort_by_key(|((_, _, length), images)| {
            (!images.iter().any(|image| image.names.contains(&sandbox)), Reverse(*length))
        });
        let mut count = 0;
        for (mark, images) in fresh {
            if !self.are_there(&images).await {
                self.import_file(&mark.0).await?;
                count += 1;
            }
            self.done.insert(mark);
        }
        Ok(count)
    }

    /// Whether the runtime has every one of `images` under every one of its names.
    async fn are_there(&self, images: &[Listed]) -> bool {
        for image in images {
            let by_digest = std::slice::from_ref(&image.digest);
            let names = if image.names.is_empty() { by_digest } else { &image.names };
            for name in names {
                let found = self.runtime.image_status(name).await;
                let same = found.ok().flatten().is_some_and(|found| {
                    found.id == image.digest
                        || found.repo_digests.iter().any(|known| known.ends_with(&image.digest))
                });
                if !same {
                    return false;
                }
            }
        }
        !images.is_empty()
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
