//! What to do with an object, from its own state and that of its owners. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

use super::graph::{FOREGROUND, ORPHAN};

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It exists and is not going away in the foreground.
    Solid,
    /// It does not exist.
    Absent,
    /// It is being deleted and waits for its dependents.
    Waiting,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    Keep,
    /// Drop the references to owners that are gone or going.
    Unlink(Vec<OwnerReference>),
    Delete(PropagationPolicy),
    /// Delete in the foreground, after the references no longer block the owner.
    DeleteUnblocked(Vec<OwnerReference>),
}

/// Decides about an object with `owners`; `has_dependents` and `dependent_waits` (one of them is
/// itself deleted in the foreground) are of the object.
pub(super) fn decide(
    meta: &ObjectMeta,
    owners: &[(OwnerReference, Owner)],
    has_dependents: bool,
    dependent_waits: bool,
) -> Decision {
    let any = |kind: Owner| owners.iter().any(|(_, state)| *state == kind);
    if owners.is_empty() {
        return Decision::Keep;
    }
    if any(Owner::Solid) {
        if !any(Owner::Absent) && !any(Owner::Waiting) {
            return Decision::Keep;
        }
        let solid = owners.iter().filter(|(_, state)| *state == Owner::Solid);
        return Decision::Unlink(solid.map(|(reference, _)| reference.clone()).collect());
    }
    if any(Owner::Waiting) && has_dependents {
        // A circle of foreground deletions would wait for itself for ever.
        if dependent_waits {
            let unblocked = owners.iter().map(|(reference, _)| OwnerReference {
                block_owner_deletion: Some(false),
                ..reference.clone()
            });
            return Decision::DeleteUnblocked(unblocked.collect());
        }
        return Decision::Delete(PropagationPolicy::Foreground);
    }
    // The way of deletion that somebody asked for before stays.
    let has = |name: &str| meta.finalizers.iter().flatten().any(|f| f == name);
    Decision::Delete(if has(ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    })
}
