//! `create`.

use std::sync::Arc;

use machinery::field::ErrorList;
use machinery::status::Status;
use machinery::{Value, apply, meta, time};

use super::admission::Attributes;
use super::managed::Tracking;
use super::write::{Stored, too_large};
use super::{Context, Failure, Outcome, Registry, Resource, Target, WriteOptions, resource};
use crate::cache::Object;

/// Random names tried for one `generateName`.
const NAME_ATTEMPTS: usize = 8;
/// Addresses and ports tried while other servers take the same ones.
const ADDRESS_ATTEMPTS: usize = 25;
/// Letters and digits that make no words and are not mistaken for each other.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// What is left of the longest name for the part that the client gives.
const MAX_BASE: usize = 63 - SUFFIX;

/// Whether an object whose owners take too much room is stored without them, as upstream does with
/// all but what is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    Needed,
    Dispensable,
}

impl Registry {
    /// Creates an object, or posts one to a subresource such as `binding`.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn create(
        &self,
        context: &Context,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        if !target.subresource.is_empty() || target.resource.name == "bindings" {
            return self.post_subresource(context, target, object, options).await;
        }
        let object = self.create_object(context, target, object, options).await?;
        Ok(Outcome::object(201, object))
    }

    pub(super) async fn create_object(
        &self,
        context: &Context,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Object>, Failure> {
        let resource = &target.resource;
        check_namespace(target, &mut object)?;
        if super::read::revision_of(&object).is_some() {
            let text = "resourceVersion should not be set on objects to be created";
            return Err(Status::failure(500, "", text).into());
        }
        resource.default(&mut object);
        Tracking::of(self, target, options).create(&mut object);
        self.create_tracked(context, target, object, options, Owners::Dispensable).await
    }

    /// Creates an object that has its defaults and its managed fields.
    pub(super) async fn create_tracked(
        &self,
        context: &Context,
        target: &Target,
        object: Value,
        options: &WriteOptions,
        owners: Owners,
    ) -> Result<Arc<Object>, Failure> {
        let resource = &target.resource;
        let name = meta::name(&object).to_owned();
        let mut attributes = Attributes::create(self, context, target, &name, object, options);
        self.admit_tracked(&mut attributes).await?;
        let mut admitted = attributes.object.take().ok_or_else(admission_lost)?;

        let generate =
            meta::name(&admitted).is_empty() && !meta::generate_name(&admitted).is_empty();
        let (mut names, mut addresses) = (0, 0);
        loop {
            // Another random name is tried with the object as it was.
            let mut object = match generate {
                true => admitted.clone(),
                false => std::mem::take(&mut admitted),
            };
            if generate {
                let name = generated(meta::generate_name(&object));
                meta::set_name(&mut object, name);
            }
            let name = meta::name(&object).to_owned();
            match self.create_once(context, target, &mut object, options).await? {
                Stored::Yes(object) => return Ok(object),
                Stored::Changed if generate => {
                    names += 1;
                    if names == NAME_ATTEMPTS {
                        let resource = resource.group_resource();
                        return Err(Status::generate_name_conflict(&resource, &name).into());
                    }
                }
                Stored::Changed => return Err(self.already_exists(resource, target, &name)),
                Stored::Contended => {
                    addresses += 1;
                    if addresses == ADDRESS_ATTEMPTS {
                        return Err(Status::modified(&resource.group_resource(), &name).into());
                    }
                    admitted = if generate { admitted } else { object };
                }
                Stored::TooLarge => {
                    admitted = if generate { admitted } else { object };
                    if owners == Owners::Needed || apply::take(&mut admitted).is_null() {
                        return Err(too_large());
                    }
                }
            }
        }
    }

    fn already_exists(&self, resource: &Resource, target: &Target, name: &str) -> Failure {
        let existing = resource.cache().get(&resource::key(&target.namespace, name));
        let deleting = existing
            .map(|object| object.value())
            .is_some_and(|object| meta::deletion_timestamp(&object).is_some());
        let mut status = Status::already_exists(&resource.group_resource(), name);
        if deleting {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status.into()
    }

    /// Everything that depends on the name. What was allocated is taken out of the object again
    /// if it is not stored.
    async fn create_once(
        &self,
        context: &Context,
        target: &Target,
        object: &mut Value,
        options: &WriteOptions,
    ) -> Result<Stored, Failure> {
        let resource = &target.resource;
        let now = self.now();
        let ctx = context.strategy(now);
        meta::set_uid(object, new_uid());
        meta::set_creation_timestamp(object, time::format(now));
        for warning in resource.strategy.warnings_before_create(object) {
            context.warnings.add(warning);
        }
        resource.prepare_create(&ctx, object);
        let name = meta::name(object).to_owned();

        let mut allocation = self.allocate(context, resource, object, None).await?;
        let errors = resource.check_create(&ctx, object);
        refuse(resource, &name, &errors)?;
        for warning in resource.strategy.warnings(&ctx, object, None) {
            context.warnings.add(warning);
        }
        resource.strategy.canonicalize(object);

        let given = std::mem::take(object);
        let attributes = Attributes::create(self, context, target, &name, given, options);
        self.admit_final(&attributes).await?;
        *object = attributes.object.ok_or_else(admission_lost)?;

        let key = resource::key(&target.namespace, &name);
        if options.dry_run {
            if resource.cache().get(&key).is_some() {
                return Ok(Stored::Changed);
            }
            let bytes = resource.encode(object).await?;
            return Ok(Stored::Yes(resource.unstored(&key, &bytes, 0).await?));
        }
        let stored = self.store_new(resource, &key, object, &allocation).await?;
        if !matches!(stored, Stored::Yes(_)) {
            allocation.undo(object);
        }
        Ok(stored)
    }
}

/// A UID for a new object. The generator of this process is asked, which costs no system call.
pub(super) fn new_uid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

pub(super) fn admission_lost() -> Failure {
    Status::internal("admission took the object away").into()
}

/// The refusal of an object that breaks rules.
pub(super) fn refuse(resource: &Resource, name: &str, errors: &ErrorList) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&resource.group_kind(), name, errors).into())
}

/// The object goes where the URL says.
pub(super) fn check_namespace(target: &Target, object: &mut Value) -> Result<(), Failure> {
    let given = meta::namespace(object);
    if given == target.namespace {
        return Ok(());
    }
    if given.is_empty() {
        meta::set_namespace(object, target.namespace.as_str());
        return Ok(());
    }
    let text = format!(
        "the namespace of the provided object does not match the namespace sent on the request, \
         {given:?} != {:?}",
        target.namespace
    );
    let text = if target.resource.namespaced {
        "the namespace of the provided object does not match the namespace sent on the request"
            .to_owned()
    } else {
        text
    };
    Err(Status::bad_request(text).into())
}

fn generated(base: &str) -> String {
    let base = match base.char_indices().nth(MAX_BASE) {
        Some((end, _)) => &base[..end],
        None => base,
    };
    let random = uuid::Uuid::new_v4().into_bytes();
    let suffix = random
        .iter()
        .take(SUFFIX)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    base.chars().chain(suffix).collect()
}
