//! Programs and files of the host, also from within a container.
//!
//! The proxy's image holds only this binary. Where the host's root is mounted (`host_root`), its
//! `nft` and `conntrack` run chrooted there: they need the host's libraries, while the network
//! namespace is the node's already.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const SEARCH: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// Why a program of the host did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is nowhere in the usual folders.
    #[error("program {0} not found on the host; install it (package nftables or conntrack)")]
    NotFound(String),
    /// It could not be started or spoken to.
    #[error("running {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It reported failure.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program.
        program: String,
        /// The beginning of its error output.
        message: String,
    },
}

/// Where programs and files of the host are found.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Where the host's root filesystem is mounted; `None` when it is ours.
    pub root: Option<PathBuf>,
}

// === impl Host ===

impl Host {
    /// The path of `program` as seen from the host's root.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(&self, program: &str) -> Result<PathBuf, Error> {
        if program.starts_with('/') {
            return Ok(PathBuf::from(program));
        }
        let root = self.root.as_deref().unwrap_or(Path::new("/"));
        SEARCH
            .iter()
            .map(|folder| Path::new(folder).join(program))
            .find(|path| {
                // An absolute link would be resolved in our own root, so a link counts as found.
                let seen = root.join(path.strip_prefix("/").expect("SEARCH holds absolute paths"));
                seen.symlink_metadata().is_ok()
            })
            .ok_or_else(|| Error::NotFound(program.to_owned()))
    }

    /// Runs `program` with `input` on its standard input and returns what it printed.
    ///
    /// # Errors
    /// When it is not there, cannot run or reports failure.
    pub async fn run(&self, program: &str, args: &[&str], input: &str) -> Result<String, Error> {
        let path = self.find(program)?;
        let error = |source| Error::Run { program: program.to_owned(), source };
        let mut command = Command::new(&path);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        if let Some(root) = &self.root {
            chroot::on_spawn(&mut command, root).map_err(error)?;
        }
        let mut child = command.spawn().map_err(error)?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let feed = async {
            // A program that fails early closes its input; its exit status tells why.
            stdin.write_all(input.as_bytes()).await.ok();
            drop(stdin);
        };
        let (_, output) = tokio::join!(feed, child.wait_with_output());
        let Output { status, stdout, stderr } = output.map_err(error)?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&stderr);
        let message = message.trim().chars().take(2_000).collect();
        Err(Error::Failed { program: program.to_owned(), message })
    }
}

/// The one place with `unsafe`: a hook between fork and exec.
mod chroot {
    #![allow(unsafe_code)]

    use std::ffi::CString;
    use std::io;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use tokio::process::Command;

    pub(super) fn on_spawn(command: &mut Command, root: &Path) -> io::Result<()> {
        let root = CString::new(root.as_os_str().as_bytes())?;
        let enter = move || {
            nix::unistd::chroot(root.as_c_str())?;
            nix::unistd::chdir(c"/")?;
            Ok(())
        };
        // SAFETY: the hook makes two system calls on memory allocated before the fork; it neither
        // allocates nor takes locks.
        unsafe {
            command.pre_exec(enter);
        }
        Ok(())
    }
}
