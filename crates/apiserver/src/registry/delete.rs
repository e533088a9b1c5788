//! `delete` and `deletecollection`: at once, after a grace period, or when finalizers are done.

use std::sync::Arc;

use futures::StreamExt;
use machinery::status::{Details, Status};
use machinery::{Value, meta, time};
use resources::Propagation;

use super::admission::{Attributes, Operation};
use super::allocate::Allocation;
use super::read::not_found;
use super::update::has_spec_finalizers;
use super::{
    Body, Context, DeleteOptions, Failure, ListOptions, Outcome, Registry, Resource, Target,
};
use crate::cache::{List, Object};

/// On owners whose dependents are to stay.
const ORPHAN: &str = "orphan";
/// On owners that wait for their dependents.
const FOREGROUND: &str = "foregroundDeletion";
/// Attempts before somebody else's writes count as a conflict.
const ATTEMPTS: usize = 25;
/// Objects of a collection that are deleted at the same time.
const CONCURRENT: usize = 16;
/// Resources whose deletion answers with the object.
const RETURNED: [&str; 13] = [
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services/specs",
    "storageclasses",
    "volumeattachments",
    "csidrivers",
    "csinodes",
    "csistoragecapacities",
    "volumeattributesclasses",
];

/// How a deletion ended.
enum Deleted {
    /// The object is gone.
    Gone(Arc<Object>),
    /// The object is marked, and goes later.
    Marked(Arc<Object>),
}

/// What is to be done with an object that is to be deleted.
enum Step {
    /// Remove it now.
    Remove,
    /// Store it with this mark.
    Mark(Value),
    /// Nothing: it is on its way out already.
    Leave,
}

impl Registry {
    /// Deletes an object.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn delete(
        &self,
        context: &Context,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Outcome, Failure> {
        let resource = &target.resource;
        let body = match self.delete_object(context, target, options).await? {
            Deleted::Marked(object) => {
                let cascading = options.orphan_dependents == Some(false);
                return Ok(Outcome::object(if cascading { 202 } else { 200 }, object));
            }
            Deleted::Gone(object) if RETURNED.contains(&&*resource.storage.prefix) => {
                Body::Object(object)
            }
            Deleted::Gone(object) => {
                let mut status = Status::success(Some(Details {
                    name: target.name.clone(),
                    group: resource.group.to_string(),
                    kind: resource.name.clone(),
                    uid: meta::uid(&object.value()).to_owned(),
                    ..Details::default()
                }));
                status.code = 0;
                Body::Status(status.into())
            }
        };
        Ok(Outcome { code: 200, body })
    }

    /// Deletes all objects that `selection` selects.
    ///
    /// # Errors
    /// The first failure; objects that are gone meanwhile are none.
    pub async fn delete_collection(
        &self,
        context: &Context,
        target: &Target,
        options: &DeleteOptions,
        selection: &ListOptions,
    ) -> Result<Outcome, Failure> {
        let list = self.list(target, selection).await?;
        let revision = list.resource_version;
        let deletions = list.items.to_vec().into_iter().map(|object| {
            let one = Target::object(&target.resource, object.namespace(), object.name());
            async move {
                match self.delete_object(context, &one, options).await {
                    Ok(Deleted::Gone(object) | Deleted::Marked(object)) => Ok(Some(object)),
                    Err(failure) if failure.code == 404 => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
        });
        let results: Vec<Result<Option<Arc<Object>>, Failure>> =
            futures::stream::iter(deletions).buffered(CONCURRENT).collect().await;
        let mut items = Vec::new();
        for result in results {
            items.extend(result?);
        }
        let list = List { items: items.into(), resource_version: revision, ..List::default() };
        Ok(Outcome { code: 200, body: Body::List(list) })
    }

    async fn delete_object(
        &self,
        context: &Context,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Deleted, Failure> {
        let resource = &target.resource;
        for attempt in 0..ATTEMPTS {
            let stored = resource.cache().get(&target.key());
            let Some(stored) = stored else { return Err(not_found(target)) };
            let shown = resource.present(stored.clone()).await?;
            let old = shown.value();
            check_preconditions(resource, target, options, &old)?;
            if attempt == 0 {
                self.admit_deletion(context, target, &old, options).await?;
            }
            match self.deletion_step(context, resource, &old, options) {
                Step::Leave => return Ok(Deleted::Marked(shown)),
                Step::Remove if options.dry_run => return Ok(Deleted::Gone(shown)),
                Step::Remove => {
                    let released = self.release(resource, &old);
                    let gone = self.store_delete(resource, &stored, &released).await?;
                    if let Some(gone) = gone.or_again()? {
                        return Ok(Deleted::Gone(gone));
                    }
                }
                Step::Mark(mut marked) => {
                    let bytes = resource.encode(&mut marked).await?;
                    let revision = stored.resource_version();
                    if options.dry_run {
                        let marked = resource.unstored(stored.key(), &bytes, revision).await?;
                        return Ok(Deleted::Marked(marked));
                    }
                    let result = self
                        .store_update(
                            resource,
                            stored.key(),
                            bytes,
                            revision,
                            &Allocation::default(),
                        )
                        .await?;
                    if let Some(object) = result.or_again()? {
                        return Ok(Deleted::Marked(object));
                    }
                }
            }
        }
        Err(Status::modified(&resource.group_resource(), &target.name).into())
    }

    async fn admit_deletion(
        &self,
        context: &Context,
        target: &Target,
        old: &Value,
        options: &DeleteOptions,
    ) -> Result<(), Failure> {
        let mut attributes = Attributes {
            registry: self,
            context,
            operation: Operation::Delete,
            resource: &target.resource,
            namespace: &target.namespace,
            name: &target.name,
            subresource: "",
            object: None,
            old: Some(old),
            dry_run: options.dry_run,
            tracked: None,
        };
        self.admit_only(&mut attributes).await
    }

    fn deletion_step(
        &self,
        context: &Context,
        resource: &Resource,
        old: &Value,
        options: &DeleteOptions,
    ) -> Step {
        let now = self.now();
        let mut marked = old.clone();
        let already = meta::deletion_timestamp(old).is_some();
        let requested =
            options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
        let grace = resource.strategy.graceful_deletion(&context.strategy(now), old, requested);
        if !already {
            resource.strategy.prepare_for_deletion(&context.strategy(now), &mut marked);
        }
        let finalizers_changed = set_propagation_finalizers(resource, &mut marked, options);
        let waits = meta::finalizers(&marked).next().is_some()
            || (resource.storage.prefix == "namespaces" && has_spec_finalizers(old));

        if already {
            let before = meta::deletion_grace_period_seconds(old).unwrap_or(0);
            // A second deletion may only make it sooner, and only if it says so.
            let sooner = requested.and(grace).filter(|grace| *grace < before);
            if let Some(grace) = sooner {
                if grace == 0 && !waits {
                    return Step::Remove;
                }
                let start = meta::deletion_timestamp(old).and_then(time::parse).unwrap_or(now);
                let end = start - seconds(before - grace);
                meta::set_deletion(&mut marked, time::format(end), grace);
                return Step::Mark(marked);
            }
            return match (before == 0 && !waits, finalizers_changed) {
                (true, _) => Step::Remove,
                (false, true) => Step::Mark(marked),
                (false, false) => Step::Leave,
            };
        }
        match grace {
            Some(grace) if grace > 0 => {
                meta::set_deletion(&mut marked, time::format(now + seconds(grace)), grace);
            }
            _ if !waits => return Step::Remove,
            _ => meta::set_deletion(&mut marked, time::format(now), 0),
        }
        let generation = meta::generation(&marked);
        if generation > 0 {
            meta::set_generation(&mut marked, generation + 1);
        }
        if resource.storage.prefix == "namespaces" {
            marked["status"]["phase"] = "Terminating".into();
            // Namespaces have no grace period to show.
            meta::metadata_mut(&mut marked).shift_remove("deletionGracePeriodSeconds");
        }
        Step::Mark(marked)
    }
}

fn seconds(seconds: i64) -> std::time::Duration {
    std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

pub(super) fn check_preconditions(
    resource: &Resource,
    target: &Target,
    options: &DeleteOptions,
    old: &Value,
) -> Result<(), Failure> {
    let check = |what: &str, wanted: &Option<String>, found: &str| match wanted {
        Some(wanted) if wanted != found => {
            let detail = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            Err(Failure::from(Status::conflict(&resource.group_resource(), &target.name, detail)))
        }
        _ => Ok(()),
    };
    check("UID", &options.uid, meta::uid(old))?;
    check("ResourceVersion", &options.resource_version, meta::resource_version(old))
}

/// Puts the finalizers on that make the garbage collector do what the options say about
/// dependents. True when that changed something.
fn set_propagation_finalizers(
    resource: &Resource,
    object: &mut Value,
    options: &DeleteOptions,
) -> bool {
    let has = |finalizer: &str| meta::finalizers(object).any(|f| f == finalizer);
    let policy = options.propagation_policy.as_deref();
    let orphan = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => orphan,
        (None, Some("Orphan")) => true,
        (None, Some("Background" | "Foreground")) => false,
        (None, _) => {
            has(ORPHAN)
                || (!has(FOREGROUND)
                    && resource.strategy.default_propagation() == Propagation::Orphan)
        }
    };
    let foreground = match (options.orphan_dependents, policy) {
        (Some(_), _) | (None, Some("Orphan" | "Background")) => false,
        (None, Some("Foreground")) => true,
        (None, _) => has(FOREGROUND),
    };
    let before: Vec<String> = meta::finalizers(object).map(str::to_owned).collect();
    let mut after: Vec<String> =
        before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        after.push(ORPHAN.to_owned());
    }
    if foreground {
        after.push(FOREGROUND.to_owned());
    }
    if after == before {
        return false;
    }
    meta::set_finalizers(object, after);
    true
}
