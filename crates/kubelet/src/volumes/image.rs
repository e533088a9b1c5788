//! Image volumes: the file system of an image, read-only (KEP-4639).
//!
//! Where CRI mounts images the runtime does it, when it makes the container. Else the kubelet mounts a
//! view of the image below the volume's directory, one for each image that the volume has had, since a
//! container that starts anew may find another one under the same name. The mounts' paths are the
//! views' keys, so what is on disk tells which there are.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{VolumeErrorKind, create_dir_all, io_error, mount_table};
use crate::cri::{Runtime, proto};

/// Kind of the volume, as its directory has it.
pub(super) const KIND: &str = "image";

/// What a container gets for the image of a volume.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageMount {
    /// The runtime mounts this image.
    ByRuntime(proto::ImageSpec),
    /// It is mounted here.
    At(PathBuf),
}

/// The images of a container's volumes, by volume.
pub type ImageMounts = HashMap<String, ImageMount>;

/// Makes the image `id`, which the Pod calls `named`, available for a volume in the directory `volume`.
pub(super) async fn prepare(
    runtime: &Runtime,
    volume: &Path,
    id: &str,
    named: &str,
) -> Result<ImageMount, VolumeErrorKind> {
    if runtime.mounts_images().await? {
        return Ok(ImageMount::ByRuntime(proto::ImageSpec {
            image: id.to_owned(),
            user_specified_image: named.to_owned(),
            ..Default::default()
        }));
    }
    let path = volume.join(id.replace([':', '/'], "-"));
    if !mount_table::is_mount_point(&path)? {
        create_dir_all(&path)?;
        for view in runtime.view(&key(&path), id).await? {
            mount_table::mount_view(&view, &path)?;
        }
    }
    Ok(ImageMount::At(path))
}

/// Gives up the views whose mounts, which are undone already, were below a Pod's directory.
pub(super) async fn forget(runtime: &Runtime, pod_dir: &Path) -> Result<(), VolumeErrorKind> {
    let volumes = pod_dir.join(format!("volumes/kubernetes.io~{KIND}"));
    for volume in entries(&volumes)? {
        for path in entries(&volume)? {
            runtime.remove_view(&key(&path)).await?;
        }
    }
    Ok(())
}

fn key(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, VolumeErrorKind> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(io_error("read", dir)),
    }
}
