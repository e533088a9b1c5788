//! logind, which stops the machine where systemd runs it: the kubelet has it wait until Pods have
//! ended, by a lock that delays (<https://systemd.io/INHIBITOR_LOCKS/>), and hears from it when the
//! machine is about to stop.
//!
//! Of D-Bus only these few calls are needed, so they are made by hand ([`message`], [`bus`]): a
//! library for all of it would be larger than the rest of this module by far. As upstream, a delay
//! that logind does not allow is allowed by a file of its configuration.

mod bus;
mod message;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use self::bus::{Bus, BusError, File};
use self::message::Argument;

/// Where the bus listens.
const SOCKET: &str = "/run/dbus/system_bus_socket";
/// What allows longer delays than logind does by itself.
pub const OVERRIDE: &str = "/etc/systemd/logind.conf.d/99-kubelet.conf";
/// Between attempts to reach logind.
const RETRY: Duration = Duration::from_secs(30);
/// How often, and how long after one another, it is asked whether it read its configuration.
const LOOKS: (u32, Duration) = (20, Duration::from_millis(100));

const LOGIND: (&str, &str) = ("org.freedesktop.login1", "/org/freedesktop/login1");
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SYSTEMD: (&str, &str) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");

/// Why logind does not wait.
#[derive(Debug, thiserror::Error)]
enum LogindError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("{OVERRIDE}: {0}")]
    Override(#[source] io::Error),
    #[error(
        "node shutdown manager was unable to update logind InhibitDelayMaxSec to {wanted:?} (ShutdownGracePeriod), current value of InhibitDelayMaxSec ({allowed:?}) is less than requested ShutdownGracePeriod"
    )]
    Short { wanted: Duration, allowed: Duration },
}

/// What is heard.
#[derive(Debug)]
pub(super) enum News {
    /// The machine stops as soon as this is dropped, or the time is over.
    Stopping(Lock),
    /// It does not stop after all.
    Cancelled,
}

/// What makes logind wait.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Option<File>,
}

/// Where things are on the host.
#[derive(Clone, Debug)]
struct Places {
    socket: PathBuf,
    configuration: PathBuf,
}

/// Has logind wait for `period` at most, and tells of what is heard, for as long as anybody listens.
/// On a machine without logind nothing is ever heard.
pub(super) fn follow(period: Duration) -> mpsc::Receiver<News> {
    follow_at(period, Places { socket: SOCKET.into(), configuration: OVERRIDE.into() })
}

fn follow_at(period: Duration, places: Places) -> mpsc::Receiver<News> {
    let (sender, news) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            if places.socket.exists() {
                let (places, sender) = (places.clone(), sender.clone());
                // A thread of its own: it is blocked for as long as the machine runs, and must not
                // keep the kubelet from ending.
                let (done, ended) = tokio::sync::oneshot::channel();
                std::thread::spawn(move || {
                    // Nobody may wait for it any more.
                    done.send(session(period, &places, &sender)).ok();
                });
                match ended.await {
                    Ok(Err(error)) => tracing::warn!(%error, "shutdown of the node is not delayed"),
                    Ok(Ok(())) | Err(_) => return,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = sender.closed() => return,
            }
        }
    });
    news
}

/// One connection, until it breaks or nobody listens.
fn session(
    period: Duration,
    places: &Places,
    sender: &mpsc::Sender<News>,
) -> Result<(), LogindError> {
    let mut bus = Bus::connect(&places.socket)?;
    allow(&mut bus, period, &places.configuration)?;
    bus.listen(LOGIND.1, MANAGER, "PrepareForShutdown")?;
    let mut lock = Some(inhibit(&mut bus)?);
    tracing::info!(?period, "logind waits for Pods when the machine is to stop");
    loop {
        let signal = bus.signal()?;
        if signal.interface != MANAGER || signal.member != "PrepareForShutdown" {
            continue;
        }
        let news = if signal.flag().map_err(BusError::from)? {
            News::Stopping(Lock { _file: lock.take() })
        } else {
            lock = Some(inhibit(&mut bus)?);
            News::Cancelled
        };
        if sender.blocking_send(news).is_err() {
            return Ok(());
        }
    }
}

/// Takes a lock that delays.
fn inhibit(bus: &mut Bus) -> Result<File, BusError> {
    let words = ["shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay"];
    let answer = bus.call(LOGIND, (MANAGER, "Inhibit"), &words.map(Argument::Text))?;
    bus.file(&answer)
}

/// Has logind allow delays of `period`.
fn allow(bus: &mut Bus, period: Duration, configuration: &Path) -> Result<(), LogindError> {
    if allowed(bus)? >= period {
        return Ok(());
    }
    let folder = configuration.parent().unwrap_or(Path::new("/"));
    let text = format!(
        "# Written by the kubelet, so that Pods get their time when the machine stops.\n[Login]\nInhibitDelayMaxSec={}\n",
        period.as_secs()
    );
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(configuration, text))
        .map_err(LogindError::Override)?;
    // It reads its files when it is told so in this way.
    let hang_up = [
        Argument::Text("systemd-logind.service"),
        Argument::Text("all"),
        Argument::Number(libc::SIGHUP),
    ];
    bus.call(SYSTEMD, ("org.freedesktop.systemd1.Manager", "KillUnit"), &hang_up)?;
    for _ in 0..LOOKS.0 {
        if allowed(bus)? >= period {
            return Ok(());
        }
        std::thread::sleep(LOOKS.1);
    }
    Err(LogindError::Short { wanted: period, allowed: allowed(bus)? })
}

/// The longest delay that logind allows.
fn allowed(bus: &mut Bus) -> Result<Duration, BusError> {
    let which = [Argument::Text(MANAGER), Argument::Text("InhibitDelayMaxUSec")];
    let answer = bus.call(LOGIND, ("org.freedesktop.DBus.Properties", "Get"), &which)?;
    Ok(Duration::from_micros(answer.long()?))
}

#[cfg(test)]
mod tests;
