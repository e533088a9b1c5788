//! What an image archive holds, read from its table of contents: the `manifest.json` that
//! `docker save` writes, or the `index.json` of an OCI layout.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::reference;

/// The most that a table of contents may have; none that is longer is one.
const LIMIT: u64 = 4 << 20;

/// One image of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its names in full; without one it is known by its digest alone.
    pub names: Vec<String>,
    /// Digest of its configuration (which is its ID) or of its manifest.
    pub digest: String,
}

/// A row of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    config: String,
    repo_tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// The images in the archive at `path`.
///
/// # Errors
/// When it cannot be read or has no table of contents.
pub fn contents(path: &Path) -> io::Result<Vec<Listed>> {
    let mut file = File::open(path)?;
    let mut magic = [0; 2];
    let read = file.read(&mut magic)?;
    file.rewind()?;
    if magic[..read] == [0x1f, 0x8b] {
        search(tar::Archive::new(MultiGzDecoder::new(file)).entries()?)
    } else {
        // Layers are skipped rather than read.
        search(tar::Archive::new(file).entries_with_seek()?)
    }
}

fn search<R: Read>(entries: tar::Entries<'_, R>) -> io::Result<Vec<Listed>> {
    let mut index = None;
    for entry in entries {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        match name.as_str() {
            "manifest.json" => return docker(entry),
            "index.json" => index = Some(oci(entry)?),
            _ => {}
        }
    }
    index.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an image archive"))
}

fn docker(entry: impl Read) -> io::Result<Vec<Listed>> {
    let rows: Vec<Docker> = serde_json::from_reader(entry.take(LIMIT))?;
    let listed = |row: Docker| {
        // Either `<hex>.json` or `blobs/sha256/<hex>`.
        let hex = row.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
        // They are imported under their full names, whatever they are called here.
        let full =
            |tag: String| reference::canonical(&reference::with_default_tag(&tag).unwrap_or(tag));
        let names = row.repo_tags.unwrap_or_default().into_iter().map(full).collect();
        Listed { names, digest: format!("sha256:{hex}") }
    };
    Ok(rows.into_iter().map(listed).collect())
}

fn oci(entry: impl Read) -> io::Result<Vec<Listed>> {
    let index: Index = serde_json::from_reader(entry.take(LIMIT))?;
    let listed = |mut descriptor: Descriptor| {
        let full = descriptor.annotations.remove("io.containerd.image.name");
        // A tag alone, as others write it, is no name; the client makes one up.
        let name = descriptor.annotations.remove("org.opencontainers.image.ref.name");
        let name = full.or(name.filter(|name| name.contains(['/', ':', '@'])));
        Listed { names: name.into_iter().collect(), digest: descriptor.digest }
    };
    Ok(index.manifests.into_iter().map(listed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageBuilder;
    use std::io::Write as _;

    fn archive(files: &[(&str, &str)], folder: &Path) -> std::path::PathBuf {
        let path = folder.join("archive.tar");
        let mut out = tar::Builder::new(File::create(&path).unwrap());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            out.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        out.finish().unwrap();
        path
    }

    #[test]
    fn archives_of_all_makers_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let one = |names: &[&str], digest: &str| Listed {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            digest: digest.to_owned(),
        };
        let docker = r#"[{"Config":"aa.json","RepoTags":["x:1","r.example/y"],"Layers":[]},
            {"Config":"blobs/sha256/bb","RepoTags":null}]"#;
        let path = archive(&[("l/layer.tar", "x"), ("manifest.json", docker)], folder.path());
        let names = ["docker.io/library/x:1", "r.example/y:latest"];
        let wanted = [one(&names, "sha256:aa"), one(&[], "sha256:bb")];
        assert_eq!(contents(&path).unwrap(), wanted);

        let index = r#"{"manifests":[
            {"digest":"sha256:cc", "annotations":{"io.containerd.image.name":"z:1",
                "org.opencontainers.image.ref.name":"1"}},
            {"digest":"sha256:dd", "annotations":{"org.opencontainers.image.ref.name":"r/z:2"}},
            {"digest":"sha256:ee", "annotations":{"org.opencontainers.image.ref.name":"2"}}]}"#;
        let path = archive(&[("./index.json", index)], folder.path());
        let wanted_oci =
            [one(&["z:1"], "sha256:cc"), one(&["r/z:2"], "sha256:dd"), one(&[], "sha256:ee")];
        assert_eq!(contents(&path).unwrap(), wanted_oci);

        let path = archive(&[("manifest.json", docker), ("index.json", index)], folder.path());
        assert_eq!(contents(&path).unwrap(), wanted, "the IDs are what the runtime is asked for");

        let mut plain = Vec::new();
        let written = ImageBuilder::new("own:1").file("/x", "x", 0o644).write(&mut plain).unwrap();
        let path = folder.path().join("own.tar.gz");
        let mut gzip =
            flate2::write::GzEncoder::new(File::create(&path).unwrap(), Default::default());
        gzip.write_all(&plain).unwrap();
        gzip.finish().unwrap();
        let wanted = [one(&["docker.io/library/own:1"], &written.id)];
        assert_eq!(contents(&path).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(&[("other", "x")], folder.path());
        assert_eq!(contents(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::write(&path, "no archive").unwrap();
        assert!(contents(&path).is_err());
        std::fs::write(&path, "").unwrap();
        assert!(contents(&path).is_err());
        assert!(contents(&archive(&[("manifest.json", "{")], folder.path())).is_err());
    }
}
