//! hostPath: a path of the node, checked for its type.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{VolumeErrorKind, io_error};

pub(super) fn prepare(source: &HostPathVolumeSource) -> Result<PathBuf, VolumeErrorKind> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    match kind {
        "DirectoryOrCreate" if !path.exists() => {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(io_error("create directory", path))?;
        }
        "FileOrCreate" if !path.exists() => {
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o644)
                .open(path)
                .map_err(io_error("create", path))?;
        }
        _ => {}
    }
    let is = |wanted: fn(&fs::FileType) -> bool| {
        fs::metadata(path).is_ok_and(|metadata| wanted(&metadata.file_type()))
    };
    let (ok, problem) = match kind {
        "" => (true, ""),
        "DirectoryOrCreate" | "Directory" => (is(fs::FileType::is_dir), "is not a directory"),
        "FileOrCreate" | "File" => (is(fs::FileType::is_file), "is not a file"),
        "Socket" => (is(|kind| kind.is_socket()), "is not a socket file"),
        "CharDevice" => (is(|kind| kind.is_char_device()), "is not a character device"),
        "BlockDevice" => (is(|kind| kind.is_block_device()), "is not a block device"),
        other => {
            let problem = format!("{other} is an invalid volume type");
            return Err(VolumeErrorKind::Unsupported(problem));
        }
    };
    if ok {
        return Ok(path.to_owned());
    }
    Err(VolumeErrorKind::HostPath { path: source.path.clone(), problem: problem.to_owned() })
}
