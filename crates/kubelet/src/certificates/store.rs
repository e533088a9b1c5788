//! Files of a certificate and its key, as upstream names them: `kubelet-client-<time>.pem` holds
//! both, and the link `kubelet-client-current.pem` points at the newest.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use component::pki::Certificate;
use k8s_openapi::jiff::Timestamp;

/// What the client certificates' files begin with.
pub const CLIENT: &str = "kubelet-client";
/// What the serving certificates' files begin with.
pub const SERVER: &str = "kubelet-server";

/// The certificates of one purpose.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    prefix: &'static str,
}

// === impl Store ===

impl Store {
    /// The certificates in `folder` whose files begin with `prefix`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, prefix: &'static str) -> Self {
        Self { folder: folder.into(), prefix }
    }

    /// Where the current certificate and its key are.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.folder.join(format!("{}-current.pem", self.prefix))
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the current certificate says; nothing without one, or without its key.
    #[must_use]
    pub fn load(&self) -> Option<Certificate> {
        let pem = fs::read(self.current()).ok()?;
        component::tls::private_key(&pem).ok()?;
        Certificate::parse(&pem)
    }

    /// Takes over a certificate and its key, both PEM, as the current ones. `now` names the file.
    ///
    /// # Errors
    /// When the disk refuses; the current ones are then as before.
    pub fn save(&self, certificate: &str, key: &str, now: Timestamp) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let time = now.strftime("%Y-%m-%d-%H-%M-%S");
        let name = format!("{}-{time}.pem", self.prefix);
        let path = self.folder.join(&name);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(certificate.as_bytes())?;
        file.write_all(key.as_bytes())?;
        file.sync_all()?;
        let link = self.folder.join(format!("{}-updated.pem", self.prefix));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(&name, &link)?;
        fs::rename(&link, self.current())?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::pki::{Authority, Subject};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    #[test]
    fn the_newest_is_current_and_only_root_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("pki"), CLIENT);
        assert_eq!(store.load(), None);
        let ca = Authority::generate("ca").unwrap();
        for (second, name) in [(0, "first"), (1, "second")] {
            let subject = Subject { common_name: name.into(), client: true, ..Subject::default() };
            let pair = ca.issue(&subject, Duration::from_secs(3600)).unwrap();
            let now = Timestamp::from_second(second).unwrap();
            let path = store.save(&pair.certificate, &pair.key, now).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(store.load().unwrap().common_name, name);
        }
        let target = fs::read_link(store.current()).unwrap();
        assert_eq!(target, Path::new("kubelet-client-1970-01-01-00-00-01.pem"));
        fs::write(store.current(), "rubbish").unwrap();
        assert_eq!(store.load(), None);
    }
}
