//! Rules for probes and for what happens when a container starts or ends.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use crate::cursor::At;

const LAST_REAL_TIME: u32 = 15;
const SIGNALS: [&str; 36] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGRTMIN",
    "SIGRTMAX",
];

/// What handlers depend on of the Pod around them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending<'a> {
    /// The Pod's grace period.
    pub(super) grace: Option<i64>,
    /// The operating system that the Pod says it is for.
    pub(super) os: Option<&'a str>,
}

/// Checks hooks and probes of a container that may have them.
pub(super) fn check(container: &At<'_>, ending: Ending<'_>, errors: &mut ErrorList) {
    let lifecycle = container.get("lifecycle");
    for hook in ["postStart", "preStop"] {
        let hook = lifecycle.get(hook);
        if hook.is_set() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], ending.grace, errors);
        }
    }
    stop_signal(&lifecycle.get("stopSignal"), ending.os, errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(name);
        if probe.is_set() {
            self::probe(&probe, name == "readinessProbe", ending.grace, errors);
        }
    }
}

fn stop_signal(signal: &At<'_>, os: Option<&str>, errors: &mut ErrorList) {
    if !signal.is_set() {
        return;
    }
    match os {
        None => {
            let detail = "may not be set for containers with empty `spec.os.name`";
            signal.forbidden(errors, detail);
        }
        Some("windows") if !["SIGKILL", "SIGTERM"].contains(&signal.str()) => {
            signal.unsupported(errors, &["SIGKILL", "SIGTERM"]);
        }
        Some("linux") => {
            let mut known: Vec<String> = SIGNALS.iter().map(|name| (*name).to_owned()).collect();
            known.extend((1..=LAST_REAL_TIME).map(|n| format!("SIGRTMIN+{n}")));
            known.extend((1..LAST_REAL_TIME).map(|n| format!("SIGRTMAX-{n}")));
            known.sort_unstable();
            if !known.iter().any(|name| name == signal.str()) {
                errors.push(Error::not_supported(&signal.path, signal.str(), &known));
            }
        }
        Some(_) => {}
    }
}

fn probe(probe: &At<'_>, is_readiness: bool, grace: Option<i64>, errors: &mut ErrorList) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        probe.get(field).non_negative(errors);
    }
    let seconds = probe.get("terminationGracePeriodSeconds");
    if seconds.int().is_some_and(|n| n <= 0) {
        seconds.invalid(errors, "must be greater than 0");
    }
    let threshold = probe.get("successThreshold");
    if is_readiness {
        if seconds.is_set() {
            seconds.invalid(errors, "must not be set for readinessProbes");
        }
    } else if threshold.int_or_zero() != 1 {
        errors.push(Error::invalid(&threshold.path, threshold.int_or_zero(), "must be 1"));
    }
}

fn handler(handler: &At<'_>, kinds: &[&'static str], grace: Option<i64>, errors: &mut ErrorList) {
    let mut count = 0;
    for kind in kinds {
        let action = handler.get(kind);
        if !action.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            action.forbidden(errors, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                action.get("command").must(errors);
            }
            "httpGet" => http_get(&action, errors),
            "tcpSocket" | "grpc" => port(&action.get("port"), errors),
            _ => {
                let seconds = action.get("seconds").int_or_zero();
                if let Some(limit) = grace.filter(|limit| seconds < 0 || seconds > *limit) {
                    let detail = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({limit})"
                    );
                    errors.push(Error::invalid(&action.path, seconds, detail));
                }
            }
        }
    }
    if count == 0 {
        handler.required(errors, "must specify a handler type");
    }
}

fn http_get(action: &At<'_>, errors: &mut ErrorList) {
    action.get("path").must(errors);
    port(&action.get("port"), errors);
    let scheme = action.get("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme.str()) {
        scheme.unsupported(errors, &["HTTP", "HTTPS"]);
    }
    let headers = action.get("httpHeaders");
    for header in headers.list() {
        let name = header.get("name").str();
        for message in names::http_header_name(name) {
            errors.push(Error::invalid(&headers.path, name, message));
        }
    }
}

/// Checks a number or name of a port.
pub(crate) fn port(port: &At<'_>, errors: &mut ErrorList) {
    let messages = match port.value {
        Value::String(name) => names::port_name(name),
        _ => names::port_number(port.int_or_zero()),
    };
    let shown = if port.is_set() { port.value.clone() } else { Value::from(0) };
    for message in messages {
        errors.push(Error::invalid(&port.path, shown.clone(), message));
    }
}
