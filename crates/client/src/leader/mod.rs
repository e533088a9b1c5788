//! Leader election by a Lease of coordination.k8s.io, as upstream's clients do it.
//!
//! Clocks of different machines are never compared: a candidate measures with its own clock
//! how long it has seen the record unchanged.

#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use rand::Rng;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who competes for which lease, and how patiently.
#[derive(Debug, Clone)]
pub struct LeaderConfig {
    /// Name of the Lease.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// This candidate, unique among all.
    pub identity: String,
    /// How long others wait after the last renewal they saw.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Wait between attempts.
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// Upstream's defaults (15 s, 10 s, 2 s) for a component in `kube-system`.
    #[must_use]
    pub fn new(name: &str, identity: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "kube-system".to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// A name for this process that no other has, as upstream's components make theirs: the host's name
/// and a random part.
#[must_use]
pub fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim(), uuid::Uuid::new_v4())
}

/// Wait between attempts while no lease was seen yet: the API server is only just coming up, and
/// there is no one to contend with.
const UNSEEN_RETRY: Duration = Duration::from_millis(100);

/// Why the leader stopped leading.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LeaderError {
    /// The lease could not be renewed in time; the work was cancelled.
    #[error("leaderelection lost")]
    Lost,
}

/// Runs work only while this process holds the lease.
#[derive(Debug, Clone)]
pub struct LeaderElector {
    config: LeaderConfig,
    renewed: watch::Sender<Option<Instant>>,
}

/// The lease as this candidate last saw it, and when it saw it change.
struct Observed {
    record: Option<Record>,
    resource_version: Option<String>,
    at: Instant,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Record {
    holder: String,
    duration_seconds: i32,
    acquired: Option<Timestamp>,
    renewed: Option<Timestamp>,
    transitions: i32,
}

/// Why leading ended.
enum End {
    Finished,
    Shutdown,
    Lost,
}

/// What a look at the lease means for this candidate.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Another holds it and has not been silent for long enough.
    Held,
    /// Write this record.
    Take(Record),
}

impl LeaderElector {
    /// An elector; nothing happens until [`LeaderElector::run`].
    #[must_use]
    pub fn new(config: LeaderConfig) -> Self {
        Self { config, renewed: watch::Sender::new(None) }
    }

    /// When the lease was last renewed, for work that has to end by itself if the process hangs:
    /// nobody else takes the lease before `lease_duration` has passed since then.
    #[must_use]
    pub fn renewals(&self) -> watch::Receiver<Option<Instant>> {
        self.renewed.subscribe()
    }

    /// Waits for the lease, then runs `work` with a token that is cancelled when the lease is
    /// lost or `shutdown` is. On shutdown the lease is released, so that another takes over at
    /// once.
    ///
    /// # Errors
    /// [`LeaderError::Lost`]; callers end the process then, as upstream's components do.
    pub async fn run<F, R>(
        &self,
        client: kube::Client,
        shutdown: CancellationToken,
        work: F,
    ) -> Result<(), LeaderError>
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output = ()>,
    {
        let api: Api<Lease> = Api::namespaced(client, &self.config.namespace);
        let mut observed = Observed { record: None, resource_version: None, at: Instant::now() };
        loop {
            let begun = Instant::now();
            let acquired = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                acquired = self.try_acquire_or_renew(&api, &mut observed) => acquired,
            };
            if acquired {
                self.renewed.send_replace(Some(begun));
                break;
            }
            let wait = match observed.record {
                // Jitter as upstream's JitterFactor 1.2, so that candidates do not march in step.
                Some(_) => {
                    self.config.retry_period.mul_f64(1.0 + 1.2 * rand::rng().random::<f64>())
                }
                None => UNSEEN_RETRY.min(self.config.retry_period),
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
        tracing::info!(lease = %self.config.name, identity = %self.config.identity, "became leader");
        let leading = shutdown.child_token();
        let work = work(leading.clone());
        tokio::pin!(work);
        let end = tokio::select! {
            () = &mut work => End::Finished,
            end = self.renew(&api, &mut observed, &shutdown) => end,
        };
        leading.cancel();
        match end {
            End::Lost => {
                tracing::error!(lease = %self.config.name, "leader election lost");
                return Err(LeaderError::Lost);
            }
            // Work is told to stop; the lease is given back only when it did.
            End::Shutdown => {
                if tokio::time::timeout(self.config.renew_deadline, &mut work).await.is_err() {
                    tracing::warn!("work did not stop in time");
                }
            }
            End::Finished => {}
        }
        self.release(&api, &observed).await;
        Ok(())
    }

    /// Keeps the lease for as long as possible.
    async fn renew(
        &self,
        api: &Api<Lease>,
        observed: &mut Observed,
        shutdown: &CancellationToken,
    ) -> End {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return End::Shutdown,
                () = tokio::time::sleep(self.config.retry_period) => {}
            }
            let begun = Instant::now();
            let deadline = renewed + self.config.renew_deadline;
            let attempt = self.try_acquire_or_renew(api, observed);
            match tokio::time::timeout_at(deadline, attempt).await {
                Ok(true) => {
                    renewed = Instant::now();
                    self.renewed.send_replace(Some(begun));
                }
                Ok(false) if Instant::now() < deadline => {}
                Ok(false) | Err(_) => return End::Lost,
            }
        }
    }

    async fn try_acquire_or_renew(&self, api: &Api<Lease>, observed: &mut Observed) -> bool {
        let lease = match api.get_opt(&self.config.name).await {
            Ok(lease) => lease,
            Err(error) => {
                tracing::debug!(%error, "cannot read lease");
                return false;
            }
        };
        let record = lease.as_ref().map(Record::from_lease);
        observed.see(record, lease.as_ref().and_then(|l| l.metadata.resource_version.clone()));
        let waited = observed.at.elapsed();
        let verdict = decide(observed.record.as_ref(), waited, &self.config, Timestamp::now());
        let Verdict::Take(record) = verdict else { return false };
        match self.write(api, observed, record).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "cannot write lease");
                false
            }
        }
    }

    async fn write(
        &self,
        api: &Api<Lease>,
        observed: &mut Observed,
        record: Record,
    ) -> Result<(), kube::Error> {
        let create = observed.resource_version.is_none();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                resource_version: observed.resource_version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(record.to_spec()),
        };
        let written = if create {
            api.create(&PostParams::default(), &lease).await?
        } else {
            api.replace(&self.config.name, &PostParams::default(), &lease).await?
        };
        observed.see(Some(Record::from_lease(&written)), written.metadata.resource_version);
        Ok(())
    }

    async fn release(&self, api: &Api<Lease>, observed: &Observed) {
        let Some(held) = observed.record.as_ref().filter(|r| r.holder == self.config.identity)
        else {
            return;
        };
        let now = Timestamp::now();
        let record = Record {
            holder: String::new(),
            duration_seconds: 1,
            acquired: Some(now),
            renewed: Some(now),
            transitions: held.transitions,
        };
        let mut observed = Observed {
            record: observed.record.clone(),
            resource_version: observed.resource_version.clone(),
            at: observed.at,
        };
        let released = self.write(api, &mut observed, record);
        match tokio::time::timeout(self.config.retry_period, released).await {
            Ok(Ok(())) => tracing::info!(lease = %self.config.name, "released the lease"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot release the lease"),
            Err(_) => tracing::warn!("cannot release the lease in time"),
        }
    }
}

impl Observed {
    fn see(&mut self, record: Option<Record>, resource_version: Option<String>) {
        if self.record != record {
            self.record = record;
            self.at = Instant::now();
        }
        self.resource_version = resource_version;
    }
}

/// Decides from the lease, the time it has been seen unchanged, and the clock.
fn decide(
    seen: Option<&Record>,
    unchanged_for: Duration,
    config: &LeaderConfig,
    now: Timestamp,
) -> Verdict {
    let duration_seconds = i32::try_from(config.lease_duration.as_secs()).unwrap_or(i32::MAX);
    let fresh = Record {
        holder: config.identity.clone(),
        duration_seconds,
        acquired: Some(now),
        renewed: Some(now),
        transitions: 0,
    };
    let Some(seen) = seen else { return Verdict::Take(fresh) };
    if seen.holder == config.identity {
        return Verdict::Take(Record {
            acquired: seen.acquired.or(Some(now)),
            transitions: seen.transitions,
            ..fresh
        });
    }
    // As upstream since 1.30, a candidate waits as long as the holder's record asks for.
    let valid = Duration::from_secs(u64::try_from(seen.duration_seconds).unwrap_or(0));
    if !seen.holder.is_empty() && unchanged_for < valid {
        return Verdict::Held;
    }
    Verdict::Take(Record { transitions: seen.transitions + 1, ..fresh })
}

impl Record {
    fn from_lease(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self {
            holder: spec.holder_identity.unwrap_or_default(),
            duration_seconds: spec.lease_duration_seconds.unwrap_or(0),
            acquired: spec.acquire_time.map(|t| t.0),
            renewed: spec.renew_time.map(|t| t.0),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }

    fn to_spec(&self) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(self.duration_seconds),
            acquire_time: self.acquired.map(MicroTime),
            renew_time: self.renewed.map(MicroTime),
            lease_transitions: Some(self.transitions),
            ..LeaseSpec::default()
        }
    }
}
