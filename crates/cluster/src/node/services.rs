//! Supervision of a node's services, as systemd does it on a real host: `Restart=always`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

/// How long a service that ended stays down (`RestartSec`).
pub const RESTART_DELAY: Duration = Duration::from_secs(1);

/// How to start a service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, in logs and file names.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The file that its output is added to.
    pub log: PathBuf,
}

/// What a service does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(Pid),
    Waiting(Instant),
}

/// The services of a node; pure but for [`Supervisor::start_due`], which starts processes.
#[derive(Debug)]
pub struct Supervisor {
    services: Vec<(Service, State)>,
}

// === impl Supervisor ===

impl Supervisor {
    /// Services that are all to be started at `now`.
    #[must_use]
    pub fn new(services: Vec<Service>, now: Instant) -> Self {
        let services = services.into_iter().map(|service| (service, State::Waiting(now))).collect();
        Self { services }
    }

    /// Starts what is due at `now`; what cannot be started is tried again later.
    pub fn start_due(&mut self, now: Instant) {
        for (service, state) in &mut self.services {
            let State::Waiting(due) = *state else {
                continue;
            };
            if due > now {
                continue;
            }
            *state = match start(service) {
                Ok(pid) => {
                    tracing::info!(service = service.name, %pid, "started");
                    State::Running(pid)
                }
                Err(error) => {
                    tracing::error!(service = service.name, %error, "cannot be started");
                    State::Waiting(now + RESTART_DELAY)
                }
            };
        }
    }

    /// Takes note that process `pid` ended at `now`; its name when it was a service.
    pub fn ended(&mut self, pid: Pid, now: Instant) -> Option<&'static str> {
        let (service, state) =
            self.services.iter_mut().find(|(_, state)| *state == State::Running(pid))?;
        *state = State::Waiting(now + RESTART_DELAY);
        Some(service.name)
    }

    /// How long from `now` until something is due; nothing when all run.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Duration> {
        let due = |state: &State| match state {
            State::Waiting(due) => Some(due.saturating_duration_since(now)),
            State::Running(_) => None,
        };
        self.services.iter().filter_map(|(_, state)| due(state)).min()
    }

    /// The processes that run, by service.
    #[must_use]
    pub fn running(&self) -> HashMap<&'static str, Pid> {
        let running = |(service, state): &(Service, State)| match state {
            State::Running(pid) => Some((service.name, *pid)),
            State::Waiting(_) => None,
        };
        self.services.iter().filter_map(running).collect()
    }
}

#[allow(unsafe_code)]
fn start(service: &Service) -> io::Result<Pid> {
    let log = OpenOptions::new().create(true).append(true).open(&service.log)?;
    let mut command = Command::new(&service.program);
    command
        .arg0(service.name)
        .args(&service.arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SAFETY: `sigprocmask` and `setsid` are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            // The supervisor blocks the signals that it reads; its children must not.
            SigSet::empty().thread_set_mask()?;
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Pid::from_raw(pid))
}

/// The signals that end the supervisor or tell it of a child.
#[must_use]
pub fn signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_ends_is_started_again_after_the_delay() {
        let folder = tempfile::tempdir().unwrap();
        let service = Service {
            name: "true",
            program: "/bin/true".into(),
            arguments: Vec::new(),
            log: folder.path().join("log"),
        };
        let now = Instant::now();
        let mut supervisor = Supervisor::new(vec![service], now);
        assert_eq!(supervisor.next(now), Some(Duration::ZERO));
        supervisor.start_due(now);
        let first = supervisor.running()["true"];
        assert_eq!(supervisor.next(now), None);
        assert_eq!(supervisor.ended(Pid::from_raw(1), now), None);
        assert_eq!(supervisor.ended(first, now), Some("true"));
        supervisor.start_due(now);
        assert!(supervisor.running().is_empty(), "the delay has not passed");
        supervisor.start_due(now + RESTART_DELAY);
        assert_ne!(supervisor.running()["true"], first);
        for pid in [first, supervisor.running()["true"]] {
            nix::sys::wait::waitpid(pid, None).unwrap();
        }
    }

    #[test]
    fn a_program_that_is_missing_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let service = Service {
            name: "missing",
            program: folder.path().join("missing"),
            arguments: Vec::new(),
            log: folder.path().join("log"),
        };
        let now = Instant::now();
        let mut supervisor = Supervisor::new(vec![service], now);
        supervisor.start_due(now);
        assert_eq!(supervisor.next(now), Some(RESTART_DELAY));
    }
}
