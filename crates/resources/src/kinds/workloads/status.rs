//! Rules for the numbers that controllers report.

use machinery::Value;
use machinery::field::{Error, ErrorList};

use crate::cursor::At;

/// None of the numbers is negative.
pub(in crate::kinds) fn counts(object: &Value, fields: &[&'static str], errors: &mut ErrorList) {
    let status = At::root(object).get("status");
    for field in fields {
        status.get(field).non_negative(errors);
    }
}

/// No part exceeds all replicas, nor the available ones those that are `ready`, which the text
/// names.
pub(super) fn parts(object: &Value, fields: &[&'static str], ready: &str, errors: &mut ErrorList) {
    let status = At::root(object).get("status");
    let total = status.get("replicas").int_or_zero();
    for field in fields {
        let part = status.get(field);
        if part.int_or_zero() > total {
            part.invalid(errors, "cannot be greater than status.replicas");
        }
    }
    let available = status.get("availableReplicas");
    if available.int_or_zero() > status.get("readyReplicas").int_or_zero() {
        available.invalid(errors, format!("cannot be greater than {ready}"));
    }
}

/// What ReplicaSets and ReplicationControllers report.
pub(super) fn replicas(object: &Value, errors: &mut ErrorList) {
    counts(
        object,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "terminatingReplicas",
            "observedGeneration",
        ],
        errors,
    );
    let fields = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    parts(object, &fields, "readyReplicas", errors);
}

/// Collisions of hashes are only ever added.
pub(super) fn collisions(new: &Value, old: &Value, errors: &mut ErrorList) {
    let count = |object| At::root(object).get("status").get("collisionCount");
    let (now, before) = (count(new), count(old));
    if before.is_set() && now.int_or_zero() < before.int_or_zero() {
        errors.push(Error::invalid(&now.path, now.int_or_zero(), "cannot be decremented"));
    }
}
