//! CronJobs.

use machinery::field::{Error, ErrorList};
use machinery::{Value, meta};

use super::{default_spec, schedule, spec as rules, spec_warnings};
use crate::cursor::{At, same, set_default, set_default_zero};
use crate::kinds::pod::warnings;
use crate::kinds::workloads::spec_mut;
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

/// The controller appends eleven characters to the names of Jobs, which are labels.
const MAX_NAME: usize = 63 - 11;
const MAX_ZONE_PART: usize = 14;

/// The rules of CronJobs.
pub(in crate::kinds) struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        if let Some(job) = spec.pointer_mut("/jobTemplate/spec").filter(|s| s.is_object()) {
            default_spec(job);
        }
        set_default_zero(spec, "concurrencyPolicy", "Allow");
        set_default(spec, "suspend", false);
        set_default(spec, "successfulJobsHistoryLimit", 3);
        set_default(spec, "failedJobsHistoryLimit", 1);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check(object, None, &mut errors);
        if meta::name(object).len() > MAX_NAME {
            let name = At::root(object).get("metadata").get("name");
            name.invalid(&mut errors, format!("must be no more than {MAX_NAME} characters"));
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check(new, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut given = Vec::new();
        let spec = At::root(new).get("spec");
        if old.is_none() {
            warnings::host_name(meta::name(new), "Pod names and hostnames", &mut given);
        }
        if old.is_none_or(|old| meta::generation(new) != meta::generation(old)) {
            spec_warnings(&spec.get("jobTemplate").get("spec"), &mut given);
        }
        if old.is_some() && names_zone(spec.get("schedule").str()) {
            // Upstream's path has the name twice.
            given.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        given
    }
}

fn names_zone(schedule: &str) -> bool {
    schedule.contains("TZ")
}

fn check(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let spec = At::root(object).get("spec");
    let before = old.map(|old| At::root(old).get("spec"));
    let (schedule, zone) = (spec.get("schedule"), spec.get("timeZone"));
    if schedule.must(errors) {
        if let Some(problem) = schedule::problem(schedule.str()) {
            schedule.invalid(errors, problem);
        }
        if names_zone(schedule.str()) {
            let grandfathered =
                before.as_ref().is_some_and(|before| names_zone(before.get("schedule").str()));
            let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            if !grandfathered {
                let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                schedule.invalid(errors, detail);
            } else if zone.is_set() {
                schedule.invalid(errors, detail);
            }
        }
    }
    spec.get("startingDeadlineSeconds").non_negative(errors);
    if before.as_ref().is_none_or(|before| !same(before.get("timeZone").value, zone.value)) {
        time_zone(&zone, errors);
    }
    spec.get("concurrencyPolicy").one_of(errors, &["Allow", "Forbid", "Replace"]);
    let job = spec.get("jobTemplate").get("spec");
    let job_before = before.map(|before| before.get("jobTemplate").get("spec"));
    rules::check(&job, job_before.as_ref(), errors);
    let (selector, manual) = (job.get("selector"), job.get("manualSelector"));
    if selector.is_set() {
        selector.invalid(errors, "`selector` will be auto-generated");
    }
    if manual.bool() {
        errors.push(Error::not_supported(&manual.path, true, &["nil", "false"]));
    }
    spec.get("successfulJobsHistoryLimit").non_negative(errors);
    spec.get("failedJobsHistoryLimit").non_negative(errors);
}

fn time_zone(zone: &At<'_>, errors: &mut ErrorList) {
    if !zone.is_set() {
        return;
    }
    let name = zone.str();
    if name.is_empty() {
        zone.invalid(errors, "timeZone must be nil or non-empty string");
        return;
    }
    let fits = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        (1..=MAX_ZONE_PART).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(plain)
    };
    let unknown = format!("unknown time zone {name}");
    if !name.split('/').all(fits) {
        zone.invalid(errors, unknown);
        return;
    }
    if name.eq_ignore_ascii_case("local") {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        zone.invalid(errors, detail);
    }
    if name != "Local" && !super::schedule::Schedule::knows_zone(name) {
        zone.invalid(errors, unknown);
    }
}
