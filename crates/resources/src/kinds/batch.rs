//! Jobs and CronJobs.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::meta;
use machinery::selector::LabelSelector;
use serde_json::{Map, json};

use super::pod::{defaults, scheduling, spec as pod_spec, warnings};
use super::workloads::spec_mut;
use super::workloads::status::counts;
use crate::cursor::{At, items_mut, same, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, Propagation, Strategy, subdomain_name};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";
const MAX_INDEXES: i64 = 100_000;

// === Job ===

/// The rules of Jobs.
pub(super) struct Job;

impl Strategy for Job {
    /// As before there was a choice.
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn default(&self, object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        if let Some(labels) = labels.filter(|l| l.as_object().is_some_and(|l| !l.is_empty()))
            && meta::labels(object).is_none_or(Map::is_empty)
        {
            meta::metadata_mut(object).insert("labels".to_owned(), labels);
        }
        let Some(spec) = spec_mut(object) else { return };
        if let Some(template) = spec.get_mut("template") {
            defaults::template(template);
        }
        let unset = |spec: &Value, field: &str| spec.get(field).is_none_or(Value::is_null);
        if unset(spec, "completions") && unset(spec, "parallelism") {
            set_default(spec, "completions", 1);
        }
        set_default(spec, "parallelism", 1);
        let per_index = !unset(spec, "backoffLimitPerIndex");
        set_default(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
        set_default(spec, "completionMode", "NonIndexed");
        set_default(spec, "suspend", false);
        set_default(spec, "manualSelector", false);
        let policy = if unset(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
        set_default(spec, "podReplacementPolicy", policy);
        if let Some(policy) = spec.get_mut("podFailurePolicy") {
            for rule in items_mut(policy, "rules") {
                for condition in items_mut(rule, "onPodConditions") {
                    set_default_zero(condition, "status", "True");
                }
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, job: &mut Value) {
        if job.pointer("/spec/manualSelector").and_then(Value::as_bool) == Some(true) {
            return;
        }
        let (uid, name) = (meta::uid(job).to_owned(), meta::name(job).to_owned());
        let Some(template) = job.pointer_mut("/spec/template").filter(|t| t.is_object()) else {
            return;
        };
        // A UID label given by hand belongs to another Job; the check finds it.
        let given = |template: &Value, key: &str| meta::label(template, key).is_some();
        for (key, value) in
            [(UID_LABEL, &uid), (NAME_LABEL, &name), (OLD_UID_LABEL, &uid), (OLD_NAME_LABEL, &name)]
        {
            if !given(template, key) {
                meta::set_label(template, key, value.as_str());
            }
        }
        if let Some(spec) = spec_mut(job) {
            set_default(spec, "selector", json!({}));
            let selector = &mut spec["selector"];
            set_default(selector, "matchLabels", json!({}));
            selector["matchLabels"][UID_LABEL] = json!(uid);
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, job: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(job).get("spec");
        job_spec(&spec, &mut errors);
        if spec.get("manualSelector").bool() {
            let selector = spec.get("selector");
            if selector.is_set() {
                scheduling::label_selector(&selector, &mut errors);
            } else {
                selector.required(&mut errors, "");
            }
        } else {
            let template = spec.get("template");
            let labels = template.get("metadata").get("labels");
            for (key, expected) in [
                (OLD_UID_LABEL, meta::uid(job)),
                (OLD_NAME_LABEL, meta::name(job)),
                (UID_LABEL, meta::uid(job)),
                (NAME_LABEL, meta::name(job)),
            ] {
                let path = labels.path.key(key);
                let detail = format!("must be '{expected}'");
                match meta::label(template.value, key) {
                    None => errors.push(Error::required(&path, detail)),
                    Some(label) if label != expected => {
                        errors.push(Error::invalid(&path, labels.value.clone(), detail));
                    }
                    Some(_) => {}
                }
            }
            let selector = spec.get("selector");
            let parsed = LabelSelector::from_value(Some(selector.value));
            let generated = [(UID_LABEL, meta::uid(job)), (NAME_LABEL, meta::name(job))];
            if parsed.is_ok_and(|parsed| !parsed.matches(&generated[..])) {
                selector.invalid(&mut errors, "`selector` not auto-generated");
            }
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        job_spec(&spec, &mut errors);
        let indexed = spec.get("completionMode").str() == "Indexed";
        let (completions, old_completions) = (spec.get("completions"), before.get("completions"));
        let elastic = indexed && same(completions.value, spec.get("parallelism").value);
        if !elastic {
            completions.unchanged(&old_completions, &mut errors);
        }
        spec.get("selector").unchanged(&before.get("selector"), &mut errors);
        template_unchanged(&spec, &before, old, &mut errors);
        for field in [
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            spec.get(field).unchanged(&before.get(field), &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        counts(new, &["active", "succeeded", "failed", "ready", "terminating"], &mut errors);
        let status = At::root(new).get("status");
        let conditions = status.get("conditions");
        let holds = |kind: &str| {
            conditions
                .list()
                .any(|c| c.get("type").str() == kind && c.get("status").str() == "True")
        };
        let mut exclude = |one: &str, other: &str| {
            if holds(one) && holds(other) {
                let detail = format!("cannot set {one}=True and {other}=True conditions");
                errors.push(Error::invalid(&conditions.path, conditions.value.clone(), detail));
            }
        };
        exclude("Complete", "Failed");
        exclude("Complete", "FailureTarget");
        exclude("SuccessCriteriaMet", "Failed");
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut given = Vec::new();
        if old.is_none() {
            warnings::host_name(meta::name(new), "Pod names and hostnames", &mut given);
            let template = At::root(new).get("spec").get("template");
            given.extend(warnings::of_template(&template, true));
        }
        given
    }
}

/// The template stays; while a Job that has not started is suspended, what schedules its Pods may
/// change.
fn template_unchanged(spec: &At<'_>, before: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let (template, old_template) = (spec.get("template"), before.get("template"));
    let mut munged = template.value.clone();
    let started = !At::root(old).get("status").get("startTime").is_empty();
    if before.get("suspend").bool() && !started {
        for field in ["labels", "annotations"] {
            if let (Some(to), Some(from)) =
                (munged.get_mut("metadata"), old_template.value.get("metadata"))
            {
                crate::cursor::copy_field(to, from, field);
            }
        }
        for field in ["nodeSelector", "tolerations", "schedulingGates", "affinity"] {
            if let (Some(to), Some(from)) = (munged.get_mut("spec"), old_template.value.get("spec"))
            {
                crate::cursor::copy_field(to, from, field);
            }
        }
    }
    if !same(&munged, old_template.value) {
        errors.push(Error::immutable(&template.path, template.value.clone()));
    }
}

fn job_spec(spec: &At<'_>, errors: &mut ErrorList) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        spec.get(field).non_negative(errors);
    }
    let mode = spec.get("completionMode");
    mode.may_be_one_of(errors, &["Indexed", "NonIndexed"]);
    if mode.str() == "Indexed" {
        let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
        if !completions.is_set() {
            completions.required(errors, "when completion mode is Indexed");
        }
        if parallelism.int_or_zero() > MAX_INDEXES {
            let detail = "must be less than or equal to 100000 when completion mode is Indexed";
            parallelism.invalid(errors, detail);
        }
    }
    spec.get("podReplacementPolicy").may_be_one_of(errors, &["Failed", "TerminatingOrFailed"]);
    let template = spec.get("template");
    pod_spec::template(&template, errors);
    let policy = template.get("spec").get("restartPolicy");
    match policy.str() {
        "Always" | "" => {
            let detail = "valid values: \"OnFailure\", \"Never\"";
            policy.required(errors, detail);
        }
        "OnFailure" | "Never" => {}
        _ => policy.unsupported(errors, &["OnFailure", "Never"]),
    }
    let failure = spec.get("podFailurePolicy");
    if failure.is_set() && policy.str() != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        policy.invalid(errors, detail);
    }
}

// === CronJob ===

/// The rules of CronJobs.
pub(super) struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        if let Some(template) = spec.pointer_mut("/jobTemplate/spec/template") {
            defaults::template(template);
        }
        set_default_zero(spec, "concurrencyPolicy", "Allow");
        set_default(spec, "suspend", false);
        set_default(spec, "successfulJobsHistoryLimit", 3);
        set_default(spec, "failedJobsHistoryLimit", 1);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        let mut messages = subdomain_name(name, prefix);
        // The controller appends eleven characters to the names of Jobs.
        if !prefix && name.len() > 52 {
            messages.push("must be no more than 52 characters".to_owned());
        }
        messages
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(object).get("spec");
        let schedule = spec.get("schedule");
        if schedule.must(&mut errors) {
            if let Some(problem) = cron_problem(schedule.str()) {
                schedule.invalid(&mut errors, problem);
            }
            if schedule.str().contains("TZ") {
                let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                schedule.invalid(&mut errors, detail);
            }
        }
        let zone = spec.get("timeZone");
        if zone.is_set() {
            if zone.str().is_empty() {
                zone.invalid(&mut errors, "timeZone must be nil or non-empty string");
            } else if zone.str().eq_ignore_ascii_case("local") {
                let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
                zone.invalid(&mut errors, detail);
            }
        }
        spec.get("startingDeadlineSeconds").non_negative(&mut errors);
        spec.get("concurrencyPolicy").one_of(&mut errors, &["Allow", "Forbid", "Replace"]);
        spec.get("successfulJobsHistoryLimit").non_negative(&mut errors);
        spec.get("failedJobsHistoryLimit").non_negative(&mut errors);
        let job = spec.get("jobTemplate").get("spec");
        job_spec(&job, &mut errors);
        if job.get("manualSelector").bool() {
            job.get("manualSelector").unsupported(&mut errors, &["nil", "false"]);
        }
        errors
    }
}

/// What is wrong with a schedule in cron's form, if anything.
fn cron_problem(schedule: &str) -> Option<String> {
    if let Some(word) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"]
            .contains(&word);
        let every = word.strip_prefix("every ");
        if known || every.is_some_and(|d| machinery::duration::parse(d).is_ok()) {
            return None;
        }
        return Some(format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule
        .split_whitespace()
        .filter(|f| !f.starts_with("TZ=") && !f.starts_with("CRON_TZ="))
        .collect();
    if fields.len() != 5 {
        return Some(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    const RANGES: [(i64, i64); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
    for (i, (field, (low, high))) in fields.iter().zip(RANGES).enumerate() {
        let named: (&[&str], i64) = match i {
            3 => (&MONTHS, 1),
            4 => (&DAYS, 0),
            _ => (&[], 0),
        };
        for part in field.split(',') {
            if let Some(problem) = cron_part_problem(part, low, high, named) {
                return Some(problem);
            }
        }
    }
    None
}

fn cron_part_problem(part: &str, low: i64, high: i64, named: (&[&str], i64)) -> Option<String> {
    let number = |text: &str| -> Result<i64, String> {
        let name = text.to_lowercase();
        if let Some(at) = named.0.iter().position(|n| *n == name) {
            return Ok(at as i64 + named.1);
        }
        text.parse::<i64>().map_err(|_| {
            format!(
                "failed to parse int from {text}: strconv.Atoi: parsing {}: invalid syntax",
                machinery::field::quote(text)
            )
        })
    };
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let bounds = if matches!(range, "*" | "?") {
        Ok((low, high))
    } else {
        match range.split_once('-') {
            Some((from, to)) => number(from).and_then(|from| Ok((from, number(to)?))),
            None => number(range).map(|n| (n, n)),
        }
    };
    let (from, to) = match bounds {
        Ok(bounds) => bounds,
        Err(problem) => return Some(problem),
    };
    if from < low {
        return Some(format!("beginning of range ({from}) below minimum ({low}): {part}"));
    }
    if to > high {
        return Some(format!("end of range ({to}) above maximum ({high}): {part}"));
    }
    if from > to {
        return Some(format!("beginning of range ({from}) beyond end of range ({to}): {part}"));
    }
    match step.map(number) {
        Some(Err(problem)) => Some(problem),
        Some(Ok(0)) => Some(format!("step of range should be a positive number: {part}")),
        _ => None,
    }
}
