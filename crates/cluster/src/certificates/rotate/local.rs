//! What one control plane has, and what it does with its files. Every step can be repeated, and what
//! tells that it is done is written last.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use component::authorities::digest;
use component::pki::{self, Certificate};
use machinery::codec::yaml;
use serde_json::{Value, json};

use super::RotateError;
use super::order::{Order, Reports};
use super::step::{Report, Step, own};
use crate::certificates::files::{self, FileError};
use crate::certificates::inspect::{self, Kind};
use crate::certificates::inventory::{self, CA, CONTROL_PLANE, Entry, Form, Root};
use crate::certificates::renew::{self, RenewError};
use crate::node::files::MANIFESTS;

/// An annotation of the Pod of an etcd member, which reads its authorities only when it starts: the
/// digest of those it was started with, in any order.
pub(super) const STARTED_WITH: &str = "ironclad.local/etcd-authorities";

/// The files of what is replaced.
pub(super) struct Place {
    /// What is trusted.
    pub(super) bundle: PathBuf,
    /// The key that signs.
    pub(super) key: PathBuf,
    next_bundle: PathBuf,
    next_key: PathBuf,
}

impl Place {
    pub(super) fn of(root: &Path, what: Root) -> Self {
        let own = root.join(what.path);
        let next = root.join(format!("{}-next", what.path));
        Self {
            bundle: own.with_added_extension(what.public()),
            key: own.with_added_extension("key"),
            next_bundle: next.with_added_extension(what.public()),
            next_key: next.with_added_extension("key"),
        }
    }

    /// The one that was to take over when a rotation broke off before it was announced.
    pub(super) fn pending(&self) -> Result<Option<pki::Pair>, FileError> {
        let pair = files::text(&self.next_bundle)?.zip(files::text(&self.next_key)?);
        Ok(pair.map(|(certificate, key)| pki::Pair { certificate, key }))
    }
}

/// The single certificates, or public keys, of a bundle, each always in the same form.
pub(super) fn blocks(what: Root, bundle: &str) -> Vec<String> {
    if what.is_authority() {
        return Certificate::all(bundle.as_bytes()).map(|one| one.to_pem()).collect();
    }
    let keys = pem::parse_many(bundle).unwrap_or_default();
    keys.iter().map(form).collect()
}

fn form(block: &pem::Pem) -> String {
    pem::encode_config(block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// Whether a private key is the one to a certificate or public key.
fn fits(what: Root, public: &str, key: &str) -> bool {
    if what.is_authority() {
        return Certificate::parse(public.as_bytes()).is_some_and(|one| one.fits(key));
    }
    let own = pki::public_key(key).ok();
    own.is_some_and(|own| blocks(what, &own) == blocks(what, public))
}

/// What the control plane with these files has of everything that can be replaced.
pub(super) fn reports(root: &Path) -> Result<Reports, RotateError> {
    let all = inventory::authorities(root).chain([inventory::SERVICE_ACCOUNTS]);
    all.map(|what| Ok((what.name.to_owned(), look(root, what)?))).collect()
}

/// What it has of one.
pub(super) fn look(root: &Path, what: Root) -> Result<Report, RotateError> {
    let place = Place::of(root, what);
    let trusted = blocks(what, &files::text(&place.bundle)?.unwrap_or_default());
    let key = files::text(&place.key)?;
    let next = place.pending()?.and_then(|pair| blocks(what, &pair.certificate).pop());
    let signer = key.as_ref().and_then(|key| {
        trusted.iter().chain(&next).find(|public| fits(what, public, key)).map(|one| digest(one))
    });
    let issuer = if what.is_authority() { issuer(root, what, &trusted)? } else { signer.clone() };
    Ok(Report {
        trusted: trusted.iter().map(|one| digest(one)).collect(),
        next: next.as_deref().map(digest),
        key: key.is_some(),
        signer,
        issuer,
    })
}

/// Which of `authorities` issued all certificates of the control plane that one of its kind issues.
fn issuer(root: &Path, what: Root, authorities: &[String]) -> Result<Option<String>, RotateError> {
    let rows = inspect::node("", root, true, SystemTime::now())?;
    let own: Vec<_> = rows
        .iter()
        .filter(|row| matches!(row.kind, Kind::Leaf(entry) if issues(what, &entry)))
        .filter_map(|row| row.certificate.as_ref())
        .collect();
    let all = |authority: &&String| {
        let authority = Certificate::parse(authority.as_bytes());
        authority.is_some_and(|authority| own.iter().all(|one| one.is_issued_by(&authority)))
    };
    Ok(authorities.iter().find(all).map(|one| digest(one)))
}

/// Whether a certificate is one of a control plane's that this authority issues.
pub(super) fn issues(what: Root, entry: &Entry) -> bool {
    CONTROL_PLANE.contains(entry) && entry.authority == what.name
}

/// Takes the step of an order, if it is the next one of this control plane; tells whether it was.
pub(super) fn obey(root: &Path, order: &Order) -> Result<bool, RotateError> {
    let due = own(&look(root, order.root)?, &order.digest()) == order.terms.step;
    if due {
        act(root, order)?;
    }
    if order.root == inventory::ETCD_CA && matches!(order.terms.step, Step::Trust | Step::Drop) {
        restart_member(root, &look(root, order.root)?, &order.digest())?;
    }
    Ok(due)
}

fn act(root: &Path, order: &Order) -> Result<(), RotateError> {
    let what = order.root;
    let place = Place::of(root, what);
    let text = |path: &Path| files::text(path).map(Option::unwrap_or_default);
    match order.terms.step {
        Step::Prepare => {
            let pair = order.open(&text(&place.key)?)?;
            files::replace(&place.next_key, &pair.key, 0o600)?;
            files::replace(&place.next_bundle, &pair.certificate, 0o644)?;
        }
        step @ (Step::Trust | Step::Sign | Step::Drop) => {
            let new = order.public.clone();
            let held = blocks(what, &text(&place.bundle)?);
            let old: String =
                held.into_iter().filter(|one| digest(one) != order.digest()).collect();
            let bundle = match step {
                Step::Trust => old + &new,
                Step::Sign => new + &old,
                _ => new,
            };
            if step == Step::Sign {
                files::replace(&place.key, &text(&place.next_key)?, 0o600)?;
            }
            if what == CA {
                let kubeconfigs = inventory::expected(root);
                for entry in kubeconfigs.filter(|entry| entry.form == Form::Kubeconfig) {
                    files::trust(&root.join(entry.path), &bundle)?;
                }
            }
            files::replace(&place.bundle, &bundle, 0o644)?;
        }
        Step::Issue => {
            for entry in CONTROL_PLANE.iter().filter(|entry| issues(what, entry)) {
                match renew::renew(root, entry, order.validity()) {
                    Ok(()) | Err(RenewError::Missing(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Step::Finish => {
            for path in [place.next_key, place.next_bundle] {
                fs::remove_file(&path).map_err(|source| FileError::Io { path, source })?;
            }
        }
        Step::AwaitTrust | Step::AwaitIssue | Step::AwaitDrop | Step::Done => {}
    }
    Ok(())
}

/// What an etcd member is started with that trusts these.
pub(super) fn started_with(report: &Report) -> String {
    let mut all = report.trusted.clone();
    all.sort();
    digest(&all.concat())
}

/// Has the kubelet restart this control plane's etcd member, unless it was started with the
/// authorities that it is to trust.
fn restart_member(root: &Path, report: &Report, new: &str) -> Result<(), RotateError> {
    if !report.trusted.iter().any(|digest| digest == new) {
        return Ok(());
    }
    let path = root.join(MANIFESTS.trim_start_matches('/')).join("etcd.yaml");
    let Some(text) = files::text(&path)? else { return Ok(()) };
    let broken = || RotateError::Manifest(path.clone());
    let mut pod: Value = yaml::from_str(&text).map_err(|_| broken())?;
    let metadata = pod["metadata"].as_object_mut().ok_or_else(broken)?;
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let wanted = Value::from(started_with(report));
    if annotations[STARTED_WITH] == wanted {
        return Ok(());
    }
    annotations[STARTED_WITH] = wanted;
    // The kubelet passes over names that begin with a dot.
    let partial = path.with_file_name(".etcd.partial");
    let text = yaml::write(&pod);
    files::replace(&partial, &text, 0o600)?;
    fs::rename(&partial, &path).map_err(|source| FileError::Io { path, source }.into())
}
