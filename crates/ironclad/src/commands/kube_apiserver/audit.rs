//! `--audit-*`.

use std::path::PathBuf;
use std::time::Duration;

use apiserver::audit::{
    BatchOptions, Format, LogOptions, Mode, Options, Throttle, TruncateOptions, WebhookOptions,
};
use clap::Args;

/// Flags under upstream's names.
#[derive(Debug, Args)]
#[group(id = "audit")]
pub(super) struct Flags {
    /// What is noted of which request; nothing without it
    #[arg(long)]
    audit_policy_file: Option<PathBuf>,
    /// File of the audit log; `-` is standard output
    #[arg(long)]
    audit_log_path: Option<PathBuf>,
    /// Days after which old log files are removed
    #[arg(long, default_value_t = 0, value_name = "DAYS")]
    audit_log_maxage: u64,
    /// Old log files that are kept
    #[arg(long, default_value_t = 0)]
    audit_log_maxbackup: usize,
    /// Megabytes after which a new log file begins
    #[arg(long, default_value_t = 0, value_name = "MEGABYTES")]
    audit_log_maxsize: u64,
    /// Format of the log: `json` or `legacy`
    #[arg(long, default_value = "json")]
    audit_log_format: Format,
    /// Whether requests wait for the log: `batch`, `blocking` or `blocking-strict`
    #[arg(long, default_value = "blocking")]
    audit_log_mode: Mode,
    /// Events that may wait for the log in batch mode
    #[arg(long, default_value_t = 10_000)]
    audit_log_batch_buffer_size: usize,
    /// Events that are logged together in batch mode
    #[arg(long, default_value_t = 1)]
    audit_log_batch_max_size: usize,
    /// How long an event waits for others in batch mode
    #[arg(long, default_value = "0s", value_parser = apiserver::parse_duration)]
    audit_log_batch_max_wait: Duration,
    /// Whether events that are too large for the log go without their objects
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    audit_log_truncate_enabled: bool,
    /// Bytes that an event in the log may have
    #[arg(long, default_value_t = 102_400, value_name = "BYTES")]
    audit_log_truncate_max_event_size: u64,
    /// Bytes that events may have together
    #[arg(long, default_value_t = 10_485_760, value_name = "BYTES")]
    audit_log_truncate_max_batch_size: u64,
    /// Kubeconfig of a server that audit events are sent to
    #[arg(long)]
    audit_webhook_config_file: Option<PathBuf>,
    /// Whether requests wait for the webhook: `batch`, `blocking` or `blocking-strict`
    #[arg(long, default_value = "batch")]
    audit_webhook_mode: Mode,
    /// Time before the webhook is asked a second time
    #[arg(long, default_value = "10s", value_parser = apiserver::parse_duration)]
    audit_webhook_initial_backoff: Duration,
    /// Events that may wait for the webhook in batch mode
    #[arg(long, default_value_t = 10_000)]
    audit_webhook_batch_buffer_size: usize,
    /// Events that are sent together in batch mode
    #[arg(long, default_value_t = 400)]
    audit_webhook_batch_max_size: usize,
    /// How long an event waits for others in batch mode
    #[arg(long, default_value = "30s", value_parser = apiserver::parse_duration)]
    audit_webhook_batch_max_wait: Duration,
    /// Whether batches are limited
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    audit_webhook_batch_throttle_enable: bool,
    /// Batches per second, on average
    #[arg(long, default_value_t = 10.0)]
    audit_webhook_batch_throttle_qps: f32,
    /// Batches at once
    #[arg(long, default_value_t = 15)]
    audit_webhook_batch_throttle_burst: u32,
    /// Whether events that are too large for the webhook go without their objects
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    audit_webhook_truncate_enabled: bool,
    /// Bytes that an event in the webhook may have
    #[arg(long, default_value_t = 102_400, value_name = "BYTES")]
    audit_webhook_truncate_max_event_size: u64,
    /// Bytes that events may have together
    #[arg(long, default_value_t = 10_485_760, value_name = "BYTES")]
    audit_webhook_truncate_max_batch_size: u64,
}

// === impl Flags ===

impl Flags {
    pub(super) fn options(self) -> Options {
        Options {
            log: self.audit_log_path.map(|path| LogOptions {
                path,
                max_age: self.audit_log_maxage,
                max_backups: self.audit_log_maxbackup,
                max_size: self.audit_log_maxsize,
                format: self.audit_log_format,
                mode: self.audit_log_mode,
                batch: BatchOptions {
                    buffer_size: self.audit_log_batch_buffer_size,
                    max_size: self.audit_log_batch_max_size,
                    max_wait: self.audit_log_batch_max_wait,
                    throttle: None,
                },
                truncate: self.audit_log_truncate_enabled.then_some(TruncateOptions {
                    max_event_size: self.audit_log_truncate_max_event_size,
                    max_batch_size: self.audit_log_truncate_max_batch_size,
                }),
            }),
            webhook: self.audit_webhook_config_file.map(|config_file| WebhookOptions {
                config_file,
                initial_backoff: self.audit_webhook_initial_backoff,
                mode: self.audit_webhook_mode,
                batch: BatchOptions {
                    buffer_size: self.audit_webhook_batch_buffer_size,
                    max_size: self.audit_webhook_batch_max_size,
                    max_wait: self.audit_webhook_batch_max_wait,
                    throttle: self.audit_webhook_batch_throttle_enable.then_some(Throttle {
                        per_second: self.audit_webhook_batch_throttle_qps,
                        burst: self.audit_webhook_batch_throttle_burst,
                    }),
                },
                truncate: self.audit_webhook_truncate_enabled.then_some(TruncateOptions {
                    max_event_size: self.audit_webhook_truncate_max_event_size,
                    max_batch_size: self.audit_webhook_truncate_max_batch_size,
                }),
            }),
            policy_file: self.audit_policy_file,
        }
    }
}
