//! Import of image archives: sites without a registry put them into a folder.
//!
//! CRI has no import, so the runtime's own client is used: `ctr -n k8s.io images import FILE`.
//! Archives whose images are all there already are left alone. What came from an archive is marked as
//! pinned for the runtime, as long as the archive is there.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::archive::{self, Listed};
use super::folder::{Keeper, State};
use super::record::{Archive, Entry, Mark, Record};
use super::writers;
use crate::cri::{NAMESPACE, Runtime};
use crate::static_pods::watch_dir::WatchDir;

/// The label by which containerd knows an image that must stay.
const PINNED: &str = "io.cri-containerd.pinned";

/// Between looks for an image that was just imported, and how many.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 200;

/// Failure to import image archives.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The client could not be started.
    #[error("running {}: {source}", client.display())]
    Client {
        /// Its path.
        client: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client refused.
    #[error("{0}")]
    Refused(String),
}

/// Imports image archives and remembers which.
pub struct Importer {
    folders: Vec<PathBuf>,
    client: PathBuf,
    runtime: Runtime,
    record: Record,
    record_path: PathBuf,
    /// Names that are not marked yet as the record has it, and how they are to be.
    marks: Vec<(String, bool)>,
}

// === impl Importer ===

impl Importer {
    /// An importer of `folders` through the containerd client at `client`, which keeps its record in
    /// the kubelet's folder `root_dir`.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>, client: PathBuf, runtime: Runtime, root_dir: &Path) -> Self {
        let record_path = Record::path(root_dir);
        let mut record = Record::load(&record_path);
        record.forgive();
        Self { folders, client, runtime, record, record_path, marks: Vec::new() }
    }

    /// Imports now and whenever something changes in the folders or is asked for. What cannot be
    /// imported goes to `problems`, in words.
    pub async fn run(
        mut self,
        mut keeper: Keeper,
        problems: mpsc::UnboundedSender<String>,
        shutdown: CancellationToken,
    ) {
        // Before the first look, so that nothing that comes meanwhile is missed.
        let mut watches: Vec<_> = self.folders.iter().cloned().map(WatchDir::new).collect();
        loop {
            for problem in self.round().await {
                tracing::warn!(problem, "image archive not imported");
                // Without anybody to tell, the log has to do.
                problems.send(problem).ok();
            }
            keeper.state.send_replace(State { importing: false, held: self.record.held() });
            self.mark().await;
            let changed = async {
                let any = watches.iter_mut().map(|watch| Box::pin(watch.changed()));
                futures::future::select_all(any).await;
            };
            tokio::select! {
                () = changed => {}
                Some(ask) = keeper.asks.recv() => {
                    if let Err(error) = self.fetch(&ask.name).await {
                        tracing::warn!(image = ask.name, %error, "image not imported again");
                    }
                    // Who asked may have given up.
                    ask.tried.send(()).ok();
                }
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Reads the archives that are new or changed, and imports those with an image that is not
    /// there; returns what went wrong. One at a time: the client writes every archive's index under
    /// the same name and blocks others meanwhile.
    async fn round(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut found = Vec::new();
        let mut complete = true;
        for folder in &self.folders {
            match archives(folder) {
                Ok(more) => found.extend(more),
                Err(error) => {
                    complete = false;
                    problems.push(format!("reading image folder {}: {error}", folder.display()));
                }
            }
        }
        let plan = self.record.plan(&found);
        // What cannot be seen is not gone.
        for path in plan.forget.iter().filter(|_| complete) {
            self.forget(path);
        }
        let paths: Vec<PathBuf> = plan.read.iter().map(|archive| archive.path.clone()).collect();
        let contents = tokio::task::spawn_blocking(move || {
            // One that cannot be read is the client's to judge.
            paths.iter().map(|path| archive::contents(path).unwrap_or_default()).collect::<Vec<_>>()
        });
        let contents = contents.await.unwrap_or_default();
        let mut fresh: Vec<_> = plan.read.into_iter().zip(contents).collect();
        if fresh.is_empty() {
            return problems;
        }
        let sandbox = self.runtime.sandbox_image().await.unwrap_or_default();
        // Sandboxes can be made while the rest is being imported, and of the rest the largest
        // archives are those that most is waiting for.
        fresh.sort_by_key(|(archive, images)| {
            let first = images.iter().any(|image| image.names.contains(&sandbox));
            (!first, Reverse(archive.mark.size))
        });
        for (archive, images) in fresh {
            let imported = match self.are_there(&images).await {
                true => Ok(()),
                false => self.import(&archive.path, &images).await,
            };
            let error = imported.err().map(|error| error.to_string());
            if let Some(error) = &error {
                if self.runtime.version().await.is_err() {
                    // Not the archive's fault; it is tried again at the next look.
                    tracing::warn!(path = %archive.path.display(), error, "archive not imported yet");
                    return problems;
                }
                problems.push(format!("importing {}: {error}", archive.path.display()));
            }
            self.learn(archive.path, Entry { mark: archive.mark, images, error });
        }
        problems
    }

    fn learn(&mut self, path: PathBuf, entry: Entry) {
        let images = if entry.error.is_none() { entry.images.clone() } else { Vec::new() };
        let old = self.record.archives.insert(path, entry);
        self.unpin(old);
        self.pin(&images);
        self.remember();
    }

    fn pin(&mut self, images: &[Listed]) {
        let names = images.iter().flat_map(|image| image.names.clone());
        self.marks.extend(names.map(|name| (name, true)));
    }

    fn forget(&mut self, path: &Path) {
        let gone = self.record.archives.remove(path);
        self.unpin(gone);
        self.remember();
    }

    /// The images of an archive that is gone may go too, unless another holds them.
    fn unpin(&mut self, gone: Option<Entry>) {
        let held = self.record.held();
        let names = gone.into_iter().flat_map(|entry| entry.images).flat_map(|image| image.names);
        self.marks.extend(names.filter(|name| !held.has(name)).map(|name| (name, false)));
    }

    fn remember(&self) {
        if let Err(error) = self.record.store(&self.record_path) {
            // After a restart the archives are looked at again.
            tracing::warn!(path = %self.record_path.display(), %error, "record not written");
        }
    }

    /// Imports the archive again that holds the image called `name`.
    async fn fetch(&mut self, name: &str) -> Result<(), ImportError> {
        let Some((path, entry)) = self.record.holder(name) else { return Ok(()) };
        // Several may have asked for it.
        if self.are_there(&entry.images).await {
            return Ok(());
        }
        self.import(path, &entry.images).await?;
        let images = entry.images.clone();
        self.pin(&images);
        Ok(())
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

    async fn import(&self, path: &Path, images: &[Listed]) -> Result<(), ImportError> {
        self.client(&["import".as_ref(), path.as_os_str()]).await?;
        for name in images.iter().flat_map(|image| &image.names) {
            self.noticed(name).await;
        }
        tracing::info!(file = %path.display(), "imported image");
        Ok(())
    }

    /// Waits until the part of the runtime that kubelets speak with has noticed an image, of which
    /// nobody tells.
    async fn noticed(&self, name: &str) {
        for _ in 0..LOOKS {
            if !matches!(self.runtime.image_status(name).await, Ok(None)) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells the runtime which images stay. Should it not listen: the kubelet's own rule is the
    /// record.
    async fn mark(&mut self) {
        for (name, pinned) in std::mem::take(&mut self.marks) {
            let label = format!("{PINNED}={}", if pinned { "pinned" } else { "" });
            if let Err(error) =
                self.client(&["label".as_ref(), name.as_ref(), label.as_ref()]).await
            {
                tracing::debug!(image = name, %error, "image not marked");
            }
        }
    }

    async fn client(&self, arguments: &[&std::ffi::OsStr]) -> Result<(), ImportError> {
        let output = Command::new(&self.client)
            .arg("--address")
            .arg(self.runtime.socket())
            .args(["--namespace", NAMESPACE, "images"])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| ImportError::Client { client: self.client.clone(), source })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let message = message.trim().trim_start_matches("ctr: ");
            return Err(ImportError::Refused(message.to_owned()));
        }
        Ok(())
    }
}

/// The archives in `folder`, which need not exist.
fn archives(folder: &Path) -> std::io::Result<Vec<Archive>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if !is_archive(name) {
            continue;
        }
        // One that went away meanwhile is not there.
        let Ok(mark) = Mark::of(&path) else { continue };
        let unfinished = writers::has_writer(&path);
        found.push(Archive { path, mark, unfinished });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Whether a file of this name is taken for an archive. Names with a leading dot are files that are
/// still being written.
#[must_use]
pub fn is_archive(name: &str) -> bool {
    let known = [".tar", ".tar.gz", ".tgz", ".oci"].iter().any(|end| name.ends_with(end));
    known && !name.starts_with('.')
}
