//! The form in which granted and actuated resources are kept on disk: upstream's, so that either
//! kubelet can go on with the other's files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::resources::PodResources;
use crate::runtime::labels::fnv1a;

/// Resources by Pod UID.
pub(super) type Entries = BTreeMap<String, PodResources>;

/// Why a kubelet cannot go on with what it finds.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("checkpoint {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "could not restore state from checkpoint: checkpoint is corrupted, please drain this node \
         and delete pod resource information checkpoint file {path:?} before restarting Kubelet"
    )]
    Corrupt {
        /// Which one.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    data: String,
    checksum: u64,
}

#[derive(Serialize, Deserialize)]
struct Data {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: Entries,
}

/// Upstream hashes how Go prints the text with its type.
fn checksum(data: &str) -> u64 {
    u64::from(fnv1a(format!("(string){data}").bytes()))
}

fn encode(entries: &Entries) -> serde_json::Result<Vec<u8>> {
    let data = serde_json::to_string(&Data { entries: entries.clone() })?;
    serde_json::to_vec(&Checkpoint { checksum: checksum(&data), data })
}

fn decode(bytes: &[u8]) -> Option<Entries> {
    let checkpoint: Checkpoint = serde_json::from_slice(bytes).ok()?;
    if checksum(&checkpoint.data) != checkpoint.checksum {
        return None;
    }
    serde_json::from_str::<Data>(&checkpoint.data).ok().map(|data| data.entries)
}

/// Reads a file; none, or an empty one as a power failure leaves it, has no entries: no container
/// survives that either.
pub(super) fn load(path: &Path) -> Result<Entries, CheckpointError> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Ok(Entries::new()),
        Ok(bytes) => {
            decode(&bytes).ok_or_else(|| CheckpointError::Corrupt { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Entries::new()),
        Err(source) => Err(CheckpointError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file, complete or not at all.
pub(super) fn store(path: &Path, entries: &Entries) -> Result<(), CheckpointError> {
    let partial = path.with_extension("partial");
    encode(entries)
        .map_err(io::Error::from)
        .and_then(|bytes| std::fs::write(&partial, bytes))
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|source| CheckpointError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_checkpoint_is_upstreams() {
        let entries: Entries = serde_json::from_value(json!({"pod1": {"ContainerResources":
            {"container1": {"requests": {"cpu": "1Ki", "memory": "1Ki"}}}}}))
        .unwrap();
        let bytes = encode(&entries).unwrap();
        let text: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(text["checksum"], 1_178_570_812, "as upstream computes it of the same data");
        assert_eq!(decode(&bytes), Some(entries));
        assert_eq!(decode(&encode(&Entries::new()).unwrap()), Some(Entries::new()));
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allocated_pods_state");
        assert_eq!(load(&path).unwrap(), Entries::new());
        let entries = Entries::from([("u".to_owned(), PodResources::default())]);
        store(&path, &entries).unwrap();
        assert_eq!(load(&path).unwrap(), entries);
        let text = std::fs::read_to_string(&path).unwrap().replace("\\\"u\\\"", "\\\"v\\\"");
        std::fs::write(&path, text).unwrap();
        assert!(matches!(load(&path), Err(CheckpointError::Corrupt { .. })));
        std::fs::write(&path, "").unwrap();
        assert_eq!(load(&path).unwrap(), Entries::new());
    }
}
