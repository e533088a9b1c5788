//! Writes the history that [`crate::history`] plans.

use client::Api;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, PostParams};

use crate::error::{SyncError, is_already_exists, is_namespace_terminating, is_not_found};
use crate::history::Current;
use crate::object::Meta;

/// What became of the revision of the current template.
#[derive(Debug)]
pub(crate) enum Settled {
    /// It is stored.
    Stored(Box<ControllerRevision>),
    /// Its name is taken by another one: the next round needs another collision count.
    Collision,
    /// It cannot be stored any more.
    NamespaceTerminating,
}

/// Stores the revision of the current template. `is_same` tells whether what has the wanted name
/// already (first argument) is the wanted one (second).
pub(crate) async fn settle(
    api: &Api<ControllerRevision>,
    current: Current,
    is_same: impl Fn(&ControllerRevision, &ControllerRevision) -> bool,
) -> Result<Settled, SyncError> {
    let params = PostParams::default();
    let wanted = match current {
        Current::Stored(revision) => return Ok(Settled::Stored(Box::new((*revision).clone()))),
        Current::Renumber(revision) => {
            let stored = api.replace(revision.nm(), &params, &revision).await?;
            return Ok(Settled::Stored(Box::new(stored)));
        }
        Current::Create(revision) => revision,
    };
    match api.create(&params, &wanted).await {
        Ok(created) => Ok(Settled::Stored(Box::new(created))),
        Err(error) if is_namespace_terminating(&error) => Ok(Settled::NamespaceTerminating),
        Err(error) if is_already_exists(&error) => {
            let present = api.get_opt(wanted.nm()).await?.filter(|p| is_same(p, &wanted));
            Ok(present.map_or(Settled::Collision, |p| Settled::Stored(Box::new(p))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes revisions by name.
pub(crate) async fn remove(
    api: &Api<ControllerRevision>,
    names: Vec<String>,
) -> Result<(), SyncError> {
    for name in names {
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
