//! Replacing an authority, or the keys of service-account tokens, while everything runs.
//!
//! <https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/> in one command: the new
//! one is trusted beside the old one everywhere, then it signs and every certificate is issued anew,
//! then the old one is dropped. Nothing is restarted, for everything follows its files and ConfigMaps;
//! only members of etcd, which read their authorities when they start, are restarted one by one.
//!
//! Data flow: [`rotate`] sees what every control plane reports, and who else has followed ([`others`])
//! → [`step`] decides (pure) → [`order`] tells control planes what to do → [`agent`], in the Pod
//! `kube-certificates` of each, does it with its own files ([`local`]) and reports. Where the rotation
//! is, is read from what there is, so it goes on after any interruption, and from another machine.

pub(crate) mod agent;
mod local;
pub(crate) mod order;
mod others;
mod step;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use component::pki::{self, Authority, Pair};
use component::tls;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use self::local::Place;
use self::order::{ANNOTATION, NAMESPACE, Order, Reports, SECRET};
use self::others::Others;
use self::step::{Plan, Report, Step};
use super::files::{self, FileError};
use super::inventory::{self, CA, ETCD_CA, Root, SERVICE_ACCOUNTS};
use super::renew::RenewError;
use crate::seal::SealError;

/// Between looks at what others have to do.
const POLL: Duration = Duration::from_millis(500);
/// How long an authority is good.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a token is used at most: kubelets ask for another one long before an hour is over.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// The label of control planes.
const CONTROL_PLANES: &str = "node-role.kubernetes.io/control-plane";
/// How applied objects are marked.
const MANAGER: &str = "ironclad";

/// Why the rotation stopped.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A file is of no use.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate could not be issued.
    #[error(transparent)]
    Renew(#[from] RenewError),
    /// No new authority could be made.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// A key is none.
    #[error(transparent)]
    Key(#[from] tls::Error),
    /// The new key cannot be encrypted, or decrypted.
    #[error("the key that takes over: {0}")]
    Seal(#[from] SealError),
    /// The manifest of an etcd member is none.
    #[error("{}: no manifest of a Pod", .0.display())]
    Manifest(PathBuf),
    /// There is no such authority here.
    #[error("this cluster has no {0} of its own")]
    Absent(&'static str),
    /// The key is not here.
    #[error("the key of the authority is not on {0}: whoever has it has to rotate it")]
    External(String),
    /// There are more certificates than a rotation makes.
    #[error("control plane {0} trusts authorities that this command did not put there")]
    Foreign(String),
    /// Something else is being replaced.
    #[error("{0} is being replaced; that has to be finished first")]
    Other(&'static str),
    /// Tokens are in use that only the old key vouches for.
    #[error(
        "tokens that the old key signed may be in use for another {} minutes; --force drops it now, and Pods whose tokens it signed are locked out until they get others",
        left.as_secs().div_ceil(60)
    )]
    TooEarly {
        /// For so long.
        left: Duration,
    },
    /// Nothing is to be dropped.
    #[error("no rotation is under way: there is no old key to drop")]
    NothingToDrop,
    /// The API server refused.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// Control planes say nothing.
    #[error(
        "nothing is heard of what control plane {} has; does its Pod kube-certificates run, and is it of this release?",
        .0.join(", ")
    )]
    Silent(Vec<String>),
    /// Others did not follow.
    #[error(
        "not all have followed after {} seconds: {}; the command goes on from here when it is repeated",
        patience.as_secs(), missing.join(", ")
    )]
    TimedOut {
        /// How long it took.
        patience: Duration,
        /// Who has not.
        missing: Vec<String>,
    },
}

/// How a rotation is done.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long the certificates are good that are issued.
    pub validity: Duration,
    /// How long others may take to follow.
    pub patience: Duration,
    /// How long those get that nobody hears of, such as clients of users, to read their authorities.
    pub grace: Duration,
    /// Whether the old one stays trusted until the command is run again without this.
    pub keep_old: bool,
    /// Whether the key of tokens is dropped although tokens that it signed may be in use.
    pub force: bool,
}

/// A rotation under way.
struct Rotation<'a> {
    /// The files of a control plane that are within reach.
    local: &'a Path,
    client: &'a Client,
    options: &'a Options,
    order: Order,
}

/// Replaces `what`, seen from the control plane with the files in `local`. Gives `false` when the old
/// one is still trusted, because that was wanted.
///
/// # Errors
/// [`RotateError`] with what is in the way; repeating goes on from there.
pub async fn rotate(
    local: &Path,
    what: Root,
    client: &Client,
    options: &Options,
    say: &mut dyn FnMut(String),
) -> Result<bool, RotateError> {
    let order = begin(local, what, client, options).await?;
    let mut rotation = Rotation { local, client, options, order };
    let mut waited = tokio::time::Instant::now();
    let mut last = None;
    let mut furthest = None;
    loop {
        let plan = match rotation.plan().await {
            // An API server that does not answer for a moment, and a control plane that is about to
            // report, are asked again.
            Err(RotateError::Api { .. } | RotateError::Silent(_))
                if waited.elapsed() < options.patience =>
            {
                tokio::time::sleep(POLL).await;
                continue;
            }
            plan => plan?,
        };
        if plan.step == Step::Drop && options.keep_old {
            return Ok(false);
        }
        if last.as_ref() != Some(&plan) {
            // What was read while control planes took a step may look like one that is behind them.
            if furthest.is_none_or(|furthest| furthest < plan.step) {
                furthest = Some(plan.step);
                rotation.check(plan.step)?;
                if let Some(text) = describe(what, plan.step) {
                    say(text.to_owned());
                }
                // One API server that publishes the keys of tokens is all of them.
                let alone = what == SERVICE_ACCOUNTS && plan.members.len() < 2;
                if matches!(plan.step, Step::Sign | Step::Drop) && !alone {
                    tokio::time::sleep(options.grace).await;
                }
            }
            waited = tokio::time::Instant::now();
            last = Some(plan.clone());
        }
        match rotation.act(&plan).await {
            Ok(()) if plan.step == Step::Done => return Ok(true),
            Ok(()) | Err(RotateError::Api { .. }) if waited.elapsed() < options.patience => {}
            Ok(()) => {
                let (patience, missing) = (options.patience, plan.missing);
                return Err(RotateError::TimedOut { patience, missing });
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Drops the old key of tokens, once those that it signed are not in use any more.
///
/// # Errors
/// As [`rotate`].
pub async fn finish(
    local: &Path,
    client: &Client,
    options: &Options,
    say: &mut dyn FnMut(String),
) -> Result<(), RotateError> {
    if announced(client).await?.is_none_or(|order| order.root != SERVICE_ACCOUNTS) {
        return Err(RotateError::NothingToDrop);
    }
    rotate(local, SERVICE_ACCOUNTS, client, options, say).await.map(drop)
}

fn describe(what: Root, step: Step) -> Option<&'static str> {
    Some(match step {
        Step::Prepare => "Giving the new one to the control planes",
        Step::Trust => "Trusting it beside the old one on the control planes",
        Step::AwaitTrust => "Waiting until all others trust it",
        Step::Sign => "Letting it sign in the place of the old one",
        Step::Issue => "Issuing the certificates of the control planes",
        Step::AwaitIssue if what == CA => "Waiting until kubelets have new certificates",
        Step::Drop => "Dropping the old one",
        Step::AwaitDrop => "Waiting until all others have forgotten it",
        Step::AwaitIssue | Step::Finish | Step::Done => return None,
    })
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> RotateError {
    move |source| RotateError::Api { what, source: Box::new(source) }
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// What is ordered already.
async fn announced(client: &Client) -> Result<Option<Order>, RotateError> {
    let secret = secrets(client).get_opt(SECRET).await.map_err(failed("reading the rotation"))?;
    Ok(secret.as_ref().and_then(Order::read))
}

/// The rotation that is under way, or the beginning of one.
async fn begin(
    local: &Path,
    what: Root,
    client: &Client,
    options: &Options,
) -> Result<Order, RotateError> {
    match announced(client).await? {
        Some(order) if order.root == what => return Ok(order),
        Some(order) => return Err(RotateError::Other(order.root.name)),
        None => {}
    }
    if what == ETCD_CA && !inventory::authorities(local).any(|one| one == what) {
        return Err(RotateError::Absent(what.name));
    }
    let place = Place::of(local, what);
    let key = files::text(&place.key)?;
    let key = key.ok_or_else(|| RotateError::External("this control plane".to_owned()))?;
    let mut new = match place.pending()? {
        Some(pair) => pair,
        None if what.is_authority() => {
            let name = if what == CA { "kubernetes" } else { what.name };
            Authority::lasting(name, VALIDITY)?.pair().clone()
        }
        None => {
            let (key, certificate) = pki::signing_key()?;
            Pair { certificate, key }
        }
    };
    new.certificate = local::blocks(what, &new.certificate).concat();
    // Those who would join with the keys of before would not be believed.
    let old = secrets(client).delete("kubeadm-certs", &DeleteParams::default()).await;
    match old {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(failed("removing the Secret kubeadm-certs")(error)),
    }
    Order::begin(what, &new, &key, options.validity)
}

impl Rotation<'_> {
    /// What is next.
    async fn plan(&self) -> Result<Plan, RotateError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes =
            nodes.list_metadata(&ListParams::default()).await.map_err(failed("reading nodes"))?;
        let reports = self.reports(&nodes.items)?;
        let bundle = files::text(&Place::of(self.local, self.order.root).bundle)?;
        let others = Others { client: self.client, nodes: &nodes.items, reports: &reports };
        let behind = others.behind(&self.order, &bundle.unwrap_or_default()).await?;
        let one_by_one = self.order.root == ETCD_CA;
        step::plan(&reports, &self.order.digest(), &behind, one_by_one)
    }

    /// What every control plane has.
    fn reports(
        &self,
        nodes: &[PartialObjectMeta<Node>],
    ) -> Result<BTreeMap<String, Report>, RotateError> {
        let (mut heard, mut silent) = (BTreeMap::new(), Vec::new());
        for node in nodes.iter().filter(|node| node.labels().contains_key(CONTROL_PLANES)) {
            let text = node.annotations().get(ANNOTATION);
            let reports: Option<Reports> = text.and_then(|text| serde_json::from_str(text).ok());
            match reports.and_then(|mut all| all.remove(self.order.root.name)) {
                Some(report) => {
                    heard.insert(node.name_any(), report);
                }
                None => silent.push(node.name_any()),
            }
        }
        if silent.is_empty() && !heard.is_empty() {
            Ok(heard)
        } else {
            Err(RotateError::Silent(silent))
        }
    }

    /// Whether a step may be taken now.
    fn check(&self, step: Step) -> Result<(), RotateError> {
        if step != Step::Drop || self.order.root != SERVICE_ACCOUNTS || self.options.force {
            return Ok(());
        }
        match left(self.order.terms.signs_since, SystemTime::now()) {
            Duration::ZERO => Ok(()),
            left => Err(RotateError::TooEarly { left }),
        }
    }

    /// Has control planes take a step, or others follow.
    async fn act(&mut self, plan: &Plan) -> Result<(), RotateError> {
        match plan.step {
            Step::AwaitTrust | Step::AwaitIssue | Step::AwaitDrop if self.order.root == CA => {
                self.publish().await
            }
            Step::Done => {
                let gone = secrets(self.client).delete(SECRET, &DeleteParams::default()).await;
                match gone {
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                    gone => gone.map(drop).map_err(failed("removing the order")),
                }
            }
            _ if plan.members.is_empty() => Ok(()),
            step => {
                let next = self.order.next(step, plan.members.clone(), SystemTime::now());
                if next != self.order {
                    let apply = PatchParams::apply(MANAGER).force();
                    let patch = Patch::Apply(next.secret());
                    let patched = secrets(self.client).patch(SECRET, &apply, &patch).await;
                    patched.map_err(failed("telling control planes what to do"))?;
                    self.order = next;
                }
                Ok(())
            }
        }
    }

    /// Tells nodes, and those that join, whom to trust.
    async fn publish(&self) -> Result<(), RotateError> {
        let bundle = files::text(&Place::of(self.local, CA).bundle)?.unwrap_or_default();
        let failed = || failed("ConfigMap cluster-info");
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "kube-public");
        let map = api.get("cluster-info").await.map_err(failed())?;
        let old = map.data.as_ref().and_then(|data| data.get("kubeconfig")).cloned();
        let Some(new) = old.as_ref().and_then(|old| files::trusting(old, &bundle)) else {
            return Ok(());
        };
        let patch = Patch::Merge(json!({"data": {"kubeconfig": new}}));
        api.patch("cluster-info", &PatchParams::default(), &patch).await.map_err(failed())?;
        Ok(())
    }
}

/// How long a token may still be in use that was signed until `since`; from now on if that is not
/// known.
fn left(since: Option<SystemTime>, now: SystemTime) -> Duration {
    let passed = since.and_then(|since| now.duration_since(since).ok());
    TOKEN_LIFE.saturating_sub(passed.unwrap_or_default())
}

#[cfg(test)]
mod tests;
