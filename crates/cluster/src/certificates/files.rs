//! Reading and replacing certificates, keys and kubeconfigs below the root of a node's files.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::pki::Pair;
use machinery::codec::yaml;
use serde_json::Value;

use super::inventory::{Entry, Form};

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no kubeconfig with a certificate.
    #[error("{}: not a kubeconfig with a client certificate", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
    },
}

/// A certificate and its key, both PEM; one of them may be missing.
#[derive(Clone, Default)]
pub struct Held {
    /// The certificate.
    pub certificate: Option<String>,
    /// Its key.
    pub key: Option<String>,
}

/// What a new file, beside one that is written in place, ends with until that is done.
const REDO: &str = "redo";

/// Text of a file; nothing when there is none.
///
/// # Errors
/// When it is there and cannot be read.
pub fn text(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Io { path: path.to_owned(), source }),
    }
}

/// What is there of a certificate below `root`.
///
/// # Errors
/// When a file cannot be read.
pub fn read(root: &Path, entry: &Entry) -> Result<Held, FileError> {
    let path = root.join(entry.path);
    Ok(match entry.form {
        Form::Pair => Held {
            certificate: text(&path.with_added_extension("crt"))?,
            key: text(&path.with_added_extension("key"))?,
        },
        Form::Kubelet => {
            let both = text(&path)?;
            Held { certificate: both.clone(), key: both }
        }
        Form::Kubeconfig => match text(&path)? {
            None => Held::default(),
            Some(text) => credentials(&text).unwrap_or_default(),
        },
    })
}

/// Puts a new certificate and its key in the place of the old ones. A kubeconfig trusts `bundle`
/// from then on.
///
/// # Errors
/// When a file cannot be written.
pub fn write(root: &Path, entry: &Entry, pair: &Pair, bundle: &str) -> Result<(), FileError> {
    let path = root.join(entry.path);
    match entry.form {
        Form::Pair => {
            // Followers take them once they fit together.
            replace(&path.with_added_extension("key"), &pair.key, 0o600)?;
            replace(&path.with_added_extension("crt"), &pair.certificate, 0o644)
        }
        Form::Kubeconfig => {
            let old = text(&path)?.unwrap_or_default();
            let new = with_credentials(&old, Some(pair), bundle);
            in_place(&path, &new.ok_or(FileError::Kubeconfig { path: path.clone() })?)
        }
        Form::Kubelet => replace(&path, &format!("{}{}", pair.certificate, pair.key), 0o600),
    }
}

/// Makes a kubeconfig trust `bundle`; whether that was news.
///
/// # Errors
/// When it cannot be written.
pub fn trust(path: &Path, bundle: &str) -> Result<bool, FileError> {
    let Some(new) = text(path)?.and_then(|old| trusting(&old, bundle)) else { return Ok(false) };
    in_place(path, &new)?;
    Ok(true)
}

/// A kubeconfig that trusts `bundle`, unless it does so already or is none.
#[must_use]
pub fn trusting(text: &str, bundle: &str) -> Option<String> {
    let new = with_credentials(text, None, bundle)?;
    let parse = |text: &str| yaml::from_str::<Value>(text).ok();
    (parse(&new) != parse(text)).then_some(new)
}

/// The certificate and key in a kubeconfig.
fn credentials(text: &str) -> Option<Held> {
    let config: Value = yaml::from_str(text).ok()?;
    let user = &config["users"][0]["user"];
    let decode = |field: &str| {
        let bytes = STANDARD.decode(user[field].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let certificate = decode("client-certificate-data");
    Some(Held { certificate, key: decode("client-key-data") })
}

/// The kubeconfig with another certificate, or only with another authority.
fn with_credentials(text: &str, pair: Option<&Pair>, bundle: &str) -> Option<String> {
    let mut config: Value = yaml::from_str(text).ok()?;
    let set = |object: Option<&mut Value>, field: &str, value: &str| {
        object?.as_object_mut()?.insert(field.into(), STANDARD.encode(value).into());
        Some(())
    };
    for cluster in config.get_mut("clusters")?.as_array_mut()? {
        set(cluster.get_mut("cluster"), "certificate-authority-data", bundle)?;
    }
    if let Some(pair) = pair {
        let user = config.get_mut("users")?.get_mut(0)?;
        set(user.get_mut("user"), "client-certificate-data", &pair.certificate)?;
        set(user.get_mut("user"), "client-key-data", &pair.key)?;
    }
    yaml::to_string(&config).ok()
}

/// Replaces a file by renaming: it is the old one or the new one, whatever happens.
///
/// # Errors
/// When the disk refuses.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<(), FileError> {
    let partial = path.with_added_extension("partial");
    create(&partial, text, mode)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|source| FileError::Io { path: path.to_owned(), source })
}

/// Writes a file that is mounted into containers by itself, and has to stay the same. A copy beside
/// it lets [`complete`] finish what was interrupted.
fn in_place(path: &Path, text: &str) -> Result<(), FileError> {
    let redo = path.with_added_extension(REDO);
    let partial = path.with_added_extension("partial");
    create(&partial, text, 0o600)
        .and_then(|()| fs::rename(&partial, &redo))
        .map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    complete(path).map(drop)
}

/// Finishes a write in place that was interrupted; whether there was one.
///
/// # Errors
/// When the disk refuses.
pub fn complete(path: &Path) -> Result<bool, FileError> {
    let redo = path.with_added_extension(REDO);
    let Some(text) = text(&redo)? else { return Ok(false) };
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        // Not emptied first: who reads meanwhile finds something that is no kubeconfig, or a whole
        // one, and looks again when the file is closed.
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        file.sync_all()?;
        drop(file);
        fs::remove_file(&redo)
    };
    write().map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    Ok(true)
}

fn create(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file: File = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn what_is_written_in_place_stays_the_same_file_and_survives_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        fs::write(&path, "a long text of before").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        in_place(&path, "short").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert!(!complete(&path).unwrap());
        // Half written when the power went.
        fs::write(&path, "oth").unwrap();
        fs::write(path.with_added_extension(REDO), "other").unwrap();
        assert!(complete(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_kubeconfig_keeps_what_it_says_besides() {
        let pair = Pair { certificate: "CERT".into(), key: "KEY".into() };
        let old = "clusters:\n- name: c\n  cluster: {server: s}\nusers:\n- name: u\n  user: {}\nextensions: [x]\n";
        let new = with_credentials(old, Some(&pair), "CA").unwrap();
        let held = credentials(&new).unwrap();
        assert_eq!((held.certificate.unwrap(), held.key.unwrap()), ("CERT".into(), "KEY".into()));
        assert!(new.contains("server: s") && new.contains("- x"), "{new}");
        assert!(new.contains(&STANDARD.encode("CA")));
        assert!(with_credentials("", None, "CA").is_none());
    }
}
