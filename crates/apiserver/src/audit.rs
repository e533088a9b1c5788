//! Auditing: what was asked of the server, by whom, and what came of it,
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>.
//!
//! Data flow: a request whose user is known → [`policy`] says how much of it is noted → a
//! [`Record`], to which the steps of the request add what they know → one event per stage → the
//! log file and the webhook ([`sink`]).
//!
//! Invariants: the record is begun and finished in the pipeline alone; a request of which nothing
//! is noted costs one look at the policy.

mod annotations;
mod batch;
mod log;
mod options;
pub mod policy;
mod record;
mod sink;
mod truncate;
mod webhook;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use annotations::Annotations;
pub use options::{
    BatchOptions, Format, LogOptions, Mode, Options, Throttle, TruncateOptions, WebhookOptions,
};
pub(crate) use record::{Asked, Record};

use self::policy::{Level, Policy, Stage};
use self::sink::Sink;
use crate::metrics::audit as metrics;

/// Why auditing cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("failed to read file path {path:?}: {source}")]
    Read {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The policy is of no use.
    #[error("loading audit policy file: {0}")]
    Policy(#[from] policy::Error),
    /// The log cannot be written.
    #[error("ensureLogFile: {0}")]
    Log(std::io::Error),
    /// The webhook's kubeconfig is of no use.
    #[error("initializing audit webhook: {0}")]
    Webhook(String),
    /// A setting is out of its range.
    #[error("{0}")]
    Options(String),
}

/// Notes requests; without a policy or anywhere to write, none.
#[derive(Default)]
pub(crate) struct Auditor {
    policy: Policy,
    sinks: Vec<Sink>,
}

// === impl Auditor ===

impl Auditor {
    /// As the options say. What works in the background does so until `shutdown`, and then writes
    /// what it still has.
    pub(crate) async fn new(
        options: &Options,
        (tasks, shutdown): (&TaskTracker, &CancellationToken),
    ) -> Result<Arc<Self>, Error> {
        options.check()?;
        let Some(path) = &options.policy_file else {
            if options.log.is_some() || options.webhook.is_some() {
                tracing::info!("no audit policy file provided, no events will be recorded");
            }
            return Ok(Arc::default());
        };
        let read = tokio::fs::read(path).await;
        let text = read.map_err(|source| Error::Read { path: path.clone(), source })?;
        let policy = Policy::parse(&text)?;
        let mut sinks = Vec::new();
        if let Some(options) = &options.log {
            sinks.push(Sink::log(options, (tasks, shutdown))?);
        }
        if let Some(options) = &options.webhook {
            sinks.push(Sink::webhook(options, (tasks, shutdown)).await?);
        }
        Ok(Arc::new(Self { policy, sinks }))
    }

    /// Begins the record of a request; none if nothing is to be noted of it.
    pub(crate) fn begin(self: &Arc<Self>, asked: &Asked<'_>) -> Option<Arc<Record>> {
        if self.sinks.is_empty() {
            return None;
        }
        let scope = self.policy.scope(asked.user, asked.info);
        metrics::level(scope.level.as_str());
        (scope.level > Level::None).then(|| Arc::new(Record::new(self.clone(), scope, asked)))
    }

    /// Whether all that must take an event took it.
    async fn write(&self, stage: Stage, event: sink::Event) -> bool {
        metrics::event();
        let mut taken = true;
        for sink in &self.sinks {
            taken &= sink.take(stage, &event).await;
        }
        taken
    }

    /// As [`Auditor::write`], where nobody can wait.
    fn write_now(&self, event: &sink::Event) {
        metrics::event();
        self.sinks.iter().for_each(|sink| sink.take_now(event));
    }
}
