//! Certificates in files that may be replaced while the server runs. What is read is taken only if
//! it is whole: a certificate whose key has not been written yet leaves the old pair in use.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::{Error, ServerTls};
use crate::followed::Followed;

/// Where a server's certificate, its key and the authorities of its clients are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The serving certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of client certificates.
    pub client_ca: Option<PathBuf>,
}

struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub fn load(&self) -> Result<ServerTls, Error> {
        self.read()?.tls()
    }

    /// As [`Files::load`], but a certificate that is not there yet is waited for: until
    /// [`Files::follow`] finds it, every handshake fails.
    ///
    /// # Errors
    /// As [`Files::load`].
    pub fn load_or_wait(&self) -> Result<ServerTls, Error> {
        match read(&self.certificate) {
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let client_ca = self.client_ca.as_deref().map(read).transpose()?;
                ServerTls::pending(client_ca.as_deref())
            }
            _ => self.load(),
        }
    }

    fn read(&self) -> Result<Contents, Error> {
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(read).transpose()?,
        })
    }

    /// Follows the files until `shutdown`: connections made after a change use what is new.
    pub async fn follow(self, tls: ServerTls, shutdown: CancellationToken) {
        let paths = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let mut files = Followed::new(paths.into_iter().flatten().cloned().collect());
        loop {
            // At once the first time: the files may have changed since `tls` was made of them.
            let mut contents = tokio::select! {
                contents = files.next() => contents.into_iter(),
                () = shutdown.cancelled() => return,
            };
            let contents = Contents {
                certificate: contents.next().unwrap_or_default(),
                key: contents.next().unwrap_or_default(),
                client_ca: contents.next(),
            };
            match contents.tls() {
                Ok(fresh) => {
                    tls.replace(&fresh);
                    tracing::debug!(path = %self.certificate.display(), "certificates read");
                }
                Err(error) => tracing::warn!(%error, "certificates are left as they were"),
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

impl Contents {
    fn tls(&self) -> Result<ServerTls, Error> {
        ServerTls::new(&self.certificate, &self.key, self.client_ca.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::time::Duration;

    use crate::pki::{Authority, Pair, Subject};
    use crate::tls::ClientAuth;

    fn issue(authority: &Authority, server: bool) -> Pair {
        let subject = Subject {
            common_name: "x".to_owned(),
            names: vec!["localhost".to_owned()],
            server,
            client: !server,
            ..Subject::default()
        };
        authority.issue(&subject, Duration::from_secs(3600)).unwrap()
    }

    fn trusts(clients: Option<ClientAuth>, authority: &Authority) -> bool {
        let pair = issue(authority, false);
        let chain = crate::tls::certificates(pair.certificate.as_bytes()).unwrap();
        clients.unwrap().verify(&chain).is_ok()
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_there_yet_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pair");
        let files = Files { certificate: path.clone(), key: path.clone(), client_ca: None };
        assert!(files.load().is_err());
        let tls = files.load_or_wait().unwrap();
        let before = tls.config();
        let mut changed = tls.changes();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(files.follow(tls.clone(), shutdown.clone()));
        let pair = issue(&Authority::generate("a").unwrap(), true);
        std::fs::write(&path, format!("{}{}", pair.certificate, pair.key)).unwrap();
        changed.changed().await.unwrap();
        assert!(!Arc::ptr_eq(&tls.config(), &before));
        shutdown.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn replaced_files_are_used_once_they_fit_together() {
        crate::tls::install_default_provider();
        let folder = std::env::temp_dir().join(format!("ironclad-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        let put = |name: &str, text: &str| {
            std::fs::write(path("new"), text).unwrap();
            std::fs::rename(path("new"), path(name)).unwrap();
        };
        let (old, new) = (Authority::generate("a").unwrap(), Authority::generate("b").unwrap());
        let pair = issue(&old, true);
        put("crt", &pair.certificate);
        put("key", &pair.key);
        put("ca", old.certificate());
        let files =
            Files { certificate: path("crt"), key: path("key"), client_ca: Some(path("ca")) };
        let tls = files.load().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(files.clone().follow(tls.clone(), shutdown.clone()));
        let mut changed = tls.changes();
        changed.changed().await.unwrap();
        let before = tls.config();

        // Only the certificate, which does not fit the key: nothing can be made of that. The
        // authorities do not matter either until the key is there.
        let pair = issue(&new, true);
        put("crt", &pair.certificate);
        put("ca", new.certificate());
        assert!(matches!(files.load(), Err(Error::Tls(_))));
        tokio::task::yield_now().await;
        assert!(Arc::ptr_eq(&tls.config(), &before));
        assert!(trusts(tls.clients(), &old) && !trusts(tls.clients(), &new));
        put("key", &pair.key);
        changed.changed().await.unwrap();
        assert!(!Arc::ptr_eq(&tls.config(), &before));
        assert!(trusts(tls.clients(), &new) && !trusts(tls.clients(), &old));
        shutdown.cancel();
        task.await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
