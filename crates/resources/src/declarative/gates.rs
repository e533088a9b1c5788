//! Fields of features that are off in this release: dropped from what clients write, unless the
//! object that is there uses the feature already.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::schema::{Field, Kind, TypeRef};

use super::concerns;

/// Features that upstream's v1.36 knows and has off by default.
const OFF: [&str; 14] = [
    "ClusterTrustBundleProjection",
    "ContainerStopSignals",
    "CoordinatedLeaderElection",
    "DRAListTypeAttributes",
    "DRANodeAllocatableResources",
    "DRAWorkloadResourceClaims",
    "GenericWorkload",
    "PodCertificateProjection",
    "PodCertificateRequest",
    "TaintTolerationComparisonOperators",
    "TopologyAwareWorkloadScheduling",
    "VolumeLimitScaling",
    "WorkloadAwarePreemption",
    "ShardedListAndWatch",
];

pub(super) fn is_off(gate: &str) -> bool {
    OFF.contains(&gate)
}

/// The feature that a field belongs to, if that is off.
fn off(field: Field<'_>) -> Option<&str> {
    field.markers().find_map(|marker| marker.strip_prefix("featureGate=")).filter(|g| is_off(g))
}

pub(super) fn is_disabled(field: Field<'_>) -> bool {
    off(field).is_some()
}

/// Drops the fields of features that are off and that `old` does not use.
pub(crate) fn drop_disabled(new: &mut Value, old: Option<&Value>, ty: TypeRef<'_>) {
    // Kinds that a feature brings along are not served at all while it is off.
    if !concerns(ty) || !new.is_object() {
        return;
    }
    let mut used = BTreeSet::new();
    if let Some(old) = old {
        uses(old, ty, &mut used);
    }
    prune(new, ty, &used);
}

fn uses<'s>(value: &Value, ty: TypeRef<'s>, used: &mut BTreeSet<&'s str>) {
    match (ty.kind(), value) {
        (Kind::Struct, Value::Object(members)) if concerns(ty) => {
            for field in ty.fields() {
                let Some(member) = members.get(field.name()).filter(|v| !v.is_null()) else {
                    continue;
                };
                used.extend(off(field));
                uses(member, field.type_ref(), used);
            }
        }
        (Kind::List(item), Value::Array(items)) => {
            items.iter().for_each(|value| uses(value, item, used));
        }
        (Kind::Map(item), Value::Object(entries)) => {
            entries.values().for_each(|value| uses(value, item, used));
        }
        _ => {}
    }
}

fn prune(value: &mut Value, ty: TypeRef<'_>, used: &BTreeSet<&str>) {
    match (ty.kind(), value) {
        (Kind::Struct, Value::Object(members)) if concerns(ty) => {
            for field in ty.fields() {
                if off(field).is_some_and(|gate| !used.contains(gate)) {
                    members.shift_remove(field.name());
                } else if let Some(member) = members.get_mut(field.name()) {
                    prune(member, field.type_ref(), used);
                }
            }
        }
        (Kind::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|value| prune(value, item, used));
        }
        (Kind::Map(item), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| prune(value, item, used));
        }
        _ => {}
    }
}
