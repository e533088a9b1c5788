//! Rules for the numbers that controllers report.

use machinery::Value;
use machinery::field::ErrorList;

use crate::cursor::At;

/// Numbers of Pods are not negative, and no part exceeds the whole.
pub(super) fn replica_counts(status: &At<'_>, fields: &[&'static str], errors: &mut ErrorList) {
    for field in fields {
        status.get(field).non_negative(errors);
    }
    let total = status.get("replicas").int_or_zero();
    for field in &fields[1..] {
        let part = status.get(field);
        if part.int_or_zero() > total {
            part.invalid(errors, "cannot be greater than status.replicas");
        }
    }
    let (ready, available) = (status.get("readyReplicas"), status.get("availableReplicas"));
    if available.int_or_zero() > ready.int_or_zero() {
        available.invalid(errors, "cannot be greater than readyReplicas");
    }
}

/// None of the numbers is negative.
pub(in crate::kinds) fn counts(object: &Value, fields: &[&'static str], errors: &mut ErrorList) {
    let status = At::root(object).get("status");
    for field in fields {
        status.get(field).non_negative(errors);
    }
}

/// Collisions of hashes are only ever added.
pub(super) fn collisions(new: &Value, old: &Value, errors: &mut ErrorList) {
    let count = |object| At::root(object).get("status").get("collisionCount");
    let (now, before) = (count(new), count(old));
    now.non_negative(errors);
    if before.is_set() && now.int_or_zero() < before.int_or_zero() {
        now.invalid(errors, "cannot be decremented");
    }
}
