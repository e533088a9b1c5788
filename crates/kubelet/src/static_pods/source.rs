//! Static Pods from the files of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use machinery::codec::yaml;
use machinery::hex;
use sha2::{Digest as _, Sha256};

use super::{defaults, mirror};
use crate::seam::{PodUid, pod_uid};

/// A file that holds no usable Pod.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not the YAML or JSON of a Pod.
    #[error("{path}: couldn't parse as pod: {message}")]
    Parse {
        /// Which one.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// Reads the static Pods of a folder.
pub struct Source {
    folder: PathBuf,
    node_name: String,
    /// Good Pods as of the last read: a file that turned bad keeps its old Pod until it is mended
    /// or removed.
    last: BTreeMap<PathBuf, Arc<Pod>>,
}

/// What changed since the last read.
#[derive(Debug, Default)]
pub struct Changes {
    /// Pods that are new or changed.
    pub upserts: Vec<Arc<Pod>>,
    /// Pods that are gone.
    pub removals: Vec<Arc<Pod>>,
}

// === impl Source ===

impl Source {
    /// A source of `folder` for the node `node_name`.
    pub fn new(folder: PathBuf, node_name: &str) -> Self {
        Self { folder, node_name: node_name.to_owned(), last: BTreeMap::new() }
    }

    /// Reads the folder.
    pub fn read(&mut self) -> Changes {
        let mut now = BTreeMap::new();
        for path in files(&self.folder) {
            match read_pod(&path, &self.node_name) {
                Ok(pod) => {
                    now.insert(path, Arc::new(pod));
                }
                Err(error) => {
                    tracing::warn!(%error, "static pod file is not usable");
                    if let Some(old) = self.last.get(&path) {
                        now.insert(path, old.clone());
                    }
                }
            }
        }
        let uids = |all: &BTreeMap<PathBuf, Arc<Pod>>| -> Vec<PodUid> {
            all.values().map(|pod| pod_uid(pod)).collect()
        };
        let (before, after) = (uids(&self.last), uids(&now));
        let changes = Changes {
            upserts: now.values().filter(|p| !before.contains(&pod_uid(p))).cloned().collect(),
            removals: self
                .last
                .values()
                .filter(|p| !after.contains(&pod_uid(p)))
                .cloned()
                .collect(),
        };
        self.last = now;
        changes
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            !name.starts_with('.') && path.is_file()
        })
        .collect();
    found.sort();
    found
}

fn read_pod(path: &Path, node_name: &str) -> Result<Pod, FileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let bad = |message: String| FileError::Parse { path: path.to_owned(), message };
    let mut pod: Pod = yaml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    if pod.spec.as_ref().is_none_or(|spec| spec.containers.is_empty()) {
        return Err(bad("no containers".into()));
    }
    let Some(name) = pod.metadata.name.clone().filter(|name| !name.is_empty()) else {
        return Err(bad("no name".into()));
    };
    finish(&mut pod, &name, path, node_name);
    Ok(pod)
}

/// What makes a Pod of a file a Pod of this node. The UID depends on content, file and node alone,
/// so that a kubelet that starts again finds its containers.
fn finish(pod: &mut Pod, name: &str, path: &Path, node_name: &str) {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(pod).expect("a Pod has a JSON form"));
    hash.update(path.display().to_string());
    hash.update(node_name);
    let hash = hex::digits(&hash.finalize()[..16]);
    let meta = &mut pod.metadata;
    meta.uid = Some(hash.clone());
    meta.name = Some(format!("{name}-{}", node_name.to_lowercase()));
    meta.namespace.get_or_insert_with(|| "default".into());
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(mirror::HASH.into(), hash);
    annotations.insert(mirror::SOURCE.into(), "file".into());
    annotations.insert(mirror::SEEN.into(), Timestamp::now().to_string());
    pod.spec.get_or_insert_default().node_name = Some(node_name.to_owned());
    pod.status = None;
    defaults::apply(pod);
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: kube-system}\nspec:\n  containers: [{name: c, image: 'busybox:1'}]\n";

    #[test]
    fn files_come_change_break_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web.yaml");
        let mut source = Source::new(dir.path().to_owned(), "M1");
        assert!(source.read().upserts.is_empty());

        std::fs::write(&file, POD).unwrap();
        std::fs::write(dir.path().join(".hidden.yaml"), POD).unwrap();
        let first = source.read();
        let pod = first.upserts[0].clone();
        assert_eq!(first.upserts.len(), 1);
        assert_eq!(spec_key(&pod), "kube-system/web-m1");
        assert!(mirror::is_static(&pod));
        assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("M1"));
        assert!(source.read().upserts.is_empty());
        let mut again = Source::new(dir.path().to_owned(), "M1");
        assert_eq!(pod_uid(&again.read().upserts[0]), pod_uid(&pod));

        std::fs::write(&file, "not: [a pod").unwrap();
        let broken = source.read();
        assert!(broken.upserts.is_empty() && broken.removals.is_empty());

        std::fs::write(&file, POD.replace("busybox:1", "busybox:2")).unwrap();
        let changed = source.read();
        assert_eq!(pod_uid(&changed.removals[0]), pod_uid(&pod));
        assert_ne!(pod_uid(&changed.upserts[0]), pod_uid(&pod));

        std::fs::remove_file(&file).unwrap();
        assert_eq!(source.read().removals.len(), 1);
    }

    fn spec_key(pod: &Pod) -> String {
        crate::pod::spec::key(pod)
    }
}
