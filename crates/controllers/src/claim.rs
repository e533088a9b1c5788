//! Adoption and release: which objects belong to a controller.
//!
//! A controller owns what refers to it as controller. It takes matching objects that nobody
//! controls, and lets go of owned objects that no longer match.

use std::sync::Arc;

use client::{Api, Informer, Resource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use machinery::selector::LabelSelector;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::informers::{ORPHAN, OWNER};
use crate::object::{Key, Meta};
use crate::selector;

/// What to do about each candidate.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    /// Owned already, and rightly so.
    pub(crate) owned: Vec<Arc<K>>,
    /// To be taken.
    pub(crate) adopt: Vec<Arc<K>>,
    /// To be let go.
    pub(crate) release: Vec<Arc<K>>,
}

/// The object of this kind that controls `child`, by its reference; `None` too when another object
/// has that name by now.
pub(crate) fn controller_of<K: Resource<DynamicType = ()>>(
    owners: &Informer<K>,
    child: &impl Resource,
) -> Option<Arc<K>> {
    let reference = child.controller().filter(|r| r.kind == K::kind(&()))?;
    owners.get(Some(child.ns()), &reference.name).filter(|owner| owner.id() == reference.uid)
}

/// Those that may take `orphan`: nobody when it is controlled already.
pub(crate) fn adopters<K: Resource>(
    owners: &Informer<K>,
    orphan: &impl Resource,
    selector: impl Fn(&K) -> Option<LabelSelector>,
) -> Vec<Arc<K>> {
    if orphan.controller().is_some() {
        return Vec::new();
    }
    let labels = orphan.meta().labels.as_ref();
    let mut owners = owners.list_namespace(orphan.ns());
    owners.retain(|owner| selector(owner).is_some_and(|s| selector::matches(&s, labels)));
    owners
}

/// What [`sort`] must look at: all that `owner` controls, and the orphans of its namespace.
pub(crate) fn candidates<K>(informer: &Informer<K>, owner: &impl Resource) -> Vec<Arc<K>> {
    let mut found = informer.by_index(OWNER, owner.id());
    found.extend(informer.by_index(ORPHAN, owner.ns()));
    found
}

/// Asks the server, not the copy, before taking anything: a deleted owner must not adopt.
pub(crate) async fn confirm<K, C>(
    context: &Context,
    owner: &K,
    claims: &Claims<C>,
) -> Result<(), SyncError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    if claims.adopt.is_empty() {
        return Ok(());
    }
    let fresh = context.api::<K>(owner.ns()).get_opt(owner.nm()).await?;
    if fresh.is_none_or(|fresh| fresh.id() != owner.id() || fresh.is_deleting()) {
        let key = Key::of(owner);
        return Err(SyncError::NotReady(format!("{key} is being deleted or replaced")));
    }
    Ok(())
}

/// Sorts candidates (owned objects and orphans of the namespace) by what to do with them.
pub(crate) fn sort<K: Resource>(
    candidates: impl IntoIterator<Item = Arc<K>>,
    owner_uid: &str,
    owner_is_deleting: bool,
    selector: &LabelSelector,
) -> Claims<K> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in candidates {
        let matches = selector::matches(selector, object.meta().labels.as_ref());
        match object.controller() {
            Some(reference) if reference.uid != owner_uid => {}
            Some(_) if matches => claims.owned.push(object),
            Some(_) if owner_is_deleting => {}
            Some(_) => claims.release.push(object),
            None if owner_is_deleting || object.is_deleting() || !matches => {}
            None => claims.adopt.push(object),
        }
    }
    claims
}

/// Carries claims out. The owned objects come back, adopted ones included. They carry `finalizers`, which
/// are the controller's, as long as they are owned.
pub(crate) async fn settle<K>(
    api: &Api<K>,
    claims: Claims<K>,
    owner: &OwnerReference,
    finalizers: &[&str],
) -> Result<Vec<Arc<K>>, SyncError>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams::default();
    let mut owned = claims.owned;
    for object in claims.adopt {
        let mut patch = json!({"metadata": {"uid": object.id(), "ownerReferences": [owner]}});
        if !finalizers.is_empty() {
            patch["metadata"]["finalizers"] = json!(finalizers);
        }
        match api.patch(object.nm(), &params, &Patch::Strategic(&patch)).await {
            Ok(_) => owned.push(object),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for object in claims.release {
        let mut patch = json!({"metadata": {
            "uid": object.id(),
            "ownerReferences": [{"$patch": "delete", "uid": owner.uid}],
        }});
        if !finalizers.is_empty() {
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!(finalizers);
        }
        match api.patch(object.nm(), &params, &Patch::Strategic(&patch)).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            // Another object of that name by now: nothing of ours is left to release.
            Err(kube::Error::Api(status)) if status.is_invalid() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(name: &str, app: &str, owner: Option<&str>) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
        pod.metadata.owner_references = owner.map(|uid| {
            vec![OwnerReference {
                uid: uid.into(),
                controller: Some(true),
                ..OwnerReference::default()
            }]
        });
        Arc::new(pod)
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|p| p.nm()).collect()
    }

    #[test]
    fn candidates_are_sorted_by_owner_and_labels() {
        let selector = LabelSelector::from_set([("app", "web")]);
        let pods = || {
            [
                pod("mine", "web", Some("me")),
                pod("strayed", "db", Some("me")),
                pod("orphan", "web", None),
                pod("other-orphan", "db", None),
                pod("theirs", "web", Some("you")),
            ]
        };
        let claims = sort(pods(), "me", false, &selector);
        assert_eq!(names(&claims.owned), ["mine"]);
        assert_eq!(names(&claims.adopt), ["orphan"]);
        assert_eq!(names(&claims.release), ["strayed"]);
        let claims = sort(pods(), "me", true, &selector);
        assert_eq!(names(&claims.owned), ["mine"]);
        assert!(claims.adopt.is_empty() && claims.release.is_empty());
    }
}
