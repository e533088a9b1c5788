//! Rotation: a log that has grown too long is set aside, older ones are compressed, the oldest
//! removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::seam::{PodAccess, pod_uid};

/// How often logs are looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// When to rotate and how much to keep.
#[derive(Clone, Copy, Debug)]
pub struct RotationLimits {
    /// A log longer than this is rotated.
    pub max_bytes: u64,
    /// Files kept per container, the one being written included.
    pub max_files: usize,
}

impl Default for RotationLimits {
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5 }
    }
}

/// Rotates the logs of running containers until `shutdown`.
pub async fn rotate(
    access: Arc<dyn PodAccess>,
    limits: RotationLimits,
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        for (id, path) in running_logs(access.as_ref()) {
            if let Err(error) = rotate_one(access.as_ref(), &id, &path, limits).await {
                tracing::warn!(path = %path.display(), %error, "log not rotated");
            }
        }
    }
}

fn running_logs(access: &dyn PodAccess) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for pod in access.pods() {
        let Some(spec) = &pod.spec else { continue };
        let uid = pod_uid(&pod);
        let names = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .map(|container| &container.name)
            .chain(spec.ephemeral_containers.iter().flatten().map(|container| &container.name));
        for name in names {
            if let Some(container) = access.container(&uid, name, false)
                && container.running
            {
                found.push((container.id, container.log_path));
            }
        }
    }
    found
}

#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("failed to reopen the log: {0}")]
    Reopen(#[from] crate::cri::RuntimeError),
}

async fn rotate_one(
    access: &dyn PodAccess,
    id: &str,
    path: &Path,
    limits: RotationLimits,
) -> Result<(), RotateError> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // An earlier rotation ended between its two steps.
            access.runtime().reopen_log(id).await?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if length < limits.max_bytes {
        return Ok(());
    }
    let owned = path.to_owned();
    let prepared = tokio::task::spawn_blocking(move || make_room(&owned, limits));
    prepared.await.map_err(io::Error::other)??;
    let aside = set_aside(path, Timestamp::now());
    fs::rename(path, &aside)?;
    if let Err(error) = access.runtime().reopen_log(id).await {
        // The runtime goes on writing to the old file, which must keep its name then.
        fs::rename(&aside, path)?;
        return Err(error.into());
    }
    Ok(())
}

fn set_aside(path: &Path, now: Timestamp) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(now.strftime(".%Y%m%d-%H%M%S").to_string());
    PathBuf::from(name)
}

/// Compresses what was set aside before and removes so much of it that two more files fit.
pub(super) fn make_room(path: &Path, limits: RotationLimits) -> io::Result<()> {
    let mut rotated = rotated(path)?;
    let keep = limits.max_files.saturating_sub(2);
    while rotated.len() > keep {
        fs::remove_file(rotated.remove(0))?;
    }
    for file in rotated {
        if file.extension().is_some_and(|extension| extension == "gz") {
            continue;
        }
        let mut name = file.clone().into_os_string();
        name.push(".gz");
        let temporary = PathBuf::from(&name).with_extension("gz.tmp");
        let mut encoder = GzEncoder::new(File::create(&temporary)?, Compression::default());
        io::copy(&mut File::open(&file)?, &mut encoder)?;
        encoder.finish()?;
        fs::rename(&temporary, &name)?;
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// Files set aside from `path`, oldest first. Leftovers of a crash are removed.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(&prefix) {
            continue;
        }
        if name.ends_with(".tmp") {
            fs::remove_file(entry.path())?;
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
