//! The archive: an OCI image layout that is at the same time what `docker save` writes, with any
//! number of images. A layer that several of them have is read and written once.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Value, json};

use super::{
    Error, ImageBuilder, Measure, Written, architecture, blob, descriptor, digest, header,
};

/// A layer, by the first image that has it.
struct Layer<'a> {
    image: &'a ImageBuilder,
    digest: String,
    size: u64,
}

/// Writes an archive of `images`.
///
/// # Errors
/// A source file that cannot be read or changes meanwhile, or an output that cannot be written.
pub fn write(images: &[ImageBuilder], out: &mut impl Write) -> Result<Vec<Written>, Error> {
    let mut layers: Vec<Layer<'_>> = Vec::new();
    let mut layer_of = Vec::new();
    for image in images {
        let known = layers.iter().position(|layer| layer.image.entries == image.entries);
        layer_of.push(match known {
            Some(known) => known,
            None => {
                let mut measure = Measure::default();
                image.write_layer(&mut measure)?;
                let (digest, size) = measure.finish();
                layers.push(Layer { image, digest, size });
                layers.len() - 1
            }
        });
    }
    let described: Vec<_> = images
        .iter()
        .zip(layer_of)
        .map(|(image, layer)| Described::new(image, &layers[layer]))
        .collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": described.iter().map(|one| &one.entry).collect::<Vec<_>>(),
    });
    let docker: Vec<_> = described.iter().map(|one| &one.docker).collect();

    let mut archive = tar::Builder::new(out);
    let mut small = |name: &str, bytes: &[u8]| {
        let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
        archive.append_data(&mut header, name, bytes)
    };
    small("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    small("index.json", index.to_string().as_bytes())?;
    small("manifest.json", json!(docker).to_string().as_bytes())?;
    // Two images may have the same configuration, and then the same manifest.
    let blobs: BTreeSet<&String> =
        described.iter().flat_map(|one| [&one.manifest, &one.config]).collect();
    for bytes in blobs {
        small(&blob(&digest(bytes.as_bytes())), bytes.as_bytes())?;
    }
    for layer in &layers {
        append_layer(&mut archive, layer)?;
    }
    archive.into_inner()?.flush()?;
    Ok(described.into_iter().map(|one| one.written).collect())
}

/// The layer is written straight into the archive, behind a header of the measured size.
fn append_layer<W: Write>(archive: &mut tar::Builder<W>, layer: &Layer<'_>) -> Result<(), Error> {
    let mut header = header(tar::EntryType::Regular, 0o644, layer.size);
    header.set_path(blob(&layer.digest))?;
    header.set_cksum();
    let out = archive.get_mut();
    out.write_all(header.as_bytes())?;
    // A tar archive is made of whole blocks, so that none has to be filled up here.
    layer.image.write_layer(out)
}

/// The small parts of one image.
struct Described {
    config: String,
    manifest: String,
    /// In `index.json`.
    entry: Value,
    /// In `manifest.json`.
    docker: Value,
    written: Written,
}

impl Described {
    fn new(image: &ImageBuilder, layer: &Layer<'_>) -> Self {
        let config = image.config(&layer.digest).to_string();
        let id = digest(config.as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config", &id, config.len() as u64),
            "layers": [descriptor("layer", &layer.digest, layer.size)],
        })
        .to_string();
        let manifest_digest = digest(manifest.as_bytes());
        let mut entry = descriptor("manifest", &manifest_digest, manifest.len() as u64);
        let reference = &image.reference;
        entry["platform"] = json!({"architecture": architecture(), "os": "linux"});
        entry["annotations"] = json!({
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": reference.rsplit(':').next().unwrap_or_default(),
        });
        let docker = json!({
            "Config": blob(&id),
            "RepoTags": [reference],
            "Layers": [blob(&layer.digest)],
        });
        let written = Written { reference: reference.clone(), digest: manifest_digest, id };
        Self { config, manifest, entry, docker, written }
    }
}
