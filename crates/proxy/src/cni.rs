//! The CNI configuration of the node: a bridge for its Pods with addresses out of its Pod range.
//!
//! Written once the node has its range; before that the container runtime reports the network as
//! not ready and the kubelet keeps the node NotReady, which is what should happen.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::cidr::Cidr;

/// Name of the file in the CNI folder.
pub const FILE: &str = "10-ironclad.conflist";

/// The configuration's text. Masquerading is left to the proxy's rules; hairpin mode lets a Pod
/// reach itself through its Service.
pub fn config(pod_cidrs: &[Cidr]) -> String {
    let ranges: Vec<_> =
        pod_cidrs.iter().map(|cidr| json!([{ "subnet": cidr.to_string() }])).collect();
    let routes: Vec<_> = pod_cidrs
        .iter()
        .map(|cidr| json!({ "dst": if cidr.address.is_ipv4() { "0.0.0.0/0" } else { "::/0" } }))
        .collect();
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "ironclad",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let mut text = serde_json::to_string_pretty(&list).expect("a Value always serializes");
    text.push('\n');
    text
}

/// Writes the configuration into `folder` unless it is there already. The runtime never sees half a
/// file. Returns whether it was written.
///
/// # Errors
/// When the folder cannot be made or written.
pub fn write(folder: &Path, pod_cidrs: &[Cidr]) -> io::Result<bool> {
    let path = folder.join(FILE);
    let text = config(pod_cidrs);
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(false);
    }
    std::fs::create_dir_all(folder)?;
    // The runtime loads only names that end in .conf, .conflist or .json.
    let draft = folder.join(".10-ironclad.tmp");
    std::fs::write(&draft, &text)?;
    std::fs::rename(&draft, &path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_once_for_the_same_range() {
        let folder = tempfile::tempdir().unwrap();
        let one: Cidr = "10.244.1.0/24".parse().unwrap();
        let two: Cidr = "10.244.2.0/24".parse().unwrap();
        assert!(write(folder.path(), &[one]).unwrap());
        assert!(!write(folder.path(), &[one]).unwrap());
        assert!(write(folder.path(), &[two]).unwrap());
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.2.0/24");
    }
}
