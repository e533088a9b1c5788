//! Certificates in files that may be replaced while the server runs.
//!
//! Folders are watched rather than files, because certificates are replaced by renaming, alone or
//! through a link to their folder. What is read is taken only if it is whole: a certificate whose
//! key has not been written yet leaves the old pair in use.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Error, ServerTls};

/// How often the files are read besides, for file systems that do not tell of changes. Upstream
/// does so too.
const INTERVAL: Duration = Duration::from_secs(60);

/// After so many milliseconds without news, see whether anybody still listens.
const LISTENING: u16 = 2000;

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

#[derive(Debug, PartialEq)]
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
        let mut changes = Changes::of(&self);
        // Nothing yet: the files may have changed since `tls` was made of them.
        let mut known = None;
        loop {
            // A file that is missing for a moment is one that is being replaced.
            if let Ok(contents) = self.read()
                && known.as_ref() != Some(&contents)
            {
                match contents.tls() {
                    Ok(fresh) => {
                        tls.replace(&fresh);
                        known = Some(contents);
                        tracing::debug!(path = %self.certificate.display(), "certificates read");
                    }
                    Err(error) => tracing::warn!(%error, "certificates are left as they were"),
                }
            }
            tokio::select! {
                () = changes.next() => {}
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return,
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

/// News from the folders of files.
struct Changes(mpsc::Receiver<()>);

impl Changes {
    fn of(files: &Files) -> Self {
        let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
        let folders: BTreeSet<&Path> =
            paths.into_iter().flatten().filter_map(|path| path.parent()).collect();
        let (sender, receiver) = mpsc::channel(1);
        let begun = Self::watch(&folders).and_then(|inotify| {
            let work = move || forward(&inotify, &sender);
            std::thread::Builder::new().name("certificates".to_owned()).spawn(work)
        });
        if let Err(error) = begun {
            tracing::debug!(%error, "folders of certificates cannot be watched");
        }
        Self(receiver)
    }

    fn watch(folders: &BTreeSet<&Path>) -> std::io::Result<Inotify> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags =
            AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
        for folder in folders {
            inotify.add_watch(*folder, flags)?;
        }
        Ok(inotify)
    }

    /// Waits for a change; for ever if there is no way to know.
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Passes news on until nobody listens any more.
fn forward(inotify: &Inotify, news: &mpsc::Sender<()>) {
    while !news.is_closed() {
        let mut ready = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(LISTENING)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) if inotify.read_events().is_ok() => {
                news.try_send(()).ok(); // news that wait say the same
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

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
