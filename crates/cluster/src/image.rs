//! The images of the cluster's own Pods, made from the running program: no registry is needed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use image::{ImageBuilder, Source};

use crate::etcd;

/// The repository of the image of every component.
pub const REPOSITORY: &str = "ironclad.local/ironclad";
/// The image of the process that holds a Pod's namespaces. It stays when components are upgraded, or
/// the container runtime would have to be told of another one.
pub const PAUSE_IMAGE: &str = "ironclad.local/pause:v1.36.0";

/// Where the program is in its images.
const PROGRAM: &str = "/ironclad";

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The running program cannot be found.
    #[error("finding the running program: {0}")]
    Program(#[source] io::Error),
    /// The archive cannot be written.
    #[error("writing {}: {source}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: image::Error,
    },
    /// The archive's file cannot be written.
    #[error("writing {}: {source}", path.display())]
    File {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The archive of both images.
const ARCHIVE: &str = "ironclad.tar";

/// The image of every component of this release.
#[must_use]
pub fn own() -> String {
    format!("{REPOSITORY}:{}", component::version::release())
}

/// The archive of etcd's image.
const ETCD: &str = "etcd.tar";

/// Writes an archive of etcd's image into `folder`.
///
/// # Errors
/// [`ImageError`] when the archive cannot be written.
pub fn write_etcd(folder: &Path, program: &etcd::Program) -> Result<(), ImageError> {
    archive(folder, ETCD, &[program.build()])
}

/// Writes an archive of both images into `folder`. They share their one layer, which is as large
/// as the program. `sandbox` is a further name of the pause image, for a container runtime that
/// expects another.
///
/// # Errors
/// [`ImageError`] when the program cannot be read or the archive cannot be written.
pub fn write(folder: &Path, sandbox: Option<&str>) -> Result<(), ImageError> {
    let program = std::env::current_exe().map_err(ImageError::Program)?;
    let pause = &[PROGRAM, "pause"][..];
    let own = own();
    let images = [(PAUSE_IMAGE, pause), (own.as_str(), &[PROGRAM])]
        .into_iter()
        .chain(sandbox.map(|name| (name, pause)));
    let images: Vec<_> = images
        .map(|(reference, arguments)| {
            ImageBuilder::new(reference)
                .file(PROGRAM, Source::from(program.clone()), 0o755)
                .directory("/tmp", 0o1777)
                .entrypoint(arguments.iter().copied())
        })
        .collect();
    archive(folder, ARCHIVE, &images)
}

fn archive(folder: &Path, name: &str, images: &[ImageBuilder]) -> Result<(), ImageError> {
    let path = folder.join(name);
    // Under another name first: the folder is watched, and half an archive is none.
    let partial = folder.join(format!(".{name}.partial"));
    let failed = |source| ImageError::File { path: path.clone(), source };
    let mut out = BufWriter::new(File::create(&partial).map_err(failed)?);
    image::write(images, &mut out)
        .map_err(|source| ImageError::Archive { path: path.clone(), source })?;
    out.flush().map_err(failed)?;
    fs::rename(&partial, &path).map_err(failed)
}
