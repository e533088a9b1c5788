//! Supervision of a node's services, as systemd does it on a real host: `Restart=always`, and what
//! an administrator stopped stays stopped until it is started or the node boots again.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long a service that ended stays down (`RestartSec`).
pub const RESTART_DELAY: Duration = Duration::from_secs(1);
/// How long a service may take to end before it is killed (`TimeoutStopSec`, systemd's default).
pub const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// How to start a service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, in logs and file names.
    pub name: &'static str,
    /// What it is, for people.
    pub description: &'static str,
    /// The program.
    pub program: PathBuf,
    /// What runs in its place once it is there.
    pub upgraded: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The file that its output is added to.
    pub log: PathBuf,
}

/// What an administrator does to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Starts it, if it does not run.
    Start,
    /// Ends it, and leaves it so.
    Stop,
    /// Ends it, if it runs, and starts it.
    Restart,
    /// Tells it that the node is going to stop, and leaves it ended.
    Shutdown,
    /// Only looks.
    Status,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// One run of a service's program that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its process, as the node numbers it.
    pub pid: i32,
    /// How it ended.
    pub ending: Ending,
}

/// The states of a service, in systemd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// It runs.
    Active,
    /// It ended by itself, or could not be started, and is started again in a moment.
    Activating,
    /// It has been told to end.
    Deactivating,
    /// It was stopped.
    Inactive,
    /// It was stopped, and did not end well.
    Failed,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its state.
    pub activity: Activity,
    /// For how long.
    pub since: Duration,
    /// Its process, as the node numbers it.
    pub main_pid: Option<i32>,
    /// The run before.
    pub last: Option<Run>,
    /// Why it could not be started.
    pub problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(Pid),
    Waiting(Instant),
    /// It gets `signal` at `due`; afterwards it is started again, or not.
    Stopping {
        pid: Pid,
        signal: Signal,
        due: Instant,
        again: bool,
    },
    Stopped,
}

#[derive(Debug)]
struct Unit {
    service: Service,
    state: State,
    since: Instant,
    last: Option<Run>,
    problem: Option<String>,
}

/// The services of a node; pure but for [`Supervisor::act`], which starts and signals processes.
#[derive(Debug)]
pub struct Supervisor {
    units: Vec<Unit>,
}

// === impl Ending ===

impl Ending {
    /// Whether a service that was told to end may end so.
    fn is_clean(self) -> bool {
        self == Self::Exited(0) || self == Self::Killed(Signal::SIGTERM as i32)
    }
}

// === impl Unit ===

impl Unit {
    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    /// Starts what is due and sends the signals that are.
    fn act(&mut self, now: Instant) {
        match self.state {
            State::Waiting(due) if due <= now => match start(&self.service) {
                Ok(pid) => {
                    tracing::info!(service = self.service.name, %pid, "started");
                    self.problem = None;
                    self.enter(State::Running(pid), now);
                }
                Err(error) => {
                    tracing::error!(service = self.service.name, %error, "cannot be started");
                    self.problem = Some(format!("{}: {error}", self.service.program.display()));
                    self.state = State::Waiting(now + RESTART_DELAY);
                }
            },
            State::Stopping { pid, signal, due, again } if due <= now => {
                tracing::info!(service = self.service.name, %pid, %signal, "stopping");
                // One that has ended meanwhile is reaped in a moment.
                kill(pid, signal).ok();
                let due = now + STOP_TIMEOUT;
                self.state = State::Stopping { pid, signal: Signal::SIGKILL, due, again };
            }
            _ => {}
        }
    }

    fn command(&mut self, action: Action, now: Instant) {
        let again = action == Action::Restart;
        let signal = if action == Action::Shutdown { Signal::SIGPWR } else { Signal::SIGTERM };
        let stopping = |pid| State::Stopping { pid, signal, due: now, again };
        match (action, self.state) {
            (Action::Status, _) | (Action::Start, State::Running(_)) => {}
            (Action::Start | Action::Restart, State::Stopped | State::Waiting(_)) => {
                self.enter(State::Waiting(now), now);
            }
            (_, State::Stopping { pid, signal, due, .. }) => {
                let again = matches!(action, Action::Start | Action::Restart);
                self.state = State::Stopping { pid, signal, due, again };
            }
            (Action::Stop | Action::Restart | Action::Shutdown, State::Running(pid)) => {
                self.enter(stopping(pid), now);
            }
            (Action::Stop | Action::Shutdown, State::Waiting(_)) => {
                self.enter(State::Stopped, now);
            }
            (Action::Stop | Action::Shutdown, State::Stopped) => {}
        }
    }

    /// Takes note of the end of its process; how that is called, when it is a surprise.
    fn ended(&mut self, pid: Pid, ending: Ending, now: Instant) {
        self.last = Some(Run { pid: pid.as_raw(), ending });
        let next = match self.state {
            State::Stopping { again: true, .. } => State::Waiting(now),
            State::Stopping { again: false, .. } => State::Stopped,
            _ => {
                tracing::warn!(service = self.service.name, %pid, ?ending, "ended");
                State::Waiting(now + RESTART_DELAY)
            }
        };
        self.enter(next, now);
    }

    fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running(pid) | State::Stopping { pid, .. } => Some(pid),
            State::Waiting(_) | State::Stopped => None,
        }
    }

    fn due(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(due) | State::Stopping { due, .. } => Some(due),
            State::Running(_) | State::Stopped => None,
        }
    }

    fn status(&self, now: Instant) -> Status {
        let activity = match self.state {
            State::Running(_) => Activity::Active,
            State::Waiting(_) => Activity::Activating,
            State::Stopping { .. } => Activity::Deactivating,
            State::Stopped if self.last.is_some_and(|run| !run.ending.is_clean()) => {
                Activity::Failed
            }
            State::Stopped => Activity::Inactive,
        };
        Status {
            name: self.service.name.to_owned(),
            description: self.service.description.to_owned(),
            activity,
            since: now.saturating_duration_since(self.since),
            main_pid: self.pid().map(Pid::as_raw),
            last: self.last,
            problem: self.problem.clone(),
        }
    }
}

// === impl Supervisor ===

impl Supervisor {
    /// Services that are all to be started at `now`.
    #[must_use]
    pub fn new(services: Vec<Service>, now: Instant) -> Self {
        let unit = |service| Unit {
            service,
            state: State::Waiting(now),
            since: now,
            last: None,
            problem: None,
        };
        Self { units: services.into_iter().map(unit).collect() }
    }

    /// Starts what is due at `now` and signals what has to end; what cannot be started is tried
    /// again later.
    pub fn act(&mut self, now: Instant) {
        for unit in &mut self.units {
            unit.act(now);
        }
    }

    /// Takes over what an administrator wants of `service`; `false` when there is none of that
    /// name. [`Supervisor::act`] does it.
    pub fn command(&mut self, service: &str, action: Action, now: Instant) -> bool {
        let unit = self.units.iter_mut().find(|unit| unit.service.name == service);
        unit.map(|unit| unit.command(action, now)).is_some()
    }

    /// Whether nothing is left to do of what an administrator wanted of `service`.
    #[must_use]
    pub fn is_settled(&self, service: &str, now: Instant) -> bool {
        let unit = self.units.iter().find(|unit| unit.service.name == service);
        unit.is_none_or(|unit| match unit.state {
            State::Stopping { .. } => false,
            State::Waiting(due) => due > now,
            State::Running(_) | State::Stopped => true,
        })
    }

    /// Takes note that process `pid` ended at `now`; most are orphans of containers.
    pub fn ended(&mut self, pid: Pid, ending: Ending, now: Instant) {
        if let Some(unit) = self.units.iter_mut().find(|unit| unit.pid() == Some(pid)) {
            unit.ended(pid, ending, now);
        }
    }

    /// How long from `now` until something is due; nothing when all is as it should be.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Duration> {
        let due = self.units.iter().filter_map(Unit::due).min();
        due.map(|due| due.saturating_duration_since(now))
    }

    /// How the services are, or the one that is named.
    #[must_use]
    pub fn status(&self, service: Option<&str>, now: Instant) -> Vec<Status> {
        let wanted = |unit: &&Unit| service.is_none_or(|name| unit.service.name == name);
        self.units.iter().filter(wanted).map(|unit| unit.status(now)).collect()
    }
}

#[allow(unsafe_code)]
fn start(service: &Service) -> io::Result<Pid> {
    let log = OpenOptions::new().create(true).append(true).open(&service.log)?;
    let upgraded = service.upgraded.as_ref().filter(|program| program.exists());
    let mut command = Command::new(upgraded.unwrap_or(&service.program));
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
mod tests;
