//! `update`: one loop for every way to change an object.

use std::sync::Arc;

use machinery::field::{Error, ErrorList, Path};
use machinery::status::{Status, reason};
use machinery::{Value, apply, meta};

use super::admission::{Attributes, Operation};
use super::create::{admission_lost, check_namespace, refuse};
use super::managed::{self, Tracking};
use super::read::{not_found, revision_of};
use super::write::{Stored, too_large};
use super::{Context, Failure, Outcome, Registry, Resource, Target, WriteOptions};
use crate::cache::Object;

/// Attempts of a write that names no revision and so may be repeated on the newest state.
const ATTEMPTS: usize = 25;

/// What decides the new state.
pub(super) enum Source<'a> {
    /// It is given.
    Object(Value),
    /// It follows from the current state.
    Change(&'a Change<'a>),
    /// It follows from the current state, managed fields included.
    Tracked(&'a Change<'a>),
    /// A manager's configuration is laid over the current state.
    Apply(&'a Value),
}

/// From the current state to the new one.
pub(super) type Change<'a> = dyn Fn(&Value) -> Result<Value, Failure> + Send + Sync + 'a;

impl Registry {
    /// Replaces an object, or the part of it that a subresource is.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn update(
        &self,
        context: &Context,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        if target.subresource == "scale" {
            return self.update_scale(context, target, object, options).await;
        }
        let creates = !options.only_existing
            && target.subresource.is_empty()
            && target.resource.strategy.allow_create_on_update()
            && revision_of(&object).is_none();
        if !creates {
            let object = self.change(context, target, Source::Object(object), options).await?;
            return Ok(Outcome::object(200, object));
        }
        // Others may make the object, or take it away, at the same time.
        for _ in 0..ATTEMPTS {
            if self.is_stored(target) {
                let source = Source::Object(object.clone());
                match self.change(context, target, source, options).await {
                    Err(status) if status.code == 404 && !self.is_stored(target) => {}
                    changed => return Ok(Outcome::object(200, changed?)),
                }
            }
            let new = named(target, object.clone())?;
            match self.create_object(context, target, new, options).await {
                Err(status) if status.reason == reason::ALREADY_EXISTS => {}
                created => return Ok(Outcome::object(201, created?)),
            }
        }
        Err(Status::modified(&target.resource.group_resource(), &target.name).into())
    }

    /// Brings an object into the state that `source` decides.
    pub(super) async fn change(
        &self,
        context: &Context,
        target: &Target,
        source: Source<'_>,
        options: &WriteOptions,
    ) -> Result<Arc<Object>, Failure> {
        let mut with_owners = true;
        for _ in 0..ATTEMPTS {
            let stored = target.resource.cache().get(&target.key());
            let Some(stored) = stored else { return Err(not_found(target)) };
            let old = target.resource.present(stored.clone()).await?.value();
            let tracking = Tracking::of(self, target, options);
            let (new, tracked) = match &source {
                Source::Object(object) => (object.clone(), false),
                Source::Change(change) => (change(&old)?, false),
                Source::Tracked(change) => (change(&old)?, true),
                Source::Apply(applied) => {
                    (tracking.apply(Some(&old), applied, options.force).await?, true)
                }
            };
            let mut new = named(target, new)?;
            if matches!(source, Source::Object(_)) {
                check_uid(&target.resource, target, &new, &old)?;
            }
            target.resource.default(&mut new);
            if !with_owners {
                apply::put(&mut new, None);
            } else if !tracked {
                tracking.update(&old, &mut new).await?;
            }
            match self.change_once(context, target, &stored, &old, new, options).await? {
                Stored::Yes(object) => return Ok(object),
                Stored::Changed | Stored::Contended => {}
                // Owners may be what is too much; what is applied needs them.
                Stored::TooLarge if with_owners && !matches!(source, Source::Apply(_)) => {
                    with_owners = false;
                }
                Stored::TooLarge => return Err(too_large()),
            }
        }
        Err(Status::modified(&target.resource.group_resource(), &target.name).into())
    }

    async fn change_once(
        &self,
        context: &Context,
        target: &Target,
        stored: &Arc<Object>,
        old: &Value,
        mut new: Value,
        options: &WriteOptions,
    ) -> Result<Stored, Failure> {
        let resource = &target.resource;
        check_version(resource, target, &new, stored.resource_version())?;
        // Who names no version means the newest one.
        meta::set_resource_version(&mut new, meta::resource_version(old));

        let mut attributes = Attributes {
            registry: self,
            context,
            operation: Operation::Update,
            resource,
            namespace: &target.namespace,
            name: &target.name,
            subresource: &target.subresource,
            object: Some(new),
            old: Some(old),
            dry_run: options.dry_run,
            tracked: None,
        };
        self.admit_tracked(&mut attributes).await?;
        let mut new = attributes.object.take().ok_or_else(admission_lost)?;

        let now = self.now();
        let ctx = context.strategy(now);
        let errors = match target.subresource.as_str() {
            "" => {
                resource.prepare_update(&ctx, &mut new, old);
                ErrorList::new()
            }
            "status" => {
                resource.prepare_status_update(&ctx, &mut new, old);
                resource.check_status_update(&ctx, &new, old)
            }
            other => {
                resource.prepare_subresource_update(&ctx, other, &mut new, old);
                resource.check_subresource_update(&ctx, other, &new, old)
            }
        };
        refuse(resource, &target.name, &errors)?;
        let allocation = self.allocate(context, resource, &mut new, Some(old)).await?;
        if target.subresource.is_empty() {
            refuse(resource, &target.name, &resource.check_update(&ctx, &new, old))?;
        }
        for warning in resource.update_warnings(&ctx, &target.subresource, &new, old) {
            context.warnings.add(warning);
        }
        resource.strategy.canonicalize(&mut new);
        attributes.object = Some(new);
        self.admit_final(&attributes).await?;
        let mut new = attributes.object.take().ok_or_else(admission_lost)?;

        let key = stored.key();
        if is_finished(resource, &new, old) {
            if options.dry_run {
                return unstored(resource, stored, &resource.encode(&mut new).await?).await;
            }
            let gone = self.store_delete(resource, stored, &self.release(resource, old)).await?;
            if matches!(gone, Stored::Yes(_)) {
                return unstored(resource, stored, &resource.encode(&mut new).await?).await;
            }
            return Ok(gone);
        }
        // A write that changes nothing but when something was changed last changes nothing.
        if managed::only_times_differ(&new, old) {
            let mut same = new.clone();
            managed::take_over(&mut same, old);
            if resource.encode(&mut same).await? == stored.stored() {
                return Ok(Stored::Yes(resource.present(stored.clone()).await?));
            }
        }
        let bytes = resource.encode(&mut new).await?;
        if bytes == stored.stored() {
            return Ok(Stored::Yes(resource.present(stored.clone()).await?));
        }
        if options.dry_run {
            return unstored(resource, stored, &bytes).await;
        }
        self.store_update(resource, key, bytes, stored.resource_version(), &allocation).await
    }
}

async fn unstored(resource: &Resource, stored: &Object, bytes: &[u8]) -> Result<Stored, Failure> {
    let object = resource.unstored(stored.key(), bytes, stored.resource_version()).await?;
    Ok(Stored::Yes(object))
}

/// Whether the update takes away the last thing that kept a deleted object.
fn is_finished(resource: &Resource, new: &Value, old: &Value) -> bool {
    let deleting = meta::deletion_timestamp(old).is_some()
        && meta::deletion_grace_period_seconds(old).unwrap_or(0) == 0;
    deleting
        && meta::finalizers(new).next().is_none()
        && (resource.storage.prefix != "namespaces" || !has_spec_finalizers(new))
}

/// Namespaces have finalizers of their own in their spec.
pub(super) fn has_spec_finalizers(namespace: &Value) -> bool {
    let finalizers = namespace.get("spec").and_then(|spec| spec.get("finalizers"));
    finalizers.and_then(Value::as_array).is_some_and(|finalizers| !finalizers.is_empty())
}

/// The object has the name and namespace of the URL.
pub(super) fn named(target: &Target, mut object: Value) -> Result<Value, Failure> {
    let given = meta::name(&object);
    if given.is_empty() {
        meta::set_name(&mut object, target.name.as_str());
    } else if given != target.name {
        let text = format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            target.name
        );
        return Err(Status::bad_request(text).into());
    }
    check_namespace(target, &mut object)?;
    Ok(object)
}

/// The client means the object with this UID, if it names one.
fn check_uid(
    resource: &Resource,
    target: &Target,
    new: &Value,
    old: &Value,
) -> Result<(), Failure> {
    let uid = meta::uid(new);
    if uid.is_empty() || uid == meta::uid(old) {
        return Ok(());
    }
    let detail = format!(
        "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
        meta::uid(old)
    );
    Err(Status::conflict(&resource.group_resource(), &target.name, detail).into())
}

/// The client means the object of this resourceVersion, if it names one.
fn check_version(
    resource: &Resource,
    target: &Target,
    new: &Value,
    current: u64,
) -> Result<(), Failure> {
    match revision_of(new) {
        Some(version) if version.parse() == Ok(current) => Ok(()),
        Some(version) if version.parse::<u64>().is_err() => {
            let path = Path::new("metadata").child("resourceVersion");
            let detail = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
            let mut errors = ErrorList::new();
            errors.push(Error::invalid(&path, version, detail));
            refuse(resource, &target.name, &errors)
        }
        Some(_) => Err(Status::modified(&resource.group_resource(), &target.name).into()),
        None if resource.strategy.allow_unconditional_update() => Ok(()),
        None => {
            let path = Path::new("metadata").child("resourceVersion");
            let mut errors = ErrorList::new();
            errors.push(Error::invalid(&path, 0, "must be specified for an update"));
            let mut status = Status::invalid(&resource.group_kind(), &target.name, &errors);
            // Upstream prints the missing number as Go prints an unsigned one.
            let printed = |text: &str| text.replace("value: 0:", "value: 0x0:");
            status.message = printed(&status.message);
            for cause in status.details.iter_mut().flat_map(|details| &mut details.causes) {
                cause.message = printed(&cause.message);
            }
            Err(status.into())
        }
    }
}
