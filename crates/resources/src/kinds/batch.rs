//! Jobs and CronJobs.

mod cron_job;
mod indexes;
mod job;
mod schedule;
mod spec;
mod status;
#[cfg(test)]
mod tests;

use machinery::Value;

pub(super) use self::cron_job::CronJob;
pub(super) use self::job::Job;
pub use self::schedule::Schedule;
use super::pod::{defaults, warnings};
use crate::cursor::{At, items_mut, set_default_zero};

/// Defaults that the spec of a Job has wherever it stands.
fn default_spec(spec: &mut Value) {
    if let Some(template) = spec.get_mut("template") {
        defaults::template(template);
    }
    if let Some(policy) = spec.get_mut("podFailurePolicy") {
        for rule in items_mut(policy, "rules") {
            for condition in items_mut(rule, "onPodConditions") {
                set_default_zero(condition, "status", "True");
            }
        }
    }
}

/// What users are told about the spec of a Job that is accepted.
fn spec_warnings(spec: &At<'_>, given: &mut Vec<String>) {
    let many = spec.get("completions").int_or_zero() > spec::MANY_COMPLETIONS
        && spec.get("parallelism").int_or_zero() > spec::MANY_AT_ONCE;
    if spec::is_indexed(spec) && many {
        given.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path
        ));
    }
    given.extend(warnings::of_template(&spec.get("template"), true));
}
