//! `ironclad service`: what `systemctl` is on a real host, for the nodes of a cluster on this
//! machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::node::control::{self, ControlError, Request};
use crate::node::services::{Action, Activity, Ending, Status};
use crate::nodes::{self, NodeError};

/// How many lines of its log the status of a service shows.
const LINES: usize = 10;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no such cluster or node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node's supervisor did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It was done, but the service does not run.
    #[error("{0}.service cannot be started: {1}")]
    NotStarted(String, String),
}

/// Does `action` with `service` of a node (with all of them when none is named, to look at), and
/// tells how they are then.
///
/// # Errors
/// [`ServiceError`] when there is no such node or service, or it cannot be started.
pub fn act(
    clusters: &Path,
    cluster: &str,
    node: &str,
    request: &Request,
) -> Result<Vec<Status>, ServiceError> {
    let folder = nodes::folder(clusters, cluster, node)?;
    let all = control::ask(node, &folder, request)?;
    if matches!(request.action, Action::Start | Action::Restart) {
        for status in &all {
            if let Some(problem) = &status.problem {
                return Err(ServiceError::NotStarted(status.name.clone(), problem.clone()));
            }
        }
    }
    Ok(all)
}

/// What `systemctl status` would print, with the end of the log.
///
/// # Errors
/// [`ServiceError`] when there is no such node.
pub fn describe(
    clusters: &Path,
    cluster: &str,
    node: &str,
    status: &Status,
) -> Result<String, ServiceError> {
    let folder = nodes::folder(clusters, cluster, node)?;
    let path: PathBuf = folder.join("var/log").join(format!("{}.log", status.name));
    let mut text = render(status, node, &path, Timestamp::now());
    let log = fs::read(&path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        text.push('\n');
        text.push_str(line);
    }
    Ok(text)
}

fn render(status: &Status, node: &str, log: &Path, now: Timestamp) -> String {
    let result = match status.last.map(|run| run.ending) {
        Some(Ending::Killed(_)) => "signal",
        Some(Ending::Exited(0)) => "success",
        Some(Ending::Exited(_)) => "exit-code",
        None => "resources",
    };
    let (mark, state) = match status.activity {
        Activity::Active => ('\u{25cf}', "active (running)".to_owned()),
        Activity::Activating => {
            ('\u{25cf}', format!("activating (auto-restart) (Result: {result})"))
        }
        Activity::Deactivating => ('\u{25cf}', "deactivating (stop-sigterm)".to_owned()),
        Activity::Inactive => ('\u{25cb}', "inactive (dead)".to_owned()),
        Activity::Failed => ('\u{d7}', format!("failed (Result: {result})")),
    };
    let since = now - status.since;
    let since = since.strftime("%a %Y-%m-%d %H:%M:%S UTC");
    let Status { name, description, .. } = status;
    let mut text = format!(
        "{mark} {name}.service - {description}\n     Active: {state} since {since}; {} ago\n",
        ago(status.since)
    );
    if let Some(problem) = &status.problem {
        text.push_str(&format!("    Problem: {problem}\n"));
    }
    if let Some(run) = status.last {
        text.push_str(&format!("    Process: {} ({})\n", run.pid, ending(run.ending)));
    }
    if let Some(pid) = status.main_pid {
        text.push_str(&format!("   Main PID: {pid} ({name}, as node {node} numbers it)\n"));
    }
    text.push_str(&format!("        Log: {}\n", log.display()));
    text
}

fn ending(ending: Ending) -> String {
    match ending {
        Ending::Exited(0) => "code=exited, status=0/SUCCESS".to_owned(),
        Ending::Exited(1) => "code=exited, status=1/FAILURE".to_owned(),
        Ending::Exited(code) => format!("code=exited, status={code}"),
        Ending::Killed(number) => match nix::sys::signal::Signal::try_from(number) {
            Ok(signal) => {
                format!("code=killed, signal={}", signal.as_str().trim_start_matches("SIG"))
            }
            Err(_) => format!("code=killed, signal={number}"),
        },
    }
}

/// A time span as systemd writes it, its two largest units.
fn ago(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds == 0 => format!("{}ms", span.as_millis()),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}min {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}min"),
        (1, _, _) => format!("1 day {hours}h"),
        _ => format!("{days} days {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::services::Run;

    #[test]
    fn the_status_reads_as_that_of_systemctl() {
        let mut status = Status {
            name: "kubelet".into(),
            description: "The agent".into(),
            activity: Activity::Active,
            since: Duration::from_secs(182),
            main_pid: Some(17),
            last: Some(Run { pid: 12, ending: Ending::Killed(9) }),
            problem: None,
        };
        let now = Timestamp::from_second(1_800_000_182).unwrap();
        let check = |status: &Status, wanted: &str| {
            assert_eq!(render(status, "w1", Path::new("/log"), now), wanted);
        };
        check(
            &status,
            "\u{25cf} kubelet.service - The agent\n     \
             Active: active (running) since Fri 2027-01-15 08:00:00 UTC; 3min 2s ago\n    \
             Process: 12 (code=killed, signal=KILL)\n   \
             Main PID: 17 (kubelet, as node w1 numbers it)\n        \
             Log: /log\n",
        );
        status.activity = Activity::Failed;
        status.main_pid = None;
        status.last = Some(Run { pid: 17, ending: Ending::Exited(1) });
        check(
            &status,
            "\u{d7} kubelet.service - The agent\n     \
             Active: failed (Result: exit-code) since Fri 2027-01-15 08:00:00 UTC; 3min 2s ago\n    \
             Process: 17 (code=exited, status=1/FAILURE)\n        \
             Log: /log\n",
        );
    }

    #[test]
    fn time_spans_have_their_two_largest_units() {
        for (seconds, wanted) in
            [(0, "0ms"), (59, "59s"), (3599, "59min 59s"), (7260, "2h 1min"), (90_000, "1 day 1h")]
        {
            assert_eq!(ago(Duration::from_secs(seconds)), wanted);
        }
    }
}
