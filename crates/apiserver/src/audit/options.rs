//! What an operator can set; names follow upstream's flags.

use std::path::PathBuf;
use std::time::Duration;

use super::Error;

/// Of auditing (`--audit-*`).
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What is noted (`--audit-policy-file`); nothing without it.
    pub policy_file: Option<PathBuf>,
    /// The log file (`--audit-log-*`).
    pub log: Option<LogOptions>,
    /// The webhook (`--audit-webhook-*`).
    pub webhook: Option<WebhookOptions>,
}

/// Of the log file.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where; `-` is standard output.
    pub path: PathBuf,
    /// Days after which old files are removed; 0 keeps them.
    pub max_age: u64,
    /// Old files that are kept; 0 keeps all.
    pub max_backups: usize,
    /// Megabytes after which a new file begins; 0 are 100.
    pub max_size: u64,
    /// How events look.
    pub format: Format,
    /// Who waits for whom.
    pub mode: Mode,
    /// How events are collected in batch mode.
    pub batch: BatchOptions,
    /// How large events may be; none is no limit.
    pub truncate: Option<TruncateOptions>,
}

/// Of the webhook.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// A kubeconfig that says where it is and how to authenticate there.
    pub config_file: PathBuf,
    /// How long to wait before the second attempt.
    pub initial_backoff: Duration,
    /// Who waits for whom.
    pub mode: Mode,
    /// How events are collected in batch mode.
    pub batch: BatchOptions,
    /// How large events may be; none is no limit.
    pub truncate: Option<TruncateOptions>,
}

/// How events look in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// An `audit.k8s.io/v1` Event per line.
    #[default]
    Json,
    /// Some of it, for people.
    Legacy,
}

/// Whether requests wait for their events to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They do not; events are collected, and dropped when there are too many.
    Batch,
    /// They do.
    Blocking,
    /// They do, and fail when the event of their beginning cannot be written.
    BlockingStrict,
}

/// How events are collected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchOptions {
    /// Events that may wait.
    pub buffer_size: usize,
    /// Events that are written together at most.
    pub max_size: usize,
    /// How long an event may wait for others.
    pub max_wait: Duration,
    /// How often batches may be written; none is no limit.
    pub throttle: Option<Throttle>,
}

/// Limits of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncateOptions {
    /// Bytes of an event: a larger one goes without its objects, or not at all.
    pub max_event_size: u64,
    /// Bytes of what is written together; events come one by one, so that it limits nothing more.
    pub max_batch_size: u64,
}

/// A limit of batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Per second, on average.
    pub per_second: f32,
    /// At once.
    pub burst: u32,
}

// === impl Format ===

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "json" => Ok(Self::Json),
            "legacy" => Ok(Self::Legacy),
            _ => {
                Err(format!("invalid audit log format {word}, allowed formats are \"legacy,json\""))
            }
        }
    }
}

// === impl Mode ===

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "batch" => Ok(Self::Batch),
            "blocking" => Ok(Self::Blocking),
            "blocking-strict" => Ok(Self::BlockingStrict),
            _ => Err(format!(
                "invalid audit mode {word}, allowed modes are \"batch,blocking,blocking-strict\""
            )),
        }
    }
}

// === impl LogOptions ===

impl LogOptions {
    /// Upstream's defaults.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            max_age: 0,
            max_backups: 0,
            max_size: 0,
            format: Format::Json,
            mode: Mode::Blocking,
            batch: BatchOptions {
                buffer_size: 10_000,
                max_size: 1,
                max_wait: Duration::ZERO,
                throttle: None,
            },
            truncate: None,
        }
    }
}

// === impl WebhookOptions ===

impl WebhookOptions {
    /// Upstream's defaults.
    #[must_use]
    pub fn at(config_file: PathBuf) -> Self {
        Self {
            config_file,
            initial_backoff: Duration::from_secs(10),
            mode: Mode::Batch,
            batch: BatchOptions {
                buffer_size: 10_000,
                max_size: 400,
                max_wait: Duration::from_secs(30),
                throttle: Some(Throttle { per_second: 10.0, burst: 15 }),
            },
            truncate: None,
        }
    }
}

// === impl Options ===

impl Options {
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(log) = &self.log {
            check_batch("log", log.mode, &log.batch)?;
            check_truncate("log", log.truncate)?;
        }
        match &self.webhook {
            Some(webhook) => {
                check_batch("webhook", webhook.mode, &webhook.batch)?;
                check_truncate("webhook", webhook.truncate)
            }
            None => Ok(()),
        }
    }
}

fn check_batch(plugin: &str, mode: Mode, batch: &BatchOptions) -> Result<(), Error> {
    let refuse = |what: &str, given: &dyn std::fmt::Display| {
        Err(Error::Options(format!(
            "invalid audit batch {plugin} {what} {given}, must be a positive number"
        )))
    };
    if mode != Mode::Batch {
        return Ok(());
    }
    if batch.buffer_size == 0 {
        return refuse("buffer size", &0);
    }
    if batch.max_size == 0 {
        return refuse("max batch size", &0);
    }
    match batch.throttle {
        Some(Throttle { per_second, .. }) if per_second <= 0.0 => {
            refuse("throttle QPS", &per_second)
        }
        Some(Throttle { burst: 0, .. }) => refuse("throttle burst", &0),
        _ => Ok(()),
    }
}

fn check_truncate(plugin: &str, truncate: Option<TruncateOptions>) -> Result<(), Error> {
    let Some(TruncateOptions { max_event_size, max_batch_size }) = truncate else { return Ok(()) };
    let why = if max_event_size == 0 {
        format!("max event size {max_event_size}, must be a positive number")
    } else if max_batch_size < max_event_size {
        format!(
            "max batch size {max_batch_size}, must be greater than max event size \
             ({max_event_size})"
        )
    } else {
        return Ok(());
    };
    Err(Error::Options(format!("invalid audit truncate {plugin} {why}")))
}
