//! Replacing the authority of the cluster while everything runs.
//!
//! <https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/> in one command: the new
//! authority is trusted beside the old one everywhere, then it signs and every certificate is issued
//! anew, then the old one is dropped. Nothing is restarted, for everything follows its files and
//! ConfigMaps. Where the rotation is, is read from what there is, so it goes on after any
//! interruption.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use component::authorities::{ISSUER, TRUSTS, digest};
use component::pki::{self, Authority, Certificate};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::files::{self, FileError};
use super::inspect::{self, Kind};
use super::inventory::{self, CA, CONTROL_PLANE, Entry, Form};
use super::renew::{self, RenewError};

/// Between looks at what others have to do.
const POLL: Duration = Duration::from_millis(500);
/// How long an authority is good.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
    /// The key is not here.
    #[error("the key of the authority is not on {0}: whoever has it has to rotate it")]
    External(String),
    /// There are more certificates than a rotation makes.
    #[error("{}: holds authorities that this command did not put there", .0.display())]
    Foreign(PathBuf),
    /// The API server refused.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
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

/// A control plane.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The root of its files.
    pub root: PathBuf,
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
    /// Whether the old authority stays trusted until the command is run again without this.
    pub keep_old: bool,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Make the new authority.
    Prepare,
    /// Let control planes trust it beside the old one.
    Trust,
    /// Wait until all others do.
    AwaitTrust,
    /// Let it sign, and the old one no more.
    Sign,
    /// Issue the control planes' certificates.
    Issue,
    /// Wait until kubelets have theirs.
    AwaitIssue,
    /// Let control planes forget the old one.
    Drop,
    /// Wait until all others have.
    AwaitDrop,
    /// Clean up.
    Finish,
}

/// Where the rotation is, as one control plane and the API show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The trusted authorities, and which one of them the new one is.
    pub trusted: Vec<bool>,
    /// Whether there is a new one.
    pub prepared: bool,
    /// Whether its key signs.
    pub signs: bool,
    /// Whether it issued all of the control plane's certificates.
    pub issued: bool,
    /// Whether all that can be heard of trust the same.
    pub followed: bool,
    /// Whether it issued the certificates of all kubelets.
    pub kubelets: bool,
}

/// Decides what is next.
#[must_use]
pub fn decide(seen: &Seen) -> Step {
    if !seen.prepared {
        return Step::Prepare;
    }
    match (seen.trusted.as_slice(), seen.followed) {
        ([false], _) => Step::Trust,
        ([false, true], _) if seen.signs => Step::Sign,
        ([false, true], false) => Step::AwaitTrust,
        ([false, true], true) => Step::Sign,
        ([true, false], _) if !seen.signs => Step::Sign,
        ([true, false], _) if !seen.issued => Step::Issue,
        ([true, false], followed) if !(followed && seen.kubelets) => Step::AwaitIssue,
        ([true, false], _) => Step::Drop,
        ([true], false) => Step::AwaitDrop,
        ([true], true) => Step::Finish,
        // Excluded before: see `look`.
        _ => Step::Trust,
    }
}

/// Rotates the authority of the cluster that these control planes make. Gives `false` when the old
/// one is still trusted, because that was wanted.
///
/// # Errors
/// [`RotateError`] with what is in the way; repeating goes on from there.
pub async fn rotate(
    members: &[Member],
    client: &Client,
    options: &Options,
    say: &mut dyn FnMut(String),
) -> Result<bool, RotateError> {
    let mut waited = tokio::time::Instant::now();
    let mut last = None;
    loop {
        let (step, missing) = match next(members, client).await {
            // An API server that does not answer for a moment is asked again.
            Err(RotateError::Api { .. }) if waited.elapsed() < options.patience => {
                tokio::time::sleep(POLL).await;
                continue;
            }
            seen => seen?,
        };
        if last != Some(step) {
            if let Some(text) = describe(step) {
                say(text.to_owned());
            }
            waited = tokio::time::Instant::now();
            last = Some(step);
        }
        match step {
            Step::AwaitTrust | Step::AwaitIssue | Step::AwaitDrop => {
                match publish(members, client).await {
                    Err(RotateError::Api { .. }) if waited.elapsed() < options.patience => {}
                    published => published?,
                }
                if waited.elapsed() > options.patience {
                    return Err(RotateError::TimedOut { patience: options.patience, missing });
                }
                tokio::time::sleep(POLL).await;
            }
            Step::Drop if options.keep_old => return Ok(false),
            Step::Finish => {
                act(members, step, options)?;
                return Ok(true);
            }
            _ => {
                if matches!(step, Step::Sign | Step::Drop) {
                    tokio::time::sleep(options.grace).await;
                }
                act(members, step, options)?;
            }
        }
    }
}

fn describe(step: Step) -> Option<&'static str> {
    Some(match step {
        Step::Prepare => "Making a new authority",
        Step::Trust => "Trusting it beside the old one on the control planes",
        Step::AwaitTrust => "Waiting until nodes and namespaces trust it",
        Step::Sign => "Letting it sign in the place of the old one",
        Step::Issue => "Issuing the certificates of the control planes",
        Step::AwaitIssue => "Waiting until kubelets have new certificates",
        Step::Drop => "Dropping the old authority",
        Step::AwaitDrop => "Waiting until nodes and namespaces have forgotten it",
        Step::Finish => return None,
    })
}

/// The next step, and who has not followed the last one.
async fn next(members: &[Member], client: &Client) -> Result<(Step, Vec<String>), RotateError> {
    let mut steps = Vec::new();
    let mut missing = BTreeSet::new();
    for member in members {
        let (mut seen, bundle) = look(member)?;
        let behind = behind(client, &bundle).await?;
        seen.followed = behind.trust.is_empty();
        seen.kubelets = behind.issue.is_empty();
        let step = decide(&seen);
        steps.push(step);
        missing.extend(behind.trust);
        if step == Step::AwaitIssue {
            missing.extend(behind.issue);
        }
    }
    Ok((together(&steps), missing.into_iter().collect()))
}

/// The step of several control planes: that of the hindmost, who need not wait for what another one
/// found done.
fn together(steps: &[Step]) -> Step {
    let hindmost = steps.iter().copied().min().unwrap_or(Step::Finish);
    let foremost = steps.iter().copied().max().unwrap_or(Step::Finish);
    match hindmost {
        Step::AwaitTrust if foremost > Step::Sign => Step::Sign,
        Step::AwaitIssue if foremost > Step::Drop => Step::Drop,
        own => own,
    }
}

/// What one control plane has.
fn look(member: &Member) -> Result<(Seen, String), RotateError> {
    let path = |name: &str| member.root.join(CA.path).with_file_name(name);
    let bundle = files::text(&path("ca.crt"))?.unwrap_or_default();
    let key = files::text(&path("ca.key"))?;
    let key = key.ok_or_else(|| RotateError::External(member.name.clone()))?;
    let new = files::text(&path("ca-next.crt"))?;
    let new = new.and_then(|text| Certificate::parse(text.as_bytes()));
    let prepared = new.is_some() && path("ca-next.key").exists();
    let trusted: Vec<_> = Certificate::all(bundle.as_bytes())
        .map(|one| prepared && Some(&one) == new.as_ref())
        .collect();
    let known: [&[bool]; 4] = [&[false], &[false, true], &[true, false], &[true]];
    if !known.contains(&trusted.as_slice()) || (trusted.len() > 1 && !prepared) {
        return Err(RotateError::Foreign(path("ca.crt")));
    }
    let rows = inspect::node(&member.name, &member.root, true, SystemTime::now())?;
    let own = rows.iter().filter(|row| matches!(row.kind, Kind::Leaf(entry) if is_ours(&entry)));
    let mut certificates = own.filter_map(|row| row.certificate.as_ref());
    let issued = new
        .as_ref()
        .is_some_and(|new| certificates.all(|certificate| certificate.is_issued_by(new)));
    let signs = new.as_ref().is_some_and(|new| new.fits(&key));
    Ok((Seen { trusted, prepared, signs, issued, ..Seen::default() }, bundle))
}

/// Whether a certificate is one of a control plane's that this authority issues.
fn is_ours(entry: &Entry) -> bool {
    CONTROL_PLANE.contains(entry) && entry.authority == CA.name
}

/// Who has not followed.
struct Behind {
    trust: Vec<String>,
    issue: Vec<String>,
}

async fn behind(client: &Client, bundle: &str) -> Result<Behind, RotateError> {
    let failed = |what| move |source| RotateError::Api { what, source: Box::new(source) };
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list_metadata(&ListParams::default()).await.map_err(failed("nodes"))?;
    let first = Certificate::parse(bundle.as_bytes()).map(|one| digest(&one.to_pem()));
    let lagging = |annotation: &str, wanted: Option<String>| -> Vec<String> {
        let lags = nodes.items.iter().filter(|node| {
            let noted = node.metadata.annotations.as_ref().and_then(|all| all.get(annotation));
            noted != wanted.as_ref()
        });
        lags.map(|node| format!("node {}", node.metadata.name.as_deref().unwrap_or_default()))
            .collect()
    };
    let mut trust = lagging(TRUSTS, Some(digest(bundle)));
    let maps: Api<ConfigMap> = Api::all(client.clone());
    let named = ListParams::default().fields("metadata.name=kube-root-ca.crt");
    let maps = maps.list(&named).await.map_err(failed("configmaps"))?;
    for map in maps.items {
        let held = map.data.as_ref().and_then(|data| data.get("ca.crt"));
        if held.map(String::as_str) != Some(bundle) {
            trust.push(format!("namespace {}", map.metadata.namespace.unwrap_or_default()));
        }
    }
    Ok(Behind { trust, issue: lagging(ISSUER, first) })
}

/// Tells nodes, and those that join, whom to trust.
async fn publish(members: &[Member], client: &Client) -> Result<(), RotateError> {
    let Some(member) = members.first() else { return Ok(()) };
    let path = member.root.join(CA.path).with_file_name("ca.crt");
    let bundle = files::text(&path)?.unwrap_or_default();
    let failed =
        |source| RotateError::Api { what: "ConfigMap cluster-info", source: Box::new(source) };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let map = api.get("cluster-info").await.map_err(failed)?;
    let old = map.data.as_ref().and_then(|data| data.get("kubeconfig")).cloned();
    let Some(new) = old.as_ref().and_then(|old| files::trusting(old, &bundle)) else {
        return Ok(());
    };
    let patch = Patch::Merge(json!({"data": {"kubeconfig": new}}));
    api.patch("cluster-info", &PatchParams::default(), &patch).await.map_err(failed)?;
    Ok(())
}

/// Does a step on every control plane.
fn act(members: &[Member], step: Step, options: &Options) -> Result<(), RotateError> {
    let mut made = None;
    for member in members {
        let path = |name: &str| member.root.join(CA.path).with_file_name(name);
        let text = |name: &str| files::text(&path(name)).map(Option::unwrap_or_default);
        match step {
            Step::Prepare => {
                if made.is_none() {
                    made = existing(members)?;
                }
                let pair = match made.clone() {
                    Some(pair) => pair,
                    None => {
                        let pair = Authority::lasting("kubernetes", VALIDITY)?.pair().clone();
                        made.insert(pair).clone()
                    }
                };
                files::replace(&path("ca-next.crt"), &pair.certificate, 0o644)?;
                files::replace(&path("ca-next.key"), &pair.key, 0o600)?;
            }
            Step::Trust | Step::Sign | Step::Drop => {
                let new = text("ca-next.crt")?;
                let next = Certificate::parse(new.as_bytes());
                let all = text("ca.crt")?;
                let old = Certificate::all(all.as_bytes()).find(|one| Some(one) != next.as_ref());
                let old = old.map(|one| one.to_pem()).unwrap_or_default();
                let bundle = match step {
                    Step::Trust => old + &new,
                    Step::Sign => new + &old,
                    _ => new,
                };
                if step == Step::Sign {
                    files::replace(&path("ca.key"), &text("ca-next.key")?, 0o600)?;
                }
                let kubeconfigs = inventory::expected(&member.root);
                for entry in kubeconfigs.filter(|entry| entry.form == Form::Kubeconfig) {
                    files::trust(&member.root.join(entry.path), &bundle)?;
                }
                // Last: it tells how far this step came.
                files::replace(&path("ca.crt"), &bundle, 0o644)?;
            }
            Step::Issue => {
                for entry in CONTROL_PLANE.iter().filter(|entry| is_ours(entry)) {
                    match renew::renew(&member.root, entry, options.validity) {
                        Ok(()) | Err(RenewError::Missing(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Step::Finish => {
                for name in ["ca-next.crt", "ca-next.key"] {
                    std::fs::remove_file(path(name))
                        .map_err(|source| FileError::Io { path: path(name), source })?;
                }
            }
            Step::AwaitTrust | Step::AwaitIssue | Step::AwaitDrop => {}
        }
    }
    Ok(())
}

/// The new authority, if a member has it already.
fn existing(members: &[Member]) -> Result<Option<pki::Pair>, RotateError> {
    for member in members {
        let path = |name: &str| member.root.join(CA.path).with_file_name(name);
        let pair = files::text(&path("ca-next.crt"))?.zip(files::text(&path("ca-next.key"))?);
        if let Some((certificate, key)) = pair {
            return Ok(Some(pki::Pair { certificate, key }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
