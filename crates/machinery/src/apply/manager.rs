//! The rules of ownership: what a write does to everybody's entries.
//!
//! [`update`] follows any write whose result is known; [`apply`] makes the result from what a
//! manager applies. Both read the entries from the live object and leave the new ones in the new
//! object. See "Server-Side Apply" in the Kubernetes documentation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::compare::{Comparison, compare};
use super::conflict::{Conflict, Conflicts};
use super::entry::{Entry, Managed, Manager, Operation};
use super::fields::fields_of;
use super::merge::{merge, without};
use super::node::Place;
use super::reset::Reset;
use super::set::Set;
use super::validate::validate;
use super::{create, last_applied};
use crate::schema::TypeRef;
use crate::{codec, meta};

/// Entries of updates that are kept apart; the oldest beyond it are merged.
const MAX_UPDATERS: usize = 10;
const OLD_UPDATES: &str = "ancient-changes";
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Metadata that nobody owns.
static UNTRACKED: LazyLock<Set> = LazyLock::new(|| {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut set = Set::of([["apiVersion"].as_slice(), &["kind"], &["metadata"]]);
    for name in metadata {
        set.insert(["metadata", name].map(super::Element::field));
    }
    set
});

/// A write, as far as ownership goes.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The type of the object in the version of the request.
    pub ty: TypeRef<'a>,
    /// That version, as in `apiVersion`.
    pub api_version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// Who writes.
    pub manager: &'a str,
    /// Through which subresource; empty for the object itself.
    pub subresource: &'a str,
    /// When, in RFC 3339 with whole seconds.
    pub now: &'a str,
    /// What this request cannot change.
    pub reset: &'a Reset,
    /// Gives other versions.
    pub versions: &'a dyn Versions,
}

/// The versions of a kind.
pub trait Versions {
    /// The type in a version; none when it is not served any more.
    fn ty(&self, api_version: &str) -> Option<TypeRef<'_>>;

    /// An object in another version.
    ///
    /// # Errors
    /// When it cannot be converted.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Result<Value, ConvertError>;
}

/// Why an object is not to be had in another version.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ConvertError(pub String);

/// Why an apply is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others own fields that would change.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// What is applied is not for this request.
    #[error("{0}")]
    BadRequest(String),
    /// What is applied is no such object, or ownership cannot be worked out.
    #[error("{0}")]
    Failed(String),
}

// === update ===

/// Brings `metadata.managedFields` of an object up to date with a write that is not an apply.
///
/// `live` is the object as it was; none for a new one. What the client sends as managed fields of
/// the object itself counts if it can be read: that is how it gives up or takes ownership.
pub fn update(request: &Request<'_>, live: Option<&Value>, new: &mut Value) {
    let given = take(new);
    let Some(live) = live else {
        let managed = created(request, given, new);
        return put(new, managed);
    };
    let of_live = live.get("metadata").and_then(|m| m.get("managedFields")).unwrap_or(&Value::Null);
    let managed = match &given {
        _ if !request.subresource.is_empty() => decoded(of_live),
        given if is_reset(given) => Managed::default(),
        given => match Managed::decode(given) {
            Ok(managed) if !managed.entries.is_empty() => managed,
            _ => decoded(of_live),
        },
    };
    // Nobody has tracked the object until now, so nobody begins to.
    if managed.entries.is_empty() {
        return;
    }
    match updated(request, live, new, managed) {
        Ok(managed) => put(new, managed.encode()),
        // The entries as they were are better than none.
        Err(_) => put(new, Some(of_live.clone()).filter(|list| !list.is_null())),
    }
}

/// The entries of a new object: the writer owns all of it.
fn created(request: &Request<'_>, given: Value, new: &Value) -> Option<Value> {
    let managed = match given {
        Value::Null => Managed::default(),
        given if is_reset(&given) => Managed::default(),
        given => decoded(&given),
    };
    match request.reset {
        Reset::Except(ignored) if managed.entries.is_empty() => {
            let fields = create::fields(new, request.ty, &UNTRACKED, ignored)?;
            let manager = request.manager(Operation::Update);
            let entry = Entry::write(&manager, request.api_version, Some(request.now), fields);
            Some(Value::Array(vec![entry]))
        }
        _ => updated(request, &request.empty(), new, managed).ok()?.encode(),
    }
}

fn updated(
    request: &Request<'_>,
    live: &Value,
    new: &Value,
    mut managed: Managed,
) -> Result<Managed, ConvertError> {
    let comparison = compare(live, new, request.ty.into());
    reconcile(request, &mut managed);
    yield_fields(request, live, new, &comparison, &mut managed, None)?;
    let owned = request.reset.keep(&comparison.changed()).difference(&UNTRACKED);
    if !owned.is_empty() {
        let manager = request.manager(Operation::Update);
        let at = managed.find(&manager, request.api_version).unwrap_or_else(|| {
            managed.entries.push(Entry::new(manager, request.api_version, Set::default()));
            managed.entries.len() - 1
        });
        let entry = &mut managed.entries[at];
        let fields = entry.fields().union(&owned);
        entry.set_fields(fields);
        entry.time = Some(request.now.to_owned());
    }
    cap(&mut managed);
    Ok(managed)
}

/// Takes what has changed from all managers but the writing one. Gives what they lose of fields
/// that are set, by manager.
fn yield_fields(
    request: &Request<'_>,
    live: &Value,
    new: &Value,
    comparison: &Comparison,
    managed: &mut Managed,
    writer: Option<&Manager>,
) -> Result<Vec<Conflict>, ConvertError> {
    struct Changes {
        changed: Set,
        removed: Set,
    }
    let changes = |comparison: &Comparison| {
        let comparison = comparison.filtered(|set| request.reset.keep(set));
        Changes { changed: comparison.changed(), removed: comparison.removed }
    };
    let mut versions: BTreeMap<String, Changes> = BTreeMap::new();
    versions.insert(request.api_version.to_owned(), changes(comparison));
    let mut conflicts = Vec::new();
    let mut gone = Vec::new();
    for (at, entry) in managed.entries.iter_mut().enumerate() {
        if writer == Some(&entry.manager) {
            continue;
        }
        if !versions.contains_key(&entry.api_version) {
            let version = entry.api_version.as_str();
            let Some(ty) = request.versions.ty(version) else {
                gone.push(at);
                continue;
            };
            let convert = |object| request.versions.convert(object, request.api_version, version);
            let comparison = compare(&convert(live)?, &convert(new)?, ty.into());
            versions.insert(version.to_owned(), changes(&comparison));
        }
        let Changes { changed, removed } = &versions[&entry.api_version];
        if entry.fields().intersects(changed) {
            let lost = entry.fields().intersection(changed);
            entry.set_fields(entry.fields().difference(changed));
            conflicts.extend(lost.paths().into_iter().map(|path| Conflict {
                manager: entry.manager.clone(),
                api_version: entry.api_version.clone(),
                path,
            }));
        }
        if entry.fields().intersects(removed) {
            entry.set_fields(entry.fields().difference(removed));
        }
    }
    for at in gone.into_iter().rev() {
        managed.entries.remove(at);
    }
    managed.drop_empty();
    Ok(conflicts)
}

/// Entries follow a type whose values became owned as a whole.
fn reconcile(request: &Request<'_>, managed: &mut Managed) {
    for entry in &mut managed.entries {
        let ty = if entry.api_version == request.api_version {
            Some(request.ty)
        } else {
            request.versions.ty(&entry.api_version)
        };
        if let Some(fields) = ty.and_then(|ty| entry.fields().reconciled(ty.into())) {
            entry.set_fields(fields);
        }
    }
}

/// Merges the oldest updates of each version until there are few enough.
fn cap(managed: &mut Managed) {
    let entries = &mut managed.entries;
    let mut order: Vec<usize> = (0..entries.len())
        .filter(|&at| entries[at].manager.operation == Operation::Update)
        .collect();
    let mut excess = order.len().saturating_sub(MAX_UPDATERS);
    if excess == 0 {
        return;
    }
    let key = |at: usize| {
        let entry: &Entry = &entries[at];
        (&entry.time, &entry.manager, &entry.api_version)
    };
    order.sort_by(|&a, &b| key(a).cmp(&key(b)));
    let bucket = Manager {
        name: OLD_UPDATES.to_owned(),
        operation: Operation::Update,
        subresource: String::new(),
    };
    // By version, the entry that takes in others, and which: the one that has done so before, or
    // else the oldest.
    let mut buckets: BTreeMap<&str, (usize, Vec<usize>)> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate().filter(|(_, e)| e.manager == bucket) {
        buckets.insert(&entry.api_version, (at, Vec::new()));
    }
    for at in order {
        if excess == 0 {
            break;
        }
        let (into, taken) =
            buckets.entry(&entries[at].api_version).or_insert_with(|| (at, Vec::new()));
        if *into != at {
            taken.push(at);
            excess -= 1;
        }
    }
    let mut gone = vec![false; entries.len()];
    for (into, taken) in buckets.into_values().collect::<Vec<_>>() {
        let Some(&newest) = taken.last() else { continue };
        let sets = taken.iter().chain([&into]).map(|&at| entries[at].fields().clone());
        let fields = Set::union_of(sets.collect());
        let time = entries[newest].time.clone();
        let entry = &mut entries[into];
        entry.manager = bucket.clone();
        entry.set_fields(fields);
        entry.time = time;
        taken.iter().for_each(|&at| gone[at] = true);
    }
    let mut gone = gone.into_iter();
    entries.retain(|_| gone.next() != Some(true));
}

// === apply ===

/// The object that results when a manager applies a configuration, managed fields included. It is
/// yet to be decoded: what was applied stands in it as the client wrote it.
///
/// `live` is none when there is no object yet.
///
/// # Errors
/// Conflicts with other managers unless `force`, and configurations that do not fit.
pub fn apply(
    request: &Request<'_>,
    live: Option<&Value>,
    applied: &Value,
    force: bool,
) -> Result<Value, Error> {
    check(request, applied)?;
    let empty;
    let (live, exists) = match live {
        Some(live) => (live, true),
        None => {
            empty = request.empty();
            (&empty, false)
        }
    };
    let of_live = live.get("metadata").and_then(|m| m.get("managedFields")).unwrap_or(&Value::Null);
    let mut managed = Managed::decode(of_live)
        .map_err(|error| Error::Failed(format!("failed to decode managed fields: {error}")))?;
    let live = match of_live {
        Value::Null => Cow::Borrowed(live),
        _ => {
            let mut live = live.clone();
            drop(take(&mut live));
            Cow::Owned(live)
        }
    };
    validate(applied, request.ty.into()).map_err(|misfits| {
        let metadata = |field: &str| {
            applied.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str)
        };
        Error::Failed(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {misfits}",
            metadata("namespace").unwrap_or_default(),
            metadata("name").unwrap_or_default(),
            go_version(request.api_version),
            request.kind,
        ))
    })?;
    if managed.entries.is_empty() && exists {
        let request = Request { manager: BEFORE_FIRST_APPLY, ..*request };
        managed = updated(&request, &request.empty(), &live, managed).map_err(failed)?;
    }
    let mut outcome = merged(request, &live, applied, managed.clone(), force);
    if let Err(Error::Conflicts(conflicts)) = &outcome
        && request.manager == last_applied::MANAGER
        && let Some(allowed) = last_applied::fields(request, &live)
    {
        // What the same user applied on the client's side before is theirs to change.
        let remaining = conflicts.without(&allowed);
        outcome = match remaining.is_empty() {
            true => merged(request, &live, applied, managed, true),
            false => Err(Error::Conflicts(remaining)),
        };
    }
    let (mut object, managed) = outcome?;
    if request.manager == last_applied::MANAGER {
        last_applied::refresh(&mut object, applied);
    }
    put(&mut object, managed.encode());
    Ok(object)
}

/// What is applied must be for this version and say nothing of managed fields.
fn check(request: &Request<'_>, applied: &Value) -> Result<(), Error> {
    let (version, kind) = (meta::api_version(applied), meta::kind(applied));
    if version != request.api_version || kind != request.kind {
        let text = format!("invalid object type: {}, Kind={kind}", go_version(version));
        return Err(Error::BadRequest(text));
    }
    let managed = applied.get("metadata").and_then(|m| m.get("managedFields"));
    if managed.is_some_and(|managed| !managed.is_null()) {
        return Err(Error::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    Ok(())
}

fn merged(
    request: &Request<'_>,
    live: &Value,
    applied: &Value,
    mut managed: Managed,
    force: bool,
) -> Result<(Value, Managed), Error> {
    reconcile(request, &mut managed);
    let place: Place<'_> = request.ty.into();
    let manager = request.manager(Operation::Apply);
    let fields = request.reset.keep(&fields_of(applied, place));
    let entry = Entry::new(manager.clone(), request.api_version, fields);
    let last = match managed.find(&manager, request.api_version) {
        Some(at) => {
            let time = managed.entries[at].time.clone();
            let last = std::mem::replace(&mut managed.entries[at], entry);
            managed.entries[at].time = time;
            Some(last)
        }
        None => {
            managed.entries.push(entry);
            None
        }
    };
    let mut object = merge(live, applied, place);
    if let Some(last) = last {
        let fields = request.reset.keep(last.fields());
        object = pruned(request, object, &managed, &fields, &last.api_version)?;
    }
    let comparison = compare(live, &object, place);
    let conflicts = yield_fields(request, live, &object, &comparison, &mut managed, Some(&manager))
        .map_err(failed)?;
    if !force && !conflicts.is_empty() {
        return Err(Error::Conflicts(Conflicts::new(conflicts)));
    }
    if let Some(at) = managed.find(&manager, request.api_version) {
        let entry = &mut managed.entries[at];
        entry.set_fields(entry.fields().difference(&UNTRACKED));
        if *live != object {
            entry.time = Some(request.now.to_owned());
        }
    }
    managed.drop_empty();
    Ok((object, managed))
}

/// Takes out what the manager applied before, does not apply now, and nobody else owns.
fn pruned(
    request: &Request<'_>,
    merged: Value,
    managed: &Managed,
    last: &Set,
    last_version: &str,
) -> Result<Value, Error> {
    if last.is_empty() {
        return Ok(merged);
    }
    let Some(last_ty) = ty_of(request, last_version) else { return Ok(merged) };
    let convert = |object: &Value, from: &str, to: &str| -> Result<Value, Error> {
        if from == to {
            return Ok(object.clone());
        }
        request.versions.convert(object, from, to).map_err(failed)
    };
    let all = convert(&merged, request.api_version, last_version)?;
    let last = last.with_named_fields(last_ty.into());

    // The version that was applied last comes first: conversions may need what is added back.
    let mut owned: BTreeMap<(bool, &str), Set> = BTreeMap::new();
    for entry in &managed.entries {
        let version = entry.api_version.as_str();
        let set = owned.entry((version != last_version, version)).or_default();
        *set = set.union(entry.fields());
    }
    let mut kept = without(&all, &last, last_ty.into());
    let mut version = last_version;
    for ((_, other), owned) in &owned {
        let Some(ty) = ty_of(request, other) else { continue };
        let place: Place<'_> = ty.into();
        let whole = convert(&all, last_version, other)?;
        let rest = convert(&kept, version, other)?;
        let keep =
            fields_of(&rest, place).with_named_fields(place).union(&owned.with_named_fields(place));
        let drop = fields_of(&whole, place).with_named_fields(place).difference(&keep);
        kept = without(&whole, &drop, place);
        version = other;
    }
    // Only what the manager applied goes; what nobody owns stays.
    let place: Place<'_> = last_ty.into();
    let kept = fields_of(&convert(&kept, version, last_version)?, place).with_named_fields(place);
    let drop = fields_of(&all, place).with_named_fields(place).difference(&kept);
    let result = without(&all, &drop.intersection(&last), place);
    convert(&result, last_version, request.api_version)
}

fn ty_of<'a>(request: &Request<'a>, version: &str) -> Option<TypeRef<'a>> {
    if version == request.api_version { Some(request.ty) } else { request.versions.ty(version) }
}

fn failed(error: ConvertError) -> Error {
    Error::Failed(format!("failed to convert object: {error}"))
}

/// As Go prints a version that may be missing: `apps/v1`, `/v1`, `/`.
fn go_version(api_version: &str) -> String {
    if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") }
}

// === Request ===

impl Request<'_> {
    fn manager(&self, operation: Operation) -> Manager {
        Manager {
            name: self.manager.to_owned(),
            operation,
            subresource: self.subresource.to_owned(),
        }
    }

    /// An object of the type with nothing in it.
    fn empty(&self) -> Value {
        let mut empty = json!({"kind": self.kind, "apiVersion": self.api_version});
        codec::normalize(&mut empty, self.ty).expect("kind and version are strings");
        empty
    }
}

// === metadata.managedFields ===

/// Takes the list out of an object.
pub fn take(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.shift_remove("managedFields")).unwrap_or_default()
}

/// Puts the list into an object; none removes it.
pub fn put(object: &mut Value, list: Option<Value>) {
    match list {
        Some(list) => {
            meta::metadata_mut(object).insert("managedFields".to_owned(), list);
        }
        None => drop(take(object)),
    }
}

fn decoded(list: &Value) -> Managed {
    Managed::decode(list).unwrap_or_default()
}

/// Whether the client asks to forget all owners: a list with one empty entry.
fn is_reset(list: &Value) -> bool {
    let empty = |entry: &Value| {
        entry.as_object().is_some_and(|entry: &Map<String, Value>| {
            entry.values().all(|value| value.is_null() || value == "")
        })
    };
    matches!(list.as_array().map(Vec::as_slice), Some([entry]) if empty(entry))
}
