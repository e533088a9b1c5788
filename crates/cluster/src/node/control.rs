//! How an administrator reaches the supervisor of a node: a socket in the node's folder, on which
//! one line of JSON asks and one answers. Only root can open it.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::services::{Action, STOP_TIMEOUT, Status, Supervisor};

/// How long a client may take to say what it wants.
const ASKING: Duration = Duration::from_secs(1);
/// How long one that only looks waits for the answer.
const LOOKING: Duration = Duration::from_secs(2);

/// What is wanted of the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// What is to be done.
    pub action: Action,
    /// The service; all of them, to look at, when there is none.
    pub service: Option<String>,
}

/// What comes of it: how the services are, or why not.
type Reply = Result<Vec<Status>, String>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("node {node} is not running; `ironclad node poweron {node}` starts it")]
    Off {
        /// The node.
        node: String,
    },
    /// The conversation broke off.
    #[error("asking the supervisor of node {node}: {source}")]
    Io {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The supervisor refused.
    #[error("{0}")]
    Refused(String),
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    /// Who waits for what they asked for.
    waiting: Vec<(UnixStream, Request)>,
}

/// The socket of the node whose state is in `folder`.
#[must_use]
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// Asks the supervisor of `node`, whose state is in `folder`, and waits until it has done it.
///
/// # Errors
/// [`ControlError::Off`] when the node does not run, or what went wrong.
pub fn ask(node: &str, folder: &Path, request: &Request) -> Result<Vec<Status>, ControlError> {
    let stream = UnixStream::connect(socket(folder)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::Off { node: node.to_owned() }
        }
        _ => ControlError::Io { node: node.to_owned(), source: error },
    })?;
    let patience = match request.action {
        Action::Status => LOOKING,
        Action::Start | Action::Stop | Action::Restart | Action::Shutdown => STOP_TIMEOUT + LOOKING,
    };
    let answer = converse(stream, request, patience)
        .map_err(|source| ControlError::Io { node: node.to_owned(), source })?;
    answer.map_err(ControlError::Refused)
}

fn converse(mut stream: UnixStream, request: &Request, patience: Duration) -> io::Result<Reply> {
    stream.set_read_timeout(Some(patience))?;
    write_line(&mut stream, request)?;
    read_line(&stream)
}

fn write_line(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn read_line<T: serde::de::DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

// === impl Control ===

impl Control {
    /// Listens in the folder of a node; the socket of an earlier boot is replaced.
    ///
    /// # Errors
    /// When the folder refuses.
    pub fn listen(folder: &Path) -> io::Result<Self> {
        let path = socket(folder);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, waiting: Vec::new() })
    }

    /// What to wait for besides.
    #[must_use]
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Takes what clients want, and lets `supervisor` know.
    pub fn accept(&mut self, supervisor: &mut Supervisor, now: Instant) {
        while let Ok((stream, _)) = self.listener.accept() {
            let request = stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_read_timeout(Some(ASKING)))
                .and_then(|()| read_line::<Request>(&stream));
            let Ok(request) = request else { continue };
            let known = match &request.service {
                Some(service) => supervisor.command(service, request.action, now),
                None => request.action == Action::Status,
            };
            if known {
                self.waiting.push((stream, request));
            } else {
                let name = request.service.unwrap_or_default();
                answer(stream, &Err(format!("Unit {name}.service could not be found.")));
            }
        }
    }

    /// Answers those whose wish is fulfilled.
    pub fn answer(&mut self, supervisor: &Supervisor, now: Instant) {
        for (stream, request) in std::mem::take(&mut self.waiting) {
            let service = request.service.as_deref();
            let settled = request.action == Action::Status
                || service.is_none_or(|service| supervisor.is_settled(service, now));
            if settled {
                answer(stream, &Ok(supervisor.status(service, now)));
            } else {
                self.waiting.push((stream, request));
            }
        }
    }
}

fn answer(mut stream: UnixStream, reply: &Reply) {
    // One that no longer listens need not know.
    write_line(&mut stream, reply).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::services::{Activity, Service};

    #[test]
    fn an_administrator_looks_and_is_told_of_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let off = ask("w1", folder.path(), &Request { action: Action::Status, service: None });
        assert!(matches!(off, Err(ControlError::Off { .. })));
        let now = Instant::now();
        let service = Service {
            name: "s",
            description: "a service",
            program: "/missing".into(),
            upgraded: None,
            arguments: Vec::new(),
            log: folder.path().join("log"),
        };
        let mut supervisor = Supervisor::new(vec![service], now);
        let mut control = Control::listen(folder.path()).unwrap();
        let mut exchange = |action, service: Option<&str>| {
            let request = Request { action, service: service.map(str::to_owned) };
            let path = folder.path().to_owned();
            let asking = std::thread::spawn(move || ask("w1", &path, &request));
            while !asking.is_finished() {
                control.accept(&mut supervisor, now);
                control.answer(&supervisor, now);
                std::thread::yield_now();
            }
            asking.join().unwrap()
        };
        let all = exchange(Action::Status, None).unwrap();
        assert_eq!((all.len(), all[0].activity), (1, Activity::Activating));
        let stopped = exchange(Action::Stop, Some("s")).unwrap();
        assert_eq!(stopped[0].activity, Activity::Inactive);
        let unknown = exchange(Action::Start, Some("t")).unwrap_err();
        assert_eq!(unknown.to_string(), "Unit t.service could not be found.");
    }
}
